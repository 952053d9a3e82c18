"""The commands that the doctor is measured beside: issue threads ask for their output.

Each is run by an interpreter that has it: the smoke test's, and those that PROVISION_BENCH_PEERS names (paths of Python,
separated by colons), for what nobody wants beside the smoke test. ``python3 -m venv`` and pip make such a one:
``DS_BUILD_OPS=0 pip install torch deepspeed`` for ds_report, ``pip install rapids-cli`` for rapids doctor.
"""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.bench import measure

COLLECT_ENV = "python -m torch.utils.collect_env"
# Name: the file that shows it is installed, and what the interpreter is given. rapids_cli has no __main__.
PEERS: Mapping[str, tuple[str, Sequence[str]]] = {
    COLLECT_ENV: ("torch/utils/collect_env.py", ("-m", "torch.utils.collect_env")),
    "accelerate env": ("accelerate/commands/env.py", ("-m", "accelerate.commands.accelerate_cli", "env")),
    "ds_report": ("deepspeed/env_report.py", ("-m", "deepspeed.env_report")),
    "rapids doctor": ("rapids_cli/cli.py", ("-c", "from rapids_cli.cli import rapids; rapids()", "doctor")),
}


def interpreters() -> list[str]:
    """Pythons that may have a peer, the smoke test's first."""
    smoke = os.environ.get("PROVISION_SMOKE_PYTHON", str(measure.ROOT / ".venv-smoke/bin/python"))
    return [smoke, *filter(None, os.environ.get("PROVISION_BENCH_PEERS", "").split(":"))]


def installed(pythons: Sequence[str]) -> dict[str, list[str]]:
    """The command of every peer that one of the interpreters has; the first that has it runs it."""
    found: dict[str, list[str]] = {}
    for name, (file, arguments) in PEERS.items():
        for python in pythons:
            if any(Path(python).parents[1].glob(f"lib/python3*/site-packages/{file}")):
                found[name] = [python, *arguments]
                break
    return found


def failure(command: Sequence[str]) -> str:
    """Why a command gives no answer here: its exit status and the last lines it wrote; "" where it works."""
    done = subprocess.run(command, check=False, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120)
    if done.returncode == 0:
        return ""
    said = re.sub(r"\x1b\[[\d;]*m", "", f"{done.stdout}\n{done.stderr}")
    errors = re.findall(r"^\s*(\w*(?:Error|Exception): .*(?:\n(?![│╭╰]).+)?)", said, re.MULTILINE)
    last = " ".join(errors[-1].split()) if errors else next((x for x in reversed(said.splitlines()) if x.strip()), "")
    return f"exit {done.returncode}, {last.strip()}"


def left_out(missing: Sequence[str], failing: Mapping[str, str]) -> str:
    """The sentences under the table: which peers are not in it, and why. "" where all are."""
    said = [f"`{name}` is installed and gives no answer on this machine: `{why}`." for name, why in failing.items()]
    if missing:
        names = ", ".join(f"`{name}`" for name in missing)
        said.append(f"Not installed: {names} (`PROVISION_BENCH_PEERS` in `tests/bench/peers.py`).")
    return " ".join(said)
