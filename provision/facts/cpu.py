"""The processor: model, how many, and which instructions it has."""

from __future__ import annotations

from typing import Literal

from provision.fact import Missing, fact, probe
from provision.host import Host

Level = Literal["x86-64-v1", "x86-64-v2", "x86-64-v3", "x86-64-v4"]


@fact
class Cpu:
    model: str | None  # None on most Arm kernels, which print no model name
    vendor: str | None  # "GenuineIntel", "AuthenticAMD"; on Arm the implementer code ("0x41")
    logical_cpus: int
    cores: int  # physical cores of all sockets; as many as logical CPUs where the kernel does not say
    sockets: int
    flags: tuple[str, ...]  # sorted; on Arm the features
    microarchitecture: Level | None  # None off x86-64


# The psABI's x86-64 levels, in the kernel's spelling (abm is LZCNT, pni is SSE3).
_LEVELS: tuple[tuple[Level, frozenset[str]], ...] = (
    ("x86-64-v2", frozenset({"cx16", "lahf_lm", "popcnt", "pni", "sse4_1", "sse4_2", "ssse3"})),
    ("x86-64-v3", frozenset({"avx", "avx2", "bmi1", "bmi2", "f16c", "fma", "abm", "movbe", "xsave"})),
    ("x86-64-v4", frozenset({"avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl"})),
)


@probe
def cpu(host: Host) -> Cpu:
    """The processor's name, its instructions and the x86-64 level that follows from them.

    Source: ``/proc/cpuinfo`` (logical CPUs that are online).
    """
    return parse(host.read("/proc/cpuinfo"))


def parse(text: str) -> Cpu:
    """``/proc/cpuinfo`` as a fact. Missing: it names no processor."""
    blocks = [_block(one) for one in text.split("\n\n")]
    cpus = [block for block in blocks if "processor" in block]
    if not cpus:
        raise Missing("/proc/cpuinfo names no processor")
    first = cpus[0]
    flags = frozenset(first.get("flags", first.get("Features", "")).split())
    sockets = {block.get("physical id", "0") for block in cpus}
    cores = {(block.get("physical id", "0"), block.get("core id", block["processor"])) for block in cpus}
    return Cpu(
        model=first.get("model name"),
        vendor=first.get("vendor_id", first.get("CPU implementer")),
        logical_cpus=len(cpus),
        cores=len(cores),
        sockets=len(sockets),
        flags=tuple(sorted(flags)),
        microarchitecture=level(flags) if "lm" in flags else None,
    )


def _block(text: str) -> dict[str, str]:
    pairs = (line.partition(":") for line in text.splitlines() if ":" in line)
    return {key.strip(): value.strip() for key, _, value in pairs}


def level(flags: frozenset[str]) -> Level:
    """The x86-64 level that a processor with these flags reaches."""
    reached: Level = "x86-64-v1"
    for level, needed in _LEVELS:
        if not needed <= flags:
            break
        reached = level
    return reached
