"""What pasted facts alone show, on both sides of each line."""

from __future__ import annotations

from typing import Any

import pytest

from provision.fact import Absent
from provision.facts.stated import Stated, StatedGpu
from provision.facts.symptoms import Symptoms
from provision.paste.clean import lines
from provision.paste.symptoms import find

UNLIKE = (StatedGpu(index=0, name="NVIDIA GeForce RTX 3080 Ti"), StatedGpu(index=1, name="NVIDIA GeForce RTX 3090"))
ALIKE = (StatedGpu(index=0, name="NVIDIA GeForce RTX 3090"), StatedGpu(index=1, name="NVIDIA GeForce RTX 3090"))
COMPAT = "LD_LIBRARY_PATH begins with /usr/local/cuda/compat: its libcuda comes before the driver's own"


@pytest.fixture
def told(run_check: Any) -> Any:
    return lambda code, **stated: [f.message for f in run_check(code, Stated(**stated)).findings]


@pytest.mark.parametrize(
    ("path", "found"),
    [
        ("/usr/local/cuda/compat:/usr/lib", [COMPAT]),
        ("/usr/local/cuda/lib64:/usr/local/cuda/compat", []),
        ("/opt/incompatible", []),
    ],
)
def test_cud140_compat_folder_first(told: Any, path: str, found: list[str]) -> None:
    assert told("CUD140", env=(("LD_LIBRARY_PATH", path),)) == found


@pytest.mark.parametrize(
    ("folder", "found"),
    [
        ("cuda-12.1", ["LD_LIBRARY_PATH holds CUDA 12.1; torch 2.10.0+cu128 was built for CUDA 12.8"]),
        ("cuda-12.8", []),
        ("cuda", []),
    ],
)
def test_cud141_another_cuda_in_the_path(told: Any, folder: str, found: list[str]) -> None:
    env = (("LD_LIBRARY_PATH", f"/usr/local/{folder}/lib64"),)
    assert told("CUD141", env=env, torch_version="2.10.0+cu128", torch_cuda="12.8") == found
    assert told("CUD141", env=env) == []


@pytest.mark.parametrize(
    ("value", "found"),
    [
        ("None", ["CUDA_VISIBLE_DEVICES is 'None', which names no device, so every GPU is hidden"]),
        ("0,1", []),
        ("GPU-8f1c", []),
        ("MIG-1d2a-33", []),
        ("all", []),
        ("", []),
    ],
)
def test_cud142_a_value_that_names_no_device(told: Any, value: str, found: list[str]) -> None:
    assert told("CUD142", env=(("CUDA_VISIBLE_DEVICES", value),)) == found


def test_cud143_unlike_cards_by_number(told: Any) -> None:
    chosen = (("CUDA_VISIBLE_DEVICES", "1"),)
    ordered = (("CUDA_DEVICE_ORDER", "PCI_BUS_ID"), *chosen)
    names = "NVIDIA GeForce RTX 3080 Ti and NVIDIA GeForce RTX 3090"
    assert told("CUD143", gpus=UNLIKE, env=chosen) == [
        f"CUDA_VISIBLE_DEVICES is 1 among {names}, and CUDA_DEVICE_ORDER is not PCI_BUS_ID"
    ]
    assert told("CUD143", gpus=UNLIKE, env=ordered) == told("CUD143", gpus=ALIKE, env=chosen) == []


def test_cud144_a_toolkit_of_another_major(told: Any) -> None:
    assert told("CUD144", toolkit_version="11.7", torch_cuda="12.1") == [
        "the CUDA toolkit is 11.7; torch was built for CUDA 12.1, and extensions need its major"
    ]
    assert told("CUD144", toolkit_version="12.8.93", torch_cuda="12.1") == told("CUD144", torch_cuda="12.1") == []


def test_cud145_a_driver_too_old_for_the_engines_torch(told: Any) -> None:
    installed = (("vllm", "0.7.3"),)
    assert told("CUD145", driver_version="510.108.03", packages=installed) == [
        "vllm 0.7.3 brings torch 2.5.1, whose default wheel is for CUDA 12.4: driver 525.60.13 or newer; it is 510.108.03"
    ]
    assert told("CUD145", driver_version="525.60.13", packages=installed) == []
    assert told("CUD145", driver_version="510.108.03", packages=installed, torch_cuda="11.8") == []
    assert told("CUD145", driver_version="510.108.03", packages=(("vllm", "99.0"),)) == []


def test_cud146_a_build_for_the_processor(told: Any) -> None:
    assert told("CUD146", torch_version="2.2.0+cpu", torch_without_cuda=True) == [
        "torch 2.2.0+cpu was built without CUDA"
    ]
    assert told("CUD146", torch_version="2.2.0+cu121", torch_cuda="12.1") == []


@pytest.mark.parametrize(
    ("stated", "severity"),
    [
        ({}, "error"),  # a list of packages, pasted to a question about GPUs
        ({"no_gpu_seen": True}, "warning"),
    ],
)
def test_cud146_a_build_for_the_processor_is_no_error_where_no_gpu_was_seen(
    run_check: Any, stated: dict[str, Any], severity: str
) -> None:
    result = run_check("CUD146", Stated(torch_version="2.2.0+cpu", torch_without_cuda=True, **stated))
    assert (result.outcome, result.severity) == ("found", severity)
    assert bool(result.findings[0].tell_apart) is (severity == "warning")


@pytest.mark.parametrize("card", [{"driver_version": "550.90.07"}, {"gpus": ALIKE}])
def test_cud146_leaves_a_build_beside_a_stated_card_to_cud009(run_check: Any, card: dict[str, Any]) -> None:
    result = run_check("CUD146", Stated(torch_version="2.2.0+cpu", torch_without_cuda=True, **card))
    assert (result.outcome, "CUD009" in result.reason) == ("skipped", True)


@pytest.mark.parametrize(
    ("log", "certainty"),
    [
        (Absent("no log was pasted"), "certain"),
        ("AssertionError: Torch not compiled with CUDA enabled", "certain"),
        ("KeyError: 'lm_head.weight'", "likely"),
    ],
)
def test_cud146_beside_a_log_that_complains_of_something_else(run_check: Any, log: Any, certainty: str) -> None:
    heard = find(lines(log)) if isinstance(log, str) else {Symptoms: log}
    (one,) = run_check("CUD146", Stated(torch_version="2.2.0+cpu", torch_without_cuda=True), heard).findings
    assert one.certainty == certainty
