"""How GPUs reach each other, from ``nvidia-smi topo -m`` and from the fabric that ``nvidia-smi -q`` prints."""

from __future__ import annotations

import re
from collections.abc import Iterator

from provision.fact import NOT_PASTED
from provision.facts.gpu_links import GpuLinks, GpuPair, LinkedGpu
from provision.paste.draft import MOST_CARDS, Draft
from provision.paste.printed import Printed, Unprinted

# The legend that topo -m prints, in the words of provision.facts.nvml_sections.TOPOLOGY; "SOC" is what SYS was until 2018.
_WAYS = {
    "PIX": "one switch",
    "PXB": "several switches",
    "PHB": "host bridge",
    "NODE": "NUMA node",
    "SYS": "system",
    "SOC": "system",
}
_STATES = {"n/a": "not supported", "not started": "not started", "in progress": "in progress", "completed": "completed"}
_FAULTS = (
    ("bandwidth", "degraded", "degraded bandwidth"),
    ("route_recovery_in_progress", "true", "route recovery"),
    ("route_unhealthy", "true", "route unhealthy"),
    ("access_timeout_recovery", "true", "access timeout recovery"),
)


def links(draft: Draft) -> GpuLinks | None:
    """None where neither a matrix nor a fabric's state was pasted. The matrix does not number the links of a GPU."""
    matrix = _matrix(draft)
    fabrics = {draft.indices[a]: Printed(draft.indices[a], values) for a, values in draft.cards.items()}
    if not matrix and not any("fabric/state" in one for one in fabrics.values()):
        return None
    indices = sorted({index for pair in matrix for index in pair} | fabrics.keys())
    gpus = tuple(_linked(index, fabrics.get(index, Printed(index, {}))) for index in indices)
    pairs = tuple(_pair(a, b, matrix.get((a, b), "")) for n, a in enumerate(indices) for b in indices[n + 1 :])
    return GpuLinks(gpus=gpus, pairs=pairs)


def _matrix(draft: Draft) -> dict[tuple[int, int], str]:
    """(lower, higher number) of two GPUs to what stands in their cell."""
    heading, *rows = draft.matrix or [()]
    columns = [int(name[3:]) for name in heading if re.fullmatch(r"GPU\d{1,3}", name)]
    found: dict[tuple[int, int], str] = {}
    for row in rows:
        if re.fullmatch(r"GPU\d{1,3}", row[0]) and len(columns) <= MOST_CARDS:
            here = int(row[0][3:])
            found |= {(here, there): way for there, way in zip(columns, row[1:], strict=False) if there > here}
    return found


def _linked(index: int, ask: Printed) -> LinkedGpu:
    state = ask("fabric_state", lambda said: _STATES.get(said.lower(), said.lower()), "fabric/state")
    status = ask("fabric_error", str, "fabric/status")
    faults = ask.attempt("fabric_faults", lambda: tuple(_faults(ask)))
    return LinkedGpu(
        index=index,
        nvlinks=(),
        fabric_state=state or ("not supported" if "fabric/state" in ask else None),
        fabric_error=None if status is None or status.lower() == "success" else status,
        fabric_faults=faults,
        unread=(("nvlinks", NOT_PASTED), ("link_errors", NOT_PASTED), *ask.unread),
    )


def _faults(ask: Printed) -> Iterator[str]:
    known = [row for row in _FAULTS if f"health/{row[0]}" in ask]
    if not known:
        raise Unprinted(NOT_PASTED)
    for name, bad, word in known:
        if (ask.find(f"health/{name}") or "").lower() == bad:
            yield word


def _pair(first: int, second: int, way: str) -> GpuPair:
    bridged = re.fullmatch(r"NV(\d{1,2})", way)
    known = bridged is not None or way in _WAYS
    return GpuPair(
        first=first,
        second=second,
        topology=_WAYS.get(way),
        peer_to_peer=None,
        nvlinks=int(bridged[1]) if bridged else 0 if way in _WAYS else None,
        unread=(("peer_to_peer", NOT_PASTED), *(() if known and not bridged else (("topology", NOT_PASTED),))),
    )
