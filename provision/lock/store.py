"""Several files written together: all of them, or none."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path

from provision.files import write_whole


def write_together(folder: Path, contents: Mapping[str, str]) -> frozenset[str]:
    """Make ``folder`` hold these files (text by name), and return the names whose bytes changed.

    Everything is on the disk before the first file is replaced, so a full disk or an interruption leaves the old files;
    where one cannot be replaced, those replaced before it get their old bytes back. Only a kill between two renames can
    leave new and old side by side, which the digests in the files then show. Raises ``OSError`` as the system gave it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    before = {name: (folder / name).read_bytes() if (folder / name).is_file() else None for name in contents}
    changed = [name for name, text in contents.items() if before[name] != text.encode()]
    if not changed:
        return frozenset()
    with tempfile.TemporaryDirectory(prefix=".new-", dir=folder) as staged:
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
