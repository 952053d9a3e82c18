"""What can be locked: the rows of ``catalog/variants.toml``, read strictly."""

from __future__ import annotations

import difflib
import fnmatch
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import tomllib

from provision.errors import UsageError
from provision.lock.target import Target
from provision.record import record

CATALOG = Path(__file__).parent.parent / "catalog" / "variants.toml"


@record
class PublicIndex:
    """A project's own package index, asked only for ``packages``."""

    name: str
    url: str
    packages: tuple[str, ...]
    source: str
    date: str

    def page(self, package: str) -> str:
        """The page of one package: a find-links address, so that nothing else is taken from this index."""
        return f"{self.url.rstrip('/')}/{package}/"


@record
class Requirement:
    """One line of an input: a package, its bound (``""`` for none) and the reason for it."""

    name: str
    bound: str
    because: str
    source: str
    date: str
    index: PublicIndex | None = None


@record
class Variant:
    """One lock. Its requirements are listed here, or taken from pyproject.toml at ``origin``."""

    name: str
    purpose: str
    accelerator: str
    target: Target
    origin: str
    requirements: tuple[Requirement, ...]
    agree_with: tuple[str, ...]
    forbidden: tuple[str, ...]
    forbidden_because: str
    allowed: tuple[str, ...] = ()  # names that a pattern of ``forbidden`` covers and that belong here all the same

    def forbids(self, package: str, version: str) -> bool:
        """Whether this version of a package (normalised name) must stay out of this lock."""
        words = (package, f"{package}=={version}")
        return package not in self.allowed and any(
            fnmatch.fnmatchcase(w, each) for each in self.forbidden for w in words
        )


def load(path: Path = CATALOG) -> tuple[Variant, ...]:
    """Every variant, in the file's order. Raises ``UsageError`` with file, key and what was expected."""
    try:
        table = tomllib.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise UsageError(f"{path}: cannot be read: {error}") from None
    reader = _Reader(path, table, "")
    reader.allow("schema", "accelerator", "index", "set", "variant")
    if reader.table.get("schema") != 1:
        raise UsageError(f"{path}: schema: expected 1, got {reader.table.get('schema')!r}")
    indexes = {row.label: _public_index(row) for row in reader.rows("index")}
    accelerators = {row.label: row for row in reader.rows("accelerator")}
    sets = reader.sets()
    return tuple(_variant(row, accelerators, indexes, sets) for row in reader.rows("variant"))


def find(name: str, path: Path = CATALOG) -> Variant:
    """The variant called ``name``. Raises ``UsageError`` with the nearest names."""
    known = {variant.name: variant for variant in load(path)}
    if name not in known:
        near = difflib.get_close_matches(name, known, n=1, cutoff=0.4)
        raise UsageError(
            f"no variant is called {name!r}; there are {', '.join(known)}",
            f"provision lock {near[0]}" if near else "",
        )
    return known[name]


class _Reader:
    """One table of the catalog, with its place in the file for messages."""

    def __init__(self, path: Path, table: Mapping[str, Any], place: str) -> None:
        self.path, self.table, self.place = path, table, place

    @property
    def label(self) -> str:
        return self.place.rpartition(".")[2]

    def allow(self, *keys: str) -> None:
        for key in self.table:
            if key not in keys:
                near = difflib.get_close_matches(key, keys, n=1)
                hint = f"; did you mean {near[0]!r}" if near else f"; known: {', '.join(keys)}"
                raise UsageError(f"{self.path}: {self._at(key)}: unknown key{hint}")

    def text(self, key: str, default: str | None = None) -> str:
        value = self.table.get(key, default)
        if not isinstance(value, str):
            raise UsageError(f"{self.path}: {self._at(key)}: expected text, got {value!r}")
        return value

    def texts(self, key: str) -> tuple[str, ...]:
        value = self.table.get(key, [])
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            raise UsageError(f"{self.path}: {self._at(key)}: expected a list of text, got {value!r}")
        return tuple(value)

    def rows(self, key: str) -> tuple[_Reader, ...]:
        value = self.table.get(key, {})
        pairs = value.items() if isinstance(value, dict) else [(str(place), row) for place, row in enumerate(value)]
        for name, row in pairs:
            if not isinstance(row, dict):
                raise UsageError(f"{self.path}: {self._at(key)}.{name}: expected a table, got {row!r}")
        return tuple(_Reader(self.path, row, f"{self._at(key)}.{name}") for name, row in pairs)

    def sets(self) -> dict[str, tuple[_Reader, ...]]:
        """Rows that variants share, by the name of their set."""
        table = self.table.get("set", {})
        if not isinstance(table, dict):
            raise UsageError(f"{self.path}: set: expected a table, got {table!r}")
        return {name: _Reader(self.path, table, "set").rows(name) for name in table}

    def one_of(self, key: str, known: Mapping[str, Any]) -> str:
        value = self.text(key)
        if value not in known:
            raise UsageError(f"{self.path}: {self._at(key)}: expected one of {', '.join(known)}, got {value!r}")
        return value

    def _at(self, key: str) -> str:
        return f"{self.place}.{key}" if self.place else key


def _public_index(row: _Reader) -> PublicIndex:
    row.allow("url", "packages", "source", "date")
    return PublicIndex(
        name=row.label,
        url=row.text("url"),
        packages=row.texts("packages"),
        source=row.text("source"),
        date=row.text("date"),
    )


def _variant(
    row: _Reader,
    accelerators: Mapping[str, _Reader],
    indexes: Mapping[str, PublicIndex],
    sets: Mapping[str, tuple[_Reader, ...]],
) -> Variant:
    row.allow("purpose", "accelerator", "python", "glibc", "machine", "from", "sets", "requirement", "agree_with")
    accelerator = accelerators[row.one_of("accelerator", accelerators)]
    accelerator.allow("because", "forbid", "allow")
    shared = [each for name in row.texts("sets") for each in _set(row, name, sets)]
    origin, rows = row.text("from", ""), (*shared, *row.rows("requirement"))
    if bool(origin) == bool(rows):
        raise UsageError(f"{row.path}: {row.place}: expected either `from`, or `sets` and [[requirement]] rows")
    return Variant(
        name=row.label,
        purpose=row.text("purpose"),
        accelerator=accelerator.label,
        target=Target(python=row.text("python"), glibc=row.text("glibc"), machine=row.text("machine")),
        origin=origin,
        requirements=tuple(_requirement(entry, indexes) for entry in rows),
        agree_with=row.texts("agree_with"),
        forbidden=accelerator.texts("forbid"),
        forbidden_because=accelerator.text("because"),
        allowed=accelerator.texts("allow"),
    )


def _set(row: _Reader, name: str, sets: Mapping[str, tuple[_Reader, ...]]) -> tuple[_Reader, ...]:
    if name not in sets:
        raise UsageError(f"{row.path}: {row.place}.sets: expected some of {', '.join(sets)}, got {name!r}")
    return sets[name]


def _requirement(row: _Reader, indexes: Mapping[str, PublicIndex]) -> Requirement:
    row.allow("name", "bound", "index", "because", "source", "date")
    name, bound = row.text("name"), row.text("bound")
    index = indexes[row.one_of("index", indexes)] if "index" in row.table else None
    if index is not None and (name not in index.packages or not bound.startswith("==") or "*" in bound):
        raise UsageError(f"{row.path}: {row.place}: a package of index {index.name} needs one exact version there")
    return Requirement(
        name=name,
        bound=bound,
        because=row.text("because"),
        source=row.text("source"),
        date=row.text("date"),
        index=index,
    )
