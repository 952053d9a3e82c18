"""What the system's own programs and /proc files print: kernel, processor, memory, disks, limits, loader, environment."""

from __future__ import annotations

import re
from typing import Literal

from provision.fact import Missing
from provision.facts import cpu as cpu_fact
from provision.facts import log as log_fact
from provision.facts.driver import NvidiaDriver
from provision.facts.limits import Limits, SharedMemory
from provision.paste.draft import Draft

DRIVER_MARK = r"NVRM version: "
UNAME_MARK = r"Linux \S+ \d+\.\d+\S* "
RELEASE_MARK = r"PRETTY_NAME="
MEMINFO_MARK = r"(?:MemTotal|MemAvailable|SwapTotal):\s+\d+ kB"
FREE_MARK = r"\s+total\s+used\s+free\b"
CPUINFO_MARK = r"processor\s*: \d+\s*$"
LSCPU_MARK = r"Architecture:\s+\w|CPU op-mode\(s\):"
MOUNTS_MARK = r"\S+ /\S* [\w.]+ (?:rw|ro)\b\S* \d+ \d+$"
DF_MARK = r"Filesystem\s+(?:Type\s+)?(?:1K-blocks|1024-blocks|1M-blocks|Size)\s"
LIMITS_MARK = r"Limit\s+Soft Limit\s+Hard Limit"
ULIMIT_MARK = (
    r"(?:core file size|real-time non-blocking time|max locked memory|open files|max user processes)\s.*"
    r"\((?:.*, )?-[a-zA-Z]\)\s"
)
LDCONFIG_MARK = r"\s*\d+ libs found in cache|\s*lib\S+\.so\S* \([\w,. :()-]*\) => /"
ENV_MARK = r"(?:export |declare -x )?[A-Z_][A-Z0-9_]*=(?!=)"
CMDLINE_MARK = r"BOOT_IMAGE=|.*\broot=(?:UUID|/dev)\S* "
DMESG_MARK = (
    r"\[\s*\d{1,9}\.\d{6}\] |\[[A-Z][a-z]{2} [A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d \d{4}\] "
    r"|NVRM: Xid |nvidia-nvswitch\d+: SXid "
)
_MODULE = re.compile(r"NVRM version: .{0,200}?Module\s.{0,100}?(\d+\.\d+(?:\.\d+)?)")
_LOADED = re.compile(
    r"\s*(lib(?:cuda|cudnn|nvidia-ml|nccl|cublas|cudart|nvrtc|nvJitLink|stdc\+\+)[\w-]*\.so\S*) \(.*?\) => (/\S+)"
)
_UNITS = {"": 1024, "B": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40, "P": 1 << 50}


def driver_version(lines: list[str], draft: Draft) -> None:
    """``/proc/driver/nvidia/version``: the loaded module."""
    found = next((m for line in lines if (m := _MODULE.search(line))), None)
    if found:
        draft.say("driver_version", found[1])
        flavour: Literal["open", "proprietary"] = "open" if "Open Kernel Module" in found[0] else "proprietary"
        record = NvidiaDriver(version=found[1], flavour=flavour, source="/proc/driver/nvidia/version")
        draft.facts.setdefault("NvidiaDriver", record)


def uname(lines: list[str], draft: Draft) -> None:
    """``uname -a``."""
    cells = lines[0].split()
    draft.say("hostname", cells[1])
    draft.say("kernel", cells[2])
    draft.say("architecture", next((c for c in cells[3:] if c in ("x86_64", "aarch64", "ppc64le", "s390x")), None))


def release(lines: list[str], draft: Draft) -> None:
    """``/etc/os-release``."""
    draft.say("os_name", lines[0].partition("=")[2].strip("\"' "))


def meminfo(lines: list[str], draft: Draft) -> None:
    """``/proc/meminfo``. It knows nothing of a control group's limit, so it is not the whole fact ``Memory``."""
    fields = {
        "MemTotal": "memory_total_bytes",
        "MemAvailable": "memory_available_bytes",
        "SwapTotal": "swap_total_bytes",
        "SwapFree": "swap_free_bytes",
    }
    for line in lines:
        found = re.match(r"(\w+):\s+(\d{1,15}) kB", line)
        if found and found[1] in fields:
            draft.say(fields[found[1]], int(found[2]) * 1024)


def free(lines: list[str], draft: Draft) -> None:
    """``free``: with a unit behind the numbers (-h), or plain kibibytes where they cannot be mebibytes.

    ``free -m`` prints numbers without a unit that read like the default's on a small machine: those are not taken.
    """
    columns = lines[0].split()
    for line in lines[1:]:
        name, *cells = line.split()[:7] or [""]
        sizes = dict(zip(columns, (_size(cell) for cell in cells), strict=False))
        if name == "Mem:":
            draft.say("memory_total_bytes", sizes.get("total"))
            draft.say("memory_available_bytes", sizes.get("available"))
        elif name == "Swap:":
            draft.say("swap_total_bytes", sizes.get("total"))
            draft.say("swap_free_bytes", sizes.get("free"))


_PLAIN_IS_KIB = 4_000_000  # as mebibytes that would be 3.8 TiB of memory; as kibibytes it is 3.8 GiB


def _size(cell: str) -> int | None:
    found = re.fullmatch(r"(\d{1,15}(?:\.\d{1,3})?)([BKMGTP]?)i?B?", cell)
    if found is None or (not found[2] and float(found[1]) < _PLAIN_IS_KIB):
        return None
    return round(float(found[1]) * _UNITS[found[2]])


