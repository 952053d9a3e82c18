"""What engines printed on real machines (``printed.jsonl``), beside what ``provision fit`` says to the whole question.

A row's ``ask`` holds what its source states, in the command's options. ``off`` says which term the forecast lacks where it
is far off; those rows are asked and shown, and do not count.
"""

from __future__ import annotations

import json
import shlex
import statistics
from pathlib import Path
from typing import Any

from click.testing import CliRunner

from provision.cli import main

GIB = 2**30
ROWS = [json.loads(line) for line in Path(__file__).with_name("printed.jsonl").read_text(encoding="utf-8").splitlines()]


def ask(row: dict[str, Any], *measured: str) -> dict[str, Any]:
    """The answer's document; ``measured`` are printed terms to give instead of estimates ("activation", "non-torch")."""
    options = shlex.split(row["ask"])
    for term in measured:
        options += [f"--{term}-gib", str(row["printed"][f"{term.replace('-', '_')}_gib"])]
    done = CliRunner().invoke(main, ["fit", "--json", *options])
    assert done.exit_code in (0, 1), done.output
    read: dict[str, Any] = json.loads(done.stdout)
    return read


def errors(row: dict[str, Any], said: dict[str, Any]) -> dict[str, float]:
    """By figure: how far the forecast is off, as a share of what was printed."""
    printed = row["printed"]
    figures = {
        "weights": (printed.get("weights_gib"), (said["weights_bytes"] or 0) / GIB),
        "KV bytes": (printed.get("kv_gib"), (said["kv_cache_bytes"] or 0) / GIB),
        "KV tokens": (printed.get("tokens"), said["kv_cache_tokens"] or 0),
        "requests": (printed.get("concurrency"), said["max_concurrency"] or 0),
    }
    return {name: abs(ours / real - 1) for name, (real, ours) in figures.items() if real}


def spread(found: list[float]) -> str:
    """Median and 90th percentile in per cent."""
    return f"median {statistics.median(found):.1%}, p90 {ninetieth(found):.1%} (n={len(found)})"


def ninetieth(found: list[float]) -> float:
    """The 90th percentile: of ten the largest, since the tenth of the rows above it is less than one."""
    ranked = sorted(found)
    return ranked[min(len(ranked) - 1, int(0.9 * len(ranked)))]
