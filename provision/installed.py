"""Files of installed Python packages against the hashes in their RECORD. Standard library only, Python 3.10.

Runs in a child that can be killed (``provision.host``). Source: PyPA "Recording installed projects", RECORD: a path, a hash
and a size on each line, the hash empty for what is made at installation.
"""

from __future__ import annotations

import base64
import csv
import hashlib
import os
import posixpath
import re
import stat
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from provision.overlay import Stack

CHUNK_BYTES = 1 << 20
NAMED = 50  # files that are named of each kind; all are counted
_THREADS = 4
# What installers write after the wheel was unpacked, and rewrite when they please.
_NOTES = re.compile(r"[^/]+\.dist-info/(INSTALLER|REQUESTED|direct_url\.json|uv_\w+\.json|RECORD(\.jws|\.p7s)?)")
_Row = tuple[str, str]  # "sha256", base64 without padding


class _OutOfTime(Exception):
    pass


def verify(layers: list[str], folders: list[str], seconds: float, parent: int) -> dict[str, Any]:
    """Hash what the RECORDs of ``folders`` (package folders, as a container sees them in ``layers``) list.

    ``layers``: of an image, the topmost first; empty for this machine itself. Gives ``packages``, ``files``, ``bytes`` (looked
    at), ``edited``, ``missing``, ``unreadable`` (counts) with ``named`` (the first of each), ``without_record`` (package
    folders), ``passed_over`` (reason to files) and ``unfinished`` (why it ended early, or ""). Ends after ``seconds``, and
    when the process ``parent`` is gone.
    """
    from concurrent.futures import ThreadPoolExecutor

    ends = time.monotonic() + seconds
    find = Stack(tuple(layers)).find if layers else _here
    names = Stack(tuple(layers)).names if layers else _names_here
    counts: Counter[str] = Counter()
    passed_over: Counter[str] = Counter()
    named: dict[str, list[str]] = {}
    without: list[str] = []
    unfinished = ""

    def in_time() -> None:
        if time.monotonic() > ends:
            raise _OutOfTime(f"its {seconds:g} s were over")
        if os.getppid() != parent:
            os._exit(1)

    listed = _listed(folders, find, names, counts, passed_over, without)

    def look(path: str) -> tuple[str, str, int]:
        in_time()
        return (path, *_look(find(path), path, listed[path][1], in_time, of_this_machine=not layers))

    with ThreadPoolExecutor(max_workers=min(_THREADS, os.cpu_count() or 1)) as pool:
        try:
            for path, kind, size in pool.map(look, sorted(listed)):
                if kind in ("edited", "missing", "unreadable"):
                    counts[kind] += 1
                    named.setdefault(kind, []).append(f"{listed[path][0]}: {_short(path, folders)}")
                elif kind:
                    passed_over[kind] += 1
                if size >= 0:
                    counts["files"] += 1
                    counts["bytes"] += size
        except _OutOfTime as reason:
            pool.shutdown(cancel_futures=True)
            unfinished = f"{reason} after {counts['files']} of {len(listed)} files"
    return {
        **{kind: counts[kind] for kind in ("packages", "files", "bytes", "edited", "missing", "unreadable")},
        "named": {kind: paths[:NAMED] for kind, paths in sorted(named.items())},
        "without_record": sorted(without),
        "passed_over": dict(sorted(passed_over.items())),
        "unfinished": unfinished,
    }


def _short(path: str, folders: Iterable[str]) -> str:
    """From its package folder on, where it lies in one."""
    return next((path.removeprefix(f"{folder}/") for folder in folders if path.startswith(f"{folder}/")), path)


def _here(path: str) -> str | None:
    return path


def _names_here(folder: str) -> Iterable[str]:
    return os.listdir(folder)


