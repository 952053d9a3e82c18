"""The choice of a lock: every pair of the matrix against the tables, the chains of reasons, and what nothing fits gives."""

from __future__ import annotations

import dataclasses
import itertools
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from provision import base, codec, plan, spec
from provision.catalog import builds, hardware, tables
from provision.catalog.version import numbers, older
from provision.cli import main
from provision.errors import ChangeError
from provision.fact import Absent, Missing, Snapshot
from provision.facts.driver import DriverLibraries, NvidiaDriver
from provision.lock import text
from provision.plan import Cuda, Plan, ServingLock
from provision.plan.cuda import accelerator, image, locks
from provision.plan.dependencies import LOCKFILES, serving
from provision.report import text as report
from tests import choice_matrix
from tests.choice_matrix import machine
from tests.test_plan import CARD, NvidiaCards, applied
from tests.test_plan import machine as bare

HERE = Path(__file__).parent
REAL_LOCKS = locks.known()
PAIRS = [(lock.name, name, held) for lock in locks.known() for name, held in lock.packages.items() if held]


def test_the_matrix_is_what_the_choice_gives() -> None:
    assert (HERE / "choice_matrix.txt").read_text() == choice_matrix.text(), "run: make pages, and read what moved"


def able(lock: locks.Lock, capabilities: tuple[str, ...], driver: str, python: str, glibc: str) -> bool:
    """Whether a lock can work, said in one expression over the tables, without the chain."""
    release = tables.torch_releases()[lock.torch]
    wheel = next(w for w in tables.wheels() if lock.torch.startswith(f"{w.torch}.") and w.cuda == lock.cuda)
    floors = [row for row in hardware.floors() if row.package in lock.packages and not row.last]
    floors += [
        row for row in hardware.floors() if row.package == "vllm" and lock.packages.get("vllm") == "0.19" and row.last
    ]
    floors = [row for row in floors if numbers(row.first) <= numbers(lock.packages[row.package])]
    return (
        (lock.python, python in release.pythons) == (python, True)
        and numbers(glibc) >= max(numbers(lock.glibc), numbers(release.glibc))
        and all(any(numbers(a)[0] == numbers(c)[0] and a <= c for a in wheel.architectures) for c in capabilities)
        and all(numbers(c) >= numbers(row.least) for c in capabilities for row in floors)
        and (
            not driver
            or numbers(driver)
            >= numbers(next(m.minimum_driver for m in tables.drivers().major if lock.cuda.startswith(f"{m.cuda}.")))
        )
    )


@pytest.mark.parametrize(("python", "glibc"), choice_matrix.IMAGES)
def test_no_lock_that_cannot_work_and_none_left_out_that_can(python: str, glibc: str) -> None:
    seen = 0
    for cards, driver in itertools.product(choice_matrix.CAPABILITIES, choice_matrix.DRIVERS):
        capabilities = tuple(cards.split("+"))
        can = [
            lock
            for lock in locks.known()
            if lock.purpose == "smoke" and lock.cuda and able(lock, capabilities, driver, python, glibc)
        ]
        best = max(can, key=lambda lock: numbers(lock.torch)).name if can else None
        said = choice_matrix.smoke(cards, driver, python, glibc)
        if best is None:
            assert said.startswith(("smoke-cpu-py311 ", "no plan")), (cards, driver, said)
            assert said.startswith("no plan") is ((python, glibc) != ("3.11", "2.36"))
        else:
            assert said == best, (cards, driver)
            seen += 1
    assert (seen > 50) is (glibc == "2.36")


def test_the_chain_of_reasons() -> None:
    assert Cuda.desire(machine("12.0", "570.86"), spec.Spec()).reasons == (
        "1 NVIDIA card(s) on the PCI bus",
        "sm_120 needs a torch built with CUDA 12.8 or newer",
        "the image's Python 3.11 and glibc 2.36 load the wheels of torch 2.13.0, 2.10.0, 2.7.1",
        "cu126 is out: torch 2.7.1 has no code for sm_120",
        "driver 570.86 gives CUDA 12.8",
        "cu130 is out: CUDA 13.0 needs driver 580.65.06 or newer",
        "cu128: torch 2.10.0, built for CUDA 12.8, is the newest of the locks that runs there",
        "newest torch whose default wheel is CUDA <= 12.8: 2.10.0",
        "cu128 needs driver 525.60.13 or newer",
    )


