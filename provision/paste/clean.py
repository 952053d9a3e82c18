"""Pasted text as plain lines: no colour, no progress bars, none of the prefixes that runtimes put before a line.

Everything is bounded, because people paste megabytes of noise: of a text longer than ``KEEP_CHARACTERS`` the start,
the end and the lines between that speak of trouble are read, and of a line longer than ``LONGEST`` its two ends.
"""

from __future__ import annotations

import codecs
import json
import re
from collections import Counter
from collections.abc import Iterator
from typing import NamedTuple

# Bounds chosen by measurement: 20 MB of anything in under 2 s on 2 busy cores (tests/paste/test_bounds.py).
KEEP_CHARACTERS = 8 << 20
KEEP_LINES = 80_000
HEAD = (20_000, 2 << 20)  # of a longer text: so many lines and characters at its start …
TAIL = (40_000, 4 << 20)  # … at its end, where programs die …
BETWEEN = (20_000, 2 << 20)  # … and of the lines between that speak of trouble
LONGEST = 16_384
_TROUBLE = (
    "rror", "xception", "atal", "ailed", "ailure", "annot", "Xid", "NVRM", "WARN", "illed process", "denied", "undefined",
    "out of memory", "not support", "o such", "not found", "mismatch", "nable to", "imed out", "refused", "No space",
)  # fmt: skip


class Line(NamedTuple):
    """One cleaned line and where it stood in the original text (from 1)."""

    number: int
    text: str


def decode(data: bytes) -> str:
    """Text from bytes: UTF-16 and UTF-8 by their marks, then UTF-8; what is neither keeps its good parts, or is Latin-1.

    Never fails: a byte that means nothing becomes U+FFFD.
    """
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) and not data.startswith(codecs.BOM_UTF32_LE):
        return data.decode("utf-16", errors="replace")
    if data.startswith((codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE)):
        return data.decode("utf-32", errors="replace")
    data = data.removeprefix(codecs.BOM_UTF8)
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        # A log that was cut in the middle of a character is UTF-8; an old editor's file has no valid sequence at all.
        sample = data[max(error.start - 4096, 0) : error.start + 65536]
        return data.decode(errors="replace") if _mostly_utf8(sample) else data.decode("latin-1")


def _mostly_utf8(sample: bytes) -> bool:
    text = sample.decode(errors="replace")
    good = sum(1 for character in text if character > "\x7f" and character != "�")
    return good > 0 or text.count("�") <= 8


# --- one line ---------------------------------------------------------------------------------------------------------

_ESCAPE = re.compile(
    r"\x1b(?:\[[0-?]*[ -/]*[@-~]?|\][^\x07\x1b]*(?:\x07|\x1b\\)?|[PX^_][^\x1b]*(?:\x1b\\)?|[ -/]*[0-~]?)"
    r"|\x9b[0-?]*[ -/]*[@-~]?"
)
# The same after something on the way has spelled the escape out or lost it: "^[[31m", "#033[31m", "[31m".
_SPELLED = re.compile(r"(?:\^\[|�|\\x1b|\\u001b|\\033|\\e|#033)?\[\d{0,3}(?:;\d{1,3}){0,5}m")
_COLOUR = re.compile(r"\[[\d;]{0,20}m")  # begins with a letter to look for, which _SPELLED does not: ten times faster
_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b\u200e\u200f\u202a-\u202e\u2060\ufeff]")
_PROGRESS = re.compile(r"\d\s*%|\d+/\d+|it/s|s/it|[kMG]i?B/s|[█▏▎▍▌▋▊▉#=>━╸]{3}|\.\.\.\s*$|^\s*[-\\|/⠀-⣿]?\s*$")
_REPEATED = re.compile(r" *\[repeated \d+x across cluster\].*")
_LEVEL = r"(?:TRACE|DEBUG|INFO|WARN|WARNING|ERROR|CRITICAL|FATAL)"
_STAMP = r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(?:[.,]\d{1,9})?(?:Z| ?[+-]\d\d:?\d\d)?"
_PATH = r"[\w./-]{1,120}"
_LETTERS = (
    rf"{_LEVEL} \d\d-\d\d \d\d:\d\d:\d\d(?:\.\d+)? \[?{_PATH}:\d+\] ?",  # vLLM
    r"[A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d [\w.-]+ [\w.@/:-]+(?:\[\d+\])?: ",  # journald, syslog
    r"[IWEF]\d{4} \d\d:\d\d:\d\d\.\d+ +\d+ \S{1,120}:\d+\] ",  # glog, torch's C++
    r"[A-Za-z][\w.@/-]{0,99} +\| ?",  # docker compose, docker service logs
)
_STAMPED = (
    rf"\[?{_STAMP}(?: [A-Z]+\d+)*\]?[ \t]+(?:std(?:out|err) [FP] )?"  # SGLang, kubectl, a container runtime's file …
    r"(?:[\w.-]+ [\w.@/-]+\[\d+\]: |[\w.-]+ kernel: )?"  # … journald -o short-iso
)
# By the character that a line begins with: most lines have no prefix, and are past this in one look.
_RUNTIME = {
    **dict.fromkeys("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz", re.compile("|".join(_LETTERS))),
    **dict.fromkeys("0123456789", re.compile(_STAMPED)),
    "[": re.compile(rf"{_STAMPED}|\[pod/[\w.-]+/[\w.-]+\] |\[(?:default|rank)\d*\]: ?"),  # kubectl --prefix, torchrun
    "(": re.compile(r"\([^()\n]{0,80}\bpid=\d+[^()\n]{0,120}\) ?"),  # Ray, vLLM's processes
    "-": re.compile(rf"- [\w.]{{1,80}} - {_LEVEL} - "),  # Python's "%(asctime)s - %(name)s - %(levelname)s - "
    "|": re.compile(rf"\| {_LEVEL} *\| [\w.:<>-]{{1,120}} - "),  # loguru
}
_PREFIX = {**_RUNTIME, ">": re.compile("> ?")}  # or a quotation
_PREFIXES = 8  # one inside the other: a quotation of a compose log of Ray's lines


