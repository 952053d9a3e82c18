"""What differs between a machine that works and one that does not, the likeliest reason first."""

from __future__ import annotations

import dataclasses
import json
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from click.testing import CliRunner

from provision import check, codec, diff, facts, road
from provision.cli import main
from provision.fact import FACTS, PROBES, Absent, Missing, Snapshot
from provision.facts.counters import KernelCounters
from provision.facts.driver import NvidiaDriver
from provision.facts.environment import Environment
from provision.facts.memory import Memory
from provision.facts.system import System
from provision.report import snapshots
from provision.spec import Expect, Spec

GIB = 1 << 30
TODAY = "2026-11-24"
facts.load()
check.load()


def memory(total: int, free: int) -> Memory:
    return Memory(
        total_bytes=total, available_bytes=free, swap_total_bytes=0, swap_free_bytes=0, cgroup_limit_bytes=None, limit_bytes=total
    )  # fmt: skip


def tasks(number: int) -> KernelCounters:
    return KernelCounters(
        tasks=number, tasks_limit=1000, open_files=None, open_files_limit=None, connections=None, connections_limit=None,
        panic_seconds=None, watchdog=False, core_pattern=None,
    )  # fmt: skip


def machine(name: str, **given: Any) -> Snapshot:
    """A machine on which nothing is there but what is given."""
    return Snapshot(name, dict.fromkeys(PROBES, Absent("not there")) | given, "0")


def driver(version: str) -> NvidiaDriver:
    return NvidiaDriver(version=version, flavour="open", source="/proc/driver/nvidia/version")


SPEC = Spec(expect=Expect(driver="580"))


def test_what_alone_changes_a_check_comes_first() -> None:
    """The old driver is the reason; that memory and settings differ too is not."""
    works = machine("a", NvidiaDriver=driver("580.82.07"), Memory=memory(64 * GIB, 60 * GIB))
    broken = machine(
        "b", NvidiaDriver=driver("570.10"), Memory=memory(32 * GIB, 30 * GIB), Environment=Environment(variables=())
    )
    made = diff.compare(works, broken, SPEC, TODAY)
    first = made.differences[0]
    assert (first.fact, first.field, first.a, first.b) == ("NvidiaDriver", "version", "580.82.07", "570.10")
    assert first.why == "changes a check"
    assert "driver-older-than-expected" in {f.cause for f in first.flips}
    assert {f.code for f in first.flips} <= {f.code for f in made.checks}
    assert {d.fact for d in made.differences} == {"NvidiaDriver", "Memory", "Environment"}


def test_the_other_way_round_says_the_same_with_sides_changed() -> None:
    works, broken = machine("a", NvidiaDriver=driver("580.82.07")), machine("b", NvidiaDriver=driver("570.10"))
    one, other = diff.compare(works, broken, SPEC, TODAY), diff.compare(broken, works, SPEC, TODAY)
    assert [(f.code, f.a, f.b) for f in one.checks] == [(f.code, f.b, f.a) for f in other.checks]
    assert [(d.field, d.a, d.b, d.why) for d in one.differences] == [
        (d.field, d.b, d.a, d.why) for d in other.differences
    ]


def test_a_field_that_turns_nothing_is_not_blamed() -> None:
    """Version and flavour differ; only the version is what the check reads."""
    old = dataclasses.replace(driver("570.10"), flavour="proprietary")
    made = diff.compare(machine("a", NvidiaDriver=driver("580.82.07")), machine("b", NvidiaDriver=old), SPEC, TODAY)
    assert {d.field: d.why for d in made.differences} == {
        "version": "changes a check",
        "flavour": "read by such a check",
    }


def test_where_no_check_differs_versions_come_before_the_rest() -> None:
    system = System(
        os_id="debian", os_version="12", os_codename="bookworm", os_name="Debian 12", kernel="6.1.0-28-amd64", hostname="x",
        architecture="x86_64", init="systemd", container="none", virtualization="none", glibc="2.36",
    )  # fmt: skip
    other = dataclasses.replace(system, kernel="6.1.0-29-amd64", hostname="y", virtualization="kvm")
    made = diff.compare(machine("a", System=system), machine("b", System=other), Spec(), TODAY)
    assert made.checks == ()
    assert [(d.field, d.why) for d in made.differences] == [
        ("kernel", "version"),
        ("hostname", "other"),
        ("virtualization", "other"),
    ]