@pytest.mark.parametrize(
    ("cards", "need"),
    [
        ("3.7", "sm_37 needs a torch built with CUDA 11.6 to 11.8"),
        ("6.1", "sm_61 needs a torch built with CUDA 11.6 to 12.6"),
        ("9.0", "sm_90 needs a torch built with CUDA 11.8 or newer"),
        ("3.0", "no torch wheel has code for sm_30"),
    ],
)
def test_a_generation_that_newer_builds_left_out_has_an_upper_bound(cards: str, need: str) -> None:
    assert need in Cuda.desire(machine(cards, "580.82.07"), spec.Spec()).reasons


def test_where_the_lock_keeps_an_older_torch_it_says_why() -> None:
    reasons = Cuda.desire(machine("9.0", "580.82.07"), spec.Spec()).reasons
    newest = max(
        (row for row in tables.torch_releases().values() if row.cuda == "13.0"), key=lambda row: numbers(row.torch)
    )
    (said,) = (one for one in reasons if one.startswith("newest torch whose default wheel"))
    kept = "the lock keeps 2.13: the release that the bundled model was trained with"
    assert said.startswith(f"newest torch whose default wheel is CUDA <= 13.0: {newest.torch}; {kept}")


@pytest.mark.parametrize(("driver", "said"), [("570.26", False), ("570.25", True)])
def test_a_driver_older_than_the_toolkits_own_is_told(driver: str, said: bool) -> None:
    told = f"CUDA 12.8 came with driver 570.26: on {driver} compiled code runs, PTX may be refused"
    assert (told in Cuda.desire(machine("9.0", driver), spec.Spec()).reasons) is said


def test_a_driver_too_old_for_every_lock_gives_the_cpus_and_the_way_out() -> None:
    made = Cuda.desire(machine("9.0", "525.60.12"), spec.Spec())
    assert (made.lock, made.device, made.wanted, made.minimum_driver) == (
        "smoke-cpu-py311",
        "cpu",
        "cu128",
        "525.60.13",
    )
    assert made.way_out == (
        "install driver 525.60.13 or newer: 525.60.12 runs none of the locks for these cards",
        "or, without a lock: python3 -m pip install --force-reinstall 'torch==2.7.*' --index-url "
        "https://download.pytorch.org/whl/cu118   # built for CUDA 11.8, which 525.60.12 runs",
    )
    assert "no lock runs on the cards here: the container is for the CPU" in made.reasons
    assert not {"CUD-P2", "CUD-P4"} & {promise.code for promise in made.promises()}
    after = Cuda.desire(machine("9.0", "525.60.13"), spec.Spec())
    assert (after.lock, after.way_out, after.wanted) == ("smoke-cu128-py311", (), "")
    ancient = Cuda.desire(machine("9.0", "100.1"), spec.Spec())
    assert "driver 100.1 is older than every toolkit in the table" in ancient.reasons
    assert ancient.way_out == ("install driver 525.60.13 or newer: 100.1 runs none of the locks for these cards",)


@pytest.mark.parametrize(
    ("cards", "driver", "way"),
    [
        ("3.7", "470.199.02", "python3 -m pip install --force-reinstall 'torch==2.7.*' --index-url"),
        ("3.0", "470.199.02", "no torch wheel in the table covers this card"),
        ("5.2", "580.82.07", "another card, or packages built for sm_52 (no lock here has them)"),
        ("6.0+12.0", "580.82.07", "leave one kind of card out with CUDA_VISIBLE_DEVICES: no one lock has code for all"),
    ],
)
def test_cards_that_no_lock_has_code_for(cards: str, driver: str, way: str) -> None:
    made = Cuda.desire(machine(cards, driver), spec.Spec())
    assert (made.lock, made.wanted, made.minimum_driver) == ("smoke-cpu-py311", "", None)
    assert made.way_out[0].startswith(way)


def driver(version: str) -> NvidiaDriver:
    return NvidiaDriver(version=version, flavour="open", source="/proc/driver/nvidia/version")


