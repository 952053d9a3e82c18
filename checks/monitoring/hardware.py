"""Faults of buses, switches, memory, disks and the kernel that end as slow or broken models."""

from __future__ import annotations

from collections.abc import Iterator

from provision.catalog import tables
from provision.check import ERROR, NOTE, WARNING, Finding, NotApplicable, check
from provision.checks._gpus import events, told
from provision.checks._words import counted, listed
from provision.fact import Absent, Missing
from provision.facts.gpu_links import GpuLinks
from provision.facts.log import KernelLog
from provision.facts.pci import NvidiaCards
from provision.facts.pci_paths import PciPaths


@check("MON030", WARNING, cause="pcie-errors")
def bus_errors_uncorrected(paths: PciPaths, log: KernelLog | Missing) -> Iterator[Finding]:
    """The PCIe bus counted errors of a card that it could not correct.

    A transaction was lost: the program behind it failed, or the card falls off the bus next. A riser, a cable, a slot or
    the card's power is the usual reason.

    ## Fix
    Seat the card and its riser again, and look at its power; exchange the riser.

    ## Proof
    None of its own: the counters are read again by `provision doctor --select MON030`.
    """
    cards = {card.address for card in paths.cards}
    logged = {e.device: e for e in events(log, "pcie-uncorrected")} if isinstance(log, KernelLog) and log.events else {}
    for card in paths.cards:
        count = (card.aer_nonfatal or 0) + (card.aer_fatal or 0)
        event = logged.get(card.address)
        if count or event:
            times = max(count, event.times if event else 0)
            yield Finding(
                f"{card.address}: {counted(times, 'uncorrected PCIe error')} since this machine started",
                measured={"address": card.address, "nonfatal": card.aer_nonfatal, "fatal": card.aer_fatal},
                needed={"nonfatal": 0, "fatal": 0},
                fix=(f"lspci -vv -s {card.address} | grep -e UESta -e LnkSta", "dmesg | grep -i -e aer -e 'bus error'"),
            )
    if not logged and all(card.aer_fatal is None for card in paths.cards):
        raise NotApplicable(f"the kernel counts no bus errors for {listed(sorted(cards))}")


@check("MON031", WARNING, cause="pcie-errors")
def bus_errors_too_often(paths: PciPaths, cards: NvidiaCards) -> Iterator[Finding]:
    """The PCIe bus corrects more errors of a card than a healthy link has.

    Every corrected error is a packet sent twice. A link is made for at most one wrong bit in 10^12; above that a riser, a
    cable or a slot is marginal, and worse follows. The rate is the mean since the machine started;
    in the first ten minutes there is none.

    ## Fix
    Seat the card and its riser again; exchange the riser; hold the slot to one generation less.

    ## Proof
    None of its own: the counters are read again by `provision doctor --select MON031`.
    """
    settled = tables.thresholds().limit["settled_seconds"].value
    if paths.uptime_seconds < settled:
        raise NotApplicable(f"this machine started less than {settled} s ago: no rate to speak of")
    links = {card.address: card for card in cards.cards}
    judged = 0
    for path in paths.cards:
        link = links.get(path.address)
        rows = [row for row in tables.pcie() if link and row.mts == link.link_mts_max]
        if link is None or not rows or link.link_width is None or path.aer_corrected is None:
            continue
        judged += 1
        minutes = paths.uptime_seconds / 60
        allowed = link.link_width * rows[0].per_lane_hundred_minutes * minutes / 100
        if path.aer_corrected > allowed:
            yield Finding(
                f"{path.address}: {path.aer_corrected} corrected PCIe errors in {minutes / 60:.1f} h; "
                f"{counted(link.link_width, 'lane')} of generation {rows[0].generation} may have {allowed:.0f}",
                measured={
                    "address": path.address,
                    "corrected": path.aer_corrected,
                    "uptime_seconds": paths.uptime_seconds,
                },
                needed={"at_most": round(allowed)},
                fix=(f"lspci -vv -s {path.address} | grep -e CESta -e LnkSta", "dmesg | grep -i 'bus error'"),
            )
    if not judged:
        raise NotApplicable("the kernel counts no corrected bus errors for these cards")


