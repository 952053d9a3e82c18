"""CUD060 to CUD069: both sides of every threshold, with the exact words."""

from __future__ import annotations

from typing import Any

import pytest

from provision.facts.cuda import CudaToolkit, CudaToolkits
from provision.facts.gpus import Gpu, Gpus
from provision.facts.linkage import Linkage, Linked, TorchLinkage, Wanting
from provision.facts.metadata import CondaCuda, CondaPackages, EnvironmentMetadata, PythonMetadata, Unmet
from provision.facts.native import NativeBuild, NativeBuilds
from provision.facts.packages import PackageEnvironment, Packages, TorchBuild

OWN = "/opt/venv/lib/python3.11/site-packages/nvidia/nvjitlink/lib/libnvJitLink.so.12"
OTHER = "/usr/local/cuda-12.1/lib64/libnvJitLink.so.12.1.105"


def linked(a: Any, **overrides: Any) -> Linkage:
    one = {"name": "libnvJitLink.so.12", "path": OTHER, "version": "12.1.105", "why": "LD_LIBRARY_PATH"}
    one |= {"own_path": OWN, "own_version": "12.4.127"}
    return a(Linkage, environments=(a(TorchLinkage, linked=(a(Linked, **(one | overrides)),)),))  # type: ignore[no-any-return]


def environment(a: Any, *packages: tuple[str, str], **overrides: Any) -> Packages:
    one = a(PackageEnvironment, prefix="/opt/venv", packages=packages, **overrides)
    return a(Packages, environments=(one,))  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    ("change", "older", "foreign"),
    [
        ({}, 1, 0),
        ({"version": "12.4.127"}, 0, 1),
        ({"version": None}, 0, 1),
        ({"why": "RPATH of libtorch_cuda.so"}, 0, 0),
        ({"path": OWN}, 0, 0),
        ({"own_path": None}, 0, 0),
        ({"name": "libcuda.so.1"}, 0, 0),
        ({"name": "libstdc++.so.6", "version": "6.0.28", "own_version": "6.0.30"}, 0, 1),
    ],
)
def test_cud060_and_cud061_tell_an_older_copy_from_another(
    a: Any, messages: Any, change: dict[str, Any], older: int, foreign: int
) -> None:
    assert len(messages("CUD060", linked(a, **change))) == older
    assert len(messages("CUD061", linked(a, **change))) == foreign


def test_cud060_says_which_and_why(a: Any, messages: Any) -> None:
    assert messages("CUD060", linked(a)) == [
        f"libnvJitLink.so.12 12.1.105 in {OTHER} comes before 12.4.127 in {OWN} (LD_LIBRARY_PATH)"
    ]


def test_cud061_says_which_and_why(a: Any, messages: Any) -> None:
    said = messages("CUD061", linked(a, version=None))
    assert said == [f"libnvJitLink.so.12 in {OTHER} comes before {OWN} (LD_LIBRARY_PATH)"]


@pytest.mark.parametrize(
    ("offered", "wanted", "found"), [("3.4.30", "3.4.30", 0), ("3.4.9", "3.4.10", 1), (None, "3.4.30", 0)]
)
def test_cud062_compares_what_is_offered_and_wanted(
    a: Any, messages: Any, offered: str | None, wanted: str, found: int
) -> None:
    cpp = a(Linked, name="libstdc++.so.6", path="/opt/conda/lib/libstdc++.so.6.0.9", why="LD_LIBRARY_PATH")
    wanting = a(Wanting, file="flash_attn_2_cuda.so", cpp=wanted)
    one = a(TorchLinkage, linked=(cpp,), cpp_offered=offered, wanting=(wanting,))
    assert (
        messages("CUD062", a(Linkage, environments=(one,)))
        == [
            "/opt/conda/lib/libstdc++.so.6.0.9 (LD_LIBRARY_PATH) offers GLIBCXX_3.4.9; flash_attn_2_cuda.so in /opt/venv "
            "needs GLIBCXX_3.4.10"
        ][:found]
    )


