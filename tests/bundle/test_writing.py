"""The same inputs give the same bytes, in little memory, whole or not at all."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from provision.bundle import content, signing, writing
from provision.errors import ChangeError, UsageError
from provision.payload.bundle import layout, manifest
from provision.payload.bundle.verify import verify
from tests.bundle.build import FILES, Keys, ordered, raw_members, table, write

ALONE = Path(__file__).parents[1] / "alone.py"


def test_twice_the_same_bytes(good: Path, keys: Keys, tmp_path: Path) -> None:
    assert write(tmp_path / "again.bundle", keys.me, FILES).read_bytes() == good.read_bytes()


def test_where_files_lie_and_when_they_were_written_does_not_matter(keys: Keys, tmp_path: Path) -> None:
    made = []
    for number, folder in enumerate((tmp_path / "one", tmp_path / "two/three")):
        for path, data in FILES.items():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_bytes(data)
            (folder / path).chmod(0o600 + 0o111 * number)
            os.utime(folder / path, (number, number))
        found = sorted(content.from_folder("model", folder), key=lambda one: manifest.order(one.member.path))
        data = manifest.dumps(table({}, members=tuple(one.member for one in found)))
        made.append(folder.parent / "site.bundle")
        writing.write(made[-1], data, signing.sign(keys.me, data), found)
    assert made[0].read_bytes() == made[1].read_bytes()


def test_the_length_is_known_before_and_the_sum_after(good: Path, keys: Keys, tmp_path: Path) -> None:
    files = ordered(FILES)
    data = manifest.dumps(table(files))
    armoured = signing.sign(keys.me, data)
    path = tmp_path / "site.bundle"
    written = writing.write(path, data, armoured, [content.literal(p, d) for p, d in files.items()])
    assert written.size_bytes == path.stat().st_size == manifest.total_bytes(table(files), len(data), len(armoured))
    said = subprocess.run(["sha256sum", path], capture_output=True, text=True, check=True).stdout
    assert written.sha256 == said.split()[0]


@pytest.mark.parametrize("size_bytes", [0, 1, 8 << 30, (8 << 30) - 1, 700 << 30])
@pytest.mark.parametrize("name", ["a", "n" * 100, "n" * 101, "ä" * 60])
def test_other_programs_read_these_headers(size_bytes: int, name: str) -> None:
    """GNU tar says the same name and size, for what no octal field holds as well."""
    raw = layout.header(name, size_bytes)
    said = subprocess.run(
        ["tar", "--list", "--verbose", "--file", "-"], input=raw, capture_output=True, text=False, check=False,
        env={**os.environ, "LC_ALL": "C.UTF-8"},
    ).stdout.decode()  # fmt: skip
    fields = said.splitlines()[0].split()
    assert (fields[1], fields[2], fields[-1]) == ("0/0", str(size_bytes), name)


def test_a_file_that_changed_since_it_was_listed_stops_the_writing(keys: Keys, tmp_path: Path) -> None:
    source = tmp_path / "model.bin"
    path = tmp_path / "site.bundle"
    path.write_text("earlier")
    for change in (b"x" * 5000, b"y" * 4999, b"y" * 5001):
        source.write_bytes(b"y" * 5000)
        one = content.from_file("model/model.bin", source)
        data = manifest.dumps(table({}, members=(one.member,)))
        source.write_bytes(change)
        if len(change) > 5000:  # what is read is what was listed: the rest is not looked at
            writing.write(path, data, signing.sign(keys.me, data), [one])
            assert verify(path, keys.allowed)
        else:
            with pytest.raises(ChangeError, match=r"model\.bin changed"):
                writing.write(path, data, signing.sign(keys.me, data), [one])
            assert path.read_text() == "earlier"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["model.bin", "site.bundle"]


# --- what goes in -----------------------------------------------------------------------------------------------------


def test_a_link_to_a_file_is_the_file(tmp_path: Path) -> None:
    """A hub's cache keeps a model as links into a folder of blobs."""
    (tmp_path / "blobs").mkdir()
    (tmp_path / "blobs/1").write_bytes(b"weights")
    (tmp_path / "snapshot").mkdir()
    (tmp_path / "snapshot/model.safetensors").symlink_to("../blobs/1")
    (one,) = content.from_folder("model", tmp_path / "snapshot")
    assert (one.member.path, one.member.size_bytes) == ("model/model.safetensors", 7)


@pytest.mark.parametrize(
    ("what", "words"),
    [
        ("a pipe", "only plain files go into a bundle"),
        ("a device", "only plain files go into a bundle"),
        ("a dangling link", "No such file or directory"),
        ("a link to a folder", "a link to a folder"),
        ("no text", "a character that no path of a bundle has"),
        ("a line break", "a character that no path of a bundle has"),
        ("deep", "too long"),
    ],
)
def test_what_cannot_be_carried_is_refused_by_name(tmp_path: Path, what: str, words: str) -> None:
    path = tmp_path / "model" / "odd"
    path.parent.mkdir()
    if what == "a pipe":
        os.mkfifo(path)
    elif what == "a device":
        path.symlink_to("/dev/zero")
    elif what == "a dangling link":
        path.symlink_to("gone")
    elif what == "a link to a folder":
        path.symlink_to(".")
    elif what == "deep":
        (path / "/".join(["d"] * 600)).mkdir(parents=True)
    else:
        path = path.with_name("odd\udcff" if what == "no text" else "odd\n")
        path.touch()
    with pytest.raises(UsageError, match=words) as caught:
        list(content.from_folder("model", path.parent))
    assert str(path.parent / "odd") in caught.value.message


