"""The same question asked of a machine's facts or, where there is no machine, of what was pasted about it."""

from __future__ import annotations

from provision.catalog import tables
from provision.check import NotApplicable
from provision.fact import Absent, Missing
from provision.facts.cuda import CudaLibraries, LibraryCopy
from provision.facts.environment import Environment
from provision.facts.gpus import Gpus
from provision.facts.libraries import version_of
from provision.facts.packages import Packages, TorchBuild
from provision.facts.pci import NvidiaCards
from provision.facts.stated import Stated
from provision.facts.system import System
from provision.record import record

MaybeStated = Stated | Absent | Missing


@record
class Installed:
    """One Python environment: where it is, or the one list that was pasted, of which nobody knows where it is."""

    prefix: str | None
    in_use: bool
    packages: tuple[tuple[str, str], ...]
    torch: TorchBuild | None  # None: no torch, or pasted text that does not say what it was built for
    assumed: bool = False  # the text gives torch's version only: taken for the default wheel of that release

    @property
    def inside(self) -> str:
        """`` in /opt/venv``, for messages; "" for a pasted list."""
        return f" in {self.prefix}" if self.prefix else ""

    @property
    def wheel(self) -> str:
        """``the default wheel of ``, where that is all that is known of torch."""
        return "the default wheel of " if self.assumed else ""

    @property
    def python(self) -> str:
        """The interpreter for commands."""
        return f"{self.prefix}/bin/python3" if self.prefix else "python3"


def environments(packages: Packages | Missing, stated: MaybeStated) -> tuple[Installed, ...]:
    """Python environments. Raises the reason where neither the machine nor a text tells of packages."""
    if isinstance(packages, Packages):
        return tuple(
            Installed(prefix=e.prefix, in_use=e.prefix == packages.in_use, packages=e.packages, torch=e.torch)
            for e in packages.environments
        )
    if not isinstance(stated, Stated) or not (stated.packages or stated.torch_version):
        raise packages
    listed = dict(stated.packages)
    if stated.torch_version:
        listed["torch"] = stated.torch_version
    torch, assumed = _stated_torch(stated)
    names = tuple(sorted(listed.items()))
    return (Installed(prefix=None, in_use=True, packages=names, torch=torch, assumed=assumed),)


def _stated_torch(stated: Stated) -> tuple[TorchBuild | None, bool]:
    """What torch was built for, and whether that is only what the default wheel of its release is built for."""
    version = stated.torch_version
    if version is None:
        return None, False
    if stated.torch_cuda or stated.torch_hip or stated.torch_without_cuda:
        return TorchBuild(version=version, cuda=stated.torch_cuda, hip=stated.torch_hip), False
    row = tables.torch_releases().get(version) if stated.architecture in ("x86_64", None) else None
    return (TorchBuild(version=version, cuda=row.cuda, hip=None), True) if row else (None, False)


WHICH_BUILD = 'python3 -c "import torch; print(torch.__version__, torch.version.cuda)"'


def torches(packages: Packages | Missing, stated: MaybeStated) -> list[tuple[Installed, TorchBuild]]:
    """Environments with a torch of which it is known what it was built for."""
    here = environments(packages, stated)
    found = [(one, one.torch) for one in here if one.torch is not None]
    if not found and any(one.prefix is None and "torch" in dict(one.packages) for one in here):
        raise Missing("what was pasted does not say what torch was built for")
    if not found and isinstance(packages, Missing):
        raise packages  # a pasted list may be cut: that torch is not in it says nothing
    if not found:
        raise NotApplicable("torch is in none of the environments here")
    return found


def capabilities(gpus: Gpus | Missing, stated: MaybeStated) -> list[tuple[str, str]]:
    """(name, compute capability) of the GPUs."""
    if isinstance(gpus, Gpus):
        here = [(gpu.name, gpu.compute_capability) for gpu in gpus.gpus if gpu.compute_capability is not None]
        if here or not gpus.gpus:
            return here
        raise Missing(f"the table has no compute capability for {gpus.gpus[0].name}")
    if not isinstance(stated, Stated) or not stated.gpus:
        raise gpus
    known = [(gpu.name, gpu.compute_capability) for gpu in stated.gpus if gpu.compute_capability is not None]
    if not known:
        raise Missing(f"the table has no compute capability for {stated.gpus[0].name}")
    return known


def a_card(cards: NvidiaCards | Absent | Missing, gpus: Gpus | Absent | Missing, stated: MaybeStated) -> str:
    """An NVIDIA card, in words for a message. On WSL2 the driver answers for one that no PCI bus shows."""
    if isinstance(cards, NvidiaCards):
        return f"{cards.cards[0].address} is an NVIDIA card"
    if isinstance(gpus, Gpus) and gpus.gpus:
        return f"GPU {gpus.gpus[0].index} is {gpus.gpus[0].name}"
    if isinstance(stated, Stated) and stated.gpus:
        return f"GPU {stated.gpus[0].index} is {stated.gpus[0].name}"
    if isinstance(stated, Stated) and stated.driver_version:
        return f"the NVIDIA driver {stated.driver_version} is loaded"
    raise cards


def count_cards(cards: NvidiaCards | Missing, stated: MaybeStated) -> int:
    """How many NVIDIA GPUs there are."""
    if isinstance(cards, NvidiaCards):
        return len(cards.cards)
    if isinstance(stated, Stated) and stated.gpus:
        return len(stated.gpus)
    raise cards


def lanes(
    cards: NvidiaCards | Missing, gpus: Gpus | Missing, stated: MaybeStated
) -> list[tuple[str, int | None, int | None]]:
    """(address, PCIe lanes in use, lanes of the card) of every card: from the bus, else as nvidia-smi printed them."""
    if isinstance(cards, NvidiaCards):
        return [(card.address, card.link_width, card.link_width_max) for card in cards.cards]
    if not isinstance(stated, Stated) or not isinstance(gpus, Gpus):
        raise cards
    for gpu in gpus.gpus:
        for name, reason in gpu.unread:
            if name in ("pcie_width", "pcie_width_max"):
                raise Missing(reason)
    return [(gpu.pci_address, gpu.pcie_width, gpu.pcie_width_max) for gpu in gpus.gpus]


def architecture(system: System | Missing, stated: MaybeStated) -> str | None:
    """``x86_64``; None where a text tells of a machine and not of its processor."""
    if isinstance(system, System):
        return system.architecture
    if isinstance(stated, Stated):
        return stated.architecture
    raise system


def libcudas(libraries: CudaLibraries | Missing, stated: MaybeStated) -> tuple[LibraryCopy, ...]:
    """Copies of libcuda in the loader's order. A pasted cache (``ldconfig -p``) names files, not their versions."""
    if isinstance(libraries, CudaLibraries):
        return libraries.libcuda
    if not isinstance(stated, Stated) or not stated.libraries:
        raise libraries
    paths = [path for name, path in stated.libraries if name.startswith("libcuda.so")]
    if not paths:
        raise libraries  # the list may be cut
    return tuple(LibraryCopy(path=path, version=version_of(path), source="ldconfig") for path in paths)


def variables(environment: Environment | Missing, stated: MaybeStated) -> dict[str, str]:
    """Environment variables. Of a pasted text only those that it states: see ``require_all``."""
    if isinstance(environment, Environment):
        return dict(environment.variables)
    if not isinstance(stated, Stated):
        raise environment
    return dict(stated.env)


def require_all(environment: Environment | Missing) -> None:
    """Raise the reason where only some variables were pasted: that one is not among them does not mean it is not set."""
    if isinstance(environment, Missing):
        raise environment
