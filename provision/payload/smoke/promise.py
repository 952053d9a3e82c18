"""How many bytes the weights of a model take in each precision, by arithmetic from its files.

Standard library only: the plan promises with it, and the proof MEM-P3 measures against the promise. It reads
config.json and the headers of the safetensors files, never the weights.

What is counted: float32 keeps four bytes a parameter. LLM.int8 keeps a byte, and a float32 scale for each row of a
matrix. NF4 keeps half a byte, a float32 scale for each block of 64, and a table of sixteen float32 per matrix
(bitsandbytes 0.50; on a processor with avx512_bf16 the scale becomes bfloat16 at the first call: two bytes less a block).
Embeddings, norms, the router and the output head stay float32 in both.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path

PRECISIONS = ("float32", "int8", "nf4")
FLOAT_BYTES = 4
NF4_BLOCK = 64
NF4_TABLE_BYTES = 16 * FLOAT_BYTES
HEADER_LIMIT_BYTES = 100_000_000  # safetensors' own limit: a longer header is a damaged file
KEPT_FLOAT = ("embed_tokens.weight", "lm_head.weight", "mlp.gate.weight")


@dataclass(frozen=True, kw_only=True, slots=True)
class StoredTensor:
    """One tensor of a safetensors file, as its header names it."""

    name: str
    shape: tuple[int, ...]

    @property
    def parameters(self) -> int:
        return math.prod(self.shape)

    @property
    def is_quantised(self) -> bool:
        """Whether the smoke test's 8-bit and 4-bit models hold it quantised: every matrix of a linear layer."""
        return len(self.shape) == 2 and not self.name.endswith(KEPT_FLOAT)


def stored_tensors(model_folder: Path) -> list[StoredTensor]:
    """The tensors of every *.safetensors in the folder, by name.

    Raises ValueError, naming the file, when there is none or a header cannot be read.
    """
    files = sorted(model_folder.glob("*.safetensors"))
    if not files:
        raise ValueError(f"{model_folder}: no *.safetensors file")
    tensors = []
    for path in files:
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            if not 0 < length <= HEADER_LIMIT_BYTES:
                raise ValueError(f"{path}: not a safetensors file (header of {length} bytes)")
            try:
                header = json.loads(file.read(length))
                tensors += [
                    StoredTensor(name=name, shape=tuple(entry["shape"]))
                    for name, entry in header.items()
                    if name != "__metadata__"
                ]
            except (ValueError, TypeError, KeyError, AttributeError) as error:
                raise ValueError(f"{path}: not a safetensors file ({error})") from error
    return sorted(tensors, key=lambda tensor: tensor.name)


def promised_weight_bytes(model_folder: Path) -> dict[str, int]:
    """Bytes that the weights take once loaded, per precision.

    Raises ValueError when the folder is not a DeepSeek-V3 model with its weights, OSError when it cannot be read.
    """
    config = json.loads((model_folder / "config.json").read_text(encoding="utf-8"))
    if config.get("model_type") != "deepseek_v3":
        raise ValueError(f"{model_folder}/config.json: model_type {config.get('model_type')!r}, expected 'deepseek_v3'")
    total = dict.fromkeys(PRECISIONS, 0)
    for tensor in stored_tensors(model_folder):
        count = tensor.parameters
        total["float32"] += count * FLOAT_BYTES
        if tensor.is_quantised:
            total["int8"] += count + tensor.shape[0] * FLOAT_BYTES
            total["nf4"] += (count + 1) // 2 + math.ceil(count / NF4_BLOCK) * FLOAT_BYTES + NF4_TABLE_BYTES
        else:
            total["int8"] += count * FLOAT_BYTES
            total["nf4"] += count * FLOAT_BYTES
    return total
