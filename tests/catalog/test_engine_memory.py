"""What engines do with a GPU's memory by version: both sides of every bound."""

from __future__ import annotations

import pytest

from provision.catalog import sglang_memory
from provision.catalog.engine_memory import accounting, engine_tables

GIB = 2**30
H100, H200, A100, L4 = (79 * GIB, "H100"), (139 * GIB, "H200"), (79 * GIB, "A100-SXM4-80GB"), (22 * GIB, "L4")
B200, GB10 = (178 * GIB, "B200"), (121 * GIB, "GB10")


@pytest.mark.parametrize(("version", "fraction"), [("0.4.0", 0.9), ("0.19.1", 0.9), ("0.20.0", 0.92), (None, 0.92)])
def test_vllm_takes_0_92_from_0_20_on(version: str | None, fraction: float) -> None:
    assert accounting("vllm", version).utilisation == fraction


@pytest.mark.parametrize(
    ("version", "card", "served", "offline", "seqs"),
    [
        ("0.7.3", H100, 4096, 4096, 256),
        ("0.8.0", H100, 8192, 16384, 1024),
        ("0.8.3", L4, 2048, 8192, 1024),
        ("0.8.4", L4, 2048, 8192, 256),
        ("0.8.4", A100, 2048, 8192, 256),
        ("0.8.5", A100, 8192, 16384, 1024),
        ("0.9.0", A100, 2048, 8192, 256),
        ("0.8.4", B200, 2048, 8192, 256),
        ("0.8.5", B200, 8192, 16384, 1024),
        ("0.27.1", B200, 8192, 16384, 1024),
        ("0.28.0", B200, 16384, 16384, 1024),
        ("0.28.0", H200, 8192, 16384, 1024),
        ("0.32.0", GB10, 8192, 16384, 1024),
        ("0.33.0", GB10, 2048, 8192, 256),
        ("0.33.0", (160 * GIB, "x"), 16384, 16384, 1024),
        ("0.33.0", (160 * GIB - 1, "x"), 8192, 16384, 1024),
        ("0.33.0", (70 * GIB, "x"), 8192, 16384, 1024),
        ("0.33.0", (70 * GIB - 1, "x"), 2048, 8192, 256),
    ],
)
def test_vllms_batch_sizes(version: str, card: tuple[int, str], served: int, offline: int, seqs: int) -> None:
    batch = accounting("vllm", version).batch(*card)
    assert (batch.tokens(4096), batch.tokens(4096, served=False), batch.seqs) == (served, offline, seqs)


def test_v0_batches_at_least_2048_tokens() -> None:
    batch = accounting("vllm", "0.7.3").batch(*L4)
    assert (batch.tokens(2047), batch.tokens(2049)) == (2048, 2049)


@pytest.mark.parametrize(
    ("topic", "version", "rule"),
    [
        ("graph_memory", "0.17.1", "after"),
        ("graph_memory", "0.18.0", "measured"),
        ("graph_memory", "0.19.1", "measured"),
        ("graph_memory", "0.20.0", "before"),
        ("token_count", "0.9.0", "blocks"),
        ("token_count", "0.9.1", "groups"),
        ("token_count", "0.20.2", "groups"),
        ("token_count", "0.20.2rc1.dev9+g01d4d1ad3", "groups"),
        ("token_count", "0.21.0", "concurrency"),
        ("sliding", "0.9.0", "full"),
        ("sliding", "0.9.1", "window"),
        ("mamba", "0.14.1", "none"),
        ("mamba", "0.16.0", "all-or-align"),
        ("mamba", "0.27.1", "all-or-align"),
        ("mamba", "0.28.0", "align"),
        ("non_kv", "0.26.0", "peak"),
        ("non_kv", "0.27.0", "consumed"),
        ("sampling", "0.16.0", "sort"),
        ("sampling", "0.17.0", "mask"),
        ("kv_type", "0.13.0", "model"),
        ("kv_type", "0.14.0", "checkpoint"),
        ("nf4", "0.9.1", "nested"),
        ("nf4", "0.9.2", "flat"),
    ],
)
def test_vllms_rules(topic: str, version: str, rule: str) -> None:
    assert getattr(accounting("vllm", version), topic) == rule


@pytest.mark.parametrize(
    ("topic", "version", "rule"),
    [
        ("sliding", "0.4.9", "full"),
        ("sliding", "0.4.10", "ratio"),
        ("mamba", "0.5.4", "ratio"),
        ("token_count", None, "pool"),
        ("kv_type", "0.5.2", "model"),
        ("kv_type", "0.5.3", "checkpoint"),
    ],
)
def test_sglangs_rules(topic: str, version: str | None, rule: str) -> None:
    assert getattr(accounting("sglang", version), topic) == rule


@pytest.mark.parametrize(
    ("version", "seqs", "count", "largest"),
    [
        ("0.9.2", 16, 67, 512),
        ("0.10.0", 16, 7, 32),
        ("0.11.0", 256, 67, 512),
        ("0.11.1", 256, 51, 512),
        ("0.11.1", 1, 2, 2),
        ("0.11.1", 128, 35, 256),
        (None, 1024, 51, 512),
    ],
)
def test_vllms_capture_sizes(version: str | None, seqs: int, count: int, largest: int) -> None:
    graphs = accounting("vllm", version).graphs
    assert graphs
    sizes = graphs.sizes(seqs)
    assert (len(sizes), sizes[-1]) == (count, largest)


