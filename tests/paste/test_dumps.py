"""Every kind of dump, clean and as it arrives: coloured, prefixed by a runtime, wrapped, with CRLF, cut.

The dumps in dumps/ are written by hand in the shapes that the programs print.
"""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from typing import Any

import pytest

from provision.catalog import gpus
from provision.fact import FACTS, NOT_PASTED, Missing, NotKnown, Snapshot
from provision.facts.cpu import Cpu
from provision.facts.driver import NvidiaDriver
from provision.facts.environment import Environment
from provision.facts.gpu_links import GpuLinks
from provision.facts.limits import Limits, SharedMemory
from provision.facts.log import KernelLog, OomKill, Xid
from provision.facts.pci import NvidiaCards, PciCard
from provision.facts.stated import Stated, StatedFileSystem, StatedGpu
from provision.paste import recognise
from provision.paste.snapshot import snapshot

DUMPS = Path(__file__).parent / "dumps"
GIB, MIB = 1 << 30, 1 << 20
REPORT = "collect_env (PyTorch, vLLM, SGLang)"


def driver(version: str) -> NvidiaDriver:
    return NvidiaDriver(version=version, flavour=None, source="pasted")


def two(name: str, capability: str, memory: int | None = None) -> tuple[StatedGpu, ...]:
    return tuple(StatedGpu(index=i, name=name, memory_bytes=memory, compute_capability=capability) for i in (0, 1))