@pytest.mark.parametrize(
    ("module", "library", "chosen"),
    [
        (driver("570.86"), Absent("none"), "cu128"),
        (driver("580.65.06"), Absent("none"), "cu130"),
        (driver("570.86"), DriverLibraries(version="580.65.06", libraries=()), "cu130"),  # upgraded, not rebooted
        (driver("580.65.06"), DriverLibraries(version="570.86", libraries=()), "cu130"),  # an older one in a container
        (Absent("none"), DriverLibraries(version="570.86", libraries=()), "cu128"),
        (Absent("none"), Absent("none"), "cu130"),
        (driver("470.86"), DriverLibraries(version="570.86", libraries=()), "cu128"),  # waits for a reboot: no way out
    ],
)
def test_the_newer_of_module_and_library_counts(module: Any, library: Any, chosen: str) -> None:
    facts = {"NvidiaCards": NvidiaCards(cards=(CARD,)), "NvidiaDriver": module, "DriverLibraries": library}
    made = plan.make(bare(**facts), spec.Spec())
    assert (made.cuda.accelerator, made.dependencies.lock, made.way_out) == (chosen, f"smoke-{chosen}-py311", ())


@pytest.mark.parametrize("name", ["cu126", "cu128", "cu130", "cpu"])
def test_a_build_that_provision_toml_names_is_taken_also_without_a_card(name: str) -> None:
    made = Cuda.desire(machine(), spec.Spec(accelerator=name))
    assert (made.accelerator, made.lock, made.way_out) == (name, f"smoke-{name}-py311", ())
    assert made.reasons[0] == f"provision.toml asks for accelerator {name}"


def test_a_build_that_is_named_and_cannot_be_is_not_taken() -> None:
    made = Cuda.desire(machine("9.0", "570.86"), spec.Spec(accelerator="cu130"))
    assert (made.accelerator, made.wanted, made.minimum_driver) == ("cpu", "cu130", "580.65.06")
    assert made.way_out[0] == 'accelerator = "cu128" or "auto" in provision.toml'
    assert Cuda.desire(machine("9.0", "570.86"), spec.Spec(accelerator="cu126")).lock == "smoke-cu126-py311"


@pytest.mark.parametrize(
    ("flags", "why"),
    [
        (("avx", "avx2", "fma"), ""),
        (("avx", "avx2"), "bitsandbytes 0.50 needs fma, which this processor does not have"),
        (("avx",), "bitsandbytes 0.50 needs avx2 and fma, which this processor does not have"),
    ],
)
def test_the_processor_must_have_what_the_cpus_lock_uses(flags: tuple[str, ...], why: str) -> None:
    if not why:
        made = Cuda.desire(machine(flags=flags), spec.Spec())
        assert "the processor has avx2 and fma, which bitsandbytes needs" in made.reasons
        return
    with pytest.raises(Missing, match=f"cpu is out: {why}. The way out: in a virtual machine: give it"):
        Cuda.desire(machine(flags=flags), spec.Spec())
    assert (
        Cuda.desire(machine("9.0", "580.82.07", flags=flags), spec.Spec()).lock == "smoke-cu130-py311"
    )  # only the CPU's


def test_instructions_that_nobody_looked_at_are_said_to_be_unknown() -> None:
    made = Cuda.desire(bare(), spec.Spec())
    assert "the processor must have (it was not looked at) avx2 and fma, which bitsandbytes needs" in made.reasons


def test_another_architecture_has_no_lock() -> None:
    with pytest.raises(
        Missing, match=r"cpu is out: its wheels are for x86_64, this is aarch64.*add a variant for aarch64"
    ):
        Cuda.desire(machine(arch="aarch64"), spec.Spec())


