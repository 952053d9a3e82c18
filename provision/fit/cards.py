"""The cards of a machine that was looked at."""

from __future__ import annotations

from provision.errors import UsageError
from provision.fact import Missing
from provision.facts.gpus import Gpus


def here(facts_path: str | None) -> tuple[str, float | None, int]:
    """(name, memory in GiB as NVML reports it or None, how many) of the machine, or of a snapshot.

    Of different cards the smallest counts, since every rank gets the same share. Raises ``UsageError`` where there is no
    card, or where it could not be looked.
    """
    from provision import road

    snapshot = road.read_snapshot(facts_path) if facts_path else road.look()
    known = snapshot.facts.get(Gpus.__name__)
    if isinstance(known, Missing):
        raise UsageError(
            f"the cards of {snapshot.machine} are not known: {known.reason}", 'provision fit … --gpu "RTX 4090"'
        )
    if not isinstance(known, Gpus) or not known.gpus:
        raise UsageError(f"{snapshot.machine} has no NVIDIA card; name one", 'provision fit … --gpu "RTX 4090"')
    smallest = min(known.gpus, key=lambda one: one.memory_bytes or 0)
    return smallest.name, None, len(known.gpus)
