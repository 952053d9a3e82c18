"""Records to JSON and back, strictly: the messages are what a user reads about a bad file."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from provision import codec
from provision.errors import CodecError


@dataclass(frozen=True, kw_only=True, slots=True)
class Card:
    name: str
    memory_bytes: int
    share: float = 0.5
    mode: Literal["on", "off"] | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Machine:
    cards: tuple[Card, ...]
    first: Card | None
    pair: tuple[str, int] = ("a", 1)
    labels: dict[str, str | None] = field(default_factory=dict)
    ready: bool = False
    anything: Any = None


GOOD = {"cards": [{"name": "H100", "memory_bytes": 1}], "first": None}


def test_a_record_comes_back() -> None:
    machine = codec.load(Machine, {**GOOD, "labels": {"a": None}, "pair": ["b", 2], "first": GOOD["cards"][0]})
    assert machine.first == machine.cards[0] == Card(name="H100", memory_bytes=1)
    assert codec.load(Machine, json.loads(codec.dumps(machine))) == machine


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"cards": [{"name": "H100", "memory_bytes": "8"}]}, "cards[0].memory_bytes: expected int, got str"),
        ({"cards": [{"name": "H100", "memory_bytes": True}]}, "cards[0].memory_bytes: expected int, got bool"),
        ({"cards": [{"name": "H100", "memory_bytes": 8.0}]}, "cards[0].memory_bytes: expected int, got float"),
        ({"cards": [{"name": "H100", "memory_bytes": None}]}, "cards[0].memory_bytes: expected int, got null"),
        ({"cards": [{"name": "H100"}]}, "cards[0].memory_bytes: missing; expected int"),
        (
            {"cards": [{"name": "H100", "memory_byte": 8, "memory_bytes": 8}]},
            'cards[0].memory_byte: unknown key (did you mean "memory_bytes"?)',
        ),
        ({"nothing_like_it": 1}, "nothing_like_it: unknown key"),
        ({"cards": "H100"}, "cards: expected a list, got str"),
        ({"cards": [3]}, "cards[0]: expected a table, got int"),
        ({"first": 3}, "first: expected a table, got int"),
        ({"pair": ["a"]}, "pair: expected a list of 2, got 1"),
        ({"pair": ["a", "b"]}, "pair[1]: expected int, got str"),
        ({"labels": {"tag": 3}}, "labels.tag: expected str or null, got int"),
        ({"labels": []}, "labels: expected a table, got a list"),
        ({"ready": 1}, "ready: expected bool, got int"),
        (
            {"cards": [{"name": "x", "memory_bytes": 1, "mode": "onn"}]},
            "cards[0].mode: expected one of 'on', 'off', got 'onn'",
        ),
    ],
)
def test_what_is_wrong_is_said_with_its_path(change: dict[str, object], message: str) -> None:
    with pytest.raises(CodecError) as raised:
        codec.load(Machine, {**GOOD, **change})
    assert raised.value.message == message


def test_a_whole_number_is_a_float_and_not_the_other_way_round() -> None:
    assert codec.load(Card, {"name": "x", "memory_bytes": 1, "share": 1}).share == 1.0
    with pytest.raises(CodecError):
        codec.load(Card, {"name": "x", "memory_bytes": 1.0})


def test_the_same_value_gives_the_same_bytes() -> None:
    one, two = {"b": 1, "a": ("ü", 2)}, {"a": ["ü", 2], "b": 1}
    assert codec.dumps(one) == codec.dumps(two) == '{\n  "a": [\n    "ü",\n    2\n  ],\n  "b": 1\n}\n'
    assert codec.digest(one) == codec.digest(two) != codec.digest({"b": 2, "a": ("ü", 2)})


CARDS = st.builds(
    Card,
    name=st.text(),
    memory_bytes=st.integers(),
    share=st.floats(allow_nan=False),
    mode=st.sampled_from(["on", "off", None]),
)
MACHINES = st.builds(
    Machine,
    cards=st.lists(CARDS, max_size=3).map(tuple),
    first=st.none() | CARDS,
    pair=st.tuples(st.text(), st.integers()),
    labels=st.dictionaries(st.text(), st.none() | st.text(), max_size=3),
    ready=st.booleans(),
)


@given(MACHINES)
def test_any_record_survives_json(machine: Machine) -> None:
    assert codec.load(Machine, json.loads(codec.dumps(machine))) == machine
