"""``provision fit`` as a user meets it: the verdict, its reasons, what would fit, exit codes, bad input."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from provision.cli import main
from provision.fit.accounting import Accounting
from provision.fit.architecture import Architecture
from provision.fit.working import Range, activation, graphs, non_torch

GIB = 2**30
BUNDLED = Path(__file__).parents[2] / "provision/payload/smoke/model"
CONTRACT = {
    "weights_bytes", "activation_bytes", "non_torch_bytes", "cuda_graph_bytes", "kv_bytes_per_token", "kv_cache_bytes",
    "kv_cache_tokens", "max_concurrency", "fits", "why", "engine_args", "alternatives",
}  # fmt: skip


def ask(*options: str) -> Result:
    return CliRunner().invoke(main, ["fit", *options])


def document(*options: str) -> dict[str, Any]:
    done = ask(*options, "--json")
    assert done.exit_code in (0, 1), done.output
    read: dict[str, Any] = json.loads(done.stdout)
    return read


def test_the_readmes_question_is_answered() -> None:
    done = ask("--model", "R1-Distill-Qwen-32B", "--gpu", "RTX 4090", "--gpus", "2", "--users", "8")
    assert done.exit_code == 1
    assert "does not fit" in done.stdout
    assert "too little for the weights alone" in done.stdout
    assert "weights in awq" in done.stdout
    assert "taken as deepseek-ai/DeepSeek-R1-Distill-Qwen-32B" in done.stdout


def test_the_document_has_what_the_contract_promises() -> None:
    said = document("--model", "deepseek-ai/DeepSeek-R1-Distill-Qwen-14B", "--gpu", "RTX 4090", "--gpus", "2", "--tp", "2",
                    "--pp", "1", "--dp", "1", "--dtype", "bfloat16", "--quantization", "none", "--kv-cache-dtype", "auto",
                    "--gpu-memory-utilization", "0.9", "--max-model-len", "8192", "--max-num-seqs", "256",
                    "--max-num-batched-tokens", "8192", "--engine", "vllm==0.11.0")  # fmt: skip
    assert said.keys() >= CONTRACT
    assert said["fits"] is True
    parts = said["weights_bytes"] + said["activation_bytes"] + said["non_torch_bytes"] + said["kv_cache_bytes"]
    assert parts == said["usable_bytes"]  # 0.11 takes no graphs off
    assert said["kv_cache_tokens"] == said["kv_cache_bytes"] // (16 * said["kv_bytes_per_token"]) * 16
    assert said["max_concurrency"] == round(said["kv_cache_tokens"] / 8192, 2)
    assert "--tensor-parallel-size" in said["engine_args"]


def test_measured_terms_take_the_place_of_estimates() -> None:
    # llm-d's table, Llama-3.1-8B on one H100: 14.99 + 4.76 + 0.13 of 79.18 x 0.9 leave 51.38 GiB
    said = document("--model", "meta-llama/Llama-3.1-8B", "--gpu-memory-gib", "79.18", "--gpu-memory-utilization", "0.9",
                    "--max-model-len", "16000", "--activation-gib", "4.76", "--non-torch-gib", "0.13",
                    "--engine", "vllm==0.11.0")  # fmt: skip
    assert said["kv_cache_bytes"] / GIB == pytest.approx(51.38, rel=0.001)
    assert said["range"]["activation_bytes"] == [said["activation_bytes"]] * 2


@pytest.mark.parametrize("version, counted", [("0.19.0", False), ("0.20.0", True)])
def test_graphs_are_taken_off_from_the_version_that_does(version: str, counted: bool) -> None:
    said = document("--model", "Qwen/Qwen3-8B", "--gpu", "RTX 4090", "--engine", f"vllm=={version}")
    rest = said["usable_bytes"] - said["weights_bytes"] - said["activation_bytes"] - said["non_torch_bytes"]
    assert rest - said["kv_cache_bytes"] == (said["cuda_graph_bytes"] if counted else 0)


def test_a_cache_that_is_never_sized_is_null_not_zero() -> None:
    said = document("--model", "meta-llama/Llama-3.1-70B", "--gpu", "RTX 4090")
    assert (said["fits"], said["kv_cache_bytes"], said["kv_cache_tokens"], said["max_concurrency"]) == (
        False,
        None,
        None,
        None,
    )


def test_a_missing_remainder_is_negative_as_the_engine_prints_it() -> None:
    # llm-d's table: Llama-3.3-70B-FP8 on one H100 prints -1.44 GiB
    said = document(
        *("--model", "RedHatAI/Llama-3.3-70B-Instruct-FP8-dynamic", "--gpu", "H100", "--max-model-len", "16000"),
        *("--engine", "vllm==0.11.0"),
    )
    assert said["fits"] is False
    assert -3 * GIB < said["kv_cache_bytes"] < 0


@pytest.mark.parametrize("users, code", [(1, 0), (100_000, 1)])
def test_users_are_requests_that_must_fit_at_once(users: int, code: int) -> None:
    done = ask("--model", "Qwen/Qwen3-8B", "--gpu", "RTX 4090", "--max-model-len", "8192", "--users", str(users))
    assert done.exit_code == code


def test_replicas_share_the_users() -> None:
    common = ("--model", "Qwen/Qwen3-8B", "--gpu", "RTX 4090", "--max-model-len", "8192")
    alone = document(*common, "--users", "4")
    assert alone["fits"] and not document(*common, "--users", "5")["fits"]
    two = (*common, "--gpus", "2", "--tp", "1", "--dp", "2")
    shared = document(*two, "--users", "8")
    assert shared["fits"] and not document(*two, "--users", "9")["fits"]
    assert "4 requests on each of 2 replicas" in " ".join(shared["why"])


@pytest.mark.parametrize("length, fits", [(8192, True), (131072, False)])
def test_the_asked_context_decides(length: int, fits: bool) -> None:
    said = document("--model", "meta-llama/Llama-3.1-8B", "--gpu", "RTX 4090", "--max-model-len", str(length))
    assert said["fits"] is fits
    assert any("context of" in one["change"] for one in said["alternatives"]) is not fits


def test_every_alternative_fits_when_it_is_asked_for() -> None:
    common = ("--model", "deepseek-ai/DeepSeek-R1-Distill-Qwen-32B", "--gpu", "RTX 4090", "--max-model-len", "8192")
    said = document(*common, "--gpus", "2")
    tried = 0
    for one in said["alternatives"]:
        if one["change"].startswith("weights in "):
            again = document(*common, "--gpus", "2", "--quantization", one["precision"])
        elif one["change"].endswith(" of these cards"):
            again = document(*common, "--gpus", str(one["gpus"]))
        else:
            continue
        assert again["fits"], one
        assert again["kv_cache_tokens"] == one["kv_cache_tokens"]
        tried += 1
    assert tried >= 3


def test_a_precision_is_offered_only_to_a_card_that_runs_it() -> None:
    def offered(card: str) -> set[str]:
        said = document("--model", "deepseek-ai/DeepSeek-R1-Distill-Qwen-32B", "--gpu", card, "--max-model-len", "4096")
        return {one["precision"] for one in said["alternatives"] if one["change"].startswith("weights in")}

    assert "nvfp4" not in offered("RTX 4090")
    assert "nvfp4" in offered("RTX 5090")
    assert offered("V100 16GB") == set()


def test_where_nothing_alone_helps_precision_and_cards_together_are_offered() -> None:
    said = document("--model", "meta-llama/Llama-3.1-405B", "--gpu", "RTX 4090", "--max-model-len", "8192")
    assert [one["change"] for one in said["alternatives"]] == [
        "weights in awq (another checkpoint) on 16 of these cards"
    ]


def test_without_an_asked_context_the_longest_is_named_and_passed() -> None:
    said = document("--model", "meta-llama/Llama-3.1-8B", "--gpu", "RTX 4090")
    assert said["fits"]
    assert 2048 < said["max_model_len"] < 131072
    assert said["engine_args"] == ["--max-model-len", str(said["max_model_len"])]
    again = document(
        "--model", "meta-llama/Llama-3.1-8B", "--gpu", "RTX 4090", "--max-model-len", str(said["max_model_len"])
    )
    assert again["fits"]


def test_a_state_for_every_request_bounds_their_number() -> None:
    # vllm recipes issue 831: max_num_seqs (1024) exceeds available Mamba cache blocks (939); 1,120 by these estimates
    common = ("--model", "Qwen/Qwen3.8-27B-FP8", "--gpu", "RTX PRO 6000 Blackwell Max-Q")
    refused = document(*common, "--max-num-seqs", "1300")
    assert refused["fits"] is False
    assert any("cache blocks are too few for 1300" in one for one in refused["why"])
    assert document(*common, "--max-num-seqs", "256")["fits"] is True


def test_sglang_has_options_of_its_own() -> None:
    said = document("--model", "deepseek-ai/DeepSeek-R1", "--gpu", "H200", "--gpus", "8", "--engine", "sglang",
                    "--gpu-memory-utilization", "0.82")  # fmt: skip
    assert said["engine_args"][:4] == ["--tp-size", "8", "--mem-fraction-static", "0.82"]
    # aisimulate PR 263: about 509,000 tokens observed
    assert said["kv_cache_tokens"] == pytest.approx(509_000, rel=0.05)


def test_what_an_engine_divides_in_a_way_of_its_own_is_not_counted() -> None:
    said = document("--model", "deepseek-ai/DeepSeek-V4-Flash", "--gpu", "L20", "--gpus", "8", "--engine", "sglang")
    assert (said["kv_cache_tokens"], said["max_concurrency"]) == (None, None)
    assert said["kv_cache_bytes"] > 0


def test_a_folder_is_read_and_its_name_shown() -> None:
    said = document("--model", str(BUNDLED), "--gpu", "RTX 4090")
    assert said["fits"]
    assert said["model"] == "model"
    assert said["source"].startswith("1 files in")


@pytest.mark.parametrize(
    "options, says",
    [
        (("--model", "deepseek-ai/DeepSeek-V33", "--gpu", "H200"), "DeepSeek-V3"),
        (("--model", "/nowhere/at/all", "--gpu", "H200"), "no such folder"),
        (("--model", "Qwen/Qwen3-8B", "--gpu", "RTX 4099"), "RTX 40"),
        (("--model", "Qwen/Qwen3-8B", "--gpu", "H200", "--engine", "ollama"), "vllm, sglang"),
        (("--model", "Qwen/Qwen3-8B", "--gpu", "H200", "--gpus", "4", "--tp", "2"), "takes 2"),
        (("--model", "Qwen/Qwen3-8B", "--gpu", "H200", "--tp", "3"), "cannot be divided by 3"),
        (("--model", "Qwen/Qwen3-8B", "--gpu", "H200", "--quantization", "exl3"), "'exl3' is not known"),
        (("--model", "Qwen/Qwen3-8B", "--gpu-memory-gib", "0"), "GiB"),
        (("--model", "Qwen/Qwen3-8B", "--gpu", "H200", "--kv-cache-dtype", "fp12"), "--kv-cache-dtype"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_two(options: tuple[str, ...], says: str) -> None:
    done = ask(*options)
    assert done.exit_code == 2
    assert says in done.stderr
    assert done.stdout == ""


@pytest.mark.parametrize(
    "changes, says",
    [
        ({"num_hidden_layers": -1}, "num_hidden_layers"),
        ({"num_hidden_layers": 10**9}, "1 to 1000 layers"),
        ({"hidden_size": "wide"}, "hidden_size"),
        ({"hidden_size": None}, "no hidden_size"),
        ({"num_attention_heads": 0}, "num_attention_heads"),
        ({"quantization_config": {"quant_method": "x" * 10_000}}, "quant_method"),
    ],
)
def test_a_configuration_that_makes_no_sense_is_refused(tmp_path: Path, changes: dict[str, Any], says: str) -> None:
    shutil.copy(BUNDLED / "model.safetensors", tmp_path)
    config = json.loads((BUNDLED / "config.json").read_text()) | changes
    if "num_attention_heads" in changes:
        del config["kv_lora_rank"]
    (tmp_path / "config.json").write_text(json.dumps(config))
    done = ask(
        "--model",
        str(tmp_path),
        "--gpu",
        "RTX 4090",
        *(("--quantization", "none") if "quantization_config" in changes else ()),
    )
    if "quantization_config" in changes:  # what is stored is stored: the method's name decides nothing
        assert done.exit_code == 0
        return
    assert done.exit_code == 2, done.output
    assert says in done.stderr
    assert len(done.stderr) < 400


SORTS = Accounting(engine="vllm", version="0.11.0", utilization=0.9, sorts=True)
NEWEST = Accounting(engine="vllm", version="", utilization=0.92, consumed=True, captured=(1, 2, 4))


@pytest.mark.parametrize("batched, peak, graph", [(8192, 2.84, 0.89), (4096, 2.42, 0.52), (2048, 2.21, 0.52)])
def test_a_device_that_counts_what_it_lost_pays_for_the_tower_and_the_step(
    batched: int, peak: float, graph: float
) -> None:
    # vllm issue 52872: a hybrid of 64 layers on one RTX 5090
    from provision.catalog import published
    from provision.fit.architecture import architecture
    from provision.fit.parallel import Parallel

    shapes = architecture(published.find("Qwen/Qwen3.8-27B").config)
    said = activation(shapes, Parallel(), NEWEST, batched=batched, seqs=4)
    assert said.likely / GIB == pytest.approx(peak, rel=0.03)
    assert graphs(shapes, Parallel(), NEWEST, batched).likely / GIB == pytest.approx(graph, rel=0.08)


def test_a_sampler_that_masks_needs_less_than_one_that_sorts() -> None:
    # public file 53366851321: Llama-3.1-8B on an H100 NVL under vLLM 0.19 prints 545,456 tokens
    common = ("--model", "meta-llama/Llama-3.1-8B-Instruct", "--gpu", "H100 NVL", "--max-model-len", "32768")
    masks, sorts = (document(*common, "--engine", f"vllm=={version}") for version in ("0.19.0", "0.16.0"))
    assert masks["kv_cache_tokens"] == pytest.approx(545456, rel=0.01)
    assert masks["kv_cache_bytes"] - sorts["kv_cache_bytes"] > 2.5 * GIB


def test_the_estimates_reproduce_what_was_printed() -> None:
    from provision.catalog import published
    from provision.fit.architecture import architecture
    from provision.fit.parallel import Parallel

    def peak(name: str, seqs: int, batched: int, tp: int = 1) -> float:
        shapes = architecture(published.find(name).config)
        return activation(shapes, Parallel(tp=tp), SORTS, batched=batched, seqs=seqs).likely / GIB

    assert peak("meta-llama/Llama-3.1-8B", 1024, 8192) == pytest.approx(4.76, rel=0.02)  # llm-d's H100 table
    assert peak("openai/gpt-oss-20b", 1024, 8192) == pytest.approx(7.38, rel=0.02)
    assert peak("Qwen/Qwen2.5-7B-Instruct", 256, 3072) == pytest.approx(1.41, rel=0.03)  # weclone issue 101
    assert peak("meta-llama/Meta-Llama-3-8B", 256, 8192, 2) == pytest.approx(1.26, rel=0.1)  # vllm issue 10511


def test_an_estimate_has_a_range_and_a_measurement_has_none() -> None:
    given = Range.given(1.5)
    assert given.low == given.likely == given.high == 1.5 * GIB
    from provision.fit.parallel import Parallel

    for one in (non_torch(Parallel(), SORTS), non_torch(Parallel(tp=2), SORTS)):
        assert one.low < one.likely < one.high


def test_fewer_graphs_take_less() -> None:
    from provision.catalog import published
    from provision.fit.architecture import architecture
    from provision.fit.parallel import Parallel

    shapes = architecture(published.find("Qwen/Qwen3-8B").config)

    def taken(shapes: Architecture, captured: int) -> int:
        engine = dataclasses.replace(SORTS, captured=tuple(range(captured)))
        return graphs(shapes, Parallel(), engine, 2048).likely

    assert taken(shapes, 0) == 0
    assert 0 < taken(shapes, 4) < taken(shapes, 51)
    qwen = architecture(published.find("Qwen/Qwen2.5-7B-Instruct").config)
    assert taken(qwen, 51) / GIB == pytest.approx(0.53, rel=0.25)  # public file 54570340937


MACHINES = Path(__file__).parents[1] / "machines"


def test_without_a_card_those_of_the_machine_count() -> None:
    said = document("--model", "Qwen/Qwen3-8B", "--facts", str(MACHINES / "gpu-h100.json"))
    assert said["fits"]
    assert said["gpu"].startswith("H100")


@pytest.mark.parametrize("machine", ["debian12-bare.json", "gpu-driver-mismatch.json"])
def test_a_machine_without_a_card_that_can_be_asked_needs_one_named(machine: str) -> None:
    done = ask("--model", "Qwen/Qwen3-8B", "--facts", str(MACHINES / machine))
    assert done.exit_code == 2
    assert "--gpu" in done.stderr


@pytest.mark.parametrize("engine", ["vllm", "vllm==0.11.0"])
def test_the_engine_is_named_as_it_was_asked_for(engine: str) -> None:
    assert document("--model", "Qwen/Qwen3-8B", "--gpu", "RTX 4090", "--engine", engine)["engine"] == engine


@pytest.mark.parametrize(
    ("change", "gpu_bytes", "says"),
    [
        ({}, 85_027_979_264, ""),
        (
            {"name": "Foo 9", "memory_bytes": 20 * GIB},
            20 * GIB,
            "",
        ),  # a name that nobody knows, and the driver's memory
        ({"mig_mode": True}, 0, "gpu-h100: GPU 0 is divided by MIG"),
        ({"name": "Foo 9", "memory_bytes": None}, 0, "gpu-h100: Foo 9 is not in the catalogue"),
    ],
)
def test_the_cards_of_a_snapshot_count_as_the_plan_counts_them(
    tmp_path: Path, change: dict[str, Any], gpu_bytes: int, says: str
) -> None:
    facts = json.loads((Path(__file__).parents[1] / "machines/gpu-h100.json").read_text())
    facts["facts"]["Gpus"]["known"]["gpus"][0] |= change
    (tmp_path / "facts.json").write_text(json.dumps(facts))
    done = ask("--model", "Qwen/Qwen3-8B", "--facts", str(tmp_path / "facts.json"), "--json")
    if says:
        assert (done.exit_code, done.stdout) == (2, "") and says in done.stderr
    else:
        assert (json.loads(done.stdout)["gpu_bytes"], done.exit_code) == (gpu_bytes, 0)
