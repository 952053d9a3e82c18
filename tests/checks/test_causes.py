"""The table of causes: acyclic, and one cause where there are many symptoms."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from provision import cause, check
from provision.fact import Absent, Missing
from provision.facts.docker import CdiSpecs, DaemonJson, Docker, Images
from provision.facts.driver import Nouveau, NvidiaDriver
from provision.facts.engines import ContainerEngines
from provision.facts.gpus import Gpus
from provision.facts.pci import NvidiaCards, PciCard
from provision.spec import Expect, Spec

check.load()
# The contract's vocabulary (design, "Causes"): names that other tools may rely on.
CONTRACT = """
    bitsandbytes-cuda-setup compat-package-shadow compute-capability-feature container-gpu-runtime-missing
    container-lost-gpu-cgroup cpu-isa-missing cuda-toolkit-missing-or-mismatch cuda-visible-devices-or-mig
    cudnn-mismatch dependency-conflict disk-full driver-not-loaded driver-too-old-for-cuda ecc-error
    fabric-manager-not-running fragmentation-oom glibc-or-manylinux-too-old gpu-throttling host-ram-oom-killed
    hugepage-or-swap insufficient-kv-cache insufficient-vram-weights iommu-acs-hang ld-library-path-shadow
    multi-node-ray nccl-network-interface numa-or-cpu-governor nvlink-p2p-broken nvml-driver-library-mismatch
    pcie-link-degraded permission-cache-dir port-in-use python-version-or-abi shm-too-small slow-storage
    tensor-parallel-not-divisible torch-arch-unsupported torch-cpu-build ulimit-memlock-or-nofile wsl2-specific
    xid-hardware
""".split()  # noqa: SIM905  a list of words reads better


def test_the_contracts_vocabulary_is_there() -> None:
    assert set(CONTRACT) <= set(cause.table())


@pytest.mark.parametrize("name", sorted(cause.table()))
def test_what_a_cause_explains_is_in_the_table_and_never_itself(name: str) -> None:
    assert set(cause.table()[name].explains) <= set(cause.table())
    assert name not in cause.explained_by(name)


def test_lines_are_sentences_without_a_full_stop() -> None:
    assert not [
        n for n, row in cause.table().items() if row.line.endswith(".") or row.line[0].isspace() or not row.line
    ]


def diagnose(run_check: Callable[..., Any], *changes: Any) -> list[tuple[str, tuple[str, ...]]]:
    results = [run_check(code, *changes) for code in sorted(check.CHECKS)]
    return [(one.cause, one.codes) for one in cause.causes(results)]


def test_a_card_without_a_driver_is_one_cause(a: Any, run_check: Any) -> None:
    changes = (
        a(NvidiaCards, cards=(a(PciCard, kernel_driver=None),)),
        a(Spec, expect=Expect(gpus=1, driver="580")),
        {NvidiaDriver: Absent("not loaded"), Gpus: Missing("not loaded"), CdiSpecs: Absent("none")},
    )
    assert diagnose(run_check, *changes) == [("driver-not-loaded", ("CUD001",))]


def test_nouveau_is_one_cause(a: Any, run_check: Any) -> None:
    changes = (
        a(NvidiaCards, cards=(a(PciCard, kernel_driver="nouveau"),)),
        a(Spec, expect=Expect(gpus=2)),
        Nouveau(cards=("0000:01:00.0",), blacklisted_in=()),
        {NvidiaDriver: Absent("not loaded"), Gpus: Missing("not loaded"), CdiSpecs: Absent("none")},
    )
    assert diagnose(run_check, *changes) == [("nouveau-loaded", ("CUD002",))]


def test_a_mismatch_explains_that_nvml_does_not_answer(a: Any, run_check: Any) -> None:
    reason = "the driver's library and the loaded kernel module are of different versions"
    found = diagnose(run_check, {Gpus: Missing(reason)}, a(NvidiaDriver, version="580.65.06"))
    assert found == [("nvml-driver-library-mismatch", ("CUD003", "CUD054"))]


def test_no_engine_is_one_cause(run_check: Any) -> None:
    none = Absent("not installed")
    changes = {ContainerEngines: none, Docker: none, Images: none, DaemonJson: none, CdiSpecs: none}
    assert diagnose(run_check, changes) == [("container-engine-missing", ("DEP001",))]


def test_settings_that_are_not_json_explain_an_engine_that_is_down(a: Any, run_check: Any) -> None:
    engines = a(ContainerEngines, found=tuple(_stopped(e, a) for e in a(ContainerEngines).found))
    changes = (engines, a(DaemonJson, text="{,", keys=(), error="line 1"), {Docker: Absent("x"), Images: Absent("x")})
    assert diagnose(run_check, *changes) == [("engine-settings-broken", ("DEP006",))]


def _stopped(engine: Any, a: Any) -> Any:
    return a(type(engine), kind=engine.kind, evidence=engine.evidence, running=False)
