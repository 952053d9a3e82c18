"""What a log's messages speak for, weighed against each other and against what else was stated.

A message alone speaks for the cause in its row (``catalog/symptoms.toml``). Some read the same for several causes; what
stands beside them, or what the pasted facts say, can settle it. All such rules are here, each with its reason.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Literal, NamedTuple

from provision.catalog import tables
from provision.catalog.symptoms import Rule, rules
from provision.catalog.version import numbers
from provision.check import Finding
from provision.checks._pasted import MaybeStated
from provision.facts.stated import Stated
from provision.facts.symptoms import Symptom, Symptoms

Certainty = Literal["certain", "likely", "possible"]
NOTHING = Stated()


class Said(NamedTuple):
    """One message, what it speaks for and how surely."""

    cause: str
    certainty: Certainty
    rule: str
    message: str


class Case(NamedTuple):
    """One message to be weighed: its row, and what was heard and stated beside it (``heard``: ids of rows)."""

    rule: Rule
    symptom: Symptom
    heard: set[str]
    stated: Stated

    def one(self, cause: str, certainty: Certainty) -> Said:
        """This message as evidence of ``cause``."""
        return Said(cause, certainty, self.rule.id, _message(self.rule, self.symptom))


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
    heard = {symptom.rule for symptom in symptoms.found}
    found: list[Said] = []
    for symptom in symptoms.found:
        rule = rules().get(symptom.rule)
        if rule is not None:  # a snapshot of another version may know rows that this one does not
            found += _SETTLED.get(rule.id, _as_it_stands)(Case(rule, symptom, heard, stated))
    kinds = Counter(cause for cause, _ in {(one.cause, one.rule) for one in found if one.certainty == "likely"})
    # Two kinds of message that say the same settle what one does not.
    found = [one._replace(certainty="certain") if kinds[one.cause] > 1 else one for one in found]
    return sorted(found, key=lambda one: ("certain", "likely", "possible").index(one.certainty))


def _message(rule: Rule, symptom: Symptom) -> str:
    text = symptom.text if len(symptom.text) <= 160 else symptom.text[:157] + "…"
    filled = rule.say.replace("{line}", text)
    for name, value in symptom.captures:
        filled = filled.replace("{" + name + "}", value)
    return f"line {symptom.line}: {filled}"


def _as_it_stands(case: Case) -> list[Said]:
    return [case.one(case.rule.cause, case.rule.certainty)]


def _wsl(stated: Stated) -> bool:
    return "wsl" in f"{stated.os_name} {stated.kernel}".lower() or "microsoft" in (stated.kernel or "").lower()


def _system_driver_mismatch(case: Case) -> list[Said]:
    """803: where NVML complains too, library and module differ; else only the libcuda is odd: a copy in the way."""
    if "versions-differ" in case.heard:
        return [case.one(case.rule.cause, "certain")]
    return [
        case.one("compat-package-shadow", "certain"),
        case.one("nvml-driver-library-mismatch", "likely"),
    ]


def _no_device(case: Case) -> list[Said]:
    """No device on WSL is WSL's libcuda not being found; a driver that says it is not there leaves nothing to hide."""
    if _wsl(case.stated):
        return [case.one("wsl2-specific", "certain")]
    if case.heard & {"smi-cannot-reach-driver", "nvml-driver-not-loaded", "torch-found-no-driver", "libcuda-absent"}:
        return []
    # torch says "No CUDA GPUs are available" only where a driver answered and counted none.
    hidden = "no cuda gpus" in case.symptom.text.lower() or bool(case.stated.gpus or case.stated.driver_version)
    hidden = hidden or "CUDA_VISIBLE_DEVICES" in dict(case.stated.env)
    return [
        case.one(case.rule.cause, "certain" if hidden else "likely"),
        case.one("driver-not-loaded", "possible"),
    ]


def _no_driver(case: Case) -> list[Said]:
    """Where nvidia-smi named the driver the machine has one: a program that sees none is in a container without it."""
    if _wsl(case.stated):
        return [case.one("wsl2-specific", "certain")]
    if (
        case.heard & {"docker-no-gpu-driver", "container-cli-library", "ngc-driver-not-detected"}
        or case.stated.driver_version
    ):
        return [case.one("container-gpu-runtime-missing", "certain")]
    return [case.one(case.rule.cause, "certain")]


def _xid(case: Case) -> list[Said]:
    """The vendor's table says whether a code is the card, its memory, the links, or a program."""
    code = int(dict(case.symptom.captures)["code"])
    row = tables.xids().get(code)
    if row is None:
        return [case.one("xid-hardware", "possible")]
    if code in (48, 63, 64, 92, 94, 95):
        return [case.one("ecc-error", "certain")]
    if row.kind == "information":
        return []
    if row.kind == "program":
        return [case.one("gpu-program-fault", "possible")]
    return [case.one("xid-hardware", "certain")]


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
    """Work that crosses GPUs stops silently: redirected peer traffic (IOMMU, ACS) or a peer path that does not work."""
    if case.rule.id == "bare-hang" and "collective-hang" in case.heard:
        return []  # the other row heard the same words and more
    several = len(case.stated.gpus) > 1 or "collective-hang" in case.heard or bool(_STARTING.search(case.symptom.text))
    bridged = bool(case.stated.gpus) and any(re.search(r"SXM|NVL|HGX|DGX|GB200", gpu.name) for gpu in case.stated.gpus)
    pcie = len(case.stated.gpus) > 1 and not bridged
    first, second = "nvlink-p2p-broken", "iommu-acs-hang"
    if (case.rule.id == "collective-hang" or pcie) and not _PEER.search(case.symptom.text):
        first, second = second, first
    certain: Certainty = "certain" if several else "possible"
    return [case.one(first, certain), case.one(second, "possible")]


