"""Whether an engine answers, without waking one."""

from __future__ import annotations

import pytest

from provision import evidence
from provision.recorded import RecordedHost

ASK = "run systemctl is-active docker.socket docker.service"


@pytest.mark.parametrize(
    ("systemd", "answers"),
    [
        ({"known": "active\ninactive\n"}, False),
        ({"known": "active\nfailed\n"}, False),
        ({"known": "active\nactive\n"}, True),
        ({"known": "inactive\ninactive\n"}, True),  # an engine that was started by hand
        ({"absent": "systemctl is not installed"}, True),
        ({"missing": "systemctl failed with status 1: not booted with systemd"}, True),
    ],
)
def test_a_stopped_engine_is_not_asked(systemd: dict[str, str], answers: bool) -> None:
    host = RecordedHost({ASK: systemd, f"get {evidence.SOCKET} /version": {"known": {"ApiVersion": "1.41"}}})
    assert evidence.engine_answers(host) is answers
