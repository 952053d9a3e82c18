"""Every check has fired on something real, or its page says unproven: provision/catalog/fired.toml."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from provision import check, codec, page
from provision.catalog.fired import Fired, fired
from provision.fact import FACTS, Absent, Missing

check.load()
ROOT = Path(__file__).parents[2]
RECORDINGS = ROOT / "tests" / "facts"


def test_every_row_is_of_a_check() -> None:
    assert sorted(set(fired()) - set(check.CHECKS)) == []


@pytest.mark.parametrize(("code", "row"), sorted(fired().items()), ids=sorted(fired()))
def test_what_a_row_names_is_there(code: str, row: Fired) -> None:
    if row.kind == "documented":
        assert re.fullmatch(r"https://\S+", row.on), code
    elif row.kind == "induced":
        file, _, name = row.on.partition("::")
        assert re.search(rf"^def {name}\(", (ROOT / file).read_text(), re.MULTILINE), row.on
    elif row.kind == "recorded":
        assert (ROOT / row.on).is_file(), row.on
    else:
        assert row.on
        assert not row.facts, "a check that fires on a recording is not unproven"
    assert all((RECORDINGS / f"{name}.json").is_file() for name in row.facts)


def known(name: str) -> tuple[type, Any]:
    """A recording's fact, or why it is not known."""
    kind = FACTS[name.partition("/")[0]]
    ((state, content),) = json.loads((RECORDINGS / f"{name}.json").read_text())["expect"].items()
    return kind, codec.load(kind, content) if state == "known" else {"absent": Absent, "missing": Missing}[state](
        content
    )


WITH_FACTS = sorted((code, row) for code, row in fired().items() if row.facts)


@pytest.mark.parametrize(("code", "row"), WITH_FACTS, ids=[code for code, _ in WITH_FACTS])
def test_the_check_fires_on_the_recordings_made_from_its_evidence(run_check: Any, code: str, row: Fired) -> None:
    result = run_check(code, dict(map(known, row.facts)))
    assert result.outcome == "found", f"{result.outcome}: {result.reason}"


def test_the_induced_faults_are_the_ones_that_the_test_makes() -> None:
    """A row that names the NVML stub's test is one of its cases."""
    text = (RECORDINGS / "test_gpu_induced.py").read_text()
    named = {code for code, row in fired().items() if "test_gpu_induced.py" in row.on}
    assert {code for code in named if f'("{code}", machine(' not in text} == set()


def test_the_readme_says_it_of_every_check() -> None:
    rows = {line.split(" | ")[0][2:]: line for line in page.readme().splitlines() if line.startswith("| ")}
    for code, row in fired().items():
        assert (row.on if row.kind != "documented" else f"[documented]({row.on})") in rows[code]


def test_a_check_without_a_row_is_unproven(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(page, "fired", dict)
    assert {line.split(" | ")[-1] for line in page.readme().splitlines() if line.startswith("| FRG")} == {"unproven |"}