@pytest.mark.parametrize(
    ("lacking", "cuda", "found"),
    [
        (("libcuda.so.1 (for libtorch_cuda.so)",), "13.0", 0),
        (("libnvidia-ml.so.1 (for libtorch_cuda.so)", "libfoo.so (for x.so)"), "13.0", 0),
        (("libcudnn.so.9 (for libtorch_cuda.so)",), "13.0", 1),
        (("libcudnn.so.9 (for libtorch_cuda.so)",), None, 0),
    ],
)
def test_cud063_wants_everything_torch_links_to(
    a: Any, messages: Any, lacking: tuple[str, ...], cuda: str | None, found: int
) -> None:
    linkage = a(Linkage, environments=(a(TorchLinkage, not_found=lacking),))
    said = messages("CUD063", linkage, environment(a, torch=a(TorchBuild, cuda=cuda)))
    text = "torch 2.13.0+cu130 in /opt/venv links to libcudnn.so.9 (for libtorch_cuda.so), found nowhere"
    assert said == [text][:found]


@pytest.mark.parametrize(
    ("conda", "pip", "found"),
    [
        ((("cuda-cudart", "12.4.127"),), (("nvidia-cublas-cu12", "12.4.5.8"),), 1),
        ((("libstdcxx-ng", "13.2.0"),), (("nvidia-cublas-cu12", "12.4.5.8"),), 0),
        ((("cuda-cudart", "12.4.127"),), (("numpy", "2.4.6"),), 0),
    ],
)
def test_cud064_wants_cuda_from_one_place(a: Any, messages: Any, conda: Any, pip: Any, found: int) -> None:
    packages = a(Packages, environments=(a(PackageEnvironment, prefix="/opt/conda", kind="conda", packages=pip),))
    said = messages("CUD064", a(CondaPackages, environments=(a(CondaCuda, packages=conda),)), packages)
    assert said == ["/opt/conda holds cuda-cudart from conda and nvidia-cublas-cu12 from pip"][:found]


@pytest.mark.parametrize(
    ("installed", "found"), [("9.20.1.1", 0), ("9.30.0.1", 0), ("9.19.0.5", 1), ("8.9.7.29", 1), ("10.0.0.1", 1)]
)
def test_cud065_wants_no_older_cudnn(a: Any, messages: Any, installed: str, found: int) -> None:
    unmet = a(
        Unmet, package="torch", version="2.13.0", requires="nvidia-cudnn-cu13==9.20.0.48", name="nvidia-cudnn-cu13",
        found=installed,
    )  # fmt: skip
    metadata = a(PythonMetadata, environments=(a(EnvironmentMetadata, unmet=(unmet,)),))
    said = messages("CUD065", metadata)
    text = f"torch 2.13.0 in /opt/venv was built with nvidia-cudnn-cu13 9.20.0.48; {installed} is here"
    assert said == [text][:found]


@pytest.mark.parametrize(("version", "found"), [("13.2", 0), ("12.4", 1)])
def test_cud066_compares_majors(a: Any, messages: Any, version: str, found: int) -> None:
    toolkits = a(CudaToolkits, toolkits=(a(CudaToolkit, version=version),))
    said = messages("CUD066", toolkits)
    assert said == ["/usr/local/cuda-13.0 is CUDA 12.4; torch 2.13.0+cu130 in /opt/venv is for CUDA 13.0"][:found]


def test_cud066_needs_a_compiler(a: Any, run_check: Any) -> None:
    toolkits = a(CudaToolkits, toolkits=(a(CudaToolkit, version="12.4", nvcc=False),))
    assert run_check("CUD066", toolkits).outcome == "skipped"


