"""Two healthy machines, and one check run against one of them with what a test changes.

``a(Memory, limit_bytes=1)`` is the healthy record with one override; it also makes the records inside facts (``Mount``,
``Gpu``, ``Image`` …). ``run_check("MEM001", a(Memory, …))`` judges the healthy GPU machine with it. An ``Absent`` or
``Missing`` goes in as ``run_check("DEP001", {ContainerEngines: Absent("…")})``.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from provision import check
from provision.catalog import locks
from provision.fact import Absent, Missing, Snapshot
from provision.facts.block import (
    Array,
    Arrays,
    BlockQueue,
    BlockQueues,
    DiskErrors,
    Encryption,
    FileSystemErrors,
    NvmeController,
    NvmeControllers,
)
from provision.facts.caches import CacheFolder, CacheFolders
from provision.facts.clock import Clock
from provision.facts.containers import Containers, RunningContainer
from provision.facts.contents import DiskContent, DiskContents
from provision.facts.control_group import ControlGroup
from provision.facts.counters import CrashRecords, HostMemoryErrors, KernelCounters
from provision.facts.cpu import Cpu
from provision.facts.cuda import CudaLibraries, CudaToolkit, CudaToolkits, LibraryCopy
from provision.facts.daemons import Daemons
from provision.facts.debian import DebianPackages
from provision.facts.disks import Disk, Disks, Mount, Mounts
from provision.facts.docker import CdiSpec, CdiSpecs, DaemonJson, Docker, Image, Images
from provision.facts.driver import DriverLibraries, DriverLibrary, Nouveau, NvidiaDriver
from provision.facts.engines import ContainerEngines, EngineFound
from provision.facts.environment import Environment
from provision.facts.exposure import DockerAccess, Firewall, SecretFile, SecretFiles
from provision.facts.fstab import FileSystemTable
from provision.facts.gpus import Gpu, Gpus, LostGpu
from provision.facts.image_packages import ImageEnvironment, ImagePackages
from provision.facts.installed_files import FilesLooked, InstalledFiles
from provision.facts.journal import EvidenceFolder, Journal, Recorders
from provision.facts.kernels import DkmsModule, DkmsModules, DriverModule, InstalledKernel, Kernels, SecureBoot
from provision.facts.limits import Limits, SharedMemory
from provision.facts.linkage import Linkage, Linked, TorchLinkage, Wanting
from provision.facts.listeners import Listener, Listeners
from provision.facts.locked import InstalledPackage, LockedEnvironment
from provision.facts.log import KernelLog, OomKill, Xid
from provision.facts.memory import Memory
from provision.facts.memory_settings import MemorySettings, ProcessLimits, SwapArea
from provision.facts.metadata import (
    CompiledPackage,
    CondaCuda,
    CondaPackages,
    EnvironmentMetadata,
    PythonMetadata,
    Unmet,
)
from provision.facts.models import ModelFiles, ModelFolder
from provision.facts.native import EnvironmentLinks, NativeBuild, NativeBuilds, PipFile, PipSettings, Preloaded
from provision.facts.packages import PackageEnvironment, Packages, TorchBuild
from provision.facts.pci import NvidiaCards, PciCard
from provision.facts.power import CpuPower, Numa, NumaNode
from provision.facts.system import System
from provision.facts.units import Unit, Units
from provision.facts.upgrades import AutomaticUpgrades, DriverInstallation, NouveauForbidden, RebootRequired
from provision.plan import (
    SECTIONS,
    Audit,
    CardUse,
    Cuda,
    Dependencies,
    Fragmentation,
    GpuMemory,
    Isolation,
    Latency,
    Rollout,
    Serving,
    Storage,
)
from provision.spec import Spec

from .gpu_records import FABRIC_UNIT, GPU_ABSENT, GPU_HEALTHY

GIB = 1 << 30
LOCK = "1" * 64
SETTINGS = '{"log-driver": "local", "log-opts": {"max-file": "5", "max-size": "20m"}}'

check.load()

_GPU = Gpu(
    index=0,
    name="NVIDIA H100 80GB HBM3",
    uuid="GPU-0",
    pci_address="0000:01:00.0",
    memory_bytes=80 * GIB,
    memory_free_bytes=79 * GIB,
    compute_capability="9.0",
    pcie_width=16,
    pcie_width_max=16,
    pcie_generation=5,
    pcie_generation_max=5,
    mig_mode=False,
    mig_mode_pending=False,
    persistence=True,
    process_count=0,
)
_CARD = PciCard(
    address="0000:01:00.0",
    vendor_id="10de",
    device_id="2330",
    pci_class="0302",
    kernel_driver="nvidia",
    link_width=16,
    link_width_max=16,
    link_mts=32000,
    link_mts_max=32000,
)
_MOUNT = Mount(
    mount_point="/",
    source="/dev/mapper/vg-models",
    filesystem="ext4",
    options=("relatime", "rw"),
    network=False,
    disks=("nvme0n1",),
    total_bytes=500 * GIB,
    free_bytes=400 * GIB,
    inodes_total=30_000_000,
    inodes_free=29_000_000,
    unreachable=None,
)
_TORCH = TorchBuild(version="2.13.0+cu130", cuda="13.0", hip=None)
_LIBCUDA = LibraryCopy(path="/usr/lib/x86_64-linux-gnu/libcuda.so.580.82.07", version="580.82.07", source="ldconfig")
_IMAGE = Image(
    id="sha256:0", tags=("provision/smoke:cu130-111111111111",), labels=(("io.provision.lock", LOCK),), bytes=5 * GIB
)

# What a machine with two GPUs looks like on which nothing is wrong, and the records inside its facts.
HEALTHY: dict[type, Any] = {
    type(record): record
    for record in (
        Cpu(
            model="AMD EPYC 9354",
            vendor="AuthenticAMD",
            logical_cpus=64,
            cores=32,
            sockets=1,
            flags=("avx2", "avx512f", "fma"),
            microarchitecture="x86-64-v4",
        ),
        CudaLibraries(libcuda=(_LIBCUDA,), cudnn=()),
        CudaToolkits(
            toolkits=(CudaToolkit(path="/usr/local/cuda-13.0", version="13.0", nvcc=True),),
            default="/usr/local/cuda-13.0",
        ),
        DebianPackages(packages=(("docker-ce", "5:29.2.0"), ("iptables", "1.8.9")), broken=()),
        Disks(disks=(Disk(name="nvme0n1", rotational=False, transport="nvme", bytes=500 * GIB, model=None),)),
        Mounts(mounts=(_MOUNT,)),
        Docker(
            socket="/var/run/docker.sock",
            server_version="29.2.0",
            api_version="1.53",
            storage_driver="overlay2",
            data_root="/var/lib/docker",
            data_root_filesystem="extfs",
            data_root_free_bytes=400 * GIB,
            cgroup_driver="systemd",
            cgroup_version="2",
            logging_driver="local",
            runtimes=("io.containerd.runc.v2", "runc"),
            default_runtime="runc",
            live_restore=True,
            running_containers=0,
            security_options=("name=apparmor", "name=seccomp,profile=builtin"),
            cdi_spec_dirs=("/etc/cdi", "/var/run/cdi"),
            exposed_hosts=(),
            warnings=(),
        ),
        DaemonJson(path="/etc/docker/daemon.json", text=SETTINGS, keys=("log-driver", "log-opts"), error=None),
        Images(images=(_IMAGE,)),
        CdiSpecs(specs=(CdiSpec(path="/var/run/cdi/nvidia.yaml", kind="nvidia.com/gpu", devices=("0", "1", "all")),)),
        NvidiaDriver(version="580.82.07", flavour="open", source="/sys/module/nvidia/version"),
        DriverLibraries(
            version="580.82.07",
            libraries=(
                DriverLibrary(name="libnvidia-ml.so.1", path="/usr/lib/libnvidia-ml.so.580.82.07", version="580.82.07"),
            ),
        ),
        ContainerEngines(
            found=(
                EngineFound(kind="containerd", version="1.7", running=True, evidence=("package containerd.io 1.7",)),
                EngineFound(kind="docker-ce", version="29.2.0", running=True, evidence=("package docker-ce 29.2.0",)),
            )
        ),
        Environment(variables=()),
        Gpus(
            driver_version="580.82.07",
            cuda_version="13.0",
            gpus=(_GPU, dataclasses.replace(_GPU, index=1, uuid="GPU-1", pci_address="0000:02:00.0")),
            lost=(),
        ),
        Limits(memlock_soft_bytes=None, memlock_hard_bytes=None, nofile_soft=1024, nofile_hard=1_048_576),
        SharedMemory(total_bytes=64 * GIB, free_bytes=64 * GIB),
        KernelLog(xids=(), oom_kills=(), events=()),
        Memory(
            total_bytes=256 * GIB,
            available_bytes=200 * GIB,
            swap_total_bytes=0,
            swap_free_bytes=0,
            cgroup_limit_bytes=None,
            limit_bytes=256 * GIB,
        ),
        Packages(
            environments=(
                PackageEnvironment(
                    prefix="/opt/venv",
                    kind="venv",
                    python="3.11",
                    packages=(("torch", "2.13.0+cu130"), ("transformers", "5.23.0")),
                    torch=_TORCH,
                ),
            ),
            in_use="/opt/venv",
            looked_in=("/opt/venv/lib/python3.11/site-packages",),
        ),
        NvidiaCards(cards=(_CARD, dataclasses.replace(_CARD, address="0000:02:00.0"))),
        System(
            os_id="debian",
            os_version="12",
            os_codename="bookworm",
            os_name="Debian GNU/Linux 12 (bookworm)",
            kernel="6.1.0",
            architecture="x86_64",
            hostname="gpu-07",
            init="systemd",
            container="none",
            virtualization="none",
            glibc="2.36",
        ),
        Units(
            manager="systemd",
            units=(
                Unit(name="docker.service", active=True, state="active", enabled="enabled", reload_needed=False),
                Unit(name="docker.socket", active=True, state="active", enabled="enabled", reload_needed=False),
            ),
        ),
        GpuMemory(device="cuda", weight_bytes={"float32": 4 * GIB, "nf4": GIB}, tolerance=0.25, limit_bytes=8 * GIB),
        Storage(state_folder="/var/lib/provision", image_room_bytes=36 * GIB, image_inodes=200_000, load_seconds=10.0),
        Cuda(
            accelerator="cu130",
            device="cuda",
            minimum_driver="580.65.06",
            architectures=("7.5", "8.0", "8.6", "9.0", "10.0", "12.0"),
            reasons=(),
        ),
        Dependencies(
            engine="docker-ce",
            packages=("docker-ce", "iptables"),
            start="systemd",
            lock="smoke-cu130-py311",
            lock_sha256=LOCK,
            base="auto",
            daemon_json=SETTINGS,
        ),
        Latency(tokens_per_second={"float32": 1.0}, cpu_flags=("avx2", "fma")),
        Fragmentation(allocator_conf="expandable_segments:True", growth_bytes=1 << 20),
        Isolation(uid=10001, gid=10001, environment={"DO_NOT_TRACK": "1"}),
        Audit(log_driver="local", log_options={"max-file": "5", "max-size": "20m"}),
        Rollout(repository="provision/smoke", tag="cu130-111111111111", previous_tag="", labels={}),
        Spec(),
        # records inside the plan, where a model is to be served, and inside facts
        CardUse(
            total_bytes=80 * GIB,
            usable_bytes=72 * GIB,
            weights_bytes=31 * GIB,
            cache_bytes=30 * GIB,
            cache_low_bytes=25 * GIB,
            cache_high_bytes=33 * GIB,
            needed_bytes=16 * GIB,
            least_tokens=16384,
            users=8,
            tokens=16384,
            requests=15.0,
            parts={"weights": 31 * GIB, "KV cache": 30 * GIB, "not used": 19 * GIB},
        ),
        Serving(
            model="deepseek-ai/DeepSeek-R1-Distill-Qwen-32B",
            precision="16 bit",
            engine="vllm==0.33.0",
            options=("--tensor-parallel-size", "2"),
            question=("--model", "deepseek-ai/DeepSeek-R1-Distill-Qwen-32B", "--gpus", "2", "--tp", "2"),
            tp=2,
            pp=1,
            dp=1,
            gpu="NVIDIA H100 80GB HBM3",
            gpus=2,
            checkpoint_bytes=61 * GIB,
            here=False,
            refused="",
            fits=True,
            certain=True,
            card=None,
            reasons=("2 GPUs are the fewest that hold it",),
            instead=("weights in fp8", "weights in awq"),
            assumed=(),
        ),
        CudaToolkit(path="/usr/local/cuda-13.0", version="13.0", nvcc=True),
        _GPU,
        _CARD,
        _MOUNT,
        _TORCH,
        _LIBCUDA,
        _IMAGE,
        LostGpu(index=1, reason="the GPU fell off the bus or is otherwise out of reach"),
        Xid(code=79, pci_address="0000:01:00", text="pid=1, GPU has fallen off the bus.", uptime_seconds=10.0),
        OomKill(process="python3", pid=812, resident_bytes=3 * GIB, cgroup=False, uptime_seconds=10.0),
        Disk(name="sda", rotational=True, transport="sata", bytes=500 * GIB, model=None),
        EngineFound(kind="docker.io", version="20.10.24", running=True, evidence=("package docker.io 20.10.24",)),
        PackageEnvironment(prefix="/opt/other", kind="venv", python="3.11", packages=(), torch=None),
        Unit(name="docker.service", active=True, state="active", enabled="enabled", reload_needed=False),
    )
}
HEALTHY |= GPU_HEALTHY
HEALTHY[Units] = dataclasses.replace(HEALTHY[Units], units=(*HEALTHY[Units].units, FABRIC_UNIT))
HEALTHY[Nouveau] = Absent("nouveau is not loaded")
# What stands around the GPUs of that machine.
HEALTHY |= {
    type(one): one
    for one in (
        Array(name="md0", kind="raid1", healthy=True, state="[UU]", rebuilding=""),
        AutomaticUpgrades(tool="unattended-upgrades", enabled=True, excluded=("nvidia-", "libnvidia-")),
        BlockQueue(disk="nvme0n1", read_ahead_bytes=128 << 10, scheduler="none"),
        CacheFolder(
            path="/root/.cache/huggingface",
            purpose="models",
            named_by="default",
            there=True,
            writable=True,
            mode=0o755,
            mount_point="/",
            unknown="",
        ),
        Clock(synchronised=True, error_us=1000, keepers=("chronyd",)),
        CompiledPackage(name="numpy", version="2.4.6", tags=("cp311-cp311-manylinux_2_28_x86_64",)),
        CondaCuda(prefix="/opt/conda", packages=(("cuda-cudart", "12.4.127"),)),
        ControlGroup(
            oom_kills=0,
            memory_high_bytes=64 * GIB,
            times_above_high=0,
            cpus=8.0,
            throttled_periods=1,
            periods=1000,
            tasks=100,
            tasks_limit=1000,
        ),
        CpuPower(driver="acpi-cpufreq", governors=("performance",), preferences=(), throttled=0),
        Daemons(running=()),
        DkmsModule(name="nvidia", version="580.82.07", kernels=("6.1.0-28-amd64",)),
        DockerAccess(socket="/var/run/docker.sock", mode=0o660, group_members=0),
        DriverInstallation(
            runfile=None, packages=(("nvidia-driver", "580.82.07-1"),), held=("nvidia-driver",), manager="dpkg"
        ),
        DriverModule(
            path="/lib/modules/6.1.0-28-amd64/updates/dkms/nvidia.ko",
            version="580.82.07",
            signer="DKMS module signing key",
            enrolled=True,
        ),
        Encryption(encrypted=("vg-models",), plain=()),
        EnvironmentLinks(whole=("/opt/venv",), broken=()),
        EvidenceFolder(path="/var/lib/provision", mode=0o755),
        FileSystemErrors(device="nvme0n1p2", filesystem="ext4", errors=0),
        Firewall(kinds=("nftables.service",)),
        HostMemoryErrors(corrected=0, uncorrected=0),
        Journal(storage="auto", on_disk=True, forwarded=False),
        KernelCounters(
            tasks=800,
            tasks_limit=4_194_304,
            open_files=3000,
            open_files_limit=1_000_000,
            connections=100,
            connections_limit=262_144,
            panic_seconds=10,
            watchdog=True,
            core_pattern="|/usr/lib/systemd/systemd-coredump",
        ),
        InstalledKernel(release="6.1.0-28-amd64", bootable=True, headers=True, nvidia="updates/dkms/nvidia.ko"),
        Linked(
            name="libcublasLt.so.13",
            path="/opt/venv/lib/python3.11/site-packages/nvidia/cu13/lib/libcublasLt.so.13",
            version="13.1.0.3",
            why="RPATH of libtorch_cuda.so",
            own_path="/opt/venv/lib/python3.11/site-packages/nvidia/cu13/lib/libcublasLt.so.13",
            own_version="13.1.0.3",
        ),
        Listener(port=22, reach="all"),
        ModelFolder(path="/root/.cache/huggingface", files=9, whole=True, bytes=15 * GIB, pickles=(), remote_code=()),
        MemorySettings(
            swap=(SwapArea(name="/swapfile", total_bytes=8 * GIB, used_bytes=0),),
            swappiness=60,
            overcommit=2,
            commit_limit_bytes=100 * GIB,
            committed_bytes=10 * GIB,
            map_limit=65530,
            transparent_huge_pages="always",
            huge_page_defragmentation="madvise",
            reserved_bytes=GIB,
            reserved_free_bytes=GIB,
            stalled_percent=0.0,
        ),
        NativeBuild(prefix="/opt/venv", torch_cxx11_abi=None, bitsandbytes_cuda=("13.0",), bitsandbytes=True),
        NouveauForbidden(available=True, by=("/etc/modprobe.d/nvidia.conf",)),
        NumaNode(number=0, cpus="0-31", total_bytes=64 * GIB, free_bytes=40 * GIB),
        NvmeController(
            name="nvme0",
            state="live",
            link_width=4,
            link_width_max=4,
            link_mts=16000,
            link_mts_max=16000,
            temperature_c=40.0,
            temperature_max_c=80.0,
        ),
        PipFile(path="/etc/pip.conf", break_system_packages=False, extra_indexes=0, trusted_hosts=0),
        Preloaded(there=("/usr/lib/libtcmalloc.so.4",), lacking=()),
        ProcessLimits(address_space_bytes=None, processes=100_000, core_bytes=0, tasks_now=800),
        Recorders(auditing=("auditd",), metrics=("node_exporter",)),
        RunningContainer(
            name="vllm",
            image="vllm/vllm-openai:v0.33.0",
            privileged=False,
            engine_socket=False,
            restart="unless-stopped",
            open_ports=(9000,),
            gpus=True,
            shared_memory_bytes=GIB,
            memory_bytes=None,
        ),
        SecretFile(path="/root/.netrc", mode=0o600, reachable=True),
        SecureBoot(enabled=True, enforced=True),
        SwapArea(name="/swapfile", total_bytes=8 * GIB, used_bytes=0),
        Unmet(package="torchvision", version="0.20.1", requires="torch==2.5.1", name="torch", found="2.13.0"),
        Wanting(file="torch/lib/libtorch_cpu.so", glibc="2.28", cpp="3.4.22"),
    )
}
HEALTHY |= {
    DiskContents: DiskContents(
        disks=(
            DiskContent(
                name="nvme0n1",
                model="SAMSUNG MZQL23T8HCLS",
                serial="S64HNE0T100001",
                by_id=("/dev/disk/by-id/nvme-SAMSUNG_MZQL23T8HCLS_S64HNE0T100001",),
                bytes=3_840_755_982_336,
                holds=("a gpt partition table", "ext4 on nvme0n1p2"),
                in_use=("nvme0n1p2 is mounted on /",),
                member_of=None,
                filesystem_uuid=None,
                looked=True,
            ),
        ),
        arrays=(),
    ),
    FileSystemTable: FileSystemTable(path="/etc/fstab", text="/dev/nvme0n1p2 / ext4 defaults 0 1\n"),
}
HEALTHY |= {
    type(one): one
    for one in (
        Arrays(arrays=(HEALTHY[Array],)),
        BlockQueues(queues=(HEALTHY[BlockQueue],)),
        CacheFolders(folders=(HEALTHY[CacheFolder],)),
        CondaPackages(environments=(HEALTHY[CondaCuda],)),
        Containers(running=(HEALTHY[RunningContainer],), more=0),
        DiskErrors(counted=(HEALTHY[FileSystemErrors],)),
        DkmsModules(modules=(HEALTHY[DkmsModule],)),
        EnvironmentMetadata(
            prefix="/opt/venv",
            python="3.11",
            packages=40,
            unmet=(),
            wrong_python=(),
            compiled=(HEALTHY[CompiledPackage],),
            doubled=(),
            interrupted=(),
            by_pip=(),
        ),
        Kernels(running="6.1.0-28-amd64", installed=(HEALTHY[InstalledKernel],)),
        Listeners(listeners=(HEALTHY[Listener],)),
        ModelFiles(folders=(HEALTHY[ModelFolder],), not_seen=()),
        NativeBuilds(environments=(HEALTHY[NativeBuild],)),
        Numa(
            nodes=(HEALTHY[NumaNode], dataclasses.replace(HEALTHY[NumaNode], number=1, cpus="32-63")), balancing=False
        ),
        NvmeControllers(controllers=(HEALTHY[NvmeController],)),
        PipSettings(files=(HEALTHY[PipFile],)),
        SecretFiles(files=(HEALTHY[SecretFile],)),
        TorchLinkage(
            prefix="/opt/venv",
            linked=(HEALTHY[Linked],),
            not_found=("libcuda.so.1 (for libtorch_cuda.so)",),
            cpp_offered="3.4.30",
            wanting=(HEALTHY[Wanting],),
        ),
    )
}
HEALTHY |= {
    type(one): one
    for one in (
        FilesLooked(
            place="/opt/venv",
            packages=42,
            files=20_826,
            bytes=GIB,
            edited=0,
            missing=0,
            unreadable=0,
            named={},
            without_record=(),
            passed_over={"made at installation": 10_118},
            unfinished="",
        ),
        ImageEnvironment(
            image=_IMAGE.tags[0],
            tags=_IMAGE.tags,
            lock_sha256=LOCK,
            layers=("/var/lib/docker/overlay2/top/diff", "/var/lib/docker/overlay2/base/diff"),
            python="3.11",
            packages=tuple(sorted(locks.pins("smoke-cu130-py311").items())),
            unread="",
        ),
        InstalledPackage(name="torch", version="2.13.0+cu130", place="own", installer="pip", local=False),
    )
}
HEALTHY |= {
    ImagePackages: ImagePackages(images=(HEALTHY[ImageEnvironment],)),
    InstalledFiles: InstalledFiles(places=(HEALTHY[FilesLooked],)),
    LockedEnvironment: LockedEnvironment(
        prefix="/opt/venv", venv=True, python="3.11.2", packages=(HEALTHY[InstalledPackage],)
    ),
    Linkage: Linkage(environments=(HEALTHY[TorchLinkage],)),
    PythonMetadata: PythonMetadata(environments=(HEALTHY[EnvironmentMetadata],), not_read=()),
    CrashRecords: Absent("no crash was kept"),
    RebootRequired: Absent("nothing waits for a reboot"),
}
# The same machine without a card.
WITHOUT_GPU: dict[type, Any] = {
    NvidiaCards: Absent("no NVIDIA card on the PCI bus"),
    NvidiaDriver: Absent("the NVIDIA kernel module is not loaded"),
    DriverLibraries: Absent("the NVIDIA driver's libraries are not installed"),
    Gpus: Absent("the NVIDIA management library (libnvidia-ml.so.1) is not installed"),
    CudaLibraries: Absent("no copy of libcuda or cuDNN is installed"),
    CdiSpecs: Absent("no CDI specification is here"),
    DriverInstallation: Absent("no NVIDIA card on the PCI bus"),
    DriverModule: Absent("no NVIDIA card on the PCI bus"),
    NouveauForbidden: Absent("no NVIDIA card on the PCI bus"),
    Cuda: Cuda(accelerator="cpu", device="cpu", minimum_driver=None, architectures=(), reasons=()),
    GpuMemory: dataclasses.replace(HEALTHY[GpuMemory], device="cpu"),
    **GPU_ABSENT,
}

Run = Callable[..., check.Result]
SEEN: dict[str, set[str]] = {}  # every check's outcomes in this session
LAST = "test_every_check_was_seen_to_find_something"


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """What looks at the outcomes of all the others runs last, and only where all of them run."""
    here = Path(__file__).parent
    last = [item for item in items if item.name == LAST]
    part = config.option.keyword or config.option.markexpr or config.option.lf
    whole = not part and {item.path for item in items} >= set(here.glob("test_*.py"))
    items[:] = [item for item in items if item.name != LAST] + (last if whole else [])
    if last and not whole:
        config.hook.pytest_deselected(items=last)


@pytest.fixture(scope="session")
def a() -> Callable[..., Any]:
    """The healthy record of a type, with overrides."""

    def make(kind: type, /, **overrides: Any) -> Any:
        return dataclasses.replace(HEALTHY[kind], **overrides)

    return make


@pytest.fixture(scope="session")
def run_check() -> Run:
    """Judge one check on the healthy GPU machine, or with ``gpu=False`` on the one without, with what is given changed."""

    def run(code: str, *changes: Any, gpu: bool = True) -> check.Result:
        machine = dict(HEALTHY if gpu else HEALTHY | WITHOUT_GPU)
        for change in changes:
            machine.update(change if isinstance(change, Mapping) else {type(change): change})
        facts = {kind.__name__: value for kind, value in machine.items() if kind not in (*SECTIONS, Spec)}
        sections = {kind: machine[kind] for kind in (*SECTIONS, Spec)}
        (result,) = check.run(Snapshot("gpu-07", facts, "0"), sections, codes=(code,))
        SEEN.setdefault(code, set()).add(result.outcome)
        return result

    return run


@pytest.fixture(scope="session")
def seen() -> Mapping[str, set[str]]:
    """The outcomes of every check in the tests that have run."""
    return SEEN


@pytest.fixture(scope="session")
def messages(run_check: Run) -> Callable[..., list[str]]:
    """What a check finds, in words."""

    def said(code: str, *changes: Any, gpu: bool = True) -> list[str]:
        result = run_check(code, *changes, gpu=gpu)
        assert result.outcome in ("ok", "found"), f"{result.outcome}: {result.reason}"
        return [finding.message for finding in result.findings]

    return said


@pytest.fixture(scope="session")
def missing() -> Callable[[type], dict[type, Missing]]:
    """A fact that could not be looked at."""
    return lambda kind: {kind: Missing("permission denied")}
