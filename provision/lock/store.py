"""Several files written together: all of them, or none."""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from provision.files import write_whole

_STAGED = ".new-"


def write_together(folder: Path, contents: Mapping[str, str]) -> frozenset[str]:
    """Make ``folder`` hold these files (text by name), and return the names whose bytes changed.

    Everything is on the disk before the first file is replaced, so a full disk or an interruption leaves the old files;
    where one cannot be replaced, those replaced before it get their old bytes back. Only a kill between two renames can
    leave new and old side by side, which the digests in the files then show. Raises ``OSError`` as the system gave it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with _alone(folder):
        for left in folder.glob(f"{_STAGED}*"):  # by a run that was killed
            shutil.rmtree(left)
        return _replace(folder, contents)


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Whoever writes into the same folder waits; a reader does not."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def _replace(folder: Path, contents: Mapping[str, str]) -> frozenset[str]:
    before = {name: (folder / name).read_bytes() if (folder / name).is_file() else None for name in contents}
    changed = [name for name, text in contents.items() if before[name] != text.encode()]
    if not changed:
        return frozenset()
    with tempfile.TemporaryDirectory(prefix=_STAGED, dir=folder) as staged:
        for name in changed:
            write_whole(Path(staged, name), contents[name])
        replaced: list[str] = []
        try:
            for name in changed:
                Path(staged, name).replace(folder / name)
                replaced.append(name)
        except BaseException:
            for name in replaced:
                _restore(folder / name, before[name])
            raise
    return frozenset(changed)


def _restore(path: Path, content: bytes | None) -> None:
    if content is None:
        path.unlink()
    else:
        write_whole(path, content)
