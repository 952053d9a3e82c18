"""The manifest has one spelling, and whatever else it is handed it refuses in words."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from provision.payload.bundle import machine, manifest
from provision.payload.bundle.errors import Refused, shown
from provision.payload.bundle.machine import Here
from provision.payload.bundle.manifest import Asked, MadeFor, Manifest, Member
from tests.bundle.build import FILES, MADE_FOR, ordered, table

TEXT = st.text(alphabet=st.characters(exclude_categories=("Cs",)), max_size=20)
PARTS = st.text(
    alphabet=st.characters(exclude_categories=("C", "Z"), exclude_characters="/\\"), min_size=1, max_size=20
)
PATHS = st.lists(PARTS.filter(lambda part: part not in (".", "..")), min_size=2, max_size=4).map("/".join)
SIZES = st.integers(min_value=0, max_value=manifest.MAX_MEMBER_BYTES)
SUMS = st.binary(min_size=32, max_size=32).map(bytes.hex)


@st.composite
def manifests(draw: st.DrawFn) -> Manifest:
    # Each path in a folder of its own, so that none is another's folder.
    paths = [f"{place}/{path}" for place, path in enumerate(draw(st.lists(PATHS, max_size=5)))]
    paths.sort(key=manifest.order)
    return Manifest(
        tool_version=draw(TEXT),
        made_for=MadeFor(*(draw(TEXT) for _ in range(5))),
        asked=Asked(tuple(draw(st.lists(TEXT, max_size=3))), draw(TEXT), draw(st.booleans()), draw(st.booleans())),
        members=tuple(Member(path, draw(SUMS), draw(SIZES)) for path in paths),
    )


@settings(deadline=None)  # machines that run other things, too
@given(manifests())
def test_what_is_written_is_read_back(one: Manifest) -> None:
    assert manifest.loads(manifest.dumps(one)) == one


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_a_changed_manifest_is_another_or_refused(data: st.DataObject) -> None:
    """Never another exception; and what is read has the spelling it was read from."""
    text = bytearray(manifest.dumps(table(ordered(FILES))))
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(text) - 1))
        text[at : at + data.draw(st.integers(0, 3))] = data.draw(st.binary(max_size=3))
    try:
        assert manifest.dumps(manifest.loads(bytes(text))) == text
    except Refused as refusal:
        assert refusal.message


@settings(deadline=None)
@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | TEXT, lambda v: st.lists(v) | st.dictionaries(TEXT, v)
    )
)
def test_any_json_is_refused_in_words(value: Any) -> None:
    for content in (value, {"schema": 1, "members": value}, {"schema": 1, "members": [value]}, {"schema": value}):
        with pytest.raises(Refused, match=r"manifest\.json"):
            manifest.loads(json.dumps(content).encode())


@pytest.mark.parametrize("data", [b"", b"{", b"\xff", b"[" * 100_000, b"1" * 10_000, b"null", b'{"schema": 1}'])
def test_what_is_no_manifest_is_refused(data: bytes) -> None:
    with pytest.raises(Refused, match=r"manifest\.json"):
        manifest.loads(data)


def test_a_later_schema_names_the_tool_that_reads_it() -> None:
    data = manifest.dumps(table({}, tool_version="9.1")).replace(b'"schema": 1', b'"schema": 2')
    with pytest.raises(Refused, match=r"schema 2, .* made by provision 9\.1: use the \.pyz"):
        manifest.loads(data)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b'"schema": 1', b'"schema":  1'),
        (b'"schema": 1', b'"schema": 1.0'),
        (b'"schema": 1', b'"schema": 1, "schema": 1'),
        (b'"spec": false', b'"spec": 0'),
        (b'"size_bytes": 7', b'"size_bytes": 7.0'),
        (b'"size_bytes": 7', b'"size_bytes": -7'),
        (b'"size_bytes": 7', b'"size_bytes": true'),
        (b'"path": "tool', b'"more": 1, "path": "tool'),
        (b'"members"', b'"more": 1,\n"members"'),
    ],
)
def test_another_spelling_is_refused(old: bytes, new: bytes) -> None:
    """A name twice, a float, a key more: two readers could take them for two things."""
    data = manifest.dumps(table(ordered(FILES)))
    assert old in data
    with pytest.raises(Refused):
        manifest.loads(data.replace(old, new, 1))


@pytest.mark.parametrize("path", ["manifest.json/x", "manifest.json.sig/x"])
def test_a_member_below_a_file_is_refused(path: str) -> None:
    with pytest.raises(Refused, match="is a file"):
        manifest.loads(manifest.dumps(table({path: b"x"})))


def test_a_name_in_a_message_cannot_act_on_a_terminal() -> None:
    assert shown("a\x1b[2J\n\u202eb") == r"a\x1b[2J\n\u202eb"
    assert shown(b"\xff\x00") == r"\xff\x00"
    assert len(shown("x" * 5000)) == 300


# --- the machine ------------------------------------------------------------------------------------------------------


HERE = Here(architecture="x86_64", debian="bookworm", glibc="2.36", python="3.11")


def test_the_machine_it_was_made_for_has_no_difference() -> None:
    assert machine.differences(MADE_FOR, HERE) == ()
    for newer in ("2.37", "2.100", "3.0"):
        assert machine.differences(MADE_FOR, replace(HERE, glibc=newer)) == ()


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("architecture", "aarch64", "architecture: the bundle is for x86_64, this machine has aarch64"),
        ("debian", "trixie", "Debian release: the bundle is for bookworm, this machine has trixie"),
        ("python", "3.13", "Python: the bundle is for 3.11, this machine has 3.13"),
        ("glibc", "2.9", "glibc: the bundle is for 2.36 or newer, this machine has 2.9"),
        ("glibc", "none", "glibc: the bundle is for 2.36 or newer, this machine has none"),
    ],
)
def test_another_machine_is_said_in_words(field: str, value: str, words: str) -> None:
    assert machine.differences(MADE_FOR, replace(HERE, **{field: value})) == (words,)


@pytest.mark.parametrize(
    ("release", "name"),
    [
        ('PRETTY_NAME="Debian GNU/Linux 12 (bookworm)"\nVERSION_CODENAME=bookworm\nID=debian\n', "bookworm"),
        ("ID='debian'\nVERSION_CODENAME=\"trixie\"\n", "trixie"),
        ("ID=debian\n", "an unknown one"),  # testing and unstable have no code name
        ("ID=devuan\nID_LIKE=debian\nVERSION_CODENAME=bookworm\n", "devuan"),
        ("", "an unknown one"),
    ],
)
def test_only_debian_is_taken_for_debian(release: str, name: str) -> None:
    assert machine.debian(release) == name


def test_this_machine_is_looked_at() -> None:
    here = machine.look()
    said = subprocess.run(["uname", "-m"], capture_output=True, text=True, check=True).stdout.strip()
    assert here.architecture == said
    assert (
        f"Python {here.python}."
        in subprocess.run([sys.executable, "-V"], capture_output=True, text=True, check=True).stdout
    )
