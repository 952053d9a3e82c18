"""``kill -9`` at each stage, one after the other: every run takes over what the killed one before it left."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from .conftest import Road, wait_until

pytestmark = [pytest.mark.engine, pytest.mark.network]
HALF_WRITTEN = (".*.part", ".check-*", "ansible")


def containers(road: Road, label: str) -> str:
    return road.docker("ps", "--quiet", "--filter", f"label={label}")


def alter(road: Road) -> None:
    road.machine.run("sh", "-c", "echo HF_HUB_OFFLINE=0 > /etc/provision/offline.env")
    road.machine.run("apt-get", "purge", "--yes", "-qq", "mmdebstrap")


def remove_image(road: Road) -> None:
    road.docker("rmi", road.read("plan.json", road.runs[0])["rollout"]["repository"] + ":" + tag(road))


def tag(road: Road) -> str:
    found: str = road.read("plan.json", road.runs[0])["rollout"]["tag"]
    return found


def nothing(road: Road) -> None:
    pass


def installing(road: Road) -> str:
    return road.machine.run("pgrep", "-x", "dpkg", check=False).stdout


def in_new_run(pattern: str) -> Callable[[Road, int], Any]:
    return lambda road, before: len(road.runs) > before and any(road.runs[-1].glob(pattern))


# stage: what makes it take time, and how it is seen that a run has come there
STAGES: dict[str, tuple[Callable[[Road], None], Callable[[Road, int], Any]]] = {
    "look": (nothing, lambda road, before: True),
    "preview": (alter, in_new_run(".check-*/ansible/results.jsonl")),
    # Half of a package: what was begun goes on without its run.
    "apply": (nothing, lambda road, before: in_new_run("ansible")(road, before) and installing(road)),
    "build": (remove_image, lambda road, before: containers(road, "io.provision.unfinished=yes")),
    "verify": (nothing, lambda road, before: containers(road, "io.provision.owner")),
}


@pytest.mark.parametrize("stage", STAGES)
def test_a_run_is_killed(road: Road, stage: str) -> None:
    prepare, reached = STAGES[stage]
    prepare(road)
    before = len(road.runs)
    with road.begin("up") as run:
        wait_until(lambda: road.holder() and reached(road, before), 300)
        killed = road.holder()
        assert run.poll() is None, run.communicate()
        road.machine.run("kill", "-9", str(killed))
        _, said = run.communicate(timeout=60)
    assert run.returncode in (137, -9), said  # nsenter dies as its child did
    if stage != "look":
        assert len(road.runs) == before + 1 and not road.read("run.json").get("ended")


def test_the_next_run_ends_well_and_nothing_half_made_is_left(road: Road) -> None:
    done = road.provision("up")
    assert done.code == 0, done.err
    ended = [road.read("run.json", run) for run in road.runs]
    killed = [r for r in ended if r.get("error") == "killed before it could say how it ended"]
    assert len(killed) in (len(STAGES) - 1, len(STAGES)), "the first may die before its run has a directory"
    for run in road.runs:
        assert [str(p) for pattern in HALF_WRITTEN for p in run.rglob(pattern)] == []
    (applied,) = [run for run in road.runs if road.read("run.json", run) in killed and is_cut_apply(run)]
    assert any(line["item"] == "/etc/provision/offline.env" for line in road.read("apply.jsonl", applied))
    assert road.docker("ps", "--all", "--quiet") == ""
    assert road.docker("images", "--quiet", "--filter", "dangling=true") == ""
    assert len(road.docker("images", "--quiet").split()) == 2
    left = road.machine.run("sh", "-c", "ls -d /tmp/provision-* /var/tmp/provision-* 2>/dev/null; true").stdout
    assert left == ""
    assert road.machine.run("dpkg", "--audit").stdout == ""
    assert road.machine.run("cat", "/run/lock/provision.lock").stdout == ""


def is_cut_apply(run: Path) -> bool:
    """Whether the run was killed while it changed the machine: there is evidence, and nothing after it."""
    return (run / "replaced/evidence.json").exists() and not (run / "replaced/after.json").exists()
