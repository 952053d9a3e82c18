"""Unpacked whole or not at all, over nothing, and out of nothing but a bundle that is right."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from provision.payload.bundle import layout, manifest, walk
from provision.payload.bundle.errors import BundleError, Misused, NotDone, Refused
from provision.payload.bundle.manifest import Member
from provision.payload.bundle.unpack import unpack
from tests.bundle.build import FILES, Keys, raw_members, table, write


def tree(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_what_is_unpacked_is_what_was_bundled(good: Path, keys: Keys, tmp_path: Path) -> None:
    destination = tmp_path / "site"
    verified = unpack(good, destination, keys.allowed)
    head = {manifest.NAME: verified.head[0], manifest.SIGNATURE_NAME: verified.head[1]}
    assert tree(destination) == {**FILES, **head}
    modes = {oct(p.stat().st_mode) for p in destination.rglob("*")}
    assert modes <= {"0o100644", "0o40755"} and oct(destination.stat().st_mode) == "0o40755"
    assert [p.name for p in tmp_path.iterdir()] == ["site"]


@pytest.mark.parametrize("there", ["folder", "file", "link", "dangling link"])
def test_nothing_is_overwritten(good: Path, keys: Keys, tmp_path: Path, there: str) -> None:
    destination = tmp_path / "site"
    if there == "folder":
        destination.mkdir()
    elif there == "file":
        destination.write_text("mine")
    else:
        destination.symlink_to(tmp_path if there == "link" else tmp_path / "gone")
    before = sorted(os.lstat(p).st_ino for p in tmp_path.rglob("*"))
    with pytest.raises(Misused) as caught:
        unpack(good, destination, keys.allowed)
    assert (caught.value.exit_code, "nothing is overwritten" in caught.value.message) == (2, True)
    assert sorted(os.lstat(p).st_ino for p in tmp_path.rglob("*")) == before


def test_a_folder_that_is_not_there_is_a_wrong_call(good: Path, keys: Keys, tmp_path: Path) -> None:
    with pytest.raises(Misused):
        unpack(good, tmp_path / "no" / "site", keys.allowed)


def test_a_wrong_last_byte_leaves_nothing(good: Path, keys: Keys, tmp_path: Path) -> None:
    data = bytearray(good.read_bytes())
    data[-1024 - 512] ^= 1
    wrong = tmp_path / "wrong.bundle"
    wrong.write_bytes(data)
    with pytest.raises(Refused, match=r"tool/tool\.whl"):
        unpack(wrong, tmp_path / "site", keys.allowed)
    assert [p.name for p in tmp_path.iterdir()] == ["wrong.bundle"]


def test_a_bundle_that_changes_between_checking_and_unpacking_leaves_nothing(
    keys: Keys, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody else may write to the medium: every byte is hashed again on its way to the disk."""
    path = write(tmp_path / "site.bundle", keys.me, {"model/a": b"a" * (1 << 20), "model/b": b"b" * (1 << 20)})
    right = walk.content

    def change_first(file: object, member: Member, listed: object, write: object = None) -> None:
        if write is not None and member.path == "model/a":
            with path.open("r+b") as other:
                other.seek(-(1 << 20), os.SEEK_END)
                other.write(b"evil")
        right(file, member, listed, write)  # type: ignore[arg-type]

    monkeypatch.setattr(walk, "content", change_first)
    with pytest.raises(Refused, match="model/b"):
        unpack(path, tmp_path / "site", keys.allowed)
    assert [p.name for p in tmp_path.iterdir()] == ["site.bundle"]


@pytest.mark.parametrize(
    "path",
    [
        "../evil",
        "/evil",
        "a/../../evil",
        "a//b",
        "./a",
        "a/.",
        "a\\b",
        "a\nb",
        "a/",
        "",
        "a\x00b",
        "x" * 256,
        "a/" * 600 + "a",
    ],
)
def test_even_a_trusted_maker_cannot_write_outside(
    path: str, resigned: Callable[..., Path], keys: Keys, tmp_path: Path
) -> None:
    """The manifest is signed and lists such a path, and the member is there: refused by the path alone."""
    inside = tmp_path / "inside"
    inside.mkdir()
    bundle = resigned(manifest.dumps(table({path: b""})), layout.header(path, 0))
    with pytest.raises(Refused, match="refused by its path"):
        unpack(bundle, inside / "site", keys.allowed)
    assert list(inside.iterdir()) == [] and not (tmp_path / "evil").exists()


