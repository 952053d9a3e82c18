"""``provision catalog show``."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

from provision.cli import main


def test_every_table_is_shown_with_its_source() -> None:
    names = CliRunner().invoke(main, ["catalog", "show"]).output.split()
    assert {"drivers", "torch_releases", "engine_torch", "xid", "causes"} <= set(names)
    text = CliRunner().invoke(main, ["catalog", "show", "torch_releases"]).output
    assert '[[release]]\ntorch = "1.13.0"' in text and "source = " in text


def test_a_table_is_json_for_programs() -> None:
    shown = json.loads(CliRunner().invoke(main, ["catalog", "show", "torch_releases", "--json"]).output)
    (row,) = (r for r in shown["release"] if r["torch"] == "2.13.0")
    assert (row["cuda"], row["cudnn"], row["glibc"], row["date"]) == ("13.0", "9.20.0.48", "2.28", "2026-11-24")
    assert "drivers" in json.loads(CliRunner().invoke(main, ["catalog", "show", "--json"]).output)


@pytest.mark.parametrize(("name", "nearest"), [("driver", "drivers"), ("../spec", "")])
def test_an_unknown_table_names_the_nearest(name: str, nearest: str) -> None:
    done = CliRunner().invoke(main, ["catalog", "show", name])
    assert done.exit_code == 2
    assert f"no table is called '{name}'" in done.output and nearest in done.output
