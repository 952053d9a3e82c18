"""Facts, probes, snapshots: every answer keeps its reason, and no probe can hold up another.

(Annotations are evaluated here, not kept as text: the facts are local to their tests.)
"""

import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from provision import fact as facts
from provision.errors import UsageError
from provision.fact import Absent, Missing, Snapshot, collect, fact, needs_of, probe
from provision.host import Host
from provision.recorded import RecordedHost


@pytest.fixture(autouse=True)
def own_registry(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A registry of our own, so that these facts meet no real ones."""
    monkeypatch.setattr(facts, "FACTS", {})
    monkeypatch.setattr(facts, "PROBES", {})
    yield


def engine_and_room() -> tuple[Any, Any]:
    @fact
    class Engine:
        version: str

    @fact
    class Room:
        free_bytes: int
        of: str

    @probe
    def engine(host: Host) -> Engine:
        """The engine."""
        return Engine(version=host.read("/engine").strip())

    @probe
    def room(host: Host, engine: Engine) -> Room:
        """Its room."""
        return Room(free_bytes=int(host.read("/room")), of=engine.version)

    return Engine, Room


def look(answers: dict[str, Any], only: list[str] | None = None) -> dict[str, Any]:
    return collect(RecordedHost(answers), "m", "0.1", only).facts


def test_a_probe_gets_what_it_asks_for() -> None:
    engine, room = engine_and_room()
    found = look({"read /engine": {"known": "28.3\n"}, "read /room": {"known": "7"}})
    assert found == {"Engine": engine(version="28.3"), "Room": room(free_bytes=7, of="28.3")}


@pytest.mark.parametrize("reason", [Absent("/engine is not there"), Missing("/engine: permission denied")])
def test_what_is_not_known_travels_to_those_who_need_it(reason: Absent | Missing) -> None:
    engine_and_room()
    found = look({"read /engine": {type(reason).__name__.lower(): reason.reason}, "read /room": {"known": "7"}})
    assert found == {"Engine": reason, "Room": type(reason)(f"needs Engine: {reason.reason}")}


def test_a_bug_in_a_probe_is_said_and_hides_no_neighbour() -> None:
    engine, _ = engine_and_room()
    found = look({"read /engine": {"known": "28.3"}, "read /room": {"known": "plenty"}})
    assert found["Engine"] == engine(version="28.3")
    assert found["Room"] == Missing(
        "the probe Room failed on this machine: ValueError: invalid literal for int() with base 10: 'plenty'"
    )


def test_only_what_is_asked_for_and_what_it_needs_is_looked_at() -> None:
    engine_and_room()
    assert set(look({}, ["Engine"])) == {"Engine"}
    assert set(look({}, ["Room"])) == {"Engine", "Room"}


def test_a_parameter_may_ask_for_the_reason() -> None:
    engine, _ = engine_and_room()

    def judge(host: Host, one: engine | Absent | Missing, name: str) -> None:
        """Never called."""

    assert needs_of(judge, ("host", "name")) == (("one", engine, (Absent, Missing)),)


@pytest.mark.parametrize(("patience", "known"), [(None, False), (10.0, True)])
def test_a_probe_that_takes_long_is_waited_for_by_who_asks_for_it(
    monkeypatch: pytest.MonkeyPatch, patience: float | None, known: bool
) -> None:
    monkeypatch.setattr(facts, "SILENCE_SECONDS", 0.05)
    enough = threading.Event()

    @fact
    class Long:
        x: int

    @probe
    def long(host: Host) -> Long:
        """Takes its time."""
        enough.wait(1.0)
        return Long(x=1)

    found = collect(RecordedHost({}), "m", "0", ["Long"], patience).facts["Long"]
    enough.set()
    assert isinstance(found, Long) is known
    assert known or found == Missing("the probe Long gave no answer in 0.05 s")


def test_probes_run_side_by_side_and_one_that_never_answers_is_left_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(facts, "SILENCE_SECONDS", 0.3)
    never, met = threading.Event(), threading.Barrier(2, timeout=10)

    @fact
    class Slow:
        x: int

    @fact
    class Quick:
        x: int

    @fact
    class After:
        x: int

    @probe
    def slow(host: Host) -> Slow:
        """Waits for ever, as a read on a dead file system does."""
        met.wait()
        never.wait()
        return Slow(x=1)

    @probe
    def quick(host: Host) -> Quick:
        """Meets the slow one while it runs."""
        met.wait()
        return Quick(x=2)

    @probe
    def after(host: Host, slow: Slow) -> After:
        """Needs the slow one."""
        return After(x=slow.x)

    found = look({})
    never.set()
    gave_up = "the probe Slow gave no answer in 0.3 s"
    assert found == {"Quick": Quick(x=2), "Slow": Missing(gave_up), "After": Missing(f"needs Slow: {gave_up}")}


def test_probes_that_wait_for_each_other_are_a_mistake_of_ours() -> None:
    @fact
    class Hen:
        x: int

    @fact
    class Egg:
        x: int

    @probe
    def hen(host: Host, egg: Egg) -> Hen:
        """From the egg."""
        return Hen(x=egg.x)

    @probe
    def egg(host: Host, hen: Hen) -> Egg:
        """From the hen."""
        return Egg(x=hen.x)

    with pytest.raises(TypeError, match=r"^probes wait for each other: Egg, Hen$"):
        look({})


def test_one_name_one_fact_one_probe() -> None:
    engine, _ = engine_and_room()
    with pytest.raises(TypeError, match=r"^two facts are called Engine$"):

        @fact
        class Engine:
            version: str

    with pytest.raises(TypeError, match=r"^again must return a fact that no other probe makes$"):

        @probe
        def again(host: Host) -> engine:
            """A second probe for the same fact."""


# --- snapshots --------------------------------------------------------------------------------------------------------


def test_a_snapshot_comes_back_with_every_state() -> None:
    engine, _ = engine_and_room()
    snapshot = Snapshot("gpu-07", {"Room": Missing("no answer"), "Engine": engine(version="28.3")}, "0.3")
    value = json.loads(json.dumps(snapshot.to_json()))
    assert value == {
        "schema": 1,
        "tool_version": "0.3",
        "machine": "gpu-07",
        "facts": {"Engine": {"known": {"version": "28.3"}}, "Room": {"missing": "no answer"}},
    }
    again = Snapshot.from_json(value)
    assert (again.machine, again.tool_version, again.facts) == ("gpu-07", "0.3", snapshot.facts)


def test_a_fact_whose_shape_has_changed_becomes_missing_and_the_rest_loads() -> None:
    engine, room = engine_and_room()
    old = {
        "Engine": {"known": {"version": "28.3"}},
        "Room": {"known": {"free_bytes": 7}},
        "Forgotten": {"known": {"x": 1}},
    }
    loaded = Snapshot.from_json({"schema": 1, "tool_version": "0.3", "machine": "m", "facts": old})
    assert loaded.facts == {
        "Engine": engine(version="28.3"),
        "Room": Missing("recorded by 0.3, whose Room this version cannot read (of: missing; expected str)"),
    }
    assert loaded.known(engine) == engine(version="28.3")
    assert loaded.known(room) is None


def test_a_fact_nobody_looked_for_is_missing() -> None:
    engine, _ = engine_and_room()
    assert Snapshot("m", {}, "0").get(engine) == Missing("Engine was not looked at")


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ([], "f.json: not a snapshot; expected the output of 'provision facts -o FILE'"),
        ({"facts": []}, "f.json: not a snapshot; expected the output of 'provision facts -o FILE'"),
        ({"facts": {}, "schema": 2}, "f.json: snapshot schema 2; this version reads 1"),
        ({"facts": {"Engine": 3}, "schema": 1}, "f.json: facts.Engine: expected one of known, absent, missing"),
        (
            {"facts": {"Engine": {"gone": "x"}}, "schema": 1},
            "f.json: facts.Engine: expected one of known, absent, missing, got 'gone'",
        ),
    ],
)
def test_what_is_no_snapshot_is_refused(value: Any, message: str) -> None:
    engine_and_room()
    with pytest.raises(UsageError) as raised:
        Snapshot.from_json(value, "f.json")
    assert raised.value.message == message


def test_absent_and_missing_are_never_the_same() -> None:
    assert Absent("x") == Absent("x") != Missing("x")
    assert len({Absent("x"), Absent("x"), Missing("x")}) == 2


@dataclass(frozen=True, kw_only=True, slots=True)
class Any1:
    text: str
    numbers: tuple[int, ...]
    maybe: float | None


RECORDS = st.builds(
    Any1,
    text=st.text(),
    numbers=st.lists(st.integers()).map(tuple),
    maybe=st.none() | st.floats(allow_nan=False),
)
ANSWERS = RECORDS | st.builds(Absent, st.text()) | st.builds(Missing, st.text())


@given(ANSWERS, st.text())
def test_any_snapshot_survives_json(answer: Any, machine: str) -> None:
    facts.FACTS["Any1"] = Any1
    snapshot = Snapshot(machine, {"Any1": answer}, "0")
    again = Snapshot.from_json(json.loads(json.dumps(snapshot.to_json())))
    assert again.facts == snapshot.facts
    assert again.to_json() == snapshot.to_json()
