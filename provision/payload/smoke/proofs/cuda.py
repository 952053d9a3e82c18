"""Driver, torch build, cuDNN and the card fit each other, and the work really runs where it was promised."""

from __future__ import annotations

import re
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .. import lockfile, resident
from ..promise import PRECISIONS
from ..proof import CannotRun, Promise, Verdict, proof
from ..session import Session

if TYPE_CHECKING:
    from torch import Tensor

SIDE = 48  # small enough for a product in pure Python (0.1 M multiplications)
AGREE = 1e-4  # float32, sums of at most 1024 terms below one in size


@proof("CUD-P1", "cuda")
def torch_build_is_the_locks(session: Session, promised: Promise) -> Verdict:
    """torch is the build for the promised accelerator, and its arithmetic is right.

    ## What it proves
    The CUDA version torch was built with, and the local tag of its version (`+cpu`, `+cu126`), fit the accelerator. A
    matrix product through torch agrees with one computed in pure Python.

    ## When it fails
    Another build is installed than was locked: most often the default index gave the CUDA build on a CPU machine, or
    the other way round. Lock the variant again and build the image from it.
    """
    import torch

    accelerator = str(promised["accelerator"])
    local_tag = torch.__version__.partition("+")[2]
    built = torch.version.cuda
    tag_of_build = "cpu" if built is None else "cu" + built.replace(".", "")
    difference = product_difference(torch)
    failures = []
    if tag_of_build != accelerator:
        failures.append(f"torch {torch.__version__} is built for {tag_of_build}, promised {accelerator}")
    if local_tag and local_tag != accelerator:
        failures.append(f"torch's version says +{local_tag}, promised {accelerator}")
    if not difference <= AGREE:
        failures.append(f"a {SIDE} by {SIDE} matrix product differs from pure Python by {difference:.3g}")
    if session.device == "cuda":
        session.require_device()
    return Verdict(
        measured={"torch": torch.__version__, "cuda": built, "product_difference": difference},
        failures=tuple(failures),
    )


def product_difference(torch: Any) -> float:
    """The largest difference between torch's matrix product and pure Python's, on fixed numbers in [-0.5, 0.5]."""
    left = [[((row * 31 + column * 17) % 101) / 101 - 0.5 for column in range(SIDE)] for row in range(SIDE)]
    right = [[((row * 13 + column * 29) % 97) / 97 - 0.5 for column in range(SIDE)] for row in range(SIDE)]
    product: list[list[float]] = torch.matmul(torch.tensor(left), torch.tensor(right)).tolist()
    largest: float = max(
        abs(product[row][column] - sum(left[row][k] * right[k][column] for k in range(SIDE)))
        for row in range(SIDE)
        for column in range(SIDE)
    )
    return largest


@proof("CUD-P2", "cuda", accelerators=("cuda",))
def parameters_on_gpu(session: Session, promised: Promise) -> Verdict:  # noqa: ARG001  every one, always
    """Every parameter, and its quantisation state, is in the GPU's memory.

    ## What it proves
    The device of each tensor of the loaded model, in each precision.

    ## When it fails
    torch or a device map fell back to the CPU. Falling back is never proved: see the driver, and CUDA_VISIBLE_DEVICES.
    """
    session.require_device()
    measured = {}
    failures = []
    for precision in PRECISIONS:
        devices = [device for device, _ in resident.storages(session.loaded(precision).model)]
        elsewhere = [device for device in devices if not device.startswith("cuda")]
        measured[precision] = {"tensors": len(devices), "not_on_gpu": len(elsewhere)}
        if elsewhere:
            failures.append(f"{precision}: {len(elsewhere)} of {len(devices)} tensors on {', '.join(set(elsewhere))}")
    return Verdict(measured=measured, failures=tuple(failures))


@proof("CUD-P3", "cuda", accelerators=("cuda",))
def cudnn_is_the_locks(session: Session, promised: Promise) -> Verdict:  # noqa: ARG001  the lock is the promise
    """The cuDNN that is loaded is the one that was locked.

    ## What it proves
    The version that the loaded library reports is that of the nvidia-cudnn package in the lock (or, without a lock,
    as installed), and the library's file lies in that package's folder.

    ## When it fails
    Another libcudnn stands earlier on the search path: look at LD_LIBRARY_PATH and at copies under /usr/local/cuda.
    """
    session.require_device()
    import torch

    number = torch.backends.cudnn.version()
    if number is None:
        raise CannotRun("torch loads no cuDNN")
    loaded = cudnn_version(number)
    wheel = cudnn_of_the_lock(session.lock)
    files = loaded_libraries("libcudnn.so")
    failures = []
    if wheel.split(".")[:3] != loaded.split("."):
        failures.append(f"cuDNN {loaded} is loaded, the lock has {wheel}")
    failures += [f"{file} is not of the locked package" for file in files if "/nvidia/cudnn/" not in file]
    return Verdict(measured={"loaded": loaded, "locked": wheel, "files": files}, failures=tuple(failures))


