"""What beside them settles messages about memory and about how weights are divided and loaded."""

from __future__ import annotations

import re

from provision.checks._log_driver import wsl
from provision.checks._said import Case, Said, Settle


def _oom(case: Case) -> list[Said]:
    """Out of memory alone says nothing of why. Where the program was does, and a model larger than the cards does.

    A program that did it in an older version on the same cards has changed itself: nothing is settled then.
    """
    cause = case.rule.cause
    if case.about_the_program:
        return case.as_it_stands()
    if _larger_than_cards(case):
        return [case.one(cause, "certain")]
    if wsl(case.stated) and "tried to allocate" not in case.symptom.text.lower():
        # The driver's own words, not the allocator's: on WSL also where only the memory that may be pinned is used up.
        return [case.one("wsl2-specific", "likely"), *case.as_it_stands()]
    if "stage-cache" in case.heard:
        return [case.one("insufficient-kv-cache", "certain")]
    if "stage-weights" in case.heard:
        return [case.one(cause, "certain")]
    return case.as_it_stands()


_TRAINING = re.compile(r"\btrain\w*|pre-?train|backward|activation checkpoint|optimi[sz]er state", re.IGNORECASE)


def _kv_cache(case: Case) -> list[Said]:
    """Only what serves has a key-value cache: memory that runs out in training is something else."""
    if _TRAINING.search(case.symptom.text):
        return [case.one(case.rule.cause, "possible")]
    return case.unless_about_the_program()


def _larger_than_cards(case: Case) -> bool:
    text = case.symptom.text
    size = re.search(r"(?<![\w.])\S*?(\d+(?:\.\d+)?) ?B(?:-|_|\b)", text)
    cards = re.search(r"(\d+) ?x ?[A-Z]*\d+\w* ?\(?(\d+) ?G", text)
    room = sum(gpu.memory_bytes or 0 for gpu in case.stated.gpus)
    if cards:
        room = int(cards[1]) * int(cards[2]) << 30
    if size is None or not room:
        return False
    per = 0.5 if re.search(r"awq|gptq|int4|4bit|nf4|w4a16|q4|fp4", text, re.I) else 1 if "fp8" in text.lower() else 2
    return float(size[1]) * 1e9 * per > room


def _reserved(case: Case) -> list[Said]:
    """Reserved and not used is fragmentation where it is more than a tenth of what is used; less is ordinary slack.

    Nor is it where all that is free, in whatever pieces, is less than what was asked for.
    """
    given = case.captures

    def amount(name: str) -> float:
        return _mib(given[name], given[f"{name}_unit"])

    if "unused" in given:
        used, unused = amount("allocated"), amount("unused")
    else:
        used, unused = amount("held"), amount("kept") - amount("held")
    asked, free = _ASKED.search(case.symptom.text), _FREE.search(case.symptom.text)
    if asked and free and _mib(asked[1], asked[2]) > unused + _mib(free[1], free[2]):
        return []
    return [case.one(case.rule.cause, "certain")] if unused > max(used / 10, 512) else []


# PyTorch c10/cuda/CUDACachingAllocator.cpp
_ASKED = re.compile(r"Tried to allocate ([\d.]+) ([GM])iB", re.IGNORECASE)
_FREE = re.compile(r"([\d.]+) ([GM])iB (?:is )?free", re.IGNORECASE)


def _mib(amount: str, unit: str) -> float:
    return float(amount) * (1024 if unit.upper() == "G" else 1)


def _divisible(case: Case) -> list[Said]:
    """A shard smaller than one quantisation block is for the engine to pad: more often its defect than the number of GPUs."""
    given = case.captures
    small = "part" in given and "block" in given and int(given["part"]) < int(given["block"])
    return [case.one(case.rule.cause, "likely" if small else "certain")]


def _slow_load(case: Case) -> list[Said]:
    """Shards are about 5 GB: 5 s each is 1 GB/s, below what one NVMe disk gives (facts: measured load rates)."""
    given = case.captures
    if "seconds" in given and float(given["seconds"]) < 5:
        return []
    if "took" in given and float(given["took"]) < 300:
        return []
    return [case.one(case.rule.cause, "possible" if case.about_the_program else "certain")]


_SLOW = re.compile(
    r"\b(?:slow\w*|minutes|hours|degrad\w*|issues?|inefficien\w*|i/?o[- ]bound|cold|latency|stall\w*|forever|hang\w*|takes?"
    r"|took|timeout|prefetch\w*|instead of|faster|bottleneck)\b",
    re.IGNORECASE,
)


def _slow_place(case: Case) -> list[Said]:
    """That a slow place is named says little; that it was slow settles it, where no other row heard so already."""
    if "slow-load" in case.heard:
        return []
    slow = _SLOW.search(case.symptom.text) and not case.about_the_program
    return [case.one(case.rule.cause, "certain" if slow else case.rule.certainty)]


SETTLED: dict[str, Settle] = {
    "cuda-oom": _oom,
    "device-ordinal": Case.unless_about_the_program,
    "fragmentation": _reserved,
    "not-divisible": _divisible,
    "kv-cache": _kv_cache,
    "numa": Case.unless_about_the_program,
    "oom-killed": Case.unless_about_the_program,
    "regression": Case.only_heard,
    "request": Case.only_heard,
    "slow-load": _slow_load,
    "slow-place-named": _slow_place,
    "stage-cache": Case.only_heard,
    "stage-weights": Case.only_heard,
    "swap-hugepage": Case.unless_about_the_program,
    "throttling": Case.unless_about_the_program,
    "weights-do-not-fit": Case.unless_about_the_program,
}
