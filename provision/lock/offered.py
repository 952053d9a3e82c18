"""What the places that the user configured offer of the pinned versions, read before a deadline.

``pages.Pages`` reads for a resolver: every place must answer, or there is no lock. Here a place that does not answer is
itself an answer: what it has was not looked at. Pages come over connections that stay open, as questions whether they have
changed, several at a time.
"""

from __future__ import annotations

import hashlib
import http.client
import json
import queue
import threading
import time
import urllib.error
import zlib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from urllib.parse import urlsplit

from provision.errors import ChangeError
from provision.index import IndexSettings
from provision.lock import listing, transport
from provision.lock.page_cache import KeptPage, Offer, PageCache, Wanted
from provision.lock.pages import Pages
from provision.progress import say
from provision.record import record

DEADLINE_SECONDS = 30.0  # of the whole look; pages that came are kept, so the next look goes on where this one ended
_SILENT_SECONDS = 10.0  # without a byte from a place
_ATTEMPTS = 2
_PAUSE_SECONDS = 0.5  # before a page is asked for again that could not be had just now
_WORKERS = 8  # 266 pages, 86 MB, from a mirror nearby: 0.7 s with 8 (2 cores, 2026-11-24)
_DEAD_AFTER = 3  # failures of one host in a row: the others would fail as well, each after its own wait
_PAGE_BYTES = 1 << 27  # the largest page of our locks has 4.9 MB (grpcio, 2026-11-24); what is longer is no page
_CHUNK_BYTES = 1 << 18
ACCEPT = "application/vnd.pypi.simple.v1+json, text/html;q=0.5"
_PASSING = frozenset({429, 500, 502, 503, 504})
_SLOW_SECONDS = 2.0


@record
class Page:
    """What one place offers of the wanted versions. ``empty``: it names no file at all, as a page of something else would."""

    offers: tuple[Offer, ...] = ()
    empty: bool = False


@record
class Unread:
    """A place that could not be looked at, and why."""

    reason: str


def read(
    places: Mapping[str, Wanted], pages: Pages, cache: PageCache, seconds: float = DEADLINE_SECONDS
) -> dict[str, Page | Unread]:
    """Every place's page, or why it could not be read within ``seconds``. ``places`` are addresses or folders."""
    reader = _Reader(pages.settings, cache, time.monotonic() + seconds)
    asked = {place: wanted for place, wanted in places.items() if _is_remote(place)}
    answers = reader.ask(asked) if asked else {}
    for place in places.keys() - asked.keys():
        answers[place] = _on_disk(place, places[place], pages, cache)
    late = Unread(reason=f"no answer within {seconds:g} s")
    return {place: answers.get(place, late) for place in places}


def wheels_of(files: Iterable[tuple[str, str, str | None]], wanted: Wanted) -> Iterator[Offer]:
    """The wheels of wanted versions among (file name, SHA-256, reason of a withdrawal or ``None``).

    A page may name thousands of files, so each spelling of a name or version is judged once.
    """
    from packaging.utils import canonicalize_name

    names: dict[str, str] = {}
    judged: dict[tuple[str, str], bool] = {}
    for filename, sha256, yanked in files:
        if not filename.endswith(".whl"):
            continue
        spelt, _, rest = filename.partition("-")
        name = names.get(spelt) or names.setdefault(spelt, canonicalize_name(spelt))
        if name not in wanted:
            continue
        key = (name, rest.partition("-")[0])
        if key not in judged:
            judged[key] = any(listing.is_wheel_of(filename, name, version) for version in wanted[name])
        if judged[key]:
            yield Offer(filename=filename, sha256=sha256, yanked=yanked)


