"""Two whole runs at once on one machine."""

from __future__ import annotations

import signal

import pytest

from .conftest import Road, wait_until

pytestmark = [pytest.mark.engine, pytest.mark.network]


def test_the_second_says_who_holds_the_machine_waits_and_finds_nothing_to_do(road: Road) -> None:
    with road.begin("up") as first:
        wait_until(road.holder)
        process = road.holder()
        road.machine.run("kill", f"-{signal.SIGSTOP.value}", str(process))
        runs = len(road.runs)
        try:
            refused = road.provision("up", PROVISION_WAIT="1")
            assert refused.code == 4 and refused.out == ""
            assert f"(process {process}) holds this machine and was waited for 1 s" in refused.err
            assert "provision up" in refused.err and "fuser -v /run/lock/provision.lock" in refused.err
            assert len(road.runs) == runs
        finally:
            road.machine.run("kill", f"-{signal.SIGCONT.value}", str(process))
            first.send_signal(signal.SIGCONT)  # nsenter stops with its child, and goes on only when it is told to
        with road.begin("up", PROVISION_WAIT="600") as second:
            _, first_said = first.communicate(timeout=600)
            out, second_said = second.communicate(timeout=600)
    assert (first.returncode, second.returncode) == (0, 0), first_said + second_said
    (waited,) = [line for line in second_said.splitlines() if "holds this machine" in line]
    assert f"(process {process}) holds this machine; waiting at most 600 s" in waited
    assert "changed=0" in out and road.read("preview.json")["changes"] == []


def test_a_patience_that_is_no_number_is_refused(road: Road) -> None:
    done = road.provision("up", PROVISION_WAIT="long")
    assert done.code == 2 and "PROVISION_WAIT: expected a number of seconds, got 'long'" in done.err
