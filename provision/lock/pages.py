"""What the configured indexes and find-links folders have: files by package, with their SHA-256.

The resolvers do not answer this for us: uv takes a version's hashes from one index only, and pip-compile asks
one index's private interface first. So the pages are read here, by the simple repository API. Every configured
place must answer: a hash list with one index silently missing would be another lock. A 404 is an answer (this
index lacks the package).
"""

from __future__ import annotations

import contextlib
import copy
import gzip
import hashlib
import http.client
import socket
import time
import urllib.error
import urllib.request
import zlib
from collections.abc import Callable, Hashable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO, TypeVar, cast
from urllib.parse import unquote, urlsplit
from urllib.response import addinfourl

from provision import index
from provision.errors import ChangeError
from provision.index import IndexSettings
from provision.lock import listing, transport
from provision.lock.listing import PackageFile
from provision.lock.once import Once

T = TypeVar("T")
U = TypeVar("U")
_ACCEPT = "application/vnd.pypi.simple.v1+json, text/html;q=0.5"
_ATTEMPTS = 3  # of an answer that the server itself calls passing
_PASSING = frozenset({429, 500, 502, 503, 504})
_WORKERS = 8
_SECOND = len("2026-11-24T00:00:00")  # indexes write fractions of a second or none
_CHUNK_BYTES = 1 << 20
_NEXT = (
    "check the network and `python -m pip config list`; "
    "PIP_INDEX_URL, PIP_FIND_LINKS and PIP_PROXY name another way to the packages"
)