@pytest.mark.parametrize(
    ("python", "glibc", "why"),
    [
        ("3.13", "2.41", "cu130 is out: it is made for Python 3.12, the image has 3.13"),
        ("3.12", "2.35", "cu130 is out: it was resolved for glibc 2.36, the image has 2.35"),
        ("3.11", "2.27", "cu130 is out: torch 2.13.0 needs glibc 2.28, the image has 2.27"),
    ],
)
def test_an_image_that_loads_no_lock_is_no_plan(python: str, glibc: str, why: str) -> None:
    with pytest.raises(Missing) as caught:
        Cuda.desire(machine("9.0", "580.82.07"), choice_matrix.spec(python, glibc))
    assert why in caught.value.reason
    assert "set image.base (or image.python) in provision.toml to an image with Python 3.11" in caught.value.reason
    assert ("add a variant for Python 3.13" in caught.value.reason) is (python == "3.13")


def test_which_images_there_can_be() -> None:
    on = machine()
    first, second = image.possible(spec.ImageSpec(), on)
    assert (first.python, first.glibc, first.what) == ("3.11", "2.36", "python:3.11-slim-bookworm")
    assert image.possible(spec.ImageSpec(python="3.12"), on) == (second,)
    (made,) = image.possible(spec.ImageSpec(base="bootstrap"), on)
    assert (made.python, made.glibc) == ("3.11", "2.36")
    assert image.possible(spec.ImageSpec(base="bootstrap", python="3.12"), on) == ()
    (given,) = image.possible(spec.ImageSpec(base=choice_matrix.BY_DIGEST), on)
    assert (given.python, given.glibc) == ("3.11", "2.36")
    made_312 = plan.make(bare(NvidiaCards=NvidiaCards(cards=(CARD,))), spec.Spec(image=spec.ImageSpec(python="3.12")))
    assert made_312.dependencies.lock == "smoke-cu130-py312"


def test_a_base_with_another_python_than_the_lock_is_not_made(tmp_path: Path) -> None:
    """Debian 13's own archive has Python 3.13, and no lock is made for it."""
    nobody: Any = None  # the engine is not asked
    with pytest.raises(ChangeError, match=r"the lock is for Python 3\.11, .*\(trixie\) has Python 3\.13"):
        base.ensure(nobody, "bootstrap", cache_dir=tmp_path, suite="trixie", architecture="amd64", python="3.11")


def served(cards: str, driver: str, precision: str = "none", **wanted: Any) -> ServingLock:
    asked = choice_matrix.spec("3.12", **wanted)
    found = serving.desire(machine(cards, driver), asked, precision, LOCKFILES)
    assert found is not None
    return found


def test_the_chain_of_reasons_for_serving() -> None:
    found = served("8.6", "570.86", "fp8")
    assert (found.lock, found.engine, found.way_out) == ("serve-cu128-py312", "vllm 0.19", ())
    assert found.reasons[1:] == (
        "sm_86 needs a torch built with CUDA 11.6 or newer",
        "the image's Python 3.12 and glibc 2.36 load the wheels of torch 2.13.0, 2.10.0",
        "fp8 on sm_86 stores weights only; sm_89 and newer compute in it",
        "driver 570.86 gives CUDA 12.8",
        "serve-cu130-py312 is out: CUDA 13.0 needs driver 580.65.06 or newer",
        "serve-cu128-py312: torch 2.10.0, built for CUDA 12.8, is the newest of the locks that runs there",
        "newest torch whose default wheel is CUDA <= 12.8: 2.10.0",
    )
    assert "vllm 0.32 runs fp8 from sm_75 on" in served("8.9", "580.82.07", "fp8").reasons
    assert "whether vllm 0.32 runs iq3 is not in the table" in served("9.0", "580.82.07", "iq3").reasons


