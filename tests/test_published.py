"""The catalogue of published models: every row, and what a name finds."""

from __future__ import annotations

import datetime
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from provision.catalog import published
from provision.errors import UsageError

NAMES = sorted(published.names())


def text_of(config: dict[str, Any]) -> dict[str, Any]:
    """The language model's part of a configuration."""
    return {**config, **config.get("text_config", {})}


@pytest.mark.parametrize("name", NAMES)
def test_a_row_has_what_an_estimate_needs(name: str) -> None:
    row = published.row(name)
    assert set(row) == {"source", "date", "config", "parameters", "safetensors_bytes", "aliases", "assumed"}
    assert len(row["source"]) > 20 and not row["source"].startswith("/")
    assert datetime.date.fromisoformat(row["date"]) <= datetime.date.today()
    assert all(isinstance(said, str) for said in (*row["aliases"], *row["assumed"]))
    config = text_of(row["config"])
    for key in ("model_type", "hidden_size", "vocab_size"):
        assert config[key], key
    layers = ("num_hidden_layers", "num_layers", "layers_block_type", "hybrid_override_pattern", "block_configs")
    assert any(config.get(key) for key in layers)
    assert config.get("num_attention_heads") or config.get("block_configs")
    if row["config"].get("tie_word_embeddings", config.get("tie_word_embeddings")) is None:
        assert any("tied" in said for said in row["assumed"]) or "text_config" in row["config"], (
            "say that it is not known"
        )