def cudnn_version(number: int) -> str:
    """91002 is 9.10.2; before version 9 the major number had one digit less: 8907 is 8.9.7."""
    major = 10_000 if number >= 90_000 else 1_000
    return f"{number // major}.{number % major // 100}.{number % 100}"


def cudnn_of_the_lock(lock: Path | None) -> str:
    """The version of the nvidia-cudnn-cuNN package. Raises CannotRun when there is none."""
    if lock is not None:
        versions = lockfile.pins(lock.read_text(encoding="utf-8"))
    else:
        versions = {name: version for name, (version, _) in lockfile.installed().items()}
    for name, version in sorted(versions.items()):
        if re.fullmatch(r"nvidia-cudnn-cu\d+", name):
            return version
    raise CannotRun(
        "no nvidia-cudnn package is locked or installed, so the loaded cuDNN has nothing to be compared with"
    )


def loaded_libraries(prefix: str) -> list[str]:
    """Files mapped into this process whose name starts with `prefix`, from /proc/self/maps."""
    lines = Path("/proc/self/maps").read_text(encoding="utf-8", errors="replace").splitlines()
    paths = {line.split(maxsplit=5)[5] for line in lines if line.count("/")}
    return sorted(path for path in paths if Path(path).name.startswith(prefix))


@proof("CUD-P4", "cuda", accelerators=("cuda",))
def gpu_agrees_with_cpu(session: Session, promised: Promise) -> Verdict:  # noqa: ARG001  agreement is the promise
    """A matrix product and a convolution give the same on the GPU as on the CPU.

    ## What it proves
    cuBLAS and cuDNN really run on this card, in float32 without TF32, and are right.

    ## When it fails
    "no kernel image": the build does not cover the card (CUD-P5). A difference: a damaged library or card; look for
    Xid and ECC errors in the kernel log.
    """
    session.require_device()
    import torch

    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False
    generator = torch.Generator().manual_seed(0)

    def numbers(*shape: int) -> Tensor:
        return torch.rand(*shape, generator=generator) - 0.5

    left, right = numbers(256, 1024), numbers(1024, 256)
    image, kernel = numbers(4, 16, 32, 32), numbers(32, 16, 3, 3)
    convolve = torch.nn.functional.conv2d
    measured = {
        "product_difference": float(((left.cuda() @ right.cuda()).cpu() - left @ right).abs().max()),
        "convolution_difference": float(
            (convolve(image.cuda(), kernel.cuda()).cpu() - convolve(image, kernel)).abs().max()
        ),
    }
    failures = tuple(
        f"{name.replace('_', ' ')} {value:.3g}, at most {AGREE} is right"
        for name, value in measured.items()
        if not value <= AGREE
    )
    return Verdict(measured=measured, failures=failures)


@proof("CUD-P5", "cuda", accelerators=("cuda",))
def architecture_in_build(session: Session, promised: Promise) -> Verdict:  # noqa: ARG001  every card, always
    """The torch build has code for this card's architecture.

    ## What it proves
    For every visible card: its compute capability is among the architectures of the build, as machine code of the same
    major version (sm_) or as intermediate code that is not newer than the card (compute_).

    ## When it fails
    The card is older or newer than the build: lock another CUDA variant of torch. The names are in the message.
    """
    session.require_device()
    import torch

    built = list(torch.cuda.get_arch_list())
    cards = {}
    failures = []
    for index in range(torch.cuda.device_count()):
        capability = torch.cuda.get_device_capability(index)
        cards[torch.cuda.get_device_name(index)] = f"{capability[0]}.{capability[1]}"
        if not covers(built, capability):
            failures.append(
                f"{torch.cuda.get_device_name(index)} is {capability[0]}.{capability[1]}, the build has {', '.join(built)}"
            )
    if not cards:
        raise CannotRun("torch sees no card")
    if metadata.version("torch") != torch.__version__:
        failures.append(f"torch says {torch.__version__}, its metadata {metadata.version('torch')}")
    return Verdict(measured={"cards": cards, "build": built}, failures=tuple(failures))


def covers(built: list[str], capability: tuple[int, int]) -> bool:
    """Whether a build with these architectures (sm_80, sm_90a, compute_90) runs on a card of this capability."""
    for name in built:
        match = re.fullmatch(r"(sm|compute)_(\d+)(\d)([af]?)", name)
        if match is None:
            continue
        architecture = (int(match[2]), int(match[3]))
        if match[4]:  # an architecture-specific build runs on that architecture alone
            fits = architecture == capability
        elif match[1] == "sm":
            fits = architecture[0] == capability[0] and architecture <= capability
        else:
            fits = architecture <= capability
        if fits:
            return True
    return False
