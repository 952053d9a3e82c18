"""A proof: something that must be true of the running environment, measured there against what the plan promised.

Standard library only; torch and its friends are imported inside the proofs, so that the plan can read the registry.

A proof's function is named after the good state it proves, and its docstring is its page. It gets the session (the
loaded models) and what was promised, and returns a Verdict. One that cannot run raises CannotRun; whatever else it
raises is reported the same way. Nothing is ever left out of the report.
"""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .session import Session

SCHEMA = 1
ACCELERATORS = ("cpu", "cuda")
Promise = Mapping[str, Any]


class CannotRun(Exception):
    """The proof could not look; the message says why and what would let it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Verdict:
    """What was measured, and one sentence for each way in which it breaks the promise."""

    measured: dict[str, Any]
    failures: tuple[str, ...] = ()


Function = Callable[["Session", Promise], Verdict]


@dataclass(frozen=True, kw_only=True, slots=True)
class Proof:
    """A registered proof."""

    code: str
    roadblock: str
    accelerators: tuple[str, ...]
    function: Function

    @property
    def name(self) -> str:
        """The function's name with dashes: the good state."""
        return self.function.__name__.replace("_", "-")

    @property
    def page(self) -> str:
        """Title, `## What it proves`, `## When it fails`."""
        return inspect.getdoc(self.function) or ""


REGISTRY: dict[str, Proof] = {}


def proof(code: str, roadblock: str, *, accelerators: tuple[str, ...] = ACCELERATORS) -> Callable[[Function], Function]:
    """Register a proof. It stands in proofs/<roadblock>.py; a code is used once."""

    def register(function: Function) -> Function:
        if not re.fullmatch(r"[A-Z]{3}-P\d+", code):
            raise TypeError(f"{code} is not a proof's code (MEM-P1)")
        if code in REGISTRY:
            raise TypeError(f"two proofs are called {code}")
        if function.__module__.rpartition(".")[2] != roadblock:
            raise TypeError(f"{code} belongs in proofs/{roadblock}.py")
        REGISTRY[code] = Proof(code=code, roadblock=roadblock, accelerators=accelerators, function=function)
        return function

    return register


def load() -> dict[str, Proof]:
    """Every proof, by code, in the order of the codes."""
    proofs = importlib.import_module(".proofs", __package__)
    for module in pkgutil.iter_modules(proofs.__path__, f"{proofs.__name__}."):
        importlib.import_module(module.name)
    return dict(sorted(REGISTRY.items()))


def run(code: str, session: Session, promised: Promise) -> dict[str, Any]:
    """One line of proof.jsonl. Never raises for a proof that fails, cannot run or is not there."""
    registered = load().get(code)
    line: dict[str, Any] = {
        "schema": SCHEMA,
        "code": code,
        "name": registered.name if registered else "",
        "roadblock": registered.roadblock if registered else "",
        "proved": False,
        "promised": dict(promised),
        "measured": {},
        "seconds": 0.0,
        "reason": "",
    }
    if registered is None:
        return line | {"reason": f"unknown proof {code}; this payload has {', '.join(load())}"}
    if session.device not in registered.accelerators:
        return line | {"reason": f"{code} is for {' and '.join(registered.accelerators)}, not for {session.device}"}
    started = time.monotonic()
    try:
        verdict = registered.function(session, promised)
        line |= {
            "proved": not verdict.failures,
            "measured": verdict.measured,
            "reason": "; ".join(verdict.failures),
        }
    except CannotRun as error:
        line["reason"] = f"could not run: {error}"
    except KeyError as error:
        line["reason"] = f"could not run: the promise or its data lacks {error}"
    except Exception as error:  # a proof that breaks is a proof that failed, and must not hide its neighbours
        line["reason"] = f"could not run: {type(error).__name__}: {error}"
    return line | {"seconds": round(time.monotonic() - started, 3)}
