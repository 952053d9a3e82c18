"""MEM030-034 and STO080, the planned model on the cards and disks that are here: both sides of every threshold."""

from __future__ import annotations

import shlex
from typing import Any

import pytest

from provision.fact import Absent, Missing, Snapshot
from provision.facts.caches import CacheFolder, CacheFolders
from provision.facts.disks import Mount, Mounts
from provision.facts.gpus import Gpu, Gpus
from provision.facts.memory import Memory
from provision.facts.models import ModelFiles, ModelFolder
from provision.plan import CardUse, GpuMemory, Serving
from provision.plan.gpu_memory import serving
from provision.spec import ModelSpec, Spec

GIB = 1 << 30
MODEL = "deepseek-ai/DeepSeek-R1-Distill-Qwen-32B"
FIT = f"provision fit --model {MODEL} --gpus 2 --tp 2"
CODES = ("MEM030", "MEM031", "MEM032", "MEM033", "MEM034", "STO080")


@pytest.fixture
def planned(a: Any) -> Any:
    """The plan's section with the healthy serving, and what a test changes of it or of its card."""

    def make(use: dict[str, Any] | None = None, **changes: Any) -> GpuMemory:
        serving = a(Serving, **{"card": a(CardUse, **(use or {})), **changes})
        return a(GpuMemory, serving=serving)  # type: ignore[no-any-return]

    return make


@pytest.mark.parametrize("code", CODES)
def test_the_bundled_model_is_not_judged_and_one_that_could_not_be_is_unknown(
    a: Any, run_check: Any, planned: Any, code: str
) -> None:
    bundled = run_check(code, {Gpus: Missing("no answer in 2 s")})
    assert (bundled.outcome, bundled.reason) == ("skipped", "provision.toml plans no model but the bundled one")
    silent = run_check(code, a(GpuMemory, unserved="no answer in 2 s"), {Gpus: Missing("no answer in 2 s")})
    assert (silent.outcome, silent.reason) == ("unknown", "no answer in 2 s")
    divided = run_check(code, a(GpuMemory, unserved="GPU 0 is divided by MIG"))
    assert (divided.outcome, divided.reason) == ("unknown", "GPU 0 is divided by MIG")
    none = run_check(code, a(GpuMemory, unserved="no card"), {Gpus: Absent("no NVIDIA card")})
    assert (none.outcome, none.reason) == ("skipped", "no NVIDIA card")
    assert run_check(code, planned()).outcome == "ok"


@pytest.mark.parametrize(
    ("weights", "high", "outcome", "severity"),
    [
        (72 * GIB - 1, GIB, "ok", "error"),
        (72 * GIB, -1, "found", "error"),
        (72 * GIB, 0, "found", "warning"),
    ],
)
def test_mem030_wants_the_weights_inside_the_share(
    run_check: Any, planned: Any, weights: int, high: int, outcome: str, severity: str
) -> None:
    result = run_check("MEM030", planned({"weights_bytes": weights, "cache_high_bytes": high}))
    assert (result.outcome, result.severity) == (outcome, severity)
    if outcome == "found":
        (finding,) = result.findings
        assert finding.message == (
            f"{MODEL} in 16 bit takes 72.0 GiB on each of 2 GPUs; vllm==0.33.0 may use 72.0 GiB of "
            "the 80.0 GiB of NVIDIA H100 80GB HBM3"
        )
        assert finding.fix == (FIT, "or: weights in fp8", "or: weights in awq")
        assert bool(finding.tell_apart) == (severity == "warning")
    assert run_check("MEM031", planned({"weights_bytes": weights})).outcome == (
        "skipped" if outcome == "found" else "ok"
    )


@pytest.mark.parametrize(
    ("low", "likely", "high", "outcome", "certainty"),
    [
        (16, 20, 24, "ok", ""),
        (16 - 2**-30, 20, 24, "found", "possible"),
        (10, 16, 24, "found", "possible"),
        (10, 16 - 2**-30, 24, "found", "likely"),
        (10, 12, 16, "found", "likely"),
        (10, 12, 16 - 2**-30, "found", "certain"),
    ],
)
def test_mem031_wants_the_cache_to_hold_the_users(
    run_check: Any, planned: Any, low: float, likely: float, high: float, outcome: str, certainty: str
) -> None:
    """The cache is needed whole: 16 GiB."""
    card = {"cache_low_bytes": low, "cache_bytes": likely, "cache_high_bytes": high}
    result = run_check("MEM031", planned({name: int(value * GIB) for name, value in card.items()}))
    assert result.outcome == outcome
    if outcome == "found":
        (finding,) = result.findings
        assert finding.certainty == certainty
        assert result.severity == ("error" if certainty == "certain" else "warning")
        assert bool(finding.tell_apart) == (certainty != "certain")


