"""Work done once, whoever asks for it and however many at a time."""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable
from concurrent.futures import Future
from typing import Any, TypeVar

T = TypeVar("T")


class Once:
    """Results by key. A second thread that asks for the same key waits for the first; a failure is not kept."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._results: dict[Hashable, Future[Any]] = {}

    def get(self, key: Hashable, work: Callable[[], T]) -> T:
        """What ``work`` gives, done now or before. Whatever it raises reaches all who wait."""
        with self._lock:
            mine = key not in self._results
            result: Future[T] = self._results.setdefault(key, Future())
        if mine:
            try:
                result.set_result(work())
            except BaseException as error:
                with self._lock:
                    del self._results[key]
                result.set_exception(error)
        return result.result()
