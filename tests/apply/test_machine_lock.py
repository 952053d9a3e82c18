"""Two processes, one machine."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from provision import machine_lock
from provision.errors import Busy, ChangeError

HOLD = """
import sys, time
from pathlib import Path
from provision import machine_lock
with machine_lock.hold(0.0, Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.readline()
"""


def holder(path: Path) -> subprocess.Popen[str]:
    """Another process that has the lock."""
    child = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert child.stdout is not None and child.stdout.readline() == "held\n"
    return child


def test_the_second_run_waits_and_then_says_who_holds_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "lock"
    with holder(path) as child:
        with pytest.raises(Busy) as caught, machine_lock.hold(0.3, path):
            raise AssertionError("two at once")
        assert re.fullmatch(
            rf"\S+'s `provision {path}` \(process {child.pid}\) holds this machine and was waited for 0.3 s",
            caught.value.message,
        )
        assert caught.value.exit_code == 4
        said = capsys.readouterr().err
        assert f"process {child.pid}) holds this machine; waiting at most 0.3 s" in said
        assert len(said.splitlines()) == 1
        child.communicate("\n")


def test_the_second_run_goes_on_when_the_first_ends(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with holder(path) as child:
        subprocess.Popen(["sh", "-c", f"sleep 0.5; kill -9 {child.pid}"]).wait()
        with machine_lock.hold(10.0, path):
            assert f'"pid": {os.getpid()}' in path.read_text()
        child.communicate()


def test_a_dead_holder_never_blocks(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with holder(path) as child:
        child.kill()
        child.communicate()
    assert f'"pid": {child.pid}' in path.read_text()
    with machine_lock.hold(0.0, path):
        pass
    assert path.read_text() == ""


STEP = """
import subprocess, sys
from pathlib import Path
from provision import machine_lock
with machine_lock.hold(0.0, Path(sys.argv[1])):
    child = subprocess.Popen(["sleep", "60"], pass_fds=machine_lock.held(), stdout=subprocess.DEVNULL)
    print(child.pid, flush=True)
    sys.stdin.readline()
"""


def test_a_step_that_outlives_its_killed_run_keeps_the_machine(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "lock"
    with subprocess.Popen(
        [sys.executable, "-c", STEP, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as run:
        assert run.stdout is not None
        step = int(run.stdout.readline())
        run.kill()
        run.communicate()
    try:
        monkeypatch.setattr(machine_lock, "STEP_SECONDS", 0.3)
        with pytest.raises(Busy, match=rf"the last step of .* \(process {run.pid}\), which was killed, holds this"):
            machine_lock.hold(0.0, path).__enter__()
        monkeypatch.setattr(machine_lock, "STEP_SECONDS", 30.0)
        threading.Timer(0.5, os.kill, (step, signal.SIGKILL)).start()
        with machine_lock.hold(0.0, path):  # it waits for the step, however short its patience with a living run
            assert f'"pid": {os.getpid()}' in path.read_text()
        assert "which was killed, holds this machine; waiting at most 30 s" in capsys.readouterr().err
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(step, signal.SIGKILL)


def test_it_is_let_go_after_an_error(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with pytest.raises(ValueError, match="inside"), machine_lock.hold(0.0, path):
        raise ValueError("inside")
    with machine_lock.hold(0.0, path):
        pass


def test_only_its_owner_can_open_it(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with machine_lock.hold(0.0, path):
        assert path.stat().st_mode & 0o777 == 0o600


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "lock").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ChangeError, match="cannot be opened"), machine_lock.hold(0.0, tmp_path / "lock"):
        pass
    assert not (tmp_path / "elsewhere").exists()
