"""The contract over the ten names: every wing has its real file or its reason, and nothing stands outside the table."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import pytest
import yaml

from provision import check
from provision.roadblock import BY_NAME, ROADBLOCKS, WING_NAMES, WINGS

ROOT = Path(__file__).parents[1]
CELLS = [(name, wing) for name in WINGS for wing in WING_NAMES]
IDLE_MODULES = {"debug", "assert", "set_fact", "meta", "pause", "fail", "include_tasks", "import_tasks"}


def test_the_table_has_every_name_and_wing() -> None:
    assert list(WINGS) == [r.name for r in ROADBLOCKS]
    assert all(tuple(row) == WING_NAMES for row in WINGS.values())
    assert len({r.prefix for r in ROADBLOCKS}) == len(ROADBLOCKS) == 10


@pytest.mark.parametrize(("name", "wing"), CELLS)
def test_a_wing_is_a_real_file_or_has_a_reason(name: str, wing: str) -> None:
    entry = WINGS[name][wing]
    if entry.startswith("none: "):
        assert len(entry) > len("none: ") + 20, "a reason is a sentence"
        return
    assert (ROOT / entry).exists()
    assert name in Path(entry).stem or Path(entry).name == name
    holds_something_real(name, wing, ROOT / entry)


def holds_something_real(name: str, wing: str, path: Path) -> None:
    if wing == "check":
        check.load()
        assert [c for c in check.CHECKS.values() if c.roadblock == name]
    elif wing == "plan":
        section = getattr(importlib.import_module("provision.plan"), "".join(w.title() for w in name.split("_")))
        assert callable(section.desire)
        assert callable(section.promises)
    elif wing == "role":
        assert [t for t in tasks_of(path) if not IDLE_MODULES & {m.rsplit(".", 1)[-1] for m in t}], (
            "a role that does nothing"
        )
    elif wing == "template":
        assert list(path.rglob("*.j2"))
    elif wing == "proof":
        from provision.payload.smoke.proof import load

        assert [p for p in load().values() if p.roadblock == name]


def tasks_of(role: Path) -> list[dict[str, Any]]:
    """Every task a role runs, through the files it includes."""
    found: list[dict[str, Any]] = []
    for file in sorted((role / "tasks").glob("*.yml")):
        for task in yaml.safe_load(file.read_text()) or []:
            found += task.get("block", [task])
            included = task.get("ansible.builtin.include_tasks") or task.get("ansible.builtin.import_tasks")
            named = included.get("file") if isinstance(included, dict) else included
            if named and "managed_files" in named:
                found += yaml.safe_load((ROOT / "playbooks/tasks/managed_files.yml").read_text())
    return found


@pytest.mark.parametrize(
    ("folder", "wing"),
    [
        ("checks", "check"),
        ("provision/plan", "plan"),
        ("playbooks/roles", "role"),
        ("provision/payload/smoke/proofs", "proof"),
    ],
)
def test_nothing_stands_outside_the_table(folder: str, wing: str) -> None:
    there = {p.stem for p in (ROOT / folder).iterdir() if p.suffix in (".py", "") and not p.name.startswith(("_", "."))}
    named = {name for name, row in WINGS.items() if not row[wing].startswith("none: ")}
    assert there - {"promise"} == named


def test_templates_belong_to_a_name_or_to_a_document() -> None:
    there = {p.name for p in (ROOT / "templates").iterdir() if p.is_dir() and not p.name.startswith("_")}
    named = {name for name, row in WINGS.items() if not row["template"].startswith("none: ")}
    assert there - {"image", "report"} == named


def test_every_code_begins_with_its_names_prefix() -> None:
    check.load()
    assert all(c.code.startswith(BY_NAME[c.roadblock].prefix) for c in check.CHECKS.values())