def cpuinfo(lines: list[str], draft: Draft) -> None:
    """``/proc/cpuinfo``. The blank lines between processors may be lost."""
    text = re.sub(r"\n(?=processor\s*:)", "\n\n", "\n".join(lines))
    try:
        draft.facts.setdefault("Cpu", cpu_fact.parse(text))
    except Missing:
        return


def lscpu(lines: list[str], draft: Draft) -> None:
    """``lscpu``, as collect_env prints it too."""
    said = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in lines)}
    draft.say("architecture", said.get("Architecture"))
    flags = frozenset(said.get("Flags", "").split())
    counts = [said.get(name, "") for name in ("CPU(s)", "Core(s) per socket", "Socket(s)")]
    if not flags or not all(re.fullmatch(r"\d{1,6}", count) for count in counts):
        return  # cut, or a machine without sockets: not the whole fact
    logical, cores, sockets = map(int, counts)
    record = cpu_fact.Cpu(
        model=said.get("Model name"),
        vendor=said.get("Vendor ID"),
        logical_cpus=logical,
        cores=cores * sockets,
        sockets=sockets,
        flags=tuple(sorted(flags)),
        microarchitecture=cpu_fact.level(flags) if "lm" in flags else None,
    )
    draft.facts.setdefault("Cpu", record)


def mounts(lines: list[str], draft: Draft) -> None:
    """``/proc/mounts``: which file system is where. It gives no sizes."""
    for line in lines:
        cells = line.split()
        if len(cells) >= 6 and cells[1].startswith("/"):
            draft.file_systems.setdefault(cells[1], {}).setdefault("filesystem", cells[2])


def df(lines: list[str], draft: Draft) -> None:
    """``df``, plain, -h, -m or -T."""
    heading = lines[0].split()
    unit = {"1K-blocks": "K", "1024-blocks": "K", "1M-blocks": "M"}
    size_at = next(i for i, word in enumerate(heading) if word in unit or word == "Size")
    default = unit.get(heading[size_at], "")
    for line in lines[1:]:
        cells = line.split()
        if len(cells) < size_at + 5 or not cells[-1].startswith("/"):
            continue
        total, available = (_room(cells[size_at + step], default) for step in (0, 2))
        seen = draft.file_systems.setdefault(cells[-1], {})
        seen.setdefault("total_bytes", total)
        seen.setdefault("free_bytes", available)
        if size_at == 2:
            seen.setdefault("filesystem", cells[1])
        if cells[-1] == "/dev/shm" and total is not None and available is not None:  # noqa: S108 (looked at, not written)
            draft.facts.setdefault("SharedMemory", SharedMemory(total_bytes=total, free_bytes=available))


def _room(cell: str, default: str) -> int | None:
    found = re.fullmatch(r"(\d{1,15}(?:\.\d{1,3})?)([BKMGTP]?)i?B?", cell)
    return round(float(found[1]) * _UNITS[found[2] or default or "B"]) if found else None


def process_limits(lines: list[str], draft: Draft) -> None:
    """``/proc/PID/limits``."""
    seen = {}
    for line in lines:
        found = re.match(r"Max (locked memory|open files)\s+(\d{1,20}|unlimited)\s+(\d{1,20}|unlimited)", line)
        if found:
            seen[found[1]] = [None if value == "unlimited" else int(value) for value in (found[2], found[3])]
    if len(seen) == 2:
        memlock, nofile = seen["locked memory"], seen["open files"]
        record = Limits(
            memlock_soft_bytes=memlock[0], memlock_hard_bytes=memlock[1], nofile_soft=nofile[0], nofile_hard=nofile[1]
        )
        draft.facts.setdefault("Limits", record)


def ulimit(lines: list[str], draft: Draft) -> None:
    """``ulimit -a``: the soft limits only."""
    for line in lines:
        found = re.match(r"(max locked memory|open files)\s.*?\)\s+(\d{1,20}|unlimited)", line)
        if found is None:
            continue
        if found[1] == "open files":
            draft.say("nofile_soft", None if found[2] == "unlimited" else int(found[2]))
        elif found[2] == "unlimited":
            draft.say("memlock_unlimited", True)
        else:
            draft.say("memlock_soft_bytes", int(found[2]) * 1024)


def ldconfig(lines: list[str], draft: Draft) -> None:
    """``ldconfig -p``: the loader's cache, in its order; only the libraries that GPU programs load."""
    for line in lines:
        if found := _LOADED.match(line):
            draft.libraries.append((found[1], found[2]))


def environment(lines: list[str], draft: Draft) -> None:
    """``env``, ``export -p``: variables by allow-list, as a probe would read them."""
    for line in lines:
        found = re.match(r"(?:export |declare -x )?([A-Z_][A-Z0-9_]*)=(.*)", line)
        if found:
            value = found[2]
            draft.variable(found[1], value[1:-1] if len(value) > 1 and value[0] == value[-1] in "\"'" else value)


def command_line(lines: list[str], draft: Draft) -> None:
    """``/proc/cmdline``."""
    draft.say("kernel_command_line", lines[0][:4096])


def dmesg(lines: list[str], draft: Draft) -> None:
    """``dmesg``, which other dumps may have cut into parts."""
    draft.kernel_lines += lines
    draft.facts["KernelLog"] = log_fact.parse("\n".join(draft.kernel_lines))