@check("MON032", ERROR, cause="gpu-lost")
def gpu_fell_off_the_bus(log: KernelLog, cards: NvidiaCards | Absent | Missing) -> Iterator[Finding]:
    """The driver found a GPU gone from the bus.

    Every read from the card came back as ones: it lost its power or its link, overheated, or its firmware crashed. The
    card stays gone until the machine is powered off.

    ## Fix
    Power the machine off and on. If it comes back: power supply and cables, cooling, riser, then the card.

    ## Proof
    CUD-P2: every parameter of the model is on the GPU.
    """
    there = {card.address for card in cards.cards} if isinstance(cards, NvidiaCards) else set()
    for event in events(log, "gpu-off-the-bus"):
        state = "still listed on the bus" if event.device in there else "not on the bus now"
        yield Finding(
            f"{event.device} fell off the bus, {counted(event.times, 'time')} since this machine started; {state}",
            measured=told(event),
            needed={"times": 0},
            fix=("dmesg | grep -i -e xid -e 'fallen off'", "lspci -d 10de:"),
        )


@check("MON033", ERROR, cause="host-memory-errors")
def host_memory_uncorrected(log: KernelLog) -> Iterator[Finding]:
    """The main memory has had errors that could not be corrected.

    What lay there is lost: a program was killed, or went on with wrong data. Weights that are offloaded, cached or read
    through the page cache pass through the same memory.

    ## Fix
    Exchange the module that the message names.

    ## Proof
    None: no proof tests main memory. `provision doctor --select MON033` reads the log again.
    """
    for event in events(log, "memory-uncorrected"):
        yield _logged(event.device or "main memory", event.times, event.text, told(event), "edac-util -v")


@check("MON034", NOTE, cause="host-memory-errors")
def host_memory_corrected(log: KernelLog) -> Iterator[Finding]:
    """The main memory has had errors that were corrected.

    One is chance. Many on one module say that it is failing.

    ## Fix
    Watch the counts; exchange a module whose count keeps growing.

    ## Proof
    None: no proof tests main memory. `provision doctor --select MON034` reads the log again.
    """
    for event in events(log, "memory-corrected", "machine-check"):
        yield _logged(event.device or "main memory", event.times, event.text, told(event), "edac-util -v")


def _logged(what: str, times: int, text: str, measured: dict[str, object], command: str) -> Finding:
    return Finding(
        f"{what}, {counted(times, 'time')} since this machine started: {text}",
        measured=measured,
        needed={"times": 0},
        fix=(command, "journalctl -k -b | tail -n 100"),
    )


@check("MON035", ERROR, cause="disk-errors")
def disk_faults_logged(log: KernelLog) -> Iterator[Finding]:
    """A disk, an array or a file system has reported errors.

    Weights read from it come late, broken, or not at all; a file system that met an error often goes read-only, and then
    caches and images cannot be written.

    ## Fix
    Save what matters, read the disk's own health record, and exchange it.

    ## Proof
    STO-P1 shows what loading takes.
    """
    for event in events(log, "disk-timeout", "disk-error", "raid-member-failed", "filesystem-error"):
        device = event.device or "a file system"
        if device.startswith("loop"):
            continue  # a file as a disk: where its disk is sick, that disk has a line of its own
        yield _logged(device, event.times, event.text, told(event), f"smartctl -a /dev/{event.device or 'DISK'}")


@check("MON036", WARNING, cause="kernel-stalled")
def kernel_stalled(log: KernelLog) -> Iterator[Finding]:
    """The kernel reported a processor or a task that hung, or a fault of its own.

    Everything on that processor stood still meanwhile. A task of the NVIDIA driver that hangs for minutes means a sick GPU;
    one that waits for a disk, a sick disk or share.

    ## Fix
    Read the lines after it, which name the function. Restart after an oops: the kernel is no longer sound.

    ## Proof
    None: it is a record of the past. `provision doctor --select MON036` reads the log again.
    """
    for event in events(log, "cpu-stuck", "task-hung", "kernel-oops"):
        yield _logged(
            event.device or "the kernel", event.times, event.text, told(event), "dmesg | less   # at this line"
        )