@pytest.mark.parametrize(
    ("paths", "words"),
    [
        (("a", "a"), "twice"),
        (("b", "a"), "not in order"),
        (("a", "a/b"), "as a file and as something else"),
        ((manifest.NAME,), "as a file and as something else"),
        ((manifest.SIGNATURE_NAME,), "as a file and as something else"),
    ],
)
def test_a_signed_list_that_contradicts_itself_is_refused(
    paths: tuple[str, ...], words: str, resigned: Callable[..., Path], keys: Keys, tmp_path: Path
) -> None:
    one = table({"x": b""}).members[0]
    members = tuple(Member(path=path, sha256=one.sha256, size_bytes=0) for path in paths)
    with pytest.raises(Refused, match=words):
        raw = b"".join(layout.header(path, 0) for path in paths)
        unpack(resigned(manifest.dumps(table({}, members=members)), raw), tmp_path / "site", keys.allowed)


# --- the disk, and an end at any moment -------------------------------------------------------------------------------


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    """A file system of 80 MiB: room for the spare that unpacking asks for, and little else."""
    if os.geteuid() != 0:
        pytest.skip("no small file system: needs root")
    folder = tmp_path / "small"
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=80m", "tmpfs", folder], check=True)
    yield folder
    subprocess.run(["umount", folder], check=True)


def test_too_small_a_disk_is_said_before_anything_is_written(small: Path, keys: Keys, tmp_path: Path) -> None:
    path = write(tmp_path / "large.bundle", keys.me, {"model/a": bytes(30 << 20)})
    with pytest.raises(NotDone, match="unpacking needs 94 MiB") as caught:
        unpack(path, small / "site", keys.allowed)
    assert caught.value.exit_code == 4 and list(small.iterdir()) == []


def test_a_disk_that_fills_up_on_the_way_leaves_nothing(
    small: Path, keys: Keys, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(tmp_path / "large.bundle", keys.me, {"model/a": bytes(100 << 20)})
    monkeypatch.setattr("provision.payload.bundle.unpack._SPARE_BYTES", -(100 << 20))
    with pytest.raises(NotDone, match="No space left on device; nothing was kept"):
        unpack(path, small / "site", keys.allowed)
    assert list(small.iterdir()) == []


KILLED = """
import sys, os, signal
from pathlib import Path
from provision.payload.bundle import unpack, walk
right = walk.content
def content(file, member, table, write=None):
    right(file, member, table, write)
    if write is not None and member.path == sys.argv[4]:
        os.kill(os.getpid(), signal.SIGKILL)
walk.content = content
unpack.unpack(Path(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3]))
"""


@pytest.mark.parametrize("last", list(FILES))
def test_killed_at_any_member_the_next_run_is_whole(good: Path, keys: Keys, tmp_path: Path, last: str) -> None:
    destination = tmp_path / "site"
    command = [sys.executable, "-c", KILLED, good, destination, keys.allowed, last]
    assert subprocess.run(command, check=False).returncode == -signal.SIGKILL
    assert not destination.exists()
    unpack(good, destination, keys.allowed)
    assert {p.name for p in tmp_path.iterdir()} == {"site"}  # and what the killed run left is gone
    assert FILES.items() <= tree(destination).items()


def test_the_folder_of_a_run_that_is_at_work_is_left_alone(good: Path, keys: Keys, tmp_path: Path) -> None:
    other = tmp_path / ".site.abc.part"
    other.mkdir()
    handle = os.open(other, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        unpack(good, tmp_path / "site", keys.allowed)
        assert other.is_dir()
    finally:
        os.close(handle)


UNPACK = """
import sys
from pathlib import Path
from provision.payload.bundle.unpack import unpack
unpack(*map(Path, sys.argv[1:]))
"""


def test_ctrl_c_leaves_nothing(keys: Keys, tmp_path: Path) -> None:
    path = write(tmp_path / "large.bundle", keys.me, {f"model/{n:02}": bytes(8 << 20) for n in range(40)})
    command = [sys.executable, "-c", UNPACK, path, tmp_path / "site", keys.allowed]
    child = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while not list(tmp_path.glob(".site.*/model/02")) and time.monotonic() < deadline and child.poll() is None:
        time.sleep(0.005)
    child.send_signal(signal.SIGINT)
    child.wait(60)
    assert child.returncode != 0
    assert [p.name for p in tmp_path.iterdir()] == ["large.bundle"]


def test_every_refusal_leaves_nothing(good: Path, keys: Keys, tmp_path: Path) -> None:
    """A dozen bundles with one member's header, content or padding changed, each to the same destination."""
    data = good.read_bytes()
    starts = [0]
    for raw in raw_members(good).values():
        starts.append(starts[-1] + len(raw))
    path = tmp_path / "wrong.bundle"
    for at in starts[:-1]:
        for offset in (0, 512, 1100):
            if at + offset < len(data):
                path.write_bytes(data[: at + offset] + b"\x55" + data[at + offset + 1 :])
                with pytest.raises(BundleError):
                    unpack(path, tmp_path / "site", keys.allowed)
    assert [p.name for p in tmp_path.iterdir()] == ["wrong.bundle"]
