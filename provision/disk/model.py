"""The model whose loading is forecast: the files of a folder, or a name of the catalogue. No content is read here."""

from __future__ import annotations

import posixpath

from provision.errors import UsageError
from provision.fact import Absent, Missing
from provision.host import Host
from provision.record import record

_SAFE, _OTHERS = (".safetensors", ".gguf"), (".bin", ".pt", ".pth", ".ckpt")
_NOT_WEIGHTS = ("training_args.bin", "optimizer.pt", "scheduler.pt", "rng_state.pth", "scaler.pt")
WEIGHT_BYTES = 1 << 20  # smaller ".bin" files are tokenizers' and indexes, not checkpoints


@record
class WeightFile:
    path: str
    bytes: int


@record
class Checkpoint:
    """``files`` is empty for a name: then only ``bytes`` is known, from the catalogue."""

    name: str
    files: tuple[WeightFile, ...]  # sorted by path
    bytes: int
    whole: bool  # every file was seen; otherwise there may be more


def of_path(host: Host, path: str, may_hang: bool) -> Checkpoint | None:
    """The weights below a folder, or the one file that ``path`` is; None where there are none.

    Raises ``Missing`` where its server gives no answer.
    """
    status = host.status(path)
    if not status["folder"]:
        file = WeightFile(path=path, bytes=status["size"])
        return Checkpoint(name=path, files=(file,), bytes=file.bytes, whole=True) if file.bytes else None
    seen = host.tree(path, may_hang=may_hang)
    files = tuple(WeightFile(path=posixpath.join(path, name), bytes=size) for name, size in weights(seen["files"]))
    if not files:
        return None
    return Checkpoint(name=path, files=files, bytes=sum(file.bytes for file in files), whole=bool(seen["all"]))


def weights(sizes: dict[str, int]) -> list[tuple[str, int]]:
    """Those files that a loader would read, sorted by name: one format of each folder, the safe one first.

    Meta's and Mistral's original "consolidated" files beside the usual shards hold the same weights once more.
    """
    safe = {posixpath.dirname(name) for name in sizes if name.endswith(_SAFE)}
    found = []
    for name, size in sorted(sizes.items()):
        folder, base = posixpath.split(name)
        pickled = name.endswith(_OTHERS) and size >= WEIGHT_BYTES and base not in _NOT_WEIGHTS and folder not in safe
        if name.endswith(_SAFE) or pickled:
            found.append((name, size))
    usual = {posixpath.dirname(name) for name, _ in found if not _consolidated(name)}
    return [(name, size) for name, size in found if not (_consolidated(name) and posixpath.dirname(name) in usual)]


def _consolidated(name: str) -> bool:
    return posixpath.basename(name).startswith("consolidated")


def named(host: Host, word: str, may_hang: bool) -> Checkpoint:
    """``--model DIR|NAME``. Raises ``UsageError`` (exit 2) for a folder without weights and a name that nobody knows."""
    try:
        found = of_path(host, word, may_hang)
    except Absent:
        if word.startswith(("/", "./", "../", "~")):
            raise UsageError(
                f"--model {word}: no such folder; expected a model's folder, its file, or a name"
            ) from None
        return Checkpoint(name=word, files=(), bytes=_catalogue_bytes(word), whole=True)
    except Missing as reason:
        raise UsageError(f"--model {word}: {reason.reason}") from None
    if found is None:
        raise UsageError(f"--model {word}: no weights are in it; expected *.safetensors, *.gguf or pickled checkpoints")
    return found


def _catalogue_bytes(name: str) -> int:
    """A published model's bytes on disk. Raises ``UsageError`` with the nearest names."""
    from provision.fit.on_disk import checkpoint_bytes

    return checkpoint_bytes(name)
