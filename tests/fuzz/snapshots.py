"""Fuzz the snapshot loader: any bytes, and real snapshots with any part exchanged, load or give one UsageError.

usage: .venv-fuzz/bin/python tests/fuzz/snapshots.py [-runs=500000]

The first byte chooses: even, the rest is read as a file's text; odd, it says which parts of a snapshot with the records
of two facts (from tests/facts) are exchanged, and for what.
"""

from __future__ import annotations

import copy
import json
from typing import Any

import atheris
import seeds

with atheris.instrument_imports(include=["provision.fact", "provision.codec"]):
    from provision import facts, road
    from provision.errors import UsageError
    from provision.fact import SCHEMA, Snapshot

facts.load()


def recorded() -> dict[str, Any]:
    """A snapshot with one known record of every fact that has a recording."""
    known: dict[str, Any] = {}
    for path in sorted((seeds.ROOT / "tests/facts").glob("*/*.json")):
        expect = json.loads(path.read_text())["expect"]
        if "known" in expect:
            known.setdefault(path.parent.name, expect)
    return {"schema": SCHEMA, "tool_version": "0", "machine": "m", "facts": known}


WHOLE = recorded()
NAMES = sorted(WHOLE["facts"])
WORDS = ("known", "missing", "absent", "schema", "facts", "machine", "version", "x", "")


def value(data: atheris.FuzzedDataProvider, depth: int = 0) -> Any:
    """Any JSON value."""
    kind = data.ConsumeIntInRange(0, 9 if depth < 3 else 6)
    if kind < 3:
        return (None, True, False)[kind]
    if kind == 3:
        return data.ConsumeInt(8)
    if kind == 4:
        return data.ConsumeFloat()
    if kind == 5:
        return data.ConsumeUnicode(12)
    if kind == 6:
        return data.PickValueInList(list(WORDS))
    many = range(data.ConsumeIntInRange(0, 3))
    if kind == 7:
        return [value(data, depth + 1) for _ in many]
    return {data.PickValueInList(list(WORDS)): value(data, depth + 1) for _ in many}


def exchange(data: atheris.FuzzedDataProvider, whole: dict[str, Any]) -> None:
    """Walk to a random place, and replace, remove or add what is there."""
    here: Any = whole
    while True:
        keys = sorted(here) if isinstance(here, dict) else list(range(len(here)))
        if not keys:
            break
        key = keys[data.ConsumeIntInRange(0, len(keys) - 1)]
        if isinstance(here[key], (dict, list)) and data.ConsumeIntInRange(0, 4):
            here = here[key]
            continue
        if data.ConsumeBool():
            here[key] = value(data)
        else:
            del here[key]
        return
    if isinstance(here, dict):
        here[data.PickValueInList(list(WORDS))] = value(data)
    else:
        here.append(value(data))


def one(data: bytes) -> None:
    """One execution."""
    try:
        if data[:1] and data[0] % 2:
            provider = atheris.FuzzedDataProvider(data[1:])
            names = {provider.PickValueInList(NAMES) for _ in range(2)}
            changed = copy.deepcopy(WHOLE | {"facts": {name: WHOLE["facts"][name] for name in names}})
            for _ in range(provider.ConsumeIntInRange(1, 4)):
                exchange(provider, changed)
            read = Snapshot.from_json(changed, "fuzzed")
        else:
            read = road.parse_snapshot(data[1:], "fuzzed")
    except UsageError as error:
        if not error.message.startswith("fuzzed: "):
            raise AssertionError("an error names its file") from error
        return
    again = Snapshot.from_json(read.to_json(), "again")
    if repr(again.to_json()) != repr(read.to_json()):  # repr: NaN is not equal to itself
        raise AssertionError("what was loaded is not what the records allow")


if __name__ == "__main__":
    text = json.dumps(WHOLE | {"facts": {"Memory": WHOLE["facts"]["Memory"]}}).encode()
    start = [b"\0" + text, b"\0{}", b'\0{"schema": 1, "facts": {}}', *(bytes([1, n]) * 40 for n in range(64))]
    atheris.Setup(seeds.options(start), one)
    atheris.Fuzz()
