"""What a pasted text states about a machine that is not looked at. No probe makes it."""

from __future__ import annotations

from provision.fact import fact, pasted
from provision.record import record


@record
class StatedGpu:
    index: int
    name: str  # "NVIDIA GeForce RTX 4090", as nvidia-smi or torch has it
    memory_bytes: int | None = None
    compute_capability: str | None = None  # as stated, else what the catalogue has for the name


@record
class StatedFileSystem:
    mount_point: str
    total_bytes: int | None = None  # df -h rounds: as exact as the text
    free_bytes: int | None = None
    filesystem: str | None = None  # "ext4", where the text says so


@pasted
@fact
class Stated:
    """Single statements of pasted dumps. None or empty: the text does not say, which is not "there is none"."""

    sources: tuple[str, ...] = ()  # "PyTorch collect_env in env.txt", in the order they were read
    driver_version: str | None = None
    cuda_api: str | None = None  # nvidia-smi's "CUDA Version": the newest CUDA that the driver knows
    gpus: tuple[StatedGpu, ...] = ()  # by index
    torch_version: str | None = None  # "2.8.0+cu128"
    torch_cuda: str | None = None  # what torch was built for; None where it is not said, or torch_without_cuda
    torch_hip: str | None = None
    torch_without_cuda: bool = False  # the text says that torch was built without CUDA
    no_gpu_seen: bool = False  # the text says that whoever made it looked for a GPU and saw none
    cuda_available: bool | None = None  # torch.cuda.is_available() as printed
    python_version: str | None = None
    glibc: str | None = None
    toolkit_version: str | None = None
    cudnn_version: str | None = None
    os_name: str | None = None
    kernel: str | None = None
    architecture: str | None = None  # "x86_64", "aarch64"
    hostname: str | None = None
    packages: tuple[tuple[str, str], ...] = ()  # (normalised name, version), sorted
    env: tuple[tuple[str, str], ...] = ()  # names on the list of provision.facts.environment only
    libraries: tuple[tuple[str, str], ...] = ()  # (soname, path) of the loader's cache, in its order
    file_systems: tuple[StatedFileSystem, ...] = ()  # sorted by mount point
    memory_total_bytes: int | None = None
    memory_available_bytes: int | None = None
    swap_total_bytes: int | None = None
    swap_free_bytes: int | None = None
    memlock_soft_bytes: int | None = None
    memlock_unlimited: bool = False
    nofile_soft: int | None = None
    kernel_command_line: str | None = None
