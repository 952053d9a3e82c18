"""Score the doctor on documented failures: what is stated goes in as people paste it, the messages as a log.

Only causes of severity error count. top-1: the first is the case's cause (or one of its others); top-3: one of the
first three is. A case without an environment fault is a false alarm when any cause is named. Cases of which neither facts
nor a program's own message are known are left out.

usage: python tests/corpus/score.py [--misses]
"""

from __future__ import annotations

import dataclasses
import json
import re
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from provision import check, facts, road
from provision.paste.snapshot import snapshot
from provision.spec import Spec

CASES = Path(__file__).with_name("cases.jsonl")
FURTHER = Path(__file__).with_name("further.jsonl")  # found afterwards, and scored apart
NO_FAULT = "not-environment"
_VERSION = re.compile(r"\d[\w.+-]*")


@dataclasses.dataclass(frozen=True, slots=True)
class Score:
    """Counts of one scoring; ``misses`` are lines for people."""

    faults: int
    first: int
    three: int
    controls: int
    alarms: int
    misses: tuple[str, ...]

    @property
    def line(self) -> str:
        """One line with the percentages."""
        return (
            f"{self.faults} failures: top-1 {100 * self.first / self.faults:.1f} %, "
            f"top-3 {100 * self.three / self.faults:.1f} %; {self.controls} controls: {self.alarms} false alarms"
        )


def cases(path: Path = CASES) -> list[dict[str, Any]]:
    """Every case that can be scored."""
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    return [row for row in rows if row["stated"] or row["messages"]]


def errors(dumps: Iterable[tuple[str, str]], log: str) -> list[str]:
    """The causes of severity error that the doctor names, in its order."""
    facts.load()
    check.load()
    seen = road.diagnose(snapshot(list(dumps), [("error.log", log)] if log else []), Spec())
    assert not [r for r in seen.results if r.outcome == "crashed"], [r.reason for r in seen.results]
    return [one.cause for one in seen.causes if one.severity == "error"]


def pasted(stated: dict[str, Any]) -> list[tuple[str, str]]:
    """The stated facts as PyTorch's collect_env and nvidia-smi print them; what is not stated gets no line."""
    if not stated:
        return []
    gpus = [gpu["name"] for gpu in stated.get("gpus", []) if gpu.get("name")]
    rows = [
        ("PyTorch version: {}", _version(stated.get("torch_version"))),
        ("CUDA used to build PyTorch: {}", _version(stated.get("torch_cuda"))),
        ("OS: {} (x86_64)", stated.get("os")),
        ("Libc version: glibc-{}", _version(stated.get("glibc"))),
        ("Python version: {} (64-bit runtime)", _version(stated.get("python_version"))),
        ("Python platform: Linux-{}-x86_64", _version(stated.get("kernel"))),
        ("CUDA runtime version: {}", _version(stated.get("toolkit_version"))),
        ("GPU models and configuration: {}", "\n".join(f"GPU {i}: {name}" for i, name in enumerate(gpus))),
        ("Nvidia driver version: {}", _version(stated.get("driver_version"))),
        ("cuDNN version: {}", _version(stated.get("cudnn_version"))),
    ]
    lines = ["Collecting environment information...", *(form.format(value) for form, value in rows if value)]
    lines += [f"[pip3] {n}=={v}" for n, t in sorted((stated.get("packages") or {}).items()) if (v := _version(t))]
    lines += [f"{name}={value}" for name, value in sorted((stated.get("env_vars") or {}).items())]
    dumps = [("collect_env.txt", "\n".join(lines) + "\n")]
    driver, cuda = _version(stated.get("driver_version")), _version(stated.get("cuda_driver_version"))
    if driver and cuda:
        head = f"| NVIDIA-SMI {driver:<22} Driver Version: {driver:<14} CUDA Version: {cuda:<8} |"
        dumps.append(("nvidia-smi.txt", f"+{'-' * 87}+\n{head}\n+{'-' * 87}+\n"))
    return dumps


def _version(text: object) -> str | None:
    first = str(text or "").split(" ")[0]
    return first if _VERSION.fullmatch(first) and not first.endswith("+") else None


def score(rows: Iterable[dict[str, Any]]) -> Score:
    """Judge every case."""
    faults = first = three = controls = alarms = 0
    misses = []
    for row in rows:
        named = errors(pasted(row["stated"]), "\n".join(row["messages"]))
        if row["cause"] == NO_FAULT:
            controls += 1
            alarms += bool(named)
            right = not named
        else:
            wanted = {row["cause"], *row["also"]}
            faults += 1
            right = bool(named) and named[0] in wanted
            first += right
            three += bool(wanted & set(named[:3]))
        if not right:
            misses.append(
                f"{row['id']}: wanted {row['cause']}, named {named[:3]} {row.get('undecidable', '')}".rstrip()
            )
    return Score(faults, first, three, controls, alarms, tuple(misses))


if __name__ == "__main__":
    result = score(cases())
    sys.stdout.write("\n".join((*(result.misses if "--misses" in sys.argv else ()), result.line)) + "\n")
