"""The tables that checks read, as records. Every row says where it comes from and when it was read."""

from __future__ import annotations

import dataclasses
import datetime
import functools
from importlib import resources
from typing import Any, Literal, TypeVar

import tomllib

from provision import codec
from provision.catalog.version import numbers

T = TypeVar("T")


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class CudaMajor:
    """``minimum_driver``: the oldest Linux driver on which any program built for this CUDA major starts."""

    cuda: int
    minimum_driver: str
    source: str
    date: str


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Toolkit:
    """``driver``: the Linux driver that NVIDIA published with the first release of toolkit ``cuda`` ("12.6")."""

    cuda: str
    driver: str
    source: str
    date: str


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Drivers:
    """``drivers.toml``."""

    major: tuple[CudaMajor, ...]
    toolkit: tuple[Toolkit, ...]


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Wheel:
    """What torch's Linux x86_64 wheel of one minor release and CUDA variant was compiled for."""

    torch: str
    cuda: str
    architectures: tuple[str, ...]
    ptx: bool
    source: str
    date: str


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Pin:
    """Releases ``first`` to ``last`` of an inference engine require this torch."""

    engine: str
    first: str
    last: str
    torch: str
    source: str
    date: str


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
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


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
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


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Allocator:
    """``allocator.toml``. ``newest`` is the last torch minor release that was read; ``renamed`` the first with the new name."""

    newest: str
    renamed: str
    old_name: str
    new_name: str
    key: tuple[AllocatorKey, ...]


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Threshold:
    """One limit that a check compares with, in the base unit that its name ends in."""

    value: int
    why: str
    source: str
    date: str


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class EngineRelease:
    """The first engine release that has something."""

    version: str
    why: str
    source: str
    date: str


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Telemetry:
    """A package that reports home unless one of ``variables`` is set to a true value."""

    package: str
    variables: tuple[str, ...]
    sends: str
    source: str
    date: str


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
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
def pins() -> tuple[Pin, ...]:
    """Inference engines and the torch they require."""
    return read("engine_torch.toml", dict[str, tuple[Pin, ...]])["pin"]


@functools.cache
def xids() -> dict[int, XidRow]:
    """Xid codes."""
    return {row.code: row for row in read("xid.toml", dict[str, tuple[XidRow, ...]])["xid"]}


@functools.cache
def allocator() -> Allocator:
    """Torch's allocator setting."""
    return read("allocator.toml", Allocator)


@functools.cache
def thresholds() -> Thresholds:
    """Limits, first releases and telemetry switches."""
    return read("thresholds.toml", Thresholds)


def minimum_driver(cuda: str) -> str | None:
    """The oldest driver on which programs built for CUDA ``cuda`` ("12.6") start; None for a major that is not listed."""
    major = numbers(cuda)[:1]
    return next((row.minimum_driver for row in drivers().major if (row.cuda,) == major), None)


def read(name: str, shape: type[T]) -> T:
    """A table of this folder as records."""
    text = (resources.files("provision.catalog") / name).read_text(encoding="utf-8")
    return codec.load(shape, _plain(tomllib.loads(text)))


def _plain(value: Any) -> Any:
    """TOML's dates as text, as the codec (which speaks JSON) has them."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return value.isoformat() if isinstance(value, datetime.date) else value
