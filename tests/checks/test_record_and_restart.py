"""AUD050 to AUD053, ROL050 to ROL055, MON050 to MON058: both sides of every threshold, with the exact words."""

from __future__ import annotations

from typing import Any

import pytest

from provision.facts.clock import Clock
from provision.facts.containers import Containers, RunningContainer
from provision.facts.control_group import ControlGroup
from provision.facts.counters import CrashRecords, HostMemoryErrors, KernelCounters
from provision.facts.docker import Image, Images
from provision.facts.journal import EvidenceFolder, Journal, Recorders
from provision.facts.kernels import InstalledKernel, Kernels
from provision.facts.listeners import Listener, Listeners
from provision.facts.system import System
from provision.facts.upgrades import RebootRequired
from provision.plan import Rollout


@pytest.mark.parametrize(
    ("storage", "on_disk", "forwarded", "said"),
    [
        ("auto", True, False, []),
        ("persistent", False, False, []),
        ("auto", False, True, []),
        ("auto", False, False, ["the journal is not kept on disk (Storage=auto, and there is no /var/log/journal)"]),
        ("volatile", True, False, ["the journal is not kept on disk (Storage=volatile)"]),
    ],
)
def test_aud050_wants_a_journal_that_lasts(
    a: Any, messages: Any, storage: str, on_disk: bool, forwarded: bool, said: list[str]
) -> None:
    assert messages("AUD050", a(Journal, storage=storage, on_disk=on_disk, forwarded=forwarded)) == said


@pytest.mark.parametrize(
    ("synchronised", "keepers", "virtualization", "said"),
    [
        (True, (), "none", []),
        (False, (), "none", [("the kernel's clock is not synchronised and no time service runs", "certain")]),
        (False, (), "kvm", [("the kernel's clock is not synchronised and no time service runs", "possible")]),
        (False, ("chronyd",), "none", [("the kernel's clock is not synchronised, though chronyd runs", "possible")]),
    ],
)
def test_aud051_wants_a_clock_that_is_kept(
    a: Any,
    run_check: Any,
    synchronised: bool,
    keepers: tuple[str, ...],
    virtualization: str,
    said: list[tuple[str, str]],
) -> None:
    clock = a(Clock, synchronised=synchronised, keepers=keepers)
    result = run_check("AUD051", clock, a(System, virtualization=virtualization))
    assert [(f.message, f.certainty) for f in result.findings] == said


@pytest.mark.parametrize(("auditing", "found"), [(("auditd",), 0), ((), 1)])
def test_aud052_wants_a_record_of_who(a: Any, messages: Any, auditing: tuple[str, ...], found: int) -> None:
    said = messages("AUD052", a(Recorders, auditing=auditing))
    assert said == ["neither auditd nor a program like it runs on this machine with 2 NVIDIA cards"][:found]


def test_aud052_and_mon050_do_not_judge_from_inside_a_container(a: Any, run_check: Any) -> None:
    for code in ("AUD052", "MON050"):
        none = a(Recorders, auditing=(), metrics=())
        assert run_check(code, none, a(System, container="docker")).outcome == "skipped"


@pytest.mark.parametrize(("mode", "found"), [(0o755, 0), (0o757, 1)])
def test_aud053_wants_evidence_that_few_may_change(a: Any, messages: Any, mode: int, found: int) -> None:
    said = messages("AUD053", a(EvidenceFolder, mode=mode))
    assert said == ["/var/lib/provision can be written by everybody (mode 0757)"][:found]


@pytest.mark.parametrize(("port", "found"), [(22, 0), (30000, 1)])
def test_rol050_names_taken_ports(a: Any, messages: Any, port: int, found: int) -> None:
    said = messages("ROL050", a(Listeners, listeners=(a(Listener, port=port, reach="loopback"),)))
    assert said == ["port 30000, SGLang's API unless told otherwise, is taken"][:found]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({}, []),
        ({"restart": "no"}, ["the container vllm serves on port 9000 and has no restart policy"]),
        ({"restart": "no", "open_ports": ()}, ["the container vllm uses GPUs and has no restart policy"]),
        ({"restart": "no", "open_ports": (), "gpus": False}, []),
    ],
)
def test_rol051_wants_containers_that_come_back(a: Any, messages: Any, change: dict[str, Any], said: list[str]) -> None:
    assert messages("ROL051", a(Containers, running=(a(RunningContainer, **change),))) == said


@pytest.mark.parametrize(("tags", "found"), [(("provision/smoke:old",), 0), (("provision/smoke:new",), 1)])
def test_rol052_wants_a_way_back(a: Any, messages: Any, tags: tuple[str, ...], found: int) -> None:
    said = messages("ROL052", a(Images, images=(a(Image, tags=tags),)), a(Rollout, previous_tag="old"))
    assert said == ["provision/smoke:old, the version before, is not among the images"][:found]


@pytest.mark.parametrize(
    ("release", "bootable", "found"),
    [
        ("6.1.0-27-amd64", True, 0),
        ("6.1.0-31-amd64", True, 1),
        ("6.1.0-31-amd64", False, 0),
        ("6.1.0-31-rt-amd64", True, 0),
    ],
)
def test_rol053_compares_kernels_of_one_flavour(
    a: Any, messages: Any, release: str, bootable: bool, found: int
) -> None:
    other = a(InstalledKernel, release=release, bootable=bootable)
    kernels = a(Kernels, installed=(a(InstalledKernel), other))
    said = messages("ROL053", kernels)
    assert said == ["6.1.0-28-amd64 runs; 6.1.0-31-amd64 is installed and starts at the next reboot"][:found]


