"""Lists of Python packages: pip freeze, pip list (columns, JSON), uv pip list, conda list."""

from __future__ import annotations

import re

from provision.paste.collected import conda_torch
from provision.paste.draft import Draft

FREEZE_MARK = r"[A-Za-z0-9][\w.-]*(?:\[[\w,.-]+\])? ?(?:={2,3} ?\S|@ (?:file|https?|git\+\w+):)"
COLUMNS_MARK = r"Package\s+Version(?:\s|$)"
JSON_MARK = r'\s*\[?\s*\{"name": ?"[^"]*", ?"version": ?"'
CONDA_MARK = r"# packages in environment at |# Name\s+Version\s+Build"
_FREEZE = re.compile(r"([A-Za-z0-9][\w.-]*)(?:\[[\w,.-]+\])? ?={2,3} ?([^\s;\\]+)")
_WHEEL = re.compile(r"([A-Za-z0-9][\w.-]*) @ \S*?/[\w.]+?-(\d[\w.!+%]*)-[\w.]+-[\w.]+-[\w.]+\.whl")


def freeze(lines: list[str], draft: Draft) -> None:
    """``name==version``, and ``name @ file:///…/name-version-….whl``."""
    for line in lines:
        found = _FREEZE.match(line) or _WHEEL.match(line)
        if found:
            draft.package(found[1], found[2].replace("%2B", "+"))


def columns(lines: list[str], draft: Draft) -> None:
    """``pip list``: two columns (a third says where an editable package lives)."""
    for line in lines[1:]:
        cells = line.split()
        if len(cells) >= 2 and cells[1][:1].isdigit():
            draft.package(cells[0], cells[1])


def as_json(lines: list[str], draft: Draft) -> None:
    """``pip list --format json``, whole or cut."""
    for name, version in re.findall(r'"name": ?"([^"]+)", ?"version": ?"([^"]+)"', "\n".join(lines)):
        draft.package(name, version)


def conda(lines: list[str], draft: Draft) -> None:
    """``conda list``: name, version, build, channel."""
    for line in lines:
        cells = line.split()
        if line.startswith("#") or len(cells) < 3 or not cells[1][:1].isdigit():
            continue
        name, version, build = cells[:3]
        if name == "pytorch":
            draft.package(name, version)
            conda_torch(version, build, draft)
        elif name == "python":
            draft.say("python_version", version)
        elif not name.startswith(("lib", "_")):
            draft.package(name, version)