def dense(config: dict[str, Any]) -> int:
    """The parameters of a plain decoder: embedding, attention with its biases, gated MLP, RMS norms."""
    width, layers, heads = config["hidden_size"], config["num_hidden_layers"], config["num_attention_heads"]
    head = config.get("head_dim", width // heads)
    queries, keys = heads * head, config["num_key_value_heads"] * head
    qwen2, qwen3 = config["model_type"] == "qwen2", config["model_type"] == "qwen3"
    attention = 2 * width * queries + 2 * width * keys + (queries + 2 * keys) * qwen2 + 2 * head * qwen3
    layer = attention + 3 * width * config["intermediate_size"] + 2 * width
    return config["vocab_size"] * width * (1 if config["tie_word_embeddings"] else 2) + layers * layer + width


STATED = [name for name in NAMES if published.row(name)["parameters"]]


@pytest.mark.parametrize("name", STATED)
def test_the_arithmetic_gives_the_stated_number(name: str) -> None:
    row = published.row(name)
    assert dense(row["config"]) == row["parameters"]
    if row["safetensors_bytes"]:
        assert row["safetensors_bytes"] == 2 * row["parameters"]


def test_some_rows_state_their_number() -> None:
    assert len(STATED) >= 10


@pytest.mark.parametrize(
    ("asked", "name", "quantization"),
    [
        ("deepseek-ai/DeepSeek-V3", "deepseek-ai/DeepSeek-V3", None),
        ("DeepSeek-R1 FP8", "deepseek-ai/DeepSeek-R1", "fp8"),
        ("Deepseek-r1 671B", "deepseek-ai/DeepSeek-R1", None),
        ("Deepseek R1 GGUF", "deepseek-ai/DeepSeek-R1", "gguf"),
        ("deepseek-ai/DeepSeek-V3-0324", "deepseek-ai/DeepSeek-V3", None),
        ("deepseek-ai/DeepSeek-V3.2-Exp", "deepseek-ai/DeepSeek-V3.2", None),
        ("DeepSeek V4 Flash", "deepseek-ai/DeepSeek-V4-Flash", None),
        ("type=DeepseekV3ForCausalLM", "deepseek-ai/DeepSeek-V3", None),
        ("qwen3.6-27b-autoround-int4", "Qwen/Qwen3.6-27B", "int4"),
        ("qwen3.6-35b-a3b-nvfp4", "nvidia/Qwen3.6-35B-A3B-NVFP4", "nvfp4"),
        ("qwen36-27b (compose name)", "Qwen/Qwen3.6-27B", None),
        ("qwen1.5 (72b)", "Qwen/Qwen1.5-72B-Chat", None),
        ("qwen 2.5 32 instruct", "Qwen/Qwen2.5-32B-Instruct", None),
        ("unsloth/Qwen3-4B-Instruct-2507-GGUF", "Qwen/Qwen3-4B-Instruct-2507", "gguf"),
        ("Llama2-70B", "meta-llama/Llama-2-70b-hf", None),
        ("RedHatAI/Llama-3.3-70B-Instruct-FP8-dynamic", "meta-llama/Llama-3.3-70B-Instruct", "fp8"),
        ("deepseek-coder-6.7b-instruct (local path)", "deepseek-ai/deepseek-coder-6.7b-instruct", None),
        ("Qwen3-30B-A3B-Instruct-2507-Q4_K_M.gguf", "Qwen/Qwen3-30B-A3B-Instruct-2507", "gguf-q4_k_m"),
        ("Qwen3-Coder-30B-A3B-Instruct-FP8", "Qwen/Qwen3-Coder-30B-A3B-Instruct", "fp8"),
        ("qwen3-30b-a3b-awq", "Qwen/Qwen3-30B-A3B", "awq"),
        ("moonshotai/Kimi-K2-Instruct-0905", "moonshotai/Kimi-K2-Instruct", None),
        ("GLM-4.7-FP8", "zai-org/GLM-4.7", "fp8"),
        ("GLM-5.3-Flash EXL3", "zai-org/GLM-5.3-Flash", "exl3"),
    ],
)
def test_a_name_is_found_by_its_words(asked: str, name: str, quantization: str | None) -> None:
    found = published.find(asked)
    assert (found.name, found.quantization) == (name, quantization)
    assert not [said for said in found.assumed if "is taken as" in said and "instruct" not in asked], (
        "no guess was needed"
    )


@pytest.mark.parametrize(
    ("asked", "name", "said"),
    [
        (
            "35b-a3b",
            "Qwen/Qwen3.5-35B-A3B",
            "'35b-a3b' is taken as Qwen/Qwen3.5-35B-A3B (Qwen/Qwen3.6-35B-A3B: the same",
        ),
        (
            "Deepseek 70b",
            "deepseek-ai/DeepSeek-R1-Distill-Llama-70B",
            "is taken as deepseek-ai/DeepSeek-R1-Distill-Llama",
        ),
        ("pixtral", "mistralai/Pixtral-12B-2409", "is taken as"),
        ("Mistral-Small-3.2-24B-Instruct-2506", "mistralai/Mistral-Small-3.1-24B-Instruct-2503", "is taken as"),
        ("Hermes-3-Llama-3.1-8B", "meta-llama/Llama-3.1-8B", "hermes is not known here"),
    ],
)
def test_a_guess_is_said(asked: str, name: str, said: str) -> None:
    found = published.find(asked)
    assert found.name == name
    assert said in found.assumed[0]


@pytest.mark.parametrize(
    "asked",
    [
        *(
            "67B export",
            "llama 9",
            "qwen9-7b",
            "Foo-7B",
            "gpt-5",
            "DeepSeek-V4.1-Flash",
            "Qwen3-Embedding-8B",
            "7b",
            "",
            "-",
        ),
        *("GLM-4.5V", "Qwen3-9B", "../../x", "../../../etc/passwd", "deepseek-ai/../openai/gpt-oss-20b\0", "a" * 10000),
        *("\0", "models/deepseek-ai/DeepSeek-V3.json", "Qwen\n\x1b[31m", "٣٢b qwen", "deepseek-ai/DeepSeek-V3\0"),
    ],
)
def test_what_is_not_published_is_refused(asked: str) -> None:
    """Also what is hostile: no file outside the catalogue is ever opened, and the message can be printed."""
    try:
        found = published.find(asked)
    except UsageError as refused:
        assert refused.exit_code == 2
        assert refused.message.isprintable() and len(refused.message) < 500
    else:
        assert found.name in published.names(), "words of a path may still name a model"
        assert "DeepSeek-V3" in asked or "gpt-oss-20b" in asked


@pytest.mark.parametrize(
    ("asked", "named"),
    [
        ("Nemotron", "nvidia/Nemotron-H-56B-Base-8K"),
        ("qwen 32b", "Qwen/Qwen3-32B"),
        ("llama 70b", "meta-llama/Llama-2-70b-hf"),
    ],
)
def test_several_models_are_named_and_none_chosen(asked: str, named: str) -> None:
    with pytest.raises(UsageError, match="may be any of") as refused:
        published.find(asked)
    assert named in refused.value.message


def test_a_slip_of_the_pen_gets_the_nearest_name() -> None:
    with pytest.raises(UsageError, match=r"nearest are .*Qwen/Qwen3-32B"):
        published.find("Qwen/Qwne3-32B")


def test_an_exact_name_opens_one_file(monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[Path] = []
    read = Path.read_text
    monkeypatch.setattr(Path, "read_text", lambda self, *a, **k: (opened.append(self), read(self, *a, **k))[1])
    published.row.cache_clear()
    published.find("openai/gpt-oss-120b")
    assert [path.name for path in opened] == ["gpt-oss-120b.json"]


def test_a_look_up_is_quick() -> None:
    """A new interpreter, imports aside: 9 ms for a name by its words where it was measured; 60 leave room for a slow machine."""
    script = (
        "import time\nfrom provision.catalog import published\nstarted = time.perf_counter()\n"
        "published.find('qwen 2.5 32 instruct')\nprint(time.perf_counter() - started)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert float(done.stdout) < 0.06


def test_every_published_name_finds_itself() -> None:
    started = time.perf_counter()
    assert [name for name in NAMES if published.find(name).name != name] == []
    assert [name for name in NAMES if published.find(name.split("/")[1]).name != name] == [], "without its organisation"
    assert time.perf_counter() - started < 5


def test_the_files_are_plain_json_on_few_lines() -> None:
    for name in NAMES:
        text = (published.ROWS / f"{name}.json").read_text()
        assert text.endswith("}\n") and len(text) < 60_000
        json.loads(text)
