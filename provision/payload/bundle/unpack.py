"""A bundle's members as files, once every byte of it is known to be right.

They are written into a folder with another name, hashed again on the way, and that folder is renamed last: a destination
that is there is whole. What a killed run left is removed by the next.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from . import manifest, walk
from . import verify as verifying
from .errors import Misused, NotDone
from .verify import Say, Verified

_PART = ".part"
_SPARE_BYTES = 64 << 20  # beside the members: folders, the file system's own


def unpack(
    path: Path,
    destination: Path,
    signers: Path | None = None,
    identity: str | None = None,
    say: Say = lambda _: None,
) -> Verified:
    """Verify the bundle and unpack it as the new folder ``destination``.

    Raises ``BundleError``; then nothing is left, and nothing that was there has been touched.
    """
    destination = destination.absolute()
    if os.path.lexists(destination):
        raise Misused(f"{destination} is there already, and nothing is overwritten")
    if not destination.parent.is_dir():
        raise Misused(f"{destination.parent} is no folder")
    with verifying.opened(path, signers, identity) as (file, verified):
        verifying.contents(file, verified, say)
        with _folder(destination, verified) as folder:
            _write(file, verified, folder)
            folder.chmod(0o755)
            _flush(folder)
            folder.rename(destination)
            _flush(destination.parent)
    return verified


def _write(file: BinaryIO, verified: Verified, folder: Path) -> None:
    """The members, and the two files that say what they are: whoever finds the folder later can check it again."""
    for name, data in zip((manifest.NAME, manifest.SIGNATURE_NAME), verified.head, strict=True):
        (folder / name).write_bytes(data)
    for member in verified.manifest.members:
        target = folder / member.path
        target.parent.mkdir(parents=True, exist_ok=True)
        with target.open("xb") as out:
            walk.content(file, member, verified.manifest, out.write)
            out.flush()
            os.fsync(out.fileno())
        target.chmod(0o644)


@contextmanager
def _folder(destination: Path, verified: Verified) -> Iterator[Path]:
    """A new folder beside ``destination``, gone at the end unless it was renamed."""
    parent = destination.parent
    try:
        sweep(destination)
        free_bytes = shutil.disk_usage(parent).free
        needed = verified.manifest.unpacked_bytes + _SPARE_BYTES
        if free_bytes < needed:
            raise NotDone(
                f"{parent} has {free_bytes >> 20} MiB free; unpacking needs {needed >> 20} MiB", f"df -h {parent}"
            )
        folder = Path(tempfile.mkdtemp(prefix=f".{destination.name}.", suffix=_PART, dir=parent))
    except OSError as error:
        raise NotDone(f"{parent}: cannot be written: {error.strerror}; nothing was unpacked") from error
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield folder
    except OSError as error:
        hint = f"df -h {parent}" if error.errno == errno.ENOSPC else ""
        raise NotDone(f"{destination}: {error.strerror}; nothing was kept", hint) from error
    finally:
        os.close(handle)
        shutil.rmtree(folder, ignore_errors=True)


def sweep(destination: Path) -> None:
    """Remove what runs that were killed left; one that is at work holds its folder locked."""
    for left in destination.parent.glob(f".{destination.name}.*{_PART}"):
        with contextlib.suppress(BlockingIOError, FileNotFoundError, NotADirectoryError):
            handle = os.open(left, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(left)
            finally:
                os.close(handle)


def _flush(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
