"""How GPUs reach each other, for the map: NVLink by card, and every two of them in a table."""

from __future__ import annotations

from typing import Any

from provision import codec
from provision.fact import NotKnown, Snapshot
from provision.facts.gpus import Gpus
from provision.record import record


@record
class Pairs:
    """``rows``: for each GPU its index and a cell for every GPU: what lies between, and whether it is in order."""

    indices: tuple[int, ...]
    rows: tuple[tuple[int, tuple[tuple[str, bool], ...]], ...]


def _recorded(snapshot: Snapshot) -> dict[str, Any]:
    """The fact ``GpuLinks`` as JSON values; empty where a snapshot has none (an older tool, no driver)."""
    value = snapshot.facts.get("GpuLinks")
    return {} if value is None or isinstance(value, NotKnown) else dict(codec.dump(value))


def nvlink(snapshot: Snapshot) -> dict[int, tuple[str, bool]]:
    """GPU index to its NVLinks in words and whether all are up; a card without NVLink is left out."""
    found: dict[int, tuple[str, bool]] = {}
    for gpu in _recorded(snapshot).get("gpus", ()):
        links = gpu["nvlinks"]
        if links:
            up = [link for link in links if link["active"]]
            ends = sorted({link["remote"] for link in up if link["remote"]})
            to = f", to {' and '.join(ends)}" if ends else ""
            found[gpu["index"]] = (f"{len(up)} of {len(links)} links up{to}", len(up) == len(links))
    return found


def pairs(snapshot: Snapshot) -> Pairs | None:
    """Every two GPUs: their direct NVLinks, else what they meet at; None with fewer than two or where nobody says."""
    recorded = _recorded(snapshot)
    between = {(p["first"], p["second"]): p for p in recorded.get("pairs", ())}
    between |= {(second, first): pair for (first, second), pair in between.items()}
    indices = tuple(sorted({index for pair in between for index in pair}))
    if not indices:
        return None
    driven = snapshot.known(Gpus)
    addresses = {gpu.pci_address: gpu.index for gpu in driven.gpus} if driven else {}
    direct: dict[tuple[int, int], int] = {}
    for pair in recorded.get("pairs", ()):
        if pair.get("nvlinks"):
            direct |= dict.fromkeys([(pair["first"], pair["second"]), (pair["second"], pair["first"])], pair["nvlinks"])
    for gpu in recorded.get("gpus", ()):
        for link in gpu["nvlinks"]:
            other = addresses.get(link["remote_address"] or "")
            if link["active"] and other is not None:
                direct[gpu["index"], other] = direct.get((gpu["index"], other), 0) + 1
    rows = tuple((i, tuple(_cell(i, j, between.get((i, j)), direct.get((i, j), 0)) for j in indices)) for i in indices)
    return Pairs(indices=indices, rows=rows)


def _cell(first: int, second: int, pair: dict[str, Any] | None, direct: int) -> tuple[str, bool]:
    if first == second:
        return "itself", True
    if pair is None:
        return "not told", False
    words = f"{direct} NVLinks" if direct else pair["topology"] or "not told"
    peer = pair["peer_to_peer"]
    return (words, True) if peer in ("ok", None) else (f"{words}; no peer access: {peer}", False)
