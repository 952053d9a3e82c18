"""25 MB of anything as a header: at most 8 s of processor time and 400 MiB, and an answer or one line that says what is wrong."""

from __future__ import annotations

import json
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.fit import build

ALONE = Path(__file__).parents[1] / "alone.py"
BYTES = (
    25_000_000  # a quarter of what a header may have; 100 MB took up to 5.3 s and 299 MiB (2 cores shared, 2026-11-24)
)
SECONDS = 8.0
MIB = 400
READ = (
    "import sys; sys.path.insert(0, sys.argv[2])\nfrom provision.errors import UsageError\nfrom provision.fit import checkpoint\n"
    "try:\n    checkpoint.read_here(sys.argv[1])\nexcept UsageError as error:\n    sys.exit(2)\n"
)


def filled(before: bytes, unit: bytes, after: bytes = b"") -> Callable[[], bytes]:
    """So many units that all is as long as a header may be."""
    return lambda: before + unit * ((BYTES - len(before) - len(after)) // len(unit)) + after


def numbered(before: bytes, unit: str, after: bytes) -> Callable[[], bytes]:
    """The same, where each unit has its own eight digits."""
    many = (BYTES - len(before) - len(after)) // len(unit.format(0).encode())
    return lambda: before + "".join(map(unit.format, range(many))).encode() + after


EMPTY = '"{:08d}":{{"dtype":"U8","shape":[0],"data_offsets":[0,0]}},'
ESCAPED = '"é{:06d}":{{"dtype":"U8","shape":[0],"data_offsets":[0,0]}},'
LAST = b'"z":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}}'
SAFETENSORS: dict[str, Callable[[], bytes]] = {
    "empty lists": filled(b'{"a":[', b"[],"),
    "empty objects": filled(b'{"a":{', b'"":{},'),
    "open lists": filled(b'{"a":', b"["),
    "numbers": filled(b'{"a":{"shape":[', b"1,"),
    "digits": filled(b'{"a":{"shape":[', b"9"),
    "spaces": filled(b"{", b" "),
    "backslashes": filled(b'{"', b"\\\\"),
    "a name without end": filled(b'{"', b"x"),
    "emoji": filled(b'{"', "💥".encode()),
    "quotes": filled(b"{", b'"'),
    "metadata": numbered(b'{"__metadata__":{', '"{:08d}":"",', b'"z":""}}'),
    "one long string of metadata": filled(b'{"__metadata__":{"a":"', b"x", b'"}}'),
    "one long string of escapes": filled(b'{"__metadata__":{"a":"', b"\\u00e9", b'"}}'),
    "tensors": numbered(b"{", EMPTY, LAST),
    "tensors one by one": numbered(b"{", ESCAPED, LAST),
    "zeros": filled(b"", b"\0"),
}
GGUF: dict[str, Callable[[], bytes]] = {
    "a long value": filled(build.start(0, 1) + build.text("a") + struct.pack("<IQ", 8, BYTES - 60), b"x"),
    "empty words": filled(build.start(0, 1) + build.text("a") + struct.pack("<IIQ", 9, 8, BYTES // 8 - 8), bytes(8)),
    "numbers": filled(build.start(0, 1) + build.text("a") + struct.pack("<IIQ", 9, 0, BYTES - 60), b"x"),
    "zeros": filled(build.start(1 << 19, 1 << 16), b"\0"),
}


def read(path: Path, timeout: float = 120) -> tuple[int, float, float]:
    """Exit status, processor seconds and MiB of a reader of its own."""
    report = path.with_suffix(".report")
    command = [sys.executable, "-IS", str(ALONE), str(report), sys.executable, "-S", "-c", READ, str(path)]
    subprocess.run([*command, str(ALONE.parents[1])], check=True, timeout=timeout)
    used = json.loads(report.read_text())
    return used["status"], used["processor_seconds"], used["peak_bytes"] / 2**20


@pytest.mark.parametrize("name", SAFETENSORS)
def test_a_hostile_safetensors_header_is_bounded(tmp_path: Path, name: str) -> None:
    path = tmp_path / "m.safetensors"
    path.write_bytes(build.safetensors(SAFETENSORS[name]()))
    status, seconds, mib = read(path)
    path.unlink()
    good = name in ("one long string of metadata", "one long string of escapes", "tensors", "tensors one by one")
    assert status == (0 if good else 2)
    assert seconds <= SECONDS and mib <= MIB, f"{seconds} s, {mib} MiB"


@pytest.mark.parametrize("name", GGUF)
def test_a_hostile_gguf_header_is_bounded(tmp_path: Path, name: str) -> None:
    path = tmp_path / "m.gguf"
    path.write_bytes(GGUF[name]())
    status, seconds, mib = read(path)
    path.unlink()
    assert status == (2 if name == "zeros" else 0)
    assert seconds <= SECONDS and mib <= MIB, f"{seconds} s, {mib} MiB"


@pytest.mark.parametrize("name", ["empty lists", "tensors", "spaces", "metadata"])
def test_a_hostile_index_is_bounded(tmp_path: Path, name: str) -> None:
    content = {
        "empty lists": filled(b'{"metadata":[', b"[],"),
        "tensors": numbered(b'{"weight_map":{', '"{:08d}":"m.safetensors",', b'"z":"m.safetensors"}}'),
        "spaces": SAFETENSORS["spaces"],
        "metadata": filled(b'{"metadata":{"a":"', b"x", b'"}}'),
    }[name]()
    (tmp_path / "config.json").write_bytes(b"{}")
    index = tmp_path / "model.safetensors.index.json"
    index.write_bytes(content)
    status, seconds, mib = read(tmp_path)
    index.unlink()
    assert status == 2
    assert seconds <= SECONDS and mib <= MIB, f"{seconds} s, {mib} MiB"
