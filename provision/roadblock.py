"""The ten obstacles, in the article's order, and where each is detected, fixed and proved.

``WINGS`` names, for every obstacle, the file in each wing or the reason there is none. A contract test
(tests/test_roadblock.py) walks the table: every file is there, holds something real, and nothing exists that it leaves out.
"""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
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
