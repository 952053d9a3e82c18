"""``provision catalog`` as text."""

from __future__ import annotations

import datetime
import json
from typing import Any

from provision import catalog, codec
from provision.errors import UsageError


def show(table: str | None, as_json: bool) -> str:
    """A table, or the list of tables. Raises ``UsageError`` with the nearest name for one that is not there."""
    tables = sorted(file.stem for file in catalog.FOLDER.glob("*.toml"))
    if table is None:
        return (json.dumps(tables) if as_json else "\n".join(tables)) + "\n"
    if table not in tables:
        raise UsageError(f"no table is called {table!r}{codec.nearest(table, tables)}", "provision catalog show")
    text = (catalog.FOLDER / f"{table}.toml").read_text(encoding="utf-8")
    return json.dumps(catalog.read(f"{table}.toml"), indent=2, default=_date) + "\n" if as_json else text


def refresh() -> str:
    """Make the derived tables of this checkout again. The rows that moved, one a line."""
    from provision import cache, index
    from provision.catalog import refresh as making
    from provision.lock.command import checkout
    from provision.lock.pages import Pages

    _, pyproject = checkout()
    today = datetime.datetime.now(datetime.timezone.utc).date()
    folder, kept = pyproject.parent / "provision" / "catalog", cache.folder() / "metadata"
    moved = making.refresh(Pages(index.read()), folder, today, kept=kept)
    return "".join(f"{line}\n" for line in moved) or "no row moved\n"


def _date(value: Any) -> str:
    if isinstance(value, datetime.date):
        return value.isoformat()
    raise TypeError(type(value).__name__)
