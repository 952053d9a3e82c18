"""Weights by arithmetic against the totals of published checkpoints, the bundled model's own tensors, and printed figures."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from provision.catalog import published
from provision.errors import UsageError
from provision.fit import precision as precisions
from provision.fit import question
from provision.fit.architecture import architecture
from provision.fit.parallel import Parallel, per_gpu, refuse, share, stages
from provision.fit.precision import PRECISIONS, named, of_config, weight_bytes
from provision.fit.weights import Weight, weights

GIB = 2**30
BUNDLED = Path(__file__).parents[2] / "provision/payload/smoke/model"

# Parameters of the published checkpoints, as the model hub or the paper states them to the unit.
TOTALS = {
    "deepseek-ai/deepseek-llm-7b-base": 6_910_365_696,
    "deepseek-ai/DeepSeek-V2-Lite": 15_706_484_224,
    "deepseek-ai/DeepSeek-V2": 235_741_434_880,
    "deepseek-ai/DeepSeek-R1-Distill-Qwen-32B": 32_763_876_352,
    "Qwen/Qwen2.5-0.5B-Instruct": 494_032_768,
    "Qwen/Qwen3-30B-A3B": 30_532_122_624,
    "Qwen/Qwen3-235B-A22B": 235_093_634_560,
    "meta-llama/Llama-3.1-8B": 8_030_261_248,
    "meta-llama/Llama-3.2-1B": 1_235_814_400,
    "meta-llama/Llama-3.1-405B": 405_853_388_800,
    "openai/gpt-oss-20b": 20_914_757_184,
}


def elements(name: str) -> int:
    shapes = architecture(published.find(name).config)
    return sum(one.elements for one in weights(shapes) if not one.derived and not one.draft)


@pytest.mark.parametrize("name, total", TOTALS.items())
def test_parameters_are_those_of_the_checkpoint(name: str, total: int) -> None:
    assert elements(name) == pytest.approx(total, rel=1e-5)


def test_the_bundled_models_tensors_are_those_of_the_arithmetic() -> None:
    read = question.model(str(BUNDLED), None, None)
    computed = weights(read.shapes)
    # the router's correction bias (8 in each of two layers) is the one tensor that no configuration mentions
    assert sum(one.elements for one in read.listed) == sum(one.elements for one in computed) + 16
    assert per_gpu(read.shapes, read.listed, PRECISIONS["none"], Parallel()) == pytest.approx(
        per_gpu(read.shapes, computed, PRECISIONS["none"], Parallel()), abs=16 * 4 + 1
    )


@pytest.mark.parametrize("tp", [1, 2, 4])
def test_a_folder_is_divided_as_the_arithmetic_divides_it(tp: int) -> None:
    read = question.model(str(BUNDLED), None, None)
    by_name = per_gpu(read.shapes, read.listed, PRECISIONS["none"], Parallel(tp=tp))
    by_shape = per_gpu(read.shapes, weights(read.shapes), PRECISIONS["none"], Parallel(tp=tp))
    assert by_name == pytest.approx(by_shape, abs=16 * 4 + 1)


# (model, precision, tp, GiB that "Model loading took"): vllm issues 10511, 12126's neighbours, 15815, 17469; llm-d's table
PRINTED = [
    ("meta-llama/Meta-Llama-3-8B", "none", 2, 7.48),
    ("Qwen/Qwen2.5-32B-Instruct", "none", 2, 30.71),
    ("Qwen/Qwen3-30B-A3B", "none", 4, 14.25),
    ("meta-llama/Llama-3.3-70B-Instruct", "fp8", 1, 67.72),
    ("meta-llama/Llama-3.1-8B", "none", 1, 14.99),
    ("Qwen/Qwen3.8-27B", "fp8", 2, 14.28),
    ("openai/gpt-oss-20b", "mxfp4", 1, 13.47),
]


@pytest.mark.parametrize("name, method, tp, gib", PRINTED)
def test_weights_of_a_gpu_are_what_the_engine_printed(name: str, method: str, tp: int, gib: float) -> None:
    found = question.model(name, None if method == "none" else method, None)
    held = per_gpu(found.shapes, found.listed, found.precision, Parallel(tp=tp))
    assert held / GIB == pytest.approx(gib, rel=0.01)


def linear(rows: int = 256, columns: int = 512, **given: Any) -> Weight:
    return Weight(kind="linear", rows=rows, columns=columns, layer=0, **given)


# bits of one weight of a large matrix, by the layouts that the module's docstring names
@pytest.mark.parametrize(
    "method, bits",
    [
        ("none", 16), ("fp8-block", 8 + 32 / 128**2), ("bnb-nf4", 4.5), ("bnb-nf4-double", 4 + 8 / 64 + 32 / (64 * 256)),
        ("gptq-int4", 4 + 16 / 128), ("awq", 4 + 20 / 128), ("int4", 4 + 16 / 128), ("nvfp4", 4.5), ("mxfp4", 4.25),
        ("fp8", 8), ("int8", 8), ("bnb-int8", 8),
    ],
)  # fmt: skip
def test_bits_of_a_quantised_weight(method: str, bits: float) -> None:
    big = linear(8192, 8192)
    assert weight_bytes(big, PRECISIONS[method], 2) * 8 / big.elements == pytest.approx(bits, rel=1e-3)


@pytest.mark.parametrize("kind", ["embedding", "head", "router", "small", "vision"])
@pytest.mark.parametrize("method", ["fp8", "awq", "nvfp4", "bnb-nf4"])
def test_what_a_method_leaves_alone_keeps_its_bytes(kind: Any, method: str) -> None:
    one = dataclasses.replace(linear(), kind=kind)
    assert weight_bytes(one, PRECISIONS[method], 2) == 2 * one.elements


@pytest.mark.parametrize("kind, bits", [("q4_k_xl", 4.89), ("q3_k_xl", 4.30), ("q2_k_xl", 3.16), ("q8_k_xl", 8.5)])
def test_unsloths_large_files_are_about_the_mix_they_are_named_after(kind: str, bits: float) -> None:
    assert named(f"gguf-{kind}").bits == bits


def test_gguf_quantises_the_embedding_too() -> None:
    one = dataclasses.replace(linear(), kind="embedding")
    assert weight_bytes(one, named("gguf-q8_0"), 2) == one.elements * 8.5 / 8


@pytest.mark.parametrize(
    "word, name",
    [
        ("fp8", "fp8"), ("fp8 (Marlin weight-only)", "fp8"), ("fp8 dynamic", "fp8"), ("auto_round int4", "int4"),
        ("modelopt nvfp4", "nvfp4"), ("mxfp4", "mxfp4"), ("gptq int4", "gptq-int4"), ("gptq_marlin", "gptq-int4"),
        ("awq_marlin", "awq"), ("bitsandbytes", "bnb-nf4"), ("8bit", "int8"), ("none", "none"), ("Q4_K_M", "gguf-q4_k_m"),
        ("GGUF Q6_K", "gguf-q6_k"), ("UD-Q4_K_XL", "gguf-q4_k_xl"),
        ("gguf iq1_s", "gguf-iq1_s"), ("compressed-tensors w4a16", "int4"),
    ],
)  # fmt: skip
def test_the_words_people_use(word: str, name: str) -> None:
    assert named(word).name == name


@pytest.mark.parametrize(
    "word, says", [("exl3", "'exl3' is not known"), ("gguf", "name one"), ("q9_z", "'q9_z' is not known")]
)
def test_a_precision_that_is_not_known_is_refused(word: str, says: str) -> None:
    with pytest.raises(UsageError, match=says):
        named(word)


def compressed(**said: Any) -> dict[str, Any]:
    return {"quant_method": "compressed-tensors", "config_groups": {"group_0": {"weights": said}}}


@pytest.mark.parametrize(
    "given, name, bits",
    [
        ({"quant_method": "fp8", "weight_block_size": [128, 128]}, "fp8-block", 8),
        ({"quant_method": "fp8"}, "fp8", 8),
        ({"quant_method": "gptq", "bits": 8, "group_size": 32}, "gptq-int8", 8),
        ({"quant_method": "awq", "bits": 4, "group_size": 64}, "awq", 4),
        ({"quant_method": "auto-round", "bits": 2, "group_size": 128}, "int4", 2),
        ({"quant_method": "mxfp4"}, "mxfp4", 4),
        ({"quant_method": "bitsandbytes", "load_in_8bit": True}, "bnb-int8", 8),
        ({"quant_method": "bitsandbytes", "bnb_4bit_use_double_quant": True}, "bnb-nf4-double", 4),
        (compressed(num_bits=8, type="float"), "fp8", 8),
        (compressed(num_bits=4, type="float", group_size=16), "nvfp4", 4),
        ({"quant_method": "modelopt", "quant_algo": "NVFP4"}, "nvfp4", 4),
    ],
)  # fmt: skip
def test_a_checkpoints_own_precision(given: dict[str, Any], name: str, bits: float) -> None:
    found = of_config({"quantization_config": given})
    assert (found.name, found.bits) == (name, bits)


@pytest.mark.parametrize(
    "given", [{"quant_method": "quip"}, {"quant_method": "gptq", "bits": 5}, {"quant_method": "compressed-tensors"}]
)
def test_a_quantisation_that_is_not_known_is_refused(given: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=r"config\.json"):
        of_config({"quantization_config": given})


@pytest.mark.parametrize(
    "names, left",
    [
        (
            ["lm_head", "model.layers.*.linear_attn*", "model.layers.*.self_attn.o_proj", "mtp*"],
            {"linear_attn.in_proj_qkv", "linear_attn.out_proj", "self_attn.o_proj", "draft"},
        ),
        (["model.layers.3.self_attn.q_proj", "lm_head"], set()),  # one layer of many
        (["re:.*shared_experts.*"], {"shared_experts"}),
        ("lm_head", set()),
    ],
)
def test_what_a_checkpoint_lists_as_not_converted_is_left(names: Any, left: set[str]) -> None:
    found = of_config({"quantization_config": {"quant_method": "fp8", "ignore": names}})
    assert {module for module, kind in found.modules if kind == "none"} == left


def test_a_module_that_is_left_keeps_its_bytes() -> None:
    some = dataclasses.replace(PRECISIONS["nvfp4"], modules=(("self_attn.o_proj", "none"), ("draft", "none")))
    assert weight_bytes(linear(module="self_attn.o_proj"), some, 2) == 2 * linear().elements
    assert weight_bytes(linear(module="mlp.gate_proj"), some, 2) < linear().elements
    assert weight_bytes(linear(module="mlp.gate_proj", draft=True), some, 2) == 2 * linear().elements


def test_deepseeks_v4_experts_are_fp4_beside_fp8() -> None:
    found = of_config(published.find("deepseek-ai/DeepSeek-V4-Flash").config)
    assert (found.name, found.experts) == ("fp8-block", "mxfp4")


def test_expert_sizes_are_padded_as_the_kernels_want_them() -> None:
    up = Weight(kind="expert", rows=2880, columns=2880, layer=0, inner="rows", split="expert")
    assert weight_bytes(up, PRECISIONS["mxfp4"], 2) == 2880 * 3072 * 4.25 / 8


# -- division ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "split, tp, rows, columns",
    [("rows", 4, 64, 512), ("columns", 4, 256, 128), ("none", 4, 256, 512), ("vocabulary", 3, 86, 512)],
)
def test_a_matrix_is_divided_on_its_side(split: Any, tp: int, rows: int, columns: int) -> None:
    part = share(linear(split=split), Parallel(tp=tp))
    assert (part.rows, part.columns) == (rows, columns)


@pytest.mark.parametrize("tp, rows", [(1, 256), (2, 128), (4, 64), (8, 64)])
def test_key_and_value_heads_are_repeated_where_there_are_fewer_than_gpus(tp: int, rows: int) -> None:
    assert share(linear(split="kv", kv_heads=4), Parallel(tp=tp)).rows == rows


def test_experts_are_divided_among_data_parallel_replicas_too() -> None:
    expert = Weight(kind="expert", rows=64, columns=256, layer=0, split="expert", count=8, inner="rows")
    assert share(expert, Parallel(tp=2, dp=4)).elements == expert.elements / 8
    assert share(expert, Parallel(tp=2, dp=4, ep=True)).count == 1
    assert share(linear(split="rows"), Parallel(tp=2, dp=4)).rows == 128  # attention is not


@pytest.mark.parametrize(
    "layers, pp, sizes", [(61, 1, [61]), (61, 2, [31, 30]), (43, 2, [22, 21]), (10, 4, [2, 3, 3, 2])]
)
def test_layers_of_the_stages(layers: int, pp: int, sizes: list[int]) -> None:
    found = stages(layers, pp)
    assert [len(one) for one in found] == sizes
    assert [at for one in found for at in one] == list(range(layers))


def test_heads_that_do_not_divide_are_refused_with_what_does() -> None:
    shapes = architecture(published.find("Qwen/Qwen2.5-7B-Instruct").config)
    with pytest.raises(UsageError, match=r"28 attention heads cannot be divided by 8; 4, 7 or 14 can"):
        refuse(shapes, Parallel(tp=8))
    refuse(shapes, Parallel(tp=4))


def test_more_stages_than_layers_are_refused() -> None:
    shapes = architecture(published.find("Qwen/Qwen2.5-7B-Instruct").config)
    refuse(shapes, Parallel(pp=28))
    with pytest.raises(UsageError, match="has 28 layers"):
        refuse(shapes, Parallel(pp=29))


def test_draft_layers_count_only_when_they_are_asked_for() -> None:
    found = question.model("deepseek-ai/DeepSeek-V3", None, None)
    plain = per_gpu(found.shapes, found.listed, found.precision, Parallel(tp=8))
    drafting = per_gpu(found.shapes, found.listed, found.precision, Parallel(tp=8), drafts=True)
    assert 1.2 * GIB < drafting - plain < 1.6 * GIB  # 11.5 G parameters of FP8, over 8


def test_latent_attention_keeps_its_absorbed_matrices_in_16_bit() -> None:
    # 79.41 GiB on each of 8 devices (HabanaAI's fork, issue 809) is the checkpoint's eighth, what is repeated, and these
    found = question.model("deepseek-ai/DeepSeek-R1", None, None)
    assert per_gpu(found.shapes, found.listed, found.precision, Parallel(tp=8)) / GIB == pytest.approx(79.41, rel=0.005)


def test_a_dtype_of_four_bytes_doubles_the_unquantised() -> None:
    half, single = (question.model("Qwen/Qwen3-0.6B", None, dtype) for dtype in ("bfloat16", "float32"))
    plain = PRECISIONS["none"]
    assert per_gpu(single.shapes, single.listed, plain, Parallel()) == 2 * per_gpu(
        half.shapes, half.listed, plain, Parallel()
    )


def test_every_published_model_can_be_read() -> None:
    unread = []
    for name in published.names():
        try:
            shapes = architecture(published.find(name).config)
            precisions.of_config(published.find(name).config)
            assert weights(shapes)
        except UsageError as error:
            unread.append((name, error.message))
    assert not unread


def test_experts_on_a_latent_size_are_counted() -> None:
    assert elements("nvidia/NVIDIA-Nemotron-3-Ultra-550B-A55B-BF16") == pytest.approx(550e9, rel=0.02)