class _Reader:
    """The network's part: some threads, one queue, one deadline."""

    def __init__(self, settings: IndexSettings, cache: PageCache, until: float) -> None:
        self._settings, self._cache, self._until = settings, cache, until
        self._opener = transport.opener(settings)
        self._lock = threading.Lock()
        self._failures: dict[str, int] = {}  # by host, in a row
        self._trouble: dict[str, Unread] = {}  # by host, the last
        self._over = False

    def ask(self, places: Mapping[str, Wanted]) -> dict[str, Page | Unread]:
        """By place, its page; a place that is missing here had not answered at the deadline."""
        waiting: queue.SimpleQueue[str] = queue.SimpleQueue()
        for place in places:
            waiting.put(place)
        answers: dict[str, Page | Unread] = {}
        bugs: list[Exception] = []
        done = threading.Semaphore(0)
        said = time.monotonic() + _SLOW_SECONDS

        def work() -> None:
            while not self._over:
                try:
                    place = waiting.get_nowait()
                except queue.Empty:
                    return
                try:
                    found = self._page(place, places[place])
                except Exception as error:  # ours, not the index's: it must not look like an index that is silent
                    bugs.append(error)
                else:
                    with self._lock:
                        answers[place] = found
                done.release()

        # Daemons: a thread may sit in the resolver's own wait, and the program must end all the same.
        threads = [threading.Thread(target=work, daemon=True) for _ in range(min(_WORKERS, len(places)))]
        for thread in threads:
            thread.start()
        for _ in places:
            while not done.acquire(timeout=max(0.0, min(said, self._until) - time.monotonic())):
                if time.monotonic() >= self._until:
                    break
                say(f"asking the package indexes for {len(places)} pages")
                said = self._until
            if time.monotonic() >= self._until:
                break
        self._over = True
        if bugs:
            raise bugs[0]
        if len(answers) == len(places):
            for thread in threads:  # each has nothing left to do
                thread.join()
        with self._lock:
            return dict(answers)

    def _page(self, place: str, wanted: Wanted) -> Page | Unread:
        host = urlsplit(place).netloc
        for attempt in range(1, _ATTEMPTS + 1):
            if self._failures.get(host, 0) >= _DEAD_AFTER:
                return self._trouble[host]
            try:
                found = self._fetched(place, wanted)
            except ChangeError as error:  # ~/.netrc
                return Unread(reason=error.message)
            except _Passing as trouble:
                found = self._unread(str(trouble))
            except (OSError, http.client.HTTPException) as error:
                reason = error.reason if isinstance(error, urllib.error.URLError) else error
                found = self._trouble[host] = self._unread(f"did not answer: {reason}")
                self._failures[host] = self._failures.get(host, 0) + 1
                if isinstance(reason, TimeoutError):  # it had its time
                    return found
            except (ValueError, zlib.error) as error:
                return self._unread(f"answered with what is no package page: {error}")
            else:
                self._failures[host] = 0
                return found
            if attempt < _ATTEMPTS and self._failures.get(host, 0) < _DEAD_AFTER:
                time.sleep(max(0.0, min(_PAUSE_SECONDS, self._until - time.monotonic())))
        return found

    def _fetched(self, place: str, wanted: Wanted) -> Page | Unread:
        kept = self._cache.page(place)
        if kept is not None and not kept.covers(wanted):
            wanted = {
                package: wanted.get(package, frozenset()) | kept.wanted.get(package, frozenset())
                for package in wanted.keys() | kept.wanted.keys()
            }
            kept = None
        headers = {"Accept": ACCEPT, "Accept-Encoding": "gzip", "Cache-Control": "max-age=0"}
        if kept is not None and kept.etag:
            headers["If-None-Match"] = kept.etag
        elif kept is not None and kept.last_modified:
            headers["If-Modified-Since"] = kept.last_modified
        wait = min(_SILENT_SECONDS, self._settings.timeout_seconds, max(0.1, self._until - time.monotonic()))
        try:
            with self._opener.open(transport.request(place, **headers), timeout=wait) as answer:
                content = self._body(answer)
                kind = answer.headers.get_content_type()
                etag, modified = answer.headers.get("ETag", ""), answer.headers.get("Last-Modified", "")
                base = answer.url or place
        except urllib.error.HTTPError as error:
            self._body(error)
            error.close()
            return self._without_page(error, kept)
        digest = hashlib.sha256(content).hexdigest()
        if kept is not None and kept.sha256 == digest:
            return Page(offers=kept.offers, empty=kept.empty)
        text = content.decode("utf-8", "replace")
        files = tuple(_listed(text, base, kind.endswith("json")))
        made = KeptPage(
            etag=str(etag),
            last_modified=str(modified),
            sha256=digest,
            wanted=dict(wanted),
            offers=tuple(wheels_of(files, wanted)),
            empty=not any(name.endswith((".whl", ".tar.gz", ".zip", ".tar.bz2", ".egg")) for name, _, _ in files),
        )
        with self._lock:
            if not self._over:  # the cache is being written then
                self._cache.keep(place, made)
        return Page(offers=made.offers, empty=made.empty)

    def _without_page(self, error: urllib.error.HTTPError, kept: KeptPage | None) -> Page | Unread:
        if error.code == 304 and kept is not None:
            return Page(offers=kept.offers, empty=kept.empty)
        if error.code in {404, 410}:
            return Page()
        if error.code in _PASSING:
            raise _Passing(f"answered {error.code} {error.reason}")
        return self._unread(f"answered {error.code} {error.reason}")

    def _unread(self, reason: str) -> Unread:
        return Unread(reason=listing.one_line(self._settings.redact(reason)))

    def _body(self, answer: http.client.HTTPResponse | urllib.error.HTTPError) -> bytes:
        """The whole body, unpacked, so that the connection is free for the next question."""
        parts: list[bytes] = []
        size = 0
        unpack = zlib.decompressobj(wbits=31) if answer.headers.get("Content-Encoding") == "gzip" else None
        while chunk := answer.read(_CHUNK_BYTES):
            if time.monotonic() >= self._until or self._over:
                raise TimeoutError("the time for looking is over")
            parts.append(unpack.decompress(chunk, _PAGE_BYTES) if unpack else chunk)
            size += len(parts[-1])
            if size >= _PAGE_BYTES:
                raise ValueError(f"it is longer than {_PAGE_BYTES} bytes")
        # http.client says nothing where a read of so many bytes meets the end too early.
        if missing := getattr(answer, "length", None):
            raise ConnectionError(f"it broke off, {missing} bytes too early")
        if unpack is not None and parts and not unpack.eof:
            raise ConnectionError("it broke off")
        return b"".join(parts)


