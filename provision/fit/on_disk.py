"""How many bytes a published checkpoint takes on disk."""

from __future__ import annotations

import dataclasses

from provision.catalog import published
from provision.fit import question
from provision.fit.architecture import Architecture
from provision.fit.precision import PRECISIONS, weight_bytes


def checkpoint_bytes(name: str, quantization: str | None = None) -> int:
    """Bytes of the weight files of ``name``: what the checkpoint states where that is known, by arithmetic otherwise.

    ``quantization``: of the checkpoint that is meant, where it is not the one that is published under the name.

    Draft layers and image towers are in the files whether they are used or not; what is quantised while loading is read in
    16 bit; kernels' padding is not stored. Raises ``UsageError`` for a name that is not known.
    """
    row = published.find(name)
    if row.safetensors_bytes and row.quantization is None and quantization is None:
        return row.safetensors_bytes
    model = question.model(name, quantization, None)
    stored = PRECISIONS["none"] if model.precision.load else dataclasses.replace(model.precision, pads=0)
    held = (weight_bytes(one, stored, model.shapes.element_bytes) for one in model.listed if not one.derived)
    return round(sum(held)) + _copies(model.shapes)


def _copies(shapes: Architecture) -> int:
    """DeepSeek V3 and GLM 4.5 store the embedding and the head once more beside their draft layer; engines load one."""
    if not shapes.draft_layers or not shapes.model_type.startswith(("deepseek_v3", "glm4_moe")):
        return 0
    return 2 * shapes.vocabulary * shapes.hidden * shapes.element_bytes
