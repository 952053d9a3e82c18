"""A folder with exactly the wheels that a lock names, so that an image can be built without a network.

pip downloads (it knows the user's indexes, proxies, keyrings and retries) into a folder of its own inside the
house; every file is hashed again here, and only then renamed into place. So a wheel in the house is whole, or it
is not there. A second run hashes what lies there and asks no index.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from provision import index
from provision.errors import Busy, ChangeError, UsageError
from provision.index import IndexSettings
from provision.lock import text
from provision.lock.pages import Pages
from provision.lock.target import Target
from provision.lock.text import Pin
from provision.progress import say
from provision.record import record

_CHUNK_BYTES = 1 << 20
_PARTIAL = ".partial-"
_DOWNLOAD_SECONDS = 3600
_MISMATCH = re.compile(
    r"(?P<package>[A-Za-z0-9][A-Za-z0-9._-]*==[^\s;]+)[^\n]*:\s*\n"
    r"\s*Expected sha256 (?P<expected>[0-9a-f]{64})(?P<more>(?:\s*\n\s*Expected\s+or [0-9a-f]{64})*)"
    r"\s*\n\s*Got\s+(?P<got>[0-9a-f]{64})"
)


@record
class Wheel:
    """One wheel of the house; ``size_bytes`` as it lies there, packed."""

    name: str
    version: str
    filename: str
    sha256: str
    size_bytes: int


@record
class Wheelhouse:
    """The wheels of one lock in ``folder``, by name. Other files in the folder belong to other locks."""

    folder: Path
    wheels: tuple[Wheel, ...]
    downloaded: tuple[str, ...]  # names of the packages that were not there before


def fill(
    lockfile: Path,
    destination: Path,
    python: str,
    indexes: Callable[[], IndexSettings] = index.read,
    *,
    glibc: str = "2.36",  # Debian 12, the image
    machine: str = "x86_64",
) -> Wheelhouse:
    """Every wheel of ``lockfile`` in ``destination``, verified. ``indexes`` is called only when something is missing.

    ``python`` is the version that will load the wheels ("3.11"), not necessarily the one that runs this.
    Raises ``UsageError`` for a lock that cannot be used, ``ChangeError`` where a wheel does not match its hash, no
    index answers, or the folder cannot be written; what was whole before stays.
    """
    pins = _pins(lockfile)
    target = Target(python=python, glibc=glibc, machine=machine)
    try:
        destination.mkdir(parents=True, exist_ok=True)
        with _alone(destination):
            here = {pin.name: _look(destination, pin, target) for pin in pins}
            missing = [pin for pin in pins if here[pin.name] is None]
            if missing:
                settings = indexes()
                say(f"downloading {len(missing)} of {len(pins)} wheels of {lockfile.name} into {destination}")
                _download(missing, destination, target, settings, lockfile)
                here.update({pin.name: _look(destination, pin, target) for pin in missing})
    except OSError as error:
        raise _cannot_write(destination, error) from None
    return Wheelhouse(
        folder=destination,
        wheels=tuple(wheel for _, wheel in sorted(here.items()) if wheel is not None),
        downloaded=tuple(sorted(pin.name for pin in missing)),
    )


def unpacked_bytes(house: Wheelhouse) -> int:
    """The sum of the sizes of all files in the house's wheels, unpacked."""
    total = 0
    for wheel in house.wheels:
        with zipfile.ZipFile(house.folder / wheel.filename) as archive:
            total += sum(entry.file_size for entry in archive.infolist())
    return total


def _pins(lockfile: Path) -> tuple[Pin, ...]:
    again = f"provision lock {lockfile.stem}"
    try:
        lock = text.parse(lockfile.read_text())
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{lockfile}: the lock cannot be read: {error}", again) from None
    for number, line in lock.strays:
        raise UsageError(
            f"{lockfile}:{number}: expected name==version and hashes, got {index.redact(line)[:80]!r}", again
        )
    for pin in lock.pins:
        if not pin.sha256:
            raise UsageError(f"{lockfile}:{pin.line}: {pin.name} {pin.version} has no hash", again)
    return lock.pins


def _look(house: Path, pin: Pin, target: Target) -> Wheel | None:
    """The wheel of ``pin`` in the house; ``None`` where there is none. Raises ``ChangeError`` for a wrong one."""
    candidates = _candidates(house, pin, target)
    for path in candidates:
        got = _sha256(path)
        if got in pin.sha256:
            return Wheel(
                name=pin.name, version=pin.version, filename=path.name, sha256=got, size_bytes=path.stat().st_size
            )
    if candidates:
        path = candidates[0]
        raise ChangeError(
            f"{pin.name} {pin.version}: the wheel in the house is not the one that was locked. "
            f"Expected sha256 {_alternatives(pin.sha256)}; got {_sha256(path)} in {path}",
            f"rm {path}",
        )
    return None