SMI = {"driver_version": "550.54.15", "cuda_api": "12.4"}
FLAGS = """abm aes avx avx2 bmi1 bmi2 clflush cmov cpuid cx16 cx8 de f16c fma fpu fxsr ht lahf_lm lm mmx movbe msr nx pat pni
popcnt pse rep_good sep sse sse2 sse4_1 sse4_2 ssse3 syscall tsc vme xsave"""
# file: (kinds, what is stated, whole facts)
EXPECTED: dict[str, tuple[tuple[str, ...], dict[str, Any], tuple[Any, ...]]] = {
    "collect_env_pytorch.txt": (
        (REPORT, "lscpu"),
        {
            "driver_version": "550.90.07",
            "gpus": two("NVIDIA GeForce RTX 4090", "8.9"),
            "torch_version": "2.6.0+cu124",
            "torch_cuda": "12.4",
            "cuda_available": True,
            "python_version": "3.12.9",
            "glibc": "2.35",
            "toolkit_version": "12.4.131",
            "cudnn_version": "9.1.0",
            "os_name": "Ubuntu 22.04.5 LTS",
            "kernel": "5.15.0-130-generic",
            "architecture": "x86_64",
            "packages": (
                ("numpy", "1.26.4"),
                ("nvidia-cudnn-cu12", "9.1.0.70"),
                ("torch", "2.6.0"),
                ("transformers", "4.49.0"),
            ),
        },
        (
            driver("550.90.07"),
            Cpu(
                model="AMD EPYC 7543 32-Core Processor",
                vendor="AuthenticAMD",
                logical_cpus=64,
                cores=32,
                sockets=1,
                flags=tuple(FLAGS.split()),
                microarchitecture="x86-64-v3",
            ),
        ),
    ),
    "collect_env_vllm.txt": (
        (REPORT, "nvidia-smi topo -m", "env"),
        {
            "driver_version": "570.86.15",
            "gpus": two("NVIDIA H100 80GB HBM3", "9.0"),
            "torch_version": "2.7.0+cu126",
            "torch_cuda": "12.6",
            "cuda_available": True,
            "python_version": "3.11.11",
            "glibc": "2.35",
            "os_name": "Ubuntu 22.04.4 LTS",
            "kernel": "6.8.0-52-generic",
            "architecture": "x86_64",
            "packages": (
                ("numpy", "2.2.6"),
                ("nvidia-nccl-cu12", "2.26.2"),
                ("torch", "2.7.0"),
                ("transformers", "4.52.4"),
                ("triton", "3.3.0"),
                ("vllm", "0.9.0.1"),
            ),
            "env": (
                ("CUDA_MODULE_LOADING", "LAZY"),
                ("HF_TOKEN", "(set)"),
                ("LD_LIBRARY_PATH", "/usr/local/nvidia/lib:/usr/local/nvidia/lib64"),
                ("NCCL_CUMEM_ENABLE", "0"),
                ("PYTORCH_NVML_BASED_CUDA_CHECK", "1"),
            ),
        },
        (driver("570.86.15"),),
    ),
    "collect_env_sglang.txt": (
        (REPORT, "nvidia-smi topo -m"),
        {
            "driver_version": "535.161.08",
            "gpus": two("NVIDIA A100-SXM4-80GB", "8.0"),
            "torch_version": "2.5.1+cu124",
            "torch_cuda": "12.4",
            "cuda_available": True,
            "python_version": "3.10.12",
            "toolkit_version": "12.4",
            "packages": (
                ("flashinfer", "0.1.6+cu124torch2.4"),
                ("numpy", "1.26.4"),
                ("sgl-kernel", "0.0.2.post11"),
                ("sglang", "0.4.1.post4"),
                ("torchao", "0.7.0"),
                ("transformers", "4.47.1"),
                ("triton", "3.1.0"),
            ),
        },
        (driver("535.161.08"),),
    ),
    "transformers_env.txt": (
        (REPORT,),
        {
            "gpus": two("NVIDIA GeForce RTX 3090", "8.6")[:1],
            "torch_version": "2.2.2+cu121",
            "torch_cuda": "12.1",
            "python_version": "3.10.14",
            "glibc": "2.31",
            "kernel": "5.15.0-105-generic",
            "architecture": "x86_64",
            "packages": (
                ("accelerate", "0.29.3"),
                ("huggingface-hub", "0.22.2"),
                ("safetensors", "0.4.3"),
                ("transformers", "4.40.1"),
            ),
        },
        (),
    ),
    "nvidia_smi.txt": (
        ("nvidia-smi",),
        {**SMI, "gpus": two("NVIDIA GeForce RTX 3090", "8.6", 24576 * MIB)},
        (driver("550.54.15"),),
    ),
    "nvidia_smi_q.txt": (
        ("nvidia-smi -q",),
        {**SMI, "gpus": two("NVIDIA H100 PCIe", "9.0", 81559 * MIB)[:1]},
        (driver("550.54.15"),),
    ),
    "nvidia_smi_x.xml": (
        ("nvidia-smi -q -x",),
        {**SMI, "gpus": two("NVIDIA L40S", "8.9", 46068 * MIB)},
        (driver("550.54.15"),),
    ),
    "topo.txt": (
        ("nvidia-smi topo -m",),
        {},
        (),
    ),
    "nvcc.txt": (("nvcc --version",), {"toolkit_version": "12.2"}, ()),
    "pip_freeze.txt": (
        ("pip freeze",),
        {
            "torch_version": "2.5.1",
            "torch_cuda": "12.4",
            "packages": (
                ("accelerate", "1.2.1"),
                ("flash-attn", "2.7.4.post1+cu12torch2.5cxx11abiFALSE"),
                ("nvidia-cuda-runtime-cu12", "12.4.127"),
                ("nvidia-cudnn-cu12", "9.1.0.70"),
                ("torch", "2.5.1"),
                ("uvicorn", "0.34.0"),
                ("vllm", "0.6.6.post1"),
            ),
        },
        (),
    ),
    "pip_list.txt": (
        ("pip list",),
        {
            "torch_version": "2.5.1+cu124",
            "torch_cuda": "12.4",
            "packages": (
                ("bitsandbytes", "0.45.0"),
                ("my-project", "0.1.0"),
                ("nvidia-cublas-cu12", "12.4.5.8"),
                ("torch", "2.5.1+cu124"),
                ("typing-extensions", "4.12.2"),
            ),
        },
        (),
    ),
    "pip_list.json": (
        ("pip list --format json",),
        {
            "torch_version": "2.5.1+cu124",
            "torch_cuda": "12.4",
            "packages": (("numpy", "2.1.2"), ("torch", "2.5.1+cu124"), ("xformers", "0.0.28.post3")),
        },
        (),
    ),
    "uv_pip_list.txt": (
        ("pip list",),
        {"torch_version": "2.5.1", "packages": (("sglang", "0.4.1"), ("torch", "2.5.1"))},
        (),
    ),
    "conda_list.txt": (
        ("conda list",),
        {
            "torch_version": "2.1.2",
            "torch_cuda": "12.1",
            "python_version": "3.10.14",
            "packages": (("numpy", "1.26.4"), ("pytorch-cuda", "12.1"), ("torch", "2.1.2"), ("vllm", "0.2.7")),
        },
        (),
    ),
    "ldconfig.txt": (
        ("ldconfig -p",),
        {
            "libraries": (
                ("libnvidia-ml.so.1", "/lib/x86_64-linux-gnu/libnvidia-ml.so.1"),
                ("libcudnn.so.9", "/lib/x86_64-linux-gnu/libcudnn.so.9"),
                ("libcuda.so.1", "/usr/local/cuda-12.4/compat/libcuda.so.1"),
                ("libcuda.so.1", "/lib/x86_64-linux-gnu/libcuda.so.1"),
                ("libcuda.so.1", "/lib/i386-linux-gnu/libcuda.so.1"),
            )
        },
        (),
    ),
    "lspci_nn.txt": (("lspci -nn",), {"gpus": two("GeForce RTX 4090", "8.9")[:1]}, ()),
    "lspci_vv.txt": (
        ("lspci -nn",),
        {
            "gpus": (
                StatedGpu(index=0, name="GeForce RTX 4090", compute_capability="8.9"),
                StatedGpu(index=1, name="A10", compute_capability="8.6"),
            )
        },
        (
            NvidiaCards(
                cards=(
                    PciCard(
                        address="0000:01:00.0",
                        vendor_id="10de",
                        device_id="2684",
                        pci_class="0300",
                        kernel_driver="nvidia",
                        link_width=8,
                        link_width_max=16,
                        link_mts=2500,
                        link_mts_max=16000,
                    ),
                    PciCard(
                        address="0000:81:00.0",
                        vendor_id="10de",
                        device_id="2236",
                        pci_class="0302",
                        kernel_driver=None,
                        link_width=None,
                        link_width_max=None,
                        link_mts=None,
                        link_mts_max=None,
                    ),
                )
            ),
        ),
    ),
    "meminfo.txt": (
        ("/proc/meminfo",),
        {
            "memory_total_bytes": 131891696 * 1024,
            "memory_available_bytes": 98112340 * 1024,
            "swap_total_bytes": 8388604 * 1024,
            "swap_free_bytes": 8388604 * 1024,
        },
        (),
    ),
    "cpuinfo.txt": (
        ("/proc/cpuinfo",),
        {},
        (
            Cpu(
                model="Intel(R) Xeon(R) Platinum 8480+",
                vendor="GenuineIntel",
                logical_cpus=2,
                cores=2,
                sockets=1,
                flags=tuple("cx16 fpu lahf_lm lm pni popcnt sse sse2 sse4_1 sse4_2 ssse3".split()),  # noqa: SIM905
                microarchitecture="x86-64-v2",
            ),
        ),
    ),
    "mounts.txt": (
        ("/proc/mounts",),
        {
            "file_systems": (
                StatedFileSystem(mount_point="/", filesystem="ext4"),
                StatedFileSystem(mount_point="/dev/shm", filesystem="tmpfs"),
                StatedFileSystem(mount_point="/models", filesystem="nfs4"),
                StatedFileSystem(mount_point="/sys", filesystem="sysfs"),
            )
        },
        (),
    ),
    "nvidia_version.txt": (
        ("/proc/driver/nvidia/version",),
        {"driver_version": "570.86.15"},
        (NvidiaDriver(version="570.86.15", flavour="open", source="/proc/driver/nvidia/version"),),
    ),
    "cmdline.txt": (
        ("/proc/cmdline",),
        {
            "kernel_command_line": "BOOT_IMAGE=/boot/vmlinuz-6.8.0-52-generic root=UUID=1111-2222 ro quiet splash iommu=pt"
        },
        (),
    ),
    "limits.txt": (
        ("/proc/PID/limits",),
        {},
        (Limits(memlock_soft_bytes=8388608, memlock_hard_bytes=None, nofile_soft=1024, nofile_hard=1048576),),
    ),
    "df.txt": (
        ("df",),
        {
            "file_systems": (
                StatedFileSystem(mount_point="/", total_bytes=457 * GIB, free_bytes=round(1.2 * GIB)),
                StatedFileSystem(mount_point="/dev/shm", total_bytes=64 * MIB, free_bytes=64 * MIB),
                StatedFileSystem(mount_point="/models", total_bytes=20 * 1024 * GIB, free_bytes=8 * 1024 * GIB),
            )
        },
        (SharedMemory(total_bytes=64 * MIB, free_bytes=64 * MIB),),
    ),
    "free.txt": (
        ("free",),
        {
            "memory_total_bytes": 125 * GIB,
            "memory_available_bytes": 103 * GIB,
            "swap_total_bytes": 8 * GIB,
            "swap_free_bytes": 8 * GIB,
        },
        (),
    ),
    "uname.txt": (
        ("uname -a",),
        {"kernel": "5.15.0-91-generic", "architecture": "x86_64", "hostname": "gpu-07"},
        (),
    ),
    "ulimit.txt": (("ulimit -a",), {"memlock_soft_bytes": 65536, "nofile_soft": 1024}, ()),
    "env.txt": (
        ("env",),
        {"env": (("CUDA_VISIBLE_DEVICES", "0,1"), ("HF_TOKEN", "(set)"), ("VLLM_USE_V1", "1"))},
        (Environment(variables=(("CUDA_VISIBLE_DEVICES", "0,1"), ("HF_TOKEN", "(set)"), ("VLLM_USE_V1", "1"))),),
    ),
    "os_release.txt": (("/etc/os-release", "env"), {"os_name": "Debian GNU/Linux 12 (bookworm)"}, ()),
    "dmesg.txt": (
        ("dmesg",),
        {},
        (
            KernelLog(
                xids=(
                    Xid(
                        code=79,
                        pci_address="0000:17:00",
                        text="pid='<unknown>', name=<unknown>, GPU has fallen off the bus.",
                        uptime_seconds=3600.123456,
                    ),
                ),
                oom_kills=(
                    OomKill(
                        process="python3",
                        pid=4242,
                        resident_bytes=61234567 * 1024,
                        cgroup=False,
                        uptime_seconds=4000.000001,
                    ),
                ),
                events=(),
            ),
        ),
    ),
}


