"""What ``provision disk`` saw, as one screen and as JSON."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from provision import codec
from provision.disk.forecast import Load, Seconds
from provision.disk.looking import Seen
from provision.disk.measuring import PAGE_BYTES, PARTS, Rate
from provision.facts.drives import Drive, Health
from provision.report.layout import PLAIN, Style, prose, table
from provision.report.quantity import duration, size

SCHEMA = 1
MB = 1_000_000  # [expect] counts as disks are sold
_NAMES = {
    "sequential": "one reader, past the cache",
    "readers": "several readers",
    "mmap": "mapped, cold",
    "streamed": "whole reads, cold",
    "mmap_warm": "mapped, cached",
    "streamed_warm": "whole reads, cached",
    "random": "single pages",
}
_KEYS = {
    "sequential": "sequential_read_bytes_per_s",
    "mmap": "mmap_read_bytes_per_s",
    "readers": "several_readers_bytes_per_s",
    "streamed": "streamed_read_bytes_per_s",
    "mmap_warm": "mmap_warm_bytes_per_s",
    "streamed_warm": "streamed_warm_bytes_per_s",
}


def exit_code(seen: Seen, expected: int | None) -> int:
    """1: slower than expected, or the disk says that it fails; 3: could not be measured; else 0."""
    if _slower(seen, expected) or any(one.rule == "failing-disk" for one in seen.advice):
        return 1
    return 0 if "sequential" in seen.measured.parts else 3


def _slower(seen: Seen, expected: int | None) -> bool:
    rate = seen.measured.rate("sequential")
    return expected is not None and rate is not None and rate < expected * MB


def as_json(seen: Seen, expected: int | None) -> dict[str, Any]:
    """The contract's keys, and everything behind them."""
    stands, measured = seen.standing, seen.measured
    random = measured.parts.get("random")
    found: dict[str, Any] = {
        "schema": SCHEMA,
        "path": stands.place.path,
        "device": stands.place.source,
        "kind": stands.kind,
        "kind_because": stands.kind_because,
        "filesystem": stands.place.filesystem,
        "mount_point": stands.place.mount_point,
        "options": list(stands.place.options),
        "layers": codec.dump(stands.place.layers),
        "unseen": stands.place.unseen,
        "disks": codec.dump(stands.drives),
        "read_ahead_bytes": stands.read_ahead_bytes,
        **{key: _round(measured.rate(part)) for part, key in _KEYS.items()},
        "random_read_iops": _round(random.per_s / PAGE_BYTES) if random else None,
        "parts": codec.dump(measured.parts),
        "unmeasured": dict(measured.unmeasured),
        "cold": measured.cold,
        "method": "; ".join(measured.method) or None,
        "advice": codec.dump(seen.advice),
    }
    if seen.forecast and seen.checkpoint:
        found["model"] = {
            "name": seen.checkpoint.name,
            "bytes": seen.checkpoint.bytes,
            "files": len(seen.checkpoint.files),
            "whole": seen.checkpoint.whole,
        }
        found["load_seconds"] = {"cold": codec.dump(seen.forecast.cold), "warm": codec.dump(seen.forecast.warm)}
        found["cache_holds_model"] = seen.forecast.cache_holds
    if expected is not None:
        found["expected_bytes_per_s"] = expected * MB
        found["as_expected"] = None if measured.rate("sequential") is None else not _slower(seen, expected)
    return found


def _round(value: float | None) -> int | None:
    return None if value is None else round(value)


