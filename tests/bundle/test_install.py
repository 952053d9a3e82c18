"""What ``bundle install`` writes before ``provision up``: all of it, nothing, or nothing new.

The environment made of real wheels, and everything after it, is tested on a bare machine in tests/offline.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner

from provision import cli
from provision.payload.bundle import __main__ as program
from provision.payload.bundle import install, machine, place
from provision.payload.bundle.errors import BundleError, Misused, NotDone, Refused
from tests.bundle.build import FILES, MADE_FOR, Keys, write

TOOL = {
    "tool/llm_provision-9.9-py3-none-any.whl": b"the tool",
    "tool/pip-1-py3-none-any.whl": b"pip",
    "tool/tool-py311.txt": b"pip==1 --hash=sha256:00\n",
    "run/provision.toml": b'[machine]\nname = "from the bundle"\n',
}


FITTING = machine.Here(
    architecture=MADE_FOR.architecture, debian=MADE_FOR.debian, glibc=MADE_FOR.glibc, python=MADE_FOR.python
)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The machine's folder, of another place; root, and a machine that the bundle fits. No environment is made."""
    monkeypatch.setattr(install, "BUNDLES", tmp_path / "state/bundles")
    monkeypatch.setattr(install, "SITE", tmp_path / "state/site")
    monkeypatch.setattr(install, "LINK", tmp_path / "bin/provision")
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(machine, "look", lambda: FITTING)
    monkeypatch.setattr(place, "make_environment", lambda *_: True)
    return tmp_path


@pytest.fixture
def whole(tmp_path: Path, keys: Keys) -> Path:
    return write(tmp_path / "whole.bundle", keys.me, FILES | TOOL)


def state(folder: Path) -> dict[str, tuple[int, int]]:
    """Every path with its inode and the time it was last written."""
    return {str(p): (p.lstat().st_ino, p.lstat().st_mtime_ns) for p in sorted(folder.rglob("*"))}


def test_everything_lies_in_the_bundles_own_folder(here: Path, whole: Path, keys: Keys) -> None:
    command = install.install(whole, keys.allowed, None)
    home = command.parent
    assert command == here / "state/bundles" / home.name / "provision" and os.access(command, os.X_OK)
    assert {p: (home / "content" / p).read_bytes() for p in FILES | TOOL} == FILES | TOOL
    said = command.read_text()
    assert f"APT_CONFIG={home}/apt/apt.conf" in said and "PIP_NO_INDEX=1" in said and "PROVISION_OFFLINE=1" in said
    assert f"file:{home}/content/debs" in (home / "apt/sources.list").read_text()
    assert sorted(p.name for p in (here / "state").rglob("*.part")) == []


