"""What the host says beyond text files: states, trees, the clock. On real files."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from provision import local
from provision.fact import Absent, Missing
from provision.host import LocalHost
from provision.recorded import RecordedHost, RecordingHost

HOST = LocalHost()


def test_a_state_is_the_files_own(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("12345")
    file.chmod(0o640)
    said = HOST.status(str(file))
    assert said == {"mode": 0o640, "uid": os.getuid(), "gid": os.getgid(), "size": 5, "folder": 0, "writable": 1}
    with pytest.raises(Absent):
        HOST.status(str(tmp_path / "none"))


def test_a_tree_is_cut_at_its_bounds_and_says_so(tmp_path: Path) -> None:
    (tmp_path / "a/b/c").mkdir(parents=True)
    for name in ("x", "a/y", "a/b/z", "a/b/c/deep"):
        (tmp_path / name).write_text("12")
    (tmp_path / "link").symlink_to("x")
    (tmp_path / "loop").symlink_to(".")
    (tmp_path / "gone").symlink_to("nowhere")
    whole = HOST.tree(str(tmp_path))
    assert whole == {"files": {"x": 2, "link": 2, "a/y": 2, "a/b/z": 2, "a/b/c/deep": 2}, "all": True}
    assert HOST.tree(str(tmp_path), may_hang=True) == whole
    assert local.tree(str(tmp_path), 2, 99) == {"files": {"x": 2, "link": 2, "a/y": 2}, "all": False}
    assert local.tree(str(tmp_path), 8, 3)["all"] is False
    with pytest.raises(Absent):
        HOST.tree(str(tmp_path / "none"))


def test_a_name_that_is_no_utf_8_can_be_in_a_snapshot(tmp_path: Path) -> None:
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff.bin")).write_bytes(b"123")
    os.mkfifo(tmp_path / "pipe")
    found = HOST.tree(str(tmp_path))
    assert found == {"files": {"\ufffd.bin": 3}, "all": True}
    assert "\ufffd" in str(found).encode().decode()


def test_a_closed_folder_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def closed(path: str) -> None:
        raise PermissionError(13, "Permission denied", path)

    monkeypatch.setattr(os, "scandir", closed)  # root may read every folder
    with pytest.raises(Missing, match="permission denied"):
        HOST.tree(str(tmp_path))


def test_the_clock_is_asked_and_not_changed() -> None:
    said = HOST.clock()
    assert said["synchronised"] in (0, 1)
    assert said["error_us"] >= 0


def test_recordings_answer_as_the_machine_did(tmp_path: Path) -> None:
    (tmp_path / "x").write_text("1")
    recording = RecordingHost(HOST)
    asked = (recording.status(str(tmp_path)), recording.tree(str(tmp_path)), recording.clock())
    again = RecordedHost(recording.answers)
    assert (again.status(str(tmp_path)), again.tree(str(tmp_path)), again.clock()) == asked
    with pytest.raises(Missing):
        recording.elf(str(tmp_path / "x"))
    with pytest.raises(Missing):
        RecordedHost(recording.answers).elf(str(tmp_path / "x"))
