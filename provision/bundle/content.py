"""One member to be, and the plain files of a folder as members."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterator
from pathlib import Path

from provision.errors import ChangeError, UsageError
from provision.payload.bundle import manifest
from provision.payload.bundle.manifest import Member
from provision.record import record

CHUNK_BYTES = 1 << 20


@record
class Content:
    """A member and where its bytes come from."""

    member: Member
    source: Path | bytes


def literal(path: str, data: bytes | str) -> Content:
    """A member whose bytes are at hand."""
    data = data.encode() if isinstance(data, str) else data
    digest = hashlib.sha256(data).hexdigest()
    return Content(member=Member(path=path, sha256=digest, size_bytes=len(data)), source=data)


def from_file(path: str, source: Path, sha256: str = "") -> Content:
    """A member read from ``source``; hashed here where its hash is not known yet. Links are followed to a plain file.

    Raises ``UsageError`` where it is none, or has a name that no bundle carries.
    """
    if why := manifest.unsafe(path):
        raise UsageError(f"{source}: it cannot go into a bundle under this name: {why}")
    try:
        handle = os.open(source, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(handle, "rb") as file:
            status = os.fstat(handle)
            if not stat.S_ISREG(status.st_mode):
                raise UsageError(f"{source}: only plain files go into a bundle; this is a folder or a special file")
            size_bytes = status.st_size
            if not sha256:
                digest = hashlib.sha256()
                size_bytes = 0
                while chunk := file.read(CHUNK_BYTES):
                    digest.update(chunk)
                    size_bytes += len(chunk)
                sha256 = digest.hexdigest()
    except OSError as error:
        raise UsageError(f"{source}: it cannot be read: {error.strerror}") from None
    return Content(member=Member(path=path, sha256=sha256, size_bytes=size_bytes), source=source)


def from_folder(prefix: str, folder: Path, left_out: frozenset[str] = frozenset()) -> Iterator[Content]:
    """Every file under ``folder``; a link to a file is taken for the file, as a hub's cache keeps models.

    Raises ``UsageError`` for a link to a folder (it may lead round in a circle), and for what ``from_file`` refuses.
    """
    if why := manifest.unsafe(prefix):
        raise UsageError(f"{folder}: it cannot go into a bundle under this name: {why}")
    try:
        names = sorted(os.listdir(folder))  # noqa: PTH208 (names, undecodable ones too)
    except OSError as error:
        raise UsageError(f"{folder}: it cannot be read: {error.strerror}") from None
    for name in names:
        path = folder / name
        if name in left_out:
            continue
        if path.is_dir():
            if path.is_symlink():
                raise UsageError(f"{path}: a link to a folder; expected files, folders and links to files")
            yield from from_folder(f"{prefix}/{name}", path, left_out)
        else:
            yield from_file(f"{prefix}/{name}", path)


def read(content: Content) -> Iterator[bytes]:
    """Its bytes, hashed on the way. Raises ``ChangeError`` where they are no longer what the manifest says."""
    if isinstance(content.source, bytes):
        yield content.source
        return
    digest = hashlib.sha256()
    left = content.member.size_bytes
    changed = ChangeError(f"{content.source} changed while the bundle was made; nothing was written")
    try:
        with content.source.open("rb") as file:
            while left and (chunk := file.read(min(left, CHUNK_BYTES))):
                left -= len(chunk)
                digest.update(chunk)
                yield chunk
    except OSError as error:
        raise ChangeError(f"{content.source}: it cannot be read any more: {error.strerror}") from error
    if left or digest.hexdigest() != content.member.sha256:
        raise changed
