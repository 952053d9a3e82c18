"""Times commands side by side, in one run: round after round, each command once a round, so that all see the same machine."""

from __future__ import annotations

import dataclasses
import json
import os
import platform
import re
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs/measured.md"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Timing:
    """``seconds``: the median and the fastest wall time; ``peak_bytes``: the largest resident set of any round."""

    seconds: float
    fastest: float
    peak_bytes: int
    statuses: tuple[int, ...]


def once(command: Sequence[str], environment: Mapping[str, str] | None = None) -> tuple[float, int, int]:
    """Wall seconds, peak resident bytes (of the command or any child it waited for), exit status."""
    with tempfile.NamedTemporaryFile() as report:
        subprocess.run(
            [sys.executable, "-IS", str(ROOT / "tests/alone.py"), report.name, *command],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env={**os.environ, **(environment or {})},
            check=True,
        )
        used = json.loads(Path(report.name).read_text())
    return used["seconds"], used["peak_bytes"], used["status"]


def side_by_side(
    commands: Mapping[str, Sequence[str]], rounds: int, environment: Mapping[str, str] | None = None
) -> dict[str, Timing]:
    """Every command's timing. The first round warms the page cache and is not counted."""
    seen: dict[str, list[tuple[float, int, int]]] = {name: [] for name in commands}
    for turn in range(rounds + 1):
        for name, command in commands.items():
            answer = once(command, environment)
            if turn:
                seen[name].append(answer)
    return {
        name: Timing(
            seconds=statistics.median(s for s, _, _ in answers),
            fastest=min(s for s, _, _ in answers),
            peak_bytes=max(b for _, b, _ in answers),
            statuses=tuple(sorted({c for _, _, c in answers})),
        )
        for name, answers in seen.items()
    }


def table(timings: Mapping[str, Timing], ours: str) -> str:
    """Markdown: what each took, and how many times as long as ``ours``."""
    rows = ["| command | median | fastest | peak memory | times ours |", "|---|---:|---:|---:|---:|"]
    for name, one in timings.items():
        ratio = one.seconds / timings[ours].seconds
        rows.append(
            f"| `{name}` | {one.seconds:.2f} s | {one.fastest:.2f} s | {one.peak_bytes / 2**20:.0f} MiB | {ratio:.1f} |"
        )
    return "\n".join(rows)


def machine() -> str:
    """What the figures were taken on, in words that name no host."""
    release = platform.freedesktop_os_release().get("PRETTY_NAME", "Linux")
    return f"{release}, {os.cpu_count()} cores, Python {platform.python_version()}"


def record(section: str, text: str) -> None:
    """Put ``text`` under the section's marks in docs/measured.md, in place of what stood there."""
    begin, end = f"<!-- begin {section} -->", f"<!-- end {section} -->"
    page = PAGE.read_text()
    assert begin in page and end in page, f"docs/measured.md has no marks for {section}"
    block = f"{begin}\n{text}\n{end}"
    PAGE.write_text(re.sub(re.escape(begin) + ".*?" + re.escape(end), lambda _: block, page, flags=re.DOTALL))
