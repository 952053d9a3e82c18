"""The doctor beside what people run today to describe a machine. Run with ``make bench``."""

from __future__ import annotations

import datetime
import os
import sys
from pathlib import Path

import pytest

from tests.bench import measure

ROUNDS = 9
PASTED = "provision doctor --from DUMP --log FILE"
PASTED_SECONDS = 0.25
# Issue threads ask for these; each is run by the interpreter that has it.
PEERS = {
    "python -m torch.utils.collect_env": ("torch/utils/collect_env.py", ["-m", "torch.utils.collect_env"]),
    "accelerate env": ("accelerate/commands/env.py", ["-m", "accelerate.commands.accelerate_cli", "env"]),
    "ds_report": ("deepspeed/env_report.py", ["-m", "deepspeed.env_report"]),
    "rapids doctor": ("rapids_cli/cli.py", ["-m", "rapids_cli", "doctor"]),
}


def peers() -> dict[str, list[str]]:
    """Those that are installed in the interpreter of the smoke test."""
    python = os.environ.get("PROVISION_SMOKE_PYTHON", str(measure.ROOT / ".venv-smoke/bin/python"))
    folders = list(Path(python).parents[1].glob("lib/python3*/site-packages"))
    return {
        name: [python, *arguments]
        for name, (file, arguments) in PEERS.items()
        if any((folder / file).exists() for folder in folders)
    }


def test_doctor_beside_its_peers() -> None:
    provision = str(Path(sys.executable).with_name("provision"))
    ours = "provision doctor"
    others = peers()
    if "python -m torch.utils.collect_env" not in others:
        pytest.fail("torch is not there: make .venv-smoke/.made")
    dump, log = (str(measure.ROOT / "tests/paste" / name) for name in ("dumps/collect_env_vllm.txt", "error.log"))
    commands = {
        ours: [provision, "doctor"],
        PASTED: [provision, "doctor", "--from", dump, "--log", log],
        "provision --help": [provision, "--help"],
        **others,
    }
    timings = measure.side_by_side(commands, ROUNDS)
    text = (
        f"{datetime.date.today().isoformat()}, {measure.machine()}; `make bench`; median of {ROUNDS} rounds, one command "
        f"after the other in every round.\n\n{measure.table(timings, ours)}"
    )
    measure.record("doctor", text)
    assert set(timings[ours].statuses) <= {0, 1, 3}
    assert set(timings[PASTED].statuses) <= {0, 1}
    assert timings[PASTED].fastest <= PASTED_SECONDS
    assert timings["python -m torch.utils.collect_env"].statuses == (0,)
    assert timings["python -m torch.utils.collect_env"].seconds / timings[ours].seconds >= 6.0