# Of GPUs, from what nvidia-smi prints: tests/paste/test_gpus.py says what they hold.
GPU_FACTS = {"Gpus", "GpuClocks", "GpuErrors", "GpuModes", "GpuLinks"}


def whole(read: Snapshot, *, gpus: bool = True) -> tuple[Any, ...]:
    left_out = {"Stated"} if gpus else {"Stated", *GPU_FACTS}
    return tuple(v for k, v in read.facts.items() if not isinstance(v, NotKnown) and k not in left_out)


def test_every_dump_and_every_kind_is_expected() -> None:
    assert {path.name for path in DUMPS.iterdir()} == set(EXPECTED)
    assert {kind for kinds, _, _ in EXPECTED.values() for kind in kinds} == {kind.name for kind in recognise.KINDS}


@pytest.mark.parametrize("name", sorted(EXPECTED))
def test_a_clean_dump(name: str) -> None:
    kinds, stated, facts = EXPECTED[name]
    text = (DUMPS / name).read_text()
    read = snapshot([(name, text)], [])
    assert recognise.kind(text) == kinds[0]
    assert read.get(Stated) == Stated(sources=tuple(f"{kind} in {name}" for kind in kinds), **stated)
    assert sorted(map(repr, whole(read, gpus=False))) == sorted(map(repr, facts))
    lacking = set(FACTS) - {type(fact).__name__ for fact in facts} - {"Stated", "Symptoms", *GPU_FACTS}
    assert {read.facts[name] for name in lacking} == {Missing(NOT_PASTED)}


