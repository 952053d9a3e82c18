"""How checks judge many GPUs of which some cannot be read, and questions that several of them ask."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

from provision.catalog.version import older
from provision.check import Finding, NotApplicable
from provision.fact import NOT_PASTED, Absent, Missing
from provision.facts.driver import DriverLibraries, NvidiaDriver
from provision.facts.gpu_links import GpuLinks
from provision.facts.gpus import Gpus
from provision.facts.kernel_events import KernelEvent
from provision.facts.log import KernelLog

R = TypeVar("R")
ANSWERS = "driver that answers"  # to NVML, without a kernel module that is visible: it is the host's, on WSL2 Windows's


def readable(gpus: Iterable[R], fields: str, nothing: str) -> Iterator[R]:
    """The GPUs whose ``fields`` ("ecc ecc_pending") are all known, and then what ``read_everywhere`` raises.

    What a check found until then stays found, with the reason beside it.
    """
    every = list(gpus)
    yield from _with_all(every, fields.split())
    read_everywhere(every, fields, nothing)


def read_everywhere(gpus: Iterable[Any], fields: str, nothing: str) -> None:
    """Nothing where every GPU that has these fields told them.

    A field unread on some GPU: ``Missing`` with the driver's reason. No GPU has them: ``NotApplicable`` with ``nothing``.
    """
    every, names = list(gpus), fields.split()
    for gpu in every:
        for name, reason in gpu.unread:
            if name in names:
                raise Missing(reason if reason == NOT_PASTED else f"GPU {gpu.index}, {name}: {reason}")
    if not _with_all(every, names):
        raise NotApplicable(nothing)


def _with_all(gpus: list[R], names: list[str]) -> list[R]:
    return [gpu for gpu in gpus if all(getattr(gpu, name) is not None for name in names)]


def each(gpus: Iterable[R], fields: str, nothing: str, judge: Callable[[R], Iterator[Finding]]) -> Iterator[Finding]:
    """What ``judge`` finds on every readable GPU."""
    for gpu in readable(gpus, fields, nothing):
        yield from judge(gpu)


def events(log: KernelLog, *kinds: str) -> list[KernelEvent]:
    """What the kernel log holds of these kinds. Raises ``Missing`` for a log recorded without them."""
    if log.events is None:
        raise Missing("the kernel log was recorded before these messages were kept")
    return [event for event in log.events if event.kind in kinds]


def told(event: KernelEvent) -> dict[str, Any]:
    """An event for programs."""
    return {"kind": event.kind, "device": event.device, "times": event.times, "last": event.text}


def named(gpus: Gpus | Absent | Missing, index: int) -> str:
    """ "GPU 3 (0000:41:00.0)"; without the address where the driver's list is not known."""
    known = gpus.gpus if isinstance(gpus, Gpus) else ()
    return next((f"GPU {index} ({gpu.pci_address})" for gpu in known if gpu.index == index), f"GPU {index}")


def several(number: int) -> None:
    """Raises ``NotApplicable`` where there are no two."""
    if number < 2:
        raise NotApplicable("one GPU has no other to talk to")


def over_nvlink(links: GpuLinks | Absent | Missing) -> bool:
    """Whether every GPU has an NVLink that is up: traffic between them then stays off the PCIe bus."""
    if not isinstance(links, GpuLinks):
        return False
    joined = {index for pair in links.pairs if pair.nvlinks for index in (pair.first, pair.second)}
    return bool(links.gpus) and all(g.index in joined or any(x.active for x in g.nvlinks) for g in links.gpus)


def to_come(driver: NvidiaDriver, libraries: DriverLibraries | Absent | Missing) -> str:
    """The driver's version once its library and its module are one again (CUD003): the newer of the two.

    After an upgrade the new library meets the old module until a reboot, which loads the module that was installed with
    it. In a container that holds an older library the module, which is the host's, stays.
    """
    known = libraries.version if isinstance(libraries, DriverLibraries) else None
    return known if known is not None and older(driver.version, known) else driver.version


def driver_here(
    driver: NvidiaDriver | Absent | Missing,
    libraries: DriverLibraries | Absent | Missing,
    gpus: Gpus | Absent | Missing,
) -> tuple[str, str, str]:
    """Which driver there is, in words; its version; and the version that counts, as it does for the plan.

    Where no kernel module is visible, the one that NVML answered, else that of the library. Raises why none is known.
    """
    if isinstance(driver, NvidiaDriver):
        return "loaded driver", driver.version, to_come(driver, libraries)
    answered = gpus.driver_version if isinstance(gpus, Gpus) else ""
    library = (libraries.version if isinstance(libraries, DriverLibraries) else None) or ""
    if not answered and not library:
        raise driver
    if not answered:
        return "installed driver", library, library
    return ANSWERS, answered, library if library and older(answered, library) else answered


def not_loaded_yet(driver: NvidiaDriver, version: str) -> NotApplicable:
    """To be raised where only the loaded module is too old: a reboot is the remedy then, no other driver."""
    return NotApplicable(
        f"driver {version} is installed and new enough; the loaded module is still {driver.version} (see CUD003)"
    )