@pytest.mark.parametrize(
    ("cards", "driver", "precision", "engine", "why", "way"),
    [
        (
            *("7.0", "580.82.07", "fp8", "vllm"),
            "serve-cu128-py312 is out: vllm 0.19 runs fp8 from sm_75 on, not on sm_70",
            "a checkpoint in 16 bit instead of fp8: serve-cu128-py312 runs it",
        ),
        (
            *("8.6", "580.82.07", "mxfp8", "vllm==0.19.1"),
            "serve-cu128-py312 is out: vllm 0.19 runs mxfp8 from sm_100 on, not on sm_86",
            'engine = "vllm" in [model] of provision.toml: serve-cu130-py312 holds 0.32',
        ),
        (
            *("9.0", "580.82.07", "bnb-nf4", "vllm"),
            "serve-cu130-py312 is out: vllm 0.32 runs bnb-nf4 with vllm-bnb-plugin, which it does not hold",
            "a checkpoint in 16 bit instead of bnb-nf4: serve-cu130-py312 runs it",
        ),
        (
            *("9.0", "580.82.07", "none", "vllm==0.33.0"),
            "serve-cu130-py312 is out: it holds vllm 0.32, provision.toml asks for 0.33.0",
            'engine = "vllm" in [model] of provision.toml: serve-cu130-py312 holds 0.32',
        ),
        (
            *("9.0", "580.82.07", "none", "sglang"),
            "serve-cu130-py312 is out: it holds vllm, provision.toml asks for sglang",
            'engine = "vllm" in [model] of provision.toml: serve-cu130-py312 holds 0.32',
        ),
        (
            *("9.0", "470.256.02", "none", "vllm"),
            "serve-cu128-py312 is out: CUDA 12.8 needs driver 525.60.13 or newer",
            "install driver 525.60.13 or newer: 470.256.02 runs none of the locks for these cards",
        ),
        (
            *("6.1", "580.82.07", "none", "vllm"),
            "serve-cu130-py312 is out: torch 2.13.0 has no code for sm_61",
            "python3 -m pip install --force-reinstall 'torch==2.",
        ),
    ],
)
def test_where_no_lock_serves_the_nearest_way_out_is_named(
    cards: str, driver: str, precision: str, engine: str, why: str, way: str
) -> None:
    found = served(cards, driver, precision, engine=engine)
    assert (found.lock, found.lock_sha256) == ("", "")
    assert why in found.reasons
    assert found.way_out[0].startswith(way)


@pytest.mark.parametrize(
    ("cards", "driver", "precision", "engine", "accelerator", "way_out"),
    [
        (
            *("9.0", "580.82.07", "bnb-nf4", "sglang", "auto"),
            'engine = "vllm" in [model] of provision.toml, and a checkpoint in 16 bit instead of bnb-nf4: '
            "serve-cu130-py312 runs it",
        ),
        (
            *("9.0", "580.82.07", "bnb-nf4", "vllm==0.33.0", "auto"),
            'engine = "vllm" in [model] of provision.toml, and a checkpoint in 16 bit instead of bnb-nf4: '
            "serve-cu130-py312 runs it",
        ),
        (
            *("9.0", "580.82.07", "bnb-nf4", "sglang", "cu126"),
            'engine = "vllm" in [model] of provision.toml, and a checkpoint in 16 bit instead of bnb-nf4, and '
            'accelerator = "auto" in provision.toml: serve-cu130-py312 runs it',
        ),
        (
            *("9.0", "470.256.02", "none", "sglang", "auto"),
            'engine = "vllm" in [model] of provision.toml, and then: install driver 525.60.13 or newer: 470.256.02 runs none '
            "of the locks for these cards",
        ),
    ],
)
def test_where_no_one_change_helps_several_together_are_the_way_out(
    cards: str, driver: str, precision: str, engine: str, accelerator: str, way_out: str
) -> None:
    found = served(cards, driver, precision, engine=engine, accelerator=accelerator)
    assert (found.lock, found.way_out) == ("", (way_out,))


def test_where_nothing_that_was_tried_helps_a_variant_is_the_way_out(monkeypatch: Any) -> None:
    monkeypatch.setattr(locks, "known", lambda: tuple(one for one in REAL_LOCKS if one.purpose == "smoke"))
    found = served("9.0", "580.82.07")
    assert (found.lock, found.way_out) == (
        "",
        ("add a variant that serves with vllm to provision/catalog/variants.toml, then provision lock",),
    )


FEW = (("3.7", "7.0", "7.0+12.0", "10.0", ""), ("470.256.02", ""))
WHOLE = (choice_matrix.SERVED, choice_matrix.DRIVERS)


