"""Versions and requirements of Python packages, as far as a doctor needs them. No fact of its own, nothing imported.

Sources: PyPA version specifiers (PEP 440) and dependency specifiers (PEP 508). The library ``packaging`` would do, but the
collector is standard library only; tests/facts/test_requirement.py holds the two together.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Mapping
from typing import Any

_VERSION = re.compile(
    r"v?(?:(?P<epoch>\d+)!)?(?P<release>\d+(?:\.\d+)*)"
    r"(?:[-_.]?(?P<pre>a|b|c|rc|alpha|beta|pre|preview)[-_.]?(?P<pre_n>\d*))?"
    r"(?P<post>-(?P<post_1>\d+)|[-_.]?(?:post|rev|r)[-_.]?(?P<post_2>\d*))?"
    r"(?P<dev>[-_.]?dev[-_.]?(?P<dev_n>\d*))?(?:\+(?P<local>[a-z0-9]+(?:[-_.][a-z0-9]+)*))?"
)
_PRE = {"alpha": "a", "beta": "b", "c": "rc", "pre": "rc", "preview": "rc"}
_REQUIREMENT = re.compile(r"\s*([A-Za-z0-9][\w.-]*)\s*(?:\[[^]]*\])?\s*\(?([^;()@]*)\)?\s*(?:;\s*(.*))?$")
_CLAUSE = re.compile(r"\s*(~=|===?|!=|<=|>=|<|>)\s*([^\s,]+)\s*$")


class Unreadable(ValueError):
    """A version, requirement or marker that is not written by the rules."""


def normal(name: str) -> str:
    """``Flash_Attn`` as "flash-attn" (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


@functools.lru_cache(maxsize=4096)
def key(version: str) -> tuple[Any, ...]:
    """What versions are ordered by (PEP 440, "Summary of permitted suffixes and relative ordering")."""
    found = _VERSION.fullmatch(version.strip().lower())
    if found is None:
        raise Unreadable(f"{version!r} is no version")
    release = [int(part) for part in found["release"].split(".")]
    while len(release) > 1 and release[-1] == 0:
        release.pop()
    pre: tuple[Any, ...] = (1,)  # a final release: behind every pre-release
    if found["pre"]:
        pre = (0, _PRE.get(found["pre"], found["pre"]), int(found["pre_n"] or 0))
    elif found["dev"] and not found["post"]:
        pre = (-1,)  # 1.0.dev1 comes before 1.0a1
    post = int(found["post_1"] or found["post_2"] or 0) if found["post"] else -1
    dev = int(found["dev_n"] or 0) if found["dev"] else 1 << 62
    parts = re.split(r"[-_.]", found["local"]) if found["local"] else []
    local = tuple((1, int(p), "") if p.isdigit() else (0, 0, p) for p in parts)
    return int(found["epoch"] or 0), tuple(release), pre, post, dev, local


def public(version: str) -> str:
    """Without what stands behind "+"."""
    return version.partition("+")[0]


def meets(version: str, specifier: str) -> bool:
    """Whether ``version`` satisfies every clause of ``>=1.2,<2``. Pre-releases that are installed are accepted."""
    return all(_clause(version, one) for one in specifier.split(",") if one.strip())


def _clause(version: str, clause: str) -> bool:
    found = _CLAUSE.match(clause)
    if found is None:
        raise Unreadable(f"{clause!r} is no version clause")
    sign, wanted = found[1], found[2]
    if sign == "===":
        return version.strip().lower() == wanted.lower()
    if wanted.endswith(".*"):
        if sign not in ("==", "!="):
            raise Unreadable(f"{clause!r} is no version clause")
        return _starts(version, wanted[:-2]) is (sign == "==")
    if sign in ("==", "!="):
        mine = version if "+" in wanted else public(version)
        return (key(mine) == key(wanted)) is (sign == "==")
    mine_key, wanted_key = key(public(version)), key(wanted)
    if sign == "~=":
        release = re.match(r"(?:\d+!)?\d+(?:\.\d+)*", wanted)
        return mine_key >= wanted_key and release is not None and _starts(version, release[0].rpartition(".")[0])
    if sign == "<=":
        return mine_key <= wanted_key
    if sign == ">=":
        return mine_key >= wanted_key
    same = key(re.match(r"[\d.!]+\d|\d", public(version))[0])[:2] == wanted_key[:2]  # type: ignore[index]
    if sign == "<":  # "<2" leaves out 2.0rc1 as well
        return mine_key < wanted_key and not (same and mine_key[2] != (1,) and wanted_key[2] == (1,))
    return mine_key > wanted_key and not (same and mine_key[3] >= 0 and wanted_key[3] < 0)  # ">1" leaves out 1.post1


def _starts(version: str, prefix: str) -> bool:
    """Whether the release of ``version`` begins with the numbers of ``prefix``."""
    epoch, mine, *_ = key(public(version))
    wanted_epoch, *_ = key(prefix)
    wanted = [int(n) for n in re.findall(r"\d+", prefix.rpartition("!")[2])]
    padded = list(mine) + [0] * len(wanted)
    return bool(epoch == wanted_epoch and padded[: len(wanted)] == wanted)


@functools.lru_cache(maxsize=4096)
def parse(line: str) -> tuple[str, str, str]:
    """``torch (>=2.0) ; extra == "x"`` as (normalised name, ">=2.0", 'extra == "x"'). Raises where it names an address."""
    found = _REQUIREMENT.match(line)
    if found is None or not all(_CLAUSE.match(one) for one in found[2].split(",") if one.strip()):
        raise Unreadable(f"{line!r} is no requirement by version")
    return normal(found[1]), found[2].strip(), (found[3] or "").strip()


def extras(line: str) -> tuple[str, frozenset[str]]:
    """``ray[Default]>=2 ; …`` as ("ray", {"default"}), normalised (PEP 685)."""
    found = re.match(r"\s*([A-Za-z0-9][\w.-]*)\s*(?:\[([^]]*)\])?", line)
    if found is None:
        raise Unreadable(f"{line!r} is no requirement")
    return normal(found[1]), frozenset(normal(word.strip()) for word in (found[2] or "").split(",") if word.strip())


def marker_environment(python: str, architecture: str) -> dict[str, str]:
    """What markers ask about, for a CPython on Linux. ``python``: as exactly as it is known, "3.11" or "3.11.7"."""
    return {
        "python_version": ".".join(python.split(".")[:2]),
        "python_full_version": python if python.count(".") == 2 else f"{python}.0",
        "os_name": "posix",
        "sys_platform": "linux",
        "platform_system": "Linux",
        "platform_machine": architecture,
        "platform_python_implementation": "CPython",
        "implementation_name": "cpython",
        "implementation_version": python,
        "platform_release": "",
        "platform_version": "",
        "extra": "",
    }


_TOKEN = re.compile(r"\s*(\(|\)|\band\b|\bor\b|\bnot\s+in\b|\bin\b|~=|===?|!=|<=|>=|<|>|'[^']*'|\"[^\"]*\"|\w+)")


def applies(marker: str, environment: Mapping[str, str]) -> bool:
    """Whether an environment marker holds; an empty one does. Raises ``Unreadable``."""
    tokens, place = [], 0
    while place < len(marker.rstrip()):
        found = _TOKEN.match(marker, place)
        if found is None:
            raise Unreadable(f"{marker!r} is no marker")
        tokens.append(re.sub(r"\s+", " ", found[1]))
        place = found.end()
    if not tokens:
        return True
    value = _either(tokens, environment)
    if tokens:
        raise Unreadable(f"{marker!r} is no marker")
    return value


def _either(tokens: list[str], environment: Mapping[str, str]) -> bool:
    value = _both(tokens, environment)
    while tokens[:1] == ["or"]:
        tokens.pop(0)
        value = _both(tokens, environment) or value
    return value


def _both(tokens: list[str], environment: Mapping[str, str]) -> bool:
    value = _one(tokens, environment)
    while tokens[:1] == ["and"]:
        tokens.pop(0)
        value = _one(tokens, environment) and value
    return value


_BY_TEXT: dict[str, Callable[[str, str], bool]] = {
    "==": lambda a, b: a == b,
    "!=": lambda a, b: a != b,
    "in": lambda a, b: a in b,
    "not in": lambda a, b: a not in b,
    "<": lambda a, b: a < b,
    ">": lambda a, b: a > b,
    "<=": lambda a, b: a <= b,
    ">=": lambda a, b: a >= b,
}


def _one(tokens: list[str], environment: Mapping[str, str]) -> bool:
    if tokens[:1] == ["("]:
        tokens.pop(0)
        value = _either(tokens, environment)
        if tokens[:1] != [")"]:
            raise Unreadable("a bracket is not closed")
        tokens.pop(0)
        return value
    if len(tokens) < 3:
        raise Unreadable("a marker ends too early")
    left, sign, right = (tokens.pop(0) for _ in range(3))
    values = [_value(word, environment) for word in (left, right)]
    if "version" in left + right and sign not in ("in", "not in"):
        named_left = not left.startswith(("'", '"'))
        mine, wanted = values if named_left else values[::-1]
        turned = {"<": ">", ">": "<", "<=": ">=", ">=": "<="}.get(sign, sign)
        try:
            return _clause(mine, f"{sign if named_left else turned}{wanted}")
        except Unreadable:
            pass
    if sign not in _BY_TEXT:
        raise Unreadable(f"{sign!r} compares no words")
    return _BY_TEXT[sign](*values)


def _value(word: str, environment: Mapping[str, str]) -> str:
    if word[:1] in "'\"":
        return word[1:-1]
    if word not in environment:
        raise Unreadable(f"{word!r} is not known to markers")
    return environment[word]
