"""Whole machines: from a snapshot to what the doctor finds, what would be planned, and the files that are rendered."""

from __future__ import annotations

import dataclasses
import importlib.util
import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from provision import plan, render, road, spec
from provision.fact import Absent, Missing, Snapshot
from provision.facts.docker import DaemonJson
from provision.facts.engines import ContainerEngines, EngineFound

HERE = Path(__file__).parent
FOUND = importlib.util.spec_from_file_location("record_machines", HERE / "record.py")
assert FOUND and FOUND.loader
record: Any = importlib.util.module_from_spec(FOUND)
FOUND.loader.exec_module(record)

NAMES = record.machines()
RELEASES = sorted((HERE / "releases").glob("*.json"))


def snapshot(name: str) -> Snapshot:
    return road.read_snapshot(str(HERE / f"{name}.json"))


def applied(made: plan.Plan, before: Snapshot) -> Snapshot:
    """The facts after the plan was applied: its engine beside those that were here, and its daemon.json."""
    engines = before.known(ContainerEngines)
    others = tuple(e for e in engines.found if e.kind != made.dependencies.engine) if engines else ()
    ours = EngineFound(kind=made.dependencies.engine, version="28", running=True, evidence=())  # type: ignore[arg-type]
    text = made.dependencies.daemon_json
    file = DaemonJson(path="/etc/docker/daemon.json", text=text, keys=tuple(sorted(json.loads(text))), error=None)
    facts = {"ContainerEngines": ContainerEngines(found=(*others, ours)), "DaemonJson": file}
    return Snapshot(before.machine, {**before.facts, **facts}, before.tool_version)


def test_the_machines_that_matter_are_here() -> None:
    wanted = {"debian12-bare", "debian12-after-up", "gpu-h100", "gpu-driver-mismatch", "kubernetes-node", "wsl2"}
    assert wanted <= set(NAMES)
    assert {path.stem for path in record.EXPECTED.glob("*.json")} == set(NAMES)
    assert [name for name in NAMES if f"`{name}`" not in (HERE / "README.md").read_text()] == []


@pytest.mark.parametrize("name", NAMES)
def test_a_machine_is_judged_planned_and_rendered_as_expected(name: str) -> None:
    assert record.judged(snapshot(name)) == json.loads((record.EXPECTED / f"{name}.json").read_text())


@pytest.mark.parametrize("name", NAMES)
def test_planning_after_applying_changes_nothing(name: str, tmp_path: Path) -> None:
    first = plan.make(snapshot(name), spec.Spec())
    again = plan.make(applied(first, snapshot(name)), spec.Spec(), previous=first)
    assert again == first
    render.render(first, tmp_path)
    assert record.files(again) == {
        str(p.relative_to(tmp_path)): record.hashlib.sha256(p.read_bytes()).hexdigest()
        for p in tmp_path.rglob("*")
        if p.is_file()
    }


@pytest.mark.parametrize("name", sorted(record.LAYERS))
def test_a_recorded_machine_is_what_the_probes_make_of_its_recordings(name: str) -> None:
    assert record.collected(name).to_json() == json.loads((HERE / f"{name}.json").read_text())


def test_the_gpu_machines_plan_and_files_are_as_kept() -> None:
    folder = HERE / record.GPU
    kept = {str(p.relative_to(folder)): p.read_text() for p in sorted(folder.rglob("*")) if p.is_file()}
    assert kept == record.rendered(record.GPU)


@pytest.mark.parametrize(("version", "found"), [("471.41", True), ("525.60.12", True), ("525.60.13", False)])
def test_on_wsl2_a_driver_too_old_for_every_lock_is_found_until_it_is_replaced(version: str, found: bool) -> None:
    """No module shows the driver there: the container is for the CPU, and that must not look well."""
    text = (HERE / "wsl2.json").read_text().replace("580.82.07", version)
    seen = road.diagnose(road.parse_snapshot(text.encode(), "wsl2.json"), spec.Spec())
    assert (road.plan_of(seen).cuda.device == "cpu") is found
    assert ("CUD005" in {r.code for r in seen.results if r.outcome == "found"}) is found


def test_a_broken_driver_is_found_by_its_cause_and_the_plan_stays_the_gpus() -> None:
    """What is right for a machine does not depend on whether its driver works today; the reasons tell what was known."""
    broken = json.loads((record.EXPECTED / "gpu-driver-mismatch.json").read_text())
    assert "nvml-driver-library-mismatch" in broken["causes"]
    sections = [
        (dataclasses.replace(made.cuda, reasons=()), made.gpu_memory, made.storage, made.dependencies.lock, made.proofs)
        for made in (plan.make(snapshot(name), spec.Spec()) for name in ("gpu-h100", "gpu-driver-mismatch"))
    ]
    assert sections[0] == sections[1]


def test_up_left_the_machine_that_was_planned() -> None:
    """Both real: what was planned on the bare machine and what is planned after ``up`` differ only in the engine's file.

    (The bridge was switched off there between the two snapshots, so that the machine below kept its own network.)
    """
    before, after = (plan.make(snapshot(f"debian12-{state}"), spec.Spec()) for state in ("bare", "after-up"))
    files = [json.loads(made.dependencies.daemon_json) for made in (before, after)]
    assert files[1] == {**files[0], "bridge": "none", "iptables": False}
    same = dataclasses.replace(after.dependencies, daemon_json=before.dependencies.daemon_json)
    assert dataclasses.replace(after, dependencies=same) == before


def _holds(now: Any, was: Any) -> bool:
    """Whether all that was recorded is there as it was; a field that came later has its default beside it."""
    if isinstance(was, dict):
        return isinstance(now, dict) and all(name in now and _holds(now[name], was[name]) for name in was)
    if isinstance(was, list):
        return isinstance(now, list) and len(now) == len(was) and all(map(_holds, now, was))
    return bool(now == was)


@pytest.mark.parametrize("path", RELEASES, ids=lambda path: path.stem)
def test_an_old_snapshot_keeps_loading(path: Path) -> None:
    """Each release keeps the snapshot it made. A fact reads as it was, or says which version recorded it."""
    recorded = json.loads(path.read_text())
    loaded = road.read_snapshot(str(path))
    assert {"0.1"} <= {one.stem for one in RELEASES}
    assert loaded.tool_version.startswith(path.stem)
    again = loaded.to_json()["facts"]
    changed = [name for name, was in recorded["facts"].items() if name in again and not _holds(again[name], was)]
    wrong = [
        name
        for name in changed
        if not again[name].get("missing", "").startswith(f"recorded by {loaded.tool_version}, whose {name} ")
    ]
    assert wrong == []
    assert [r.code for r in road.diagnose(loaded, spec.Spec()).results if r.outcome == "crashed"] == []
    assert sum(not isinstance(value, (Absent, Missing)) for value in loaded.facts.values()) > 0


def test_making_them_again_is_a_target_of_the_makefile() -> None:
    done = subprocess.run(["make", "-n", "pages"], cwd=HERE.parents[1], capture_output=True, text=True, check=True)
    assert "tests/machines/record.py" in done.stdout
