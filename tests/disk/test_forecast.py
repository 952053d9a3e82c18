"""Seconds from rates, and what is advised, on both sides of every threshold."""

from __future__ import annotations

from typing import Any

import pytest

from provision.catalog import loading
from provision.disk.advice import Case, advice
from provision.disk.forecast import forecast
from provision.disk.measuring import PARTS, Measured, Rate
from provision.disk.standing import Standing, standing
from provision.facts.disks import Mount, Mounts
from provision.facts.drives import Drive, Health
from provision.facts.place import Layer, Place

GIB = 1 << 30
MB = 1_000_000


def rate(per_s: float, low: float | None = None, high: float | None = None) -> Rate:
    return Rate(bytes=int(per_s), seconds=1.0, low=low or per_s, high=high or per_s, method="m")


def measured(**rates: float) -> Measured:
    parts = {part: rate(value) for part, value in rates.items()}
    return Measured(parts=parts, unmeasured={p: "why" for p in PARTS if p not in parts}, method=(), cold=True)


def stands(kind: str = "ssd", filesystem: str = "ext4", ahead: int | None = 1 << 20, **drive: Any) -> Standing:
    network = kind == "network"
    place = Place(
        path="/m",
        mount_point="/m",
        filesystem=filesystem,
        source="/dev/sda",
        options=(),
        network=network,
        layers=(Layer(kind="network" if network else "memory" if kind == "memory" else "disk", name="sda", detail=""),),
        disks=() if network else ("sda",),
        unseen="",
    )
    fields: dict[str, Any] = {
        "name": "sda",
        "kind": kind if kind in ("hdd", "ssd", "nvme", "virtual") else "unknown",
        "because": "",
        "model": None,
        "emulated": False,
        "rpm": None,
        "bytes": 1 << 40,
        "read_ahead_bytes": ahead,
        "scheduler": None,
        "link": "",
        "link_degraded": False,
        "health": None,
        "health_unknown": "",
    }
    drives = () if network or kind == "memory" else (Drive(**{**fields, **drive}),)
    return standing(place, drives, "" if network else "sda", ahead)


def rules(
    where: Standing, rates: Measured, size: int = 0, cache: int | None = None, mounts: Mounts | None = None
) -> dict[str, str]:
    made = forecast(rates, size, cache) if size else None
    return {one.rule: one.say for one in advice(Case(standing=where, measured=rates, forecast=made, mounts=mounts))}


def test_seconds_are_bytes_over_the_rate_with_its_spread() -> None:
    parts = {"mmap": rate(100 * MB, 50 * MB, 200 * MB), "streamed": rate(200 * MB, 199 * MB, 201 * MB)}
    parts["mmap_warm"] = rate(1000 * MB)
    made = forecast(Measured(parts=parts, unmeasured={}, method=(), cold=True), 1000 * MB, None)
    assert made.cold.mmap and made.cold.streamed and made.warm.mmap
    assert (made.cold.mmap.likely, made.cold.mmap.low, made.cold.mmap.high) == (10, 5, 20)
    assert made.cold.streamed.low == pytest.approx(5 / 1.05)  # steady: two runs differ by so much all the same
    assert made.warm.mmap.high == pytest.approx(1 / 0.75)  # too short to see its steadiness
    assert made.warm.streamed is None
    assert made.best_cold() == made.cold.streamed


def test_what_the_cache_cannot_hold_is_never_warm() -> None:
    share = loading.table().limit["cache_share"].value
    rates = measured(mmap=100 * MB, mmap_warm=1000 * MB)
    holds, fails = (
        forecast(rates, 9 * GIB, int(9 * GIB / share) + 2),
        forecast(rates, 9 * GIB, int(9 * GIB / share) - 2),
    )
    assert (holds.cache_holds, fails.cache_holds) == (True, False)
    assert holds.warm != holds.cold
    assert fails.warm == fails.cold
    assert "cache-too-small" not in rules(stands(), rates, 9 * GIB, int(9 * GIB / share) + 2)
    said = rules(stands(), rates, 9 * GIB, 8 * GIB)["cache-too-small"]
    assert "The model is 9 GiB and 8 GiB of memory" in said and "llama.cpp --no-mmap" in said
    assert forecast(rates, 9 * GIB, None).cache_holds is None


def test_one_reader_on_a_disk_that_turns_or_where_several_are_worse() -> None:
    limit = loading.table().limit["readers_worse"].value
    assert "one-reader" in rules(stands("hdd"), measured(streamed=150 * MB, readers=40 * MB))
    assert "the disk turns" in rules(stands("hdd"), measured(streamed=150 * MB, readers=150 * MB))["one-reader"]
    assert "one-reader" in rules(stands(), measured(streamed=100 * MB, readers=100 * MB * limit - 1))
    assert "one-reader" not in rules(stands(), measured(streamed=100 * MB, readers=100 * MB * limit + 1))
    assert "one-reader" not in rules(stands("memory", "tmpfs"), measured(streamed=100 * MB, readers=1 * MB))


