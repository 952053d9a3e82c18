"""Blocks and tokens of the KV cache against what engines printed, and the rules behind them."""

from __future__ import annotations

from typing import Any

import pytest

from provision.catalog import published
from provision.errors import UsageError
from provision.fit import accounting
from provision.fit.architecture import Architecture, architecture
from provision.fit.cache import Cache, cache, element_bytes
from provision.fit.parallel import Parallel

GIB = 2**30


def shapes(name: str) -> Architecture:
    return architecture(published.find(name).config)


def engine(version: str = "0.33.0", name: str = "vllm", **given: Any) -> accounting.Accounting:
    return accounting.of(name, version, card_name="", card_bytes=24 * GIB, length=8192, **given)


def kept(name: str, tp: int = 1, dtype: str = "auto", version: str = "0.33.0", **given: Any) -> Cache:
    batched = given.pop("batched", 8192)
    return cache(shapes(name), Parallel(tp=tp, pp=given.pop("pp", 1)), dtype, engine(version), batched=batched, **given)


@pytest.mark.parametrize(
    "name, tp, dtype, pool_gib, length, tokens",
    [
        # club-3090 issue 612: Available KV cache memory: 5.98 GiB, GPU KV cache size: 567,978 tokens at 131,072
        ("Qwen/Qwen3.6-35B-A3B", 1, "fp8", 5.98, 131072, 567_978),
        # talos PR 1995: 4.99 GiB, 302,921 tokens at 131,072
        ("Qwen/Qwen3.8-27B", 2, "fp8_e4m3", 4.99, 131072, 302_921),
    ],
)
def test_a_hybrid_models_tokens_come_out_to_the_token(
    name: str, tp: int, dtype: str, pool_gib: float, length: int, tokens: int
) -> None:
    assert kept(name, tp, dtype).tokens(round(pool_gib * GIB), length) == pytest.approx(tokens, abs=1)


def test_draft_tokens_lengthen_the_state_and_its_blocks() -> None:
    # club-3090 issue 642: 11.05 GiB, 623,873 tokens at 262,144 with three draft tokens: 426 blocks, 179 a request
    found = kept("Qwen/Qwen3.6-27B", 2, "fp8", drafts=3)
    assert (found.block, found.request_blocks(262144)) == (1600, 179)
    assert found.tokens(round(11.05 * GIB), 262144) == pytest.approx(623_873, rel=0.003)


@pytest.mark.parametrize(
    "name, tp, dtype, kib",
    [
        ("meta-llama/Llama-3.1-8B", 1, "auto", 128),
        ("Qwen/Qwen1.5-7B-Chat", 1, "auto", 512),
        ("Qwen/Qwen2.5-7B-Instruct", 1, "auto", 56),
        ("Qwen/Qwen2.5-7B-Instruct", 4, "auto", 14),
        ("meta-llama/Llama-3.1-70B", 16, "auto", 40),  # 8 heads on 16 GPUs: each keeps one
        ("deepseek-ai/DeepSeek-V2-Lite", 1, "auto", 30.375),  # vllm issue 15871: 0.95 GiB for 32,768 tokens
        ("deepseek-ai/DeepSeek-R1", 1, "auto", 68.625),
        ("deepseek-ai/DeepSeek-R1", 8, "auto", 68.625),  # latent attention is the same on every GPU
        ("deepseek-ai/DeepSeek-R1", 8, "fp8", 68.625 / 2),
        ("Qwen/Qwen3-Coder-480B-A35B-Instruct", 1, "auto", 248),  # vllm recipes issue 12: 62 GiB for 262,144 tokens
    ],
)
def test_bytes_of_a_token(name: str, tp: int, dtype: str, kib: float) -> None:
    assert kept(name, tp, dtype).bytes_per_token / 1024 == pytest.approx(kib)