@pytest.mark.parametrize(
    ("name", "nvlinks", "way"),
    [
        ("collect_env_vllm.txt", 18, None),
        ("collect_env_sglang.txt", 12, None),
        ("topo.txt", 0, "host bridge"),
    ],
)
def test_the_matrix_of_a_dump_gives_its_pair(name: str, nvlinks: int, way: str | None) -> None:
    (pair,) = snapshot([(name, (DUMPS / name).read_text())], []).get(GpuLinks).pairs
    assert (pair.first, pair.second, pair.nvlinks, pair.topology) == (0, 1, nvlinks, way)


WIDTH = 100  # of the terminal that wrapped it


def mangled(text: str, prefix: str) -> str:
    """As it arrives: a runtime's prefix in colour, wrapped at a terminal's width, CRLF, and cut inside the last line."""
    wrapped = []
    plain = re.sub(r"\x1b\[\d*m", "", text)
    for line in (f"{prefix}{line}" for line in plain.splitlines()):
        wrapped += [line[at : at + WIDTH] for at in range(0, len(line), WIDTH)]
    painted = [line.replace(prefix, f"\x1b[36m{prefix}\x1b[0m", 1) for line in wrapped]
    return "\r\n".join(painted) + f"\r\n{prefix}cut in the mid"


PREFIXES = ("vllm-1  | ", "(EngineCore_0 pid=123) ", "2025-11-24T10:00:00.123456789Z stdout F ")


