"""The machine as a map: its host, GPUs with their links, disks with what is mounted from them, and versions.

Taken from a snapshot alone; what is not known is there with its reason.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Literal

from provision.fact import Missing, NotKnown, Snapshot
from provision.facts.cpu import Cpu
from provision.facts.cuda import CudaToolkits
from provision.facts.disks import Disk, Disks, Mount, Mounts
from provision.facts.docker import Docker
from provision.facts.driver import NvidiaDriver
from provision.facts.gpus import Gpu, Gpus
from provision.facts.memory import Memory
from provision.facts.packages import Packages
from provision.facts.pci import NvidiaCards, PciCard
from provision.facts.python import Pythons
from provision.facts.system import System
from provision.plan import Serving
from provision.record import record
from provision.report import links, use
from provision.report.quantity import size

State = Literal["good", "warning", "bad", "quiet"]
# Transfer rate of a lane in megatransfers a second, and the PCIe generation that has it (PCI Express Base Specification).
GENERATIONS = {2500: 1, 5000: 2, 8000: 3, 16000: 4, 32000: 5, 64000: 6}
FULL_SHARE = 0.9  # shown as full from here on; it only colours a bar, the checks have thresholds of their own


@record
class Bar:
    """How much of something is taken: ``share`` from 0 to 1, and the same in words."""

    share: float
    words: str

    @property
    def state(self) -> State:
        """Nearly full stands out."""
        return "warning" if self.share >= FULL_SHARE else "good"

    @property
    def percent(self) -> int:
        """For a drawing."""
        return round(self.share * 100)


@record
class Card:
    """One GPU: what it is, its link, its memory now and as planned. ``lanes``: (in use, possible); 0 where nobody says."""

    title: str
    state: State
    about: tuple[tuple[str, str], ...]
    lanes: tuple[int, int] = (0, 0)
    link: str = ""
    memory: Bar | None = None
    planned: use.Picture | None = None


@record
class Store:
    """One disk, RAID or server, with the file systems mounted from it: (mount point, what it is, room or None)."""

    title: str
    about: str
    mounts: tuple[tuple[str, str, Bar | None], ...]


@record
class MachineMap:
    """``dark``: for each part that is not known, its name and the reason."""

    host: tuple[tuple[str, str], ...]
    memory: Bar | None
    cards: tuple[Card, ...]
    stores: tuple[Store, ...]
    pairs: links.Pairs | None
    versions: tuple[tuple[str, str], ...]
    dark: tuple[tuple[str, str], ...]
    planned: use.Planned | None


def draw(snapshot: Snapshot, serving: Serving | None = None) -> MachineMap:
    """The map of a snapshot. ``serving``: the planned model, drawn into the GPUs that it takes."""
    memory = snapshot.known(Memory)
    wanted: tuple[type, ...] = (System, Cpu, Memory, Gpus, Disks, Mounts)
    dark = [(kind.__name__, value.reason) for kind in wanted if isinstance(value := snapshot.get(kind), NotKnown)]
    planned = use.planned(serving) if serving else None
    cards = tuple(_cards(snapshot, planned))
    return MachineMap(
        host=tuple(_host(snapshot)),
        memory=_bar(memory.total_bytes, memory.available_bytes) if memory else None,
        cards=cards,
        stores=tuple(_stores(snapshot)),
        pairs=links.pairs(snapshot),
        versions=tuple(versions(snapshot)),
        dark=tuple(dark),
        planned=planned,
    )


def _bar(total: int, free: int) -> Bar | None:
    if total <= 0:
        return None
    used = max(0, total - free)
    return Bar(share=min(1.0, used / total), words=f"{size(free)} free of {size(total)}")


def _host(snapshot: Snapshot) -> Iterator[tuple[str, str]]:
    if system := snapshot.known(System):
        yield "system", f"{system.os_name}, {system.architecture}"
        inside = [word for word in (system.virtualization, system.container) if word != "none"]
        yield "runs on", " in ".join(reversed(inside)) if inside else "bare metal, as far as it says"
    if cpu := snapshot.known(Cpu):
        yield "processor", cpu.model or cpu.vendor or "no model name"
        level = f", {cpu.microarchitecture}" if cpu.microarchitecture else ""
        yield "cores", f"{cpu.cores} in {_count(cpu.sockets, 'socket')}, {cpu.logical_cpus} logical{level}"
    if (memory := snapshot.known(Memory)) and memory.cgroup_limit_bytes is not None:
        yield "memory limit", size(memory.cgroup_limit_bytes)


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" + ("" if number == 1 else "s")


def _cards(snapshot: Snapshot, planned: use.Planned | None) -> Iterator[Card]:
    """Every card that the bus or the driver knows, by address; then the GPUs that the driver has lost."""
    seen, driven = snapshot.known(NvidiaCards), snapshot.known(Gpus)
    on_bus = {card.address: card for card in seen.cards} if seen else {}
    by_driver = {gpu.pci_address: gpu for gpu in driven.gpus} if driven else {}
    nvlink = links.nvlink(snapshot)
    for address in sorted(on_bus.keys() | by_driver.keys()):
        gpu = by_driver.get(address)
        card = _card(address, on_bus.get(address), gpu, nvlink.get(gpu.index) if gpu else None)
        taken = planned is not None and gpu is not None and gpu.index < planned.ranks  # engines take the first ones
        yield dataclasses.replace(card, planned=planned.picture) if planned and taken else card
    for lost in driven.lost if driven else ():
        yield Card(title=f"GPU {lost.index}", state="bad", about=(("lost", lost.reason),))


def _card(address: str, card: PciCard | None, gpu: Gpu | None, nvlink: tuple[str, bool] | None) -> Card:
    width = (gpu and gpu.pcie_width) or (card and card.link_width) or 0
    most = (gpu and gpu.pcie_width_max) or (card and card.link_width_max) or width
    now = (gpu and gpu.pcie_generation) or (card and GENERATIONS.get(card.link_mts or 0)) or 0
    best = (gpu and gpu.pcie_generation_max) or (card and GENERATIONS.get(card.link_mts_max or 0)) or now
    about: list[tuple[str, str]] = [("address", address)]
    if gpu is None:
        holder = card.kernel_driver if card else None
        about.append(("driver", f"held by {holder}" if holder else "no driver has it"))
        about.append(("device", f"{card.vendor_id}:{card.device_id}" if card else "not on the bus"))
    else:
        about.append(("capability", gpu.compute_capability or "not known"))
        if nvlink:
            about.append(("NVLink", nvlink[0]))
        if gpu.mig_mode:
            about.append(("MIG", "on"))
        if gpu.process_count:
            about.append(("processes", str(gpu.process_count)))
    room = None
    if gpu and gpu.memory_bytes is not None and gpu.memory_free_bytes is not None:
        room = _bar(gpu.memory_bytes, gpu.memory_free_bytes)
    return Card(
        title=f"GPU {gpu.index}: {gpu.name}" if gpu else f"NVIDIA card at {address}",
        state="bad" if gpu is None else "warning" if width < most or (nvlink and not nvlink[1]) else "good",
        about=tuple(about),
        lanes=(width, most),
        link=_link(width, most, now, best),
        memory=room,
    )


def _link(width: int, most: int, now: int, best: int) -> str:
    """``PCIe 4.0 x16, now 1.0 x8``: an idle card lowers its generation, never its width."""
    if not most:
        return "the machine does not say how it is linked"
    able = f"PCIe {f'{best}.0 ' if best else ''}x{most}"
    current = f"{f'{now}.0 ' if now else ''}x{width}"
    if width < most:
        return f"{able}, now {current}: {width} of {most} lanes"
    return able if now == best else f"{able}, now {current} (an idle card lowers its generation)"


def _stores(snapshot: Snapshot) -> Iterator[Store]:
    """Disks with their mounts, then servers, then memory and what else stands on no disk that is seen."""
    disks, mounts = snapshot.known(Disks), snapshot.known(Mounts)
    left = list(mounts.mounts if mounts else ())
    for disk in disks.disks if disks else ():
        yield Store(title=disk.name, about=_disk(disk), mounts=tuple(_mount(m) for m in left if disk.name in m.disks))
    names = {disk.name for disk in disks.disks} if disks else set()
    left = [m for m in left if not names & set(m.disks)]
    if network := [m for m in left if m.network]:
        yield Store(title="network", about="file systems of servers", mounts=tuple(map(_mount, network)))
    if others := [m for m in left if not m.network]:
        yield Store(title="other", about="on no disk that is seen from here", mounts=tuple(map(_mount, others)))


def _disk(disk: Disk) -> str:
    kind = {"nvme": "NVMe", "raid": "RAID"}.get(disk.transport, disk.transport)
    turning = ", rotating" if disk.turns else ""
    return ", ".join(part for part in (f"{size(disk.bytes)} {kind}{turning}", disk.model or "") if part)


def _mount(mount: Mount) -> tuple[str, str, Bar | None]:
    room = None
    if mount.total_bytes is not None and mount.free_bytes is not None:
        room = _bar(mount.total_bytes, mount.free_bytes)
    mode = ", read-only" if "ro" in mount.options else ""
    dead = f", {mount.unreachable}" if mount.unreachable else ""
    return mount.mount_point, f"{mount.filesystem}{mode}{dead}", room


def versions(snapshot: Snapshot) -> list[tuple[str, str]]:
    """What a bug report is asked for: system, driver, CUDA, engine, Python and the packages of the one in use."""
    rows: list[tuple[str, str]] = []
    if system := snapshot.known(System):
        rows += [("system", system.os_name), ("kernel", system.kernel), ("C library", _libc(system.glibc))]
    driver, gpus = snapshot.get(NvidiaDriver), snapshot.known(Gpus)
    if isinstance(driver, NotKnown):
        rows.append(("NVIDIA driver", _why(driver)))
    else:
        rows.append(("NVIDIA driver", driver.version + (f", {driver.flavour} modules" if driver.flavour else "")))
    if gpus:
        rows.append(("CUDA of the driver", gpus.cuda_version or "not known"))
        names = sorted({gpu.name for gpu in gpus.gpus})
        rows += [("GPUs", f"{sum(g.name == name for g in gpus.gpus)} x {name}") for name in names]
    if toolkits := snapshot.known(CudaToolkits):
        rows += [("CUDA toolkit", f"{one.version} in {one.path}") for one in toolkits.toolkits]
    docker = snapshot.get(Docker)
    rows.append(("Docker", _why(docker) if isinstance(docker, NotKnown) else docker.server_version))
    if pythons := snapshot.known(Pythons):
        rows.append(("Python of this tool", pythons.version))
    return rows + _packages(snapshot.known(Packages))


def _packages(packages: Packages | None) -> list[tuple[str, str]]:
    rows: list[tuple[str, str]] = []
    for environment in packages.environments if packages else ():
        if packages and environment.prefix != packages.in_use:
            continue
        build = environment.torch
        made_for = f" for CUDA {build.cuda}" if build and build.cuda else ""
        made_for = f" for ROCm {build.hip}" if build and build.hip else made_for
        made_for = made_for or (" without CUDA" if build else "")
        rows += [(name, version + (made_for if name == "torch" else "")) for name, version in environment.packages]
    return rows


def _libc(glibc: str | None) -> str:
    return f"glibc {glibc}" if glibc else "not glibc"


def _why(value: NotKnown) -> str:
    return f"could not look: {value.reason}" if isinstance(value, Missing) else f"not there: {value.reason}"
