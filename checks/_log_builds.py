"""What beside them settles messages about builds and libraries that do not fit each other."""

from __future__ import annotations

import re

from provision.catalog import tables
from provision.catalog.version import numbers
from provision.checks._said import Case, Said, Settle
from provision.facts.stated import Stated


def _no_kernel(case: Case) -> list[Said]:
    """torch's own list settles it where it lacks the card; where it has it, another library's build is at fault."""
    if "torch-says-arch" in case.heard:
        return [case.one(case.rule.cause, "certain")]
    covered = _covered(case.stated)
    if covered is None:
        return [case.one(case.rule.cause, "certain" if _seldom_covered(case.stated) else "likely")]
    return [case.one(case.rule.cause, "possible" if covered else "certain")]


def _wanted(stated: Stated) -> list[tuple[int, ...]]:
    return [numbers(gpu.compute_capability) for gpu in stated.gpus if gpu.compute_capability]


def _holds(row: tables.Wheel, need: tuple[int, ...]) -> bool:
    """Code of the card's own generation serves it, and so does PTX of an older one."""
    have = [numbers(a) for a in row.architectures]
    return any(a[0] == need[0] and a[1] <= need[1] for a in have) or (row.ptx and need >= max(have))


def _covered(stated: Stated) -> bool | None:
    """Whether the stated torch has code for every stated card; None where that is not known."""
    wanted = _wanted(stated)
    if not wanted or stated.torch_version is None or stated.torch_cuda is None:
        return None
    release = ".".join(stated.torch_version.split("+")[0].split(".")[:2])
    rows = [row for row in tables.wheels() if row.torch == release and row.cuda == stated.torch_cuda]
    if not rows:
        return None
    return all(_holds(rows[0], need) for need in wanted)


def _seldom_covered(stated: Stated) -> bool:
    """Whether most wheels of torch in the table lack a stated card: where nothing else is said, one of those is in use."""
    rows = tables.wheels()
    return any(2 * sum(_holds(row, need) for row in rows) < len(rows) for need in _wanted(stated))


def _glibcxx(case: Case) -> list[Said]:
    """The path says whose libstdc++ was loaded: the system's own is too old, any other stands in its way."""
    system = re.search(
        r"(?:^|[\s'\"(:])(?:/usr)?/lib(?:64)?/(?:x86_64-linux-gnu/|aarch64-linux-gnu/)?lib", case.symptom.text
    )
    first, second = "ld-library-path-shadow", "glibc-or-manylinux-too-old"
    if system:
        first, second = second, first
    return [case.one(first, "certain"), case.one(second, "likely")]


# Libraries whose soname is the CUDA major from 12 on; cuFFT, cuSOLVER and cuRAND count on their own.
_MAJOR = re.compile(r"ImportError.{0,40}lib(?:cudart|cublas|cublasLt|nvrtc|nvJitLink|cupti)\.so\.(\d+)")


def _toolkit(case: Case) -> list[Said]:
    """A Python extension that asks for a CUDA library of another major than torch's was built for another torch."""
    wants = _MAJOR.search(case.symptom.text)
    if wants is None:
        return [case.one(case.rule.cause, "certain")]
    other = case.stated.torch_cuda is not None and case.stated.torch_cuda.split(".")[0] != wants[1]
    if "libcudart" not in wants[0] and not other:
        return [case.one(case.rule.cause, "certain")]
    first, second = ("dependency-conflict", case.rule.cause) if other else (case.rule.cause, "dependency-conflict")
    return [case.one(first, "certain"), case.one(second, "certain")]


# What an import of transformers can fail of that is no conflict of packages.
_REASON = {"toolkit", "cudnn", "glibcxx", "glibc-version", "torch-symbol", "libcuda-absent", "python-version"}


def _import_failed(case: Case) -> list[Said]:
    """Where the log names no other reason, a package that cannot import its own module has neighbours it does not know."""
    return [] if case.heard & _REASON else [case.one(case.rule.cause, "certain")]


SETTLED: dict[str, Settle] = {
    "glibcxx": _glibcxx,
    "no-kernel-image": _no_kernel,
    "toolkit": _toolkit,
    "own-import-failed": _import_failed,
}
