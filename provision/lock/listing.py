"""What one page of an index offers: PEP 503 HTML or PEP 691 JSON, read into records."""

from __future__ import annotations

import functools
import json
import re
from html.parser import HTMLParser
from urllib.parse import unquote, urldefrag, urljoin, urlsplit

from provision.record import record

_SHA256 = re.compile(r"[0-9a-f]{64}")
_LINE_LETTERS = 300  # a reason for a withdrawal that says more is cut


@record
class PackageFile:
    """One file that a page offers. ``sha256`` and ``uploaded`` (ISO 8601, UTC) are empty where the page names none.

    ``size_bytes`` is 0 where the page does not say it (PEP 700).

    ``has_metadata``: the wheel's METADATA lies beside it as a file of its own (PEP 658, 714). ``yanked``: PEP 592.
    ``requires_python``: as the page says it, empty where it does not.
    """

    filename: str
    address: str
    sha256: str
    has_metadata: bool = False
    yanked: bool = False
    uploaded: str = ""
    requires_python: str = ""
    size_bytes: int = 0
    yanked_because: str = ""  # the index's own words


def from_json(text: str, base: str) -> tuple[PackageFile, ...]:
    """The files of a JSON page. Raises ``ValueError`` where it is no package page."""
    try:
        return tuple(
            PackageFile(
                filename=str(entry["filename"]),
                address=urljoin(base, entry["url"]),
                sha256=checked(entry.get("hashes", {}).get("sha256", "")),
                has_metadata=bool(entry.get("core-metadata", entry.get("dist-info-metadata", False))),
                yanked=bool(entry.get("yanked", False)),
                yanked_because=one_line(entry.get("yanked", False)),
                uploaded=str(entry.get("upload-time") or ""),
                requires_python=str(entry.get("requires-python") or ""),
                size_bytes=entry["size"] if isinstance(entry.get("size"), int) else 0,
            )
            for entry in json.loads(text)["files"]
        )
    except (KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(f"no package page: {error!r}") from None


def from_html(text: str, base: str) -> tuple[PackageFile, ...]:
    """The files that the anchors of an HTML page name. Raises ``ValueError`` where it cannot be read as HTML."""
    page = _Links(base)
    try:
        page.feed(text)
    except AssertionError as error:  # html.parser's own, of a marked section that it does not know (Python 3.11)
        raise ValueError(f"no package page: {error}") from None
    return tuple(page.found)


def is_wheel_of(filename: str, package: str, version: str) -> bool:
    """Whether a file name is a wheel of that version; ``package`` is a normalised name."""
    from packaging.utils import InvalidWheelFilename, canonicalize_name, parse_wheel_filename

    # The cheap looks first: a find-links folder may hold thousands of other wheels, a page those of a hundred versions.
    name, _, rest = filename.partition("-")
    if not filename.endswith(".whl") or canonicalize_name(name) != package:
        return False
    if not _same_version(rest.partition("-")[0], version):
        return False
    try:
        parse_wheel_filename(filename)
    except InvalidWheelFilename:
        return False
    return True


@functools.cache
def _same_version(one: str, other: str) -> bool:
    """Whether two spellings are one version (PEP 440)."""
    from packaging.version import InvalidVersion, Version

    try:
        return one == other or Version(one) == Version(other)
    except InvalidVersion:
        return False


class _Links(HTMLParser):
    def __init__(self, base: str) -> None:
        super().__init__()
        self.base = base
        self.found: list[PackageFile] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        target = given.get("href") or ""
        if tag == "base" and target:
            self.base = urljoin(self.base, target)
        if tag == "a" and target:
            address, fragment = urldefrag(urljoin(self.base, target))
            name = unquote(urlsplit(address).path.rpartition("/")[2])
            sha256 = fragment.removeprefix("sha256=") if fragment.startswith("sha256=") else ""
            self.found.append(
                PackageFile(
                    filename=name,
                    address=address,
                    sha256=checked(sha256),
                    has_metadata=bool({"data-core-metadata", "data-dist-info-metadata"} & given.keys()),
                    yanked="data-yanked" in given,
                    requires_python=given.get("data-requires-python") or "",
                    yanked_because=one_line(given.get("data-yanked")),
                )
            )


def one_line(said: object) -> str:
    """What an index or service wrote freely, fit for a terminal: one line, no control characters; empty for what is no text."""
    words = " ".join(said.split()) if isinstance(said, str) else ""
    return "".join(each for each in words if each.isprintable())[:_LINE_LETTERS]


def checked(sha256: object) -> str:
    """A hash as it must be, or nothing: what an index says is input, and it goes into a lockfile."""
    return sha256 if isinstance(sha256, str) and _SHA256.fullmatch(sha256) else ""
