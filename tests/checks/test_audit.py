"""AUD: both sides of every threshold."""

from __future__ import annotations

from typing import Any

import pytest

from provision.fact import Absent
from provision.facts.docker import DaemonJson, Docker


@pytest.mark.parametrize(("driver", "found"), [("local", 0), ("json-file", 0), ("journald", 0), ("none", 1)])
def test_aud001_wants_output_kept(a: Any, messages: Any, driver: str, found: int) -> None:
    assert len(messages("AUD001", a(Docker, logging_driver=driver))) == found


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ('{"log-opts": {"max-size": "10m"}}', 0),
        ('{"log-opts": {"max-file": "3"}}', 1),
        ('{"log-opts": {"max-size": "-1"}}', 1),
        ('{"log-opts": []}', 1),
        ("{}", 1),
    ],
)
def test_aud002_wants_a_limit(a: Any, messages: Any, text: str, found: int) -> None:
    assert len(messages("AUD002", a(Docker, logging_driver="json-file"), a(DaemonJson, text=text))) == found


@pytest.mark.parametrize(
    ("text", "fix"),
    [
        ("{}", "sudo provision up --allow config"),
        (None, "sudo provision up"),
        (
            '{"log-driver": "json-file"}',
            'set "log-opts": {"max-file": "5", "max-size": "20m"} in /etc/docker/daemon.json, then restart the engine',
        ),
    ],
)
def test_aud002_names_the_command_where_the_plan_sets_it(a: Any, run_check: Any, text: str | None, fix: str) -> None:
    file = {DaemonJson: Absent("no file")} if text is None else a(DaemonJson, text=text)
    (finding,) = run_check("AUD002", a(Docker, logging_driver="json-file"), file).findings
    assert finding.fix == (fix,)


def test_aud002_counts_no_settings_as_no_limit(a: Any, messages: Any) -> None:
    assert len(messages("AUD002", a(Docker, logging_driver="json-file"), {DaemonJson: Absent("no file")})) == 1


def test_aud002_does_not_judge_another_driver(a: Any, run_check: Any) -> None:
    assert run_check("AUD002", a(DaemonJson, text="{}")).outcome == "skipped"
