"""What the report tests report on: results of every outcome, causes of every certainty, and hostile text everywhere."""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from provision import cause
from provision.check import Finding, Result
from provision.fact import Absent, Missing, Snapshot
from provision.facts.cpu import Cpu
from provision.facts.disks import Disk, Disks, Mount, Mounts
from provision.facts.driver import NvidiaDriver
from provision.facts.gpus import Gpu, Gpus, LostGpu
from provision.facts.memory import Memory
from provision.facts.packages import PackageEnvironment, Packages, TorchBuild
from provision.facts.pci import NvidiaCards, PciCard
from provision.facts.system import System
from provision.plan import CardUse, Serving
from provision.report.formats import Shown
from provision.report.run import Change, Proof, Run

GIB = 1 << 30
# A host name, a label, a file name, a message: each may be somebody's attempt to be more than text.
HOSTILE = "gpu\"'<script>alert(1)</script>&amp;{{ 7*7 }}\x1b[2J\u202e\udcff\n## x"

RESULTS = (
    Result(
        "CUD003",
        "driver-too-old",
        "cuda",
        "error",
        "driver-too-old-for-cuda",
        "found",
        "",
        (
            Finding(
                "driver 525.147 gives CUDA 12.0; torch 2.13.0 needs 580.65",
                {"driver": "525.147"},
                {"driver": "580.65"},
                ("provision lock smoke-cu126", "or: install driver 580"),
            ),
        ),
    ),
    Result("CUD007", "driver-does-not-answer", "cuda", "error", "nvml-unanswered", "unknown", "no answer in 2 s"),
    Result("DEP001", "no-engine", "dependencies", "error", "container-engine-missing", "ok"),
    Result("ISO001", "engine-exposed", "isolation", "warning", "port-in-use", "crashed", "KeyError: 'x'"),
    Result("LAT001", "too-slow", "latency", "warning", "slow-storage", "skipped", "no GPU"),
    Result("MEM001", "memory-limit-too-low", "gpu_memory", "error", "disk-full", "unknown", "permission denied"),
    Result("MEM002", "memory-taken", "gpu_memory", "error", "disk-full", "unknown", "permission denied"),
    Result(
        "STO004",
        "slow-disk",
        "storage",
        "warning",
        "slow-storage",
        "found",
        "",
        (
            Finding(
                "/srv lies on sda, a rotating disk",
                {"read_bytes_per_s": 120 << 20},
                {"read_bytes_per_s": 1 << 30},
                ("move it",),
                "possible",
                ("provision disk /srv",),
            ),
        ),
    ),
    Result(
        "STO005",
        "scratch",
        "storage",
        "warning",
        "disk-full",
        "accepted",
        "reviewed 2026-11-24",
        (Finding("/scratch is full"),),
    ),
)
CAUSES = cause.causes(RESULTS)

CHANGES: tuple[Change, ...] = (
    {"what": "docker.io", "kind": "package", "changed": True, "detail": "installed"},
    {
        "what": "/etc/docker/daemon.json",
        "kind": "file",
        "changed": True,
        "detail": "written\nsecond line",
        "diff": "--- /dev/null\n+++ /etc/docker/daemon.json\n+{}\n",
    },
    {"what": "docker", "kind": "unit", "changed": False, "detail": "running"},
)
PROOFS: tuple[Proof, ...] = (
    {
        "code": "MEM-P1",
        "name": "sums-right",
        "roadblock": "gpu_memory",
        "proved": True,
        "promised": {"nf4_share": 0.98},
        "measured": {"nf4_share": 0.9935, "sums": 2000},
        "seconds": 12.31,
    },
    {
        "code": "STO-P1",
        "roadblock": "storage",
        "proved": False,
        "promised": {"load_seconds": 10.0},
        "measured": {},
        "seconds": 0.0,
        "reason": "could not run: no weights",
    },
)
FACTS = Snapshot(
    "gpu-07",
    {
        "Gpus": Missing("NVML gave no answer in 2 s"),
        "Memory": Memory(
            total_bytes=64 * GIB,
            available_bytes=60 * GIB,
            swap_total_bytes=0,
            swap_free_bytes=0,
            cgroup_limit_bytes=None,
            limit_bytes=64 * GIB,
        ),
        "Nouveau": Absent("nouveau is not loaded"),
    },
    "0.1.0",
)