def test_a_fact_that_one_side_could_not_look_at_is_a_difference_with_its_reason() -> None:
    made = diff.compare(machine("a"), machine("b", KernelLog=Missing("permission denied")), Spec(), TODAY)
    (one,) = made.differences
    assert (one.fact, one.field, one.a, one.b) == (
        "KernelLog",
        "",
        {"absent": "not there"},
        {"missing": "permission denied"},
    )
    assert one.why == "changes a check"
    shown = snapshots.difference(made)
    assert "could not look: permission denied" in shown and "not there: not there" in shown


@pytest.mark.parametrize(
    ("a", "b", "expected"),
    [
        ({"x": 1}, {"x": 2}, [("x", 1, 2)]),
        ({"x": {"y": 1, "z": 2}}, {"x": {"y": 1, "z": 3}}, [("x.z", 2, 3)]),
        (
            {"p": [["torch", "2.1"], ["vllm", "1"]]},
            {"p": [["torch", "2.2"]]},
            [("p.torch", "2.1", "2.2"), ("p.vllm", "1", None)],
        ),
        (
            {"m": [{"mount_point": "/", "free": 1}, {"mount_point": "/x", "free": 1}]},
            {"m": [{"mount_point": "/x", "free": 2}, {"mount_point": "/", "free": 1}]},
            [("m./x.free", 1, 2)],
        ),
        ({"l": [1, 2]}, {"l": [2, 1]}, [("l", [1, 2], [2, 1])]),
        ({"l": []}, {"l": [{"name": "a"}]}, [("l.a", None, {"name": "a"})]),
        ({"l": [{"name": "a"}, {"name": "a"}]}, {"l": []}, [("l", [{"name": "a"}, {"name": "a"}], [])]),
    ],
)
def test_records_are_compared_by_their_names(a: Any, b: Any, expected: list[Any]) -> None:
    assert list(diff._unequal("", a, b)) == expected


@pytest.mark.parametrize(
    ("field", "why"),
    [
        ("hostname", "other"),
        ("gpus.0.uuid", "other"),
        ("running.dockerd.pid", "other"),
        ("init", "read by such a check"),
    ],
)
def test_what_names_a_machine_is_no_reason(field: str, why: str) -> None:
    assert diff._why("System", field, (), {"System"}) == why


def test_the_same_machine_differs_in_nothing() -> None:
    one = machine("a", NvidiaDriver=driver("580.82.07"))
    made = diff.compare(one, one, SPEC, TODAY)
    assert (made.checks, made.differences) == ((), ())
    assert snapshots.difference(made) == "A is a, B is a: 0 differences\n\nNothing differs.\n"


def test_what_changes_by_itself_is_no_difference_unless_it_turns_a_check() -> None:
    """One machine at two times; then with so many tasks that a check speaks."""
    early, late = machine("a", Memory=memory(64 * GIB, 60 * GIB)), machine("a", Memory=memory(64 * GIB, 59 * GIB))
    made = diff.compare(early, late, Spec(), TODAY)
    assert [(d.field, d.why) for d in made.differences] == [("available_bytes", "changes by itself")]
    assert snapshots.difference(made) == (
        "A is a, B is a: 0 differences\n\nNothing differs.\n\n"
        "left out, for it changes by itself (--json has it): Memory.available_bytes\n"
    )
    few, many = machine("a", KernelCounters=tasks(100)), machine("a", KernelCounters=tasks(999))
    (one,) = diff.compare(few, many, Spec(), TODAY).differences
    assert (one.field, one.why, [f.code for f in one.flips]) == ("tasks", "changes a check", ["MON051"])


def test_no_two_blank_lines_and_the_moving_fields_are_counted() -> None:
    a = machine("a", Memory=memory(64 * GIB, 60 * GIB), Environment=Environment(variables=()))
    b = machine("b", Memory=memory(32 * GIB, 30 * GIB), Environment=Environment(variables=(("A", "1"),)))
    shown = snapshots.difference(diff.compare(a, b, Spec(), TODAY))
    assert "\n\n\n" not in shown
    assert shown.startswith("A is a, B is b: 3 differences\n\nthe rest\n")
    assert "  Memory.total_bytes" in shown and "  Memory.available_bytes" not in shown
    many = diff.Comparison(
        "a",
        "b",
        (),
        tuple(diff.Difference("Numa", f"nodes.{n}.free_bytes", 1, 2, "changes by itself") for n in range(9)),
    )
    assert snapshots.difference(many).endswith("Numa.nodes.5.free_bytes, and 3 more\n")


