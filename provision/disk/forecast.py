"""Seconds to load a model from measured rates. Pure arithmetic.

A forecast ends where the weights lie in memory that is ready for them; copying on to a GPU runs beside reading where the
loader overlaps them, and is not in it. One reader of the whole checkpoint: the first rank to ask pays the disk.
"""

from __future__ import annotations

from provision.catalog import loading
from provision.disk.measuring import Measured, Rate
from provision.record import record


@record
class Seconds:
    """``low`` to ``high``: what the load takes where the steadier tenths of the rate hold throughout."""

    likely: float
    low: float
    high: float


@record
class Load:
    """None: the rate was not measured."""

    mmap: Seconds | None
    streamed: Seconds | None


@record
class Forecast:
    bytes: int
    cold: Load
    warm: Load
    cache_bytes: int | None  # what the page cache may hold; None: memory was not seen
    cache_holds: bool | None  # where it does not, a second load is as cold as the first

    def best_cold(self) -> Seconds | None:
        """The faster of the two."""
        both = [one for one in (self.cold.mmap, self.cold.streamed) if one]
        return min(both, key=lambda one: one.likely, default=None)


LEAST_MARGIN = 0.05  # two measurements of a disk at rest, one after the other, differ by so much (2 cores, 2026-11-24)
BLIND_MARGIN = (
    0.25  # where the part was over before its steadiness could be seen: as far as such parts were seen apart there
)


def forecast(measured: Measured, size: int, cache_bytes: int | None) -> Forecast:
    """``cache_bytes``: memory that may hold cached files: what is available, or a control group's limit."""
    holds = None if cache_bytes is None else size <= cache_bytes * loading.table().limit["cache_share"].value
    cold = Load(mmap=_seconds(measured, "mmap", size), streamed=_seconds(measured, "streamed", size))
    warm = Load(mmap=_seconds(measured, "mmap_warm", size), streamed=_seconds(measured, "streamed_warm", size))
    return Forecast(
        bytes=size,
        cold=cold,
        warm=cold if holds is False else warm,
        cache_bytes=cache_bytes,
        cache_holds=holds,
    )


def _seconds(measured: Measured, part: str, size: int) -> Seconds | None:
    rate = measured.parts.get(part)
    if rate is None:
        return None
    likely = size / rate.per_s
    low, high = _margins(rate)
    return Seconds(likely=likely, low=size / high, high=size / low)


def _margins(rate: Rate) -> tuple[float, float]:
    """The slow and the fast rate, at least a margin away from the whole's."""
    margin = BLIND_MARGIN if rate.low == rate.high else LEAST_MARGIN
    return min(rate.low, rate.per_s * (1 - margin)), max(rate.high, rate.per_s * (1 + margin))