def gpu(index: int, **overrides: Any) -> Gpu:
    """One GPU of an eight-card server."""
    values: dict[str, Any] = {
        "index": index,
        "name": "NVIDIA H100 80GB HBM3",
        "uuid": f"GPU-0000000{index}",
        "pci_address": f"0000:{index:x}1:00.0",
        "memory_bytes": 80 * GIB,
        "memory_free_bytes": 79 * GIB,
        "compute_capability": "9.0",
        "pcie_width": 16,
        "pcie_width_max": 16,
        "pcie_generation": 5,
        "pcie_generation_max": 5,
        "mig_mode": False,
        "mig_mode_pending": False,
        "persistence": True,
        "process_count": 0,
    }
    return Gpu(**(values | overrides))


def mount(point: str, disk: str, **overrides: Any) -> Mount:
    values: dict[str, Any] = {
        "mount_point": point,
        "source": f"/dev/{disk}p1",
        "filesystem": "ext4",
        "options": ("rw",),
        "network": False,
        "disks": (disk,),
        "total_bytes": 1000 * GIB,
        "free_bytes": 400 * GIB,
        "inodes_total": 1,
        "inodes_free": 1,
        "unreachable": None,
    }
    return Mount(**(values | overrides))


GPUS = (
    gpu(0, pcie_generation=1),
    gpu(1, pcie_width=8),
    *(gpu(i) for i in range(2, 6)),
    gpu(6, memory_free_bytes=2 * GIB, process_count=3, mig_mode=True),
)


@dataclasses.dataclass(frozen=True)
class Links:
    """The fact GpuLinks in its recorded shape: links by card, and every pair."""

    gpus: list[Any]
    pairs: list[Any]


def nvlink(number: int, active: bool = True, address: str | None = None) -> dict[str, Any]:
    remote = ("gpu" if address else "switch") if active else None
    return {"link": number, "active": active, "remote": remote, "remote_address": address}


def pair(first: int, second: int, topology: str = "one switch", peer: str = "ok") -> dict[str, Any]:
    return {"first": first, "second": second, "topology": topology, "peer_to_peer": peer}


LINKS = Links(
    gpus=[
        {"index": 0, "nvlinks": [nvlink(i, address="0000:11:00.0") for i in range(4)]},
        {"index": 1, "nvlinks": [nvlink(i, address="0000:01:00.0") for i in range(4)]},
        {"index": 2, "nvlinks": [nvlink(0), nvlink(1, active=False)]},
        {"index": 3, "nvlinks": []},
    ],
    pairs=[
        *(pair(i, j) for i in range(7) for j in range(i + 1, 7) if (i, j) not in ((2, 3), (5, 6))),
        pair(2, 3, "system", "chipset not supported"),
    ],
)
SERVER = Snapshot(
    "gpu-07",
    {
        **FACTS.facts,
        "GpuLinks": LINKS,
        "Gpus": Gpus(
            driver_version="580.82.07",
            cuda_version="13.0",
            gpus=GPUS,
            lost=(LostGpu(index=7, reason="the GPU fell off the bus or is otherwise out of reach"),),
        ),
        "NvidiaCards": NvidiaCards(
            cards=(
                PciCard(
                    address="0000:91:00.0",
                    vendor_id="10de",
                    device_id="2330",
                    pci_class="0302",
                    kernel_driver=None,
                    link_width=16,
                    link_width_max=16,
                    link_mts=32000,
                    link_mts_max=32000,
                ),
            )
        ),
        "NvidiaDriver": NvidiaDriver(version="580.82.07", flavour="open", source="/proc/driver/nvidia/version"),
        "System": System(
            os_id="debian",
            os_version="12",
            os_codename="bookworm",
            os_name="Debian GNU/Linux 12 (bookworm)",
            kernel="6.1.0-28-amd64",
            architecture="x86_64",
            hostname="gpu-07",
            init="systemd",
            container="none",
            virtualization="none",
            glibc="2.36",
        ),
        "Cpu": Cpu(
            model="INTEL(R) XEON(R) PLATINUM 8480+",
            vendor="GenuineIntel",
            logical_cpus=224,
            cores=112,
            sockets=2,
            flags=("avx2", "avx512f"),
            microarchitecture="x86-64-v4",
        ),
        "Disks": Disks(
            disks=(
                Disk(name="nvme0n1", rotational=False, transport="nvme", bytes=3840 * 10**9, model="SAMSUNG MZQL23T8"),
                Disk(name="nvme1n1", rotational=False, transport="nvme", bytes=3840 * 10**9, model=None),
                Disk(name="sda", rotational=True, transport="sata", bytes=16 * 10**12, model="ST16000NM001G"),
            )
        ),
        "Mounts": Mounts(
            mounts=(
                mount("/", "nvme0n1"),
                mount("/models", "weights", network=True, filesystem="nfs4", disks=(), source="nas:/models"),
                mount("/scratch", "sda", free_bytes=20 * GIB, options=("ro",)),
                mount("/dead", "x", network=True, disks=(), total_bytes=None, free_bytes=None, unreachable="no answer"),
                mount("/tmp", "x", filesystem="tmpfs", disks=()),
            )
        ),
        "Docker": Absent("no Docker engine is installed"),
        "Packages": Packages(
            environments=(
                PackageEnvironment(
                    prefix="/srv/venv",
                    kind="venv",
                    python="3.11",
                    packages=(("torch", "2.13.0+cu130"), ("vllm", "0.14.0")),
                    torch=TorchBuild(version="2.13.0+cu130", cuda="13.0", hip=None),
                ),
                PackageEnvironment(
                    prefix="/usr", kind="system", python="3.11", packages=(("numpy", "1.24.2"),), torch=None
                ),
            ),
            in_use="/srv/venv",
            looked_in=("/srv/venv/lib/python3.11/site-packages",),
        ),
    },
    "0.1.0",
)


