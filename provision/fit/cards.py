"""The cards of a machine that was looked at."""

from __future__ import annotations

from provision.errors import UsageError
from provision.fact import Missing
from provision.facts.gpus import Gpus


def here(facts_path: str | None) -> tuple[str, float | None, int]:
    """(name, memory in GiB as CUDA shows it, how many) of the machine, or of a snapshot: what the plan takes too.

    Raises ``UsageError`` where there is no card, where it could not be looked, or where none can be judged.
    """
    from provision import road
    from provision.fit import machine

    snapshot = road.read_snapshot(facts_path) if facts_path else road.look()
    known = snapshot.facts.get(Gpus.__name__)
    if isinstance(known, Missing):
        raise UsageError(
            f"the cards of {snapshot.machine} are not known: {known.reason}", 'provision fit … --gpu "RTX 4090"'
        )
    if not isinstance(known, Gpus) or not known.gpus:
        raise UsageError(f"{snapshot.machine} has no NVIDIA card; name one", 'provision fit … --gpu "RTX 4090"')
    card = machine.card_of(known)
    if isinstance(card, str):
        raise UsageError(f"{snapshot.machine}: {card}", 'provision fit … --gpu "RTX 4090"')
    return card.name, card.usable_bytes / 2**30, len(known.gpus)
