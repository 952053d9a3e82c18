"""The doctor as a child, with a fault around it: in namespaces of its own, or in a folder."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = os.geteuid() == 0
# An OOM kill, a crash or a file system's error stays in the kernel log, and a setting of the kernel holds for everybody.
changes_the_machine = pytest.mark.skipif(
    os.environ.get("CI") != "true" or not ROOT,
    reason="changes the kernel's log or a setting of it: only on a machine that is thrown away (CI=true, root)",
)
# A disk of its own over a folder: what is written there is gone with the namespace.
COVER = """
cover() {
    mkdir -p "/run/cover$1/upper" "/run/cover$1/work"
    mount -t overlay overlay -o "lowerdir=$1,upperdir=/run/cover$1/upper,workdir=/run/cover$1/work" "$1"
}
"""


def doctor(
    *codes: str, before: str = "", spaces: str = "", cwd: Path | None = None, **variables: str
) -> dict[str, Any]:
    """Code to outcome and messages, after the shell lines ``before`` in fresh namespaces (``unshare``'s letters)."""
    selected = " ".join(f"--select {code}" for code in codes)
    run = f"{shlex.quote(sys.executable)} -m provision doctor {selected} --format json"
    line = f"{before}\nstatus=0; {run} || status=$?\nkill $(jobs -p) 2>/dev/null || true\nexit $status"
    shell = ["bash", "-euc", line]
    command = ["unshare", *(f"-{letter}" for letter in (spaces if ROOT else f"{spaces}r")), *shell] if spaces else shell
    inherited = {n: v for n, v in os.environ.items() if not n.startswith(("HF_", "PIP_", "TORCH", "LD_", "OMP_"))}
    done = subprocess.run(
        command, env={**inherited, **variables}, cwd=cwd, capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode in (0, 1, 3), done.stderr
    results = json.loads(done.stdout)["results"]
    return {r["code"]: (r["outcome"], [f["message"] for f in r["findings"]]) for r in results if r["code"] in codes}


def outcomes(found: dict[str, Any]) -> dict[str, str]:
    return {code: outcome for code, (outcome, _) in found.items()}
