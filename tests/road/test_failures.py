"""What goes wrong on real machines, with its real cause: one message, the next command, the exit code, nothing half-made.

Where the cause is met by a single stage it is tested there: wheels from a dead index, wrong hashes, a full disk and a
killed download in tests/lock/test_wheelhouse.py; apt without a network, an engine that does not start and Ctrl-C in
tests/hosts; an engine that stops during the proofs, and their memory limit, in tests/image.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator

import pytest

from ..image.conftest import make_ingredients
from .conftest import PROGRAM, ROOT, Ended, Road, wait_until

pytestmark = [pytest.mark.engine, pytest.mark.network]
DATA_ROOT = "/var/lib/docker"
# The base image, the context and a part of the wheels unpacked fit; all of them do not (1.1 GB, image.json).
SMALL_DISK_MIB = 700
NOBODY = 65534


def one_message(done: Ended, said: str, then: str) -> None:
    """The last lines are the message and the next command, and nothing of Python shows."""
    assert "Traceback" not in done.err, done.err
    message = done.err.rpartition(said)
    assert message[1], done.err
    assert done.err.count(said) == 1 and then in message[2]


# --- the network, the lock, the socket --------------------------------------------------------------------------------


def test_no_network_for_the_wheels(road: Road) -> None:
    empty = road.machine.shared / "empty-cache"
    nowhere = {"PIP_INDEX_URL": "http://127.0.0.1:9/simple", "PIP_EXTRA_INDEX_URL": "", "PIP_FIND_LINKS": ""}
    assert road.provision("plan").code == 0
    done = road.provision("build", PROVISION_CACHE=str(empty), PIP_CONFIG_FILE=os.devnull, **nowhere)
    assert done.code == 4
    one_message(done, "the package index http://127.0.0.1:9/simple/", "Connection refused. Nothing was changed")
    assert [p.name for p in (empty / "wheels").iterdir() if p.name != ".lock"] == []


def test_a_damaged_lock(road: Road) -> None:
    """Every hash of one package wrong in a digit. Bound over the file: the checkout itself is not touched."""
    lock = ROOT / "lockfiles/smoke-cpu-py311.txt"
    damaged = re.sub(r"(?m)^numpy==.*\\\n(?: +--hash.*\n)+", lambda m: m[0].replace(":", ":0"), lock.read_text())
    damaged = re.sub(r"(?m)(:0[0-9a-f]{63})[0-9a-f]\b", r"\1", damaged)
    assert damaged != lock.read_text()
    other = road.machine.shared / "damaged.txt"
    other.write_text(damaged)
    before = road.docker("images", "--quiet")
    road.machine.run("mount", "--bind", str(other), str(lock))
    try:
        assert road.provision("plan").code == 0
        done = road.provision("build")
    finally:
        road.machine.run("umount", str(lock))
    assert done.code == 4
    one_message(done, "the wheel in the house is not the one that was locked", "Expected sha256 0")
    assert " numpy " in f" {done.err}"
    assert road.docker("images", "--quiet") == before


def test_permission_denied_on_the_engines_socket(road: Road) -> None:
    """A user who is neither root nor in group docker."""
    run = road.machine.run
    run("sh", "-c", f"mkdir -p /home/nobody && chown {NOBODY}:{NOBODY} /home/nobody && chmod a+x /root")
    who = ("setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", "env", "-C", "/home/nobody")
    own = {
        "HOME": "/home/nobody",
        "PROVISION_CACHE": "/home/nobody/cache",
        "PYTHONPATH": str(ROOT),
        "XDG_RUNTIME_DIR": "/home/nobody",
    }
    planned = run(*who, *PROGRAM, "plan", check=False, **own)
    assert planned.returncode == 0, planned.stderr
    built = run(*who, *PROGRAM, "build", check=False, **own)
    done = Ended(code=built.returncode, out=built.stdout, err=built.stderr, seconds=0)
    assert done.code == 4
    one_message(done, f"permission denied on the engine's socket for user {NOBODY}", "sudo provision up")
    up = run(*who, *PROGRAM, "up", check=False, **own)
    assert up.returncode == 4 and "needs root; nothing was changed" in up.stderr


# --- what never answers -----------------------------------------------------------------------------------------------


def test_an_nvidia_driver_that_never_answers(road: Road) -> None:
    """``nvidia-smi`` and the management library both hang and ignore SIGTERM."""
    folder = road.machine.shared / "hung"
    folder.mkdir()
    stub = ROOT / "tests/facts/nvml_stub.c"
    subprocess.run(["gcc", "-shared", "-fPIC", "-o", str(folder / "libnvidia-ml.so.1"), str(stub)], check=True)
    (folder / "nvidia-smi").write_text("#!/bin/sh\ntrap '' TERM\nwhile :; do sleep 1; done\n")
    (folder / "nvidia-smi").chmod(0o755)
    (folder / "scenario").write_text("machine init hang\n")
    healthy = outcomes(road.provision("doctor", "--format", "json"))
    hung = {
        "LD_LIBRARY_PATH": str(folder),
        "NVML_STUB": str(folder / "scenario"),
        "PATH": f"{folder}:{os.environ['PATH']}",
    }
    done = road.provision("doctor", "--format", "json", **hung)
    assert done.seconds < 30, "NVML has 2 s (provision/child.py), and so has everything else"
    found = outcomes(done)
    assert found.keys() == healthy.keys()
    about_gpus = {code for code, result in found.items() if "NVML gave no answer in 2 s" in result["reason"]}
    assert about_gpus and {found[code]["outcome"] for code in about_gpus} == {"unknown"}
    other = {c for c in found if found[c]["outcome"] != healthy[c]["outcome"]} - about_gpus
    # The one thing that is different: a library on LD_LIBRARY_PATH, which is a finding in its own right.
    assert not [c for c in other if not found[c]["findings"] or str(folder) not in json.dumps(found[c])]
    assert done.code in (1, 3) and done.err == ""
    assert road.machine.run("pgrep", "-f", "nvml|nvidia-smi", check=False).stdout == ""


def outcomes(done: Ended) -> dict[str, dict[str, object]]:
    return {result["code"]: result for result in json.loads(done.out)["results"]}


# --- another builder --------------------------------------------------------------------------------------------------


def test_the_dockerfile_builds_under_buildkit_too(road: Road) -> None:
    ingredients = make_ingredients(road.machine.shared / "ingredients")
    for name, source in ingredients.parts().items():
        target = ingredients.context / name
        target.parent.mkdir(parents=True, exist_ok=True)
        (shutil.copytree if source.is_dir() else shutil.copy)(source, target)
    base = road.read("image.json", road.runs[0])["base"]
    # Debian's own client: another one on PATH may lack the plugin that BuildKit needs there.
    build = ("/usr/bin/docker", "build", "--network=none", "--build-arg", f"BASE={base}", "--tag", "buildkit-test")
    done = road.machine.run(*build, str(ingredients.context), DOCKER_BUILDKIT="1")
    try:
        assert "[install " in done.stderr, "BuildKit names its stages"
        (seen,) = json.loads(road.docker("image", "inspect", "buildkit-test"))
        assert seen["Config"]["User"] == "10001:10001"
        value = ("run", "--rm", "--network=none", "--entrypoint=/opt/venv/bin/python", "buildkit-test", "-c")
        assert road.docker(*value, "import tinydep; print(tinydep.VALUE)") == "42"
    finally:
        road.docker("rmi", "buildkit-test")
        road.docker("builder", "prune", "--all", "--force")


# --- the disk and the engine ------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def small_disk(first: tuple[Road, Ended]) -> Iterator[Road]:
    """The machine with its engine's data on a small file system of its own, empty; afterwards as it was."""
    road, _ = first
    file = road.machine.shared / "disk"
    road.stop_engine()
    road.machine.run("truncate", f"--size={SMALL_DISK_MIB}M", str(file))
    road.machine.run("mkfs.ext4", "-q", str(file))
    road.machine.run("mount", "-o", "loop", str(file), DATA_ROOT)
    try:
        yield road
    finally:
        if road.machine.run("pgrep", "-x", "dockerd", check=False).stdout:
            road.stop_engine()
        road.machine.run("umount", "--lazy", DATA_ROOT)  # a killed engine leaves mounts in it
        assert road.provision("up").code == 0