@pytest.mark.parametrize(
    ("fact", "field", "why"),
    [
        ("Mounts", "mounts./.free_bytes", "changes by itself"),
        ("Mounts", "mounts./.total_bytes", "other"),
        ("Mounts", "mounts./models", "other"),  # a mount that one side lacks
        ("GpuClocks", "gpus.0.celsius", "changes by itself"),
        ("GpuModes", "gpus.0.processes.compute.memory_bytes", "changes by itself"),
        ("GpuErrors", "gpus.0.corrected_since_load", "other"),  # something happened
        ("Memory", "", "other"),  # known on one side only
    ],
)
def test_where_a_field_stands_says_whether_it_changes_by_itself(fact: str, field: str, why: str) -> None:
    assert diff._why(fact, field, (), set()) == why


def test_every_field_that_changes_by_itself_is_a_field_of_its_fact() -> None:
    for name, fields in diff.VOLATILE.items():
        assert fields <= set(_field_names(FACTS[name])), name


def _field_names(kind: Any) -> Iterator[str]:
    """The names of a record's fields and of those of the records in it."""
    for field, hint in typing.get_type_hints(kind).items():
        yield field
        for part in _records(hint):
            yield from _field_names(part)


def _records(hint: Any) -> Iterator[Any]:
    if dataclasses.is_dataclass(hint):
        yield hint
    for part in typing.get_args(hint):
        yield from _records(part)


def test_of_two_gpu_servers_the_driver_is_named_first() -> None:
    """The suite's machines: one works, on the other the loaded module is older than the library."""
    folder = Path(__file__).parent / "machines"
    works, broken = (road.read_snapshot(str(folder / f"{name}.json")) for name in ("gpu-h100", "gpu-driver-mismatch"))
    made = diff.compare(works, broken, Spec(), TODAY)
    first = made.differences[0]
    assert (first.fact, first.field, first.a, first.b) == ("NvidiaDriver", "version", "580.82.07", "535.183.01")
    assert "CUD003" in [f.code for f in first.flips]
    assert [d.why for d in made.differences] == sorted((d.why for d in made.differences), key=diff.WHYS.index)
    assert {"Packages", "Environment"} <= {d.fact for d in made.differences if d.why == "other"}


def test_the_command_on_real_snapshots(tmp_path: Path) -> None:
    """This machine beside itself with less: one package environment and the kernel log taken away."""
    run = CliRunner()
    assert run.invoke(main, ["facts", "-o", str(tmp_path / "a.json")]).exit_code == 0
    own = road.read_snapshot(str(tmp_path / "a.json"))
    less = Snapshot("other", {**own.facts, "KernelLog": Missing("permission denied")}, own.tool_version)
    (tmp_path / "b.json").write_text(codec.dumps(less.to_json()))
    done = run.invoke(main, ["diff", str(tmp_path / "a.json"), str(tmp_path / "b.json")])
    assert done.exit_code == 0
    lines = done.stdout.splitlines()
    assert lines[0] == f"A is {own.machine}, B is other: 1 difference"
    assert lines[lines.index("alone changes what a check says") + 1].startswith("  KernelLog  A ")
    document = json.loads(
        run.invoke(main, ["diff", str(tmp_path / "a.json"), str(tmp_path / "b.json"), "--json"]).stdout
    )
    jsonschema.validate(document, SCHEMA)
    assert [d["fact"] for d in document["differences"]] == ["KernelLog"]
    assert run.invoke(main, ["diff", str(tmp_path / "a.json"), str(tmp_path / "none.json")]).exit_code == 2


FLIP = {
    "type": "object",
    "required": ["code", "name", "severity", "cause", "a", "b"],
    "properties": {side: {"enum": list(check.OUTCOMES)} for side in ("a", "b")},
}
SCHEMA = {
    "type": "object",
    "required": ["schema", "a", "b", "checks", "differences"],
    "properties": {
        "schema": {"const": 1},
        "checks": {"type": "array", "items": FLIP},
        "differences": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["fact", "field", "a", "b", "why", "flips"],
                "properties": {"why": {"enum": list(diff.WHYS)}, "flips": {"type": "array", "items": FLIP}},
            },
        },
    },
}


def test_long_lists_are_counted_on_the_screen() -> None:
    many = {f"V{i}": str(i) for i in range(40)}
    a = machine("a", Environment=Environment(variables=()))
    b = machine("b\x1b[2J", Environment=Environment(variables=tuple(many.items())))
    shown = snapshots.difference(diff.compare(a, b, Spec(), TODAY))
    assert f"and {40 - snapshots.SHOWN} more: --json" in shown
    assert "\x1b" not in shown
