"""The door to a machine: what can hang comes back at its deadline, and every refusal says why."""

from __future__ import annotations

import contextlib
import gc
import json
import os
import re
import shutil
import signal
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from provision import fact, facts, host
from provision.child import run_child
from provision.fact import Absent, Missing, NotKnown
from provision.host import LocalHost, or_none, together
from provision.recorded import RecordedHost, RecordingHost

LOCAL = LocalHost()
AS_ROOT = os.geteuid() == 0
NOBODY = 65534


@contextlib.contextmanager
def as_nobody() -> Iterator[None]:
    """Root is refused nothing, so permission tests run as somebody else."""
    if AS_ROOT:
        os.setegid(NOBODY)
        os.seteuid(NOBODY)
    try:
        yield
    finally:
        if AS_ROOT:
            os.seteuid(0)
            os.setegid(0)


def gone(pid: int) -> bool:
    """Whether a process is gone, or dead and waiting for a parent that may be slow to collect it."""
    for _ in range(200):
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except (FileNotFoundError, ProcessLookupError):
            return True
        if state == "Z":
            return True
        time.sleep(0.01)
    return False


# --- children ---------------------------------------------------------------------------------------------------------


def test_run_gives_the_output() -> None:
    assert LOCAL.run("sh", "-c", "echo $LC_ALL; echo err >&2") == "C\n"


def test_a_program_that_is_not_there_is_absent() -> None:
    with pytest.raises(Absent, match=r"^no-such-program is not installed$"):
        LOCAL.run("no-such-program")


def test_a_file_that_may_not_run_is_missing(tmp_path: Path) -> None:
    (tmp_path / "tool").write_text("#!/bin/sh\n")
    with pytest.raises(Missing, match=rf"^{tmp_path}/tool: permission denied$"):
        LOCAL.run(f"{tmp_path}/tool")


def test_a_failing_command_is_missing_with_its_last_words() -> None:
    with pytest.raises(Missing, match=r"^sh -c echo one; echo two >&2; exit 3 failed with status 3: two$"):
        LOCAL.run("sh", "-c", "echo one; echo two >&2; exit 3")
    assert LOCAL.run("sh", "-c", "echo one; exit 3", ok=(0, 3)) == "one\n"


def test_a_shell_that_ignores_sigterm_is_killed_with_its_whole_group(tmp_path: Path) -> None:
    script = f"trap '' TERM; sleep 600 & echo $! > {tmp_path}/child; echo $$ > {tmp_path}/shell; wait; wait"
    with pytest.raises(Missing, match=r"gave no answer in 0.5 s$"):
        LOCAL.run("sh", "-c", script, timeout=0.5)
    pids = [int((tmp_path / name).read_text()) for name in ("shell", "child")]
    assert all(gone(pid) for pid in pids)