@pytest.mark.parametrize(
    ("packages", "said"), [((), "a reboot is due"), (("linux-base",), "a reboot is due for linux-base")]
)
def test_rol054_says_what_waits(messages: Any, packages: tuple[str, ...], said: str) -> None:
    assert messages("ROL054", RebootRequired(packages=packages)) == [said]


def test_rol054_has_nothing_to_say_where_nothing_waits(run_check: Any) -> None:
    assert run_check("ROL054").outcome == "skipped"


@pytest.mark.parametrize(
    ("image", "found"),
    [
        ("vllm/vllm-openai:v0.33.0", 0),
        ("registry:5000/vllm@sha256:00", 0),
        ("vllm/vllm-openai:latest", 1),
        ("registry:5000/vllm", 1),
    ],
)
def test_rol055_wants_a_name_for_the_version(a: Any, messages: Any, image: str, found: int) -> None:
    said = messages("ROL055", a(Containers, running=(a(RunningContainer, image=image),)))
    assert said == [f"the container vllm runs {image}, a tag that moves"][:found]


@pytest.mark.parametrize(("metrics", "found"), [(("node_exporter",), 0), ((), 1)])
def test_mon050_wants_something_that_measures(a: Any, messages: Any, metrics: tuple[str, ...], found: int) -> None:
    said = messages("MON050", a(Recorders, metrics=metrics))
    assert said == ["none of the known exporters and agents runs on this machine with 2 NVIDIA cards"][:found]


@pytest.mark.parametrize(("tasks", "found"), [(799, 0), (800, 1)])
def test_mon051_wants_task_numbers_left(a: Any, messages: Any, tasks: int, found: int) -> None:
    said = messages("MON051", a(KernelCounters, tasks=tasks, tasks_limit=1000))
    assert said == ["800 tasks of at most 1000"][:found]


@pytest.mark.parametrize(("files", "found"), [(799, 0), (800, 1)])
def test_mon052_wants_file_handles_left(a: Any, messages: Any, files: int, found: int) -> None:
    said = messages("MON052", a(KernelCounters, open_files=files, open_files_limit=1000))
    assert said == ["800 open files of at most 1000"][:found]


@pytest.mark.parametrize(("connections", "found"), [(899, 0), (900, 1)])
def test_mon053_wants_room_for_connections(a: Any, messages: Any, connections: int, found: int) -> None:
    said = messages("MON053", a(KernelCounters, connections=connections, connections_limit=1000))
    assert said == ["900 tracked connections of at most 1000"][:found]


@pytest.mark.parametrize(
    ("code", "change", "what"),
    [
        ("MON051", {"tasks": None}, "tasks"),
        ("MON052", {"open_files": None}, "open files"),
        ("MON053", {"connections": None, "connections_limit": None}, "connections"),
    ],
)
def test_what_is_not_counted_is_not_judged(
    a: Any, run_check: Any, code: str, change: dict[str, Any], what: str
) -> None:
    result = run_check(code, a(KernelCounters, **change))
    assert (result.outcome, result.reason) == ("skipped", f"{what} are not counted here, or have no limit")


@pytest.mark.parametrize(("errors", "found"), [(0, 0), (2, 1)])
def test_mon054_wants_memory_that_holds(a: Any, messages: Any, errors: int, found: int) -> None:
    said = messages("MON054", a(HostMemoryErrors, uncorrected=errors))
    assert said == ["2 uncorrected memory errors since this machine started"][:found]


@pytest.mark.parametrize(("corrected", "uncorrected", "found"), [(0, 0, 0), (1, 0, 1), (1, 1, 0)])
def test_mon055_counts_corrections(a: Any, messages: Any, corrected: int, uncorrected: int, found: int) -> None:
    said = messages("MON055", a(HostMemoryErrors, corrected=corrected, uncorrected=uncorrected))
    assert said == ["1 corrected memory error since this machine started"][:found]


def test_mon056_names_what_was_kept(messages: Any, run_check: Any) -> None:
    assert messages("MON056", CrashRecords(names=("dmesg-efi-1",))) == ["1 record of a crashed kernel: dmesg-efi-1"]
    assert run_check("MON056").outcome == "skipped"


@pytest.mark.parametrize(("seconds", "watchdog", "found"), [(10, False, 0), (0, True, 0), (0, False, 1)])
def test_mon057_wants_a_machine_that_comes_back(
    a: Any, messages: Any, seconds: int, watchdog: bool, found: int
) -> None:
    said = messages("MON057", a(KernelCounters, panic_seconds=seconds, watchdog=watchdog))
    assert said == ["kernel.panic is 0 and no watchdog is there, on a machine with 2 NVIDIA cards"][:found]


def test_mon057_leaves_guests_to_their_host(a: Any, run_check: Any) -> None:
    counters = a(KernelCounters, panic_seconds=0, watchdog=False)
    assert run_check("MON057", counters, a(System, virtualization="kvm")).outcome == "skipped"


@pytest.mark.parametrize(("tasks", "limit", "found"), [(79, 100, 0), (80, 100, 1)])
def test_mon058_wants_tasks_left_in_the_group(a: Any, messages: Any, tasks: int, limit: int, found: int) -> None:
    said = messages("MON058", a(ControlGroup, tasks=tasks, tasks_limit=limit))
    assert said == ["80 tasks of the 100 that this control group may have"][:found]


def test_mon058_needs_a_limit(a: Any, run_check: Any) -> None:
    assert run_check("MON058", a(ControlGroup, tasks_limit=None)).outcome == "skipped"
