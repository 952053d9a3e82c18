"""What would load the model faster from here, each with its numbers. Pure: facts and measured rates in, sentences out."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from provision.catalog import loading, tables
from provision.disk.forecast import Forecast
from provision.disk.measuring import Measured
from provision.disk.standing import Standing
from provision.facts.disks import Mount, Mounts
from provision.record import record
from provision.report.quantity import duration, size


@record
class Advice:
    rule: str
    say: str
    numbers: dict[str, float]


@record
class Case:
    """All that a rule may look at. ``forecast`` is None without a model."""

    standing: Standing
    measured: Measured
    forecast: Forecast | None
    mounts: Mounts | None


def advice(case: Case) -> tuple[Advice, ...]:
    """What the rules say, those about errors first."""
    return tuple(one for rule in RULES for one in rule(case))


def broken_disk(case: Case) -> Iterator[Advice]:
    """The disk says of itself that it fails or is worn."""
    worn = loading.table().limit["worn_percent"].value
    for drive in case.standing.drives:
        health = drive.health
        if health is None:
            continue
        signs = list(health.warnings)
        signs += ["its own verdict is failure"] if health.well is False and not health.warnings else []
        signs += [f"{health.media_errors} errors of the medium"] if health.media_errors else []
        signs += [f"{health.used_percent} % of its writes used"] if (health.used_percent or 0) >= worn else []
        if signs:
            numbers = {"media_errors": float(health.media_errors or 0), "used_percent": float(health.used_percent or 0)}
            yield _advice(
                "failing-disk", f"{drive.name} is not well: {', '.join(signs)}. Keep a copy of the model.", numbers
            )


def cache_too_small(case: Case) -> Iterator[Advice]:
    """The page cache cannot hold the model: every load is cold, and mapping reads pages again."""
    made = case.forecast
    if made is None or made.cache_holds is not False or made.cache_bytes is None:
        return
    again = f": {duration(made.cold.mmap.likely)} mapped" if made.cold.mmap else ""
    yield _advice(
        "cache-too-small",
        f"The model is {size(made.bytes)} and {size(made.cache_bytes)} of memory may cache it: a second load is as cold as the "
        f"first{again}, and with several ranks each may read the disk again. Add memory, or {_switches('eager')}.",
        {"model_bytes": made.bytes, "cache_bytes": made.cache_bytes},
    )


def one_reader(case: Case) -> Iterator[Advice]:
    """Several readers are slower than one: a head seeks between them."""
    one, several = case.measured.rate("streamed"), case.measured.rate("readers")
    if one is None or several is None or case.standing.kind == "memory":
        return
    worse = several < one * loading.table().limit["readers_worse"].value
    if case.standing.turns or worse:
        seeks = "the disk turns, and " if case.standing.turns else ""
        outcome = "less than" if several < one else "not much more than" if several < 1.2 * one else "against"
        yield _advice(
            "one-reader",
            f"Load with one reader: {seeks}several readers together got {size(several)}/s, {outcome} one reader's "
            f"{size(one)}/s. Leave concurrency and prefetch threads of loaders at 1.",
            {"one_reader_bytes_per_s": one, "several_readers_bytes_per_s": several},
        )


def eager_over_network(case: Case) -> Iterator[Advice]:
    """A network mount is mapped page by page unless the engine is told otherwise."""
    if case.standing.kind != "network":
        return
    kind = case.standing.place.filesystem
    automatic = [row for row in loading.table().loader if row.kind == "automatic" and kind in row.filesystems]
    mapped, streamed = case.measured.rate("mmap"), case.measured.rate("streamed")
    numbers = {"mmap_bytes_per_s": mapped, "streamed_bytes_per_s": streamed}
    rates = f" ({size(mapped)}/s mapped, {size(streamed)}/s read here)" if mapped and streamed else ""
    itself = "".join(f" {row.engine} from {row.first} on reads ahead on {kind} by itself." for row in automatic)
    none = f" No engine reads ahead on {kind} by itself: it is mapped page by page." if not automatic else ""
    yield _advice(
        "eager-over-network",
        f"{case.standing.place.mount_point} is reached over a network{rates}: read the files whole instead of mapping "
        f"them: {_switches('eager')}.{itself}{none}",
        {name: value for name, value in numbers.items() if value},
    )


def another_loader(case: Case) -> Iterator[Advice]:
    """The disk gives more than a mapped file gets."""
    if case.standing.kind in ("network", "memory") or case.standing.turns:
        return
    mapped = case.measured.rate("mmap")
    ways = {part: rate for part in ("sequential", "readers", "streamed") if (rate := case.measured.rate(part))}
    if mapped is None or not ways:
        return
    best = max(ways, key=lambda part: ways[part])
    if ways[best] < mapped * loading.table().limit["loader_gain"].value:
        return
    kind = {"sequential": "stream", "readers": "prefetch", "streamed": "eager"}[best]
    how = {"sequential": "many reads in flight", "readers": "several readers", "streamed": "whole reads"}[best]
    gain = ""
    if case.forecast and case.forecast.cold.mmap:
        gain = (
            f": {duration(case.forecast.cold.mmap.likely)} become at least {duration(case.forecast.bytes / ways[best])}"
        )
    yield _advice(
        "another-loader",
        f"Mapped, the disk gives {size(mapped)}/s; with {how} it gives {size(ways[best])}/s{gain}. Use {_switches(kind)}.",
        {"mmap_bytes_per_s": mapped, f"{best}_bytes_per_s": ways[best]},
    )


def read_ahead(case: Case) -> Iterator[Advice]:
    """A small read-ahead slows mapping and buffered reading, not direct reading."""
    row = tables.thresholds().limit["read_ahead_bytes"]
    ahead = case.standing.read_ahead_bytes
    mapped, direct = case.measured.rate("mmap"), case.measured.rate("sequential")
    if ahead is None or not case.standing.device_name:
        return
    gain = loading.table().limit["loader_gain"].value
    if ahead < row.value or (ahead == row.value and mapped and direct and direct > gain * mapped):
        rates = f"; mapped it gives {size(mapped)}/s of {size(direct)}/s" if mapped and direct else ""
        yield _advice(
            "read-ahead",
            f"{case.standing.device_name} is read {size(ahead)} ahead{rates}. Larger steps serve mapped files: "
            f"blockdev --setra 8192 /dev/{case.standing.device_name}   # 4 MiB; measure again, and keep it by a udev rule",
            {"read_ahead_bytes": ahead},
        )


def more_disks(case: Case) -> Iterator[Advice]:
    """What RAID 0 over equal disks would give, where the disk itself is the limit."""
    rate = case.measured.rate("sequential")
    best = case.forecast.best_cold() if case.forecast else None
    limit = loading.table().limit
    if (
        rate is None
        or case.forecast is None
        or best is None
        or case.standing.kind not in ("hdd", "ssd", "nvme", "virtual")
    ):
        return
    alone = case.forecast.bytes / rate
    if alone >= limit["patience_seconds"].value:
        one, two, four = duration(alone), duration(alone / 2), duration(alone / 4)
        yield _advice(
            "raid0",
            f"Read at the disk's full {size(rate)}/s the model takes {one}; RAID 0 over two such disks {two} at best, over "
            f"four {four}, where the bus carries it and the loader keeps many reads in flight. One lost disk loses all.",
            {"seconds_1": alone, "seconds_2": alone / 2, "seconds_4": alone / 4},
        )


def local_copy(case: Case) -> Iterator[Advice]:
    """A copy on another disk of this machine, once, where one has room."""
    best = case.forecast.best_cold() if case.forecast else None
    slow = case.standing.kind == "network" or case.standing.turns
    if case.forecast is None or best is None or not slow or case.mounts is None:
        return
    wanted = case.forecast.bytes
    own = set(case.standing.place.disks)
    mounts = [m for m in case.mounts.mounts if _takes(m, wanted) and not own & set(m.disks)]
    if best.likely >= loading.table().limit["patience_seconds"].value and mounts:
        target = max(mounts, key=lambda m: m.free_bytes or 0)
        yield _advice(
            "local-copy",
            f"{target.mount_point} has room for a copy ({size(target.free_bytes or 0)} free): making it takes "
            f"{duration(best.likely)} once; what a load takes from there says: provision disk {target.mount_point}",
            {"copy_seconds": best.likely, "free_bytes": target.free_bytes or 0},
        )


def _takes(mount: Mount, wanted: int) -> bool:
    return not mount.network and bool(mount.disks) and (mount.free_bytes or 0) > wanted and "ro" not in mount.options


def narrow_link(case: Case) -> Iterator[Advice]:
    """The disk's PCIe link is slower than both its ends."""
    for drive in case.standing.drives:
        if drive.link_degraded:
            yield _advice(
                "narrow-link",
                f"{drive.name} is on {drive.link}: seat it again or use another slot. A resting link shows a lower speed.",
                {},
            )


def _switches(kind: str) -> str:
    """The engines' switches of one kind, with the releases that have them."""
    rows = [row for row in loading.table().loader if row.kind == kind]
    return ", ".join(f"{row.engine}{f' >= {row.first}' if row.first else ''} {row.switch}" for row in rows)


def _advice(rule: str, say: str, numbers: dict[str, float]) -> Advice:
    return Advice(rule=rule, say=say, numbers={name: float(value) for name, value in numbers.items()})


RULES: tuple[Callable[[Case], Iterator[Advice]], ...] = (
    *(broken_disk, narrow_link, cache_too_small, eager_over_network, one_reader, another_loader, read_ahead),
    *(more_disks, local_copy),
)
