"""Which files of a folder are the model's weights, from names alone.

Each number stands once: ``consolidated*.safetensors`` beside ``model*.safetensors`` holds the same tensors again under
Mistral's names, and ``pytorch_model*.bin`` beside safetensors holds them too. Where there is an index, it says which files
are the model (vLLM does the same: ``filter_duplicate_safetensors_files`` in its weight_utils.py), and this module is not asked.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from provision.fit.source import shown

INDEX = "model.safetensors.index.json"
_SHARD = re.compile(r"(.+)-(\d{5,6})-of-(\d{5,6})(\.[a-z]+)", re.DOTALL)
_PICKLES = (".bin", ".pt", ".pth")
_NOT_WEIGHTS = re.compile(  # what training leaves beside them
    r"(training_args|optimizer|scheduler|rng_state|scaler|random_states)([_.-].*)?\.(bin|pt|pth)", re.DOTALL
)
_LISTED = 8


def weights(names: Iterable[str]) -> tuple[str, tuple[str, ...]]:
    """The format and the files, sorted. Raises ``ValueError`` saying what is there instead.

    Safetensors before GGUF before pickle: engines that are given a folder load the first; a GGUF file is given by name.
    """
    seen = sorted(name for name in names if not name.startswith("."))
    safe = [name for name in seen if name.endswith(".safetensors")]
    if any(name.startswith("model") for name in safe):
        safe = [name for name in safe if not name.startswith("consolidated")]
    if safe:
        complete(safe)
        return "safetensors", tuple(safe)
    gguf = [name for name in seen if name.endswith(".gguf")]
    if gguf:
        models = sorted({_whole(name) for name in gguf})
        if len(models) > 1:
            raise ValueError(f"{len(models)} GGUF models: {listed(models)}; expected one, or the path of one file")
        complete(gguf)
        return "gguf", tuple(gguf)
    pickles = [name for name in seen if name.endswith(_PICKLES) and not _NOT_WEIGHTS.fullmatch(name)]
    named = [name for name in pickles if name.startswith("pytorch_model")]
    if pickles:
        complete(named or pickles)
        return "pickle", tuple(named or pickles)
    held = f"it holds {listed(seen)}" if seen else "it is empty"
    raise ValueError(f"no weights: expected *.safetensors, *.gguf or *.bin; {held}")


def parts(name: str, names: Iterable[str]) -> tuple[str, ...]:
    """The files of the model that ``name`` is one file of, sorted: itself, or every part of a split one among ``names``."""
    if part(name) == (1, 1):
        return (name,)
    found = sorted(each for each in names if _whole(each) == _whole(name) and part(each)[1] == part(name)[1])
    complete(found)
    return tuple(found)


def part(name: str) -> tuple[int, int]:
    """Which part of how many a file's name says it is, from 1; 1 of 1 for a name that says nothing."""
    found = _SHARD.fullmatch(name)
    return (int(found[2]), int(found[3])) if found else (1, 1)


def complete(names: Iterable[str]) -> None:
    """Raise ``ValueError`` where a shard is missing of those that the names count ("-00002-of-00003")."""
    groups: dict[tuple[str, str, str], set[int]] = {}
    for name in names:
        if found := _SHARD.fullmatch(name):
            groups.setdefault((found[1], found[3], found[4]), set()).add(int(found[2]))
    for (stem, total, end), numbers in sorted(groups.items()):
        if not 1 <= max(numbers) <= int(total) or min(numbers) < 1:
            raise ValueError(f"{shown(stem)}-…-of-{total}{end}: one is numbered {max(numbers)} or 0")
        missing = next((number for number in range(1, int(total) + 1) if number not in numbers), None)
        if missing:
            name = f"{stem}-{missing:0{len(total)}}-of-{total}{end}"
            raise ValueError(f"{shown(name)} is missing: the names say that there are {int(total)} parts")


def listed(names: Iterable[str]) -> str:
    """Names in one line; of many the first few and how many more."""
    names = list(names)
    more = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
    return ", ".join(shown(name) for name in names[:_LISTED]) + more


def _whole(name: str) -> str:
    found = _SHARD.fullmatch(name)
    return f"{found[1]}{found[4]}" if found else name
