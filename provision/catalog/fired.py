"""On what real thing each check has fired (``fired.toml``)."""

from __future__ import annotations

import functools
from typing import Literal

from provision.catalog import tables
from provision.record import record


@record
class Fired:
    """One check's evidence.

    ``recorded``: a recorded machine, ``on`` is its file in this repository. ``documented``: a public case, ``on`` is its
    address. ``induced``: a fault made on purpose, ``on`` is the test (``tests/…/test_x.py::test_name``). ``unproven``:
    nothing yet, ``on`` says what would prove it. ``facts``: recordings under tests/facts (``KernelLog/failing``) made from
    that evidence, with which the check must fire; a test runs it.
    """

    on: str
    kind: Literal["recorded", "documented", "induced", "unproven"]
    facts: tuple[str, ...] = ()


@functools.cache
def fired() -> dict[str, Fired]:
    """The codes that have a row, to their evidence; a check without one is unproven."""
    return tables.read("fired.toml", dict[str, Fired])