@pytest.mark.parametrize(
    ("accelerator", "machines"), [("auto", WHOLE), *((one, FEW) for one in ("auto", "cpu", "cu126"))]
)
def test_no_lock_for_serving_is_never_without_a_way_out(
    accelerator: str, machines: tuple[tuple[str, ...], ...]
) -> None:
    lacking = 0
    precisions = (*choice_matrix.PRECISIONS, "")
    for cards, driver, engine, precision in itertools.product(*machines, choice_matrix.ENGINES, precisions):
        found = served(cards, driver, precision, engine=engine, accelerator=accelerator)
        assert bool(found.lock) is not bool(found.way_out), (cards, driver, engine, precision, found)
        lacking += not found.lock
    assert lacking > 100


def test_a_plan_without_a_lock_for_serving_ends_with_1_and_names_the_way_out(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "provision.toml").write_text(
        '[model]\nname = "Qwen/Qwen2.5-7B-Instruct"\nquantization = "bnb-nf4"\nengine = "sglang"\n'
    )
    done = CliRunner().invoke(main, ["plan", "--facts", str(HERE / "machines/gpu-h100.json")])
    assert done.exit_code == 1, done.output
    assert 'way out      engine = "vllm" in [model] of provision.toml, and a checkpoint in 16 bit' in done.output


def test_no_lock_for_serving_is_said_also_where_no_way_out_is_known() -> None:
    made = plan.make(whole(CASES["a card that is served"]), spec.Spec(model=spec.ModelSpec(name="Qwen3-8B")))
    assert made.has_locks and made.dependencies.serving is not None
    lost = dataclasses.replace(made.dependencies.serving, lock="", way_out=())
    assert not dataclasses.replace(made, dependencies=dataclasses.replace(made.dependencies, serving=lost)).has_locks


def test_the_cpu_is_served_by_transformers_unless_a_release_of_vllm_is_wished() -> None:
    asked = choice_matrix.spec(engine="transformers")
    found = serving.desire(machine(), asked, "none", LOCKFILES)
    assert found is not None and (found.lock, found.engine) == ("serve-cpu-py311", "transformers 5.23")
    quantised = serving.desire(machine(), asked, "awq", LOCKFILES)
    assert quantised is not None and quantised.lock == ""
    assert "runs awq with gptqmodel, which it does not hold" in quantised.reasons[-1]
    left_out = serving.desire(machine(), choice_matrix.spec(), "none", LOCKFILES)
    assert left_out is not None and left_out.lock == "serve-cpu-py311"
    assert "no lock has vllm for the CPU: transformers serves there" in left_out.reasons
    wished = serving.desire(machine(), choice_matrix.spec(engine="vllm==0.19.1"), "none", LOCKFILES)
    assert wished is not None and (wished.lock, wished.engine) == ("", "vllm==0.19.1")
    assert wished.way_out == ('engine = "transformers" in [model] of provision.toml: serve-cpu-py311 holds 5.23',)


@pytest.mark.parametrize(
    ("stored", "asked", "runs_in", "said"),
    [
        (None, None, "none", ""),
        ({"quant_method": "fp8"}, None, "fp8", "vllm 0.32 runs fp8 from sm_75 on"),
        ({"quant_method": "fp8"}, "bnb-nf4", "bnb-nf4", "with vllm-bnb-plugin, which it does not hold"),
        ({"quant_method": "quip"}, None, "", "whether vllm 0.32 runs this quantisation is not in the table"),
    ],
)
def test_a_folders_own_precision_joins_the_choice(
    tmp_path: Path, stored: Any, asked: str | None, runs_in: str, said: str
) -> None:
    shutil.copytree(Path(plan.__file__).parents[1] / "payload/smoke/model", tmp_path / "model")
    config = tmp_path / "model/config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | ({"quantization_config": stored} if stored else {})))
    wanted = spec.Spec(model=spec.ModelSpec(name=str(tmp_path / "model"), quantization=asked))
    made = plan.make(whole(machine("9.0", "580.82.07")), wanted)
    assert made.gpu_memory.runs_in == runs_in
    assert made.dependencies.serving is not None
    assert said in " ".join(made.dependencies.serving.reasons)


