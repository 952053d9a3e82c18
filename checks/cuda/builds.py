"""What was installed to use the GPU, against the driver and the card."""

from __future__ import annotations

from collections.abc import Iterator

from provision.catalog import tables
from provision.catalog.builds import advice, covers
from provision.catalog.version import minor, numbers, older
from provision.check import ERROR, WARNING, Finding, NotApplicable, check
from provision.checks._gpus import not_loaded_yet, to_come
from provision.checks._pasted import (
    WHICH_BUILD,
    MaybeStated,
    a_card,
    architecture,
    capabilities,
    count_cards,
    libcudas,
    require_all,
    torches,
    variables,
)
from provision.checks._words import listed
from provision.fact import Absent, Missing
from provision.facts.cuda import CudaLibraries, LibraryCopy
from provision.facts.driver import DriverLibraries, NvidiaDriver
from provision.facts.environment import Environment
from provision.facts.gpus import Gpus
from provision.facts.packages import Packages
from provision.facts.pci import NvidiaCards
from provision.facts.stated import Stated
from provision.facts.system import System
from provision.spec import Spec


@check("CUD009", ERROR, cause="torch-cpu-build")
def torch_without_cuda(
    packages: Packages | Missing,
    cards: NvidiaCards | Absent | Missing,
    gpus: Gpus | Absent | Missing,
    stated: MaybeStated,
    spec: Spec,
) -> Iterator[Finding]:
    """The torch in use was built without CUDA, on a machine with an NVIDIA card.

    `torch.cuda.is_available()` is False with a perfect driver. It comes from an index of CPU wheels, from a lock that was
    made on a machine without a GPU, or from a package that pulled another torch in. Only the environment that a plain
    `python3` uses is judged; a CPU build elsewhere may be meant. On a machine without a card it is the right one.

    ## Fix
    Install a CUDA build into that environment. If the card is not meant for this machine, write `accelerator = "cpu"` into
    provision.toml.

    ## Proof
    CUD-P1: the torch in the container is the accelerator's build.
    """
    if spec.accelerator == "cpu":
        raise NotApplicable("provision.toml asks for the CPU")
    card = a_card(cards, gpus, stated)
    for environment, torch in torches(packages, stated):
        if environment.in_use and torch.cuda is None and torch.hip is None:
            yield Finding(
                f"torch {torch.version}{environment.inside} was built without CUDA; {card}",
                measured={"torch": torch.version, "cuda": None, "prefix": environment.prefix},
                needed={"cuda": True},
                fix=(f"{environment.python} -m pip install --force-reinstall torch=={torch.version.split('+')[0]}",),
            )


@check("CUD010", ERROR, cause="driver-too-old-for-cuda")
def torch_newer_than_driver(
    packages: Packages | Missing,
    driver: NvidiaDriver,
    stated: MaybeStated,
    libraries: DriverLibraries | Absent | Missing,
) -> Iterator[Finding]:
    """An installed torch was built for a CUDA major that the driver does not know.

    Each CUDA major has an oldest driver. Across majors nothing starts (CUDA error 35); inside one major an older driver
    runs newer builds, so torch for CUDA 12.8 works on a driver of CUDA 12.2. Where a newer driver is installed and only
    its module is not loaded yet, that one is judged: the remedy is a reboot (CUD003).

    ## Fix
    Install a torch built for the driver's CUDA major, or a newer driver.

    ## Proof
    CUD-P4: a matrix product and a convolution on the GPU agree with the CPU.
    """
    version, waits, found = to_come(driver, libraries), False, False
    for environment, torch in torches(packages, stated):
        least = tables.minimum_driver(torch.cuda) if torch.cuda else None
        if not least or not older(driver.version, least) or _compat(stated, torch.cuda):
            continue
        if not older(version, least):
            waits = True
        else:
            found = True
            runs = [row.cuda for row in tables.drivers().major if not older(version, row.minimum_driver)]
            yield Finding(
                f"{environment.wheel}torch {torch.version}{environment.inside} was built for CUDA {torch.cuda}, "
                f"which needs driver {least} or newer; {driver.version} is loaded",
                measured={"driver": driver.version, "torch": torch.version, "cuda": torch.cuda},
                needed={"driver": least},
                fix=(
                    f"install driver {least} or newer",
                    *((f"or: a torch built for CUDA {max(runs)}",) if runs else ()),
                ),
                certainty="likely" if environment.assumed else "certain",
                tell_apart=(WHICH_BUILD,) if environment.assumed else (),
            )
    if waits and not found:
        raise not_loaded_yet(driver, version)