class Pages:
    """A reader of every place the settings name; each page is read once. Raises ``ChangeError`` where one is silent."""

    def __init__(self, settings: IndexSettings, before: str = "") -> None:
        """``before``: leave out files uploaded at that time (``2026-11-24T00:00:00Z``) or later, where a page says it."""
        if not settings.no_index and not settings.index_url:
            settings = replace(settings, index_url=index.default_index_url())
        self.settings = settings
        self._before = before
        self._opener = transport.opener(settings)
        self._once = Once()
        self._pool = ThreadPoolExecutor(_WORKERS)

    def also(self, *find_links: str) -> Pages:
        """A reader of the same places and ``find_links``. What one of the two has read, the other need not."""
        other = copy.copy(self)
        other.settings = self.settings.with_find_links(*find_links)
        return other

    def places(self, package: str) -> tuple[str, ...]:
        """The address of ``package``'s page on each index, then the find-links places."""
        indexes = () if self.settings.no_index else (self.settings.index_url, *self.settings.extra_index_urls)
        return (*(f"{each.rstrip('/')}/{package}/" for each in indexes), *self.settings.find_links)

    def read(self, packages: Iterable[str]) -> None:
        """Read every page of ``packages``, several at a time."""
        self.each(self.files, dict.fromkeys(place for package in packages for place in self.places(package)))

    def each(self, work: Callable[[T], U], things: Iterable[T]) -> tuple[U, ...]:
        """What ``work`` gives for each, in order, several at a time; ``work`` must not call this."""
        return tuple(self._pool.map(work, things))

    def once(self, key: Hashable, work: Callable[[], U]) -> U:
        """What ``work`` gives, done once for all who read these places."""
        return self._once.get(key, work)

    def files(self, place: str) -> tuple[PackageFile, ...]:
        """What one page or folder offers; empty where it is not there."""
        path = _path(place)
        return self._once.get(place, lambda: self._from_network(place) if path is None else self._from_disk(path))

    def wheels(self, package: str, version: str) -> tuple[PackageFile, ...]:
        """The wheels of one version of a package (normalised name), from every place in order."""
        places = self.places(package)

        def look() -> tuple[PackageFile, ...]:
            found = (each for place in places for each in self.files(place))
            return tuple(
                each
                for each in found
                if listing.is_wheel_of(each.filename, package, version)
                and not (self._before and each.uploaded[:_SECOND] >= self._before[:_SECOND])
            )

        return self._once.get((package, version, places), look)

    def sdists(self, package: str) -> tuple[tuple[str, PackageFile], ...]:
        """The source archives of a package (normalised name) that were not withdrawn, each with its version, oldest first."""
        from packaging.utils import InvalidSdistFilename, canonicalize_name, parse_sdist_filename
        from packaging.version import InvalidVersion

        found: dict[Any, PackageFile] = {}
        for each in (file for place in self.places(package) for file in self.files(place)):
            with contextlib.suppress(InvalidSdistFilename, InvalidVersion):
                name, version = parse_sdist_filename(each.filename)
                if canonicalize_name(name) == package and not each.yanked:
                    found.setdefault(version, each)
        return tuple((str(version), found[version]) for version in sorted(found))

    def sha256(self, wheel: PackageFile) -> str:
        """The hash that the page gives, or else the file's own."""
        return wheel.sha256 or self._once.get(("sha256", wheel.address), lambda: self._digest(wheel))

    def _digest(self, wheel: PackageFile) -> str:
        path = _path(wheel.address)
        digest = hashlib.sha256()
        try:
            with self.open(wheel.address) if path is None else path.open("rb") as body:
                while chunk := cast("BinaryIO", body).read(_CHUNK_BYTES):
                    digest.update(chunk)
                # http.client says nothing where a read of so many bytes meets the end too early.
                if missing := getattr(body, "length", None):
                    raise ConnectionError(f"it broke off, {missing} bytes too early")
        except NotThere:
            raise ChangeError(f"{wheel.filename} is listed by an index and not there", _NEXT) from None
        except (OSError, ValueError, http.client.HTTPException) as error:
            what = listing.one_line(self.settings.redact(str(error)))
            raise ChangeError(f"{wheel.filename} cannot be read, and its page names no hash: {what}", _NEXT) from None
        return digest.hexdigest()

    def _from_disk(self, path: Path) -> tuple[PackageFile, ...]:
        """A folder of wheels, a folder laid out as an index page, or one HTML page."""
        page = path / "index.html" if path.is_dir() else path
        try:
            if page.is_file():
                return listing.from_html(page.read_text(), page.as_uri())
            files = sorted(each for each in path.iterdir() if each.is_file()) if path.is_dir() else []
        except OSError as error:
            raise ChangeError(f"the package folder {path} cannot be read: {error.strerror}", _NEXT) from None
        except ValueError as error:  # no UTF-8, or an address that is none
            raise ChangeError(f"{page} is no package page: {listing.one_line(str(error))}", _NEXT) from None
        return tuple(
            PackageFile(filename=each.name, address=each.as_uri(), sha256="", size_bytes=each.stat().st_size)
            for each in files
        )

    def _from_network(self, place: str) -> tuple[PackageFile, ...]:
        try:
            with self.open(place, **{"Accept": _ACCEPT, "Accept-Encoding": "gzip"}) as body:
                content, kind = body.read(), body.headers.get_content_type()
                if body.headers.get("Content-Encoding") == "gzip":
                    content = gzip.decompress(content)
                base = transport.with_credentials_of(place, body.url or place)
            text = content.decode("utf-8", "replace")
            return listing.from_json(text, base) if kind.endswith("json") else listing.from_html(text, base)
        except NotThere:
            return ()
        except (OSError, ValueError, zlib.error, http.client.HTTPException) as error:
            raise self._silent(place, f"answered with what is no package page: {error}") from None

    def versions(self, package: str) -> tuple[str, ...]:
        """The versions of which some place has a wheel that was not withdrawn, oldest first."""
        from packaging.utils import InvalidWheelFilename, canonicalize_name, parse_wheel_filename
        from packaging.version import InvalidVersion

        found = set()
        for each in (file for place in self.places(package) for file in self.files(place)):
            if each.filename.endswith(".whl") and canonicalize_name(each.filename.partition("-")[0]) == package:
                with contextlib.suppress(InvalidWheelFilename, InvalidVersion):
                    found |= set() if each.yanked else {parse_wheel_filename(each.filename)[1]}
        return tuple(str(version) for version in sorted(found))

    def path(self, address: str) -> Path | None:
        """Where a file lies on this machine; ``None`` for one on the network."""
        return _path(address)

    def open(self, address: str, **headers: str) -> addinfourl:
        """A request that an index answered. Raises ``ChangeError`` where it does not."""
        request = transport.request(address, **headers)
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                answer: addinfourl = self._opener.open(request, timeout=self.settings.timeout_seconds)
                return answer
            except urllib.error.HTTPError as error:
                with contextlib.suppress(OSError, http.client.HTTPException), error:
                    error.read()  # to its end, so that the connection can be used again
                if error.code in {404, 410}:
                    raise NotThere from None
                if error.code not in _PASSING or attempt == _ATTEMPTS:
                    raise self._silent(address, f"answered {error.code} {error.reason}") from None
            except (OSError, ValueError, http.client.HTTPException) as error:
                reason = error.reason if isinstance(error, urllib.error.URLError) else error
                passing = isinstance(reason, socket.gaierror) and reason.errno == socket.EAI_AGAIN
                if not passing or attempt == _ATTEMPTS:
                    raise self._silent(address, f"did not answer: {reason}") from None
                time.sleep(
                    attempt
                )  # a resolver under many questions at once says "temporary failure" (seen 2026-11-24)
        raise AssertionError("the last attempt returns or raises")

    def _silent(self, address: str, what: str) -> ChangeError:
        what = listing.one_line(what)  # often the server's words
        return ChangeError(self.settings.redact(f"the package index {address} {what}. Nothing was changed"), _NEXT)


class NotThere(Exception):
    """The place answered that it has no such page."""


def united_sha256(pages: Pages, pins: Iterable[tuple[str, str]]) -> dict[str, tuple[str, ...]]:
    """By package, the hashes of every wheel of its version on every configured place, sorted.

    Raises ``ChangeError`` for a version of which no place has a wheel.
    """
    wanted = tuple(pins)
    pages.read(name for name, _ in wanted)
    found: dict[str, tuple[str, ...]] = {}
    for name, version in wanted:
        found[name] = tuple(sorted({pages.sha256(wheel) for wheel in pages.wheels(name, version)}))
        if not found[name]:
            raise ChangeError(f"no configured index or find-links folder has a wheel of {name} {version}", _NEXT)
    return found


def _path(place: str) -> Path | None:
    """Where a place lies on this machine; ``None`` for one on the network."""
    if "://" not in place:
        return Path(place)
    parts = urlsplit(place)
    if parts.scheme == "file":
        return Path(unquote(parts.path))
    if parts.scheme in {"http", "https"}:
        return None
    raise ChangeError(f"the package index {index.redact(place)} is neither http, https nor file", _NEXT)