def test_sparse_attention_in_fp8_is_not_half() -> None:
    layers = 61
    assert kept("deepseek-ai/DeepSeek-V3.2").bytes_per_token == layers * (1152 + 132)
    assert kept("deepseek-ai/DeepSeek-V3.2", dtype="fp8").bytes_per_token == layers * (656 + 132)


def test_eight_b200_hold_about_twenty_requests_of_a_million_tokens() -> None:
    # vllm recipes issue 762: 20.43 at 1M context; the pool itself was not printed: 0.92 of 178 GiB less weights and the rest
    found = kept("deepseek-ai/DeepSeek-V4-Flash", 8)
    assert found.concurrency(138 * GIB, 1 << 20) == pytest.approx(20.43, rel=0.05)


@pytest.mark.parametrize(
    "pool, length, batched, printed",
    [(32.08, 262144, 8192, 8.30), (37.93, 256000, 8192, 9.76), (77.53, 131072, 16384, 11.55)],
)
def test_a_step_of_v4_keeps_what_its_compressors_need(pool: float, length: int, batched: int, printed: float) -> None:
    # public files 63396953296, 60215495369 and 68308452379; the last with the 16,384 tokens of a step that its sum wants
    found = kept("deepseek-ai/DeepSeek-V4-Flash", 2, batched=batched)
    assert found.concurrency(int(pool * GIB), length) == pytest.approx(printed, rel=0.035)
    assert found.tokens(int(pool * GIB), length) == pytest.approx(printed * length, rel=0.035)


def test_pipeline_stages_divide_the_layers_cache() -> None:
    assert kept("meta-llama/Llama-3.1-8B", pp=2).bytes_per_token == 64 * 1024


def test_a_window_is_all_that_a_sliding_layer_keeps() -> None:
    found = kept("openai/gpt-oss-20b", batched=2048)
    old = kept("openai/gpt-oss-20b", version="0.9.0", batched=2048)
    assert found.request_bytes(131072) < 0.52 * old.request_bytes(131072)
    assert found.request_bytes(64) == old.request_bytes(64)


@pytest.mark.parametrize("length, blocks", [(16, 1), (17, 2), (32, 2), (33, 3)])
def test_a_request_takes_whole_blocks(length: int, blocks: int) -> None:
    assert kept("meta-llama/Llama-3.1-8B").request_blocks(length) == blocks


def test_the_longest_request_is_the_one_that_just_fits() -> None:
    found = kept("Qwen/Qwen3.8-27B", 2)
    pool = 5 * GIB
    longest = found.longest(pool, 1 << 20)
    assert found.request_blocks(longest) <= found.blocks(pool) < found.request_blocks(longest + found.block)
    assert found.longest(pool, 4096) == 4096
    assert found.longest(-1, 4096) == 0


def test_a_pool_that_is_missing_holds_nothing() -> None:
    found = kept("meta-llama/Llama-3.1-8B")
    assert (found.blocks(-GIB), found.tokens(-GIB, 8192), found.concurrency(-GIB, 8192)) == (0, 0, 0)


def test_sglang_counts_tokens_one_by_one() -> None:
    found = cache(shapes("meta-llama/Llama-3.1-8B"), Parallel(), "auto", engine("0.5.6", "sglang"), batched=4096)
    assert found.tokens(131072 * 10 + 131071, 8192) == 10


@pytest.mark.parametrize(
    "word, size",
    [("auto", 2), ("fp8", 1), ("fp8_e5m2", 1), ("bf16 (MLA)", 2), ("bfloat16", 2), ("int8_per_token_head", 1)],
)
def test_bytes_of_a_cached_element(word: str, size: float) -> None:
    assert element_bytes(word, 2) == size


@pytest.mark.parametrize("word", ["", "fp12", "yes"])
def test_a_cache_type_that_is_not_known_is_refused(word: str) -> None:
    with pytest.raises(UsageError, match="--kv-cache-dtype"):
        element_bytes(word, 2)
