"""lspci -nn, with the driver (-k) and the links (-vv) where they were printed."""

from __future__ import annotations

import re
from typing import Any

from provision.facts.pci import NvidiaCards, PciCard
from provision.paste.draft import Draft

MARK = r"(?:[0-9a-f]{4,8}:)?[0-9a-f]{2}:[0-9a-f]{2}\.[0-7] (?:[A-Z\"]|3D )"
_CARD = re.compile(
    r"((?:[0-9a-f]{4,8}:)?[0-9a-f]{2}:[0-9a-f]{2}\.[0-7]) (?:VGA compatible|3D) controller(?: \[(030[02])\])?: "
    r"NVIDIA Corporation (.*?)(?: \[10de:([0-9a-f]{4})\])?(?: \(rev \w+\))?(?: \(prog-if .*)?$"
)
_FUNCTION = re.compile(MARK)


def parse(lines: list[str], draft: Draft) -> None:
    """NVIDIA's display controllers. Without ``-k`` or ``-v`` it does not say whether a driver has them."""
    cards: list[dict[str, Any]] = []
    here: dict[str, Any] | None = None
    detailed = False
    for line in lines:
        if _FUNCTION.match(line):
            found = _CARD.match(line)
            here = None
            if found:
                named = re.search(r"\[([^\]]+)\]\s*$", found[3])
                here = {"address": found[1], "pci_class": found[2], "device_id": found[4]}
                here["name"] = named[1] if named else found[3]
                cards.append(here)
        elif here is not None and (said := re.match(r"\s+(Kernel driver in use|LnkCap|LnkSta):\s+(.*)", line)):
            here[said[1]] = said[2]
        detailed = detailed or bool(re.match(r"\s+(?:Kernel (?:driver|modules)|Subsystem|Flags)", line))
    for index, card in enumerate(cards):  # nvidia-smi counts in the bus's order too
        draft.gpu(index, name=card["name"])
    if cards and detailed and all(card["device_id"] and card["pci_class"] for card in cards):
        draft.facts.setdefault("NvidiaCards", NvidiaCards(cards=tuple(map(_record, cards))))


def _record(card: dict[str, Any]) -> PciCard:
    address = card["address"] if card["address"].count(":") == 2 else f"0000:{card['address']}"
    return PciCard(
        address=address,
        vendor_id="10de",
        device_id=card["device_id"],
        pci_class=card["pci_class"],
        kernel_driver=card.get("Kernel driver in use"),
        link_width=_width(card.get("LnkSta", "")),
        link_width_max=_width(card.get("LnkCap", "")),
        link_mts=_rate(card.get("LnkSta", "")),
        link_mts_max=_rate(card.get("LnkCap", "")),
    )


def _width(text: str) -> int | None:
    found = re.search(r"Width x(\d{1,2})\b", text)
    return int(found[1]) or None if found else None


def _rate(text: str) -> int | None:
    found = re.search(r"Speed (\d{1,3}(?:\.\d)?)GT/s", text)
    return round(float(found[1]) * 1000) if found else None