# --- an end at any moment ---------------------------------------------------------------------------------------------


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    """A file system of 8 MiB."""
    if os.geteuid() != 0:
        pytest.skip("no small file system: needs root")
    folder = tmp_path / "small"
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", folder], check=True)
    yield folder
    subprocess.run(["umount", folder], check=True)


def large(keys: Keys, tmp_path: Path, size_bytes: int) -> tuple[bytes, bytes, content.Content]:
    source = tmp_path / "large.bin"
    with source.open("wb") as out:
        out.truncate(size_bytes)
    one = content.from_file("model/large.bin", source)
    data = manifest.dumps(table({}, members=(one.member,)))
    return data, signing.sign(keys.me, data), one


def test_a_full_disk_leaves_the_earlier_file(keys: Keys, small: Path, tmp_path: Path) -> None:
    path = small / "site.bundle"
    path.write_text("earlier")
    data, armoured, one = large(keys, tmp_path, 16 << 20)
    with pytest.raises(
        ChangeError, match="No space left on device; nothing of it was left, the earlier file stands"
    ) as caught:
        writing.write(path, data, armoured, [one])
    assert caught.value.next_command == f"df -h {small}"
    assert {p.name: p.read_text() for p in small.iterdir()} == {"site.bundle": "earlier"}
    with pytest.raises(ChangeError, match="the bundle takes 17 MiB"):
        writing.need_room(path, 16 << 20)


KILLED = """
import os, signal, sys
from pathlib import Path
from provision.bundle import writing
if sys.argv[2] == "named":
    real = os.open
    def refuse(path, flags, *more, **named):
        if flags & os.O_TMPFILE == os.O_TMPFILE:
            raise OSError(95, "Operation not supported")
        return real(path, flags, *more, **named)
    os.open = refuse
step = sys.argv[3]
if step == "before the rename":
    os.replace = os.rename = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
with writing.whole(Path(sys.argv[1])) as out:
    out.write(b"half" * 1000000)
    out.flush()
    if step == "in the middle":
        os.kill(os.getpid(), signal.SIGKILL)
    if step == "interrupted":
        raise KeyboardInterrupt
"""


@pytest.mark.parametrize("how", ["nameless", "named"])
@pytest.mark.parametrize("step", ["in the middle", "before the rename", "interrupted"])
def test_killed_at_any_moment_the_earlier_file_stands(tmp_path: Path, how: str, step: str) -> None:
    path = tmp_path / "site.bundle"
    path.write_text("earlier")
    done = subprocess.run([sys.executable, "-c", KILLED, path, how, step], capture_output=True, check=False)
    assert done.returncode != 0
    assert path.read_text() == "earlier"
    left = [p.name for p in tmp_path.iterdir() if p.name != "site.bundle"]
    if (how == "nameless" and step == "in the middle") or step == "interrupted":
        assert left == [], "nothing has a name before it is whole"
    with writing.whole(path) as out:
        out.write(b"new")
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == {"site.bundle": b"new"}


def test_a_folder_without_leave_is_said(tmp_path: Path) -> None:
    with pytest.raises(ChangeError, match="nothing of it was left"), writing.whole(Path("/proc/site.bundle")) as out:
        out.write(b"x")


STREAM = """
import sys
from pathlib import Path
from provision.bundle import content, signing, writing
from provision.payload.bundle import manifest
from provision.payload.bundle.manifest import Asked, MadeFor, Manifest
folder, out, key = map(Path, sys.argv[1:])
found = sorted(content.from_folder("model", folder), key=lambda one: manifest.order(one.member.path))
made_for = MadeFor(architecture="", debian="", glibc="", python="", lock="")
table = Manifest("0", made_for, Asked((), "", False, False), tuple(one.member for one in found))
data = manifest.dumps(table)
writing.write(out, data, signing.sign(key, data), found)
"""
CHECK = """
import sys
from pathlib import Path
from provision.payload.bundle.verify import verify
verify(Path(sys.argv[1]), Path(sys.argv[2]))
"""


def test_memory_does_not_grow_with_the_size(keys: Keys, tmp_path: Path) -> None:
    """256 MiB take as much as nothing, to write and to check; ``docs/measured.md`` has a whole creation."""
    peaks = {}
    for name, size_bytes in (("small", 1 << 10), ("large", 1 << 28)):
        folder = tmp_path / name
        folder.mkdir()
        with (folder / "weights.bin").open("wb") as out:
            out.truncate(size_bytes)
        bundle = tmp_path / f"{name}.bundle"
        for what, command in (
            ("write", [sys.executable, "-c", STREAM, folder, bundle, keys.me]),
            ("check", [sys.executable, "-c", CHECK, bundle, keys.allowed]),
        ):
            report = tmp_path / "report"
            subprocess.run([sys.executable, "-IS", ALONE, report, *command], check=True)
            used = json.loads(report.read_text())
            assert used["status"] == 0
            peaks[what, name] = used["peak_bytes"]
        bundle.unlink()
    for what in ("write", "check"):
        assert peaks[what, "large"] < peaks[what, "small"] + (24 << 20), peaks
        assert peaks[what, "large"] < 200 << 20


def test_members_stand_one_after_the_other(good: Path) -> None:
    """The raw members are the whole file but for its end: what the tests of the reader change is all there is."""
    assert b"".join(raw_members(good).values()) + bytes(1024) == good.read_bytes()
