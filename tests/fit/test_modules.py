"""What a checkpoint's list of modules, torch's allocator and the engine's version do to the size of weights and cache."""

from __future__ import annotations

from typing import Any

import pytest

from provision.catalog import published
from provision.fit import accounting, modules, question
from provision.fit.allocator import added
from provision.fit.architecture import architecture
from provision.fit.cache import cache, token_bytes
from provision.fit.forecast import Asked, forecast
from provision.fit.parallel import Parallel, per_gpu
from provision.fit.precision import of_config, weight_bytes
from provision.fit.weights import weights

GIB, MIB = 2**30, 2**20


def engine(version: str = "", name: str = "vllm", card: str = "H100", gib: float = 79.18) -> accounting.Accounting:
    return accounting.of(name, version or None, card_name=card, card_bytes=int(gib * GIB), length=8192, tp=4)


@pytest.mark.parametrize(
    "size, allocated, reserved",
    [(9.5, 0, 0), (24, 0, 0), (24.5, 0, 1.5), (25, 1, 1), (25.5, 0.5, 0.5), (259, 1, 1)],
)
def test_the_allocator_keeps_what_is_left_of_a_step(size: float, allocated: float, reserved: float) -> None:
    assert added(size * MIB, "allocated") == allocated * MIB
    assert added(size * MIB, "reserved") == reserved * MIB
    assert added(size * MIB, "tensors") == 0


@pytest.mark.parametrize(
    "name, tp, layers, mib",
    [("deepseek-ai/DeepSeek-R1-Distill-Qwen-14B", 2, 48, 3.5), ("Qwen/Qwen2.5-7B-Instruct", 1, 28, 2.0)],
)
def test_query_key_and_value_are_one_tensor(name: str, tp: int, layers: int, mib: float) -> None:
    # 13.9476 GiB are printed (vllm issue 13061), and 14.2487
    found = question.model(name, None, None)
    plain, kept = (
        per_gpu(found.shapes, found.listed, found.precision, Parallel(tp=tp), counted=way)
        for way in ("tensors", "allocated")
    )
    assert (kept - plain) / layers / MIB == pytest.approx(mib, abs=0.05)


MODELOPT = {"quant_method": "modelopt", "quant_algo": "NVFP4", "kv_cache_quant_algo": "FP8"}
MIXED = {
    "quant_method": "modelopt",
    "ignore": ["model.visual*"],
    "config_groups": {
        "a": {"targets": ["model.layers.*.self_attn.q_proj"], "weights": {"num_bits": 8, "type": "float"}},
        "b": {"targets": ["lm_head", "*.mlp.experts"], "weights": {"num_bits": 4, "type": "float", "group_size": 16}},
    },
    "quant_algo": "NVFP4",
}


@pytest.mark.parametrize(
    "given, family, module, kind",
    [
        ({"exclude_modules": ["model.layers.*.self_attn.q_a_proj"]}, "deepseek_v3", "self_attn.q_a_proj", "none"),
        ({"exclude_modules": ["model.layers.*.self_attn.q_a_proj"]}, "deepseek_v3", "self_attn.q_b_proj", None),
        ({"ignore": ["re:.*self_attn.*"]}, "kimi_k2", "self_attn.o_proj", "none"),
        ({"ignore": ["re:("]}, "kimi_k2", "self_attn.o_proj", None),
        ({"ignore": [f"model.layers.{at}.mlp.down_proj" for at in range(3)]}, "llama", "mlp.down_proj", "none"),
        ({"ignore": ["model.layers.0.mlp.down_proj"]}, "llama", "mlp.down_proj", None),
        ({"modules_to_not_convert": ["self_attn", "gate"]}, "qwen3_moe", "self_attn.k_proj", "none"),
        ({"modules_to_not_convert": ["self_attn", "gate"]}, "qwen3_moe", "mlp.gate_proj", None),
        ({"ignore": ["model.layers.*.block_sparse_moe*"]}, "minimax_m2", "experts", "none"),
        ({"ignore": ["model.language_model.layers.*.mlp*"]}, "gemma4_text", "experts", None),
        ({"ignore": ["model.language_model.layers.*.mlp*"]}, "gemma4_text", "mlp.gate_proj", "none"),
        ({"ignore": ["backbone.layers.*.mixer.in_proj"]}, "nemotron_h", "mixer.in_proj", "none"),
        (MIXED, "qwen3_5_moe_text", "self_attn.q_proj", "fp8"),
        (MIXED, "qwen3_5_moe_text", "experts", "nvfp4"),
        (MIXED, "qwen3_5_moe_text", "self_attn.o_proj", "none"),
        (MIXED, "qwen3_5_moe_text", "lm_head", "nvfp4"),
    ],
)
def test_modules_have_a_precision_of_their_own(
    given: dict[str, Any], family: str, module: str, kind: str | None
) -> None:
    assert dict(modules.apart(given, family)).get(module) == kind


def test_a_module_that_is_left_keeps_its_16_bit() -> None:
    row = published.find("nvidia/DeepSeek-V3.1-NVFP4")
    precision, shapes = of_config(row.config), architecture(row.config)
    by_module = {one.module: one for one in weights(shapes) if one.layer == 10}
    left, packed = by_module["self_attn.q_b_proj"], by_module["self_attn.o_proj"]
    assert weight_bytes(left, precision, 2) == 2 * left.elements
    assert weight_bytes(packed, precision, 2) == pytest.approx(4.5 / 8 * packed.elements, rel=1e-4)