def text(seen: Seen, expected: int | None, style: Style = PLAIN) -> str:
    """One screen: what it is, how fast, how long a model takes, what would help."""
    place = seen.standing.place
    lines = [
        style.paint(f"{place.path}: {seen.standing.kind}", "head"),
        *prose(seen.standing.kind_because, style, "  "),
    ]
    stack = [f"{layer.name} ({layer.kind}{f': {layer.detail}' if layer.detail else ''})" for layer in place.layers]
    rows = [("mount", f"{place.filesystem} on {place.mount_point} from {place.source}, {','.join(place.options)}")]
    rows += [("stands on", " > ".join(stack))] if len(stack) > 1 else []
    rows += [("not seen", place.unseen)] if place.unseen else []
    rows += [("disk", _drive(drive)) for drive in seen.standing.drives]
    for name, words in rows:
        lines += prose(words, style, "             ", f"  {name:<11}")
    lines += ["", style.paint("read", "head"), *table(_rates(seen))]
    lines += _unmeasured(seen, style)
    if expected is not None:
        verdict = (
            "slower than"
            if _slower(seen, expected)
            else "at least"
            if seen.measured.rate("sequential")
            else "not compared with"
        )
        lines.append(f"  {verdict} the {expected} MB/s that provision.toml expects of one reader past the cache")
    lines += prose("; ".join(seen.measured.method), style, "  ", "  how: ") if seen.measured.method else []
    lines += _forecast(seen, style)
    if seen.advice:
        lines += ["", style.paint("what would help" if seen.forecast else "note", "head")]
        for one in seen.advice:
            lines += prose(one.say, style, "    ", "  - ")
    return "\n".join(lines) + "\n"


def _rates(seen: Seen) -> list[tuple[str, ...]]:
    return [(_NAMES[part], _rate(part, seen.measured.parts[part])) for part in PARTS if part in seen.measured.parts]


def _rate(part: str, rate: Rate) -> str:
    if part == "random":
        return f"{rate.per_s / PAGE_BYTES:,.0f} a second  {rate.method}"
    spread = f" ({size(rate.low)} to {size(rate.high)})" if rate.high > 1.1 * rate.low else ""
    return f"{size(rate.per_s)}/s{spread}  {rate.method}"


def _unmeasured(seen: Seen, style: Style) -> Iterator[str]:
    """Every reason once, with what could not be measured for it."""
    reasons: dict[str, list[str]] = {}
    for part, why in seen.measured.unmeasured.items():
        reasons.setdefault(why, []).append(_NAMES[part])
    for why, names in reasons.items():
        what = "nothing could be measured" if len(names) == len(PARTS) else f"not measured: {', '.join(names)}"
        yield from prose(f"{what}: {why}", style, "    ", "  ")


def _drive(drive: Drive) -> str:
    words = [drive.name, drive.model or "", size(drive.bytes), drive.link]
    words += [f"{drive.rpm} rpm"] if drive.rpm else []
    words += [f"read-ahead {size(drive.read_ahead_bytes)}"] if drive.read_ahead_bytes is not None else []
    words += [f"scheduler {drive.scheduler}"] if drive.scheduler else []
    words += ["made up by a hypervisor"] if drive.emulated else []
    words.append(_health(drive.health) if drive.health else f"health unknown: {drive.health_unknown}")
    return ", ".join(word for word in words if word)


def _health(health: Health) -> str:
    words = [{True: "well", False: "FAILING", None: "no verdict"}[health.well], *health.warnings]
    words += [f"{health.used_percent} % worn"] if health.used_percent is not None else []
    words += [f"{health.temperature_c} °C"] if health.temperature_c is not None else []
    return f"health: {', '.join(words)}"


def _forecast(seen: Seen, style: Style) -> Iterator[str]:
    made, checkpoint = seen.forecast, seen.checkpoint
    if made is None or checkpoint is None:
        return
    least = "" if checkpoint.whole else "at least "
    files = f" in {len(checkpoint.files)} files" if len(checkpoint.files) > 1 else ""
    yield ""
    yield from prose(f"load {checkpoint.name} ({least}{size(checkpoint.bytes)}{files})", style, "  ", "")
    yield from table([_load("cold", made.cold), _load("cached", made.warm)])
    if made.cache_holds is False:
        yield from prose("the page cache cannot hold it: the second load is as cold as the first", style, "  ")


def _load(name: str, load: Load) -> tuple[str, ...]:
    return name, f"mapped {_seconds(load.mmap)}", f"read whole {_seconds(load.streamed)}"


def _seconds(seconds: Seconds | None) -> str:
    if seconds is None:
        return "not known"
    return f"{duration(seconds.likely)} ({duration(seconds.low)} to {duration(seconds.high)})"