@pytest.mark.parametrize("prefix", PREFIXES)
@pytest.mark.parametrize("name", sorted(EXPECTED))
def test_a_mangled_dump_says_the_same(name: str, prefix: str) -> None:
    text = (DUMPS / name).read_text()
    dirty = mangled(text, prefix)
    assert recognise.kind(dirty) == EXPECTED[name][0][0]
    clean, read = snapshot([(name, text)], []), snapshot([(name, dirty)], [])
    assert read.get(Stated) == clean.get(Stated)
    assert whole(read) == whole(clean)


@pytest.mark.parametrize("name", sorted(EXPECTED))
def test_a_cut_dump_states_no_more_than_the_whole(name: str) -> None:
    """Cut after any line it is read or not recognised; what it states then is what the whole states, or a list's part."""
    text = (DUMPS / name).read_text()
    whole_text = dataclasses.asdict(snapshot([(name, text)], []).known(Stated) or Stated())
    lines = text.splitlines()
    for place in range(1, len(lines)):
        part = "\n".join(lines[:place])
        if recognise.kind(part) is None:
            continue
        said = dataclasses.asdict(snapshot([(name, part)], []).known(Stated) or Stated())
        for field, value in said.items():
            if isinstance(value, tuple) or field in ("os_name", "torch_cuda"):
                continue
            assert value in (whole_text[field], None, False), (field, place)


FREE = "              total        used        free      shared  buff/cache   available\nMem:  {} 1 2 3 4 {}\n"


@pytest.mark.parametrize(
    ("total", "stated"),
    [
        ("131891696", 131891696 * 1024),  # kibibytes, the default
        ("4000000", 4_000_000 * 1024),
        ("3999999", None),  # free -m on a machine of 3.8 TiB, or kibibytes on one of 3.8 GiB
        ("128800", None),  # free -m
        ("125Gi", 125 * GIB),
        ("125G", 125 * GIB),
        ("1.5Ti", round(1.5 * 1024 * GIB)),
    ],
)
def test_free_without_a_unit_is_only_read_where_it_is_clear(total: str, stated: int | None) -> None:
    read = snapshot([("free", FREE.format(total, total))], []).known(Stated)
    assert read is not None
    assert (read.memory_total_bytes, read.memory_available_bytes) == (stated, stated)


def test_a_log_without_kernel_messages_says_nothing_of_the_kernel() -> None:
    assert snapshot([], [("log", "CUDA error: out of memory\n")]).get(KernelLog) == Missing(NOT_PASTED)


def test_the_first_statement_stands() -> None:
    read = snapshot([("a", "Nvidia driver version: 550.90.07\n"), ("b", "Nvidia driver version: 535.0\n")], [])
    assert read.get(NvidiaDriver) == driver("550.90.07")


@pytest.mark.parametrize(
    ("name", "capability"),
    [
        ("NVIDIA GeForce RTX 4090", "8.9"),
        ("NVIDIA GeForce RTX 4090 Laptop GPU", "8.9"),
        ("NVIDIA RTX 6000 Ada Generation", "8.9"),
        ("Quadro RTX 6000", None),  # Turing: not in the table
        ("NVIDIA RTX PRO 6000 Blackwell Server Edition", "12.0"),
        ("NVIDIA A100-SXM4-80GB", "8.0"),
        ("NVIDIA A10", "8.6"),
        ("NVIDIA A10G", "8.6"),
        ("Tesla V100-SXM2-32GB", "7.0"),
        ("NVIDIA H100 80GB HBM3", "9.0"),
        ("NVIDIA GB200", "10.0"),
        ("Tesla T4", "7.5"),
        ("NVIDIA L4", "8.9"),
        ("NVIDIA T400 4GB", None),
        ("AMD Instinct MI300X", None),
        ("", None),
    ],
)
def test_a_name_has_the_compute_capability_of_its_model(name: str, capability: str | None) -> None:
    assert gpus.compute_capability(name) == capability


def test_of_two_models_in_a_name_the_longer_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = {"RTX 6000": "7.5", "RTX 6000 Ada": "8.9", "X": "9.9"}
    models = [gpus.GpuModel(name=n, compute_capability=c, source="s", date="d") for n, c in rows.items()]
    monkeypatch.setattr(gpus, "models", lambda: {gpus._words(m.name): m for m in models})
    assert gpus.compute_capability("X RTX 6000 Ada") == "8.9"
    assert gpus.compute_capability("RTX 6000") == "7.5"
