"""The tables that checks read, as records. Every row says where it comes from and when it was read."""

from __future__ import annotations

import datetime
import functools
from typing import Any, Literal, TypeVar

from provision import catalog, codec
from provision.catalog.version import numbers, older
from provision.record import record

T = TypeVar("T")


@record
class CudaMajor:
    """``minimum_driver``: the oldest Linux driver on which any program built for this CUDA major starts."""

    cuda: int
    minimum_driver: str
    source: str
    date: str


@record
class Toolkit:
    """``driver``: the Linux driver that NVIDIA published with the first release of toolkit ``cuda`` ("12.6")."""

    cuda: str
    driver: str
    source: str
    date: str


@record
class Drivers:
    """``drivers.toml``."""

    major: tuple[CudaMajor, ...]
    toolkit: tuple[Toolkit, ...]


@record
class Wheel:
    """What torch's Linux x86_64 wheel of one minor release and CUDA variant was compiled for."""

    torch: str
    cuda: str
    architectures: tuple[str, ...]
    ptx: bool
    source: str
    date: str


@record
class TorchRelease:
    """What torch's default Linux x86_64 wheels of one release need and bring; empty where METADATA pins none.

    ``pythons``: CPython minors with a wheel ("3.12"). ``glibc``: the least that the wheel's tag admits.
    """

    torch: str
    requires_python: str
    pythons: tuple[str, ...]
    glibc: str
    cuda: str
    cudnn: str
    nccl: str
    triton: str
    source: str
    date: str


@record
class Pin:
    """Releases ``first`` to ``last`` of an inference engine require this torch."""

    engine: str
    first: str
    last: str
    torch: str
    source: str
    date: str


@record
class PackageRange:
    """What releases ``first`` to ``last`` of a package ask for. ``kind`` "sdist": no wheel, only ``requires_python`` is known.

    ``pythons``: CPython minors with a wheel; none: one wheel serves all. ``torch``: as METADATA requires it, "==2.10.0".
    """

    package: str
    first: str
    last: str
    kind: Literal["wheel", "sdist"]
    requires_python: str
    pythons: tuple[str, ...]
    glibc: str
    torch: str
    source: str
    date: str


@record
class XidRow:
    """One code that the NVIDIA driver logs; ``vendor`` is NVIDIA's own immediate action, empty where it has none."""

    code: int
    name: str
    kind: Literal["hardware", "program", "information"]
    meaning: str
    action: str
    vendor: str
    source: str
    date: str


@record
class AllocatorKey:
    """One key of torch's allocator setting: which torch releases know it, and what it may be.

    ``first`` and ``last`` are torch minor releases, both included; an empty ``last`` means it is still known.
    ``least`` and ``most`` bound a number; ``open_interval`` leaves the bounds themselves out; where the key
    ``least_from`` is set beside this one, its value is the least.
    """

    key: str
    first: str
    last: str = ""
    kind: Literal["number", "integer", "switch", "power-of-two", "choice", "free"]
    least: float | None = None
    least_from: str = ""
    most: float | None = None
    open_interval: bool = False
    choices: tuple[str, ...] = ()
    source: str
    date: str


@record
class Allocator:
    """``allocator.toml``. ``newest`` is the last torch minor release that was read; ``renamed`` the first with the new name."""

    newest: str
    renamed: str
    old_name: str
    new_name: str
    key: tuple[AllocatorKey, ...]


@record
class Threshold:
    """One limit that a check compares with, in the base unit that its name ends in."""

    value: int
    why: str
    source: str
    date: str


@record
class EngineRelease:
    """The first engine release that has something."""

    version: str
    why: str
    source: str
    date: str


@record
class Telemetry:
    """A package that reports home unless one of ``variables`` is true, or one of ``switches`` is false."""

    package: str
    variables: tuple[str, ...] = ()
    switches: tuple[str, ...] = ()
    sends: str
    source: str
    date: str


@record
class PcieGeneration:
    """``per_lane_hundred_minutes``: corrected errors of one lane in 100 minutes at a bit error rate of 1e-12."""

    generation: int
    mts: int
    per_lane_hundred_minutes: int
    source: str
    date: str


@record
class PortRow:
    """A port that an engine or its helpers listen on unless told otherwise.

    ``harmful``: who reaches it may run code or read everything, by the program's own documentation.
    """

    port: int
    program: str
    harmful: bool
    source: str
    date: str


@record
class Thresholds:
    """``thresholds.toml``."""

    limit: dict[str, Threshold]
    engine: dict[str, EngineRelease]
    telemetry: tuple[Telemetry, ...]


@functools.cache
def drivers() -> Drivers:
    """CUDA and the NVIDIA driver."""
    return read("drivers.toml", Drivers)


@functools.cache
def wheels() -> tuple[Wheel, ...]:
    """GPU architectures of torch's wheels."""
    return read("torch_arch.toml", dict[str, tuple[Wheel, ...]])["wheel"]


@functools.cache
def torch_releases() -> dict[str, TorchRelease]:
    """torch's releases by version."""
    return {row.torch: row for row in read("torch_releases.toml", dict[str, tuple[TorchRelease, ...]])["release"]}


@functools.cache
def pins() -> tuple[Pin, ...]:
    """Inference engines and the torch they require."""
    return read("engine_torch.toml", dict[str, tuple[Pin, ...]])["pin"]


@functools.cache
def package_ranges() -> tuple[PackageRange, ...]:
    """What engines and packages of kernels ask of Python, the C library and torch."""
    return read("package_releases.toml", dict[str, tuple[PackageRange, ...]])["range"]


def package_range(package: str, version: str) -> PackageRange | None:
    """The range that a release ("0.19.1", or "0.19") falls into; None where the table has none."""
    return next(
        (
            row
            for row in package_ranges()
            if row.package == package and not older(version, row.first) and not older(row.last, version)
        ),
        None,
    )


@functools.cache
def xids() -> dict[int, XidRow]:
    """Xid codes."""
    return {row.code: row for row in read("xid.toml", dict[str, tuple[XidRow, ...]])["xid"]}


@functools.cache
def allocator() -> Allocator:
    """Torch's allocator setting."""
    return read("allocator.toml", Allocator)


@functools.cache
def pcie() -> tuple[PcieGeneration, ...]:
    """PCIe generations and the corrected errors that a healthy link may have."""
    return read("pcie.toml", dict[str, tuple[PcieGeneration, ...]])["generation"]


@functools.cache
def thresholds() -> Thresholds:
    """Limits, first releases and telemetry switches."""
    return read("thresholds.toml", Thresholds)


@functools.cache
def ports() -> tuple[PortRow, ...]:
    """Ports of engines and their helpers."""
    return read("ports.toml", dict[str, tuple[PortRow, ...]])["port"]


def minimum_driver(cuda: str) -> str | None:
    """The oldest driver on which programs built for CUDA ``cuda`` ("12.6") start; None for a major that is not listed."""
    major = numbers(cuda)[:1]
    return next((row.minimum_driver for row in drivers().major if (row.cuda,) == major), None)


def read(name: str, shape: type[T]) -> T:
    """A table of the catalogue as records of ``shape``."""
    return codec.load(shape, _plain(catalog.read(name)))


def _plain(value: Any) -> Any:
    """TOML's dates as text, as the codec (which speaks JSON) has them."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return value.isoformat() if isinstance(value, datetime.date) else value
