"""``provision disk`` on disks of known rates: QEMU's NVMe and rotating disk, throttled, beside fio in the same machine."""

from __future__ import annotations

import datetime
import json
import statistics
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.bench import measure
from tests.bench.test_disk import PATTERNS, SAID, WITHIN_FIO, windows
from tests.vm.conftest import Drive, VirtualMachine, root_image, tool_disk, what_is_missing

ROUNDS = 3
MIB = 1 << 20
FILE_BYTES = 512 * MIB
READ = int(FILE_BYTES * 0.96)  # what the parts of ours share between them
# What QEMU lets through: bytes and requests a second. A request of the guest is at most 512 KiB; 128 KiB from a mapped file.
RATES = {"nvme": (100 * MIB, 2000), "rotating": (60 * MIB, 480)}
DEVICES = {"nvme": "/dev/nvme0n1", "rotating": "/dev/sda"}
KINDS = {"nvme": "nvme", "rotating": "hdd"}


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[VirtualMachine]:
    if reason := what_is_missing():
        pytest.fail(f"no virtual machine: {reason}")
    tool_disk(tmp_path)
    limits = {kind: f"throttling.bps-read={most},throttling.iops-read={times}" for kind, (most, times) in RATES.items()}
    made = VirtualMachine(
        tmp_path,
        root_image(),
        (Drive("nvme", "one", 2 << 30, limits["nvme"]), Drive("rotating", "turning", 2 << 30, limits["rotating"])),
    )
    try:
        yield made
    finally:
        made.close()


def fio(machine: VirtualMachine, pattern: str, file: str, offset: int, size: int) -> float:
    """Bytes per second."""
    runtime = "--runtime=4" if pattern == "random" else ""
    command = f"fio --name=one --filename={file} --readonly --output-format=json {PATTERNS[pattern]}"
    said = machine.run(f"{command} --offset={offset} --size={size} {runtime}").stdout
    return float(json.loads(said[said.index("{") :])["jobs"][0]["read"]["bw_bytes"])


def peers(machine: VirtualMachine, kind: str) -> dict[str, float]:
    """fio's rates on one disk, by pattern."""
    where = windows(READ)
    files = {part: f"/m/{kind}/{'mapped' if part == 'mmap' else 'part.safetensors'}" for part in PATTERNS}
    return {part: fio(machine, part, files[part], *where[part]) for part in PATTERNS}


def prepare(machine: VirtualMachine) -> None:
    machine.run(
        "apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends fio e2fsprogs"
    )
    for kind, device in DEVICES.items():
        machine.run(f"mkfs.ext4 -q {device} && mkdir -p /m/{kind} && mount {device} /m/{kind}")
        # urandom takes minutes under emulation; what lies there twice does not matter here: QEMU keeps no block once
        fill = f"for i in $(seq {FILE_BYTES >> 24}); do cat /m/seed; done > /m/{kind}/part.safetensors"
        part = f"head -c {windows(READ)['mmap'][1]} /m/{kind}/part.safetensors > /m/{kind}/mapped"
        machine.run(f"dd if=/dev/urandom of=/m/seed bs=1M count=16 status=none; {fill}; {part}; sync; rm /m/seed")


def test_on_disks_of_known_rates(machine: VirtualMachine) -> None:
    prepare(machine)
    rows = ["| disk | pattern | let through | provision disk | fio | ratio to fio |", "|---|---|---:|---:|---:|---:|"]
    ratios: dict[str, float] = {}
    known: dict[str, float] = {}
    for kind, (most, times) in RATES.items():
        file = f"/m/{kind}/part.safetensors"
        pairs: dict[str, list[tuple[float, float]]] = {part: [] for part in PATTERNS}
        for turn in range(ROUNDS):
            theirs = peers(machine, kind) if turn % 2 else {}
            said: dict[str, Any] = json.loads(machine.provision(f"disk {file} --json --seconds 60").stdout)
            assert said["kind"] == KINDS[kind], said["kind_because"]
            assert said["unmeasured"] == {}
            (one,) = said["disks"]
            assert one["emulated"] and one["rpm"] == (7200 if kind == "rotating" else None)
            assert kind == "rotating" or one["health"]["well"]  # asked of the controller by the kernel's own call
            theirs = theirs or peers(machine, kind)
            for part, row in pairs.items():
                row.append((said["parts"][part]["bytes"] / said["parts"][part]["seconds"], theirs[part]))
        limits = {"sequential": most, "mmap": None, "random": times * 4096}
        for part, row in pairs.items():
            mine, peer = (statistics.median(column) for column in zip(*row, strict=True))
            limit = limits[part]
            ratios[f"{kind} {part}"] = statistics.median(a / b for a, b in row)
            if limit:
                known[f"{kind} {part}"] = mine / limit
            shown = f"{limit / 1e6:,.1f} MB/s" if limit else ""
            rows.append(
                f"| {kind} | {SAID[part]} | {shown} | {mine / 1e6:,.1f} MB/s | {peer / 1e6:,.1f} MB/s "
                f"| {ratios[f'{kind} {part}']:.2f} |"
            )
    measure.record(
        "disk-throttled",
        f"{datetime.date.today().isoformat()}, QEMU without KVM on {measure.machine()}; `make bench`; medians of {ROUNDS} "
        "rounds. \"Let through\" is what `throttling.bps-read` and `throttling.iops-read` of QEMU allow; for a mapped file it "
        "depends on the kernel's requests.\n\n" + "\n".join(rows),
    )  # fmt: skip
    assert all(abs(ratio - 1) <= WITHIN_FIO for ratio in ratios.values()), ratios
    assert all(abs(ratio - 1) <= WITHIN_FIO for ratio in known.values()), known
