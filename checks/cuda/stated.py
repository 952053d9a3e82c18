"""What pasted facts alone show of builds, search paths and settings that do not fit each other."""

from __future__ import annotations

import re
from collections.abc import Iterator

from provision.catalog import tables
from provision.catalog.version import numbers, older
from provision.check import ERROR, Finding, NotApplicable, check
from provision.checks._words import listed
from provision.fact import NOT_PASTED, Absent, Missing
from provision.facts.stated import Stated
from provision.facts.symptoms import Symptoms

_COMPAT = re.compile(r"(?:^|[:/])(?:cuda[\w.-]*/)?compat(?:[/\s:]|$)")
_TOOLKIT = re.compile(r"/cuda-(\d+\.\d+)")


def _set(stated: Stated, name: str) -> str:
    """A variable's value. A text that leaves it out does not say that it is unset."""
    try:
        return dict(stated.env)[name]
    except KeyError:
        raise Missing(NOT_PASTED) from None


@check("CUD140", ERROR, cause="compat-package-shadow")
def compat_first_in_stated_path(stated: Stated) -> Iterator[Finding]:
    """The pasted LD_LIBRARY_PATH begins with a CUDA compatibility folder.

    Its libcuda is loaded instead of the driver's own. It works only on data-centre cards and only under drivers older
    than itself; under a newer one, or on a GeForce card, CUDA does not start (errors 803 and 804).

    ## Fix
    Take the folder out of LD_LIBRARY_PATH; the driver's own libcuda is then found.

    ## Proof
    CUD-P2: every parameter of the model is on the GPU.
    """
    path = _set(stated, "LD_LIBRARY_PATH")
    if _COMPAT.search(path.split(":")[0]):
        yield Finding(
            f"LD_LIBRARY_PATH begins with {path.split(':')[0]}: its libcuda comes before the driver's own",
            measured={"LD_LIBRARY_PATH": path},
            fix=("unset LD_LIBRARY_PATH", "ldconfig -p | grep libcuda.so"),
        )


@check("CUD141", ERROR, cause="ld-library-path-shadow")
def stated_path_has_another_cuda(stated: Stated) -> Iterator[Finding]:
    """The pasted LD_LIBRARY_PATH names another CUDA release than torch's.

    The variable comes before the libraries that torch's wheel carries. Those that the wheel asks for by name are then
    taken from the toolkit's folder, a release older or newer, and fail in calls that the two releases do differently.

    ## Fix
    Unset LD_LIBRARY_PATH for programs that use torch.

    ## Proof
    CUD-P4: a matrix product and a convolution on the GPU agree with the CPU.
    """
    path = _set(stated, "LD_LIBRARY_PATH")
    built = stated.torch_cuda
    if built is None:
        raise Missing(NOT_PASTED)
    others = sorted({v for v in _TOOLKIT.findall(path) if numbers(v)[:2] != numbers(built)[:2]})
    if others:
        yield Finding(
            f"LD_LIBRARY_PATH holds CUDA {listed(others)}; torch {stated.torch_version} was built for CUDA {built}",
            measured={"LD_LIBRARY_PATH": path, "cuda": others},
            needed={"cuda": built},
            fix=("unset LD_LIBRARY_PATH",),
        )


@check("CUD142", ERROR, cause="cuda-visible-devices-or-mig")
def stated_visible_devices_not_a_device(stated: Stated) -> Iterator[Finding]:
    """The pasted CUDA_VISIBLE_DEVICES names no device.

    Anything but indices and UUIDs ends the list where it stands, without a message: "None", written by a launcher that
    had nothing to say, hides every GPU.

    ## Fix
    Unset the variable, or write indices or UUIDs.

    ## Proof
    CUD-P2: every parameter of the model is on the GPU.
    """
    value = _set(stated, "CUDA_VISIBLE_DEVICES")
    first = value.split(",")[0].strip().strip("\"'")
    if first and not re.fullmatch(r"-?\d+|(?:GPU|MIG)-[\w./-]+|all|void", first):
        yield Finding(
            f"CUDA_VISIBLE_DEVICES is {value!r}, which names no device, so every GPU is hidden",
            measured={"CUDA_VISIBLE_DEVICES": value},
            fix=("unset CUDA_VISIBLE_DEVICES", "nvidia-smi -L   # indices and UUIDs"),
        )


@check("CUD143", ERROR, cause="cuda-visible-devices-or-mig")
def stated_cards_differ_and_are_numbered(stated: Stated) -> Iterator[Finding]:
    """GPUs of different models are chosen by number without a stated order.

    CUDA counts the fastest card first, nvidia-smi counts by bus address. With unlike cards the same number names two
    different ones, and the model lands on the small one.

    ## Fix
    Set CUDA_DEVICE_ORDER=PCI_BUS_ID wherever CUDA_VISIBLE_DEVICES is set, or name cards by UUID.

    ## Proof
    CUD-P2: every parameter of the model is on the GPU.
    """
    value, order = _set(stated, "CUDA_VISIBLE_DEVICES"), dict(stated.env).get("CUDA_DEVICE_ORDER")
    if not stated.gpus:
        raise Missing(NOT_PASTED)
    models = sorted({gpu.name for gpu in stated.gpus})
    if len(models) > 1 and re.match(r"\d", value) and order != "PCI_BUS_ID":
        yield Finding(
            f"CUDA_VISIBLE_DEVICES is {value} among {listed(models)}, and CUDA_DEVICE_ORDER is not PCI_BUS_ID",
            measured={"CUDA_VISIBLE_DEVICES": value, "models": models},
            needed={"CUDA_DEVICE_ORDER": "PCI_BUS_ID"},
            fix=("export CUDA_DEVICE_ORDER=PCI_BUS_ID",),
        )