@pytest.mark.parametrize(
    ("version", "draft", "blackwell"), [("0.12.0", 32, 512), ("0.13.0", 64, 512), ("0.28.0", 64, 1024)]
)
def test_speculation_and_blackwell_raise_the_largest_capture(version: str, draft: int, blackwell: int) -> None:
    graphs = accounting("vllm", version).graphs
    assert graphs
    assert graphs.sizes(16, step_tokens=2)[-1] == draft
    assert graphs.sizes(1024, blackwell=True)[-1] == blackwell


@pytest.mark.parametrize(
    ("version", "mib", "tp", "fraction"),
    [
        ("0.3.4", 81559, 8, 0.83),
        ("0.4.0", 81559, 8, 0.81),
        ("0.4.5", 143771, 8, 0.81),
        ("0.4.6", 81920, 8, 0.81),
        ("0.4.6", 81921, 8, 0.838),
        ("0.4.7", 96 * 1024, 8, 0.88),
        ("0.4.7", 143771, 8, 0.872),
        ("0.4.7", 183359, 8, 0.79),
        ("0.4.8", 24564, 1, 0.879),
        ("0.4.8", 81559, 8, 0.831),
        ("0.5.2", 183359, 8, 0.821),
        ("0.5.3", 24564, 1, 0.848),
        ("0.5.3", 81559, 8, 0.818),
        ("0.5.3", 183359, 1, 0.857),
        ("0.5.4", 24564, 1, 0.848),
        ("0.5.5", 24564, 1, 0.847),
        ("0.5.19", 24564, 1, 0.847),
        ("0.5.20", 24564, 1, 0.72),
    ],
)
def test_sglangs_fraction(version: str, mib: int, tp: int, fraction: float) -> None:
    assert sglang_memory.static_fraction(accounting("sglang", version), mib, tp=tp) == pytest.approx(fraction, abs=6e-4)


@pytest.mark.parametrize(("version", "more"), [("0.5.9", 0), ("0.5.10", 1536)])
def test_latent_attentions_prefill_graphs_are_left_room_from_0_5_10(version: str, more: int) -> None:
    engine = accounting("sglang", version)
    plain = sglang_memory.static_fraction(engine, 49140, latent=False)
    assert sglang_memory.static_fraction(engine, 49140, latent=True) == pytest.approx(plain - more / 49140, abs=1e-3)


@pytest.mark.parametrize(("version", "mib"), [("0.5.9", 2048), ("0.5.10", 4096), ("0.5.13", 4096), ("0.5.14", 0)])
def test_a_draft_is_left_room_up_to_0_5_13(version: str, mib: int) -> None:
    engine = accounting("sglang", version)
    plain, eagle = (sglang_memory.static_fraction(engine, 81559, speculative=s) for s in (False, True))
    assert plain - eagle == pytest.approx(mib / 81559, abs=1e-3)


def test_a_build_without_a_release_number_is_the_newest() -> None:
    assert accounting("vllm", "0.1.dev19754+g3a0914114").utilisation == 0.92


def test_an_engine_that_the_table_lacks_is_refused() -> None:
    with pytest.raises(LookupError, match="llama"):
        accounting("llama.cpp")
    with pytest.raises(LookupError):
        accounting("sglang").batch(*H100)
    with pytest.raises(LookupError):
        accounting("vllm").reserve(81559)


def test_rules_of_one_topic_do_not_share_a_version() -> None:
    keys = [(r.engine, r.topic, r.first) for r in engine_tables().rule]
    assert len(set(keys)) == len(keys)


@pytest.mark.parametrize(("mib", "fraction"), [(60 * 1024 + 1, 0.833), (60 * 1024, 0.939)])
def test_sglang_leaves_10_gib_of_a_card_above_60(mib: int, fraction: float) -> None:
    engine = accounting("sglang", "0.5.6")
    assert sglang_memory.static_fraction(engine, mib, prefill_tokens=2048, graph_seqs=8) == fraction


@pytest.mark.parametrize(
    ("engine", "layout", "before", "first", "size"),
    [
        ("vllm", "fp8_ds_mla", "0.10.2", "0.11.0", 656),
        ("vllm", "v32_indexer", "0.10.2", "0.11.0", 132),
        ("vllm", "v4", "0.19.1", "0.20.0", 584),
        ("vllm", "nvfp4_ds_mla", "0.29.0", "0.30.0", 352),
        ("sglang", "v32_indexer", "0.5.5", "0.5.6", 132),
    ],
)
def test_fixed_layouts_come_with_a_release(engine: str, layout: str, before: str, first: str, size: int) -> None:
    assert accounting(engine, before).state_bytes(layout) is None
    assert accounting(engine, first).state_bytes(layout) == size
    assert accounting(engine).state_bytes(layout) == size


@pytest.mark.parametrize(
    ("backend", "version", "tokens"),
    [
        ("", "0.4.0", 16),
        ("FLASHMLA", "0.8.4", 16),
        ("FLASHMLA", "0.8.5", 64),
        ("CUTLASS_MLA", "0.10.2", 16),
        ("CUTLASS_MLA", "0.11.0", 128),
        ("FLASHINFER_MLA", "0.11.0", 64),
        ("SPARSE_MLA", None, 64),
        ("FLASH_ATTN", None, 16),
    ],
)
def test_blocks_by_backend(backend: str, version: str | None, tokens: int) -> None:
    assert accounting("vllm", version).block_tokens(backend) == tokens


def test_sglang_has_no_blocks() -> None:
    assert accounting("sglang").block_tokens() is None
