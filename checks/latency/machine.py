"""The processor, the cards' links and the limits that hold an engine back."""

from __future__ import annotations

from collections.abc import Iterator

from provision.catalog import tables
from provision.check import NOTE, WARNING, Finding, NotApplicable, check
from provision.checks._gpus import read_everywhere
from provision.checks._pasted import MaybeStated, lanes
from provision.checks._words import listed
from provision.fact import Missing
from provision.facts.cpu import Cpu
from provision.facts.gpus import Gpus
from provision.facts.limits import Limits
from provision.facts.pci import NvidiaCards
from provision.plan import Latency


@check("LAT001", WARNING, cause="cpu-isa-missing")
def cpu_lacks_planned_instructions(cpu: Cpu, plan: Latency) -> Iterator[Finding]:
    """The processor lacks the instructions that the quantised kernels are written for.

    Without AVX2 the kernels fall back to code that handles one number at a time, or stop with "Illegal instruction". In a
    virtual machine the processor often has them and the hypervisor hides them.

    ## Fix
    In a virtual machine: give it the host's processor model (`host-passthrough`, `host`). Otherwise another machine.

    ## Proof
    LAT-P1: tokens per second in every precision at or above the floor.
    """
    if not plan.cpu_flags:
        raise NotApplicable("the plan runs on the GPU")
    if cpu.microarchitecture is None:
        raise NotApplicable("the planned instructions are those of x86-64 processors")
    lacking = [flag for flag in plan.cpu_flags if flag not in cpu.flags]
    if lacking:
        yield Finding(
            f"the processor ({cpu.model or 'no model name'}) lacks {listed(lacking)}",
            measured={"missing": lacking},
            needed={"cpu_flags": list(plan.cpu_flags)},
            fix=("in a virtual machine: set its processor model to that of the host",),
        )


@check("LAT002", WARNING, cause="pcie-link-degraded")
def card_on_fewer_lanes(cards: NvidiaCards | Missing, gpus: Gpus | Missing, stated: MaybeStated) -> Iterator[Finding]:
    """A card runs on fewer PCIe lanes than it has.

    Loading weights, offloading and every tensor that goes through the host take twice as long on half the lanes. The
    width is set when the machine starts and does not change with load, unlike the speed, which an idle card lowers and
    which is therefore not judged here. Some slots are wired narrower than they look; the board's manual says which.

    ## Fix
    Seat the card and its riser again, use another slot, and look for bifurcation in the firmware's settings.

    ## Proof
    None of its own: the width is read from the bus. STO-P1 shows what loading takes.
    """
    known = [(a, now, most) for a, now, most in lanes(cards, gpus, stated) if now is not None and most is not None]
    if not known:
        raise NotApplicable("the bus does not say the links' width, as in most virtual machines")
    for address, now, most in known:
        if now < most:
            yield Finding(
                f"{address} runs on {now} of its {most} PCIe lanes",
                measured={"link_width": now, "address": address},
                needed={"link_width": most},
                fix=(f"lspci -vv -s {address} | grep -e LnkCap -e LnkSta",),
            )


@check("LAT003", NOTE, cause="persistence-mode-off")
def driver_forgets_idle_gpus(gpus: Gpus) -> Iterator[Finding]:
    """The driver unloads a GPU's state whenever no program uses it.

    The next program waits while the card is initialised again, and clock and power settings made by hand are gone.

    ## Fix
    Run NVIDIA's persistence daemon.

    ## Proof
    None of its own: it is a setting of the host. `provision doctor --select LAT003` reads it again.
    """
    off = [gpu.index for gpu in gpus.gpus if gpu.persistence is False]
    if off:
        yield Finding(
            f"persistence mode is off on GPU {listed(off)}",
            measured={"off": off},
            needed={"off": []},
            fix=("systemctl enable --now nvidia-persistenced",),
        )
    read_everywhere(gpus.gpus, "persistence", "no GPU here has persistence mode")


@check("LAT004", NOTE, cause="ulimit-memlock-or-nofile")
def open_files_limited(limits: Limits) -> Iterator[Finding]:
    """A server started from this session may open fewer files than the engines ask for.

    Every connection is an open file. Engines raise their limit as far as the hard limit goes; behind it, requests fail
    with "Too many open files" when many clients come at once.

    ## Fix
    For a service: `LimitNOFILE=65535`. For a container: `--ulimit nofile=65535`. For sessions: /etc/security/limits.d.

    ## Proof
    None: the smoke test serves nobody. `provision doctor --select LAT004` reads the limit again.
    """
    row = tables.thresholds().limit["open_files"]
    if limits.nofile_hard is not None and limits.nofile_hard < row.value:
        yield Finding(
            f"at most {limits.nofile_hard} files may be open; the engines ask for {row.value}",
            measured={"nofile_hard": limits.nofile_hard},
            needed={"nofile_hard": row.value},
            fix=("docker run --ulimit nofile=65535 …", "or, for a service: LimitNOFILE=65535"),
        )
