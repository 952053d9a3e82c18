"""Known messages in a log's lines: literal searches, and patterns only on the lines that hold a literal.

A log of megabytes says the same few words over and over. Its words are therefore collected first, digits as one digit, and
only literals whose words all occur among them are looked for in the text.
"""

from __future__ import annotations

import bisect
import itertools
from collections.abc import Iterable, Iterator

from provision.catalog.symptoms import Pattern, Rule, compiled, rules
from provision.facts.symptoms import Symptom, Symptoms
from provision.paste.clean import Line

MOST_PER_RULE = 8  # different lines of one kind; a log repeats itself
MOST_TRIED = 400  # lines that hold an anchor and do not match: then the anchor is taken for noise
MOST_WORDS = 1 << 20  # characters of different words: more is no log, and its ends are read
ENDS = (500_000, 1_000_000)  # characters of such a text that are read at its start and at its end
_SLICE = 1 << 20
LONGEST = 2000  # characters of a line and the one after it that a pattern looks at


def find(lines: Iterable[Line]) -> Symptoms:
    """Every known message, in the log's order. Bounded: a rule is reported for its first few different lines."""
    read = list(lines)
    count = len(read)
    text = _searched(read)
    words = _vocabulary(text)
    if len(words) > MOST_WORDS:
        read = _ends(read)
        text = _searched(read)
        words = _vocabulary(text)
    starts = list(itertools.accumulate((len(line.text) + 1 for line in read), initial=0))
    found = [symptom for rule in rules().values() for symptom in _of_rule(rule, read, text, starts, words)]
    order = {name: place for place, name in enumerate(rules())}
    return Symptoms(found=tuple(sorted(found, key=lambda s: (s.line, order[s.rule]))), lines=count)


def _searched(read: list[Line]) -> str:
    """The lines as one text of the same length in lower-case ASCII."""
    return "\n".join(line.text for line in read).encode("ascii", "replace").decode("ascii").lower()


_WORDS = {code: " " for code in range(128) if not chr(code).isalnum()} | {ord(digit): "0" for digit in "0123456789"}


def _vocabulary(text: str) -> str:
    """Every different word of ``text``, one a line."""
    words: set[str] = set()
    start = 0
    while start < len(text):
        end = text.find("\n", start + _SLICE)
        end = len(text) if end < 0 else end
        words.update(text[start:end].translate(_WORDS).split())
        start = end + 1
    return "\n".join(words)


def _ends(read: list[Line]) -> list[Line]:
    """The first and the last lines, within ``ENDS``."""
    sizes = list(itertools.accumulate(len(line.text) + 1 for line in read))
    head = bisect.bisect_right(sizes, ENDS[0])
    tail = max(bisect.bisect_right(sizes, sizes[-1] - ENDS[1]), head)
    return read[:head] + read[tail:]


def _may_hold(words: str, anchor: str) -> bool:
    return all(word in words for word in anchor.translate(_WORDS).split())


def _of_rule(rule: Rule, read: list[Line], text: str, starts: list[int], words: str) -> list[Symptom]:
    found: dict[str, Symptom] = {}
    for pattern in rule.patterns:
        if not _may_hold(words, pattern.anchor):
            continue
        for place in itertools.islice(_places(pattern.anchor, text, starts), MOST_TRIED):
            if len(found) >= MOST_PER_RULE:
                return list(found.values())
            symptom = _match(rule, pattern, read, place)
            if symptom is not None:
                found.setdefault(symptom.text, symptom)
    return list(found.values())


def _places(anchor: str, text: str, starts: list[int]) -> Iterator[int]:
    """The lines that hold ``anchor``, each once."""
    hit = text.find(anchor)
    while hit >= 0:
        place = bisect.bisect_right(starts, hit) - 1
        yield place
        hit = text.find(anchor, starts[place + 1]) if place + 1 < len(starts) else -1


def _match(rule: Rule, pattern: Pattern, read: list[Line], place: int) -> Symptom | None:
    line = read[place]
    window = line.text[:LONGEST]
    if any(word in window.lower() for word in rule.unless):
        return None
    captures: dict[str, str] = {}
    if pattern.regex:
        after = read[place + 1].text if place + 1 < len(read) else ""
        hit = compiled(pattern.regex).search(f"{window} {after}"[:LONGEST])
        if hit is None or hit.start() > len(window):
            before = read[place - 1].text[-LONGEST // 2 :] if place else ""
            hit = compiled(pattern.regex).search(f"{before} {window}"[:LONGEST]) if before else None
        if hit is None:
            return None
        captures = {name: value for name, value in hit.groupdict().items() if value}
    return Symptom(rule=rule.id, line=line.number, text=window.strip(), captures=tuple(sorted(captures.items())))