def test_a_read_from_a_pipe_that_nobody_fills_is_given_up(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(Missing, match=rf"^cat {tmp_path}/pipe gave no answer in 0.3 s$"):
        LOCAL.run("cat", f"{tmp_path}/pipe", timeout=0.3)


def test_a_grandchild_that_keeps_the_pipe_open_does_not_hold_us() -> None:
    with pytest.raises(Missing, match=r"gave no answer in 0.3 s$"):
        LOCAL.run("sh", "-c", "sleep 600 & exit 0", timeout=0.3)


@pytest.mark.filterwarnings("ignore:subprocess .* is still running:ResourceWarning")
def test_a_child_that_cannot_be_killed_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    pids: list[int] = []

    def too_weak(group: int, _: int) -> None:  # a process stuck in the kernel: the signal is sent and nothing happens
        pids.append(group)

    kill = os.killpg
    with monkeypatch.context() as patch:
        patch.setattr(os, "killpg", too_weak)
        with pytest.raises(Missing) as raised:
            run_child(("sleep", "600"), 0.2)
    kill(pids[0], signal.SIGKILL)
    os.waitpid(pids[0], 0)
    reason = raised.value.reason
    del raised
    gc.collect()  # the child's handle goes here, where its warning is expected
    assert (
        reason == f"sleep 600 gave no answer in 0.2 s and cannot be killed (process {pids[0]} is stuck in the kernel)"
    )


def test_statvfs_of_a_file_system_that_may_hang_agrees_with_the_direct_call(tmp_path: Path) -> None:
    direct, through_a_child = LOCAL.statvfs(str(tmp_path), may_hang=False), LOCAL.statvfs(str(tmp_path))
    assert direct.keys() == through_a_child.keys()
    assert direct["blocks"] == through_a_child["blocks"] == os.statvfs(tmp_path).f_blocks


def test_calls_run_together_and_one_reason_is_no_other_answer() -> None:
    both = threading.Barrier(2, timeout=10)  # passes only if they really run at the same time

    def waits() -> str:
        both.wait()
        return "here"

    def fails() -> str:
        both.wait()
        raise Missing("dead server")

    assert together([waits, fails]) == ["here", Missing("dead server")]


def test_a_bug_in_a_call_is_not_taken_for_a_reason() -> None:
    def bug() -> str:
        raise KeyError("Driver")

    with pytest.raises(KeyError):
        together([bug])


# --- files ------------------------------------------------------------------------------------------------------------


def test_read_replaces_what_is_no_text(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"a\xffb\n")
    assert LOCAL.read(f"{tmp_path}/f") == "a\ufffdb\n"


def test_sysctls_can_be_read() -> None:
    # one read of many megabytes is refused there with ENOMEM
    assert LOCAL.read("/proc/sys/kernel/osrelease").strip() == os.uname().release


@pytest.mark.parametrize("tail", ["none", "file/none"])
def test_a_file_that_is_not_there_is_absent(tmp_path: Path, tail: str) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(Absent, match=rf"^{tmp_path}/{tail} is not there$"):
        LOCAL.read(f"{tmp_path}/{tail}")
    assert not LOCAL.exists(f"{tmp_path}/{tail}")


@pytest.mark.parametrize(("room", "fits"), [(10, True), (9, False)])
def test_a_file_larger_than_the_limit_is_missing_not_cut(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, room: int, fits: bool
) -> None:
    monkeypatch.setattr(host, "READ_LIMIT_BYTES", room)
    (tmp_path / "status").write_text("0123456789")
    if fits:
        assert LOCAL.read(f"{tmp_path}/status") == "0123456789"
    else:
        with pytest.raises(Missing, match=r"/status is larger than 0 MiB$"):
            LOCAL.read(f"{tmp_path}/status")


ASKS: list[Callable[[str], object]] = [
    LOCAL.read,
    LOCAL.link,
    LOCAL.exists,
    lambda f: LOCAL.glob(f"{Path(f).parent}/*"),
]


@pytest.fixture
def closed() -> Iterator[Path]:
    """A folder that is closed to ``as_nobody`` (not under pytest's own, which is closed already)."""
    folder = Path(tempfile.mkdtemp())
    (folder / "file").symlink_to("target")
    folder.chmod(0o700 if AS_ROOT else 0)
    yield folder
    folder.chmod(0o700)
    shutil.rmtree(folder)


@pytest.mark.parametrize("ask", ASKS, ids=["read", "link", "exists", "glob"])
@pytest.mark.parametrize("below", ["", "/deeper"])
def test_what_is_closed_to_us_is_missing_never_absent(closed: Path, ask: Callable[[str], object], below: str) -> None:
    with as_nobody(), pytest.raises(Missing, match=rf"^{closed}.*: permission denied$"):
        ask(f"{closed}{below}/file")


def test_links_are_told_as_written_and_resolved(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("c")
    (tmp_path / "c").touch()
    assert LOCAL.link(f"{tmp_path}/a") == "b"
    assert LOCAL.real(f"{tmp_path}/a") == os.path.realpath(tmp_path / "c")
    with pytest.raises(Missing, match=r"/c: invalid argument$"):
        LOCAL.link(f"{tmp_path}/c")


def test_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NCCL_DEBUG", "INFO")
    monkeypatch.delenv("NCCL_NONE", raising=False)
    assert LOCAL.env("NCCL_DEBUG") == "INFO"
    assert "NCCL_DEBUG" in LOCAL.env_names("NCCL_*")
    assert LOCAL.env_names("NO_SUCH_FAMILY_*") == ()
    with pytest.raises(Absent, match=r"^NCCL_NONE is not set$"):
        LOCAL.env("NCCL_NONE")


def test_programs_in_sbin_are_found_without_it_on_the_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/usr/bin")
    assert LOCAL.which("ldconfig") in ("/usr/sbin/ldconfig", "/sbin/ldconfig")
    with pytest.raises(Absent, match=r"^no-such-program is not installed$"):
        LOCAL.which("no-such-program")


def test_or_none_lets_absence_pass_and_nothing_else() -> None:
    answers = RecordedHost({"read /b": {"missing": "/b: permission denied"}})
    assert or_none(answers.read, "/a") is None
    assert or_none(answers.read, "/b", reasons=NotKnown) is None
    with pytest.raises(Missing):
        or_none(answers.read, "/b")


# --- a socket ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Callable[[bytes | None], str]]:
    """``serve(answer)``: a service that gives that answer to one question; None never answers."""
    lines: list[socket.socket] = []

    def start(answer: bytes | None) -> str:
        path = str(tmp_path / "s.sock")
        line = socket.socket(socket.AF_UNIX)
        line.bind(path)
        line.listen()
        lines.append(line)

        def work() -> None:
            with contextlib.suppress(OSError):
                asked, _ = line.accept()
                lines.append(asked)
                asked.recv(4096)
                if answer is not None:
                    asked.sendall(answer)
                    asked.close()

        threading.Thread(target=work, daemon=True).start()
        return path

    yield start
    for line in lines:
        line.close()


OK = b"HTTP/1.0 200 OK\r\nContent-Type: application/json\r\n\r\n"


def test_get_reads_json(serve: Callable[[bytes | None], str]) -> None:
    assert LOCAL.get(serve(OK + b'{"a": 1}'), "/info") == {"a": 1}


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (
            b"HTTP/1.0 500 Internal Server Error\r\n\r\noops",
            r"GET /info answered \[b'HTTP/1.0 500 Internal Server Error'\]$",
        ),
        (OK + b"<html>", r"GET /info answered no JSON$"),
        (b"", r"GET /info answered \[\]$"),
    ],
)
def test_get_says_what_came_instead(serve: Callable[[bytes | None], str], answer: bytes, reason: str) -> None:
    with pytest.raises(Missing, match=reason):
        LOCAL.get(serve(answer), "/info")