def _listed(
    folders: Iterable[str],
    find: Callable[[str], str | None],
    names: Callable[[str], Iterable[str]],
    counts: Counter[str],
    passed_over: Counter[str],
    without: list[str],
) -> dict[str, tuple[str, set[_Row]]]:
    """Path to the package that lists it and every hash that any package records for it."""
    listed: dict[str, tuple[str, set[_Row]]] = {}
    open_paths: set[str] = set()  # recorded without a hash by one of the packages that list it
    for folder in folders:
        for name in sorted(names(folder)):
            if not name.endswith(".dist-info"):
                continue
            package = name.removesuffix(".dist-info").replace("-", " ", 1)
            if _installer(find(f"{folder}/{name}/INSTALLER")) == "conda":
                # conda writes its own prefix into files after they were recorded, and keeps a record of its own
                passed_over["of conda"] += 1
                continue
            rows = _rows(find(f"{folder}/{name}/RECORD"))
            if rows is None:
                without.append(package)
                continue
            counts["packages"] += 1
            for path, algorithm, digest in rows:
                if path.endswith(".pyc") or _NOTES.fullmatch(path):
                    passed_over["made at installation"] += 1
                    continue
                whole = posixpath.normpath(posixpath.join(folder, path))
                if not digest:
                    passed_over["without a hash"] += 1
                    open_paths.add(whole)
                elif algorithm not in hashlib.algorithms_guaranteed or algorithm.startswith("shake"):
                    passed_over["with an unknown hash"] += 1
                elif not _within(whole, folder):
                    passed_over["outside the package folder"] += 1
                else:
                    listed.setdefault(whole, (package, set()))[1].add((algorithm, digest))
    for path in open_paths & listed.keys():
        del listed[path]
    return listed


def _within(path: str, folder: str) -> bool:
    """In the package folder, or among the environment's programs: what lies elsewhere (etc, share) is meant to be edited."""
    programs = posixpath.normpath(posixpath.join(folder, "../../../bin"))
    return path.startswith((f"{folder}/", f"{programs}/"))


def _installer(path: str | None) -> str:
    try:
        with open(path or "", encoding="utf-8", errors="replace") as file:
            return file.read(64).strip()
    except OSError:
        return ""


def _rows(path: str | None) -> list[tuple[str, str, str]] | None:
    """Path, algorithm and digest of each line; None where there is no RECORD."""
    try:
        with open(path or "", encoding="utf-8", errors="surrogateescape", newline="") as file:
            return list(_parsed(csv.reader(file)))
    except (OSError, csv.Error):
        return None


def _parsed(lines: Iterable[list[str]]) -> Iterator[tuple[str, str, str]]:
    for line in lines:
        if line and line[0]:
            algorithm, _, digest = (line[1] if len(line) > 1 else "").partition("=")
            yield line[0], algorithm, digest.rstrip("=")


def _look(
    found: str | None, path: str, rows: set[_Row], in_time: Callable[[], None], *, of_this_machine: bool
) -> tuple[str, int]:
    """What is wrong with one file, or why it is not judged ("" for neither), and the bytes that were hashed (-1: none)."""
    if found is None:
        return "missing", -1
    try:
        state = os.stat(found, follow_symlinks=of_this_machine)
        if not stat.S_ISREG(state.st_mode):
            return ("unreadable" if of_this_machine else "a link"), -1
        with open(found, "rb", buffering=0) as file:
            if "/bin/" in path and "-packages/" not in path and file.read(2) == b"#!":
                return "scripts, whose first line an installer writes", -1  # and whoever moves an environment
            file.seek(0)
            sums = {algorithm: hashlib.new(algorithm) for algorithm, _ in rows}
            size = 0
            while chunk := file.read(CHUNK_BYTES):
                in_time()
                size += len(chunk)
                for one in sums.values():
                    one.update(chunk)
    except (FileNotFoundError, NotADirectoryError):
        return "missing", -1
    except OSError:
        return "unreadable", -1
    digests = {(algorithm, _base64(one.digest())) for algorithm, one in sums.items()}
    return ("" if digests & rows else "edited"), size


def _base64(digest: bytes) -> str:
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
