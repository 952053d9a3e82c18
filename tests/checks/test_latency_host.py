"""LAT050 to LAT057: both sides of every threshold, with the exact words."""

from __future__ import annotations

from typing import Any

import pytest

from provision.fact import Absent, Missing
from provision.facts.control_group import ControlGroup
from provision.facts.cpu import Cpu
from provision.facts.environment import Environment
from provision.facts.gpus import Gpus
from provision.facts.memory_settings import MemorySettings
from provision.facts.packages import PackageEnvironment, Packages
from provision.facts.power import CpuPower, Numa


@pytest.mark.parametrize(
    ("driver", "governors", "preferences", "said"),
    [
        ("acpi-cpufreq", ("performance",), (), []),
        ("acpi-cpufreq", ("schedutil",), (), []),
        ("acpi-cpufreq", ("powersave",), (), ["the governor powersave is set (acpi-cpufreq)"]),
        ("intel_pstate", ("powersave",), ("balance_performance",), []),
        ("intel_pstate", ("powersave",), ("power",), ["the preference power is set (intel_pstate)"]),
        (
            "amd-pstate-epp",
            ("powersave",),
            ("balance_power",),
            ["the preference balance_power is set (amd-pstate-epp)"],
        ),
    ],
)
def test_lat050_takes_powersave_at_its_word_only_where_it_is_meant(
    a: Any, messages: Any, driver: str, governors: tuple[str, ...], preferences: tuple[str, ...], said: list[str]
) -> None:
    assert messages("LAT050", a(CpuPower, driver=driver, governors=governors, preferences=preferences)) == said


@pytest.mark.parametrize(
    ("enabled", "defrag", "found"),
    [("always", "always", 1), ("always", "madvise", 0), ("madvise", "always", 0), ("never", "defer", 0)],
)
def test_lat051_wants_no_waiting_for_huge_pages(a: Any, messages: Any, enabled: str, defrag: str, found: int) -> None:
    settings = a(MemorySettings, transparent_huge_pages=enabled, huge_page_defragmentation=defrag)
    said = messages("LAT051", settings)
    assert said == ["transparent huge pages and their defragmentation are both set to always"][:found]


@pytest.mark.parametrize(("balancing", "found"), [(False, 0), (None, 0), (True, 1)])
def test_lat052_wants_no_balancing_between_nodes(a: Any, messages: Any, balancing: bool | None, found: int) -> None:
    said = messages("LAT052", a(Numa, balancing=balancing))
    assert said == ["automatic NUMA balancing is on, with 2 nodes and 2 GPUs"][:found]


def test_lat052_does_not_count_nodes_without_processors(a: Any, run_check: Any) -> None:
    nodes = a(Numa).nodes[:1]
    assert run_check("LAT052", a(Numa, nodes=nodes, balancing=True)).outcome == "skipped"


@pytest.mark.parametrize(("throttled", "found"), [(249, 0), (250, 1)])
def test_lat053_wants_a_quota_that_lasts(a: Any, messages: Any, throttled: int, found: int) -> None:
    said = messages("LAT053", a(ControlGroup, cpus=2.5, throttled_periods=throttled, periods=1000))
    assert said == ["the quota of 2.5 processors was used up in 25 % of 1000 periods"][:found]


@pytest.mark.parametrize("change", [{"cpus": None}, {"periods": 0}])
def test_lat053_needs_a_quota_and_a_period(a: Any, run_check: Any, change: dict[str, Any]) -> None:
    assert run_check("LAT053", a(ControlGroup, throttled_periods=9, **change)).outcome == "skipped"


@pytest.mark.parametrize(("times", "found"), [(0, 0), (1, 1)])
def test_lat054_counts_slow_downs_for_heat(a: Any, messages: Any, times: int, found: int) -> None:
    said = messages("LAT054", a(CpuPower, throttled=times))
    assert said == ["the first processor was slowed down for heat 1 time since this machine started"][:found]


@pytest.mark.parametrize(
    ("package", "flags", "said"),
    [
        (("vllm", "0.33.0+cpu"), ("avx2",), []),
        (
            ("vllm", "0.33.0+cpu"),
            ("avx",),
            ["vllm 0.33.0+cpu in /opt/other needs avx2; this processor does not have it"],
        ),
        (("vllm", "0.33.0"), ("avx",), []),
        (("tensorflow", "2.19.0"), (), ["tensorflow 2.19.0 in /opt/other needs avx; this processor does not have it"]),
    ],
)
def test_lat055_wants_the_instructions_of_what_is_installed(
    a: Any, messages: Any, package: tuple[str, str], flags: tuple[str, ...], said: list[str]
) -> None:
    packages = a(Packages, environments=(a(PackageEnvironment, packages=(package,)),))
    assert messages("LAT055", a(Cpu, flags=flags), packages) == said


@pytest.mark.parametrize(
    ("gpus", "flags", "found"),
    [
        (Absent("none"), ("avx", "avx2"), 1),
        (Absent("none"), ("avx", "avx2", "fma"), 0),
        (Missing("no answer"), ("avx",), 0),  # there may be one
        ("one", ("avx",), 0),
        ("none answers", ("avx",), 1),
    ],
)
def test_lat055_asks_for_what_is_used_without_a_gpu_only_there(
    a: Any, run_check: Any, gpus: Any, flags: tuple[str, ...], found: int
) -> None:
    given = {Gpus: gpus if isinstance(gpus, (Absent, Missing)) else a(Gpus, **({} if gpus == "one" else {"gpus": ()}))}
    packages = a(Packages, environments=(a(PackageEnvironment, packages=(("bitsandbytes", "0.50.2"),)),))
    assert len(run_check("LAT055", a(Cpu, flags=flags), packages, given).findings) == found


@pytest.mark.parametrize(
    ("threads", "cpus", "said"),
    [
        ("8", 8.0, []),
        ("9", 8.0, ["OMP_NUM_THREADS is 9; 8 processors can run them"]),
        ("65", None, ["OMP_NUM_THREADS is 65; 64 processors can run them"]),
        ("64", None, []),
        ("2", 0.5, ["OMP_NUM_THREADS is 2; 1 processor can run them"]),
    ],
)
def test_lat056_wants_no_more_threads_than_can_run(
    a: Any, messages: Any, threads: str, cpus: float | None, said: list[str]
) -> None:
    environment = a(Environment, variables=(("OMP_NUM_THREADS", threads),))
    assert messages("LAT056", environment, a(ControlGroup, cpus=cpus)) == said


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (None, []),
        ("0", []),
        ("1", ["CUDA_LAUNCH_BLOCKING is 1: every kernel waits for the one before it"]),
    ],
)
def test_lat057_wants_kernels_launched_ahead(a: Any, messages: Any, value: str | None, said: list[str]) -> None:
    variables = () if value is None else (("CUDA_LAUNCH_BLOCKING", value),)
    assert messages("LAT057", a(Environment, variables=variables)) == said