def test_mem031_says_what_is_left_and_what_is_needed(run_check: Any, planned: Any) -> None:
    card = {"cache_low_bytes": -3 * GIB, "cache_bytes": GIB, "cache_high_bytes": 2 * GIB}
    (finding,) = run_check("MEM031", planned(card)).findings
    assert finding.message == (
        f"{MODEL} in 16 bit leaves 0 KiB to 2.0 GiB on each of 2 GPUs for the cache; "
        "8 requests of 16,384 tokens need 16.0 GiB"
    )
    (one,) = run_check("MEM031", planned({**card, "users": 1})).findings
    assert one.message.endswith("1 request of 16,384 tokens needs 16.0 GiB")
    (alone,) = run_check("MEM031", planned(card, tp=1)).findings
    assert "leaves 0 KiB to 2.0 GiB on one GPU for the cache" in alone.message


@pytest.mark.parametrize("code", ["MEM030", "MEM031", "MEM034"])
def test_a_hostile_name_is_one_word_of_the_command(a: Any, run_check: Any, planned: Any, code: str) -> None:
    card = {"cache_high_bytes": -1, "cache_low_bytes": -2} | ({"weights_bytes": 72 * GIB} if code == "MEM030" else {})
    (finding,) = run_check(
        code, planned(card, model="a; $(id) '", question=("--model", "a; $(id) '")), a(Memory, limit_bytes=1)
    ).findings
    words = shlex.split(finding.fix[0], comments=True)
    assert words[words.index("--model") + 1] == "a; $(id) '"


@pytest.mark.parametrize(("refused", "found"), [("", 0), ("tp 3: 40 attention heads cannot be divided by 3", 1)])
def test_mem032_wants_a_split_that_divides(
    messages: Any, run_check: Any, planned: Any, refused: str, found: int
) -> None:
    plan = planned(refused=refused, **({"card": None} if refused else {}))
    assert messages("MEM032", plan) == [f"{MODEL}: tp 3: 40 attention heads cannot be divided by 3"] * found
    for code in ("MEM030", "MEM031"):
        assert run_check(code, plan).outcome == ("skipped" if found else "ok")


@pytest.mark.parametrize(("here", "found"), [(4, 0), (3, 1), (1, 1)])
def test_mem033_counts_the_cards(messages: Any, planned: Any, here: int, found: int) -> None:
    said = messages("MEM033", planned(tp=2, pp=2, dp=1, gpus=here))
    assert said == [f"tp 2 x pp 2 x dp 1 takes 4 GPUs; {here} {'is' if here == 1 else 'are'} here"] * found


@pytest.mark.parametrize(
    ("code", "card", "number", "wanted"),
    [
        # vllm issue 18156: out of memory while the weights are loaded
        ("MEM030", "NVIDIA A10", 4, {"name": "cognitivecomputations/Qwen3-235B-A22B-AWQ", "tp": 4}),
        # Qwen3 issue 16: "The model's max seq len (32768) is larger than the maximum number of tokens … (24320)"
        ("MEM031", "NVIDIA GeForce RTX 3090", 1, {"name": "Qwen/Qwen1.5-7B-Chat-GPTQ-Int4", "context": 32768}),
        # vllm issue 11147: "Total number of attention heads (64) must be divisible by tensor parallel size (6)"
        ("MEM032", "NVIDIA RTX A6000", 6, {"name": "meta-llama/Llama-3.1-70B", "tp": 6}),
    ],
    ids=["MEM030", "MEM031", "MEM032"],
)
def test_what_stopped_an_engine_elsewhere_is_said_beforehand(
    a: Any, run_check: Any, code: str, card: str, number: int, wanted: dict[str, Any]
) -> None:
    """The documented cases of fired.toml, from the machine and the request alone; and that the next wider split is fine."""
    engine = "vllm==0.3.0" if code == "MEM031" else "vllm==0.8.5"
    for asked, cards, outcome in ((wanted, number, "found"), ({**wanted, "tp": 8, "context": 4096}, 8, "ok")):
        gpus = a(Gpus, gpus=tuple(a(Gpu, name=card, index=index) for index in range(cards)))
        spec = Spec(model=ModelSpec(engine=engine, **asked))
        served = serving.desire(Snapshot("m", {"Gpus": gpus}, "0"), spec)
        assert isinstance(served, Serving)
        assert run_check(code, gpus, a(GpuMemory, serving=served)).outcome == outcome
        assert run_check("MEM033", gpus, a(GpuMemory, serving=served)).outcome == "ok"


