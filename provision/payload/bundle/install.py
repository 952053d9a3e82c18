"""A machine brought up from a bundle: checked, unpacked, given an environment, then ``provision up`` with nobody to ask.

Safe to repeat: what is there and right is left as it is. Interrupted anywhere, the same command goes on: the unpacked folder
and the environment are whole or made again, and ``provision up`` is safe to repeat itself.
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import hashlib
import os
import shlex
import shutil
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from . import machine, place
from . import verify as verifying
from .errors import Misused, NotDone, Refused
from .manifest import Manifest, Member
from .signature import allowed_signers
from .unpack import sweep, unpack
from .verify import Verified

STATE = Path("/var/lib/provision")
BUNDLES = STATE / "bundles"
SITE = STATE / "site"
LINK = Path("/usr/local/bin/provision")
DIGEST_CHARACTERS = 12
SPEC = "provision.toml"
CURRENT = (
    "current"  # a link to the one installed last: provision.toml cannot name the bundle that carries it by its digest
)
_CHUNK_BYTES = 1 << 20


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options of ``install`` beside those that say whom to trust."""
    parser.add_argument("--yes", action="store_true", help="go on without asking, on a busy machine too")
    parser.add_argument(
        *("--allow",), action="append", default=[], metavar="NAME", dest="allowed", help="as provision up takes it"
    )
    parser.add_argument(
        *("--folder",), type=Path, default=SITE, metavar="DIR",
        help=f"where provision.toml and the runs are; {SITE} if left out",
    )  # fmt: skip
    parser.add_argument("--only-unpack", action="store_true", help="stop before provision up")
    parser.set_defaults(run=run)


def run(given: argparse.Namespace) -> int:
    """``install`` of the program beside a bundle."""
    command = install(given.file, given.signers, given.identity)
    return bring_up(command, given.folder, yes=given.yes, allowed=given.allowed, only_unpack=given.only_unpack)


def bring_up(command: Path, folder: Path, *, yes: bool, allowed: Sequence[str], only_unpack: bool) -> int:
    """Become ``provision up`` in ``folder``; 0 where that is not asked for."""
    with _in_our_words(folder):
        folder = settle(command, folder.absolute())
    options = [*(["--yes"] if yes else []), *(word for name in allowed for word in ("--allow", name))]
    if only_unpack:
        say(f"ready; nothing else was changed. Next: {shlex.join(['cd', str(folder)])} && {command} up")
        return 0
    say(f"in {folder}: {shlex.join(['provision', 'up', *options])}")
    with _in_our_words(command):
        os.chdir(folder)
        sys.stdout.flush()
        os.execv(command, [str(command), "up", *options])  # noqa: S606 (arguments as a list)
    raise AssertionError("execv does not return")


def install(path: Path, signers: Path | None, identity: str | None) -> Path:
    """The tool of the bundle at ``path``, ready to run: its command. Nothing but the bundle's own folder is written.

    Raises ``BundleError``; where the bundle is refused, nothing was.
    """
    with verifying.opened(path, signers, identity) as (_, verified):
        pass
    machine.need_fit(path, verified.manifest.made_for)
    tool, lock, pip = _tool(verified.manifest)
    if os.geteuid() != 0:
        python = ["python3"] if sys.argv[0].endswith(".pyz") else []
        # root has other files: whom this user trusts is said in full
        trusted = [] if signers else ["--allowed-signers", str(allowed_signers(None))]
        again = shlex.join(["sudo", *python, *sys.argv, *trusted])
        raise NotDone(f"installing into {BUNDLES} needs root; nothing was changed", again)
    home = BUNDLES / verified.manifest_sha256[:DIGEST_CHARACTERS]
    os.umask(0o022)  # everybody may run the tool, and only root may change it, whatever the caller's umask is
    with _in_our_words(home), _folders(home), _alone(BUNDLES):
        for other in BUNDLES.iterdir():  # a bundle that was broken off and never tried again
            sweep(other / "content")
        content = home / "content"
        if content.is_dir():
            say(f"checking {path} and what was unpacked from it")
            _same(verifying.verify(path, signers, identity), verified)
            if different := _different(content, verified.manifest):
                say(f"{content / different} is not as it was bundled; unpacking again")
                shutil.rmtree(content)
        if not content.is_dir():
            say(f"checking every byte of {path} and unpacking it ({verified.manifest.unpacked_bytes >> 20} MiB)")
            _same(unpack(path, content, signers, identity), verified)
        if (content / "model").is_dir():
            (content / "model").chmod(0o700)  # weights are nobody else's to read
        version = Path(tool.path).name.split("-")[1]
        pinned = f"{(content / lock).read_text()}\nllm-provision=={version} --hash=sha256:{tool.sha256}\n"
        if place.make_environment(home, _python(), pinned, content / pip):
            say(f"made {home / 'venv'} from the bundle's wheels")
        place.write_apt(home)
        command = place.write_command(home)
        _point(BUNDLES / CURRENT, home.name)
    return command


