"""The doctor beside what people run today to describe a machine. Run with ``make bench``."""

from __future__ import annotations

import datetime
import sys
from pathlib import Path

import pytest

from tests.bench import measure, peers

ROUNDS = 9
PASTED = "provision doctor --from DUMP --log FILE"
PASTED_SECONDS = 0.25


def test_doctor_beside_its_peers() -> None:
    provision = str(Path(sys.executable).with_name("provision"))
    ours = "provision doctor"
    others = peers.installed(peers.interpreters())
    if peers.COLLECT_ENV not in others:
        pytest.fail("torch is not there: make .venv-smoke/.made")
    missing = [name for name in peers.PEERS if name not in others]
    # One that falls over is no faster than one that answers: it is named, not timed.
    failing = {name: why for name, command in others.items() if (why := peers.failure(command))}
    assert peers.COLLECT_ENV not in failing, failing
    dump, log = (str(measure.ROOT / "tests/paste" / name) for name in ("dumps/collect_env_vllm.txt", "error.log"))
    commands = {
        ours: [provision, "doctor"],
        PASTED: [provision, "doctor", "--from", dump, "--log", log],
        "provision --help": [provision, "--help"],
        **{name: command for name, command in others.items() if name not in failing},
    }
    timings = measure.side_by_side(commands, ROUNDS)
    text = (
        f"{datetime.date.today().isoformat()}, {measure.machine()}; `make bench`; median of {ROUNDS} rounds, one command "
        f"after the other in every round.\n\n{measure.table(timings, ours)}"
    )
    if others_said := peers.left_out(missing, failing):
        text += f"\n\n{others_said}"
    measure.record("doctor", text)
    assert set(timings[ours].statuses) <= {0, 1, 3}
    assert set(timings[PASTED].statuses) <= {0, 1}
    assert timings[PASTED].fastest <= PASTED_SECONDS
    assert timings[peers.COLLECT_ENV].statuses == (0,)
    assert timings[peers.COLLECT_ENV].seconds / timings[ours].seconds >= 6.0