@check("MON037", ERROR, cause="nvswitch-fault")
def nvswitch_fatal_errors(log: KernelLog) -> Iterator[Finding]:
    """An NVSwitch has reported a fatal error.

    Traffic between the GPUs behind it stops: collective operations hang, and new CUDA programs may not start.

    ## Fix
    Restart the machine; if it comes back, the board needs service. The fabric manager's log names the port.

    ## Proof
    None yet: the smoke test uses one GPU. `provision doctor --select MON037` reads the log again.
    """
    for event in events(log, "nvswitch-fatal"):
        yield _logged(
            f"NVSwitch {event.device}", event.times, event.text, told(event), "less /var/log/fabricmanager.log"
        )


@check("MON038", NOTE, cause="nvswitch-fault")
def nvswitch_errors(log: KernelLog) -> Iterator[Finding]:
    """An NVSwitch has reported errors that are not fatal.

    Single ones follow from a program that ended badly on a GPU. Many on one port point to that link.

    ## Fix
    Count them by link, and look whether Xid 74 names the same GPU.

    ## Proof
    None yet: the smoke test uses one GPU. `provision doctor --select MON038` reads the log again.
    """
    for event in events(log, "nvswitch-error"):
        yield _logged(f"NVSwitch {event.device}", event.times, event.text, told(event), "dmesg | grep -i sxid")


@check("MON040", WARNING, cause="nvlink-p2p-broken")
def nvlink_errors_counted(links: GpuLinks) -> Iterator[Finding]:
    """NVLinks have counted errors.

    A healthy link has none: each replay is data sent again, each recovery a pause of all traffic on that link. A bridge
    that is not fully seated shows here before it fails.

    ## Fix
    Reseat the bridge; have a board looked at whose counters keep growing after a reset.

    ## Proof
    None yet: the smoke test uses one GPU. `provision doctor --select MON040` reads the counters again.
    """
    counted_links = [
        (g, x) for g in links.gpus for x in g.nvlinks if x.replay_errors is not None or x.crc_errors is not None
    ]
    found = False
    for gpu in links.gpus:
        bad = {
            link.link: (link.replay_errors or 0) + (link.recovery_errors or 0) + (link.crc_errors or 0)
            for link in gpu.nvlinks
            if link.replay_errors or link.recovery_errors or link.crc_errors
        }
        if bad:
            found = True
            yield Finding(
                f"GPU {gpu.index}: "
                + listed(f"{counted(n, 'error')} on NVLink {link}" for link, n in sorted(bad.items())),
                measured={"index": gpu.index, "errors": {str(link): n for link, n in sorted(bad.items())}},
                needed={"errors": {}},
                fix=(f"nvidia-smi nvlink -e -i {gpu.index}",),
            )
    if not found:
        unread = next((reason for g in links.gpus for name, reason in g.unread if name == "link_errors"), None)
        if unread:
            raise Missing(unread)
        if not counted_links:
            raise NotApplicable("no GPU here counts errors of NVLinks")


@check("MON041", NOTE, cause="gpu-program-fault")
def gpu_library_crashed(log: KernelLog) -> Iterator[Finding]:
    """A program has crashed inside a CUDA, NCCL or torch library.

    A segmentation fault in libnccl most often means another NCCL than the program was built for, or too little shared
    memory; in libcuda another libcuda than the driver's.

    ## Fix
    Look which copies the program loads, and start it again with NCCL_DEBUG=INFO.

    ## Proof
    CUD-P4: a matrix product and a convolution on the GPU agree with the CPU.
    """
    for event in events(log, "library-segfault"):
        yield _logged(
            event.device or "", event.times, event.text, told(event), "provision doctor --select CUD012,CUD013,MEM006"
        )