def test_nvfp4_by_word_is_what_nvidia_published_of_the_family() -> None:
    found = question.model("Qwen/Qwen3.8-27B", "nvfp4", None)
    assert dict(found.precision.modules)["self_attn.q_proj"] == "fp8"
    assert any("nvidia/Qwen3.6-27B-NVFP4" in one for one in found.assumed)
    assert found.precision.cache == ""
    assert question.model("Qwen/Qwen3.8-27B", "modelopt nvfp4", None).precision.cache == "fp8"


@pytest.mark.parametrize(
    "given, kind",
    [
        (MODELOPT, "fp8"),
        ({"kv_cache_scheme": {"num_bits": 8, "type": "float"}}, "fp8"),
        ({"kv_cache_scheme": None}, ""),
        ({"kv_cache_scheme": {"num_bits": 4, "type": "float"}}, ""),
    ],
)
def test_the_cache_that_a_checkpoint_asks_for(given: dict[str, Any], kind: str) -> None:
    assert modules.cached(given) == kind


@pytest.mark.parametrize("version, bytes_a_token", [("0.13.0", 2), ("0.14.0", 1)])
def test_an_automatic_cache_is_the_checkpoints_since_0_14(version: str, bytes_a_token: int) -> None:
    found = question.model("nvidia/Llama-3.1-70B-Instruct-FP8", None, None)
    asked = Asked(card_bytes=141 * GIB, parallel=Parallel())
    made = forecast(found.shapes, found.listed, found.precision, asked, engine(version))
    assert made.cache.bytes_per_token == 80 * 8 * 128 * 2 * bytes_a_token


@pytest.mark.parametrize("version, bits", [("0.9.1", 4 + 8 / 64 + 32 / (64 * 256)), ("0.9.2", 4.5)])
def test_bitsandbytes_scales_are_flat_since_0_9_2(version: str, bits: float) -> None:
    found = question.model("microsoft/phi-4", "bitsandbytes", None)
    asked = Asked(card_bytes=79 * GIB, parallel=Parallel())
    held = forecast(found.shapes, found.listed, found.precision, asked, engine(version)).weights_bytes
    linear = sum(one.elements for one in found.listed if one.kind == "linear")
    plain = sum(one.elements for one in found.listed if one.kind != "linear")
    assert held == pytest.approx(linear * bits / 8 + 2 * plain, rel=0.01)


@pytest.mark.parametrize("card, gib", [("A100 80GB", 13.72), ("H100", 13.47)])
def test_cards_before_hopper_pad_experts_for_marlin(card: str, gib: float) -> None:
    found = question.model("openai/gpt-oss-20b", None, None)
    asked = Asked(card_bytes=79 * GIB, parallel=Parallel())
    made = forecast(found.shapes, found.listed, found.precision, asked, engine(card=card))
    assert made.weights_bytes / GIB == pytest.approx(gib, rel=0.002)


@pytest.mark.parametrize("name, gib", [("meta-llama/Llama-3.1-8B", 14.9888), ("Qwen/Qwen3-8B", 15.2683)])
def test_the_table_of_sines_is_counted(name: str, gib: float) -> None:
    found = question.model(name, None, None)
    made = forecast(
        found.shapes, found.listed, found.precision, Asked(card_bytes=79 * GIB, parallel=Parallel()), engine()
    )
    assert made.weights_bytes / GIB == pytest.approx(gib, rel=0.0002)


def test_gemma_4s_full_layers_have_heads_of_their_own() -> None:
    shapes = architecture(published.find("google/gemma-4-26B-A4B").config)
    sliding, full = shapes.layers[0].attention, shapes.layers[5].attention
    assert (sliding.kind, sliding.head_size, sliding.kv_heads) == ("sliding", 256, 8)
    assert (full.kind, full.head_size, full.kv_heads) == ("full", 512, 2)
    assert shapes.layers[0].feed_forward.size == 2112  # beside the experts
    kept = cache(shapes, Parallel(), "fp8", engine("0.19.0"), batched=8192)
    # 81.8 GiB hold 714,768 tokens (public file 55030088468)
    assert kept.tokens(int(81.8 * GIB), 262144) == pytest.approx(714768, rel=0.0005)
    assert {group[3] for group in kept.groups} == {16, 32}


def test_layers_that_share_a_cache_keep_none() -> None:
    shapes = architecture(published.find("google/gemma-4-E4B-it").config)
    kept = [token_bytes(layer.attention, 1, 2.0) > 0 for layer in shapes.layers]
    assert kept == [True] * 24 + [False] * 18
    second = [one for one in weights(shapes) if one.kind == "embedding"]
    assert [one.columns for one in second] == [2560, 42 * 256]


@pytest.mark.parametrize(
    "card, gib, missing", [("H200", 139.81, 2.2), ("RTX 3090", 23.58, 0.6), ("143 GiB card", 143, 2.2)]
)
def test_sglang_counts_what_is_free_after_the_links_are_up(card: str, gib: float, missing: float) -> None:
    assert engine("0.5.10", "sglang", card, gib).context_bytes / GIB == pytest.approx(missing, abs=0.01)