def _plain(raw: str) -> Iterator[str]:
    """The texts that one raw line shows. Usually one; none for a code fence; more where a progress bar hid a message."""
    if "\x1b" in raw or "\x9b" in raw:
        raw = _ESCAPE.sub("", raw)
    raw = raw.rstrip()
    if "\r" in raw:
        parts = [part for part in raw.split("\r") if part.strip()][-50:]
        for part in parts[:-1]:
            if not _PROGRESS.search(part):
                yield from _plain(part)
        raw = parts[-1] if parts else ""
    if "[" in raw and _COLOUR.search(raw):
        raw = _SPELLED.sub("", raw)
    if not raw.isprintable():
        raw = _CONTROL.sub("", raw)
    text = _without_prefixes(raw)
    if "[repeated " in text:
        text = _REPEATED.sub("", text)
    shown = text.strip()
    if shown and not shown.startswith(("```", "~~~")):
        yield text


def _without_prefixes(text: str) -> str:
    if text.startswith('{"log":'):
        text = _json_file(text)
    for _ in range(_PREFIXES):
        pattern = _PREFIX.get(text[:1])
        found = pattern.match(text) if pattern else None
        if found is None:
            break
        text = text[found.end() :]
    return text


def _json_file(text: str) -> str:
    """A line of Docker's json-file driver; the message of a line that was cut."""
    try:
        said = json.loads(text)["log"]
    except (ValueError, KeyError, TypeError, RecursionError):
        said = text[7:].lstrip().lstrip('"').partition('\\n"')[0]
    return _ESCAPE.sub("", str(said)).strip("\r\n").replace("\n", " ")


# --- a text -----------------------------------------------------------------------------------------------------------


class _Span(NamedTuple):
    number: int
    start: int
    end: int


def lines(text: str) -> Iterator[Line]:
    """The lines that say something, cleaned, with the numbers they had. Reads megabytes in bounded time and memory."""
    if "\r" in text and "\n" not in text and not _PROGRESS.search(text[:LONGEST]):  # a file of an old Mac
        text = text.replace("\r", "\n")
    spans = _spans(text)
    width = _wrap_width(text, spans)
    prefixed = bool(width) and _prefixed(text, spans)
    place = 0
    while place < len(spans):
        first = spans[place]
        raw = _cut(text, first)
        place += 1
        while width and place < len(spans) and _continues(text, spans[place - 1], spans[place], width, prefixed):
            if len(raw) > LONGEST:
                break
            raw = raw.rstrip("\r") + _cut(text, spans[place])
            place += 1
        for said in _plain(raw):
            yield Line(first.number, said)


def _cut(text: str, span: _Span) -> str:
    if span.end - span.start <= LONGEST:
        return text[span.start : span.end]
    half = LONGEST // 2
    return f"{text[span.start : span.start + half]} … {text[span.end - half : span.end]}"


def _spans(text: str) -> list[_Span]:
    """Where the lines are that are read: all of them, or of a long text its ends and what speaks of trouble between."""
    if len(text) <= KEEP_CHARACTERS and text.count("\n") <= KEEP_LINES:
        return _between(text, 0, len(text), 1, KEEP_LINES + 1)
    head_end = _end_of_head(text)
    tail_start = max(_start_of_tail(text), head_end)
    found = _between(text, 0, head_end, 1, HEAD[0])
    number, counted = 1, 0
    for start, end in _troubled(text, head_end, tail_start):
        number, counted = number + text.count("\n", counted, start), start
        found.append(_Span(number, start, end))
    number += text.count("\n", counted, tail_start)
    return found + _between(text, tail_start, len(text), number, TAIL[0])


