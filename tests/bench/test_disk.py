"""``provision disk`` beside fio on the same pattern of the same file, and its forecast beside loads by safetensors."""

from __future__ import annotations

import datetime
import json
import os
import shutil
import statistics
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from provision.payload.disk.__main__ import BYTES
from tests.bench import measure

ROUNDS, LOADS = 5, 5
BACKENDS = {"mmap": "mmap", "streamed": "pread"}
GIB = 1 << 30
FILE_BYTES = 4 * GIB
MODEL_BYTES = 2 * GIB
WITHIN_FIO, WITHIN_LOAD = 0.10, 0.15
PROVISION = str(Path(sys.executable).with_name("provision"))
SMOKE = os.environ.get("PROVISION_SMOKE_PYTHON", str(measure.ROOT / ".venv-smoke/bin/python"))
PATTERNS = {
    "sequential": "--rw=read --bs=1M --direct=1 --ioengine=libaio --iodepth=16",
    "mmap": "--rw=read --bs=1M --direct=0 --ioengine=mmap --fadvise_hint=0 --invalidate=1",
    "random": "--rw=randread --bs=4k --direct=1 --ioengine=libaio --iodepth=32 --randrepeat=0",
}
SAID = {
    "sequential": "one reader, O_DIRECT, 1 MiB, 16 in flight",
    "mmap": "mapped, cold, one thread",
    "random": "4 KiB at random, O_DIRECT, 32 in flight",
}


@pytest.fixture
def folder() -> Iterator[Path]:
    """On the disk of this checkout: a temporary folder may be memory."""
    path = measure.ROOT / ".bench"
    path.mkdir()
    try:
        yield path
    finally:
        shutil.rmtree(path)


def windows(size: int) -> dict[str, tuple[int, int]]:
    """Where each part of ours reads in one file: offset and length.

    For "mmap" fio needs a file of that length of its own: with an offset its mmap engine (3.33) maps the file's beginning,
    and anew for every block (seen with strace, 2026-11-24).
    """
    found, start = {}, 0.0
    for part, share in BYTES.items():
        found[part] = (int(size * start) >> 20 << 20, int(size * share) >> 20 << 20)
        start += share
    return {**found, "mmap": (0, found["mmap"][1]), "random": (0, size)}


