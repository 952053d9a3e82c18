"""Lines of the kernel log that say why models stop, each under a kind. The messages are the kernel's and the driver's.

One record for every kind and device, with how often and when, so that a fault that repeats every second stays one line.
Sources of the wording: the threads named in provision/catalog/fired.toml, and the kernel's own format strings.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable

from provision.record import record

_LENGTH = 300  # characters kept of a message
_PCI = r"(?P<device>[0-9a-fA-F]{4}:[0-9a-fA-F]{2}:[0-9a-fA-F]{2}(?:\.\d)?)"
_GPU = rf"(?:GPU |PCI:|nvidia ){_PCI}"


@record
class KernelEvent:
    kind: str  # a name of KINDS
    device: str | None  # "0000:01:00.0", "nvme0n1", "libnccl.so.2": what it is about, where the line says so
    times: int
    first_seconds: float | None  # of uptime; None: the log carries no time stamps
    last_seconds: float | None
    text: str  # the last such line


# The first kind that fits a line has it. A kind whose pattern has no device is about the whole machine.
KINDS: tuple[tuple[str, str], ...] = (
    ("nvrm-api-mismatch", r"NVRM: API mismatch"),
    ("gpu-needs-open-modules", rf"NVRM: The NVIDIA GPU {_PCI}.*requires use of the NVIDIA open kernel modules"),
    ("gpu-not-supported", rf"NVRM: The NVIDIA(?: .*)? GPU {_PCI}.*(?:is not supported by|supported through the NVIDIA)"),
    ("gpu-region-invalid", rf"NVRM: This PCI I/O region assigned to your NVIDIA device is invalid(?:.*PCI:{_PCI})?"),
    ("gpu-held-by-another", rf"NVRM: GPU {_PCI} is already bound to|NVRM: The NVIDIA probe routine was not called for"),
    ("gsp-failed", rf"Cannot initialize GSP firmware RM|NVRM:.*No firmware image found"
     rf"|{_GPU}.*firmware load for nvidia/.* failed|NVRM:.*[Tt]imeout.* GSP"),
    ("gpu-init-failed", rf"NVRM: {_GPU}.*(?:RmInitAdapter|rm_init_adapter) failed|NVRM:.*RmInitAdapter failed"),
    ("gpu-off-the-bus", rf"NVRM: (?!Xid).*{_PCI}.*fallen off the bus"),
    # The driver prints three lines an error; the second says the same as "Severity 1", and logs are often cut to one.
    ("nvswitch-fatal", rf"SXid \(PCI:{_PCI}\): \d+, (?:Fatal|Severity 1 )"),
    ("nvswitch-error", rf"SXid \(PCI:{_PCI}\): \d+, "),
    ("module-refused", r"Loading of (?:unsigned module|module with unavailable key) is rejected"
     r"|Lockdown: .*unsigned module loading is restricted"),
    ("pcie-uncorrected", rf"{_PCI}: (?:AER: )?PCIe Bus Error: severity=Uncorrect(?:ed|able)"),
    ("pcie-corrected", rf"{_PCI}: (?:AER: )?PCIe Bus Error: severity=Corrected"),
    ("memory-uncorrected", r"EDAC (?P<device>MC\d+): \d+ UE |Memory failure: 0x[0-9a-f]+: "
     r"|\[Hardware Error\]: .*(?:Uncorrected|severity: fatal)"),
    ("memory-corrected", r"EDAC (?P<device>MC\d+): \d+ CE |CE memory read error"),
    ("machine-check", r"mce: \[Hardware Error\]"),
    ("disk-timeout", r"nvme (?P<device>nvme\d+): (?:I/O \d+.*timeout|I/O tag \d+.*timeout"
     r"|controller is down|Disabling device after reset failure)"),
    ("disk-error", r"(?:I/O|critical medium|critical target|protection) error, dev (?P<device>[\w-]+), sector"),
    ("raid-member-failed", r"md/raid.*Disk failure on (?P<device>[\w-]+)"),
    ("filesystem-error", r"EXT4-fs error \(device (?P<device>[\w-]+)\)"
     r"|XFS \((?P<xfs>[\w-]+)\): .*(?:[Cc]orruption|[Ss]hut)|Remounting filesystem read-only"),
    ("cpu-stuck", r"soft lockup - CPU#\d+ stuck|LOCKUP on cpu|self-detected stall on CPU"),
    ("task-hung", r"INFO: task (?P<device>\S+?):\d+ blocked for more than \d+ seconds"),
    ("kernel-oops", r"BUG: unable to handle|kernel BUG at |: Oops: |Unable to handle kernel "),
    ("cpu-hot", r"(?:Core|Package) temperature (?:is )?above threshold, cpu clock (?:is )?throttled"),
    ("library-segfault", r"segfault at .* in (?P<device>lib(?:nccl|cuda|torch|cublas|cudnn)[\w.-]*)\["),
)  # fmt: skip
_JOINED = 4000  # characters of one message of several lines; a log that is all indented is not one message
_HINTS = (  # one cheap look for each of these words before twenty careful ones at a line
    *("NVRM", "SXid", "nvidia", "Bus Error", "EDAC", "Hardware Error", "Memory failure", "memory read error", "nvme"),
    *(
        "error, dev",
        "md/raid",
        "-fs error",
        "XFS",
        "read-only",
        "stuck",
        "LOCKUP",
        "stall",
        "blocked for",
        "BUG",
        "Oops",
    ),
    *("handle kernel", "throttled", "segfault", "rejected", "Lockdown"),
)
_STAMP = re.compile(r"^\[\s*(\d+\.\d+)\] (?:\S+ kernel: )?(.*)$")


@functools.cache
def _patterns() -> tuple[tuple[str, re.Pattern[str]], ...]:
    return tuple((kind, re.compile(pattern)) for kind, pattern in KINDS)  # not at import: most logs need none of them


def lines_of(text: str) -> list[str]:
    """The log's lines; a message of several lines, which dmesg and the journal indent and syslog joins by #012, is one."""
    lines: list[str] = []
    for line in text.replace("#012", "\n ").splitlines():
        if lines and line[:1].isspace() and len(lines[-1]) < _JOINED:
            lines[-1] += " " + line.strip().removeprefix("NVRM: ")
        else:
            lines.append(line)
    return lines