def settle(command: Path, folder: Path) -> Path:
    """The folder of the runs, with the bundle's provision.toml where it has none of its own, and the tool on PATH."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError):
        raise Misused(f"{folder}: a file stands where a folder should be") from None
    bundled, own = command.parent / "content/run" / SPEC, folder / SPEC
    if bundled.is_file() and not os.path.lexists(own):
        place.write(own, bundled.read_text())
    elif bundled.is_file() and own.read_bytes() != bundled.read_bytes():
        say(f"{own} stays; the bundle's own is {bundled}")
    _link(LINK, command)
    return folder


def _point(link: Path, name: str) -> None:
    """``link`` to ``name`` beside it, at no moment to nothing."""
    if link.is_symlink() and str(link.readlink()) == name:
        return
    part = link.with_name(f".{link.name}.part")
    part.unlink(missing_ok=True)
    part.symlink_to(name)
    part.replace(link)


def _link(link: Path, command: Path) -> None:
    """The tool by its name, unless somebody else's program has it."""
    target = link.readlink() if link.is_symlink() else None
    if target == command:
        return
    if target is not None and target.is_relative_to(BUNDLES):
        link.unlink()  # of a bundle that was installed before
    if os.path.lexists(link):
        say(f"{link} stays as it is; the bundle's command is {command}")
        return
    link.parent.mkdir(parents=True, exist_ok=True)
    link.symlink_to(command)


def say(text: str) -> None:
    """Progress, on standard error: standard output belongs to ``provision up``."""
    print(text, file=sys.stderr, flush=True)


def _python() -> str:
    """Debian's own of this version: whoever may write to the one that runs this could change what root will run."""
    own = Path("/usr/bin/python3")
    version = f"python{sys.version_info[0]}.{sys.version_info[1]}"
    return str(own) if own.resolve().name == version and own.exists() else sys.executable


def _same(now: Verified, before: Verified) -> None:
    if now.manifest_sha256 != before.manifest_sha256:
        raise Misused(f"{now.path}: it became another bundle while it was read; nothing of it is used")


def _tool(table: Manifest) -> tuple[Member, str, str]:
    """The tool's own wheel, and the paths of its lock and of pip's wheel."""
    names = [m.path for m in table.members if m.path.startswith("tool/")]
    wheels = [m for m in table.members if m.path.startswith("tool/llm_provision-") and m.path.endswith(".whl")]
    locks = [name for name in names if name.endswith(".txt")]
    pips = [name for name in names if name.startswith("tool/pip-") and name.endswith(".whl")]
    if len(wheels) != 1 or len(locks) != 1 or len(pips) != 1:
        raise Refused("tool/: expected one wheel of the tool, one of pip and one lock; nothing was changed")
    return wheels[0], locks[0], pips[0]


def _different(content: Path, table: Manifest) -> str:
    """The first member that is missing or other than in the bundle; empty where all are right."""
    for member in table.members:
        digest = hashlib.sha256()
        try:
            with (content / member.path).open("rb") as file:
                while chunk := file.read(_CHUNK_BYTES):
                    digest.update(chunk)
        except OSError:
            return member.path
        if digest.hexdigest() != member.sha256:
            return member.path
    return ""


@contextmanager
def _in_our_words(place: Path) -> Iterator[None]:
    """What the system refuses (a full disk, a file where a folder should be), as an error that says where."""
    try:
        yield
    except OSError as error:
        where = error.filename or place
        raise NotDone(f"{where}: {error.strerror}; the same command goes on", f"df -h {BUNDLES}") from error


@contextmanager
def _folders(home: Path) -> Iterator[None]:
    """``home``, made if need be; gone again, with what was made for it, where nothing came into it."""
    made = [path for path in (home, *home.parents) if not path.exists()]
    try:
        home.mkdir(parents=True, exist_ok=True, mode=0o755)
    except OSError as error:
        raise NotDone(f"{home}: cannot be made: {error.strerror}; nothing was changed") from None
    try:
        yield
    finally:
        with contextlib.suppress(OSError):  # not empty: as it should be
            for path in made:
                path.rmdir()


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """One installation at a time; its end, however it comes, lets the next one in."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            busy = f"another installation is at work in {folder}; nothing was changed"
            raise NotDone(busy, "wait for it to end, then run again") from None
        yield
    finally:
        os.close(handle)