class _Passing(Exception):
    """An answer that the server itself calls passing."""


def _listed(text: str, base: str, is_json: bool) -> Iterator[tuple[str, str, str | None]]:
    """(File name, SHA-256, reason of a withdrawal or ``None``) for each file. Raises ``ValueError`` for what is no page."""
    if not is_json:
        for each in listing.from_html(text, base):
            yield each.filename, each.sha256, each.yanked_because if each.yanked else None
        return
    try:
        for entry in json.loads(text)["files"]:
            yanked = entry.get("yanked", False)
            why = listing.one_line(yanked) if yanked else None
            yield str(entry["filename"]), listing.checked(entry.get("hashes", {}).get("sha256", "")), why
    except (KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(f"{error!r}") from None


def _on_disk(place: str, wanted: Wanted, pages: Pages, cache: PageCache) -> Page | Unread:
    """A folder or page on this machine; its wheels are hashed where nothing else says what they are."""
    try:
        path = pages.path(place) or Path(place)
        if not path.exists():
            # An index that lacks a package has no folder for it; a folder that is not there at all was not looked into.
            return Page() if place not in pages.settings.find_links and path.parent.is_dir() else _no_such(path)
        files = pages.files(place)
        rows = ((each.filename, each.sha256, each.yanked_because if each.yanked else None) for each in files)
        addresses = {each.filename: each.address for each in files}
        offers = []
        for offer in wheels_of(rows, wanted):
            beside = None if offer.sha256 else pages.path(addresses[offer.filename])
            sha256 = cache.file_sha256(beside) if beside is not None else offer.sha256
            offers.append(Offer(filename=offer.filename, sha256=sha256, yanked=offer.yanked))
        return Page(offers=tuple(offers))
    except ChangeError as error:
        return Unread(reason=error.message)
    except OSError as error:
        return Unread(reason=f"cannot be read: {error.strerror or error}")
    except ValueError as error:
        return Unread(reason=f"names an address that is none: {listing.one_line(str(error))}")


def _no_such(path: Path) -> Unread:
    return Unread(reason=f"there is no {path}")


def _is_remote(place: str) -> bool:
    return urlsplit(place).scheme in {"http", "https"} and "://" in place