def test_get_from_a_service_that_never_answers(
    serve: Callable[[bytes | None], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(host, "DEADLINE_SECONDS", 0.3)
    with pytest.raises(Missing, match=r"s.sock gave no answer in 0.3 s$"):
        LOCAL.get(serve(None), "/info")


def test_get_tells_no_socket_from_a_dead_and_a_closed_one(tmp_path: Path, serve: Callable[[bytes | None], str]) -> None:
    with pytest.raises(Absent, match=r"none.sock is not there$"):
        LOCAL.get(f"{tmp_path}/none.sock", "/info")
    dead = socket.socket(socket.AF_UNIX)
    dead.bind(f"{tmp_path}/dead.sock")
    dead.close()
    with pytest.raises(Missing, match=r"dead.sock: connection refused$"):
        LOCAL.get(f"{tmp_path}/dead.sock", "/info")
    path = serve(OK + b"{}")
    Path(path).chmod(0o600 if AS_ROOT else 0)
    with as_nobody(), pytest.raises(Missing, match=r"s.sock: permission denied$"):
        LOCAL.get(path, "/info")


# --- recordings -------------------------------------------------------------------------------------------------------


def ask_everything(h: host.Host, folder: Path) -> list[object]:
    def answer(ask: Callable[[], object]) -> object:
        try:
            return ask()
        except NotKnown as reason:
            return reason

    path = str(folder / "file")
    return [
        answer(ask)
        for ask in (
            lambda: h.read(path),
            lambda: h.read(f"{path}/none"),
            lambda: h.link(f"{folder}/link"),
            lambda: h.real(f"{folder}/link"),
            lambda: h.glob(f"{folder}/*"),
            lambda: h.exists(path),
            lambda: h.exists(f"{folder}/none"),
            lambda: h.run("sh", "-c", "exit 5"),
            lambda: h.run("echo", "x"),
            lambda: h.which("sh"),
            lambda: h.which("no-such-program"),
            lambda: h.env("HOME"),
            lambda: h.env_names("HOM*"),
            lambda: h.statvfs(str(folder), may_hang=False)["blocks"],
            lambda: h.get(f"{folder}/none.sock", "/info"),
            h.user,
            h.interpreter,
        )
    ]


def test_a_recording_answers_as_the_machine_did(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("text\n")
    (tmp_path / "link").symlink_to("file")
    recording = RecordingHost(LOCAL)
    first = ask_everything(recording, tmp_path)
    through_json = RecordedHost(json.loads(json.dumps(recording.answers)))
    assert ask_everything(through_json, tmp_path) == first


def test_an_unrecorded_question_is_absent_and_globs_match_what_is_there() -> None:
    recorded = RecordedHost(
        {"read /sys/a/x": {"known": "1"}, "read /sys/b/c/x": {"known": "2"}, "link /l": {"known": "sys/a"}}
    )
    assert recorded.glob("/sys/*/x") == ("/sys/a/x",)
    assert recorded.exists("/sys/b") and not recorded.exists("/sys/c")
    assert recorded.real("/l") == "/sys/a"
    for ask in (recorded.read, recorded.link, recorded.which, recorded.env, recorded.run):
        with pytest.raises(Absent):
            ask("anything")


def test_the_interpreter_is_this_one() -> None:
    said = LOCAL.interpreter()
    assert said["executable"] == sys.executable
    assert re.fullmatch(r"3\.\d+\.\d+", said["version"])


def test_without_a_thread_left_everything_is_asked_one_after_the_other(monkeypatch: pytest.MonkeyPatch) -> None:
    """The real cause, a control group without a task left, is made in tests/induced; now and then only it starts none."""

    def refuse(_: object) -> None:
        raise RuntimeError("can't start new thread")

    facts.load()
    monkeypatch.setattr(threading.Thread, "start", refuse)
    assert together([lambda: 1, lambda: 2]) == [1, 2]
    snapshot = fact.collect(LocalHost(), "m", "0", ["System", "Memory", "Mounts"])
    assert {type(found).__name__ for found in snapshot.facts.values()} >= {"System", "Memory", "Mounts"}