def test_the_tool_is_pinned_by_the_hash_that_was_signed(
    here: Path, whole: Path, keys: Keys, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[object] = []
    monkeypatch.setattr(place, "make_environment", lambda *words: given.extend(words))
    command = install.install(whole, keys.allowed, None)
    home, python, requirements, pip = given
    own = Path("/usr/bin/python3")  # Debian's, where it is this version
    same = own.resolve().name == f"python{sys.version_info[0]}.{sys.version_info[1]}"
    assert (home, python) == (command.parent, str(own) if same else sys.executable)
    digest = hashlib.sha256(b"the tool").hexdigest()
    assert str(requirements).splitlines()[0] == "pip==1 --hash=sha256:00"
    assert str(requirements).splitlines()[-1] == f"llm-provision==9.9 --hash=sha256:{digest}"
    assert pip == command.parent / "content/tool/pip-1-py3-none-any.whl"


@pytest.mark.parametrize("mask", [0o077, 0o000])
def test_everybody_may_run_the_tool_and_only_root_change_it(here: Path, whole: Path, keys: Keys, mask: int) -> None:
    before = os.umask(mask)
    try:
        command = install.install(whole, keys.allowed, None)
        install.settle(command, here / "state/site")
    finally:
        os.umask(before)
    for path in (p for p in (here / "state").rglob("*") if not p.is_symlink()):
        mode, model = path.stat().st_mode & 0o777, path.parts[-2:] == ("content", "model")
        assert mode == (0o700 if model else 0o755 if path.is_dir() or path == command else 0o644), path


def test_a_full_disk_is_said_and_leaves_no_empty_provision_toml(
    here: Path, whole: Path, keys: Keys, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = install.install(whole, keys.allowed, None)
    full = os.fsync

    def no_room(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", no_room)
    with pytest.raises(NotDone, match="No space left on device; the same command goes on"):
        install.bring_up(command, here / "state/site", yes=False, allowed=(), only_unpack=True)
    assert not (here / "state/site/provision.toml").exists()
    monkeypatch.setattr(os, "fsync", full)
    assert install.bring_up(command, here / "state/site", yes=False, allowed=(), only_unpack=True) == 0
    assert (here / "state/site/provision.toml").read_bytes() == TOOL["run/provision.toml"]


def test_a_link_to_nothing_is_not_followed(here: Path, whole: Path, keys: Keys) -> None:
    command = install.install(whole, keys.allowed, None)
    (here / "state/site").mkdir()
    (here / "state/site/provision.toml").symlink_to(here / "victim")
    with pytest.raises(NotDone):
        install.bring_up(command, here / "state/site", yes=False, allowed=(), only_unpack=True)
    assert not (here / "victim").exists()


def test_a_file_in_the_place_of_the_folder_is_a_wrong_call(here: Path, whole: Path, keys: Keys) -> None:
    command = install.install(whole, keys.allowed, None)
    with pytest.raises(Misused, match="a file stands where a folder should be"):
        install.settle(command, whole / "x")


def test_what_a_killed_run_left_of_another_bundle_goes(here: Path, whole: Path, keys: Keys) -> None:
    left = here / "state/bundles/0123/.content.x.part"
    left.mkdir(parents=True)
    install.install(whole, keys.allowed, None)
    assert not left.exists()


def test_who_is_no_root_is_given_a_command_that_trusts_the_same(
    here: Path, whole: Path, keys: Keys, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / ".ssh").mkdir()
    (tmp_path / ".ssh/allowed_signers").write_bytes(keys.allowed.read_bytes())
    with pytest.raises(NotDone) as caught:
        install.install(whole, None, None)
    assert caught.value.next_command.endswith(f"--allowed-signers {tmp_path}/.ssh/allowed_signers")


def test_again_changes_nothing(here: Path, whole: Path, keys: Keys) -> None:
    install.install(whole, keys.allowed, None)
    before = state(here / "state")
    install.install(whole, keys.allowed, None)
    assert state(here / "state") == before


def test_current_is_the_one_that_was_installed_last(here: Path, whole: Path, keys: Keys, tmp_path: Path) -> None:
    other = write(tmp_path / "other.bundle", keys.me, FILES | TOOL | {"model/more": b"more"})
    for path in (whole, other, whole):
        command = install.install(path, keys.allowed, None)
        assert (here / "state/bundles/current").resolve() == command.parent


@pytest.mark.parametrize("how", ["changed", "missing"])
def test_a_member_that_was_altered_since_is_put_right(here: Path, whole: Path, keys: Keys, how: str) -> None:
    content = install.install(whole, keys.allowed, None).parent / "content"
    altered = content / "debs/Packages"
    if how == "changed":
        altered.write_bytes(b"Package: y\n" * 100)
    else:
        altered.unlink()
    install.install(whole, keys.allowed, None)
    assert altered.read_bytes() == FILES["debs/Packages"]


def refused(kind: type[BundleError], path: Path, keys: Keys, here: Path) -> str:
    """The message; nothing was written."""
    with pytest.raises(kind) as caught:
        install.install(path, keys.allowed, None)
    assert not (here / "state").exists()
    return caught.value.message


def test_a_wrong_byte_leaves_no_folder(here: Path, whole: Path, keys: Keys) -> None:
    data = bytearray(whole.read_bytes())
    data[data.index(b"basebase")] ^= 1  # in a content: the signature and every header are right
    whole.write_bytes(data)
    refused(Refused, whole, keys, here)


def test_a_bundle_without_the_tool_leaves_no_folder(here: Path, good: Path, keys: Keys) -> None:
    assert "expected one wheel of the tool" in refused(Refused, good, keys, here)


def test_without_root_nothing_is_written(here: Path, whole: Path, keys: Keys, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setattr(sys, "argv", ["my site.pyz", "install", "x"])
    assert "needs root; nothing was changed" in refused(NotDone, whole, keys, here)
    with pytest.raises(NotDone) as caught:
        install.install(whole, keys.allowed, None)
    assert caught.value.next_command == "sudo python3 'my site.pyz' install x"


@pytest.mark.parametrize(("field", "value"), [("architecture", "riscv64"), ("python", "3.9"), ("debian", "trixie")])
def test_for_another_machine_nothing_is_written(
    here: Path, whole: Path, keys: Keys, monkeypatch: pytest.MonkeyPatch, field: str, value: str
) -> None:
    monkeypatch.setattr(machine, "look", lambda: replace(FITTING, **{field: value}))
    said = refused(Refused, whole, keys, here)
    assert f"the bundle is for {getattr(MADE_FOR, field)}, this machine has {value}" in said


def test_two_at_once(here: Path, whole: Path, keys: Keys) -> None:
    install.install(whole, keys.allowed, None)
    handle = os.open(here / "state/bundles", os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        with pytest.raises(NotDone, match="another installation is at work"):
            install.install(whole, keys.allowed, None)
    finally:
        os.close(handle)
    install.install(whole, keys.allowed, None)


# --- the folder of the runs and the name on PATH ----------------------------------------------------------------------


def test_the_bundles_specification_is_taken_where_there_is_none(
    here: Path, whole: Path, keys: Keys, capsys: pytest.CaptureFixture[str]
) -> None:
    command = install.install(whole, keys.allowed, None)
    own = install.settle(command, here / "site") / "provision.toml"
    assert own.read_bytes() == TOOL["run/provision.toml"]
    own.write_text('[machine]\nname = "mine"\n')
    capsys.readouterr()
    install.settle(command, here / "site")
    assert own.read_text() == '[machine]\nname = "mine"\n'
    assert f"{own} stays; the bundle's own is {command.parent}/content/run/provision.toml" in capsys.readouterr().err


@pytest.mark.parametrize("before", ["nothing", "an earlier bundle's", "a file of somebody's", "a link of somebody's"])
def test_the_name_on_path(here: Path, whole: Path, keys: Keys, before: str, capsys: pytest.CaptureFixture[str]) -> None:
    command = install.install(whole, keys.allowed, None)
    link = here / "bin/provision"
    link.parent.mkdir()
    prepare: dict[str, Callable[[], object]] = {
        "nothing": lambda: None,
        "an earlier bundle's": lambda: link.symlink_to(here / "state/bundles/0123/provision"),
        "a file of somebody's": lambda: link.write_text("mine"),
        "a link of somebody's": lambda: link.symlink_to("/opt/other"),
    }
    prepare[before]()
    install.settle(command, here / "site")
    if "somebody" in before:
        assert "stays as it is" in capsys.readouterr().err
        assert (str(link.readlink()) if link.is_symlink() else link.read_text()) in ("mine", "/opt/other")
    else:
        assert link.readlink() == command


# --- the two commands -------------------------------------------------------------------------------------------------


@pytest.fixture
def became(here: Path, monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """The programs that this process was to become, with the folder it was in."""
    monkeypatch.chdir(here)
    seen: list[object] = []

    def become(program: Path, words: list[str]) -> None:
        seen.append((Path.cwd(), program, words))
        raise SystemExit(0)  # whoever becomes another program does not come back

    monkeypatch.setattr(os, "execv", become)
    return seen


@pytest.mark.parametrize("alone", [True, False], ids=["the program beside the bundle", "the tool's own command"])
def test_both_commands_become_provision_up(
    here: Path, whole: Path, keys: Keys, became: list[object], alone: bool
) -> None:
    words = ["install", str(whole), "--allowed-signers", str(keys.allowed), "--folder", str(here / "site")]
    words += ["--yes", "--allow", "disks", "--allow", "config"]
    if alone:
        with pytest.raises(SystemExit):
            program.main(words)
    else:
        CliRunner().invoke(cli.main, ["bundle", *words], catch_exceptions=False)
    command = here / "state/bundles/current" / "provision"
    home = command.resolve()
    assert became == [(here / "site", home, [str(home), "up", "--yes", "--allow", "disks", "--allow", "config"])]


@pytest.mark.parametrize("alone", [True, False], ids=["the program beside the bundle", "the tool's own command"])
def test_only_unpack_stops_before(
    here: Path,
    whole: Path,
    keys: Keys,
    became: list[object],
    alone: bool,
    capsys: pytest.CaptureFixture[str],
) -> None:
    words = ["install", str(whole), "--allowed-signers", str(keys.allowed), "--folder", str(here / "my site")]
    words += ["--only-unpack"]
    if alone:
        assert program.main(words) == 0
        assert f"Next: cd '{here}/my site' && " in capsys.readouterr().err
    else:
        assert CliRunner().invoke(cli.main, ["bundle", *words], catch_exceptions=False).exit_code == 0
    assert became == []


def test_a_name_that_allows_nothing_is_refused_before_anything_is_read(
    here: Path, whole: Path, keys: Keys, became: list[object]
) -> None:
    words = ["bundle", "install", str(whole), "--allowed-signers", str(keys.allowed), "--allow", "disk"]
    done = CliRunner().invoke(cli.main, words)
    assert became == [] and done.exit_code == 2 and 'did you mean "disks"?' in done.output
    assert not (here / "state").exists()
