"""The choice of a torch build: both sides of each bound, with its chain of reasons; nothing fits: the nearest way out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from provision import plan, spec
from provision.fact import Absent, Missing, Snapshot
from provision.facts.driver import DriverLibraries, NvidiaDriver
from provision.lock import text
from provision.plan.cuda import accelerator
from tests.test_plan import CARD, NvidiaCards, machine

LOCKFILES = Path(__file__).parents[1] / "lockfiles"
OUT_13 = "cu130 is out: CUDA 13.0 needs driver 580.65.06 or newer"


@pytest.mark.parametrize(
    ("capability", "driver", "chosen"),
    [
        ("9.0", "580.65.06", "cu130"),
        ("9.0", "580.65.05", "cu128"),
        ("9.0", "525.60.13", "cu128"),
        ("7.5", "580.82.07", "cu130"),
        ("7.0", "580.82.07", "cu128"),  # Volta: CUDA 13 has no code for it
        ("6.1", "580.82.07", "cu126"),  # Pascal: nor has torch 2.10 for CUDA 12.8
        ("5.0", "580.82.07", "cu126"),
        ("12.0", "570.86", "cu128"),
        ("12.1", "580.82.07", "cu130"),
        ("9.0", None, "cu130"),
        ("7.0", None, "cu128"),
    ],
)
def test_each_bound(capability: str, driver: str | None, chosen: str) -> None:
    assert accelerator.choose((capability,), driver)[0].name == chosen


def test_the_chain_of_reasons() -> None:
    assert accelerator.choose(("12.0",), "570.86")[1] == (
        "sm_120 needs a torch built with CUDA 12.8 or newer",
        "cu126 is out: torch 2.7.1 has no code for sm_120",
        "the image's Python 3.11 and glibc 2.36 load the wheels of torch 2.13.0, 2.10.0",
        "driver 570.86 gives CUDA 12.8",
        OUT_13,
        "cu128: the newest torch of the locks that runs there is 2.10.0, built for CUDA 12.8",
    )


@pytest.mark.parametrize(("driver", "said"), [("570.26", False), ("570.25", True)])
def test_a_driver_older_than_the_toolkits_own_is_told(driver: str, said: bool) -> None:
    last = accelerator.choose(("9.0",), driver)[1][-1]
    assert (last == f"CUDA 12.8 came with driver 570.26: on {driver} compiled code runs, PTX may be refused") is said


def test_a_driver_too_old_for_every_lock_names_the_nearest_that_is_not() -> None:
    build, reasons = accelerator.choose(("9.0",), "525.60.12")
    assert (build.name, build.minimum_driver) == ("cu128", "525.60.13")
    assert (
        reasons[-1] == "driver 525.60.12 runs no lock for this machine; the nearest way out: driver 525.60.13 or newer"
    )
    assert accelerator.choose(("9.0",), "100.1")[1][2] == "driver 100.1 is older than every toolkit in the table"


def test_a_card_that_no_lock_covers_is_no_plan() -> None:
    with pytest.raises(Missing, match=r"no lock has code for sm_37: .*torch==2\.\d+\.\*.*cu118"):
        accelerator.choose(("3.7",), "470.199.02")
    with pytest.raises(Missing, match="no lock has code for sm_30: no torch wheel in the table covers this card"):
        accelerator.choose(("3.0",), "470.199.02")


def test_cards_that_no_one_build_covers() -> None:
    assert accelerator.choose(("7.0", "12.0"), "580.82.07")[0].name == "cu128"
    with pytest.raises(Missing, match="sm_60 and sm_120: leave one kind of card out with CUDA_VISIBLE_DEVICES"):
        accelerator.choose(("6.0", "12.0"), "580.82.07")


@pytest.mark.parametrize(("python", "chosen"), [("3.13", "cu130"), ("3.14", "cu130"), ("3.9", "cu126")])
def test_the_images_python_needs_a_wheel(python: str, chosen: str) -> None:
    assert accelerator.choose(("9.0",), "580.82.07", python=python)[0].name == chosen
    with pytest.raises(
        Missing, match=r"no lock loads in the image: torch 2\.13\.0 has no wheel for Python 3\.8; .*image\.base"
    ):
        accelerator.choose(("9.0",), "580.82.07", python="3.8")


def test_the_images_glibc_bounds_the_wheel() -> None:
    assert accelerator.choose(("9.0",), "580.82.07", glibc="2.28")[0].name == "cu130"
    with pytest.raises(Missing, match=r"torch 2\.13\.0 needs glibc 2\.28, the image has 2\.27"):
        accelerator.choose(("9.0",), "580.82.07", glibc="2.27")


def driver(version: str) -> NvidiaDriver:
    return NvidiaDriver(version=version, flavour="open", source="/proc/driver/nvidia/version")


@pytest.mark.parametrize(
    ("module", "library", "chosen"),
    [
        (driver("570.86"), Absent("none"), "cu128"),
        (driver("580.65.06"), Absent("none"), "cu130"),
        (driver("570.86"), DriverLibraries(version="580.65.06", libraries=()), "cu130"),  # upgraded, not rebooted
        (
            driver("580.65.06"),
            DriverLibraries(version="570.86", libraries=()),
            "cu130",
        ),  # an older library in a container
        (Absent("none"), DriverLibraries(version="570.86", libraries=()), "cu128"),
        (Absent("none"), Absent("none"), "cu130"),
    ],
)
def test_the_plan_takes_the_lock_of_the_newer_of_module_and_library(module: Any, library: Any, chosen: str) -> None:
    facts = {"NvidiaCards": NvidiaCards(cards=(CARD,)), "NvidiaDriver": module, "DriverLibraries": library}
    snapshot: Snapshot = machine(**facts)
    made = plan.make(snapshot, spec.Spec())
    assert (made.cuda.accelerator, made.dependencies.lock) == (chosen, f"smoke-{chosen}-py311")


@pytest.mark.parametrize("build", accelerator.known(), ids=lambda build: build.name)
def test_every_build_is_what_its_locks_hold(build: accelerator.Build) -> None:
    for python in ("py311", "py312"):
        lock = text.parse((LOCKFILES / f"smoke-{build.name}-{python}.txt").read_text())
        assert {pin.name: pin.version for pin in lock.pins}["torch"] == build.torch