def fio(pattern: str, file: Path, offset: int, size: int, seconds: float) -> float:
    """Bytes per second by fio on a window of a file; it stops after so many seconds."""
    command = [
        *("fio", "--name=one", f"--filename={file}", "--readonly", "--output-format=json", "--group_reporting"),
        *(*PATTERNS[pattern].split(), f"--offset={offset}", f"--size={size}", f"--runtime={int(seconds * 1000)}ms"),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return float(json.loads(done.stdout[done.stdout.index("{") :])["jobs"][0]["read"]["bw_bytes"])


def ours(path: Path, *options: str) -> dict[str, Any]:
    done = subprocess.run(
        [PROVISION, "disk", str(path), "--json", *options], capture_output=True, text=True, check=True
    )
    return dict(json.loads(done.stdout))


def hold_memory(gibibytes: int = 3) -> None:
    """Have so much and give it back: a hypervisor that takes free memory back gives it again here, not to whoever maps first."""
    subprocess.run([sys.executable, "-c", f"bytearray(b'1') * ({gibibytes} << 30)"], check=True)


def random_file(path: Path, size: int) -> None:
    with path.open("wb") as file:
        for _ in range(size >> 24):
            file.write(os.urandom(1 << 24))
        file.flush()
        os.fsync(file.fileno())


def test_beside_fio_on_this_disk(folder: Path) -> None:
    if shutil.which("fio") is None:
        pytest.fail("fio is not there: apt-get install fio")
    file = folder / "part.safetensors"
    random_file(file, FILE_BYTES)
    where = windows(int(FILE_BYTES * 0.96))
    mapped = folder / "mapped"  # measured by both as a file of its own: see ``windows``
    random_file(mapped, GIB)
    where["mmap"] = (0, GIB)

    def theirs() -> dict[str, float]:
        hold_memory()
        return {
            part: fio(part, mapped if part == "mmap" else file, *where[part], 1.0)
            for part in ("mmap", "sequential", "random")
        }

    def mine() -> dict[str, dict[str, float]]:
        whole = ours(file)["parts"]
        hold_memory()
        return {**whole, "mmap": ours(mapped)["parts"]["mmap"]}

    rates: dict[str, list[tuple[float, float]]] = {part: [] for part in PATTERNS}
    for turn in range(ROUNDS + 1):  # whoever is first in a round finds other programs' traces: they take turns
        peers: dict[str, float] = {}
        if turn % 2:
            peers = theirs()
        parts = mine()
        if not turn % 2:
            peers = theirs()
        if turn:
            for part, row in rates.items():
                row.append((parts[part]["bytes"] / parts[part]["seconds"], peers[part]))
    rows = ["| pattern | provision disk | fio | ratio | ratios of single rounds |", "|---|---:|---:|---:|---:|"]
    ratios = {}
    for part, pairs in rates.items():
        mine, peer = (statistics.median(column) for column in zip(*pairs, strict=True))
        single = sorted(a / b for a, b in pairs)
        ratios[part] = statistics.median(single)
        rows.append(
            f"| {SAID[part]} | {mine / 1e6:,.0f} MB/s | {peer / 1e6:,.0f} MB/s | {ratios[part]:.2f} "
            f"| {single[0]:.2f} to {single[-1]:.2f} |"
        )
    measure.record(
        "disk-fio",
        f"{datetime.date.today().isoformat()}, {measure.machine()}, load average {os.getloadavg()[1]:.1f}, "
        "a hypervisor's disk (virtio, ext4), "
        f"{fio_version()}; `make bench`; medians of {ROUNDS} rounds, `provision disk FILE` and fio in turns on the same "
        "windows of one 4 GiB file (mapped: of another, of 1 GiB); the ratio is the median of the rounds' ratios.\n\n"
        + "\n".join(rows),
    )
    assert all(abs(ratio - 1) <= WITHIN_FIO for ratio in ratios.values()), ratios


def fio_version() -> str:
    return subprocess.run(["fio", "--version"], capture_output=True, text=True, check=True).stdout.strip()


# What an engine's loader does, with main memory in the GPU's place: parameters that are there already, filled by one thread.
LOADER = """
import resource, sys, time
import torch
from safetensors import safe_open
torch.set_num_threads(1)
path, backend, room = sys.argv[1:]
with safe_open(path, framework="pt") as file:
    shapes = {name: file.get_slice(name).get_shape() for name in file.keys()}
wanted = {name: torch.ones(shape, dtype=torch.bfloat16) for name, shape in shapes.items()}
held = torch.ones(int(room), dtype=torch.uint8)  # a hypervisor that takes free memory back gives it again here, not below
del held
worked = time.process_time()
started = time.monotonic()
with safe_open(path, framework="pt", backend=backend) as file:
    for name in file.keys():
        wanted[name].copy_(file.get_tensor(name))
print(time.monotonic() - started, time.process_time() - worked)
"""
MAKER = """
import sys, torch
from safetensors.torch import save_file
path, size = sys.argv[1], int(sys.argv[2])
count = size // (4096 * 4096 * 2)
save_file({f"layers.{i}.weight": torch.randint(-32768, 32767, (4096, 4096), dtype=torch.int16).view(torch.bfloat16)
           for i in range(count)}, path)
"""


def evict(file: Path) -> None:
    fd = os.open(file, os.O_RDONLY)
    os.fsync(fd)
    os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
    os.close(fd)


def load(file: Path, backend: str, room: int) -> float:
    """Wall seconds; ``room``: bytes of free memory that the process has had and given back before."""
    done = subprocess.run(
        [SMOKE, "-c", LOADER, str(file), backend, str(room)], capture_output=True, text=True, check=True
    )
    return float(done.stdout.split()[0])


def loads(file: Path, state: str) -> dict[str, list[tuple[float, float]]]:
    """Seconds forecast and taken, by case, in rounds that take turns."""
    pairs: dict[str, list[tuple[float, float]]] = {f"{state}, {way}": [] for way in BACKENDS}
    for turn in range(LOADS + 1):  # the first round finds a file that the hypervisor has never read
        if state == "cold":
            evict(file)
            hold_memory(8)
        made = ours(file.parent)["load_seconds"][state]
        for way, backend in BACKENDS.items():
            if state == "cold":
                evict(file)
            else:
                warm(file)
            took = load(file, backend, 8 * GIB if state == "cold" else 0)
            if turn:
                pairs[f"{state}, {way}"].append((made[way]["likely"], took))
    return pairs


def warm(file: Path) -> None:
    with file.open("rb") as opened:
        while opened.read(1 << 24):
            pass


@contextmanager
def little_memory_free() -> Iterator[None]:
    """All but 12 GiB of the free memory is held, so that what a load gets is what was held and given back just before.

    A hypervisor takes back what has been free for some seconds, and whoever needs it then waits: loads of one file took 1.1
    to 9 s in turn (2026-11-24). That is a property of this machine's memory, not of its disk. Warm loads need no new memory
    for the file: held memory only pressed on it there (0.49 s with 8 GiB left, 0.36 s with all of it, 2026-11-25).
    """
    said = Path("/proc/meminfo").read_text().splitlines()
    available = next(int(line.split()[1]) for line in said if line.startswith("MemAvailable"))
    size = max(0, (available << 10) - 12 * GIB)
    command = [sys.executable, "-c", f"held = bytearray(b'1') * {size}; print(flush=True); input()"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        holder.stdout.readline()
        yield
        holder.communicate(b"\n")


def test_forecast_beside_loads(folder: Path) -> None:
    file = folder / "model.safetensors"
    subprocess.run([SMOKE, "-c", MAKER, str(file), str(MODEL_BYTES)], check=True)
    pairs = loads(file, "warm")
    with little_memory_free():
        pairs |= loads(file, "cold")
    rows = ["| case | forecast | load | ratio | ratios of single rounds |", "|---|---:|---:|---:|---:|"]
    ratios = {}
    for name, row in pairs.items():
        mine, took = (statistics.median(column) for column in zip(*row, strict=True))
        single = sorted(a / b for a, b in row)
        ratios[name] = statistics.median(single)
        backend = BACKENDS[name.split()[1]]
        rows.append(
            f'| {name}: `safe_open(backend="{backend}")` | {mine:.2f} s | {took:.2f} s | {ratios[name]:.2f} '
            f"| {single[0]:.2f} to {single[-1]:.2f} |"
        )
    measure.record(
        "disk-load",
        f"{datetime.date.today().isoformat()}, {measure.machine()}, load average {os.getloadavg()[1]:.1f}; `make bench`; "
        f"{LOADS} rounds: `provision disk FOLDER`, then loads of its 2 GiB of bfloat16 in 64 tensors by one thread of "
        "safetensors and torch into parameters that were there; the ratio is the median of the rounds' ratios.\n\n"
        + "\n".join(rows),
    )
    assert all(abs(ratio - 1) <= WITHIN_LOAD for ratio in ratios.values()), ratios
