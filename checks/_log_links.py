"""What beside them settles messages about work that crosses GPUs."""

from __future__ import annotations

import re

from provision.checks._said import Case, Certainty, Said, Settle

_PEER = re.compile(r"nvlink|bridge|custom.all.?reduce|peer access|corrupt|garbage|wrong|patched", re.IGNORECASE)
_STARTING = re.compile(r"load|start|init|waiting for output|processed prompts", re.IGNORECASE)
# One rank waits for another that is late for any reason: compiling, crashed, or out of memory.
_WAITING = re.compile(r"broadcast block|caught collective operation timeout|watchdog", re.IGNORECASE)
# Cards of which every pair goes over NVLink, by how the driver names them: nothing of theirs crosses the IOMMU.
_LINKED = re.compile(r"SXM|NVL|HGX|DGX|HBM3|\bG[BH][23]00|\b[BH][238]00\b|\bH20\b|A800-SXM")


def _p2p(case: Case) -> list[Said]:
    """A link that is down is no fault on a card without a bridge."""
    text = case.symptom.text.lower()
    down = re.search(r"nvlink.{0,60}\b(?:down|inactive|disabled|no|missing)\b", text)
    worse = re.search(
        r"error|hang|fail|loose|seated|bumped|partial|pair|broken|replay|crc|corrupt|unsupported|not supported", text
    )
    remedy = "collective-hang" in case.heard and not _PEER.search(text)  # "hangs, works without P2P" says no more
    return [case.one(case.rule.cause, "likely" if remedy or (down and not worse) else "certain")]


def _hang(case: Case) -> list[Said]:
    """Work that crosses GPUs stops silently: redirected peer traffic (IOMMU, ACS) or a peer path that does not work.

    Not where the text says that it began with another version of the program, nor where it says only that one rank
    waits for another. Among cards that are linked throughout it is not settled: three
    such reports in tests/corpus were the program's (sglang-3932, vllm-43420) or its memory's (sglang-5634).
    """
    if case.rule.id == "bare-hang" and "collective-hang" in case.heard:
        return []  # the other row heard the same words and more
    text = case.symptom.text
    several = len(case.stated.gpus) > 1 or "collective-hang" in case.heard or bool(_STARTING.search(text))
    linked = bool(case.stated.gpus) and any(_LINKED.search(gpu.name) for gpu in case.stated.gpus)
    pcie = len(case.stated.gpus) > 1 and not linked
    first, second = "nvlink-p2p-broken", "iommu-acs-hang"
    if (case.rule.id == "collective-hang" or pcie) and not (_PEER.search(text) or linked):
        first, second = second, first
    certain: Certainty = "possible" if not several else "likely" if linked and not _PEER.search(text) else "certain"
    if case.about_the_program or _WAITING.search(text):
        certain = "possible"
    return [case.one(first, certain), case.one(second, "possible")]


def _interface_set(case: Case) -> list[Said]:
    """Set by hand is not yet wrong; two values in one log are two nodes that name their interfaces differently."""
    if "nccl-interface" in case.heard:
        return []  # the other row heard more
    named = {dict(one.captures).get("interface") for one in case.beside if one.rule == case.rule.id} - {None}
    return [case.one(case.rule.cause, "certain" if len(named) > 1 else case.rule.certainty)]


def _p2p_set(case: Case) -> list[Said]:
    """A setting is not yet a fault, and adds nothing to a text that says more of it."""
    return [] if "p2p-refused" in case.heard else case.as_it_stands()


_SPEED_ONLY = re.compile(r"speed [^,]{1,20}\(downgraded\), width x\d+(?! ?\(downgraded)", re.IGNORECASE)


def _pcie_link(case: Case) -> list[Said]:
    """A card at rest lowers its link's generation to save power; its width it does not."""
    return [case.one(case.rule.cause, "likely")] if _SPEED_ONLY.search(case.symptom.text) else case.as_it_stands()


SETTLED: dict[str, Settle] = {
    "bare-hang": _hang,
    "collective-hang": _hang,
    "interface-set": _interface_set,
    "p2p-refused": _p2p,
    "pcie-link": _pcie_link,
    "p2p-set": _p2p_set,
}
