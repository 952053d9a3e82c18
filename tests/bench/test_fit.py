"""How fast ``provision fit`` answers, and how far its forecast is from what engines printed. Run with ``make bench``."""

from __future__ import annotations

import datetime
import os
import sys
from collections import defaultdict

from tests.bench import measure
from tests.fit.printed import ROWS, ask, errors, spread

ROUNDS = 9
SECONDS = 0.25
OURS = "provision fit"
ASKED = ("--model", "R1-Distill-Qwen-32B", "--gpu", "RTX 4090", "--gpus", "2", "--users", "8", "--json")


def test_fit_beside_printed_figures_and_torch() -> None:
    provision = str(measure.ROOT / ".venv/bin/provision")
    python = os.environ.get("PROVISION_SMOKE_PYTHON", str(measure.ROOT / ".venv-smoke/bin/python"))
    timings = measure.side_by_side(
        {
            OURS: [provision, "fit", *ASKED],
            "python -c 'import torch, transformers'": [python, "-c", "import torch, transformers"],
            "python -c pass": [sys.executable, "-c", "pass"],
        },
        ROUNDS,
    )
    found: dict[str, list[float]] = defaultdict(list)
    lines = []
    for row in ROWS:
        said = errors(row, ask(row))
        figures = ", ".join(f"{name} {share:.1%}" for name, share in said.items())
        if "off" in row:
            linked = row["source"].startswith("https://")
            report = f"[{row['id']}]({row['source']})" if linked else f"{row['id']} ({row['source']})"
            lines.append(f"| {report} | {figures or '-'} | {row['off']} |")
            continue
        for name, share in said.items():
            found[name].append(share)
    text = (
        f"{datetime.date.today().isoformat()}, {measure.machine()}; `make bench`; median of {ROUNDS} rounds. What an estimator "
        f"that imports torch cannot go below stands beside it.\n\n{measure.table(timings, OURS)}\n\n"
        f"Beside what engines printed (`tests/fit/printed.jsonl`, {sum('off' not in row for row in ROWS)} public reports whose "
        f"question is whole): " + "; ".join(f"{name} {spread(shares)}" for name, shares in found.items()) + ".\n\n"
        "Reports that the forecast does not reach, and the term that is off:\n\n"
        "| report | off by | why |\n|---|---|---|\n" + "\n".join(lines)
    )
    measure.record("fit", text)
    assert timings[OURS].statuses == (1,)
    assert timings[OURS].fastest <= SECONDS