CARD = CardUse(
    total_bytes=80 * GIB,
    usable_bytes=74 * GIB,
    weights_bytes=40 * GIB,
    cache_bytes=29 * GIB,
    cache_low_bytes=26 * GIB,
    cache_high_bytes=31 * GIB,
    needed_bytes=8 * GIB,
    least_tokens=32768,
    users=4,
    tokens=32768,
    requests=14.5,
    parts={
        "weights": 40 * GIB,
        "activations": 3 * GIB,
        "outside torch": GIB,
        "CUDA graphs": GIB,
        "KV cache": 29 * GIB,
        "not used": 6 * GIB,
    },
)
SERVING = Serving(
    model="deepseek-ai/DeepSeek-R1-Distill-Llama-70B",
    precision="16 bit",
    engine="vllm==0.33.0",
    options=("--tensor-parallel-size", "4", "--max-model-len", "32768"),
    question=("--model", "deepseek-ai/DeepSeek-R1-Distill-Llama-70B", "--gpus", "4", "--tp", "4"),
    tp=4,
    pp=1,
    dp=1,
    gpu="NVIDIA H100 80GB HBM3",
    gpus=7,
    checkpoint_bytes=131 * GIB,
    here=False,
    refused="",
    fits=True,
    certain=True,
    card=CARD,
    reasons=("on 2 GPUs the cache lacks 2.0 GiB each", "4 GPUs are the fewest that hold it"),
    instead=(),
    assumed=("'R1-Distill-Llama-70B' is taken as deepseek-ai/DeepSeek-R1-Distill-Llama-70B",),
)


def run(**overrides: Any) -> Run:
    """A run in which something was found, something repaired, something changed, one proof held and one did not."""
    before = (
        *CAUSES,
        cause.Cause("disk-full", ("STO001",), "error", "certain", (), ("/ has 0 B free",), ("make room",), ()),
    )
    values: dict[str, Any] = {
        "machine": "gpu-07",
        "results": RESULTS,
        "causes": CAUSES,
        "before": before,
        "changes": CHANGES,
        "proofs": PROOFS,
        "seconds": {"facts and doctor": 0.41, "build": 312.0},
        "directory": ".provision/gpu-07/runs/0007",
        "about": {"ansible": "changed=2, ok=9"},
        "facts": FACTS,
    }
    return Run(**(values | overrides))


