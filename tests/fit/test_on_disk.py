"""Bytes of published checkpoints on disk."""

from __future__ import annotations

import pytest

from provision.catalog import published
from provision.fit.on_disk import checkpoint_bytes


@pytest.mark.parametrize(
    "name, size",
    [
        (
            "deepseek-ai/DeepSeek-V3",
            688.6e9,
        ),  # the hub's total of its shards: 671 G parameters in FP8, 11.5 G of draft layer
        ("openai/gpt-oss-20b", 13.76e9),
        ("meta-llama/Llama-3.1-8B", 16.06e9),
    ],
)
def test_bytes_of_a_published_checkpoint(name: str, size: float) -> None:
    assert checkpoint_bytes(name) == pytest.approx(size, rel=0.005)


def test_every_stated_total_is_what_arithmetic_gives(monkeypatch: pytest.MonkeyPatch) -> None:
    stated = {name: published.row(name)["safetensors_bytes"] for name in published.names()}
    stated = {name: total for name, total in stated.items() if total}
    for name in stated:
        monkeypatch.setitem(published.row(name), "safetensors_bytes", None)
    off = {name: checkpoint_bytes(name) / total - 1 for name, total in stated.items()}
    assert len(off) >= 10
    assert {name: share for name, share in off.items() if abs(share) > 0.005} == {}


def test_what_is_quantised_while_loading_is_read_in_16_bit() -> None:
    assert checkpoint_bytes("Qwen/Qwen3-8B-bnb-4bit") == checkpoint_bytes("Qwen/Qwen3-8B")
