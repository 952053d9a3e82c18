"""What a log's messages speak for, weighed against each other and against what else was stated.

A message alone speaks for the cause in its row (``catalog/symptoms.toml``). Some read the same for several causes; what
stands beside them, or what the pasted facts say, can settle it. Those rules are in the ``_log_…`` modules, each with its
reason.
"""

from __future__ import annotations

from collections.abc import Iterator

from provision.catalog.symptoms import rules
from provision.check import Finding
from provision.checks import _log_builds, _log_driver, _log_links, _log_memory
from provision.checks._pasted import MaybeStated
from provision.checks._said import Case, Said, Settle
from provision.facts.stated import Stated
from provision.facts.symptoms import Symptoms

NOTHING = Stated()
_SETTLED: dict[str, Settle] = {
    **_log_builds.SETTLED,
    **_log_driver.SETTLED,
    **_log_links.SETTLED,
    **_log_memory.SETTLED,
}


def said(
    symptoms: Symptoms, stated: MaybeStated, cause: str, fix: tuple[str, ...], tell_apart: tuple[str, ...] = ()
) -> Iterator[Finding]:
    """The findings of ``cause``: one per kind of message, the surest first."""
    seen: set[str] = set()
    known = stated if isinstance(stated, Stated) else NOTHING
    for one in weigh(symptoms, known):
        if one.cause == cause and one.rule not in seen:
            seen.add(one.rule)
            sure = one.certainty == "certain"
            yield Finding(
                one.message,
                measured={"rule": one.rule},
                fix=fix,
                certainty=one.certainty,
                tell_apart=() if sure else (tell_apart or fix),
            )


def weigh(symptoms: Symptoms, stated: Stated) -> list[Said]:
    """Every message with its cause, after what settles it has been looked at."""
    found: list[Said] = []
    for symptom in symptoms.found:
        rule = rules().get(symptom.rule)
        if rule is not None:  # a snapshot of another version may know rows that this one does not
            found += _SETTLED.get(rule.id, Case.as_it_stands)(Case(rule, symptom, symptoms.found, stated))
    return sorted(_yielding(_agreeing(found)), key=lambda one: ("certain", "likely", "possible").index(one.certainty))


def _agreeing(found: list[Said]) -> list[Said]:
    """Two kinds of message that say the same settle what one does not; two rows that heard the same line are one."""
    likely = [one for one in found if one.certainty == "likely"]
    settled = {
        one.cause
        for one in likely
        for other in likely
        if one.cause == other.cause and one.rule != other.rule and one.line != other.line
    }
    return [one._replace(certainty="certain") if one.cause in settled else one for one in found]


# What stops or slows a program without a message of its own …
_QUIET = frozenset({"bare-hang", "collective-hang", "slow-load"})
# … and what says itself why the program ended.
_ENDING = frozenset(
    {
        "bitsandbytes-cuda-setup",
        "compute-capability-feature",
        "cpu-isa-missing",
        "cuda-toolkit-missing-or-mismatch",
        "dependency-conflict",
        "disk-full",
        "driver-too-old-for-cuda",
        "ecc-error",
        "host-ram-oom-killed",
        "insufficient-kv-cache",
        "insufficient-vram-weights",
        "permission-cache-dir",
        "port-in-use",
        "shm-too-small",
        "torch-arch-unsupported",
        "xid-hardware",
    }
)


def _yielding(found: list[Said]) -> list[Said]:
    """A hang or a slow start beside a message that says why the program ended is what that did, or came before it."""
    if not any(one.certainty == "certain" and one.cause in _ENDING for one in found):
        return found
    return [one._replace(certainty="possible") if one.rule in _QUIET else one for one in found]
