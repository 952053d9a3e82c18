"""Safetensors headers: what real ones say, and every way in which one can be wrong."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from provision.fit import checkpoint
from provision.fit.source import HEADER_LIMIT_BYTES
from tests.fit import build
from tests.fit.build import tensor

Wrong = Callable[[Path], str]
MODEL = Path(__file__).parents[2] / "provision/payload/smoke/model"
GOOD = {"a": tensor("F32", (2, 3), 0, 24)}


def test_the_bundled_model_is_read_exactly() -> None:
    found = checkpoint.read_checkpoint(MODEL)
    raw = (MODEL / "model.safetensors").read_bytes()
    header = json.loads(raw[8 : 8 + struct.unpack("<Q", raw[:8])[0]])
    expected = {name: entry for name, entry in header.items() if name != "__metadata__"}
    assert [one.name for one in found.tensors] == sorted(expected)
    for one in found.tensors:
        begin, end = expected[one.name]["data_offsets"]
        entry = (expected[one.name]["dtype"], tuple(expected[one.name]["shape"]), end - begin)
        assert (one.dtype, one.shape, one.bytes) == entry
    assert (found.format, found.files, found.bytes, found.file_bytes) == (
        "safetensors",
        ("model.safetensors",),
        3175488,
        len(raw),
    )
    assert found.config == json.loads((MODEL / "config.json").read_text())
    assert found.path == str(MODEL)


@pytest.mark.parametrize(
    ("dtype", "shape", "size"),
    [
        *[("BF16", (3, 5), 30), ("F8_E4M3", (7,), 7), ("F8_E8M0", (7,), 7), ("F4", (2, 3), 3), ("F6_E2M3", (4,), 3)],
        *[("I32", (), 4), ("U8", (0, 5), 0), ("BOOL", (1,), 1), ("F64", (2,), 16), ("C64", (2,), 16), ("U16", (2,), 4)],
    ],
)
@pytest.mark.parametrize("spelling", [build.compact, lambda header: json.dumps(header, indent=1).encode()])
def test_types_and_both_spellings(
    tmp_path: Path, dtype: str, shape: tuple[int, ...], size: int, spelling: Callable[[Any], bytes]
) -> None:
    header = {"a": tensor(dtype, shape, 0, size), "z": tensor("U8", (2,), size, size + 2)}
    (tmp_path / "m.safetensors").write_bytes(build.safetensors(spelling(header), size + 2))
    found = checkpoint.read_checkpoint(tmp_path / "m.safetensors")
    assert [(one.name, one.dtype, one.shape, one.bytes) for one in found.tensors] == [
        ("a", dtype, shape, size),
        ("z", "U8", (2,), 2),
    ]
    assert (found.bytes, found.config) == (size + 2, {})


def test_metadata_escapes_any_order_and_padding(tmp_path: Path) -> None:
    header = (
        b'{"__metadata__":{"format":"pt","quote \\" and }":"{\\\\"},'
        b'"b\\u00e9":{"data_offsets":[24,48],"shape":[2, 3],"dtype":"F32"},'
        b'"a":{"dtype":"F32","shape":[2,3],"data_offsets":[0,24]} }  \n'
    )
    (tmp_path / "m.safetensors").write_bytes(build.safetensors(header, 48))
    assert [one.name for one in checkpoint.read_checkpoint(tmp_path / "m.safetensors").tensors] == ["a", "bé"]


def test_no_tensors_at_all(tmp_path: Path) -> None:
    (tmp_path / "m.safetensors").write_bytes(build.safetensors({}))
    assert checkpoint.read_checkpoint(tmp_path / "m.safetensors").tensors == ()


def two(first: dict[str, Any], second: dict[str, Any]) -> dict[str, Any]:
    return {"a": first, "b": second}


RAW = b'{"a":{"dtype":"F32","shape":[2,3],"data_offsets":[0,24]}}'
TWICE = b"{" + b",".join([RAW[1:-1]] * 3) + b"}"
BROKEN: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "0 bytes; a safetensors file begins with 8 bytes of header length"),
    "seven bytes": (bytes(7), "7 bytes; a safetensors file begins"),
    "no header": (bytes(8), "header: no JSON object at byte 0"),
    "a header that goes beyond": (struct.pack("<Q", 9) + b"{}", "a header of 9 bytes in a file of 10; the file is cut"),
    "a header of 16 EiB": (b"\xff" * 30, f"a header of {2**64 - 1} bytes; expected at most {HEADER_LIMIT_BYTES}"),
    "a list": (build.safetensors(b"[]"), "header: no JSON object at byte 0"),
    "white space first": (build.safetensors(b" " + RAW, 24), "header: no JSON object at byte 0"),
    "cut JSON": (build.safetensors(RAW[:-1], 24), "header: no JSON: expected ',' or '}' at byte 56"),
    "cut in a name": (build.safetensors(b'{"a'), "header: no JSON: the string at byte 1 does not end"),
    "cut after a backslash": (build.safetensors(b'{"a\\"'), "header: no JSON: the string at byte 1 does not end"),
    "no colon": (build.safetensors(b'{"a"}'), "header: no JSON: expected ':' at byte 4"),
    "a comma at the end": (build.safetensors(RAW[:-1] + b",}", 24), "header: no JSON: expected a string at byte 57"),
    "something behind": (build.safetensors(RAW + b"x", 24), "header: something follows the JSON object, from byte 57"),
    "not UTF-8": (build.safetensors(RAW.replace(b"a", b"\xff", 1), 24), "header: the string at byte 1 is not UTF-8"),
    "half a surrogate": (build.safetensors(RAW.replace(b'"a"', b'"\\ud800"'), 24), "half a surrogate pair"),
    "a bare line end in a name": (build.safetensors(RAW.replace(b'"a"', b'"\n"'), 24), "a bare control character"),
    "an escaped line end": (
        build.safetensors(RAW.replace(b'"a"', b'"\\n"'), 24),
        "the name \\n has characters that cannot be",
    ),
    "a terminal's escape": (
        build.safetensors(RAW.replace(b'"a"', b'"\\u001b[31m"'), 24),
        "the name \\x1b[31m has characters",
    ),
    "no name": (build.safetensors(RAW.replace(b'"a"', b'""'), 24), "a name of 0 bytes; expected 1 to 1024"),
    "a long name": (build.safetensors({"n" * 1025: GOOD["a"]}, 24), "a name of 1025 bytes; expected 1 to 1024"),
    "a name twice": (build.safetensors(TWICE, 24), "header: a is there twice"),
    "metadata twice": (
        build.safetensors(b'{"__metadata__":{},"__metadata__":{},' + RAW[1:], 24),
        "header: __metadata__ is there twice",
    ),
    "a key of the metadata twice": (
        build.safetensors(b'{"__metadata__":{"a":"","a":""}}'),
        "__metadata__ has a key twice",
    ),
    "metadata of lists": (
        build.safetensors({"__metadata__": {"a": []}}),
        "header: no JSON: expected a string at byte 21",
    ),
    "metadata like a tensor": (
        build.safetensors({"__metadata__": GOOD["a"], **GOOD}, 24),
        "header: no JSON: expected a string at byte 39",
    ),
    "a key of a tensor twice": (
        build.safetensors(RAW.replace(b'"shape"', b'"dtype":"F32","shape"'), 24),
        "header: the same key twice in one object",
    ),
    "a key too much": (build.safetensors({"a": {**GOOD["a"], "x": 1}}, 24), "a: expected an object with dtype, shape"),
    "a key too few": (
        build.safetensors({"a": {"dtype": "F32", "shape": []}}),
        "a: expected an object with dtype, shape",
    ),
    "a tensor that is a list": (build.safetensors({"a": [1]}), "a: expected an object with dtype, shape"),
    "an unknown type": (
        build.safetensors({"a": tensor("F3", (1,), 0, 4)}, 4),
        "a has dtype F3; expected one of BOOL, F4",
    ),
    "a type that is a number": (build.safetensors({"a": tensor(1, (1,), 0, 4)}, 4), "a has dtype 1; expected one of"),  # type: ignore[arg-type]
    "a float": (build.safetensors({"a": tensor("F32", (1.0,), 0, 4)}, 4), "a: shape: expected a list of at most 16"),  # type: ignore[arg-type]
    "a boolean": (build.safetensors({"a": tensor("F32", (True,), 0, 4)}, 4), "a: shape: expected a list of at most 16"),
    "a negative size": (
        build.safetensors({"a": tensor("F32", (-1,), 0, 4)}, 4),
        "a: shape: expected a list of at most 16",
    ),
    "a size of 2^63": (build.safetensors({"a": tensor("F32", (2**63,), 0, 4)}, 4), "a: shape: expected a list"),
    "a number of 5,000 digits": (
        build.safetensors(RAW.replace(b"[2,3]", b"[" + b"9" * 5000 + b"]"), 24),
        "header: no JSON value of at most 4096 bytes at byte 5",
    ),
    "a leading zero": (build.safetensors(RAW.replace(b"[2,3]", b"[02,3]"), 24), "header: no JSON value"),
    "seventeen dimensions": (
        build.safetensors({"a": tensor("U8", (1,) * 17, 0, 1)}, 1),
        "a: shape: expected a list of at most 16",
    ),
    "three offsets": (
        build.safetensors(RAW.replace(b"[0,24]", b"[0,24,24]"), 24),
        "a: data_offsets: expected two whole numbers below 2^63",
    ),
    "a negative offset": (build.safetensors({"a": tensor("F32", (6,), -24, 0)}), "a: data_offsets: expected two whole"),
    "offsets backwards": (build.safetensors({"a": tensor("F32", (6,), 24, 0)}, 24), "a has data_offsets 24 to 0; F32"),
    "too few bytes": (
        build.safetensors({"a": tensor("F32", (2, 3), 0, 23)}, 23),
        "a has data_offsets 0 to 23; F32 of shape 2 x 3 takes 24 bytes",
    ),
    "half a byte": (
        build.safetensors({"a": tensor("F4", (3,), 0, 2)}, 2),
        "a has data_offsets 0 to 2; F4 of shape 3 takes 12 bits",
    ),
    "sizes that multiply to too much": (
        build.safetensors({"a": tensor("F32", (2**62, 2**62), 0, 24)}, 24),
        f"F32 of shape {2**62} x {2**62} takes {2**126} bytes",
    ),
    "data that is cut": (build.safetensors(GOOD, 23), "a ends at byte 24 of 23 bytes of data; the file is cut"),
    "data too much": (
        build.safetensors(GOOD, 25),
        "the tensors end at byte 24 of 25 bytes of data; expected that they fill",
    ),
    "a hole": (
        build.safetensors(two(tensor("U8", (4,), 0, 4), tensor("U8", (4,), 5, 9)), 9),
        "b leaves a hole behind the tensor before it: it begins at byte 5; expected 4",
    ),
    "a hole at the start": (
        build.safetensors({"a": tensor("U8", (4,), 1, 5)}, 5),
        "a leaves a hole behind the tensor before",
    ),
    "bytes shared": (
        build.safetensors(two(tensor("U8", (4,), 0, 4), tensor("U8", (4,), 3, 7)), 7),
        "b shares bytes with the tensor before it: it begins at byte 3; expected 4",
    ),
    "deep nesting": (
        build.safetensors(b'{"a":' + b"[" * 4000 + b"]" * 4000 + b"}"),
        "header: nested too deeply at byte 5",
    ),
    "deeper than the limit": (build.safetensors(b'{"a":' + b'{"a":' * 200_000), "header: n"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_header_is_one_line_that_says_what(tmp_path: Path, wrong: Wrong, name: str) -> None:
    content, expected = BROKEN[name]
    path = tmp_path / "m.safetensors"
    path.write_bytes(content)
    said = wrong(path)
    assert said.startswith("m.safetensors: ") and expected in said


def test_the_slow_and_the_fast_way_refuse_alike(tmp_path: Path, wrong: Wrong) -> None:
    """The last tensor of a file is read member by member, all before it by one pattern: each fault once in either place."""
    path = tmp_path / "m.safetensors"
    last = {"z": tensor("U8", (1,), 24, 25)}
    for entry in (tensor("F3", (2, 3), 0, 24), tensor("F32", (2, 4), 0, 24), tensor("F32", (6,), 24, 0)):
        said = []
        for header in ({"a": entry}, {"a": entry, **last}):
            path.write_bytes(build.safetensors(header, 25))
            said.append(wrong(path))
        assert said[0] == said[1]


@pytest.mark.parametrize("limit", [3, 2])
def test_more_tensors_than_any_model_has(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wrong: Wrong, limit: int
) -> None:
    monkeypatch.setattr("provision.fit.safetensors.TENSORS_LIMIT", limit)
    path = tmp_path / "m.safetensors"
    path.write_bytes(build.shard("a", "b", "c"))
    if limit == 3:
        assert len(checkpoint.read_here(str(path)).tensors) == 3
    else:
        assert "more than 2 tensors" in wrong(path)


@pytest.mark.parametrize(
    ("length", "said"), [(HEADER_LIMIT_BYTES, "the file is cut"), (HEADER_LIMIT_BYTES + 1, "expected at most")]
)
def test_the_limit_of_a_header(tmp_path: Path, wrong: Wrong, length: int, said: str) -> None:
    path = tmp_path / "m.safetensors"
    path.write_bytes(struct.pack("<Q", length) + RAW)
    assert said in wrong(path)
