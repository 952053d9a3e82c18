"""The processor: model, how many, and which instructions it has."""

from __future__ import annotations

from typing import Literal

from provision.fact import fact


@fact
class Cpu:
    model: str | None  # None on most Arm kernels, which print no model name
    vendor: str | None  # "GenuineIntel", "AuthenticAMD"; on Arm the implementer code ("0x41")
    logical_cpus: int
    cores: int  # physical cores of all sockets; as many as logical CPUs where the kernel does not say
    sockets: int
    flags: tuple[str, ...]  # sorted; on Arm the features
    microarchitecture: Literal["x86-64-v1", "x86-64-v2", "x86-64-v3", "x86-64-v4"] | None  # None off x86-64
