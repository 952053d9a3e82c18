"""What the kernel log and the service manager say, and whether anybody can read it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from provision.catalog import tables
from provision.check import ERROR, NOTE, WARNING, Finding, check
from provision.checks._pasted import MaybeStated
from provision.checks._words import counted
from provision.fact import Missing
from provision.facts.log import KernelLog, Xid
from provision.facts.pci import NvidiaCards
from provision.facts.units import Units

_CATALOGUE = "https://docs.nvidia.com/deploy/xid-errors/"


def _of_kind(log: KernelLog, kinds: tuple[str, ...]) -> Iterator[Finding]:
    """One finding for every code and card, with how often and what the vendor says."""
    table = tables.xids()
    wanted = [x for x in log.xids if (table[x.code].kind if x.code in table else "unlisted") in kinds]
    for (code, address), times in sorted(Counter((x.code, x.pci_address) for x in wanted).items()):
        row = table.get(code)
        meaning = f"{row.meaning}; {row.action}" if row else f"not in the table; see {_CATALOGUE}"
        yield Finding(
            f"Xid {code} on {address}, {counted(times, 'time')} since this machine started: {meaning}",
            measured={"xid": code, "address": address, "times": times, **_named(wanted, code, address)},
            needed={"times": 0},
            fix=("dmesg | grep -i xid", f"nvidia-smi -q -i {address}"),
        )


def _named(wanted: list[Xid], code: int, address: str) -> dict[str, str]:
    row = tables.xids().get(code)
    last = next(x for x in reversed(wanted) if (x.code, x.pci_address) == (code, address))
    said = {"name": row.name if row else "", "vendor_action": row.vendor if row else "", "last": last.text}
    return {**said, **({"process": last.process} if last.process else {})}


@check("MON001", ERROR, cause="xid-hardware")
def gpu_fault_logged(
    log: KernelLog,
    cards: NvidiaCards | Missing,  # noqa: ARG001  no card, no such fault; a pasted log speaks for itself
    stated: MaybeStated,  # noqa: ARG001  as above
) -> Iterator[Finding]:
    """The driver has logged a fault of a GPU since this machine started.

    The driver writes an Xid number to the kernel log and goes on; the program that ran sees a CUDA error without a
    cause, or wrong results. Faults that ask for a reset, a reboot or a new card are listed here, with NVIDIA's own
    advice. The finding stays until the machine starts anew: waive it with a reason once the card was dealt with.

    ## Fix
    Do what the message says, for the first Xid of a series first: later ones often follow from it.

    ## Proof
    CUD-P4: a matrix product and a convolution on the GPU agree with the CPU.
    """
    yield from _of_kind(log, ("hardware",))


@check("MON002", WARNING, cause="gpu-program-fault")
def gpu_program_fault_logged(
    log: KernelLog,
    cards: NvidiaCards | Missing,  # noqa: ARG001  as above
    stated: MaybeStated,  # noqa: ARG001  as above
) -> Iterator[Finding]:
    """The driver has stopped a program that went wrong on a GPU.

    These Xids speak of the program, not of the card: an address it does not own, an illegal instruction, a crash.
    The same code from several unrelated programs on one card does point to the card.

    ## Fix
    Restart the program and report it to its authors; compute-sanitizer finds the place.

    ## Proof
    None: it is a record of the past. CUD-P4 shows that the card computes right.
    """
    yield from _of_kind(log, ("program", "unlisted"))


@check("MON003", NOTE, cause="kernel-log-unreadable")
def kernel_log_unreadable(log: KernelLog | Missing) -> Iterator[Finding]:
    """The kernel log cannot be read, so faults of cards, disks and memory stay unseen.

    Debian lets only root read it. A monitoring that cannot read it reports a machine as healthy whose card has fallen
    off the bus.

    ## Fix
    Run the doctor as root, or let its user read the journal (group adm or systemd-journal).

    ## Proof
    None of its own: `provision doctor --select MON003` tries again.
    """
    if isinstance(log, Missing):
        yield Finding(
            f"the kernel log cannot be read: {log.reason}",
            measured={"reason": log.reason},
            needed={"readable": True},
            fix=("sudo provision doctor", "or: usermod -aG adm USER"),
        )


@check("MON004", WARNING, cause="service-failed")
def service_failed(units: Units) -> Iterator[Finding]:
    """A service that models depend on has failed.

    systemd keeps trying for a while and then leaves it: nothing more is said unless somebody asks.

    ## Fix
    Read its log, correct the reason, and start it again.

    ## Proof
    None of its own: `provision doctor --select MON004` asks again.
    """
    for unit in units.units:
        if unit.state == "failed":
            yield Finding(
                f"{unit.name} has failed",
                measured={"unit": unit.name, "state": unit.state},
                needed={"state": "active"},
                fix=(
                    f"systemctl status {unit.name}",
                    f"journalctl -u {unit.name} -n 50",
                    f"systemctl restart {unit.name}",
                ),
            )
