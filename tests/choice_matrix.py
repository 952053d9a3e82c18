"""Which lock the plan takes, over drivers, generations of GPUs, images, engines and precisions: ``tests/choice_matrix.txt``.

``python -m tests.choice_matrix`` prints it; ``make pages`` writes it. tests/test_choice.py holds the file, and compares every
line with the tables by another way than the choice goes.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator

from provision.fact import Absent, Missing, Snapshot
from provision.facts.cpu import Cpu
from provision.facts.driver import NvidiaDriver
from provision.facts.gpus import Gpu, Gpus
from provision.facts.pci import NvidiaCards, PciCard
from provision.facts.system import System
from provision.plan.cuda import Cuda
from provision.plan.dependencies import LOCKFILES, serving
from provision.spec import ImageSpec, ModelSpec, Spec

DRIVERS = ("450.80.01", "470.256.02", "525.60.12", "525.60.13", "570.25", "570.26", "580.65.05", "580.65.06", "")
CAPABILITIES = (
    "3.7",
    "5.2",
    "6.0",
    "6.1",
    "7.0",
    "7.5",
    "8.0",
    "8.6",
    "8.9",
    "9.0",
    "10.0",
    "12.0",
    "12.1",
    "7.0+12.0",
    "6.0+12.0",
)
IMAGES = (("3.11", "2.36"), ("3.12", "2.36"), ("3.12", "2.35"), ("3.13", "2.41"), ("3.11", "2.27"))
ENGINES = ("vllm", "vllm==0.19.1", "vllm==0.33.0", "transformers", "sglang")
PRECISIONS = ("none", "fp8", "nvfp4", "mxfp8", "awq", "gptq-int4", "bnb-nf4", "gguf-q4_k_m")
SERVED = ("7.0", "7.5", "8.6", "8.9", "10.0")
_SYSTEM = System(
    os_id="debian",
    os_version="12",
    os_codename="bookworm",
    os_name="Debian GNU/Linux 12 (bookworm)",
    kernel="6.1.0-30-amd64",
    architecture="x86_64",
    hostname="gpu-07",
    init="systemd",
    container="none",
    virtualization="none",
    glibc="2.36",
)
CPU = Cpu(
    model="AMD EPYC 9354",
    vendor="AuthenticAMD",
    logical_cpus=32,
    cores=32,
    sockets=1,
    flags=("avx", "avx2", "fma"),
    microarchitecture="x86-64-v3",
)
_CARD = PciCard(
    address="0000:01:00.0",
    vendor_id="10de",
    device_id="2330",
    pci_class="0302",
    kernel_driver=None,
    link_width=16,
    link_width_max=16,
    link_mts=32000,
    link_mts_max=32000,
)
_GPU = Gpu(
    index=0,
    name="a card",
    uuid="GPU-0",
    pci_address="0000:01:00.0",
    memory_bytes=80 << 30,
    memory_free_bytes=80 << 30,
    compute_capability="9.0",
    pcie_width=16,
    pcie_width_max=16,
    pcie_generation=4,
    pcie_generation_max=4,
    mig_mode=None,
    mig_mode_pending=None,
    persistence=True,
    process_count=0,
)
BY_DIGEST = "python@sha256:" + "0" * 64


def machine(
    capabilities: str = "", driver: str = "", flags: tuple[str, ...] = CPU.flags, arch: str = "x86_64"
) -> Snapshot:
    """``capabilities`` as "7.0+12.0", "" for a machine without a card; ``driver`` "" for one that is not known."""
    cards = tuple(dataclasses.replace(_GPU, compute_capability=each) for each in capabilities.split("+") if each)
    facts = {
        "System": dataclasses.replace(_SYSTEM, architecture=arch),
        "Cpu": dataclasses.replace(CPU, flags=flags),
        "NvidiaCards": NvidiaCards(cards=(_CARD,)) if cards else Absent("no NVIDIA card on the PCI bus"),
        "NvidiaDriver": NvidiaDriver(version=driver, flavour="open", source="x") if driver else Absent("not loaded"),
    }
    if cards:
        # NVML answers only with a driver; where none is known, the cards' generation is known all the same (a paste says it).
        facts["Gpus"] = Gpus(driver_version=driver or "", cuda_version=None, gpus=cards, lost=())
    return Snapshot("gpu-07", facts, "0")


def spec(python: str = "3.11", glibc: str = "2.36", engine: str = "vllm", accelerator: str = "auto") -> Spec:
    """An image named by digest has just this Python and C library."""
    return Spec(
        image=ImageSpec(base=BY_DIGEST, python=python, glibc=glibc),
        model=ModelSpec(name="Qwen3-8B", engine=engine),
        accelerator=accelerator,
    )


def smoke(capabilities: str, driver: str, python: str, glibc: str) -> str:
    """The lock, and where it is the CPU's for want of another, what driver would change that."""
    try:
        made = Cuda.desire(machine(capabilities, driver), spec(python, glibc))
    except Missing:
        return "no plan"
    more = f" until driver {made.minimum_driver}" if made.wanted else " for ever" if made.way_out else ""
    return made.lock + more


def served(capabilities: str, driver: str, engine: str, precision: str) -> str:
    found = serving.desire(machine(capabilities, driver), spec("3.12", "2.36", engine), precision, LOCKFILES)
    assert found is not None
    return found.lock or "none"


def lines() -> Iterator[str]:
    yield "# The lock of the smoke test by image (Python, glibc), cards and driver. Made by `make pages`."
    for (python, glibc), capabilities in itertools.product(IMAGES, CAPABILITIES):
        found = ((driver or "unknown", smoke(capabilities, driver, python, glibc)) for driver in DRIVERS)
        yield from _runs(f"{python} {glibc} sm {capabilities}", found)
    yield "# The lock for serving by cards, precision, engine and driver, in an image with Python 3.12."
    for capabilities, precision, engine in itertools.product(SERVED, PRECISIONS, ENGINES):
        found = ((driver or "unknown", served(capabilities, driver, engine, precision)) for driver in DRIVERS)
        yield from _runs(f"sm {capabilities} {precision} {engine}", found)


def _runs(head: str, found: Iterator[tuple[str, str]]) -> Iterator[str]:
    """Neighbouring drivers with the same answer in one line."""
    for answer, group in itertools.groupby(found, key=lambda each: each[1]):
        drivers = [driver for driver, _ in group]
        span = drivers[0] if len(drivers) == 1 else f"{drivers[0]} to {drivers[-1]}"
        yield f"{head}, driver {span}: {answer}"


def text() -> str:
    """The whole file."""
    return "\n".join(lines()) + "\n"


if __name__ == "__main__":
    print(text(), end="")