@pytest.mark.parametrize(("filesystem", "itself"), [("nfs4", True), ("lustre", True), ("ceph", False), ("cifs", False)])
def test_a_network_mount_wants_eager_reading(filesystem: str, itself: bool) -> None:
    said = rules(stands("network", filesystem), measured(mmap=100 * MB, streamed=300 * MB))["eager-over-network"]
    assert ("vLLM from 0.20.0 on reads ahead" in said) == itself
    assert ("No engine reads ahead" in said) != itself
    assert "vLLM >= 0.10.2 --safetensors-load-strategy eager" in said and "--weight-loader-disable-mmap" in said
    assert "eager-over-network" not in rules(stands(), measured(mmap=100 * MB))


def test_another_loader_from_its_gain_on() -> None:
    gain = loading.table().limit["loader_gain"].value
    said = rules(stands("nvme"), measured(mmap=GIB, sequential=gain * GIB + 1), 10 * GIB)["another-loader"]
    assert "runai_streamer" in said and "10.0 s become at least 6.7 s" in said
    assert "another-loader" not in rules(stands("nvme"), measured(mmap=GIB, sequential=gain * GIB - 1024))
    assert "prefetch" in rules(stands("nvme"), measured(mmap=GIB, readers=4 * GIB, sequential=GIB))["another-loader"]
    assert "another-loader" not in rules(stands("hdd"), measured(mmap=100 * MB, sequential=200 * MB))


@pytest.mark.parametrize(
    ("ahead", "mapped", "found"),
    [((128 << 10) - 1024, 100, True), (128 << 10, 60, True), (128 << 10, 90, False), (256 << 10, 10, False)],
)
def test_a_read_ahead_that_slows_mapping(ahead: int, mapped: int, found: bool) -> None:
    rates = measured(mmap=mapped * MB, sequential=100 * MB)
    assert ("read-ahead" in rules(stands(ahead=ahead), rates)) == found


def test_more_disks_from_the_patience_on() -> None:
    seconds = loading.table().limit["patience_seconds"].value
    rates = measured(sequential=100 * MB, mmap=100 * MB)
    said = rules(stands("hdd"), rates, int(seconds * 100 * MB))["raid0"]
    assert "takes 30.0 s" in said and "15.0 s at best" in said
    assert "raid0" not in rules(stands("hdd"), rates, int(seconds * 100 * MB) - MB)
    assert "raid0" not in rules(stands("network", "nfs4"), rates, 1 << 40)


def mount(point: str, free: int, **more: Any) -> Mount:
    fields: dict[str, Any] = {
        "mount_point": point,
        "source": "/dev/nvme0n1",
        "filesystem": "ext4",
        "options": ("rw",),
        "network": False,
        "disks": ("nvme0n1",),
        "total_bytes": free,
        "free_bytes": free,
        "inodes_total": 0,
        "inodes_free": 0,
        "unreachable": None,
    }
    return Mount(**{**fields, **more})


def test_a_local_copy_where_one_has_room() -> None:
    rates = measured(mmap=100 * MB, streamed=200 * MB)
    size = 20_000 * MB
    room = Mounts(mounts=(mount("/fast", size + 1),))
    said = rules(stands("network", "nfs4"), rates, size, mounts=room)["local-copy"]
    assert "/fast has room" in said and "1 min 40 s once" in said
    for other in (
        mount("/fast", size),
        mount("/fast", size + 1, network=True),
        mount("/fast", size + 1, options=("ro",)),
        mount("/fast", size + 1, disks=()),
    ):
        assert "local-copy" not in rules(stands("network", "nfs4"), rates, size, mounts=Mounts(mounts=(other,)))
    own = Mounts(mounts=(mount("/fast", size + 1, disks=("sda",)),))
    assert "local-copy" not in rules(stands("hdd"), rates, size, mounts=own)
    assert "local-copy" not in rules(stands("nvme"), rates, size, mounts=room)


def health(**fields: Any) -> Health:
    healthy: dict[str, Any] = {
        "source": "s",
        "well": True,
        "warnings": (),
        "used_percent": 99,
        "spare_percent": 100,
        "media_errors": 0,
        "temperature_c": 40,
    }
    return Health(**{**healthy, **fields})


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({}, ""),
        ({"used_percent": 100}, "100 % of its writes used"),
        ({"media_errors": 1}, "1 errors of the medium"),
        ({"well": False}, "its own verdict is failure"),
        ({"well": False, "warnings": ("read-only",)}, "read-only"),
    ],
)
def test_a_disk_that_fails_is_said_first(fields: Any, said: str) -> None:
    found = rules(stands(health=health(**fields)), measured())
    assert found.get("failing-disk", "") == (f"sda is not well: {said}. Keep a copy of the model." if said else "")


def test_a_narrow_link_is_said() -> None:
    where = stands("nvme", link="PCIe 4.0 x2 of 4.0 x4", link_degraded=True)
    assert "PCIe 4.0 x2 of 4.0 x4" in rules(where, measured())["narrow-link"]
    assert rules(stands("nvme"), measured()) == {}


def test_every_row_of_the_table_has_a_source_and_a_date() -> None:
    table = loading.table()
    rows = [*table.limit.values(), *table.loader]
    assert all(row.source and row.date for row in rows)