def test_an_image_without_the_engines_python_cannot_serve() -> None:
    asked = dataclasses.replace(choice_matrix.spec(), image=spec.ImageSpec(base="bootstrap"))
    found = serving.desire(machine("9.0", "580.82.07"), asked, "none", LOCKFILES)
    assert found is not None and found.lock == ""
    assert "serve-cu130-py312 is out: it is made for Python 3.12, the image has 3.11" in found.reasons
    assert found.way_out[0].startswith(
        "set image.base (or image.python) in provision.toml to an image with Python 3.12"
    )
    free = serving.desire(machine("9.0", "580.82.07"), spec.Spec(model=asked.model), "none", LOCKFILES)
    assert free is not None and free.lock == "serve-cu130-py312"  # auto: the catalogue has an image with Python 3.12


CASES = {
    "a driver that is too old": machine("9.0", "470.256.02"),
    "a card without a lock": machine("5.2", "580.82.07"),
    "a card that is served": machine("9.0", "580.82.07"),
    "no card": machine(),
}


def whole(snapshot: Snapshot) -> Snapshot:
    """With the facts that the other sections ask for."""
    return bare(**snapshot.facts)


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("model", ["bundled", "Qwen3-8B"])
def test_planning_after_applying_changes_nothing(name: str, model: str) -> None:
    asked = spec.Spec(model=spec.ModelSpec(name=model))
    first = plan.make(whole(CASES[name]), asked)
    again = plan.make(applied(first, whole(CASES[name])), asked, previous=first)
    assert again.digest == first.digest
    assert codec.load(Plan, json.loads(codec.dumps(first))) == first
    assert (first.dependencies.serving is None) is (model == "bundled")


@pytest.mark.parametrize(
    ("glibc", "why"),
    [
        ("2.30", "serve-cu128-py312 is out: vllm 0.19 needs glibc 2.31, the image has 2.30"),
        ("2.31", "serve-cu128-py312 is out: it was resolved for glibc 2.36, the image has 2.31"),
    ],
)
def test_the_engines_wheel_needs_its_c_library_too(glibc: str, why: str) -> None:
    found = serving.desire(machine("9.0", "570.86"), choice_matrix.spec("3.12", glibc), "none", LOCKFILES)
    assert found is not None and why in found.reasons


@pytest.mark.parametrize(("name", "code"), [("a driver that is too old", 1), ("a card that is served", 0)])
def test_the_command_prints_the_reasons_and_the_way_out(name: str, code: int, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    facts = tmp_path / "facts.json"
    facts.write_text(codec.dumps(whole(CASES[name]).to_json()))
    (tmp_path / "provision.toml").write_text('[model]\nname = "Qwen3-8B"\n')
    done = CliRunner().invoke(main, ["plan", "--facts", str(facts)])
    assert done.exit_code == code, done.output
    assert "because      sm_90 needs a torch built with CUDA 11.8 or newer\n" in done.output
    assert done.output.count("way out      install driver 525.60.13 or newer") == code  # once, for both uses
    said = "no lock serves it with vllm" if code else "vllm 0.32 from serve-cu130-py312"
    assert f"served by    {said}\n" in done.output
    kept = json.loads(next(tmp_path.glob(".provision/*/latest/plan.json")).read_text())
    assert bool(kept["cuda"]["way_out"]) is bool(code)
    assert kept["dependencies"]["serving"]["reasons"]


def test_the_bundled_model_has_no_row_for_serving() -> None:
    assert "served by" not in report.plan(plan.make(bare(), spec.Spec()), Path("run"))


@pytest.mark.parametrize(("lock", "package", "held"), PAIRS)
def test_what_the_choice_believes_of_a_lock_is_in_it(lock: str, package: str, held: str) -> None:
    pins = {pin.name: pin.version for pin in text.parse((LOCKFILES / f"{lock}.txt").read_text()).pins}
    assert pins[package] == held or pins[package].startswith(f"{held}."), pins[package]


def test_every_way_the_chain_is_asked_has_a_table() -> None:
    """The precisions of the table are names that `provision fit` knows."""
    from provision.fit.precision import PRECISIONS

    named = {name for row in hardware.precisions() for name in row.precisions}
    assert named - {"gguf"} <= set(PRECISIONS)
    assert not [row for row in hardware.precisions() if row.last and older(row.last, row.first)]
    assert builds.covers(("9.0",), "9.0") and accelerator.sm("9.0") == "sm_90"