def _candidates(house: Path, pin: Pin, target: Target) -> list[Path]:
    """Files of the house that are named as a wheel of ``pin`` that the target can load, the best first."""
    from packaging.utils import InvalidWheelFilename, canonicalize_name, parse_wheel_filename
    from packaging.version import InvalidVersion, Version

    rank = {tag: place for place, tag in enumerate(target.tags())}
    found: list[tuple[int, str, Path]] = []
    for path in house.glob("*.whl"):
        if canonicalize_name(path.name.partition("-")[0]) != pin.name:
            continue
        try:
            _, version, _, tags = parse_wheel_filename(path.name)
        except (InvalidWheelFilename, InvalidVersion):
            continue
        places = [rank[tag] for tag in tags if tag in rank]
        if places and version == Version(pin.version):
            found.append((min(places), path.name, path))
    return [path for _, _, path in sorted(found)]


def _download(pins: Sequence[Pin], house: Path, target: Target, settings: IndexSettings, lockfile: Path) -> None:
    """Download ``pins`` into a folder inside the house, check every byte, and rename what is right into place."""
    # pip takes a dead index for an empty one and then says "no matching distribution"; so ask first.
    Pages(settings).read(pin.name for pin in pins[:1])
    with tempfile.TemporaryDirectory(prefix=_PARTIAL, dir=house) as name:
        folder = Path(name)
        wanted = folder / "wanted.txt"
        wanted.write_text(
            "".join(
                f"{pin.name}=={pin.version} {' '.join(f'--hash=sha256:{each}' for each in pin.sha256)}\n"
                for pin in pins
            )
        )
        nodot = "".join(map(str, target.python_pair()))
        command = [
            *(sys.executable, "-m", "pip", "download", "--quiet", "--require-hashes", "--requirement", str(wanted)),
            *("--only-binary", ":all:", "--no-deps", "--no-cache-dir", "--dest", str(folder)),
            *("--python-version", target.python, "--implementation", "cp", "--abi", f"cp{nodot}"),
            *(word for platform in target.platforms() for word in ("--platform", platform)),
        ]
        # pip unpacks in TMPDIR first: inside the house, so that one file system needs the room, not two.
        environment = {**index.pip_environment(settings, os.environ), "TMPDIR": str(folder)}
        try:
            done = subprocess.run(
                command,
                env=environment,
                capture_output=True,
                text=True,
                timeout=_DOWNLOAD_SECONDS,
                stdin=subprocess.DEVNULL,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise ChangeError(f"pip download did not end within {_DOWNLOAD_SECONDS} s; nothing was kept") from None
        if done.returncode != 0:
            raise _failed(done.stderr, pins, house, settings, lockfile)
        wheels = [(pin, _look(folder, pin, target)) for pin in pins]
        for pin, wheel in wheels:
            if wheel is None:
                raise ChangeError(
                    f"{pin.name} {pin.version}: pip downloaded no wheel that CPython {target.python} loads"
                )
        for _, wheel in wheels:
            if wheel is not None:
                (folder / wheel.filename).replace(house / wheel.filename)


def _failed(stderr: str, pins: Sequence[Pin], house: Path, settings: IndexSettings, lockfile: Path) -> ChangeError:
    """What pip's failure means, in one message. Nothing was added to the house."""
    if "No space left on device" in stderr:
        return _cannot_write(house, OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)))
    if mismatch := _MISMATCH.search(stderr):
        name = mismatch["package"].partition("==")[0]
        pin = next((each for each in pins if each.name == name), None)
        expected = pin.sha256 if pin is not None else (mismatch["expected"],)
        return ChangeError(
            f"{mismatch['package']}: the wheel that the index gave is not the one that was locked. "
            f"Expected sha256 {_alternatives(expected)}; got {mismatch['got']}. Nothing was kept",
            f"provision lock {lockfile.stem}   (only if these indexes are the right ones: "
            f"another build of the same version has another hash)",
        )
    errors = [line.removeprefix("ERROR: ") for line in stderr.splitlines() if line.startswith("ERROR: ")]
    said = settings.redact("; ".join(errors[-2:]) or stderr.strip()[-400:])
    return ChangeError(f"pip download failed, nothing was kept: {said}", f"provision lock {lockfile.stem}")


def _cannot_write(house: Path, error: OSError) -> ChangeError:
    if error.errno == errno.ENOSPC:
        there = next(path for path in (house, *house.parents) if path.is_dir())
        free = shutil.disk_usage(there).free
        return ChangeError(
            f"the disk is full: {free} bytes are free at {house}, too few for the wheels. Nothing was kept",
            f"df -h {house}",
        )
    return ChangeError(f"the wheelhouse {house} cannot be used: {error.strerror or error}", f"ls -ld {house}")


def _alternatives(sha256: Sequence[str]) -> str:
    """A package may have dozens of wheels: one hash is shown, and how many more there are."""
    return sha256[0] if len(sha256) == 1 else f"{sha256[0]} or one of {len(sha256) - 1} more"


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


@contextmanager
def _alone(house: Path) -> Iterator[None]:
    """Hold the house; clear away what a killed run left. Raises ``Busy`` while another run holds it."""
    with (house / ".lock").open("w") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Busy(f"another run is filling the wheelhouse {house}", "wait for it to end, then run again") from None
        for left in house.glob(f"{_PARTIAL}*"):
            shutil.rmtree(left)
        yield
