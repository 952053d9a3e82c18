"""A record is what a frozen, keyword-only dataclass is, to everything that looks at it."""

from __future__ import annotations

import copy
import dataclasses
import pickle
from typing import Any

import pytest

from provision.record import record


@record
class Disk:
    """A disk."""

    name: str
    size_bytes: int
    tags: tuple[str, ...] = ()
    labels: dict[str, str] = dataclasses.field(default_factory=dict)

    @property
    def empty(self) -> bool:
        return self.size_bytes == 0


@dataclasses.dataclass(frozen=True, kw_only=True)
class Peer:
    """The same, as the standard library makes it."""

    name: str
    size_bytes: int
    tags: tuple[str, ...] = ()
    labels: dict[str, str] = dataclasses.field(default_factory=dict)


@record
class Small:
    a: int
    b: str = "b"


def test_fields_defaults_and_methods() -> None:
    one = Disk(name="sda", size_bytes=0)
    assert (one.name, one.size_bytes, one.tags, one.labels, one.empty) == ("sda", 0, (), {}, True)
    assert [f.name for f in dataclasses.fields(Disk)] == [f.name for f in dataclasses.fields(Peer)]
    assert one.labels is not Disk(name="sda", size_bytes=0).labels
    assert dataclasses.is_dataclass(Disk) and Disk.__doc__ == "A disk." and Small.__doc__ == "Small"
    assert dataclasses.asdict(one) == dataclasses.asdict(Peer(name="sda", size_bytes=0))


def test_equal_and_hashed_by_value_and_type() -> None:
    assert Small(a=1) == Small(a=1, b="b") != Small(a=2)
    assert hash(Small(a=1)) == hash(Small(a=1)) and len({Small(a=1), Small(a=1), Small(a=2)}) == 2
    assert Small(a=1) != (1, "b")

    @record
    class Other:
        a: int
        b: str = "b"

    assert Other(a=1) != Small(a=1)
    with pytest.raises(TypeError, match="unhashable"):
        hash(Disk(name="sda", size_bytes=1))


@pytest.mark.parametrize(
    "change", [lambda s: setattr(s, "a", 2), lambda s: delattr(s, "a"), lambda s: setattr(s, "c", 2)]
)
def test_never_changed(change: Any) -> None:
    one = Small(a=1)
    with pytest.raises(dataclasses.FrozenInstanceError):
        change(one)
    assert one == Small(a=1)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({}, r"Small.__init__\(\) missing 1 required keyword-only argument: 'a'"),
        ({"a": 1, "c": 2}, r"Small.__init__\(\) got an unexpected keyword argument 'c'"),
    ],
)
def test_wrong_arguments_are_refused(given: dict[str, Any], message: str) -> None:
    with pytest.raises(TypeError, match=message):
        Small(**given)
    with pytest.raises(TypeError, match="positional"):
        Small(1)  # type: ignore[misc]


def test_replace_copy_and_repr() -> None:
    one = Small(a=1, b="x")
    assert dataclasses.replace(one, a=3) == Small(a=3, b="x") and one.a == 1
    assert copy.deepcopy(one) == one == pickle.loads(pickle.dumps(one))
    assert repr(one) == "Small(a=1, b='x')"


def test_own_methods_stand() -> None:
    @record
    class Quiet:
        secret: str

        def __repr__(self) -> str:
            return "Quiet()"

    assert repr(Quiet(secret="s")) == "Quiet()"
