"""The ten obstacles, in the article's order, and where each is detected, fixed and proved.

``WINGS`` names, for every obstacle, the file in each wing or the reason there is none. A contract test
(tests/test_roadblock.py) walks the table: every file is there, holds something real, and nothing exists that it leaves out.
"""

from __future__ import annotations

from provision.record import record


@record
class Roadblock:
    """One obstacle: its name everywhere, the prefix of its codes, and what it is in one line."""

    name: str
    prefix: str
    line: str


ROADBLOCKS: tuple[Roadblock, ...] = (
    Roadblock(
        name="gpu_memory", prefix="MEM", line="too little GPU or host memory for the weights, the cache and the work"
    ),
    Roadblock(name="storage", prefix="STO", line="weights and images load slowly or do not fit"),
    Roadblock(name="cuda", prefix="CUD", line="driver, CUDA, cuDNN, torch build and GPU architecture do not match"),
    Roadblock(
        name="dependencies", prefix="DEP", line="Python packages or the container engine conflict or are missing"
    ),
    Roadblock(name="latency", prefix="LAT", line="answers come too slowly"),
    Roadblock(name="fragmentation", prefix="FRG", line="allocator fragmentation ends in out-of-memory"),
    Roadblock(name="isolation", prefix="ISO", line="weights or user data leak"),
    Roadblock(name="audit", prefix="AUD", line="what was asked, answered and changed is not on record"),
    Roadblock(name="rollout", prefix="ROL", line="a new version goes live, or back, and nobody knows which one runs"),
    Roadblock(name="monitoring", prefix="MON", line="nobody notices that something is wrong"),
)
BY_NAME = {r.name: r for r in ROADBLOCKS}
BY_PREFIX = {r.prefix: r for r in ROADBLOCKS}

WING_NAMES = ("check", "plan", "role", "template", "proof")
_NO_FILE = "none: nothing of it is a file on the host"
# A path from the repository's root, or "none: " and the reason.
WINGS: dict[str, dict[str, str]] = {
    "gpu_memory": {
        "check": "checks/gpu_memory",
        "plan": "provision/plan/gpu_memory",
        "role": "none: memory is not installed; precision and limits are chosen in the plan",
        "template": _NO_FILE,
        "proof": "provision/payload/smoke/proofs/gpu_memory.py",
    },
    "storage": {
        "check": "checks/storage",
        "plan": "provision/plan/storage.py",
        "role": "playbooks/roles/storage",
        "template": "templates/storage",
        "proof": "provision/payload/smoke/proofs/storage.py",
    },
    "cuda": {
        "check": "checks/cuda",
        "plan": "provision/plan/cuda",
        "role": "none: a driver comes from the vendor's repository and asks for a reboot; the findings give the commands",
        "template": _NO_FILE,
        "proof": "provision/payload/smoke/proofs/cuda.py",
    },
    "dependencies": {
        "check": "checks/dependencies",
        "plan": "provision/plan/dependencies",
        "role": "playbooks/roles/dependencies",
        "template": "templates/dependencies",
        "proof": "provision/payload/smoke/proofs/dependencies.py",
    },
    "latency": {
        "check": "checks/latency",
        "plan": "provision/plan/latency.py",
        "role": "none: the smoke container's speed is not a setting of the host",
        "template": _NO_FILE,
        "proof": "provision/payload/smoke/proofs/latency.py",
    },
    "fragmentation": {
        "check": "checks/fragmentation",
        "plan": "provision/plan/fragmentation.py",
        "role": "playbooks/roles/fragmentation",
        "template": "templates/fragmentation",
        "proof": "provision/payload/smoke/proofs/fragmentation.py",
    },
    "isolation": {
        "check": "checks/isolation",
        "plan": "provision/plan/isolation.py",
        "role": "playbooks/roles/isolation",
        "template": "templates/isolation",
        "proof": "provision/payload/smoke/proofs/isolation.py",
    },
    "audit": {
        "check": "checks/audit",
        "plan": "provision/plan/audit.py",
        "role": "playbooks/roles/audit",
        "template": "none: its log settings stand in the engine's daemon.json, which dependencies owns",
        "proof": "none: the gateway that records requests is not on this road; each run's evidence is tested by undoing it",
    },
    "rollout": {
        "check": "checks/rollout",
        "plan": "provision/plan/rollout.py",
        "role": "none: the image's tag and label are the version; the build makes them",
        "template": _NO_FILE,
        "proof": "provision/payload/smoke/proofs/rollout.py",
    },
    "monitoring": {
        "check": "checks/monitoring",
        "plan": "none: no exporter is on this road; the checks read the kernel log and the clock as they are",
        "role": "none: no exporter is on this road",
        "template": _NO_FILE,
        "proof": "none: there is nothing that notices to prove yet",
    },
}
