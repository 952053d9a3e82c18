"""Any text and any JSON: a result or one clear error, never a traceback (tests/fuzz does the same for longer)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from provision import check, codec, facts, road
from provision.errors import UsageError
from provision.fact import FACTS, SCHEMA, NotKnown, Snapshot
from provision.paste import recognise
from provision.paste.snapshot import snapshot
from provision.spec import Spec

facts.load()
DUMPS = sorted((Path(__file__).parent / "dumps").iterdir())
LINES = sorted({line for path in DUMPS for line in path.read_text().splitlines() if line.strip()})
RECORDS = {
    path.parent.name: json.loads(path.read_text())["expect"]
    for path in sorted((Path(__file__).parents[1] / "facts").glob("*/*.json"))
    if "known" in json.loads(path.read_text())["expect"]
}

broken = st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=30)


@st.composite
def damaged(draw: st.DrawFn) -> str:
    """A real line with something written over it, or any line."""
    line = draw(st.sampled_from(LINES))
    at = draw(st.integers(0, len(line)))
    return line[:at] + draw(broken) + line[at + draw(st.integers(0, 12)) :]


def survives(text: str) -> None:
    """Read as a dump, judged, written and read again."""
    try:
        read = snapshot([("dump", text)], [("log", text)])
    except UsageError as error:
        assert recognise.kind(text) is None
        assert "\n" not in error.message
        return
    assert recognise.kind(text) is not None
    for name, value in read.facts.items():
        if not isinstance(value, NotKnown):
            assert codec.load(FACTS[name], json.loads(json.dumps(codec.dump(value)))) == value
    crashed = [r for r in road.diagnose_pasted(read, Spec(), None, "2026-11-24").results if r.outcome == "crashed"]
    assert not crashed, crashed[0].reason


@settings(max_examples=200, deadline=None)
@given(st.lists(st.one_of(st.sampled_from(LINES), damaged(), broken), max_size=30).map("\n".join))
def test_any_mixture_of_dumps_is_read_and_judged(text: str) -> None:
    survives(text)


@settings(max_examples=100, deadline=None)
@given(st.text(max_size=300))
def test_any_text_is_read_or_refused(text: str) -> None:
    survives(text)


JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=8)),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=8), inner, max_size=3)),
    max_leaves=8,
)


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Every place in a JSON value."""
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(found for key, inner in inside for found in places(inner, (*path, key)))]


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_a_snapshot_with_any_part_exchanged_loads_or_is_refused(data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(sorted(RECORDS)))
    whole = json.loads(
        json.dumps({"schema": SCHEMA, "tool_version": "0", "machine": "m", "facts": {name: RECORDS[name]}})
    )
    place = data.draw(st.sampled_from(places(whole)))
    value = data.draw(JSON)
    if place:
        here = whole
        for key in place[:-1]:
            here = here[key]
        here[place[-1]] = value
    else:
        whole = value
    try:
        read = Snapshot.from_json(whole, "f.json")
    except UsageError as error:
        assert error.message.startswith("f.json: ")
        return
    assert repr(Snapshot.from_json(read.to_json()).to_json()) == repr(read.to_json())  # repr: NaN differs from itself


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"[" * 100_000, "nested too deeply"),
        (b"\xff\xfe", "no JSON: 'utf-8' codec can't decode byte 0xff in position 0: invalid start byte"),
        (b'{"schema": ' + b"9" * 5000 + b"}", "no JSON: Exceeds the limit (4300 digits) for integer string conversion"),
        (b"PyTorch version: 2.8.0\n", "no JSON: Expecting value: line 1 column 1 (char 0)"),
        (b" \n", "it is empty"),
    ],
)
def test_what_is_no_snapshot_is_said_in_one_line(data: bytes, why: str) -> None:
    with pytest.raises(UsageError) as raised:
        road.parse_snapshot(data, "f.json")
    assert raised.value.message.startswith(f"f.json: not a snapshot: {why}")


def test_every_check_bears_an_empty_paste() -> None:
    results = road.diagnose_pasted(snapshot([], []), Spec(), None, "2026-11-24").results
    assert {r.outcome for r in results} <= {"unknown", "skipped"}
    assert len(results) == len(check.CHECKS)