def hostile_run() -> Run:
    """The same with hostile text in every place that a machine or a user fills."""
    finding = Finding(HOSTILE, {HOSTILE: HOSTILE}, {}, (HOSTILE,), "likely", (HOSTILE,))
    results = (
        Result("STO004", "slow-disk", "storage", "warning", "slow-storage", "found", "", (finding,)),
        Result("STO005", "scratch", "storage", "warning", "disk-full", "accepted", HOSTILE),
        Result("STO006", "dark", "storage", "warning", "disk-full", "unknown", HOSTILE),
        Result("STO007", "broken", "storage", "warning", "disk-full", "crashed", HOSTILE),
    )
    causes = cause.causes(results)
    return run(
        machine=HOSTILE,
        results=results,
        causes=causes,
        before=(cause.Cause("disk-full", ("STO001",), "error", "certain", (), (HOSTILE,), (HOSTILE,), ()),),
        changes=({"what": HOSTILE, "kind": "file", "changed": True, "detail": HOSTILE, "diff": HOSTILE},),
        proofs=(
            {
                "code": "MEM-P1",
                "name": HOSTILE,
                "roadblock": HOSTILE,
                "proved": False,
                "promised": {HOSTILE: HOSTILE},
                "measured": {HOSTILE: HOSTILE},
                "seconds": 1.0,
                "reason": HOSTILE,
            },
        ),
        directory=HOSTILE,
        about={HOSTILE: HOSTILE},
        facts=Snapshot(HOSTILE, {"Memory": Missing(HOSTILE), "Nouveau": Absent(HOSTILE)}, HOSTILE),
        serving=dataclasses.replace(
            SERVING,
            card=dataclasses.replace(CARD, parts={HOSTILE: 40 * GIB}),
            **{name: HOSTILE for name in ("model", "precision", "engine", "gpu", "refused")},
            **{name: (HOSTILE,) for name in ("options", "question", "reasons", "instead", "assumed")},
        ),
    )


def shown(**overrides: Any) -> Shown:
    """The same results as a diagnosis to be written in any format."""
    values: dict[str, Any] = {"machine": "gpu-07", "results": RESULTS, "causes": CAUSES, "snapshot": FACTS}
    return Shown(**(values | overrides))


def hostile_shown(**overrides: Any) -> Shown:
    """The hostile run as a diagnosis, with a waiver that has no effect too."""
    run_ = hostile_run()
    results = (*run_.results, Result("STO008", "late", "storage", "error", "disk-full", "ok", waiver=HOSTILE))
    return shown(
        **(
            {
                "machine": HOSTILE,
                "results": results,
                "causes": run_.causes,
                "snapshot": run_.facts,
                "serving": run_.serving,
            }
            | overrides
        )
    )


@pytest.fixture(scope="session")
def sample() -> SimpleNamespace:
    """All of the above by name; test modules cannot import their neighbours."""
    return SimpleNamespace(
        HOSTILE=HOSTILE,
        RESULTS=RESULTS,
        CAUSES=CAUSES,
        CHANGES=CHANGES,
        PROOFS=PROOFS,
        FACTS=FACTS,
        SERVER=SERVER,
        SERVING=SERVING,
        run=run,
        hostile_run=hostile_run,
        shown=shown,
        hostile_shown=hostile_shown,
    )


# --- programs that are not ours: from Debian and npm, where that is allowed ------------------------------------------

IN_CI = os.environ.get("CI") == "true"
MAY_INSTALL = IN_CI or os.environ.get("PROVISION_TEST_INSTALL") == "1"


def or_skip(reason: str) -> None:
    if IN_CI:
        pytest.fail(reason)
    pytest.skip(reason)


@pytest.fixture(scope="session")
def program() -> Callable[..., str]:
    """A program's path, installed from Debian's packages (CI, or PROVISION_TEST_INSTALL=1); else the test is skipped."""

    def find(name: str, *packages: str) -> str:
        path = shutil.which(name)
        if path is None and MAY_INSTALL and os.geteuid() == 0 and shutil.which("apt-get"):
            quiet = {**os.environ, "DEBIAN_FRONTEND": "noninteractive", "RUNLEVEL": "1"}
            for command in (("update", "-qq"), ("install", "-y", "-qq", "--no-install-recommends", *packages)):
                apt = ["apt-get", "-o", "DPkg::Lock::Timeout=300", *command]
                subprocess.run(apt, check=True, env=quiet, stdout=subprocess.DEVNULL)
            path = shutil.which(name)
        if path is None:
            or_skip(f"no {name}: needs root and Debian (CI=true or PROVISION_TEST_INSTALL=1 installs it)")
        assert path is not None
        return path

    return find


@pytest.fixture(scope="session")
def npm_pack(tmp_path_factory: pytest.TempPathFactory, program: Callable[..., str]) -> Callable[[str, str], Path]:
    """A package of npm as it is published, held to its hash (base64 of SHA-512, as the registry names it)."""

    def fetch(package: str, sha512: str) -> Path:
        npm = program("npm", "npm")
        folder = tmp_path_factory.mktemp("npm")
        command = [npm, "pack", "--silent", package]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            or_skip(f"no {package} from npm: {done.stderr.strip()[-200:]}")
        (packed,) = folder.glob("*.tgz")
        assert base64.b64encode(hashlib.sha512(packed.read_bytes()).digest()).decode() == sha512
        return packed

    return fetch
