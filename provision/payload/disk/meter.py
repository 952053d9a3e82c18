"""Counts bytes against the clock, as a whole and in slices: the slices say how steady the rate was."""

from __future__ import annotations

import sys
import threading
import time

SLICE_SECONDS = (
    0.05  # long beside one read of a slow disk (1 MiB at 100 MB/s: 0.01 s), short beside a part (0.4 s and more)
)


class Meter:
    """Bytes since it was made, until the last of them arrived. Threads may share one."""

    def __init__(self, seconds: float, most: int = sys.maxsize) -> None:
        self._most, self._allowed = most, seconds
        self._lock = threading.Lock()
        self._rates: list[float] = []
        self.bytes = self._in_slice = 0
        self.start()

    def start(self) -> None:
        """The clock runs from now: what had to be prepared is done."""
        self.started = self._last = self._slice_began = time.monotonic()
        self.until = self.started + self._allowed

    @property
    def over(self) -> bool:
        """Whether the time or the bytes are used up."""
        return self.bytes >= self._most or time.monotonic() >= self.until

    @property
    def seconds(self) -> float:
        return max(self._last - self.started, 1e-9)

    def add(self, count: int) -> None:
        """So many more bytes have arrived now."""
        with self._lock:
            self._last = time.monotonic()
            self.bytes += count
            self._in_slice += count
            passed = self._last - self._slice_began
            if passed >= SLICE_SECONDS:
                self._rates.append(self._in_slice / passed)
                self._slice_began, self._in_slice = self._last, 0

    def spread(self) -> tuple[float, float]:
        """The rates, in bytes per second, that a tenth of the slices fell below and a tenth rose above.

        Fewer than four slices say nothing of steadiness: the rate itself, twice.
        """
        if len(self._rates) < 4:
            return self.bytes / self.seconds, self.bytes / self.seconds
        ordered = sorted(self._rates)
        tenth = len(ordered) // 10
        return ordered[tenth], ordered[-1 - tenth]
