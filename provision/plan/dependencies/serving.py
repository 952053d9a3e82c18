"""Which lock serves the model of provision.toml here, with the chain of reasons, or the nearest way out."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import itertools
import re
from pathlib import Path

from provision.catalog import hardware
from provision.catalog.version import older
from provision.fact import Snapshot
from provision.plan.cuda import accelerator, image, locks, machine_of, on_gpu
from provision.plan.cuda.accelerator import Choice, Machine, Question, sm
from provision.plan.cuda.locks import Lock
from provision.record import record
from provision.spec import BUNDLED, ENGINES, Spec

# What is tried where the wanted precision runs in no lock, the widest first: the ones that people publish checkpoints in.
_OTHERS = ("none", "fp8", "awq", "nvfp4", "gptq-int4")


@record
class ServingLock:
    """``lock`` is "" where none can work: then ``way_out`` says what would help, the nearest first."""

    lock: str
    lock_sha256: str
    engine: str  # "vllm 0.32"
    precision: str
    reasons: tuple[str, ...]
    way_out: tuple[str, ...]


def desire(snapshot: Snapshot, spec: Spec, precision: str, lockfiles: Path) -> ServingLock | None:
    """None for the bundled model, which nobody serves. ``precision``: what its weights are in; "" where that is not known.

    ``engine`` in provision.toml is vllm where it is left out. On a machine without a GPU that alone is no wish for it, and
    transformers serves; a version is one.
    """
    if spec.model.name == BUNDLED:
        return None
    gpu, why = on_gpu(snapshot, spec)
    asked = _Asked(
        spec=spec,
        gpu=gpu,
        machine=machine_of(snapshot),
        lockfiles=lockfiles,
        images=image.possible(spec.image, snapshot),
    )
    engine, _, version = spec.model.engine.partition("==")
    said: tuple[str, ...] = ()
    if not gpu and (engine, version) == ("vllm", ""):
        engine, said = "transformers", ("no lock has vllm for the CPU: transformers serves there",)
    choice = _choose(asked, engine, version, precision)
    lock = choice.lock
    way_out = () if lock else (*_instead(asked, engine, version, precision), *choice.way_out)
    if not lock and not way_out:
        way_out = _together(asked, engine, version, precision)
    return ServingLock(
        lock=lock.name if lock else "",
        lock_sha256=hashlib.sha256((lockfiles / f"{lock.name}.txt").read_bytes()).hexdigest() if lock else "",
        engine=f"{engine} {lock.packages[engine]}" if lock else "==".join(one for one in (engine, version) if one),
        precision=precision,
        reasons=(why, *said, *choice.reasons),
        way_out=tuple(dict.fromkeys(way_out)),
    )


@record
class _Asked:
    spec: Spec
    gpu: bool
    machine: Machine
    lockfiles: Path
    images: tuple[image.Image, ...]


def _choose(asked: _Asked, engine: str, version: str, precision: str) -> Choice:
    named = asked.spec.accelerator
    found = tuple(
        lock
        for lock in locks.known()
        if lock.purpose == "serve" and bool(lock.cuda) is asked.gpu and named in ("auto", lock.accelerator)
    )
    if not found:
        return Choice(lock=None, reasons=(f"no lock for serving is made for {named}",))
    return accelerator.choose(
        found,
        asked.machine,
        asked.images,
        engine=(_engine(engine, version),),
        kernels=(_precision(asked, engine, precision),),
    )


def _engine(engine: str, version: str) -> Question:
    def out(lock: Lock) -> str:
        held = lock.packages.get(engine)
        if held is None:
            return f"it holds {lock.engine}, provision.toml asks for {engine}"
        if version and held and version != held and not version.startswith(f"{held}."):
            return f"it holds {engine} {held}, provision.toml asks for {version}"
        return ""

    return Question(out=out, way=lambda _: ())


def _precision(asked: _Asked, engine: str, precision: str) -> Question:
    """Whether the engine of a lock runs this precision on every card, and whether what it needs for it is in the lock."""

    def out(lock: Lock) -> str:
        row = _row(lock, engine, precision)
        if row is None:
            return ""
        if row.package and not _holds(asked.lockfiles / f"{lock.name}.txt", row.package):
            return f"{engine} {lock.packages[engine]} runs {precision} with {row.package}, which it does not hold"
        below = [each for each in asked.machine.capabilities if row.least and older(each, row.least)]
        if asked.gpu and below:
            return f"{engine} {lock.packages[engine]} runs {precision} from {sm(row.least)} on, not on {sm(below[0])}"
        return ""

    def passed(left: tuple[Lock, ...]) -> tuple[str, ...]:
        said = []
        for lock in left:
            row = _row(lock, engine, precision)
            name = f"{engine} {lock.packages[engine]}"
            if precision == "none":
                continue
            if row is None:
                said.append(f"whether {name} runs {precision or 'this quantisation'} is not in the table")
                continue
            weak = [each for each in asked.machine.capabilities if row.native and older(each, row.native)]
            if asked.gpu and weak:
                only = f"{precision} on {sm(weak[0])} stores weights only; {sm(row.native)} and newer compute in it"
                said.append(only)
            elif asked.gpu and asked.machine.capabilities and row.least:
                said.append(f"{name} runs {precision} from {sm(row.least)} on")
        return tuple(dict.fromkeys(said))

    return Question(out=out, way=lambda _: (), passed=passed)


def _row(lock: Lock, engine: str, precision: str) -> hardware.PrecisionRow | None:
    return hardware.precision(engine, lock.packages[engine], precision) if precision != "none" else None


@functools.cache
def _holds(lockfile: Path, package: str) -> bool:
    return bool(re.search(rf"^{re.escape(package)}==", lockfile.read_text(encoding="utf-8"), re.MULTILINE))


def _instead(asked: _Asked, engine: str, version: str, precision: str) -> tuple[str, ...]:
    """What in provision.toml alone would give a lock that works: one change each, tried by the same chain."""
    ways = []
    if version and (found := _choose(asked, engine, "", precision).lock):
        ways.append(f"{_named(engine)}: {found.name} holds {found.packages[engine]}")
    for other in (each for each in _OTHERS if each != precision):
        if found := _choose(asked, engine, version, other).lock:
            ways.append(f"{_checkpoint(other, precision)}: {found.name} runs it")
            break
    for other in (each for each in ENGINES if each != engine):
        if found := _choose(asked, other, "", precision).lock:
            ways.append(f"{_named(other)}: {found.name} holds {found.packages[other]}")
    named = asked.spec.accelerator not in ("auto", "cpu")
    if named and (found := _choose(_free(asked), engine, version, precision).lock):
        ways.append(f'accelerator = "{found.accelerator}" or "auto" in provision.toml: {found.name}')
    return tuple(ways)


def _together(asked: _Asked, engine: str, version: str, precision: str) -> tuple[str, ...]:
    """The fewest changes that give a lock together, where no single one does and the chain names no way of its own.

    Where none do, the fewest that leave what the chain knows a way out of (a driver, a card). A change without words is none.
    """
    engines = [("", engine, version), *([(_named(engine), engine, "")] if version else [])]
    engines += [(_named(other), other, "") for other in ENGINES if other != engine]
    precisions = [("", precision), *((_checkpoint(other, precision), other) for other in _OTHERS if other != precision)]
    builds = [("", asked)]
    if asked.spec.accelerator not in ("auto", "cpu"):
        builds.append(('accelerator = "auto" in provision.toml', _free(asked)))
    every = itertools.product(engines, precisions, builds)
    then: tuple[str, ...] = ()
    for one, other, third in sorted(every, key=lambda each: sum(bool(change[0]) for change in each)):
        choice = _choose(third[1], one[1], one[2], other[1])
        words = ", and ".join(filter(None, (one[0], other[0], third[0])))
        if choice.lock:
            return (f"{words}: {choice.lock.name} runs it",)
        if choice.way_out and not then:
            then = (f"{words}, and then: {choice.way_out[0]}",)
    return then or (f"add a variant that serves with {engine} to provision/catalog/variants.toml, then provision lock",)


def _named(engine: str) -> str:
    return f'engine = "{engine}" in [model] of provision.toml'


def _checkpoint(other: str, precision: str) -> str:
    return f"a checkpoint in {'16 bit' if other == 'none' else other} instead of {precision or 'this one'}"


def _free(asked: _Asked) -> _Asked:
    return dataclasses.replace(asked, spec=dataclasses.replace(asked.spec, accelerator="auto"))