def _compat(stated: MaybeStated, cuda: str | None) -> bool:
    """nvidia-smi prints a newer CUDA than an old driver's own where a cuda-compat libcuda is in use."""
    api = stated.cuda_api if isinstance(stated, Stated) else None
    return bool(api and cuda) and numbers(api or "") >= numbers(cuda or "")[:1]


@check("CUD011", ERROR, cause="torch-arch-unsupported")
def torch_has_no_kernels_for_gpu(
    packages: Packages | Missing,
    gpus: Gpus | Missing,
    system: System | Missing,
    stated: MaybeStated,
    driver: NvidiaDriver | Absent | Missing,
    libraries: DriverLibraries | Absent | Missing,
) -> Iterator[Finding]:
    """An installed torch has no code for the GPU's architecture.

    Everything imports, `torch.cuda.is_available()` is True, and the first kernel fails with "no kernel image is available
    for execution on the device". A card needs code of its own generation; the ordinary wheels hold nothing that a driver
    could compile for a newer one. Typical: Blackwell cards with torch 2.7 and older, Volta with 2.11 and newer.

    ## Fix
    Install a torch whose build covers the card and whose CUDA the driver runs: a newer release for a newer card, an older
    CUDA variant for an older one. Where the driver is not known, the command says which one it needs.

    ## Proof
    CUD-P5: the card's architecture is among those the build was compiled for.
    """
    machine = architecture(system, stated)
    if machine not in ("x86_64", None):
        raise NotApplicable(f"the table knows x86_64 wheels; this is {machine}")
    cards = capabilities(gpus, stated)
    if machine is None:  # Tegra's own builds are not in the table, and its code is not a desktop card's
        cards = [(name, one) for name, one in cards if one not in _TEGRA]
    version = to_come(driver, libraries) if isinstance(driver, NvidiaDriver) else None
    unlisted = []
    for environment, torch in torches(packages, stated):
        row = next((w for w in tables.wheels() if (w.torch, w.cuda) == (minor(torch.version), torch.cuda)), None)
        if row is None:
            unlisted += [f"torch {torch.version} for CUDA {torch.cuda}"] if torch.cuda is not None and cards else []
            continue
        # Before CUDA 13 wheels for Arm held the same code or less (pytorch .ci/manywheel/build_cuda.sh @ 799d09f21574).
        sure = machine is not None or numbers(row.cuda) < (13,)
        for capability in sorted({one for _, one in cards}):
            if not covers(row.architectures, capability) and not (row.ptx and _newest(row.architectures, capability)):
                names = listed(sorted({name for name, one in cards if one == capability}))
                yield Finding(
                    f"{environment.wheel}torch {torch.version} (CUDA {torch.cuda}){environment.inside} was compiled for "
                    f"{listed(row.architectures)}; {names} is {capability}",
                    measured={"compute_capability": capability, "torch": torch.version},
                    needed={"architectures": list(row.architectures)},
                    fix=advice(capability, version, environment.python),
                    certainty="certain" if sure and not environment.assumed else "likely",
                    tell_apart=(
                        *(() if sure else ("uname -m   # the table knows x86_64 wheels",)),
                        *((WHICH_BUILD,) if environment.assumed else ()),
                    ),
                )
    if unlisted:
        raise Missing(f"the table does not know what {listed(unlisted)} was compiled for")


_TEGRA = ("8.7", "11.0")  # Orin, Thor (developer.nvidia.com/cuda-gpus)


def _newest(architectures: tuple[str, ...], capability: str) -> bool:
    """Whether a card is newer than everything compiled: what a driver compiles (PTX) serves those, never older ones."""
    return all(numbers(a) < numbers(capability) for a in architectures)


