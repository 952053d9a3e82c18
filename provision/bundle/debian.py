"""Debian packages with everything they stand on, from this host's own archive, for machines of which nothing is known.

apt itself resolves and downloads, in a folder of its own where no package is installed: so what it takes is complete on
any machine of that release, the smallest included. It checks the archive's signature and every hash on the way; the
hashes are compared once more here, as apt does not look again at a file that it finds in its cache.

Measured 2026-11-24 (bookworm, amd64, the engine and the roles' other packages): 106 packages, 98 MiB. The nine of them that
every Debian has (essential, or of priority required) stay in: 5 MiB, and a machine of an older point release may need them.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from provision import apt
from provision.errors import Busy, ChangeError
from provision.progress import say
from provision.record import record

SECONDS = 3600
# Everything that Debian itself has, as far as this host's apt has it: the roles need main alone, a driver is in non-free.
COMPONENTS = ("main", "contrib", "non-free", "non-free-firmware")
_ROOT_PREFIX = "root-"
_KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
_URI = re.compile(r"'[^']+' (?P<file>\S+) (?P<size>\d+) SHA256:(?P<sha256>[0-9a-f]{64})")


@record
class Deb:
    """One package file. ``control``: its fields as ``dpkg-deb --field`` prints them."""

    path: Path
    sha256: str
    size_bytes: int
    control: str

    def field(self, name: str) -> str:
        """A field of one line; empty where the package has none of that name."""
        found = re.search(rf"^{name}: (.*)$", self.control, re.MULTILINE)
        return found[1] if found else ""

    @property
    def filename(self) -> str:
        """The name in the bundle: as in Debian's pool, without the version's epoch, whose colon addresses cannot carry."""
        version = self.field("Version").rpartition(":")[2]
        return f"{self.field('Package')}_{version}_{self.field('Architecture')}.deb"


def closure(packages: Sequence[str], suite: str, architecture: str, cache: Path) -> tuple[Deb, ...]:
    """``packages`` and everything they depend on, from ``cache/debs`` or downloaded there, sorted by file name.

    Raises ``ChangeError``: not Debian, no such package, no network, another file than the archive's.
    """
    sources = apt.debian_sources(suite, COMPONENTS)
    kept = cache / "debs"
    try:
        (kept / "partial").mkdir(parents=True, exist_ok=True)
        with _alone(kept), _root(sources, architecture, kept) as (root, environment):
            say(f"reading this host's Debian archive ({suite}, {architecture})")
            _apt(environment, "update")
            wanted = _wanted(environment, root, packages)
            missing = [file for file in wanted if not (kept / file).is_file()]
            if missing:
                total = sum(size for size, _ in wanted.values())
                say(
                    f"downloading {len(missing)} of {len(wanted)} Debian packages, {total >> 20} MiB in all, into {kept}"
                )
                _apt(environment, "--download-only", "install", *packages)
    except OSError as error:
        raise ChangeError(f"{kept} cannot be used: {error.strerror}", f"ls -ld {kept}") from error
    return tuple(
        sorted((_deb(kept / file, size, sha) for file, (size, sha) in wanted.items()), key=lambda d: d.filename)
    )


def _wanted(environment: dict[str, str], root: Path, packages: Sequence[str]) -> dict[str, tuple[int, str]]:
    """File name to size and sha256. Asked with an empty cache: apt does not name what it would not download."""
    empty = f"Dir::Cache::archives={root}/none/"
    said = _apt(
        environment, "--option", empty, "--option", "Acquire::ForceHash=SHA256", "--print-uris", "install", *packages
    )
    found = {m["file"]: (int(m["size"]), m["sha256"]) for m in _URI.finditer(said)}
    if not found:
        raise ChangeError(f"apt named no files for {', '.join(packages)}", "sudo apt-get update")
    return found


def _deb(path: Path, size_bytes: int, sha256: str) -> Deb:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    if digest.hexdigest() != sha256:
        raise ChangeError(
            f"{path}: it is not the package that the archive lists: expected sha256 {sha256}, got {digest.hexdigest()}",
            f"rm {path}",
        )
    control = subprocess.run(
        ["dpkg-deb", "--field", str(path)], capture_output=True, text=True, check=True, timeout=60
    ).stdout
    return Deb(path=path, sha256=sha256, size_bytes=size_bytes, control=control)


@contextmanager
def _alone(kept: Path) -> Iterator[None]:
    """Hold the folder; clear away what a killed run left. Raises ``Busy`` while another run holds it."""
    handle = os.open(kept, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        for left in kept.glob(f"{_ROOT_PREFIX}*"):
            shutil.rmtree(left)
        yield
    except BlockingIOError:
        raise Busy(
            f"another run is gathering Debian packages in {kept}", "wait for it to end, then run again"
        ) from None
    finally:
        os.close(handle)


@contextmanager
def _root(sources: tuple[apt.Source, ...], architecture: str, kept: Path) -> Iterator[tuple[Path, dict[str, str]]]:
    """apt's own folder and the environment that makes it the only one apt knows."""
    with tempfile.TemporaryDirectory(prefix=_ROOT_PREFIX, dir=kept) as name:
        root = Path(name).absolute()
        root.chmod(0o755)  # apt downloads as a user of its own
        for folder in (
            "etc/apt/apt.conf.d",
            "etc/apt/preferences.d",
            "var/lib/apt/lists/partial",
            "var/lib/dpkg",
            "none/partial",
        ):
            (root / folder).mkdir(parents=True)
        (root / "var/lib/dpkg/status").touch()
        listing = "".join(f"deb [signed-by={_KEYRING}] {s.uri} {s.suite} {s.component}\n" for s in sources)
        (root / "etc/apt/sources.list").write_text(listing)
        configuration = root / "apt.conf"
        configuration.write_text(
            f'Dir "{root}/";\nDir::State::status "{root}/var/lib/dpkg/status";\nDir::Cache::archives "{kept.absolute()}/";\n'
            f'APT::Architecture "{architecture}";\nAPT::Architectures {{ "{architecture}"; }};\n'
            'APT::Install-Recommends "0";\nAcquire::Languages "none";\n' + apt.reach()
        )
        configuration.chmod(0o600)  # a proxy's address may carry a password
        yield root, {**os.environ, "APT_CONFIG": str(configuration), "LC_ALL": "C.UTF-8"}


def _apt(environment: dict[str, str], *arguments: str) -> str:
    command = ["apt-get", "--yes", "--quiet=2", "--option", "APT::Get::AllowUnauthenticated=0", *arguments]
    try:
        done = subprocess.run(
            command,
            env=environment,
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            timeout=SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise ChangeError(f"apt-get did not end within {SECONDS} s", "sudo apt-get update") from None
    said = re.sub(r"//[^/@\s]+@", "//", done.stderr)  # a mirror's address may carry a password
    errors = [line for line in said.splitlines() if line.startswith("E:")]
    # An index that cannot be fetched is a warning to apt, which goes on with what it has: here that is nothing.
    stale = [line for line in said.splitlines() if line.startswith("W: Failed to fetch")]
    if done.returncode == 0 and not stale:
        return done.stdout
    reason = " ".join((errors + stale or [f"exit status {done.returncode}"])[0].split())
    raise ChangeError(f"the Debian packages could not be gathered: {reason}", "sudo apt-get update")
