"""GGUF headers: what the package gguf wrote, and every way in which one can be wrong."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from provision.fit import checkpoint, gguf
from provision.fit.source import HEADER_LIMIT_BYTES, TENSORS_LIMIT
from tests.fit import build

Wrong = Callable[[Path], str]
WRITTEN = Path(__file__).parent / "written"
SAID = json.loads((WRITTEN / "by_gguf.json").read_text())
KEYS: dict[str, tuple[int, Any]] = {"general.architecture": (8, "llama"), "llama.block_count": (4, 2)}


def test_a_file_of_the_gguf_package_is_read_as_that_package_reads_it() -> None:
    found = checkpoint.read_checkpoint(WRITTEN / "by_gguf.gguf")
    assert [[one.name, one.dtype, list(one.shape), one.bytes] for one in found.tensors] == SAID["tensors"]
    assert (found.format, found.files) == ("gguf", ("by_gguf.gguf",))
    assert found.bytes == sum(size for *_, size in SAID["tensors"])
    assert found.file_bytes == (WRITTEN / "by_gguf.gguf").stat().st_size


def test_the_types_are_those_of_the_gguf_package() -> None:
    assert {str(number): list(row) for number, row in gguf.TYPES.items()} == SAID["types"]


def test_keys_become_the_names_of_config_json() -> None:
    assert checkpoint.read_checkpoint(WRITTEN / "by_gguf.gguf").config == {
        "model_type": "deepseek2",
        "num_hidden_layers": 3,
        "max_position_embeddings": 4096,
        "hidden_size": 256,
        "intermediate_size": 512,
        "num_attention_heads": 4,
        "num_key_value_heads": 4,  # the file stores one: the latent
        "kv_lora_rank": 64,
        "q_lora_rank": 48,
        "qk_nope_head_dim": 48,
        "qk_rope_head_dim": 32,
        "v_head_dim": 40,
        "rotary_dim": 32,
        "n_routed_experts": 8,
        "num_experts_per_tok": 2,
        "moe_intermediate_size": 128,
        "n_shared_experts": 1,
        "first_k_dense_replace": 1,
        "sliding_window_pattern": [True, False, True],
        "vocab_size": 15,  # counted in the list of tokens
    }


def config(tmp_path: Path, keys: dict[str, tuple[int, Any]]) -> dict[str, Any]:
    (tmp_path / "m.gguf").write_bytes(build.gguf(keys))
    return checkpoint.read_checkpoint(tmp_path / "m.gguf").config


def test_an_ordinary_model_keeps_its_heads(tmp_path: Path) -> None:
    keys: dict[str, tuple[int, Any]] = {
        "general.architecture": (8, "qwen3moe"),
        "qwen3moe.attention.head_count": (4, 32),
        "qwen3moe.attention.head_count_kv": (9, (5, [4, 0, 4])),
        "qwen3moe.attention.key_length": (4, 128),
        "qwen3moe.attention.sliding_window": (10, 4096),
        "qwen3moe.vocab_size": (4, 100),
        "qwen3moe.rope.freq_base": (6, 0.5),
        "tokenizer.ggml.tokens": (9, (8, ["a", "b"])),
        "llama.block_count": (4, 9),
        "tokenizer.chat_template": (8, "x" * 5000),
    }
    assert config(tmp_path, keys) == {
        "model_type": "qwen3moe",
        "num_attention_heads": 32,
        "num_key_value_heads": [4, 0, 4],
        "head_dim": 128,
        "sliding_window": 4096,
        "vocab_size": 100,
        "rope_theta": 0.5,
    }


def test_a_latent_of_an_old_file_has_the_lengths_of_its_heads(tmp_path: Path) -> None:
    said = {"attention.kv_lora_rank": 512, "attention.key_length": 192, "attention.value_length": 128}
    said |= {"rope.dimension_count": 64, "attention.head_count": 16, "attention.head_count_kv": 16}
    found = config(
        tmp_path, {"general.architecture": (8, "deepseek2"), **{f"deepseek2.{key}": (4, n) for key, n in said.items()}}
    )
    assert (found["qk_nope_head_dim"], found["qk_rope_head_dim"], found["v_head_dim"]) == (128, 64, 128)
    assert "head_dim" not in found


def test_without_an_architecture_nothing_is_told(tmp_path: Path) -> None:
    assert config(tmp_path, {"llama.block_count": (4, 2)}) == {}
    assert config(tmp_path, {"general.architecture": (4, 2)}) == {}


@pytest.mark.parametrize("version", [2, 3])
def test_both_living_versions(tmp_path: Path, version: int) -> None:
    content = build.gguf(KEYS, [("a", "Q4_K", (512, 3)), ("b", "F32", ()), ("c", "I8", (5,))])
    (tmp_path / "m.gguf").write_bytes(content[:4] + struct.pack("<I", version) + content[8:])
    assert [
        (one.name, one.dtype, one.shape, one.bytes) for one in checkpoint.read_checkpoint(tmp_path / "m.gguf").tensors
    ] == [
        ("a", "Q4_K", (3, 512), 864),
        ("b", "F32", (), 4),
        ("c", "I8", (5,), 5),
    ]


def test_another_alignment(tmp_path: Path) -> None:
    content = build.gguf({"general.alignment": (4, 256)}, [("a", "I8", (3,)), ("b", "I8", (3,))], alignment=256)
    (tmp_path / "m.gguf").write_bytes(content)
    assert checkpoint.read_checkpoint(tmp_path / "m.gguf").bytes == 6


def test_a_header_longer_than_one_read(tmp_path: Path) -> None:
    """Words lie across the places where one read ends and the next begins."""
    words = [f"w{'x' * (number % 40)}" for number in range(100_000)]
    keys = {"tokenizer.ggml.tokens": (9, (8, words)), "tokenizer.ggml.scores": (9, (6, [0.0] * 300_000)), **KEYS}
    (tmp_path / "m.gguf").write_bytes(build.gguf(keys, [("a", "F32", (3,))]))
    found = checkpoint.read_checkpoint(tmp_path / "m.gguf")
    assert (found.bytes, found.config["vocab_size"], found.config["num_hidden_layers"]) == (12, 100_000, 2)


def keyed(key: bytes, *rest: bytes) -> bytes:
    return build.start(0, 1) + build.text(key) + b"".join(rest)


def lined(*infos: bytes, data: int = 0) -> bytes:
    head = build.start(len(infos), 0) + b"".join(infos)
    return head + bytes(build.up(len(head)) - len(head) + data)


def number(form: str, *numbers: int) -> bytes:
    return struct.pack(f"<{form}", *numbers)


BROKEN: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "0 bytes; a GGUF file has at least 24"),
    "another magic": (b"GGML" + bytes(30), "it begins with 'GGML'; expected 'GGUF'"),
    "a magic that cannot be printed": (b"\x1b\n\xff\0" + bytes(30), "it begins with '\\x1b\\n\\xff\\x00'; expected"),
    "version 0": (build.start(0, 0, version=0), "version 0 of the format; expected 2 or 3"),
    "version 1": (build.start(0, 0, version=1), "version 1 of the format; expected 2 or 3"),
    "version 4": (build.start(0, 0, version=4), "version 4 of the format; expected 2 or 3"),
    "big-endian": (b"GGUF" + struct.pack(">IQQ", 3, 0, 0), "a big-endian file; expected a little-endian one"),
    "countless tensors": (build.start(2**64 - 1, 0), f"{2**64 - 1} tensors; expected at most {TENSORS_LIMIT}"),
    "countless keys": (build.start(0, 2**64 - 1), f"{2**64 - 1} keys; expected at most 65536"),
    "cut before the keys": (build.start(0, 1), "a key at byte 24 goes beyond the end of the file at byte 24"),
    "cut before the tensors": (build.start(1, 0), "a tensor's name at byte 24 goes beyond the end"),
    "a key beyond the file": (
        build.start(0, 1) + number("Q", 99) + b"x",
        "a key of 99 bytes at byte 32 goes beyond the end",
    ),
    "a key of 16 EiB": (
        build.start(0, 1) + number("Q", 2**64 - 1),
        f"a key of {2**64 - 1} bytes at byte 32 goes beyond",
    ),
    "no key": (keyed(b"", build.value(4, 1)), "a name of 0 bytes; expected 1 to 1024"),
    "a key that is not UTF-8": (keyed(b"\xff", build.value(4, 1)), "the name \\xff is not UTF-8"),
    "a key with a line end": (
        keyed(b"a\nb", build.value(4, 1)),
        "the name a\\nb has characters that cannot be printed",
    ),
    "a key twice": (build.start(0, 2) + (build.text("a") + build.value(4, 1)) * 2, "a is there twice"),
    "no type": (keyed(b"a"), "the type of a at byte 33 goes beyond the end"),
    "an unknown type of a value": (keyed(b"a", number("I", 13)), "a has a value of type 13; expected one from 0 to 12"),
    "a value that is cut": (keyed(b"a", number("IH", 4, 1)), "the value of a at byte 37 goes beyond the end"),
    "a string beyond the file": (
        keyed(b"a", number("IQ", 8, 2**63)),
        f"the value of a of {2**63} bytes at byte 45 goes beyond",
    ),
    "a list beyond the file": (
        keyed(b"a", number("IIQ", 9, 4, 2**62)),
        f"the list a of {2**62} elements at byte 49 goes beyond",
    ),
    "a list of strings beyond the file": (
        keyed(b"a", number("IIQ", 9, 8, 2**62)),
        f"the list a has {2**62} strings, more than",
    ),
    "a word beyond the file": (
        keyed(b"a", number("IIQQ", 9, 8, 1, 2**64 - 1)),
        f"a string of {2**64 - 1} bytes in the list a at byte 57 goes beyond",
    ),
    "a list of words that is cut": (
        keyed(b"a", number("IIQQ", 9, 8, 2, 4), b"four1234"[:4], bytes(4)),
        "the list a at byte 61",
    ),
    "a list of lists": (keyed(b"a", number("IIQ", 9, 9, 1)), "the list a holds another list; expected numbers"),
    "a list of nothing known": (
        keyed(b"a", number("IIQ", 9, 77, 1)),
        "the list a holds elements of type 77; expected numbers",
    ),
    "alignment 0": (build.gguf({"general.alignment": (4, 0)}), "general.alignment is 0; expected a power of two"),
    "alignment 24": (build.gguf({"general.alignment": (4, 24)}), "general.alignment is 24; expected a power of two"),
    "alignment 2^31": (
        build.gguf({"general.alignment": (4, 2**31)}),
        "general.alignment is 2147483648; expected a power",
    ),
    "alignment in words": (
        build.gguf({"general.alignment": (8, "32\n")}),
        "general.alignment is 32\\n; expected a power of two",
    ),
    "alignment true": (
        build.gguf({"general.alignment": (7, True)}),
        "general.alignment is True; expected a power of two",
    ),
    "no name": (lined(build.info("", 0, (1,), 0), data=4), "a name of 0 bytes; expected"),
    "a name with a terminal's escape": (
        lined(build.info("\x1b[2J", 0, (1,), 0), data=4),
        "the name \\x1b[2J has characters",
    ),
    "a name twice": (
        lined(build.info("a", 24, (1,), 0), build.info("a", 24, (1,), 32), data=33),
        "tensor a is there twice",
    ),
    "five dimensions": (
        lined(build.info("a", 0, (1,) * 5, 0), data=4),
        "tensor a has 5 dimensions; expected at most 4",
    ),
    "countless dimensions": (
        build.start(1, 0) + build.text("a") + number("I", 2**32 - 1),
        "tensor a has 4294967295 dimensions; expected at most 4",
    ),
    "a negative size": (lined(build.info("a", 0, (2**64 - 1, 1), 0)), "expected fewer than 2^63 elements"),
    "a negative size beside none": (lined(build.info("a", 0, (2**64 - 1, 0), 0)), "expected fewer than 2^63 elements"),
    "sizes that multiply to too much": (
        lined(build.info("a", 0, (2**32, 2**31), 0)),
        "expected fewer than 2^63 elements",
    ),
    "an unknown ggml type": (lined(build.info("a", 4, (32,), 0)), "tensor a has ggml type 4; expected one of F32, F16"),
    "part of a block": (
        lined(build.info("a", 12, (128, 2), 0), data=144),
        "tensor a has rows of 128 elements; Q4_K needs a multiple of 256",
    ),
    "a scalar of blocks": (lined(build.info("a", 2, (), 0), data=18), "tensor a has rows of 1 elements; Q4_0 needs"),
    "an offset that is not aligned": (
        lined(build.info("a", 24, (3,), 0), build.info("b", 24, (3,), 3), data=64),
        "tensor b begins at byte 3 of the data; expected 32, behind the tensor before it",
    ),
    "bytes shared": (
        lined(build.info("a", 24, (64,), 0), build.info("b", 24, (3,), 32), data=67),
        "tensor b begins at byte 32 of the data; expected 64",
    ),
    "a hole": (lined(build.info("a", 24, (3,), 32), data=64), "tensor a begins at byte 32 of the data; expected 0"),
    "an offset of 16 EiB": (lined(build.info("a", 24, (3,), 2**64 - 32), data=3), "of the data; expected 0"),
    "data that is cut": (
        lined(build.info("a", 24, (3,), 0), data=2),
        "its tensors end at byte 67 of a file of 66; the file is cut",
    ),
    "data that is cut by terabytes": (lined(build.info("a", 24, (2**62,), 0)), "; the file is cut"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_header_is_one_line_that_says_what(tmp_path: Path, wrong: Wrong, name: str) -> None:
    content, expected = BROKEN[name]
    path = tmp_path / "m.gguf"
    path.write_bytes(content)
    said = wrong(path)
    assert said.startswith("m.gguf: header: ") and expected in said


def test_the_limit_of_a_header(tmp_path: Path, wrong: Wrong) -> None:
    """A list of numbers that the (sparse) file holds, and that no header does."""
    path = tmp_path / "m.gguf"
    path.write_bytes(keyed(b"a", number("IIQ", 9, 0, HEADER_LIMIT_BYTES)))
    with path.open("r+b") as file:
        file.truncate(2 * HEADER_LIMIT_BYTES)
    assert f"goes beyond the {HEADER_LIMIT_BYTES} bytes that a header may have" in wrong(path)
