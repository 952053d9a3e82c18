"""Facts about a machine: known, absent or missing. Standard library only, Python 3.10.

A *probe* looks at one thing through a ``Host`` and returns a *fact*, a frozen record. It may raise ``Absent``
(looked, and the thing is not there) or ``Missing`` (could not look); the snapshot keeps either with its reason. A
probe may take other facts as parameters; ``X | Absent`` or ``X | Missing`` asks for the reason instead of being passed by.
"""

from __future__ import annotations

import dataclasses
import functools
import inspect
import operator
import queue
import threading
import typing
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, TypeVar, get_args, get_origin

from provision import codec
from provision.errors import CodecError, UsageError
from provision.record import record

if TYPE_CHECKING:
    from typing import dataclass_transform

    from provision.host import Host
else:

    def dataclass_transform(**_: Any) -> Any:  # typing has it since 3.11; the collector runs on 3.10
        return lambda function: function


SILENCE_SECONDS = 10.0  # no probe answered for this long: the ones still running are left behind
SCHEMA = 1  # counts breaking changes of the snapshot's own shape, not of single facts
T = TypeVar("T")


class NotKnown(Exception):
    """Why a fact is not known. Raised by probes and hosts, held by snapshots."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and isinstance(other, NotKnown) and self.reason == other.reason

    def __hash__(self) -> int:
        return hash((type(self), self.reason))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.reason!r})"


class Absent(NotKnown):
    """Looked, and it is not there: no engine installed, no card on the bus."""


class Missing(NotKnown):
    """Could not look: permission denied, no answer in time, an answer nobody understands."""


@dataclasses.dataclass(frozen=True)
class Probe:
    """A registered probe: the fact it makes, what it takes, and where it stands."""

    name: str
    function: Callable[..., Any]
    needs: tuple[tuple[str, type, tuple[type[NotKnown], ...]], ...]
    doc: str


FACTS: dict[str, type] = {}
PROBES: dict[str, Probe] = {}
PASTED: set[str] = set()  # facts that no probe makes: only what somebody pasted states them
NOTHING_PASTED = "nothing was pasted"
NOT_PASTED = "not in what was pasted"


@dataclass_transform(frozen_default=True, kw_only_default=True, field_specifiers=(dataclasses.field,))
def fact(cls: type[T]) -> type[T]:
    """A frozen, keyword-only record whose class name is its name in snapshots."""
    made = record(cls)
    if made.__name__ in FACTS:
        raise TypeError(f"two facts are called {made.__name__}")
    FACTS[made.__name__] = made
    return made


def pasted(record: type[T]) -> type[T]:
    """A fact that is read from pasted text. On a machine that was looked at it is absent: nothing was pasted."""
    PASTED.add(record.__name__)
    return record


def split_optional(annotation: Any) -> tuple[type, tuple[type[NotKnown], ...]]:
    """``X | Absent | Missing`` as (X, (Absent, Missing)); plain ``X`` as (X, ())."""
    if get_origin(annotation) is None:
        return annotation, ()
    members = get_args(annotation)
    reasons = tuple(m for m in members if isinstance(m, type) and issubclass(m, NotKnown))
    (wanted,) = (m for m in members if m not in reasons)
    return wanted, reasons


def needs_of(
    function: Callable[..., Any], skip: Iterable[str] = ()
) -> tuple[tuple[str, type, tuple[type[NotKnown], ...]], ...]:
    """What a function asks for through its annotations, in order."""
    code = function.__code__
    names = code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]
    return tuple((name, *split_optional(_annotation(function, name))) for name in names if name not in skip)


def _annotation(function: Callable[..., Any], name: str) -> Any:
    """An annotation's value. ``X`` and ``X | Absent`` are looked up: typing's own way took 19 ms for 244 checks, this 2.4.

    (2026-11-24, 2 cores, busy.)
    """
    said, known = function.__annotations__[name], function.__globals__
    words = said.split(" | ") if isinstance(said, str) else []
    if words and all(word in known for word in words):
        return functools.reduce(operator.or_, (known[word] for word in words))
    return typing.get_type_hints(function)[name]


def probe(function: Callable[..., T]) -> Callable[..., T]:
    """Register ``function(host, …facts) -> Fact``. Its docstring is the fact's page."""
    made = _annotation(function, "return")
    if made.__name__ not in FACTS or made.__name__ in PROBES:
        raise TypeError(f"{function.__name__} must return a fact that no other probe makes")
    first = function.__code__.co_varnames[0]
    PROBES[made.__name__] = Probe(made.__name__, function, needs_of(function, (first,)), inspect.getdoc(function) or "")
    return function