@pytest.mark.parametrize(("memory", "found"), [(61 * GIB, 0), (61 * GIB - 1, 1)])
def test_mem034_wants_the_files_in_main_memory(a: Any, messages: Any, planned: Any, memory: int, found: int) -> None:
    said = messages("MEM034", planned(), a(Memory, limit_bytes=memory))
    assert said == [f"{MODEL} takes 61.0 GiB on disk; the main memory is 61.0 GiB"] * found


@pytest.mark.parametrize(
    ("free", "held", "outcome", "certainty"),
    [
        (61 * GIB, 0, "ok", ""),
        (61 * GIB - 1, 0, "found", "certain"),
        (50 * GIB, 11 * GIB - 1, "found", "certain"),
        (50 * GIB, 11 * GIB, "found", "possible"),
    ],
)
def test_sto080_wants_room_for_the_planned_model(
    a: Any, run_check: Any, planned: Any, free: int, held: int, outcome: str, certainty: str
) -> None:
    files = a(ModelFiles, folders=(a(ModelFolder, bytes=held),)) if held else Absent("no model is in the usual folders")
    mounts = a(Mounts, mounts=(a(Mount, free_bytes=free),))
    result = run_check("STO080", planned(), mounts, {ModelFiles: files})
    assert result.outcome == outcome
    if outcome == "found":
        (finding,) = result.findings
        assert finding.certainty == certainty
        assert finding.message.startswith(f"{MODEL} takes 61.0 GiB on disk; /root/.cache/huggingface has ")
    assert run_check("STO080", planned(here=True), mounts).outcome == "skipped"


@pytest.mark.parametrize(
    "files",
    [Missing("not looked"), {"whole": False}, {"not_seen": ("/srv: no answer",)}],
    ids=["missing", "part", "dark"],
)
def test_sto080_is_not_certain_where_the_folder_was_not_seen_whole(
    a: Any, run_check: Any, planned: Any, files: Any
) -> None:
    if isinstance(files, dict):
        folder = a(ModelFolder, bytes=1, **({"whole": False} if "whole" in files else {}))
        files = a(ModelFiles, folders=(folder,), not_seen=files.get("not_seen", ()))
    result = run_check("STO080", planned(), a(Mounts, mounts=(a(Mount, free_bytes=1),)), {ModelFiles: files})
    assert [one.certainty for one in result.findings] == ["possible"]


def test_sto080_looks_where_there_is_most_room_and_before_that_where_caches_are(
    a: Any, run_check: Any, planned: Any
) -> None:
    small, large = a(Mount, free_bytes=GIB), a(Mount, mount_point="/srv", free_bytes=61 * GIB)
    both = a(CacheFolders, folders=(a(CacheFolder), a(CacheFolder, path="/srv/models")))
    assert run_check("STO080", planned(), both, a(Mounts, mounts=(small, large))).outcome == "ok"
    cache = a(CacheFolders, folders=(a(CacheFolder, path="/root/.cache", purpose="compiled"),))
    (finding,) = run_check("STO080", planned(), cache, a(Mounts, mounts=(small,))).findings
    assert "/root/.cache has 1.0 GiB free" in finding.message
    other = a(CacheFolders, folders=(a(CacheFolder, path="/tmp", purpose="temporary"),))
    assert run_check("STO080", planned(), other).outcome == "skipped"
    dead = a(Mounts, mounts=(a(Mount, free_bytes=None, unreachable="no answer in 2 s"),))
    assert run_check("STO080", planned(), dead).reason == "/: no answer in 2 s"
