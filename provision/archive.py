"""Streaming tar archives: what goes to the engine is read from where it lies, never copied together first.

Owners, times and modes are set, not taken from the host, so equal content gives equal bytes on every machine.
"""

from __future__ import annotations

import hashlib
import stat
import tarfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path, PurePosixPath

from provision.errors import ChangeError
from provision.record import record

_CHUNK_BYTES = 1 << 20
_LEFT_OUT = ("__pycache__",)


@record
class Entry:
    """One member: ``source`` is a file to be read while streaming, bytes, or None for a directory."""

    name: str
    mode: int
    size_bytes: int
    source: Path | bytes | None


def literal(name: str, content: bytes) -> Entry:
    """A member whose content is at hand."""
    return Entry(name=name, mode=0o644, size_bytes=len(content), source=content)


def from_file(name: str, path: Path) -> Entry:
    """A member read from ``path``; executable where its owner may execute it."""
    status = path.lstat()
    if not stat.S_ISREG(status.st_mode):
        raise ChangeError(f"{path}: only plain files may go into an image; this is a link or a special file")
    mode = 0o755 if status.st_mode & stat.S_IXUSR else 0o644
    return Entry(name=name, mode=mode, size_bytes=status.st_size, source=path)


def gather(root: Path, parts: Mapping[str, Path]) -> tuple[Entry, ...]:
    """Everything under ``root``, and each of ``parts`` (a file or a folder) under its own name, sorted by name.

    A part's name may have folders in it; those are made where nothing else does.
    Bytecode is left out: it is the host's, not the image's. Raises ``ChangeError`` for a link or special file,
    and where two sources claim one name.
    """
    found: dict[str, Entry] = {}
    for prefix, source in (("", root), *sorted(parts.items())):
        for entry in _walk(source, prefix):
            if entry.name in found and entry.source is not None:
                raise ChangeError(f"{source}: {entry.name} is in the image's context twice")
            found[entry.name] = entry
            for folder in PurePosixPath(entry.name).parents[:-1]:
                found.setdefault(str(folder), Entry(name=str(folder), mode=0o755, size_bytes=0, source=None))
    return tuple(found[name] for name in sorted(found))


def digest(entries: Iterable[Entry], *more: str) -> str:
    """sha256 over names, modes and contents, and over ``more``."""
    whole = hashlib.sha256()
    for text in more:
        whole.update(hashlib.sha256(text.encode()).digest())
    for entry in entries:
        content = hashlib.sha256()
        for chunk in _content(entry):
            content.update(chunk)
        whole.update(f"{entry.name}\0{entry.mode:o}\0{content.hexdigest()}\n".encode())
    return whole.hexdigest()


def stream(entries: Iterable[Entry]) -> Iterator[bytes]:
    """The tar archive, piece by piece. Raises ``ChangeError`` where a file shrank since it was gathered."""
    for entry in entries:
        member = tarfile.TarInfo(entry.name)
        member.mode = entry.mode
        member.size = entry.size_bytes
        member.type = tarfile.DIRTYPE if entry.source is None else tarfile.REGTYPE
        yield member.tobuf(format=tarfile.PAX_FORMAT)
        yield from _content(entry)
        if entry.size_bytes % tarfile.BLOCKSIZE:
            yield bytes(tarfile.BLOCKSIZE - entry.size_bytes % tarfile.BLOCKSIZE)
    yield bytes(2 * tarfile.BLOCKSIZE)


def _walk(source: Path, prefix: str) -> Iterator[Entry]:
    if not source.is_dir():
        yield from_file(prefix, source)
        return
    if prefix:
        yield Entry(name=prefix, mode=0o755, size_bytes=0, source=None)
    for path in sorted(source.iterdir()):
        if path.name in _LEFT_OUT or path.suffix == ".pyc":
            continue
        name = f"{prefix}/{path.name}" if prefix else path.name
        if path.is_dir() and not path.is_symlink():
            yield from _walk(path, name)
        else:
            yield from_file(name, path)


def _content(entry: Entry) -> Iterator[bytes]:
    if entry.source is None:
        return
    if isinstance(entry.source, bytes):
        yield entry.source
        return
    left = entry.size_bytes
    try:
        with entry.source.open("rb") as file:
            while left:
                chunk = file.read(min(left, _CHUNK_BYTES))
                if not chunk:
                    raise ChangeError(f"{entry.source} became shorter while it was read")
                left -= len(chunk)
                yield chunk
    except OSError as error:  # left as it is, the HTTP library would take it for a broken connection
        raise ChangeError(f"{entry.source}: cannot be read any more: {error.strerror}") from error
