"""Model files on disk: which could run code when they are loaded. No content of a weight file is read."""

from __future__ import annotations

import json
import posixpath
from collections.abc import Iterator

from provision.fact import Absent, Missing, NotKnown, fact, probe
from provision.facts.caches import CacheFolder, CacheFolders
from provision.facts.disks import Mounts
from provision.host import Host, or_none
from provision.record import record

_PICKLES = (".bin", ".ckpt", ".pkl", ".pt", ".pth")
_NOT_WEIGHTS = ("training_args.bin", "optimizer.pt", "scheduler.pt", "rng_state.pth", "scaler.pt")
_WEIGHT_BYTES = 1 << 20  # smaller ".bin" files are tokenizers' and indexes, not checkpoints
_CONFIGS = 64  # config.json files that are opened


@record
class ModelFolder:
    path: str
    files: int  # seen
    whole: bool  # everything was seen; otherwise there may be more of all
    bytes: int
    pickles: tuple[
        str, ...
    ]  # checkpoints in Python's pickle format without a safetensors file beside them; paths below
    remote_code: tuple[str, ...]  # config.json files that name Python code to be run (auto_map); paths below


@fact
class ModelFiles:
    folders: tuple[ModelFolder, ...]  # those with files in them, sorted by path
    not_seen: tuple[str, ...]  # "PATH: why"


@probe
def model_files(host: Host, folders: CacheFolders, mounts: Mounts) -> ModelFiles:
    """What lies in the folders for models: a bounded walk (5000 entries, 8 folders deep) over names and sizes.

    Sources: the folders of ``CacheFolders``; ``config.json`` files are opened (at most 64 a folder), weights are not.
    """
    found, not_seen = [], []
    places = [one for one in folders.folders if one.purpose == "models"]
    tops = [one for one in places if not any(one.path.startswith(f"{other.path}/") for other in places)]
    for place in tops:
        try:
            one = _folder(host, place, mounts)
        except Absent:
            continue
        except Missing as reason:
            named = reason.reason.startswith(place.mount_point) and place.mount_point != "/"
            not_seen.append(reason.reason if named or place.path in reason.reason else f"{place.path}: {reason.reason}")
            continue
        if one.files:
            found.append(one)
    if not found and not not_seen:
        raise Absent("no model is in the usual folders")
    return ModelFiles(folders=tuple(found), not_seen=tuple(not_seen))


def _folder(host: Host, place: CacheFolder, mounts: Mounts) -> ModelFolder:
    if place.unknown:
        raise Missing(place.unknown)
    mount = next((m for m in mounts.mounts if m.mount_point == place.mount_point), None)
    seen = host.tree(place.path, may_hang=mount is None or mount.network)
    sizes: dict[str, int] = seen["files"]
    safe = {posixpath.dirname(name) for name in sizes if name.endswith(".safetensors")}
    pickles = [
        name
        for name, length in sorted(sizes.items())
        if name.endswith(_PICKLES)
        and length >= _WEIGHT_BYTES
        and posixpath.basename(name) not in _NOT_WEIGHTS
        and posixpath.dirname(name) not in safe
    ]
    return ModelFolder(
        path=place.path,
        files=len(sizes),
        whole=bool(seen["all"]),
        bytes=sum(sizes.values()),
        pickles=tuple(pickles),
        remote_code=tuple(_with_code(host, place.path, sizes)),
    )


def _with_code(host: Host, top: str, names: dict[str, int]) -> Iterator[str]:
    configs = sorted(name for name in names if posixpath.basename(name) == "config.json")
    for name in configs[:_CONFIGS]:
        if names[name] < 1 << 20:
            said = or_none(host.read, f"{top}/{name}", reasons=NotKnown) or ""
            if '"auto_map"' in said and _has_auto_map(said):
                yield name


def _has_auto_map(said: str) -> bool:
    try:
        content = json.loads(said)
    except ValueError:
        return False
    return isinstance(content, dict) and bool(content.get("auto_map"))
