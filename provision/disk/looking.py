"""Everything ``provision disk`` looks at, measures and concludes, as one record."""

from __future__ import annotations

from provision.disk import advice, forecast, measuring, model
from provision.disk.standing import Standing, device_of, standing
from provision.errors import UsageError
from provision.fact import Absent, Missing, NotKnown
from provision.facts.disks import Mounts, disks, mounts
from provision.facts.drives import drive
from provision.facts.memory import memory
from provision.facts.place import Place, place
from provision.facts.reading import whole
from provision.host import Host, or_none
from provision.record import record

MOST_SECONDS, MOST_GIB = 600.0, 1024.0


@record
class Seen:
    standing: Standing
    measured: measuring.Measured
    checkpoint: model.Checkpoint | None
    forecast: forecast.Forecast | None
    advice: tuple[advice.Advice, ...]


def look(host: Host, path: str, model_word: str | None, seconds: float, gib: float, may_write: bool) -> Seen:
    """``path``: absolute. Raises ``UsageError`` for a path that is not there or no place for files.

    A path on a server that gives no answer is no error of the user: then nothing is measured, with that reason.
    """
    if not 0 < seconds <= MOST_SECONDS or not 0 < gib <= MOST_GIB:
        raise UsageError(
            f"--seconds is more than 0 and at most {MOST_SECONDS:g}, --gib more than 0 and at most {MOST_GIB:g}"
        )
    try:
        where = place(host, path)
    except Absent:
        raise UsageError(
            f"{path}: no such file or folder; expected a folder of models, or where they will lie"
        ) from None
    except Missing as reason:
        raise UsageError(f"{path}: cannot be looked at: {reason.reason}") from None
    hangs = where.network or where.filesystem.startswith("fuse")
    there, status, dead = None, {"folder": 1, "writable": 0}, ""
    try:
        status = host.status(where.path)
        _refuse_devices(where, status)
        there = model.of_path(host, where.path, hangs)
    except NotKnown as reason:
        dead = reason.reason
    checkpoint = model.named(host, model_word, hangs) if model_word else there if there and _is_model(there) else None
    read = there if there and there.bytes >= measuring.LEAST_BYTES else _same_mount(host, where, checkpoint)
    stands = _standing(host, where)
    if dead:
        chosen = measuring.Source(refused=dead)
    else:
        room = or_none(lambda: host.statvfs(where.path, hangs), reasons=NotKnown)
        chosen = measuring.source(where, read, room, bool(status["writable"] and status["folder"]), may_write)
    measured = measuring.measure(where, chosen, seconds, int(gib * 2**30))
    made = forecast.forecast(measured, checkpoint.bytes, _cache(host)) if checkpoint else None
    case = advice.Case(standing=stands, measured=measured, forecast=made, mounts=_mounts(host) if made else None)
    return Seen(standing=stands, measured=measured, checkpoint=checkpoint, forecast=made, advice=advice.advice(case))


def _refuse_devices(where: Place, status: dict[str, int]) -> None:
    if where.path.startswith(("/dev/", "/proc/", "/sys/")) and where.filesystem not in ("tmpfs", "ext4", "xfs"):
        raise UsageError(f"{where.path} is no place for files; expected a folder on a file system, or a file in one")
    if not status["folder"] and not status["size"]:
        raise UsageError(f"{where.path} is empty; expected a folder, or a file with weights in it")


def _is_model(found: model.Checkpoint) -> bool:
    return found.bytes >= model.WEIGHT_BYTES


def _same_mount(host: Host, where: Place, checkpoint: model.Checkpoint | None) -> model.Checkpoint | None:
    """The named model's files, where they lie on the very mount that is measured."""
    if checkpoint is None or not checkpoint.files:
        return None
    # A file may be gone by now, or have a name that is no text and cannot be asked for again.
    other = or_none(lambda: place(host, checkpoint.files[0].path), reasons=NotKnown)
    return checkpoint if other and other.mount_point == where.mount_point else None


def _standing(host: Host, where: Place) -> Standing:
    known = or_none(lambda: disks(host), reasons=NotKnown)
    drives = tuple(drive(host, disk) for disk in (known.disks if known else ()) if disk.name in where.disks)
    name = device_of(where)
    ahead = whole(host, f"/sys/class/block/{name}/queue/read_ahead_kb") if name else None
    return standing(where, drives, name, None if ahead is None else ahead * 1024)


def _cache(host: Host) -> int | None:
    seen = or_none(lambda: memory(host), reasons=NotKnown)
    return min(seen.available_bytes, seen.limit_bytes) if seen else None


def _mounts(host: Host) -> Mounts | None:
    return or_none(lambda: mounts(host), reasons=NotKnown)
