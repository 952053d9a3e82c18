"""What pages of indexes said when they were last read, so that a page that has not changed need not be sent or read again.

Kept are validators (ETag, Last-Modified), a digest of the page, and the names, hashes and withdrawals of the wheels that were
asked for. No page's address and no header of a request is kept: a page is found by a digest of its address without the user
part, and one whose address has a query (a signature, a token) is not kept at all. In clear stand the paths of wheels on this
machine's disks, and the index that pip names in its own help, beside the release and place of that pip.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from provision.files import write_whole
from provision.lock import listing
from provision.record import record

Wanted = Mapping[str, frozenset[str]]  # package (normalised name) to the versions whose wheels are asked for
_SCHEMA = 1
_FRESH_NS = 2_000_000_000  # a file written this recently may change again within the same time stamp


@record
class Offer:
    """One wheel on a page. ``sha256`` is empty where the page names none; ``yanked`` is ``None`` or the reason, often empty."""

    filename: str
    sha256: str
    yanked: str | None


@record
class KeptPage:
    """A page as it was read: its validators, the digest of its bytes, and what it offers of ``wanted``."""

    etag: str
    last_modified: str
    sha256: str
    wanted: dict[str, frozenset[str]]
    offers: tuple[Offer, ...]
    empty: bool  # the page names no file at all

    def covers(self, wanted: Wanted) -> bool:
        """Whether all that is wanted now was looked for then."""
        return all(versions <= self.wanted.get(package, frozenset()) for package, versions in wanted.items())


class PageCache:
    """The pages in one file. A file that cannot be used counts as an empty one: it is only a memory."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._pages: dict[str, KeptPage] = {}
        self._files: dict[str, tuple[int, int, int, str]] = {}
        self._words: dict[str, str] = {}
        self._changed = False
        try:
            table = json.loads(path.read_bytes())
            if table["schema"] == _SCHEMA:
                self._pages = {str(key): _page(row) for key, row in table["pages"].items()}
                self._files = {str(key): _stat(row) for key, row in table["files"].items()}
                self._words = {str(key): _text(word) for key, word in table["words"].items()}
        except FileNotFoundError:
            pass
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            self._pages, self._files, self._words, self._changed = {}, {}, {}, True

    def page(self, address: str) -> KeptPage | None:
        """What is known of a page."""
        key = _key(address)
        return self._pages.get(key) if key else None

    def keep(self, address: str, page: KeptPage) -> None:
        """Remember a page, unless its address may hold a secret that a digest would not hide."""
        key = _key(address)
        if key and self._pages.get(key) != page:
            self._pages[key] = page
            self._changed = True

    def file_sha256(self, path: Path) -> str:
        """A local file's digest, read again only where its size, time or inode is another. Raises ``OSError``."""
        import time

        now = path.stat()
        known = self._files.get(str(path))
        if known and known[:3] == (now.st_size, now.st_mtime_ns, now.st_ino):
            return known[3]
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        if time.time_ns() - now.st_mtime_ns > _FRESH_NS:
            self._files[str(path)] = (now.st_size, now.st_mtime_ns, now.st_ino, digest)
            self._changed = True
        return digest

    def word(self, key: str, find: Callable[[], str]) -> str:
        """What is the same for ever once it was found, such as what one release of a program says of itself."""
        if key not in self._words:
            self._words[key] = find()
            self._changed = True
        return self._words[key]

    def save(self) -> None:
        """Write what is new, for this user's eyes only. Raises ``OSError``."""
        if not self._changed:
            return
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        pages = {key: _row(page) for key, page in sorted(self._pages.items())}
        table = {"schema": _SCHEMA, "pages": pages, "files": dict(sorted(self._files.items())), "words": self._words}
        write_whole(self.path, json.dumps(table, separators=(",", ":")) + "\n", mode=0o600)
        self._changed = False


def _key(address: str) -> str:
    parts = urlsplit(address)
    if parts.query:
        return ""
    bare = urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2], fragment=""))
    return hashlib.sha256(bare.encode()).hexdigest()


def _row(page: KeptPage) -> dict[str, Any]:
    return {
        "etag": page.etag,
        "last_modified": page.last_modified,
        "sha256": page.sha256,
        "wanted": {package: sorted(versions) for package, versions in sorted(page.wanted.items())},
        "offers": [[each.filename, each.sha256, each.yanked] for each in page.offers],
        "empty": page.empty,
    }


def _page(row: dict[str, Any]) -> KeptPage:
    return KeptPage(
        etag=_text(row["etag"]),
        last_modified=_text(row["last_modified"]),
        sha256=_text(row["sha256"]),
        wanted={package: frozenset(map(_text, versions)) for package, versions in row["wanted"].items()},
        offers=tuple(
            Offer(filename=_text(name), sha256=listing.checked(sha256), yanked=None if why is None else _text(why))
            for name, sha256, why in row["offers"]
        ),
        empty=bool(row["empty"]),
    )


def _stat(row: Any) -> tuple[int, int, int, str]:
    size, time_ns, inode, digest = row
    return int(size), int(time_ns), int(inode), _text(digest)


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(f"expected text, got {value!r}")
    return value
