"""One file of a model, put in place with its checksum: ``place_model.py SOURCE FOLDER NAME SHA256``, or ``--remove FOLDER NAME``.

It is copied to ``.NAME.part`` beside its place and renamed once its SHA-256 is right, so that a reader never sees half a
file. What an interrupted run has copied already is kept and gone on from. Status 1: the reason on standard error.

Standard library only: it runs on the machine, as root.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
from pathlib import Path
from typing import Any, BinaryIO

CHUNK_BYTES = 8 << 20
# Beside the files: which of them were found right, at which size and time of change. Reading 600 GB again at every run to see
# that nothing changed would take minutes; removing this file makes the next run do so.
RECORD = ".provision-placed.json"


class Refused(Exception):
    """Why the file is not in place."""


def read_record(folder: Path) -> dict[str, Any]:
    try:
        content = json.loads((folder / RECORD).read_text())
    except (FileNotFoundError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def write_record(folder: Path, content: dict[str, Any]) -> None:
    part = folder / f"{RECORD}.part"
    part.write_text(json.dumps(content, indent=1, sort_keys=True) + "\n")
    part.replace(folder / RECORD)


def stamp(path: Path, digest: str) -> dict[str, Any]:
    state = path.stat()
    return {"bytes": state.st_size, "mtime_ns": state.st_mtime_ns, "sha256": digest}


def feed(digest: hashlib._Hash, file: BinaryIO) -> None:
    while chunk := file.read(CHUNK_BYTES):
        digest.update(chunk)


def copy(source: Path, part: Path) -> tuple[str, int]:
    """Go on with ``part`` where it ends. Returns the whole's SHA-256 and how many bytes were there already."""
    digest = hashlib.sha256()
    with source.open("rb") as given, part.open("a+b") as made:
        size = os.fstat(given.fileno()).st_size
        kept = os.fstat(made.fileno()).st_size
        if kept > size:
            made.truncate(kept := 0)
        room = os.statvfs(part.parent)
        if size - kept > room.f_bavail * room.f_frsize:
            free = room.f_bavail * room.f_frsize
            raise Refused(f"{source.name} needs {size - kept} more bytes; {part.parent} has {free} free")
        made.seek(0)
        feed(digest, made)
        given.seek(kept)
        while chunk := given.read(CHUNK_BYTES):
            made.write(chunk)
            digest.update(chunk)
        made.flush()
        os.fchmod(made.fileno(), 0o644)
        os.fsync(made.fileno())
    return digest.hexdigest(), kept


def place(source: Path, folder: Path, name: str, wanted: str) -> str:
    """Returns what was done, "" where nothing was."""
    target = folder / name
    record = read_record(folder)
    if target.exists():
        if record.get(name) == stamp(target, wanted):
            return ""
        digest = hashlib.sha256()
        with target.open("rb") as file:
            feed(digest, file)
        if digest.hexdigest() != wanted:
            raise Refused(f"{target} has SHA-256 {digest.hexdigest()}, not {wanted}; it was left as it is")
        write_record(folder, {**record, name: stamp(target, wanted)})
        return ""
    if not source.is_file():
        raise Refused(f"{source}: no such file")
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f".{target.name}.part")
    found, kept = copy(source, part)
    if found != wanted and kept:  # what was kept may have been damaged when the power went: once from the start
        part.unlink()
        found, kept = copy(source, part)
    if found != wanted:
        part.unlink()
        raise Refused(f"{source} has SHA-256 {found}, not {wanted} as provision.toml says; it was not put in place")
    part.replace(target)
    sync(target.parent)
    if kept:
        sys.stderr.write(f"went on after {kept} bytes that an interrupted run had copied\n")
    write_record(folder, {**record, name: stamp(target, wanted)})
    return f"went on after {kept} bytes" if kept else "copied"


def sync(folder: Path) -> None:
    """A rename outlives a power cut only once the folder is written."""
    place = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(place)
    finally:
        os.close(place)


def remove(folder: Path, name: str) -> str:
    """What ``place`` put there and nobody has changed since, and what it left half done."""
    target, record = folder / name, read_record(folder)
    target.with_name(f".{target.name}.part").unlink(missing_ok=True)
    known = record.pop(name, None)
    if not target.exists() or known is None:
        return ""
    if known != stamp(target, known["sha256"]):
        raise Refused(f"{target} was changed since it was put there; it stays")
    target.unlink()
    if record:
        write_record(folder, record)
    else:
        (folder / RECORD).unlink(missing_ok=True)
    for parent in (target.parent, *target.parent.parents):
        if parent != folder.parent and not any(parent.iterdir()):
            parent.rmdir()
        else:
            break
    return "removed"


def main() -> int:
    try:
        if sys.argv[1] == "--remove":
            done = remove(Path(sys.argv[2]), sys.argv[3])
        else:
            source, folder, name, wanted = sys.argv[1:]
            done = place(Path(source) / name, Path(folder), name, wanted)
    except Refused as reason:
        sys.stderr.write(f"{reason}\n")
        return 1
    except OSError as error:
        sys.stderr.write(f"{error.filename or sys.argv[-1]}: {error.strerror}\n")
        return 1
    sys.stdout.write(json.dumps({"done": done}) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
