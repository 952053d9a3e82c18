"""The doctor on documented failures and on what programs print: the score is printed, and has a floor."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import tomllib

from tests.corpus import score

TEXTS = tomllib.loads(Path(__file__).with_name("messages.toml").read_text(encoding="utf-8"))["text"]


def test_the_score_on_documented_failures(capsys: pytest.CaptureFixture[str]) -> None:
    rows = score.cases()
    whole = score.score(rows)
    decidable = score.score(row for row in rows if "undecidable" not in row)
    with capsys.disabled():
        print(f"\ndiagnosis: {whole.line}\ndiagnosis, decidable rows: {decidable.line}")
    assert whole.first / whole.faults >= 0.90, whole.misses
    assert decidable.three / decidable.faults >= 0.97, decidable.misses
    assert whole.alarms == 0, whole.misses


def test_the_score_on_failures_found_afterwards(capsys: pytest.CaptureFixture[str]) -> None:
    rows = score.cases(score.FURTHER)
    found = score.score(rows)
    decidable = score.score(row for row in rows if "undecidable" not in row)
    over_all = score.score([*score.cases(), *rows])
    with capsys.disabled():
        print(f"\ndiagnosis, found afterwards: {found.line}\ndiagnosis, over all: {over_all.line}")
    assert found.first / found.faults >= 0.90, found.misses
    assert decidable.three / decidable.faults >= 0.97, decidable.misses
    assert found.controls >= 40
    assert found.alarms == 0, found.misses


def test_every_case_has_a_public_source() -> None:
    rows = [*score.cases(), *score.cases(score.FURTHER)]
    assert all(row["source"].startswith("https://") for row in rows)
    assert len({row["id"] for row in rows}) == len(rows)


@pytest.mark.parametrize("row", TEXTS, ids=lambda row: f"{row['cause'] or 'none'}: {row['text'][:40]}")
def test_a_message_is_told_for_what_it_is(row: dict[str, Any]) -> None:
    named = score.errors([], row["text"])
    assert named[:1] == ([row["cause"]] if row["cause"] else []), named


def test_there_are_enough_texts_of_both_kinds() -> None:
    assert sum(bool(row["cause"]) for row in TEXTS) >= 60
    assert sum(not row["cause"] for row in TEXTS) >= 40