_PEER = re.compile(r"nvlink|bridge|custom.all.?reduce|peer access|corrupt|garbage|wrong|patched", re.IGNORECASE)
_STARTING = re.compile(r"load|start|init|waiting for output|processed prompts", re.IGNORECASE)


def _no_kernel(case: Case) -> list[Said]:
    """torch's own list settles it where it lacks the card; where it has it, another library's build is at fault."""
    if "torch-says-arch" in case.heard:
        return [case.one(case.rule.cause, "certain")]
    covered = _covered(case.stated)
    if covered is None:
        return [case.one(case.rule.cause, "likely")]
    return [case.one(case.rule.cause, "possible" if covered else "certain")]


def _covered(stated: Stated) -> bool | None:
    """Whether the stated torch has code for every stated card; None where that is not known."""
    wanted = [numbers(gpu.compute_capability) for gpu in stated.gpus if gpu.compute_capability]
    if not wanted or stated.torch_version is None or stated.torch_cuda is None:
        return None
    release = ".".join(stated.torch_version.split("+")[0].split(".")[:2])
    rows = [row for row in tables.wheels() if row.torch == release and row.cuda == stated.torch_cuda]
    if not rows:
        return None
    have = [numbers(a) for a in rows[0].architectures]
    return all(any(a[0] == need[0] and a[1] <= need[1] for a in have) or rows[0].ptx for need in wanted)


def _glibcxx(case: Case) -> list[Said]:
    """The path says whose libstdc++ was loaded: the system's own is too old, any other stands in its way."""
    system = re.search(
        r"(?:^|[\s'\"(:])(?:/usr)?/lib(?:64)?/(?:x86_64-linux-gnu/|aarch64-linux-gnu/)?lib", case.symptom.text
    )
    first, second = "ld-library-path-shadow", "glibc-or-manylinux-too-old"
    if system:
        first, second = second, first
    return [case.one(first, "certain"), case.one(second, "likely")]


def _toolkit(case: Case) -> list[Said]:
    """A Python extension that asks for a CUDA runtime of another major than torch's was built for another torch."""
    wants = re.search(r"ImportError.{0,40}libcudart\.so\.(\d+)", case.symptom.text)
    if wants is None:
        return [case.one(case.rule.cause, "certain")]
    other = case.stated.torch_cuda is not None and case.stated.torch_cuda.split(".")[0] != wants[1]
    first, second = ("dependency-conflict", case.rule.cause) if other else (case.rule.cause, "dependency-conflict")
    return [case.one(first, "certain"), case.one(second, "certain")]


def _oom(case: Case) -> list[Said]:
    """Out of memory alone says nothing of why; a model whose weights are larger than the cards does."""
    text = case.symptom.text
    size = re.search(r"(?<![\w.])\S*?(\d+(?:\.\d+)?) ?B(?:-|_|\b)", text)
    cards = re.search(r"(\d+) ?x ?[A-Z]*\d+\w* ?\(?(\d+) ?G", text)
    room = sum(gpu.memory_bytes or 0 for gpu in case.stated.gpus)
    if cards:
        room = int(cards[1]) * int(cards[2]) << 30
    if size is None or not room:
        return [case.one(case.rule.cause, case.rule.certainty)]
    per = 0.5 if re.search(r"awq|gptq|int4|4bit|nf4|w4a16|q4|fp4", text, re.I) else 1 if "fp8" in text.lower() else 2
    larger = float(size[1]) * 1e9 * per > room
    return [case.one(case.rule.cause, "certain" if larger else case.rule.certainty)]


def _reserved(case: Case) -> list[Said]:
    """Reserved and not used is fragmentation where it is more than a tenth of what is used; less is ordinary slack."""
    given = dict(case.symptom.captures)

    def amount(name: str) -> float:
        return float(given[name]) * (1024 if given[f"{name}_unit"].upper() == "G" else 1)

    if "unused" in given:
        used, unused = amount("allocated"), amount("unused")
    else:
        used, unused = amount("held"), amount("kept") - amount("held")
    return [case.one(case.rule.cause, "certain")] if unused > max(used / 10, 512) else []


def _shard_seconds(case: Case) -> list[Said]:
    """Shards are about 5 GB: 5 s each is 1 GB/s, below what one NVMe disk gives (facts: measured load rates)."""
    given = dict(case.symptom.captures)
    if "seconds" in given and float(given["seconds"]) < 5:
        return []
    if "took" in given and float(given["took"]) < 300:
        return []
    return [case.one(case.rule.cause, "certain")]


_SETTLED: dict[str, Callable[[Case], list[Said]]] = {
    "bare-hang": _hang,
    "collective-hang": _hang,
    "cuda-oom": _oom,
    "fragmentation": _reserved,
    "glibcxx": _glibcxx,
    "libcuda-absent": _no_driver,
    "no-cuda-gpus": _no_device,
    "no-kernel-image": _no_kernel,
    "p2p-refused": _p2p,
    "slow-load": _shard_seconds,
    "system-driver-mismatch": _system_driver_mismatch,
    "toolkit": _toolkit,
    "torch-found-no-driver": _no_driver,
    "xid": _xid,
}
