"""What the report tests report on: results of every outcome, causes of every certainty, and hostile text everywhere."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from provision import cause
from provision.check import Finding, Result
from provision.fact import Absent, Missing, Snapshot
from provision.facts.memory import Memory
from provision.report.formats import Shown
from provision.report.run import Change, Proof, Run

GIB = 1 << 30
# A host name, a label, a file name, a message: each may be somebody's attempt to be more than text.
HOSTILE = "gpu\"'<script>alert(1)</script>&amp;{{ 7*7 }}\x1b[2J\u202e\udcff\n## x"

RESULTS = (
    Result(
        "CUD003",
        "driver-too-old",
        "cuda",
        "error",
        "driver-too-old-for-cuda",
        "found",
        "",
        (
            Finding(
                "driver 525.147 gives CUDA 12.0; torch 2.13.0 needs 580.65",
                {"driver": "525.147"},
                {"driver": "580.65"},
                ("provision lock smoke-cu126", "or: install driver 580"),
            ),
        ),
    ),
    Result("CUD007", "driver-does-not-answer", "cuda", "error", "nvml-unanswered", "unknown", "no answer in 2 s"),
    Result("DEP001", "no-engine", "dependencies", "error", "container-engine-missing", "ok"),
    Result("ISO001", "engine-exposed", "isolation", "warning", "port-in-use", "crashed", "KeyError: 'x'"),
    Result("LAT001", "too-slow", "latency", "warning", "slow-storage", "skipped", "no GPU"),
    Result("MEM001", "memory-limit-too-low", "gpu_memory", "error", "disk-full", "unknown", "permission denied"),
    Result("MEM002", "memory-taken", "gpu_memory", "error", "disk-full", "unknown", "permission denied"),
    Result(
        "STO004",
        "slow-disk",
        "storage",
        "warning",
        "slow-storage",
        "found",
        "",
        (
            Finding(
                "/srv lies on sda, a rotating disk",
                {"read_bytes_per_s": 120 << 20},
                {"read_bytes_per_s": 1 << 30},
                ("move it",),
                "possible",
                ("provision disk /srv",),
            ),
        ),
    ),
    Result(
        "STO005",
        "scratch",
        "storage",
        "warning",
        "disk-full",
        "accepted",
        "reviewed 2026-11-24",
        (Finding("/scratch is full"),),
    ),
)
CAUSES = cause.causes(RESULTS)

CHANGES: tuple[Change, ...] = (
    {"what": "docker.io", "kind": "package", "changed": True, "detail": "installed"},
    {
        "what": "/etc/docker/daemon.json",
        "kind": "file",
        "changed": True,
        "detail": "written\nsecond line",
        "diff": "--- /dev/null\n+++ /etc/docker/daemon.json\n+{}\n",
    },
    {"what": "docker", "kind": "unit", "changed": False, "detail": "running"},
)
PROOFS: tuple[Proof, ...] = (
    {
        "code": "MEM-P1",
        "name": "sums-right",
        "roadblock": "gpu_memory",
        "proved": True,
        "promised": {"nf4_share": 0.98},
        "measured": {"nf4_share": 0.9935, "sums": 2000},
        "seconds": 12.31,
    },
    {
        "code": "STO-P1",
        "roadblock": "storage",
        "proved": False,
        "promised": {"load_seconds": 10.0},
        "measured": {},
        "seconds": 0.0,
        "reason": "could not run: no weights",
    },
)
FACTS = Snapshot(
    "gpu-07",
    {
        "Gpus": Missing("NVML gave no answer in 2 s"),
        "Memory": Memory(
            total_bytes=64 * GIB,
            available_bytes=60 * GIB,
            swap_total_bytes=0,
            swap_free_bytes=0,
            cgroup_limit_bytes=None,
            limit_bytes=64 * GIB,
        ),
        "Nouveau": Absent("nouveau is not loaded"),
    },
    "0.1.0",
)


def run(**overrides: Any) -> Run:
    """A run in which something was found, something repaired, something changed, one proof held and one did not."""
    before = (
        *CAUSES,
        cause.Cause("disk-full", ("STO001",), "error", "certain", (), ("/ has 0 B free",), ("make room",), ()),
    )
    values: dict[str, Any] = {
        "machine": "gpu-07",
        "results": RESULTS,
        "causes": CAUSES,
        "before": before,
        "changes": CHANGES,
        "proofs": PROOFS,
        "seconds": {"facts and doctor": 0.41, "build": 312.0},
        "directory": ".provision/gpu-07/runs/0007",
        "about": {"ansible": "changed=2, ok=9"},
        "facts": FACTS,
    }
    return Run(**(values | overrides))


def hostile_run() -> Run:
    """The same with hostile text in every place that a machine or a user fills."""
    finding = Finding(HOSTILE, {HOSTILE: HOSTILE}, {}, (HOSTILE,), "likely", (HOSTILE,))
    results = (
        Result("STO004", "slow-disk", "storage", "warning", "slow-storage", "found", "", (finding,)),
        Result("STO005", "scratch", "storage", "warning", "disk-full", "accepted", HOSTILE),
        Result("STO006", "dark", "storage", "warning", "disk-full", "unknown", HOSTILE),
        Result("STO007", "broken", "storage", "warning", "disk-full", "crashed", HOSTILE),
    )
    causes = cause.causes(results)
    return run(
        machine=HOSTILE,
        results=results,
        causes=causes,
        before=(cause.Cause("disk-full", ("STO001",), "error", "certain", (), (HOSTILE,), (HOSTILE,), ()),),
        changes=({"what": HOSTILE, "kind": "file", "changed": True, "detail": HOSTILE, "diff": HOSTILE},),
        proofs=(
            {
                "code": "MEM-P1",
                "name": HOSTILE,
                "roadblock": HOSTILE,
                "proved": False,
                "promised": {HOSTILE: HOSTILE},
                "measured": {HOSTILE: HOSTILE},
                "seconds": 1.0,
                "reason": HOSTILE,
            },
        ),
        directory=HOSTILE,
        about={HOSTILE: HOSTILE},
        facts=Snapshot(HOSTILE, {"Memory": Missing(HOSTILE), "Nouveau": Absent(HOSTILE)}, HOSTILE),
    )


def shown(**overrides: Any) -> Shown:
    """The same results as a diagnosis to be written in any format."""
    values: dict[str, Any] = {"machine": "gpu-07", "results": RESULTS, "causes": CAUSES, "snapshot": FACTS}
    return Shown(**(values | overrides))


def hostile_shown(**overrides: Any) -> Shown:
    """The hostile run as a diagnosis, with a waiver that has no effect too."""
    run_ = hostile_run()
    results = (*run_.results, Result("STO008", "late", "storage", "error", "disk-full", "ok", waiver=HOSTILE))
    return shown(
        **({"machine": HOSTILE, "results": results, "causes": run_.causes, "snapshot": run_.facts} | overrides)
    )


@pytest.fixture(scope="session")
def sample() -> SimpleNamespace:
    """All of the above by name; test modules cannot import their neighbours."""
    return SimpleNamespace(
        HOSTILE=HOSTILE,
        RESULTS=RESULTS,
        CAUSES=CAUSES,
        CHANGES=CHANGES,
        PROOFS=PROOFS,
        FACTS=FACTS,
        run=run,
        hostile_run=hostile_run,
        shown=shown,
        hostile_shown=hostile_shown,
    )
