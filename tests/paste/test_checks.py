"""Checks that judge a pasted text: both sides, exact messages, and what is unknown where the text does not say."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from provision import check
from provision.fact import NOT_PASTED

Judge = Callable[..., dict[str, check.Result]]


def report(**stated: str) -> str:
    """A collect_env report of these lines."""
    names = {
        "torch": "PyTorch version",
        "cuda": "CUDA used to build PyTorch",
        "os": "OS",
        "gpus": "GPU models and configuration",
        "driver": "Nvidia driver version",
    }
    return "\n".join(["Collecting environment information...", *(f"{names[k]}: {v}" for k, v in stated.items())])


def said(result: check.Result) -> Any:
    return (
        [f.message for f in result.findings] if result.outcome in ("ok", "found") else (result.outcome, result.reason)
    )


@pytest.mark.parametrize(
    ("driver", "expected"),
    [
        (
            "525.60.12",
            ["torch 2.6.0+cu124 was built for CUDA 12.4, which needs driver 525.60.13 or newer; 525.60.12 is loaded"],
        ),
        ("525.60.13", []),
    ],
)
def test_driver_too_old_for_a_stated_torch(judge: Judge, driver: str, expected: list[str]) -> None:
    assert said(judge(report(torch="2.6.0+cu124", cuda="12.4", driver=driver))["CUD010"]) == expected


def test_a_torch_without_its_build_is_taken_for_the_default_wheel_and_only_likely(judge: Judge) -> None:
    (finding,) = judge(report(torch="2.12.0", driver="550.163.01"))["CUD010"].findings
    assert finding.message == (
        "the default wheel of torch 2.12.0 was built for CUDA 13.0, which needs driver 580.65.06 or newer; 550.163.01 is loaded"
    )
    assert (finding.certainty, finding.tell_apart) == (
        "likely",
        ('python3 -c "import torch; print(torch.__version__, torch.version.cuda)"',),
    )
    (finding,) = judge(report(torch="2.6.0", os="x (x86_64)", gpus="GPU 0: NVIDIA GeForce RTX 5090"))["CUD011"].findings
    assert (finding.message, finding.certainty) == (
        NEWER.replace("torch 2.6.0+cu124", "the default wheel of torch 2.6.0"),
        "likely",
    )


@pytest.mark.parametrize(
    "text",
    [report(torch="2.6.0a0+nv", driver="450.80.02"), report(torch="2.6.0", os="x (aarch64)", driver="450.80.02")],
)
def test_a_torch_that_is_no_default_wheel_is_not_judged(judge: Judge, text: str) -> None:
    assert said(judge(text)["CUD010"]) == ("unknown", "what was pasted does not say what torch was built for")


@pytest.mark.parametrize(("api", "found"), [("11.4", 1), ("12.2", 0)])
def test_a_newer_cuda_than_the_drivers_own_is_a_compat_library(judge: Judge, api: str, found: int) -> None:
    smi = f"| NVIDIA-SMI 470.82.01    Driver Version: 470.82.01    CUDA Version: {api}     |\n"
    assert len(judge(smi + report(torch="2.5.1+cu121"))["CUD010"].findings) == found


def test_a_driver_without_torch_is_not_judged(judge: Judge) -> None:
    assert said(judge(report(driver="450.80.02"))["CUD010"]) == ("unknown", NOT_PASTED)


NEWER = "torch 2.6.0+cu124 (CUDA 12.4) was compiled for 5.0, 6.0, 7.0, 7.5, 8.0, 8.6 and 9.0; NVIDIA GeForce RTX 5090 is 12.0"


@pytest.mark.parametrize(("gpu", "expected"), [("NVIDIA GeForce RTX 5090", [NEWER]), ("NVIDIA GeForce RTX 4090", [])])
def test_no_kernels_for_a_stated_gpu(judge: Judge, gpu: str, expected: list[str]) -> None:
    text = report(torch="2.6.0+cu124", cuda="12.4", os="Ubuntu 22.04.5 LTS (x86_64)", gpus=f"GPU 0: {gpu}")
    result = judge(text)["CUD011"]
    assert said(result) == expected
    assert all(f.certainty == "certain" for f in result.findings)


@pytest.mark.parametrize(
    ("driver", "commands", "why"),
    [
        ("570.86.10", 1, "cu128   # built for CUDA 12.8, which driver 570.86.10 runs"),
        ("580.82.07", 1, "'torch==2.15.*'   # built for CUDA 13.2, which driver 580.82.07 runs"),
        (None, 2, "built for CUDA 13.2: needs driver 580.65.06 or newer"),
    ],
)
def test_the_build_that_is_advised_runs_on_the_stated_driver(
    judge: Judge, driver: str | None, commands: int, why: str
) -> None:
    given = {"driver": driver} if driver else {}
    text = report(torch="2.6.0+cu124", cuda="12.4", gpus="GPU 0: NVIDIA GeForce RTX 5090", **given)
    (finding,) = judge(text)["CUD011"].findings
    assert len(finding.fix) == commands
    assert why in finding.fix[0]


@pytest.mark.parametrize(
    ("torch", "gpu", "certainty"),
    [
        ("2.6.0+cu124", "NVIDIA GeForce RTX 5090", "certain"),  # wheels for Arm have no code for it either
        ("2.9.0+cu130", "Tesla V100-SXM2-32GB", "likely"),
        ("2.9.0+cu130", "NVIDIA GB10", None),  # what the driver compiles serves a newer card
        ("2.11.0+cu130", "Jetson AGX Thor", None),  # Tegra has builds of its own
    ],
)
def test_no_kernels_where_the_processor_is_not_said(judge: Judge, torch: str, gpu: str, certainty: str | None) -> None:
    findings = judge(report(torch=torch, gpus=f"GPU 0: {gpu}"))["CUD011"].findings
    assert [f.certainty for f in findings] == [certainty] * (certainty is not None)
    if certainty == "likely":
        assert findings[0].tell_apart == ("uname -m   # the table knows x86_64 wheels",)


def test_the_cuda_runtime_beside_torch_says_what_it_was_built_for(judge: Judge) -> None:
    driver = "| NVIDIA-SMI 470.82.01    Driver Version: 470.82.01    CUDA Version: 11.4     |\n"
    assert said(judge(driver + "torch==2.8.0\nnvidia-cuda-runtime-cu12==12.8.90\n")["CUD010"]) == [
        "torch 2.8.0 was built for CUDA 12.8, which needs driver 525.60.13 or newer; 470.82.01 is loaded"
    ]
    two = "torch==2.8.0\nnvidia-cuda-runtime-cu12==12.8.90\nnvidia-cuda-runtime==13.0.96\n"
    assert [f.certainty for f in judge(driver + two)["CUD010"].findings] == ["likely"]


def test_an_arm_machine_is_not_judged_by_the_table_of_x86_wheels(judge: Judge) -> None:
    result = judge(report(torch="2.6.0+cu124", os="Ubuntu 22.04 (aarch64)", gpus="GPU 0: NVIDIA GH200 480GB"))["CUD011"]
    assert said(result) == ("skipped", "the table knows x86_64 wheels; this is aarch64")


def test_a_gpu_that_the_table_does_not_have_is_not_judged(judge: Judge) -> None:
    result = judge(report(torch="2.6.0+cu124", os="x (x86_64)", gpus="GPU 0: NVIDIA Futura 9"))["CUD011"]
    assert said(result) == ("unknown", "the table has no compute capability for NVIDIA Futura 9")


@pytest.mark.parametrize(
    ("torch", "cuda", "expected"),
    [
        ("2.6.0+cpu", "None", ["torch 2.6.0+cpu was built without CUDA; GPU 0 is NVIDIA A10"]),
        ("2.6.0+cu124", "12.4", []),
    ],
)
def test_a_stated_torch_without_cuda(judge: Judge, torch: str, cuda: str, expected: list[str]) -> None:
    assert said(judge(report(torch=torch, cuda=cuda, gpus="GPU 0: NVIDIA A10"))["CUD009"]) == expected


def test_a_cpu_build_without_a_card_in_sight_is_not_judged(judge: Judge) -> None:
    assert said(judge(report(torch="2.6.0+cpu"))["CUD009"]) == ("unknown", NOT_PASTED)


NO_GPU = """PyTorch version: 2.6.0+cpu
CUDA used to build PyTorch: None
Is CUDA available: False
GPU models and configuration: No CUDA
Nvidia driver version: No CUDA
"""


@pytest.mark.parametrize(
    ("text", "severity"),
    [(NO_GPU, "warning"), (NO_GPU.replace("models and configuration: No CUDA", "0: NVIDIA A10"), "error")],
)
def test_a_report_that_saw_no_gpu_makes_a_cpu_build_no_error(judge: Judge, text: str, severity: str) -> None:
    (result,) = [r for code, r in judge(text).items() if code in ("CUD009", "CUD146") and r.outcome == "found"]
    assert result.severity == severity


def test_a_cpu_build_beside_a_stated_driver_is_found(judge: Judge) -> None:
    assert said(judge(report(torch="2.6.0+cpu", driver="550.90.07"))["CUD009"]) == [
        "torch 2.6.0+cpu was built without CUDA; the NVIDIA driver 550.90.07 is loaded"
    ]


@pytest.mark.parametrize(
    ("torch", "expected"),
    [("2.7.1", ["vllm 0.11.0 requires torch 2.8.0; 2.7.1 is installed"]), ("2.8.0", [])],
)
def test_a_pasted_list_with_an_engine_and_another_torch(judge: Judge, torch: str, expected: list[str]) -> None:
    assert said(judge(f"torch=={torch}\nvllm==0.11.0\n")["DEP015"]) == expected


def test_a_pasted_list_for_two_cuda_majors(judge: Judge) -> None:
    both = "nvidia-cudnn-cu12==9.1.0.70\nnvidia-cudnn-cu13==9.12.0.46\n"
    assert said(judge(both)["DEP013"]) == ["the list holds NVIDIA packages for CUDA 12 and 13, nvidia-cudnn in both"]
    assert said(judge("nvidia-cudnn-cu12==9.1.0.70\n")["DEP013"]) == []


CACHE = "1423 libs found in cache `/etc/ld.so.cache'\n\tlibcuda.so.1 (libc6,x86-64) => {}\n"


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        (
            "/usr/local/cuda-12.4/lib64/stubs/libcuda.so.1",
            ["the first libcuda is the stub /usr/local/cuda-12.4/lib64/stubs/libcuda.so.1 (through ldconfig)"],
        ),
        ("/lib/x86_64-linux-gnu/libcuda.so.1", []),
    ],
)
def test_a_stub_in_a_pasted_cache(judge: Judge, path: str, expected: list[str]) -> None:
    assert said(judge(CACHE.format(path))["CUD012"]) == expected


def test_a_compat_library_in_a_pasted_cache_has_no_version_to_judge(judge: Judge) -> None:
    compat = "/usr/local/cuda-12.4/compat/libcuda.so.1"
    result = judge(CACHE.format(compat), report(driver="550.90.07"))["CUD013"]
    assert said(result) == ("unknown", f"{compat} has no version in its name")
    assert said(judge(CACHE.format(compat).replace("libcuda", "libz"), report(driver="550.90.07"))["CUD013"]) == (
        "unknown",
        NOT_PASTED,
    )


HIDDEN = "GPU 0: NVIDIA A10 (UUID: GPU-1)\nCUDA_VISIBLE_DEVICES={}\n"


@pytest.mark.parametrize(
    ("value", "expected"), [("-1", ["CUDA_VISIBLE_DEVICES is '-1': none of 1 is visible"]), ("0", [])]
)
def test_pasted_variables_are_judged(judge: Judge, value: str, expected: list[str]) -> None:
    assert said(judge(HIDDEN.format(value))["CUD014"]) == expected


def test_a_variable_that_was_not_pasted_may_be_set_all_the_same(judge: Judge) -> None:
    assert said(judge("GPU 0: NVIDIA A10\nHF_HOME=/models\n")["CUD014"]) == ("unknown", NOT_PASTED)
    assert said(judge("GPU 0: NVIDIA A10\nPATH=/usr/bin\nHF_HOME=/models\n")["CUD014"]) == []


def test_pasted_allocator_settings_are_judged(judge: Judge) -> None:
    old, new = "PYTORCH_CUDA_ALLOC_CONF", "PYTORCH_ALLOC_CONF"
    results = judge(f"torch==2.8.0\n{old}=garbage_collection_threshold=0.8\n{new}=max_split_size_mb:128\n")
    assert said(results["FRG001"]) == [
        f'{old} holds "garbage_collection_threshold=0.8"; torch wants a colon between key and value: '
        '"garbage_collection_threshold:0.8"'
    ]
    assert results["FRG004"].outcome == "found"
    one = judge(f"torch==2.8.0\n{old}=max_split_size_mb:128\n")
    assert said(one["FRG001"]) == said(one["FRG002"]) == said(one["FRG003"]) == []
    assert said(one["FRG004"]) == ("unknown", NOT_PASTED)


def test_the_torch_of_a_pasted_list_judges_allocator_keys(judge: Judge) -> None:
    result = judge("torch==2.8.0\nPYTORCH_CUDA_ALLOC_CONF=nonsense:1\n")["FRG002"]
    assert said(result) == [
        "PYTORCH_CUDA_ALLOC_CONF holds nonsense, which torch 2.8 does not know: no torch release knows it"
    ]


XID = "[ 3600.123456] NVRM: Xid (PCI:0000:17:00): {}, pid=812, name=python3, x\n"


@pytest.mark.parametrize(("code", "outcomes"), [(79, ("found", "ok")), (31, ("ok", "found")), (43, ("ok", "found"))])
def test_a_pasted_kernel_log_needs_no_card_beside_it(judge: Judge, code: int, outcomes: tuple[str, str]) -> None:
    results = judge(XID.format(code))
    assert (results["MON001"].outcome, results["MON002"].outcome) == outcomes
    assert said(judge(report(driver="550.90.07"))["MON001"]) == ("unknown", NOT_PASTED)


SHARED = "Filesystem 1K-blocks Used Available Use% Mounted on\ntmpfs {0} 0 {0} 0% /dev/shm\n"


@pytest.mark.parametrize(("kib", "found"), [(65536, 1), (1 << 20, 0)])
def test_a_pasted_shared_memory(judge: Judge, kib: int, found: int) -> None:
    assert len(judge(SHARED.format(kib) + "GPU 0: NVIDIA A10\nGPU 1: NVIDIA A10\n")["MEM006"].findings) == found
    assert judge(SHARED.format(kib) + "GPU 0: NVIDIA A10\n")["MEM006"].outcome == "skipped"
    assert said(judge(SHARED.format(kib))["MEM006"]) == ("unknown", NOT_PASTED)


def test_pasted_limits(judge: Judge) -> None:
    limits = "Limit                     Soft Limit           Hard Limit           Units\n"
    limits += "Max open files            1024                 1048576              files\n"
    limits += "Max locked memory         {}              {}            bytes\n"
    gpus = "GPU 0: NVIDIA A10\nGPU 1: NVIDIA A10\n"
    assert judge(limits.format(65536, 65536) + gpus)["MEM007"].outcome == "found"
    assert judge(limits.format("unlimited", "unlimited") + gpus)["MEM007"].outcome == "ok"


def test_what_was_not_pasted_is_never_a_bad_sign(judge: Judge) -> None:
    """Checks that take "could not look" for a symptom (a driver that gives no answer) must not take it from a text."""
    results = judge(report(driver="550.90.07"))
    assert {r.code: r.outcome for r in results.values() if r.outcome == "found"} == {}
    assert said(results["CUD004"]) == ("unknown", NOT_PASTED)
    assert said(results["MON003"]) == ("unknown", NOT_PASTED)