class Snapshot:
    """What was found on one machine: every fact's name to a record, ``Absent`` or ``Missing``."""

    def __init__(self, machine: str, facts: Mapping[str, Any], tool_version: str) -> None:
        self.machine = machine
        self.facts = dict(sorted(facts.items()))
        self.tool_version = tool_version

    def get(self, kind: type[T]) -> T | Absent | Missing:
        """The fact, or why it is not known. A fact that nobody looked for is missing, one that nobody pasted is absent."""
        name = kind.__name__
        unseen = Absent(NOTHING_PASTED) if name in PASTED else Missing(f"{name} was not looked at")
        return typing.cast("T | Absent | Missing", self.facts.get(name, unseen))

    def known(self, kind: type[T]) -> T | None:
        """The fact where it is known, else None."""
        found = self.get(kind)
        return None if isinstance(found, (Absent, Missing)) else found

    def to_json(self) -> dict[str, Any]:
        """The snapshot as ``facts.json`` holds it."""
        entries: dict[str, Any] = {}
        for name, value in self.facts.items():
            if isinstance(value, Absent):
                entries[name] = {"absent": value.reason}
            elif isinstance(value, Missing):
                entries[name] = {"missing": value.reason}
            else:
                entries[name] = {"known": codec.dump(value)}
        return {"schema": SCHEMA, "tool_version": self.tool_version, "machine": self.machine, "facts": entries}

    @classmethod
    def from_json(cls, value: Any, origin: str = "facts") -> Snapshot:
        """Read a snapshot. A fact whose shape has changed since becomes missing and says so; the rest keeps loading."""
        if not isinstance(value, dict) or not isinstance(value.get("facts"), dict):
            raise UsageError(f"{origin}: not a snapshot; expected the output of 'provision facts -o FILE'")
        if value.get("schema") != SCHEMA:
            raise UsageError(f"{origin}: snapshot schema {value.get('schema')!r}; this version reads {SCHEMA}")
        version, machine = str(value.get("tool_version", "?")), str(value.get("machine", "?"))
        return cls(
            machine, {n: _entry(n, e, version, origin) for n, e in value["facts"].items() if n in FACTS}, version
        )


def _entry(name: str, entry: Any, version: str, origin: str) -> Any:
    if not isinstance(entry, dict) or len(entry) != 1:
        raise UsageError(f"{origin}: facts.{name}: expected one of known, absent, missing")
    ((state, content),) = entry.items()
    if state == "absent":
        return Absent(str(content))
    if state == "missing":
        return Missing(str(content))
    if state != "known":
        raise UsageError(f"{origin}: facts.{name}: expected one of known, absent, missing, got {state!r}")
    try:
        return codec.load(FACTS[name], content)
    except CodecError as error:
        return Missing(f"recorded by {version}, whose {name} this version cannot read ({error})")


def collect(
    host: Host, machine: str, tool_version: str, only: Iterable[str] | None = None, patience: float | None = None
) -> Snapshot:
    """Run the probes (all, or those named and what they need) and keep every answer with its reason.

    A probe starts as soon as what it needs is there; most of its time is spent waiting for a child process. ``patience``:
    seconds without any answer before those still running are left behind; ``SILENCE_SECONDS`` where it is None.
    """
    waiting = {name: PROBES[name] for name in sorted(_closure(PROBES if only is None else only))}
    running: set[str] = set()
    facts: dict[str, Any] = {}
    answers: queue.SimpleQueue[tuple[str, Any]] = queue.SimpleQueue()
    while waiting or running:
        for one in [p for p in waiting.values() if all(kind.__name__ in facts for _, kind, _ in p.needs)]:
            del waiting[one.name]
            running.add(one.name)
            work = _answer_into(answers, one, host, dict(facts))
            try:
                threading.Thread(target=work, name=f"probe {one.name}", daemon=True).start()
            except RuntimeError:  # a control group or a user without a task left: one after the other then
                work()
        if not running:
            raise TypeError(f"probes wait for each other: {', '.join(waiting)}")
        for name, answer in _next(answers, running, SILENCE_SECONDS if patience is None else patience):
            facts[name] = answer
            running.discard(name)
    return Snapshot(machine, facts, tool_version)


def _next(answers: queue.SimpleQueue[tuple[str, Any]], running: set[str], patience: float) -> Iterator[tuple[str, Any]]:
    """The next answer of a running probe; where nothing comes, why: a plain read on a dead file system cannot be killed."""
    try:
        name, answer = answers.get(timeout=patience)
    except queue.Empty:
        for name in sorted(running):
            yield name, Missing(f"the probe {name} gave no answer in {patience:g} s")
        return
    if name in running:  # else it was given up on, and came after all
        yield name, answer


def _answer_into(
    answers: queue.SimpleQueue[tuple[str, Any]], one: Probe, host: Host, facts: Mapping[str, Any]
) -> Callable[[], None]:
    return lambda: answers.put((one.name, _run(one, host, facts)))


def _closure(names: Iterable[str]) -> set[str]:
    wanted: set[str] = set()
    stack = list(names)
    while stack:
        name = stack.pop()
        if name not in wanted:
            wanted.add(name)
            stack += [kind.__name__ for _, kind, _ in PROBES[name].needs]
    return wanted


def _run(one: Probe, host: Host, facts: Mapping[str, Any]) -> Any:
    given: dict[str, Any] = {}
    for parameter, kind, accepted in one.needs:
        value = facts[kind.__name__]
        if isinstance(value, NotKnown) and not isinstance(value, accepted):
            return type(value)(f"needs {kind.__name__}: {value.reason}")
        given[parameter] = value
    try:
        return one.function(host, **given)
    except NotKnown as reason:
        return reason.with_traceback(None)
    except Exception as error:  # our bug: said with its name, and the neighbours still answer
        return Missing(f"the probe {one.name} failed on this machine: {type(error).__name__}: {error}")


__all__ = [
    "FACTS",
    "NOTHING_PASTED",
    "NOT_PASTED",
    "PASTED",
    "PROBES",
    "Absent",
    "Missing",
    "NotKnown",
    "Probe",
    "Snapshot",
    "collect",
    "fact",
    "pasted",
    "probe",
]
