"""File systems that may hang: found without asking them, read in a child, given up on in time."""

from __future__ import annotations

import ctypes
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from provision.errors import UsageError
from provision.fit import apart, checkpoint
from provision.host import LocalHost
from tests.fit import build

Folder = Callable[..., Path]


class Mounted(LocalHost):
    """This machine with one more mount in its table."""

    def __init__(self, place: Path, filesystem: str) -> None:
        super().__init__()
        self.line = f"99 1 0:99 / {place} rw,relatime - {filesystem} server:/models rw"

    def read(self, path: str) -> str:
        assert path == "/proc/self/mountinfo"
        return f"22 1 254:0 / / rw - ext4 /dev/vda rw\n{self.line}\n"


@pytest.mark.parametrize(
    ("filesystem", "expected"),
    [("nfs4", True), ("cifs", True), ("fuse.sshfs", True), ("autofs", True), ("virtiofs", True), ("ext4", False)],
)
def test_the_kind_of_file_system_decides(folder: Folder, filesystem: str, expected: bool) -> None:
    top = folder({"model.safetensors": build.shard("a")})
    host = Mounted(top.parent, filesystem)
    assert apart.may_hang(str(top), host) is expected
    assert apart.may_hang(str(top / "model.safetensors"), host) is expected


@pytest.mark.parametrize("target", ["/net/deep/model.safetensors", "../far/model.safetensors", "../far/../far/deep/x"])
def test_a_link_is_followed_only_to_the_mount(tmp_path: Path, folder: Folder, target: str) -> None:
    top = folder({"other.txt": b""})
    (tmp_path / "far").mkdir()
    (top / "model.safetensors").symlink_to(target.replace("/net", str(tmp_path / "far")))
    asked = Mounted(tmp_path / "far", "nfs")
    assert apart.may_hang(str(top), asked)
    assert apart.may_hang(str(top / "model.safetensors"), asked)
    assert not apart.may_hang(str(top / "other.txt"), asked)
    assert not apart.may_hang(str(top), Mounted(tmp_path / "elsewhere", "nfs"))


def test_a_folder_that_is_a_link_and_a_link_that_never_ends(tmp_path: Path, folder: Folder) -> None:
    top = folder({"model.safetensors": build.shard("a")})
    (tmp_path / "link").symlink_to(top)
    (tmp_path / "loop").symlink_to("loop")
    host = Mounted(top, "nfs")
    assert apart.may_hang(str(tmp_path / "link"), host)
    assert apart.may_hang(f"{tmp_path}/./link/../model/", host)
    assert not apart.may_hang(str(tmp_path / "loop"), host)
    assert not apart.may_hang(str(tmp_path / "nowhere"), host)


def test_the_child_gives_the_same_answer_and_the_same_error(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    top = folder({"model.safetensors": build.shard("a", "b")}, config={"model_type": "é", "x": [1.5, None]})
    assert apart.read(str(top)) == checkpoint.read_here(str(top))
    monkeypatch.chdir(top)
    assert apart.read(".") == checkpoint.read_here(".")
    (top / "config.json").write_bytes(b"[]")
    with pytest.raises(UsageError) as here:
        checkpoint.read_here(str(top))
    with pytest.raises(UsageError) as there:
        apart.read(str(top))
    assert there.value.message == here.value.message


def test_read_checkpoint_asks_the_child_where_it_may_hang(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    top = folder({"model.safetensors": build.shard("a")})
    asked: list[str] = []
    real = apart.read
    monkeypatch.setattr(apart, "hanging", lambda host: frozenset([str(top)]))
    monkeypatch.setattr(apart, "read", lambda path: (asked.append(path), real(path))[1])
    assert [one.name for one in checkpoint.read_checkpoint(top).tensors] == ["a"]
    assert asked == [str(top)]


@pytest.fixture
def silent(tmp_path: Path) -> Iterator[Path]:
    """A real mount whose server takes every question and answers none: FUSE, held open by this process alone."""
    if os.geteuid() != 0 or not Path("/dev/fuse").exists():
        pytest.skip("needs root and /dev/fuse")
    libc = ctypes.CDLL(None, use_errno=True)
    place = tmp_path / "silent"
    place.mkdir()
    server = os.open("/dev/fuse", os.O_RDWR | os.O_CLOEXEC)
    options = f"fd={server},rootmode=40000,user_id=0,group_id=0".encode()
    if libc.mount(b"silent", bytes(place), b"fuse.sshfs", 0, options):
        os.close(server)
        pytest.skip(f"needs root and /dev/fuse: mount: {os.strerror(ctypes.get_errno())}")
    try:
        yield place
    finally:
        os.close(server)  # every question fails now, and the mount can be let go
        libc.umount2(bytes(place), 2)


@pytest.mark.parametrize("path", ["silent", "silent/model", "silent/model.safetensors", "model"])
def test_a_dead_mount_is_given_up_on(
    tmp_path: Path, folder: Folder, silent: Path, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    monkeypatch.setattr(apart, "DEADLINE_SECONDS", 1.0)
    top = folder({})
    (top / "model.safetensors").symlink_to(silent / "blobs/0a1b")
    began = time.monotonic()
    with pytest.raises(UsageError) as caught:
        checkpoint.read_checkpoint(tmp_path / path)
    assert time.monotonic() - began < 4
    assert "it lies on a file system that may hang" in caught.value.message
    assert "gave no answer in 1 s" in caught.value.message
    assert caught.value.message.isprintable()
