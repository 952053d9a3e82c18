"""A model's name taken apart: both spellings of one model must meet in the same words."""

from __future__ import annotations

import time

import pytest

from provision.catalog import model_name


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("qwen38-27b", "Qwen/Qwen3.8-27B"),
        ("type=DeepseekV3ForCausalLM", "deepseek-ai/DeepSeek-V3"),
        ("Llama2-70B", "meta-llama/Llama-2-70b-hf"),
        ("llama-3-1-8b", "meta-llama/Llama-3.1-8B"),
        ("mixtral8x7b", "mistralai/Mixtral-8x7B"),
        ("qwen1.5 (72b)", "Qwen/Qwen1.5-72B"),
        ("Llama-3_3-70B", "meta-llama/Llama-3.3-70B"),
        ("Qwen1.5-7B (local path models--Qwen--Qwen1.5-7B)", "Qwen/Qwen1.5-7B"),
        ("/srv/hub/models--Qwen--Qwen3-8B/snapshots/9c925d64d72725edaf899c6cb9c377fd0709d9c5", "Qwen/Qwen3-8B"),
        ("2.4T-A95B", "2400B-A95B"),
        ("SmolLM2-135M", "SmolLM2-0.135B"),
    ],
)
def test_two_spellings_meet(one: str, other: str) -> None:
    a, b = model_name.read(one), model_name.read(other)
    assert (a.hard, a.size, a.active) == (b.hard, b.size, b.active)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Qwen3-8B", "Qwen2.5-8B"),
        ("Qwen3-8B", "Qwen3-VL-8B"),
        ("gemma-3-4b", "gemma-3n-E4B"),
        ("GLM-4.5", "GLM-4.5V"),
        ("GLM-4.5", "GLM-4.5-Air"),
        ("DeepSeek-V2", "DeepSeek-V2.5"),
        ("DeepSeek-R1", "DeepSeek-R1-Distill-Qwen-7B"),
        ("command-r", "command-r-plus"),
        ("Qwen3-Embedding-8B", "Qwen3-8B"),
    ],
)
def test_two_models_stay_two(one: str, other: str) -> None:
    a, b = model_name.read(one), model_name.read(other)
    assert (a.hard, a.size) != (b.hard, b.size)


@pytest.mark.parametrize(
    ("name", "method"),
    [
        ("Qwen2.5-32B-Instruct-AWQ", "awq"),
        ("Qwen1.5-7B-Chat-GPTQ-Int4", "gptq-int4"),
        ("Qwen2.5-7B-Instruct-GPTQ-Int8", "gptq-int8"),
        ("Llama-3.3-70B-Instruct-FP8-dynamic", "fp8"),
        ("qwen3.8-27b-fp8", "fp8"),
        ("Qwen/Qwen3.8-27B (fp8 variant)", "fp8"),
        ("Qwen3.6-27B-NVFP4", "nvfp4"),
        ("DeepSeek-V4-Flash-NVFP4-FP8", "nvfp4"),
        ("gpt-oss-120b MXFP4", "mxfp4"),
        ("qwen3.6-27b-autoround-int4", "int4"),
        ("Llama-3.1-8B-Instruct-quantized.w4a16", "int4"),
        ("qwen3.5-122b-a10b-8bit", "int8"),
        ("Meta-Llama-3.1-8B-Instruct-quantized.w8a8", "int8"),
        ("Qwen3-32B-unsloth-bnb-4bit", "bnb-nf4"),
        ("Qwen3-4B-Instruct-2507-GGUF", "gguf"),
        ("Qwen3-4B-Q4_K_M.gguf", "gguf-q4_k_m"),
        ("DeepSeek-R1-GGUF:UD-Q2_K_XL", "gguf-q2_k_xl"),
        ("Llama-3.3-70B-Instruct-IQ4_XS", "gguf-iq4_xs"),
        ("Qwen3-32B-exl3 4.0bpw", "exl3-4.0bpw"),
        ("GLM-5.3-Flash EXL3", "exl3"),
        ("Qwen3-32B", None),
        ("Llama-3.1-8B-Instruct-bf16", None),
    ],
)
def test_the_method_stands_in_the_name(name: str, method: str | None) -> None:
    found = model_name.read(name)
    assert found.quantization == method
    plain = {
        "gguf",
        "awq",
        "gptq",
        "fp8",
        "int4",
        "nvfp4",
        "mxfp4",
        "bnb",
        "exl3",
        "w8a8",
        "w4a16",
        "q4",
        "km",
        "quantized",
    }
    assert not found.hard & plain, "the method is no word of the model"


def test_a_hostile_name_is_taken_apart_in_time() -> None:
    """Nested repeats in the patterns would take minutes here; 300 characters are read, whatever is given."""
    started = time.perf_counter()
    for name in (
        "a1" * 5000,
        "-" * 10000,
        "4bit-" * 3000,
        "q4_" * 4000,
        "1." * 5000 + "b",
        "(" * 10000,
        "models--" * 2000,
        "\0" * 9000,
    ):
        model_name.read(name)
    assert time.perf_counter() - started < 0.5


def test_what_stands_past_the_longest_name_is_not_read() -> None:
    assert model_name.read("-" * (model_name.LONGEST - 8) + "Qwen3-8B").size == "8"
    assert model_name.read("-" * model_name.LONGEST + "Qwen3-8B").size is None