def _first(libraries: CudaLibraries | Missing, stated: MaybeStated) -> LibraryCopy:
    found = libcudas(libraries, stated)
    if not found:
        raise NotApplicable("no libcuda is here")
    return found[0]


@check("CUD012", ERROR, cause="ld-library-path-shadow")
def libcuda_stub_comes_first(libraries: CudaLibraries | Missing, stated: MaybeStated) -> Iterator[Finding]:
    """The loader finds the toolkit's stub of libcuda before the real one.

    The folder `…/stubs` of a CUDA toolkit holds an empty libcuda to link against. At run time it answers every call with
    CUDA error 34 (or "CUDA driver is a stub library"), and torch reports no GPU.

    ## Fix
    Take the stubs folder out of LD_LIBRARY_PATH or /etc/ld.so.conf.d, then run `ldconfig`.

    ## Proof
    CUD-P2: every parameter of the model is on the GPU.
    """
    first = _first(libraries, stated)
    if "/stubs/" in first.path and first.source in ("LD_LIBRARY_PATH", "ldconfig"):
        yield Finding(
            f"the first libcuda is the stub {first.path} (through {first.source})",
            measured={"path": first.path, "source": first.source},
            needed={"path": "the driver's own libcuda.so.1"},
            fix=(
                'echo "$LD_LIBRARY_PATH"   # then leave the stubs folder out'
                if first.source == "LD_LIBRARY_PATH"
                else "grep -r stubs /etc/ld.so.conf.d   # then remove the line and run ldconfig",
            ),
        )


@check("CUD013", ERROR, cause="compat-package-shadow")
def compat_libcuda_older_than_driver(
    libraries: CudaLibraries | Missing, driver: NvidiaDriver, stated: MaybeStated
) -> Iterator[Finding]:
    """A CUDA compatibility library older than the driver is found before the driver's own.

    The cuda-compat package puts a newer libcuda before an older driver's. After a driver upgrade the same folder holds an
    older one, which the new kernel module refuses (CUDA error 803). On GeForce cards it never worked (error 804).

    ## Fix
    Take the compat folder out of LD_LIBRARY_PATH or /etc/ld.so.conf.d; the driver is new enough by itself.

    ## Proof
    CUD-P2: every parameter of the model is on the GPU.
    """
    first = _first(libraries, stated)
    if "/compat/" not in first.path:
        return
    if first.version is None:
        raise Missing(f"{first.path} has no version in its name")
    if older(first.version, driver.version):
        yield Finding(
            f"{first.path} is libcuda {first.version} and comes before that of the loaded driver, {driver.version}",
            measured={"libcuda": first.version, "path": first.path},
            needed={"libcuda": driver.version},
            fix=("remove the compat folder from LD_LIBRARY_PATH and /etc/ld.so.conf.d, then run ldconfig",),
        )


@check("CUD014", WARNING, cause="cuda-visible-devices-or-mig")
def every_gpu_is_hidden(
    environment: Environment | Missing, cards: NvidiaCards | Missing, stated: MaybeStated
) -> Iterator[Finding]:
    """CUDA_VISIBLE_DEVICES hides every GPU.

    An empty value, or one that begins with -1, leaves a program without a GPU, and without a message: torch says CUDA
    is not available.

    ## Fix
    Remove the variable where it is set (the shell's profile, the service's unit, the container's environment).

    ## Proof
    CUD-P2: every parameter of the model is on the GPU.
    """
    count = count_cards(cards, stated)
    value = variables(environment, stated).get("CUDA_VISIBLE_DEVICES")
    if value is None:
        require_all(environment)
    elif value.split(",")[0].strip() in ("", "-1"):
        yield Finding(
            f"CUDA_VISIBLE_DEVICES is {value!r}: none of {count} is visible",
            measured={"CUDA_VISIBLE_DEVICES": value},
            needed={"CUDA_VISIBLE_DEVICES": None},
            fix=("unset CUDA_VISIBLE_DEVICES",),
        )