def _between(text: str, start: int, stop: int, number: int, most: int) -> list[_Span]:
    found: list[_Span] = []
    while start < stop and len(found) < most:
        end = text.find("\n", start, stop)
        end = stop if end < 0 else end
        if end > start:
            found.append(_Span(number, start, end))
        number, start = number + 1, end + 1
    return found


def _end_of_head(text: str) -> int:
    place = 0
    for _ in range(HEAD[0]):
        end = text.find("\n", place, HEAD[1])
        if end < 0:
            return max(place, HEAD[1])
        place = end + 1
    return place


def _start_of_tail(text: str) -> int:
    least = max(len(text) - TAIL[1], 0)
    place = len(text)
    for _ in range(TAIL[0]):
        end = text.rfind("\n", least, place)
        if end < 0:
            return least
        place = end
    return place + 1


def _troubled(text: str, start: int, stop: int) -> list[tuple[int, int]]:
    """Lines between ``start`` and ``stop`` that hold a word of trouble, in order, within ``BETWEEN``."""
    found: dict[int, int] = {}
    room = BETWEEN[1]
    for word in _TROUBLE:
        place = start
        while len(found) < BETWEEN[0] and room > 0:
            hit = text.find(word, place, stop)
            if hit < 0:
                break
            begin = max(text.rfind("\n", max(hit - LONGEST // 2, start), hit) + 1, hit - LONGEST // 2, start)
            end = text.find("\n", hit, min(hit + LONGEST // 2, stop))
            end = min(hit + LONGEST // 2, stop) if end < 0 else end
            if begin not in found:
                found[begin] = end
                room -= end - begin
            place = end + 1
    return sorted(found.items())


# --- lines that a terminal wrapped ------------------------------------------------------------------------------------

_USUAL_WIDTHS = frozenset({79, 80, 99, 100, 119, 120, 131, 132, 159, 160})
_WIDEST = 320  # columns: wider than any terminal; what is longer was not wrapped
_FULL_LINES = 3
_STARTS_ANEW = re.compile(
    rf"[^\w'\"./ ]| [^\w'\"]|\d{{4}}-\d\d-|[A-Z][a-z]{{2}} [ \d]\d \d\d:|{_LEVEL}\b|[A-Za-z][\w.-]* +\||"
    r"[A-Za-z][\w .()-]{1,40}\s*:\s|[A-Za-z][\w.-]*==|[A-Z_]{3,}=|Traceback|\w+Error\b"
)


def _wrap_width(text: str, spans: list[_Span]) -> int:
    """The width at which a terminal cut the lines, or 0. No line is longer; it is a usual one, or several lines fill it.

    One message that is repeated fills no terminal: the lines must differ.
    """
    lengths = Counter(_filled(text, span) for span in spans)
    longest = max(lengths, default=0)
    if not 60 <= longest <= _WIDEST:
        return 0
    if longest in _USUAL_WIDTHS:
        return longest
    if lengths[longest] < _FULL_LINES:
        return 0
    full = {text[span.start : span.end] for span in spans if _filled(text, span) == longest}
    return longest if len(full) >= _FULL_LINES else 0


def _length(text: str, span: _Span) -> int:
    """Columns of a line, trailing spaces and all; escape sequences take none."""
    if text.find("\x1b", span.start, span.end) >= 0:
        return len(_ESCAPE.sub("", text[span.start : span.end]).rstrip("\r"))
    return span.end - span.start - (text[span.end - 1] == "\r")


def _filled(text: str, span: _Span) -> int:
    """Columns that text fills: a table's padding is none."""
    end = span.end
    if end - span.start > _WIDEST:
        return end - span.start
    while end > span.start and text[end - 1] in " \r\t":
        end -= 1
    return _length(text, _Span(span.number, span.start, end)) if end > span.start else 0


def _begins(text: str, span: _Span) -> str:
    return _ESCAPE.sub("", text[span.start : min(span.end, span.start + 300)])


def _has_prefix(begins: str) -> bool:
    pattern = _RUNTIME.get(begins[:1])
    return pattern is not None and pattern.match(begins) is not None


def _prefixed(text: str, spans: list[_Span]) -> bool:
    """Whether a fourth of the lines carry a runtime's prefix (wrapped lines outnumber them), so that one without goes on."""
    sample = spans[:200]
    return 4 * sum(_has_prefix(_begins(text, span)) for span in sample) >= len(sample)


def _continues(text: str, before: _Span, after: _Span, width: int, prefixed: bool) -> bool:
    """Whether ``after`` is the rest of ``before``: the line before is full, and this one does not begin anything."""
    if after.number != before.number + 1 or not width <= _length(text, before) <= width + 1:
        return False  # one more: the terminal cut after a space
    begins = _begins(text, after)
    if prefixed:
        return not _has_prefix(begins)
    return text[before.start] not in "|+" and not _STARTS_ANEW.match(begins)
