"""What the fuzzers share: where this project is, options that bound an execution, and the folder with the seeds."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))

# One execution may take 2 s, the process 2 GiB (the fuzzer's own books grow; tests/paste/test_bounds.py holds 200 MiB).
LONGEST = 1024  # bytes of an input: length is tests/paste/test_bounds.py's matter
BOUNDS = ("-timeout=2", "-rss_limit_mb=2048", f"-max_len={LONGEST}", "-print_final_stats=1", "-verbosity=0")


def options(seeds: Iterable[bytes]) -> list[str]:
    """libFuzzer's arguments: ours, the user's, and a folder with one file a seed."""
    folder = Path(tempfile.mkdtemp(prefix="fuzz-"))
    for number, seed in enumerate(seeds):
        (folder / f"{number:04d}").write_bytes(seed)
    return [sys.argv[0], *BOUNDS, *sys.argv[1:], str(folder)]