def _hinted(lines: list[str]) -> list[str]:
    """The lines that hold one of the words; an Xid has a record of its own.

    Which words occur at all is asked of the whole text: that is one fast search.
    """
    text = "\n".join(lines)
    occurring = [hint for hint in _HINTS if hint in text]
    return [line for line in lines if any(hint in line for hint in occurring) and "NVRM: Xid" not in line]


def events(lines: Iterable[str]) -> tuple[KernelEvent, ...]:
    """What the lines tell, sorted by kind and device."""
    found: dict[tuple[str, str], KernelEvent] = {}
    known: dict[str, tuple[str, str | None] | None] = {}  # a log that is flooded repeats itself but for the time
    for line in _hinted(list(lines)):
        stamp = _STAMP.match(line)
        message = stamp[2] if stamp else line
        if message not in known:
            known[message] = _kind(message)
        said = known[message]
        if said is None:
            continue
        kind, device = said
        when = float(stamp[1]) if stamp else None
        before = found.get((kind, device or ""))
        found[kind, device or ""] = KernelEvent(
            kind=kind,
            device=device,
            times=before.times + 1 if before else 1,
            first_seconds=before.first_seconds if before else when,
            last_seconds=when,
            text=message.strip()[:_LENGTH],
        )
    return tuple(found[key] for key in sorted(found))


def _kind(message: str) -> tuple[str, str | None] | None:
    """The first kind that fits, and the device that the message names."""
    for kind, pattern in _patterns():
        if match := pattern.search(message):
            return kind, next((value for value in match.groupdict().values() if value), None)
    return None
