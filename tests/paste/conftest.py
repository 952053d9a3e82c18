"""Pasted texts judged: dumps and logs to a snapshot, a snapshot to results by code."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from provision import check, road
from provision.fact import Snapshot
from provision.paste.snapshot import snapshot
from provision.spec import Spec

check.load()

Judge = Callable[..., dict[str, check.Result]]


@pytest.fixture(scope="session")
def pasted() -> Callable[..., Snapshot]:
    """``pasted(dump, log=log)``: the snapshot of texts."""

    def read(*dumps: str, log: str | None = None) -> Snapshot:
        return snapshot([("dump.txt", text) for text in dumps], [] if log is None else [("error.log", log)])

    return read


@pytest.fixture(scope="session")
def judge(pasted: Callable[..., Snapshot]) -> Judge:
    """``judge(dump, log=log)["CUD010"]``: what a check says of them."""

    def run(*dumps: str, log: str | None = None) -> dict[str, check.Result]:
        return {r.code: r for r in road.diagnose_pasted(pasted(*dumps, log=log), Spec(), None, "2026-11-24").results}

    return run