def test_the_engine_stops_during_the_build(small_disk: Road) -> None:
    road = small_disk
    with road.begin("up") as run:
        wait_until(lambda: taking_the_context(road) or run.poll() is not None, 300)
        road.machine.run("pkill", "-KILL", "-x", "dockerd")
        out, err = run.communicate(timeout=120)
    done = Ended(code=run.returncode, out=out, err=err, seconds=0)
    assert done.code == 4, err
    one_message(done, "the engine stopped half-way", "provision up")
    said = road.read("run.json")
    assert said["exit"] == 4 and "stopped half-way" in said["error"]


def taking_the_context(road: Road) -> bool:
    return road.machine.run("sh", "-c", f"ls {DATA_ROOT}/tmp/docker-builder*", check=False).stdout != ""


def test_the_disk_is_full_during_the_build(small_disk: Road) -> None:
    road = small_disk
    done = road.provision("up")
    assert done.code == 4, done.out + done.err
    one_message(done, "the engine's disk is full", f"df -h {DATA_ROOT}")
    assert "nothing of it was kept" in done.err
    assert "the engine's disk is full" in road.read("run.json")["error"] and road.read("run.json")["exit"] == 4
    assert not (road.runs[-1] / "image.json").exists()
    assert road.docker("ps", "--all", "--quiet") == ""
    assert road.docker("images", "--quiet", "--filter", "dangling=true") == ""
    assert road.docker("images", "--format", "{{.Repository}}") == "provision/base"
    left = road.machine.run("sh", "-c", f"ls {DATA_ROOT}/tmp").stdout
    assert left == "", "the context that the engine unpacked"
