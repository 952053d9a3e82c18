"""What was asked, resolved: the model (a folder or a name), the card, the engine."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path
from typing import Any

from provision.catalog import gpus, published
from provision.errors import UsageError
from provision.fit import accounting
from provision.fit import precision as precisions
from provision.fit.architecture import Architecture, architecture
from provision.fit.precision import Precision
from provision.fit.weights import Weight, weights
from provision.record import record


@record
class Model:
    """``listed``: its weights. ``assumed``: a sentence for each thing that was guessed. ``file_bytes``: on disk, where read.

    ``stored``: the precision that a folder's config.json names, whose weights are listed as they lie there; "" for one that is
    not known.
    """

    name: str
    shapes: Architecture
    precision: Precision
    listed: list[Weight]
    assumed: tuple[str, ...]
    source: str
    file_bytes: int | None
    stored: str = "none"

    @property
    def runs_in(self) -> str:
        """What the engine's kernels must know: the precision asked for, else the stored one."""
        return self.precision.name if self.precision.kinds else self.stored


def model(name: str, quantization: str | None, dtype: str | None) -> Model:
    """A folder or file that is there is read; anything else is looked up. Raises ``UsageError``."""
    if os.sep in name and not os.path.lexists(name) and name.startswith((".", "/", "~")):
        raise UsageError(f"--model {name}: there is no such folder")
    local = os.path.lexists(name) and (Path(name).is_dir() or name.endswith((".gguf", ".safetensors")))
    found = _folder(name, quantization) if local else _published(name, quantization)
    if dtype and dtype.removeprefix("torch.") in ("float32", "float"):
        shapes = dataclasses.replace(found.shapes, element_bytes=4)
        found = dataclasses.replace(found, shapes=shapes)
    return found


def _folder(name: str, quantization: str | None) -> Model:
    from provision.fit.checkpoint import read_checkpoint
    from provision.fit.tensors import from_checkpoint

    read = read_checkpoint(name)
    if not read.config:
        raise UsageError(f"{name}: no config.json beside the weights; expected the model's folder")
    shapes = architecture(read.config)
    assumed: tuple[str, ...] = ()
    precision = precisions.PRECISIONS["none"]
    listed = from_checkpoint(read, shapes)
    if read.format == "pickle":
        listed = weights(shapes)
        precision = precisions.of_config(read.config)
        assumed = ("a pickle checkpoint has no header that can be read: its weights are computed from config.json",)
    if quantization and (asked := precisions.named(quantization)).load:
        precision = asked
    return Model(
        name=Path(name).resolve().name,
        shapes=shapes,
        precision=precision,
        listed=listed,
        assumed=assumed,
        source=f"{len(read.files)} files in {name}",
        file_bytes=read.file_bytes,
        stored=_stored(read.config),
    )


def _stored(config: dict[str, Any]) -> str:
    try:
        return precisions.of_config(config).name
    except UsageError:  # a method that the arithmetic does not need: sizes are read from the headers
        return ""


def _published(name: str, quantization: str | None) -> Model:
    row = published.find(name)
    shapes = architecture(row.config)
    own = precisions.of_config(row.config)
    said = quantization or row.quantization
    assumed = list(row.assumed)
    precision = own
    if said:
        asked = precisions.named(said)
        # "fp8" of a model that is published in FP8 blocks is what it is already
        precision = own if asked.name.split("-")[0] == own.name.split("-")[0] else asked
        if asked.name == "none":
            precision = asked
        if precision.name == "nvfp4" and precision is asked and (like := published.sibling(row.name, "nvfp4")):
            # community builds differ; NVIDIA's own leave most families' attention in a wider type
            theirs = precisions.of_config(published.row(like)["config"])
            precision = dataclasses.replace(theirs, cache=theirs.cache if "modelopt" in said.lower() else "")
            assumed.append(f"{said!r} is taken as in {like}")
        if said.lower() in ("8bit", "4bit"):
            assumed.append(f"{said!r} is taken as {precision.name}")
    listed = weights(shapes)
    return Model(
        name=row.name,
        shapes=shapes,
        precision=precision,
        listed=listed,
        assumed=tuple(assumed),
        source=row.source,
        file_bytes=None,
    )


def card(name: str | None, gib: float | None) -> tuple[str, int, int | None]:
    """(name, bytes that CUDA reports, bytes a second or None). Raises ``UsageError`` with the nearest names."""
    if gib is not None:
        if not 0.1 <= gib <= 100_000:
            raise UsageError(f"--gpu-memory-gib {gib}: expected the memory of one card in GiB, for example 23.64")
        row = gpus.find(name) if name else None
        return (row.name if row else f"{gib:g} GiB card", int(gib * 2**30), row.memory_bandwidth if row else None)
    assert name is not None
    row = gpus.find(name)
    if row is None:
        near = ", ".join(gpus.nearest(name))
        raise UsageError(
            f"--gpu {name[:60]!r} is not known{f'; nearest: {near}' if near else ''}", "provision catalog show gpus"
        )
    known = gpus.usable_bytes(name) or gpus.usable_bytes(f"{name} 80GB")
    if known is None:
        sizes = ", ".join(gpus.nearest(name))
        raise UsageError(
            f"--gpu {name[:60]!r}: how much memory it has is not known{f'; nearest: {sizes}' if sizes else ''}"
        )
    return row.name, known[0], row.memory_bandwidth


def engine(text: str) -> tuple[str, str | None]:
    """``vllm==0.11.0`` as ("vllm", "0.11.0"). Raises ``UsageError`` for an engine whose memory is not known here."""
    word, _, version = text.strip().partition("==")
    name = word.split("(")[0].strip().lower() or "vllm"
    name = {"aphrodite": "vllm", "aphrodite-engine": "vllm"}.get(name, name)  # a fork with vLLM's accounting
    known = accounting.ENGINES
    if name not in known:
        raise UsageError(f"--engine {text[:60]!r}: expected one of {', '.join(known)}, for example vllm==0.11.0")
    return name, version or None