@pytest.mark.parametrize(
    ("libraries", "cuda", "said"),
    [
        (("12.8", "13.0"), "13.0", []),
        (("12.8", "13.0"), "13.2", []),
        (("12.6",), "12.4", "12.6"),
        (("11.8", "12.8"), "13.0", "11.8 and 12.8"),
        ((), "13.0", "none"),
        (("12.8",), None, []),
    ],
)
def test_cud067_wants_a_library_for_torchs_cuda(
    a: Any, messages: Any, libraries: tuple[str, ...], cuda: str | None, said: Any
) -> None:
    native = a(NativeBuilds, environments=(a(NativeBuild, bitsandbytes_cuda=libraries),))
    packages = environment(a, ("bitsandbytes", "0.45.0"), torch=a(TorchBuild, version="2.13.0", cuda=cuda))
    text = f"bitsandbytes 0.45.0 in /opt/venv has libraries for CUDA {said}; torch 2.13.0 was built for {cuda}"
    assert messages("CUD067", native, packages) == ([text] if said else [])


@pytest.mark.parametrize(
    ("wheel", "torch", "abi", "said"),
    [
        ("2.7.4+cu12torch2.6cxx11abiFALSE", ("2.6.0", "12.4"), None, []),
        ("2.7.4+cu12torch2.6cxx11abiFALSE", ("2.6.0", "12.6"), True, "the old C++ interface, not torch's"),
        ("2.7.4+cu12torch2.5cxx11abiFALSE", ("2.6.0", "12.4"), None, "torch 2.5, not 2.6"),
        ("2.8.3+cu12torch2.8cxx11abiTRUE", ("2.8.0", "13.0"), None, "CUDA 12, not 13.0"),
        ("2.8.3+cu12torch2.8cxx11abiFALSE", ("2.8.0", "12.8"), None, "the old C++ interface, not torch's"),
        ("2.7.4+cu12torch2.4cxx11abiTRUE", ("2.4.1", "12.1"), None, "the new C++ interface, not torch's"),
        ("2.8.3", ("2.8.0", "12.8"), None, []),
    ],
)
def test_cud068_reads_the_wheels_name(
    a: Any, messages: Any, wheel: str, torch: tuple[str, str], abi: bool | None, said: Any
) -> None:
    packages = environment(a, ("flash-attn", wheel), torch=a(TorchBuild, version=torch[0], cuda=torch[1]))
    native = a(NativeBuilds, environments=(a(NativeBuild, torch_cxx11_abi=abi),))
    text = f"flash-attn {wheel} in /opt/venv was compiled for {said}"
    assert messages("CUD068", packages, native) == ([text] if said else [])


@pytest.mark.parametrize(
    ("package", "capability", "said"),
    [
        (("flash-attn", "2.8.3"), "8.0", []),
        (("flash-attn", "2.8.3"), "7.5", "flash-attn 2.8.3 in /opt/venv has code from compute capability 8.0 on"),
        (("flash-attn", "1.0.9"), "7.5", []),
        (("vllm", "0.19.1"), "7.0", []),
        (("vllm", "0.20.0"), "7.0", "vllm 0.20.0 in /opt/venv has code from compute capability 7.5 on"),
        (("vllm", "0.33.0+cpu"), "7.0", []),
        (("flash-attn-3", "3.0.0"), "12.0", []),
        (("bitsandbytes", "0.47.0"), "5.2", []),
        (("bitsandbytes", "0.48.0"), "5.2", "bitsandbytes 0.48.0 in /opt/venv has code from compute capability 6.0 on"),
        (("bitsandbytes", "0.50.2"), "6.0", []),
    ],
)
def test_cud069_compares_generations(
    a: Any, messages: Any, package: tuple[str, str], capability: str, said: Any
) -> None:
    gpus = a(Gpus, gpus=(a(Gpu, name="Tesla", compute_capability=capability),))
    found = messages("CUD069", environment(a, package), gpus)
    assert found == ([f"{said}; Tesla is {capability}"] if said else [])
