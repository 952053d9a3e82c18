"""Where what happened is kept."""

from __future__ import annotations

from provision.plan.promise import Promise
from provision.record import record


@record
class Audit:
    """Container output goes to ``log_driver``, bounded by ``log_options``: the record is there and cannot fill the disk."""

    log_driver: str
    log_options: dict[str, str]

    @classmethod
    def desire(cls) -> Audit:
        """``local`` keeps compressed, rotated files, which the engine's documentation recommends over json-file."""
        return cls(log_driver="local", log_options={"max-file": "5", "max-size": "20m"})

    def promises(self) -> tuple[Promise, ...]:
        """None on this road: the gateway that records requests is not part of it (see roadblock.WINGS)."""
        return ()
