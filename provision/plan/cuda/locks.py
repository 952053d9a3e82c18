"""The locks there are, each with what its packages ask of a machine. Derived from variants.toml and the tables; nothing typed."""

from __future__ import annotations

import functools
import re

from provision.catalog import tables
from provision.catalog.version import minor
from provision.lock import variants
from provision.record import record


@record
class Lock:
    """One variant with a model to load. ``cuda`` as "12.8", "" for the CPU.

    ``packages``: what its input asks for by name, to the version as far as its bound says it ("0.19" for ``==0.19.*``, ""
    for none). ``because``: why this torch.
    """

    name: str
    purpose: str
    accelerator: str
    cuda: str
    torch: str
    because: str
    python: str
    glibc: str
    machine: str
    packages: dict[str, str]

    # The two that follow are read when they are asked for: a machine without a card needs neither table (start-up budget).
    @property
    def minimum_driver(self) -> str | None:
        """The oldest driver that runs it; None for the CPU's."""
        return tables.minimum_driver(self.cuda) if self.cuda else None

    @property
    def architectures(self) -> tuple[str, ...]:
        """What its torch is compiled for; none where the table lacks that build."""
        wanted = (minor(self.torch), self.cuda)
        return next((wheel.architectures for wheel in tables.wheels() if (wheel.torch, wheel.cuda) == wanted), ())

    @property
    def engine(self) -> str:
        """What serves: vLLM where it is asked for, else transformers."""
        return next((name for name in ("vllm", "sglang", "transformers") if name in self.packages), "")


@functools.cache
def known() -> tuple[Lock, ...]:
    """Every lock for the smoke test or for serving, in the catalogue's order."""
    return tuple(_lock(each) for each in variants.load() if each.accelerator != "none")


def accelerators() -> tuple[str, ...]:
    """What ``accelerator`` may name: every one that has a lock for the smoke test, sorted."""
    return tuple(sorted({lock.accelerator for lock in known() if lock.purpose == "smoke"}))


def _lock(variant: variants.Variant) -> Lock:
    packages = {each.name: _version(each.bound) for each in variant.requirements}
    return Lock(
        name=variant.name,
        purpose=variant.purpose,
        accelerator=variant.accelerator,
        cuda=_cuda(variant.accelerator),
        torch=packages["torch"],
        because=next(each.because for each in variant.requirements if each.name == "torch"),
        python=variant.target.python,
        glibc=variant.target.glibc,
        machine=variant.target.machine,
        packages=packages,
    )


def _cuda(accelerator: str) -> str:
    """ "12.8" of cu128; "" of cpu."""
    digits = re.fullmatch(r"cu(\d+)(\d)", accelerator)
    return f"{digits[1]}.{digits[2]}" if digits else ""


def _version(bound: str) -> str:
    """What a bound holds fast: "2.10.0" of ``===2.10.0``, "5.23" of ``[serving]==5.23.*``, "" of ``>=13``."""
    found = re.fullmatch(r"(?:\[[^]]*\])?={2,3}([^*,]+?)(?:\.\*)?", bound)
    return found[1] if found else ""
