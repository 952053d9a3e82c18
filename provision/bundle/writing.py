"""The bundle's file: written in one stream, and there whole or not at all."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import secrets
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from provision.bundle import content
from provision.bundle.content import Content
from provision.errors import ChangeError
from provision.payload.bundle import layout, manifest
from provision.record import record

_NAMELESS_NOT_HERE = (errno.EOPNOTSUPP, errno.EISDIR, errno.EINVAL, errno.ENOENT)
_PART = ".part"


@record
class Written:
    """The finished file."""

    size_bytes: int
    sha256: str


def write(path: Path, table: bytes, signature: bytes, contents: Iterable[Content]) -> Written:
    """Write ``path`` from the manifest's bytes, its signature and the members in the manifest's order.

    Raises ``ChangeError``; the file that was there before stands then.
    """
    digest = hashlib.sha256()
    size_bytes = 0
    with whole(path) as out:
        for chunk in _stream(table, signature, contents):
            digest.update(chunk)
            size_bytes += len(chunk)
            out.write(chunk)
    return Written(size_bytes=size_bytes, sha256=digest.hexdigest())


def need_room(path: Path, size_bytes: int) -> None:
    """Raises ``ChangeError`` where the disk has not the room for the file (beside an earlier one of that name)."""
    free_bytes = shutil.disk_usage(path.parent).free
    if free_bytes < size_bytes:
        raise ChangeError(
            f"{path.parent} has {free_bytes >> 20} MiB free; the bundle takes {(size_bytes >> 20) + 1} MiB",
            f"df -h {path.parent}",
        )


@contextmanager
def whole(path: Path) -> Iterator[BinaryIO]:
    """A file that gets the name ``path`` at the end. Until then it has none: killed at any moment, nothing is left.

    A file system that knows no nameless files (NFS, FAT) gets a hidden one; what a killed run left of it is removed.
    """
    folder = path.parent
    temporary = folder / f".{path.name}.{secrets.token_hex(8)}{_PART}"
    try:
        for left in folder.glob(f".{path.name}.*{_PART}"):
            left.unlink()
        handle, nameless = _open(folder, temporary)
        try:
            with os.fdopen(handle, "wb") as out:
                yield out
                out.flush()
                os.fsync(out.fileno())
                if nameless:
                    there = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
                    try:  # with a folder's handle, for else Python calls link(2), which does not follow /proc's link
                        os.link(f"/proc/self/fd/{out.fileno()}", temporary.name, dst_dir_fd=there, follow_symlinks=True)
                    finally:
                        os.close(there)
            temporary.chmod(0o666 & ~_umask())  # a model in it may be nobody else's to read
            temporary.replace(path)
        except BaseException:
            with contextlib.suppress(FileNotFoundError):
                temporary.unlink()
            raise
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
        raise ChangeError(
            f"{path}: {error.strerror}; nothing of it was left"
            + (", the earlier file stands" if path.exists() else ""),
            f"df -h {folder}" if full else f"ls -ld {folder}",
        ) from error


def _umask() -> int:
    """The process's; it can only be asked for by setting it."""
    now = os.umask(0o077)
    os.umask(now)
    return now


def _open(folder: Path, temporary: Path) -> tuple[int, bool]:
    """A new file's handle, and whether it has no name."""
    try:
        return os.open(folder, os.O_TMPFILE | os.O_WRONLY | os.O_CLOEXEC, 0o600), True
    except OSError as error:
        if error.errno not in _NAMELESS_NOT_HERE:
            raise
    return os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600), False


def _stream(table: bytes, signature: bytes, contents: Iterable[Content]) -> Iterator[bytes]:
    for name, data in ((manifest.NAME, table), (manifest.SIGNATURE_NAME, signature)):
        yield layout.header(name, len(data)) + layout.padded(data)
    for one in contents:
        yield layout.header(one.member.path, one.member.size_bytes)
        yield from content.read(one)
        yield layout.padding(one.member.size_bytes)
    yield layout.END


def sha256(data: bytes) -> str:
    """Of bytes at hand."""
    return hashlib.sha256(data).hexdigest()
