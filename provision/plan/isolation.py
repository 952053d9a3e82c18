"""Who the container runs as, and what it may not reach."""

from __future__ import annotations

from provision.plan.promise import Promise
from provision.record import record

# Above what Debian gives to system accounts (below 1000) and to the first people (1000 and up).
CONTAINER_ID = 10001
# Hub and telemetry off: names from the projects' own documentation (huggingface_hub, vLLM, the DO_NOT_TRACK convention).
SILENT = {
    "DO_NOT_TRACK": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "HF_HUB_OFFLINE": "1",
    "TRANSFORMERS_OFFLINE": "1",
    "VLLM_NO_USAGE_STATS": "1",
}


@record
class Isolation:
    """``uid`` and ``gid`` inside the container, and the environment that keeps the libraries silent."""

    uid: int
    gid: int
    environment: dict[str, str]

    @classmethod
    def desire(cls) -> Isolation:
        """The same on every machine."""
        return cls(uid=CONTAINER_ID, gid=CONTAINER_ID, environment=dict(SILENT))

    def promises(self) -> tuple[Promise, ...]:
        """Not root, nothing writable, no way out."""
        return (Promise(code="ISO-P1", promised={"uid": self.uid, "environment": sorted(self.environment)}),)
