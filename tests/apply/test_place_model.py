"""Placing a model's files: whole, by their checksum, gone on from where a run was broken off, and taken back."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "playbooks/roles/storage/files/place_model.py"
CONTENT = os.urandom(3_000_000)
NAME = "sub/model.safetensors"


def sha(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def command(folder: Path, digest: str) -> list[str]:
    return [sys.executable, "-I", str(SCRIPT), str(folder / "from"), str(folder / "to"), NAME, digest]


def place(folder: Path, digest: str = sha(CONTENT)) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command(folder, digest), capture_output=True, text=True, check=False)


def done(answer: subprocess.CompletedProcess[str]) -> str:
    assert answer.returncode == 0, answer.stderr
    return str(json.loads(answer.stdout)["done"])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "from/sub").mkdir(parents=True)
    (tmp_path / "to").mkdir()
    (tmp_path / "from" / NAME).write_bytes(CONTENT)
    return tmp_path


def part(folder: Path) -> Path:
    return folder / "to/sub/.model.safetensors.part"


def test_a_file_is_copied_once(folder: Path) -> None:
    assert done(place(folder)) == "copied"
    target = folder / "to" / NAME
    assert target.read_bytes() == CONTENT and target.stat().st_mode & 0o777 == 0o644
    assert not part(folder).exists()
    assert done(place(folder)) == ""


def test_what_was_broken_off_is_gone_on_from(folder: Path) -> None:
    part(folder).parent.mkdir()
    part(folder).write_bytes(CONTENT[:1_234_567])
    answer = place(folder)
    assert done(answer) == "went on after 1234567 bytes" and "1234567" in answer.stderr
    assert (folder / "to" / NAME).read_bytes() == CONTENT


def test_a_process_that_is_killed_leaves_a_part_that_is_finished_later(folder: Path) -> None:
    big = os.urandom(1 << 20) * 256
    (folder / "from" / NAME).write_bytes(big)
    process = subprocess.Popen(command(folder, sha(big)), stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while not (part(folder).exists() and part(folder).stat().st_size) and time.monotonic() < deadline:
        time.sleep(0.001)
    process.send_signal(signal.SIGKILL)
    process.wait()
    kept = part(folder).stat().st_size
    assert 0 < kept < len(big) and not (folder / "to" / NAME).exists()
    assert done(place(folder, sha(big))) == f"went on after {kept} bytes"
    assert sha((folder / "to" / NAME).read_bytes()) == sha(big)


@pytest.mark.parametrize("damaged", [bytes(1000), CONTENT + b"more"], ids=["wrong bytes", "too long"])
def test_a_damaged_part_is_begun_anew(folder: Path, damaged: bytes) -> None:
    part(folder).parent.mkdir()
    part(folder).write_bytes(damaged)
    assert done(place(folder)) == "copied"
    assert (folder / "to" / NAME).read_bytes() == CONTENT


def test_a_wrong_checksum_names_the_file_and_leaves_nothing(folder: Path) -> None:
    answer = place(folder, "0" * 64)
    assert answer.returncode == 1
    assert f"{folder / 'from' / NAME} has SHA-256 {sha(CONTENT)}, not {'0' * 64}" in answer.stderr
    assert not (folder / "to" / NAME).exists() and not part(folder).exists()


def test_a_missing_source_is_named(folder: Path) -> None:
    (folder / "from" / NAME).unlink()
    answer = place(folder)
    assert answer.returncode == 1 and f"{folder / 'from' / NAME}: no such file" in answer.stderr


def test_somebody_elses_file_at_its_place_stays(folder: Path) -> None:
    part(folder).parent.mkdir()
    (folder / "to" / NAME).write_bytes(b"mine")
    answer = place(folder)
    assert answer.returncode == 1 and "it was left as it is" in answer.stderr
    assert (folder / "to" / NAME).read_bytes() == b"mine"


def test_one_that_is_there_and_right_is_taken_as_it_is(folder: Path) -> None:
    part(folder).parent.mkdir()
    (folder / "to" / NAME).write_bytes(CONTENT)
    assert done(place(folder)) == ""


def test_one_that_was_altered_after_it_was_placed_is_found(folder: Path) -> None:
    done(place(folder))
    (folder / "to" / NAME).write_bytes(CONTENT[:-1] + bytes([CONTENT[-1] ^ 1]))
    answer = place(folder)
    assert answer.returncode == 1 and "it was left as it is" in answer.stderr


def test_room_is_looked_at_before_it_runs_out(folder: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("no small file system: needs root")
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "none", str(folder / "to")], check=True)
    try:
        answer = place(folder)
    finally:
        subprocess.run(["umount", str(folder / "to")], check=True)
    assert answer.returncode == 1 and "needs 3000000 more bytes" in answer.stderr and "free" in answer.stderr


def remove(folder: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-I", str(SCRIPT), "--remove", str(folder / "to"), NAME]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_what_was_placed_goes_and_leaves_no_folder(folder: Path) -> None:
    done(place(folder))
    assert done(remove(folder)) == "removed"
    assert not (folder / "to").exists() and folder.exists()


def test_what_somebody_changed_or_put_there_stays(folder: Path) -> None:
    done(place(folder))
    (folder / "to" / NAME).write_bytes(b"mine")
    answer = remove(folder)
    assert answer.returncode == 1 and "it stays" in answer.stderr
    assert (folder / "to" / NAME).read_bytes() == b"mine"
    (folder / "to/.provision-placed.json").unlink()
    assert done(remove(folder)) == "" and (folder / "to" / NAME).exists()
