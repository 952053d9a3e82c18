"""The only door to standard output: real pipes, real devices, a real pseudo-terminal."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

from provision.errors import UsageError
from provision.report import out

PROGRAM = "import sys; from provision.report import out; out.emit(sys.argv[1] * int(sys.argv[2]))"


def emit(text: str, times: int = 1, **options: object) -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, "-c", PROGRAM, text, str(times)]
    return subprocess.run(command, stderr=subprocess.PIPE, check=False, **options)  # type: ignore[call-overload, no-any-return]


def test_a_document_ends_in_one_newline(capsys: pytest.CaptureFixture[str]) -> None:
    out.emit("x")
    out.emit("y\n")
    assert capsys.readouterr().out == "x\ny\n"


def test_a_dash_is_standard_output(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    out.emit("x", "-")
    assert capsys.readouterr().out == "x\n"
    assert list(tmp_path.iterdir()) == []


def test_a_file_is_written_whole(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "facts.json"
    path.write_text("old")
    out.emit("néw", path)
    assert path.read_text(encoding="utf-8") == "néw\n"
    assert [p.name for p in tmp_path.iterdir()] == ["facts.json"]
    assert capsys.readouterr().out == ""


def test_a_link_is_followed_not_replaced(tmp_path: Path) -> None:
    real = tmp_path / "real"
    real.write_text("old")
    link = tmp_path / "link"
    link.symlink_to(real)
    out.emit("new", link)
    assert link.is_symlink()
    assert real.read_text() == "new\n"


def test_a_pipe_is_written_to_not_replaced(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    try:
        out.emit("x", pipe)
        assert os.read(reader, 10) == b"x\n"
        assert pipe.is_fifo()
    finally:
        os.close(reader)


def test_a_device_stays_a_device() -> None:
    """A terminal's own device stands for /dev/null: were it replaced, this machine would not be hurt."""
    master, slave = pty.openpty()
    try:
        path = Path(os.ttyname(slave))
        out.emit("x", path)
        assert os.read(master, 10) == b"x\r\n"
        assert path.is_char_device()
    finally:
        os.close(slave)
        os.close(master)


@pytest.mark.parametrize("name", ["no/such/folder/x", ".", "file/x"])
def test_a_path_that_cannot_be_written_is_a_usage_error(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="cannot be written") as caught:
        out.emit("x", tmp_path / name)
    assert str(tmp_path / name) in caught.value.message
    assert sorted(p.name for p in tmp_path.iterdir()) == ["file"]


def test_a_disk_that_takes_no_more_is_said_and_nothing_is_left(tmp_path: Path) -> None:
    """The limit of a file's size stands for a full disk; /dev/full would be lost to the very fault that is looked for."""
    code = (
        "import resource, sys; from provision.report import out; resource.setrlimit(resource.RLIMIT_FSIZE, (1, 1)); "
        "out.emit('xyz', sys.argv[1])"
    )
    path = tmp_path / "report.html"
    path.write_text("old")
    done = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=False)
    said = f"provision.errors.ProvisionError: {path}: cannot be written: File too large; nothing was left there"
    assert done.stderr.splitlines()[-1] == said
    assert [(p.name, p.read_text()) for p in tmp_path.iterdir()] == [("report.html", "old")]


def test_full_standard_output_is_said_once() -> None:
    with Path("/dev/full").open("wb") as full:
        done = emit("x", stdout=full)
    assert done.returncode == 1
    assert done.stderr.decode().splitlines()[-1] == (
        "provision.errors.ProvisionError: standard output cannot be written: No space left on device"
    )


@pytest.mark.parametrize("times", [1, 10_000], ids=["kept in the buffer", "larger than the buffer"])
def test_a_reader_that_goes_away_is_no_error(times: int) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    try:
        done = emit("x" * 100, times, stdout=writer)
    finally:
        os.close(writer)
    assert (done.returncode, done.stderr) == (0, b"")


def test_a_terminal_that_cannot_show_a_character_gets_its_escape() -> None:
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    assert emit("né", stdout=subprocess.PIPE, env=environment).stdout == b"n\\xe9\n"


def style_on(terminal: bool, **environment: str) -> str:
    """What ``out.style()`` says in a child whose standard output is a terminal, or is not."""
    code = "import sys; from provision.report import out; s = out.style(); print(s.color, s.width, file=sys.stderr)"
    kept = {k: v for k, v in os.environ.items() if k not in ("NO_COLOR", "TERM", "COLUMNS")}
    master, slave = pty.openpty()
    try:
        done = subprocess.run(
            [sys.executable, "-c", code],
            stdout=slave if terminal else subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            env=kept | {"TERM": "xterm", "COLUMNS": "90"} | environment,
            check=True,
            text=True,
        )
    finally:
        os.close(slave)
        os.close(master)
    return done.stderr.strip()


def test_colour_and_width_on_a_terminal_only() -> None:
    assert style_on(terminal=True) == "True 90"
    assert style_on(terminal=False) == "False 0"
    assert style_on(terminal=True, COLUMNS="400") == "True 120"


def test_no_color_and_dumb_terminals_are_obeyed() -> None:
    assert style_on(terminal=True, NO_COLOR="1") == "False 90"
    assert style_on(terminal=True, NO_COLOR="") == "True 90"  # no-color.org: present and not empty
    assert style_on(terminal=True, TERM="dumb") == "False 90"


def test_a_closed_standard_output_is_no_finding() -> None:
    """`provision doctor >&-` ended with a traceback and status 1, which means "findings"."""
    command = 'echo "RuntimeError: out of memory" | "$0" -m provision doctor --log - >&-'
    done = subprocess.run(["sh", "-c", command, sys.executable], stderr=subprocess.PIPE, check=False)
    assert done.stderr == b"provision: standard output cannot be written: it is closed\nnext: give -o FILE\n"
    assert done.returncode == 4