@check("CUD144", ERROR, cause="cuda-toolkit-missing-or-mismatch")
def stated_toolkit_of_another_major(stated: Stated) -> Iterator[Finding]:
    """The pasted toolkit is of another CUDA major than torch.

    torch runs without a toolkit. What compiles against it, DeepSpeed's operators and FlashAttention among them, needs
    nvcc of torch's CUDA major, and refuses another.

    ## Fix
    Install the toolkit of torch's CUDA, or a torch of the toolkit's major.

    ## Proof
    CUD-P4: a matrix product and a convolution on the GPU agree with the CPU.
    """
    have, built = stated.toolkit_version, stated.torch_cuda
    if not have or not built:
        raise Missing(NOT_PASTED)
    if numbers(have)[0] != numbers(built)[0]:
        yield Finding(
            f"the CUDA toolkit is {have}; torch was built for CUDA {built}, and extensions need its major",
            measured={"toolkit": have},
            needed={"toolkit": built},
            fix=(f"install the CUDA toolkit {built} and set CUDA_HOME",),
        )


@check("CUD145", ERROR, cause="driver-too-old-for-cuda")
def stated_driver_too_old_for_engine(stated: Stated) -> Iterator[Finding]:
    """The pasted driver is older than the engine's default wheel needs.

    An engine pins its torch, and that torch's ordinary wheel is built for one CUDA. Below that CUDA major's oldest
    driver nothing starts, whatever is installed beside it.

    ## Fix
    A newer driver, or the engine's wheel for the driver's CUDA.

    ## Proof
    CUD-P4: a matrix product and a convolution on the GPU agree with the CPU.
    """
    if stated.torch_cuda is not None:
        raise NotApplicable("the stated torch is judged itself")
    packages = dict(stated.packages)
    if stated.driver_version is None or not any(pin.engine in packages for pin in tables.pins()):
        raise Missing(NOT_PASTED)
    for pin in tables.pins():
        version = packages.get(pin.engine)
        if version is None or older(version, pin.first) or older(pin.last, version):
            continue
        release = tables.torch_releases().get(pin.torch)
        floor = tables.minimum_driver(release.cuda) if release else None
        if release and floor is not None and older(stated.driver_version, floor):
            yield Finding(
                f"{pin.engine} {version} brings torch {pin.torch}, whose default wheel is for CUDA {release.cuda}: "
                f"driver {floor} or newer; it is {stated.driver_version}",
                measured={"driver": stated.driver_version},
                needed={"driver": floor},
                fix=("install a newer driver", f"or a {pin.engine} wheel for the driver's CUDA"),
            )


@check("CUD146", ERROR, cause="torch-cpu-build")
def stated_torch_without_cuda(stated: Stated, symptoms: Symptoms | Absent | Missing) -> Iterator[Finding]:
    """The pasted torch was built without CUDA.

    Its version ends in +cpu. Whoever pastes it alone to a question about GPUs has the wrong build. Where the text says that
    no GPU was seen, it may be the right one: on a machine without a GPU nothing is wrong with it. Beside a log that
    complains of something else it may be meant so, and is only likely the fault.

    ## Fix
    Install a CUDA build into the same environment, if there is a GPU.

    ## Proof
    CUD-P1: the torch in the container is the accelerator's build.
    """
    if stated.torch_version is None:
        raise Missing(NOT_PASTED)
    if stated.torch_without_cuda and stated.torch_version.endswith("+cpu"):
        if stated.gpus or stated.driver_version:
            raise NotApplicable("it is judged beside the card that is stated (CUD009)")
        none = stated.no_gpu_seen
        other = isinstance(symptoms, Symptoms) and not _NO_CUDA & {one.rule for one in symptoms.found}
        yield Finding(
            f"torch {stated.torch_version} was built without CUDA"
            + (", and no GPU was seen beside it" if none else ""),
            measured={"torch": stated.torch_version},
            needed={"cuda": True},
            fix=("python3 -m pip install --force-reinstall torch   # from an index of CUDA builds",),
            certainty="possible" if none else "likely" if other else "certain",
            tell_apart=("lspci -d 10de:   # prints nothing: no NVIDIA card, and the CPU build is right",)
            if none or other
            else (),
        )


# Rows of messages that a torch without CUDA can be the reason for.
_NO_CUDA = {
    "torch-cpu",
    "cuda-unavailable",
    "no-cuda-gpus",
    "bitsandbytes",
    "torch-found-no-driver",
    "torchvision-torch",
}
