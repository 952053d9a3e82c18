"""What a weight takes in each precision, scales and zero points included.

Sources of the layouts, read 2026-11-23: bitsandbytes 0.50 (LLM.int8: a float32 maximum per row; NF4: one per block of 64,
with double quantisation as 8 bit and a float32 per 256 blocks); DeepSeek-V3 README_WEIGHTS (FP8: a float32 per
128 x 128); GPTQ and AWQ (a 16-bit scale per group, AWQ also a packed zero; GPTQ's symmetric files have zeros too, which
Marlin drops: Qwen2.5-7B prints 5.2045 GiB and Phi-4 8.5107, which would be 0.02 and 0.05 more with them); gguf 0.19 (block
sizes); OCP MX (a byte per 32); NVFP4 (an FP8 scale per 16 and a float32 per tensor).
"""

from __future__ import annotations

import dataclasses
import re
from typing import Any

from provision.errors import UsageError
from provision.fit import modules
from provision.fit.weights import Weight
from provision.record import record


@record
class Precision:
    """One way to store weights. ``name`` is how engines and people call it.

    ``bits`` of a quantised element; ``per_group`` further bits for every ``group`` inputs of a row; ``per_row`` and
    ``per_tensor`` further bytes; a square ``block`` of elements has four bytes of scale. ``kinds`` are the weights that are
    quantised.
    """

    name: str
    bits: float = 16
    group: int = 0
    per_group: float = 0
    per_row: float = 0
    per_tensor: float = 0
    block: int = 0
    kinds: tuple[str, ...] = ("linear", "expert", "shared")
    experts: str = ""  # the precision of experts where it is another: "mxfp4"
    pads: int = 0  # kernels want an expert's inner size in multiples of this and its hidden size in those of 256
    modules: tuple[tuple[str, str], ...] = ()  # modules with a precision of their own, by name
    cache: str = ""  # the type of cache that the checkpoint asks for
    load: bool = False  # quantised while loading: what is read from disk is the 16-bit checkpoint


# Bits a weight of llama.cpp's file types, which mix block types: Llama-3.1-8B as llama.cpp's tools/quantize README
# measured it. Another architecture's mix differs by a few per cent; a file that is there is read instead.
_FILE_TYPE_BITS = {
    "iq1_s": 2.00, "iq1_m": 2.15, "iq2_xxs": 2.38, "iq2_xs": 2.59, "iq2_s": 2.74, "iq2_m": 2.93, "iq3_xxs": 3.25, "iq3_xs": 3.50,
    "iq3_s": 3.66, "iq3_m": 3.76, "iq4_xs": 4.46, "iq4_nl": 4.68, "q2_k_s": 2.97, "q2_k": 3.16, "q3_k_s": 3.64, "q3_k_m": 4.00,
    "q3_k_l": 4.30, "q4_0": 4.64, "q4_k_s": 4.67, "q4_k_m": 4.89, "q5_k_s": 5.57, "q5_k_m": 5.70, "q6_k": 6.56, "q8_0": 8.50,
    "bf16": 16.0, "f16": 16.0,
}  # fmt: skip
PRECISIONS: dict[str, Precision] = {
    one.name: one
    for one in (
        Precision(name="none", kinds=()),
        Precision(name="fp8", bits=8, per_row=4),
        Precision(name="fp8-block", bits=8, block=128),
        Precision(name="int8", bits=8, per_row=4),
        Precision(name="bnb-int8", bits=8, per_row=4, load=True),
        Precision(name="bnb-nf4", bits=4, group=64, per_group=32, load=True),
        Precision(name="bnb-nf4-double", bits=4, group=64, per_group=8 + 32 / 256, load=True),
        Precision(name="gptq-int4", bits=4, group=128, per_group=16),
        Precision(name="gptq-int8", bits=8, group=128, per_group=16),
        Precision(name="awq", bits=4, group=128, per_group=16 + 4),
        Precision(name="int4", bits=4, group=128, per_group=16),
        Precision(name="nvfp4", bits=4, group=16, per_group=8, per_tensor=8),
        Precision(name="mxfp4", bits=4, group=32, per_group=8, pads=64),
        Precision(name="mxfp8", bits=8, group=32, per_group=8),
    )
}


def weight_bytes(weight: Weight, precision: Precision, element_bytes: int) -> float:
    """Bytes of ``weight`` (all ``count`` of it) in ``precision``; what it does not quantise takes ``element_bytes`` each."""
    if precision.experts and weight.kind == "expert":
        precision = PRECISIONS[precision.experts]
    own = dict(precision.modules).get("draft" if weight.draft else weight.module) if precision.modules else None
    if own:
        precision = _with(PRECISIONS[own], kinds=(weight.kind,) if own != "none" else ())
    if weight.stored and not (precision.load and weight.stored >= 2):
        return weight.elements * weight.stored
    if weight.derived or weight.kind not in precision.kinds or weight.columns < 2:
        return float(weight.elements * element_bytes)
    if precision.pads and weight.inner:
        weight = _padded(weight, precision.pads)
    one = weight.rows * weight.columns * precision.bits / 8
    if precision.group:
        one += weight.rows * -(-weight.columns // precision.group) * precision.per_group / 8
    if precision.block:
        one += -(-weight.rows // precision.block) * -(-weight.columns // precision.block) * 4
    return (one + weight.rows * precision.per_row + precision.per_tensor) * weight.count


def _padded(weight: Weight, inner: int) -> Weight:
    """As vLLM stores MXFP4 experts (layers/quantization/mxfp4.py): 13.47 GiB for gpt-oss-20b instead of 12.8.

    Marlin, the kernel of cards before Hopper, pads to 128: 13.72 GiB on an A100 (myoceane.fr, April 2026).
    """
    rows, columns = (inner, 256) if weight.inner == "rows" else (256, inner)
    return dataclasses.replace(
        weight, rows=-(-weight.rows // rows) * rows, columns=-(-weight.columns // columns) * columns
    )


def of_config(config: dict[str, Any]) -> Precision:
    """What a checkpoint's own ``quantization_config`` says. Raises ``UsageError`` for a method that is not known."""
    given = config.get("quantization_config") or (config.get("text_config") or {}).get("quantization_config")
    if not isinstance(given, dict) or not given:
        return PRECISIONS["none"]
    found = _of_method(config, given)
    model_type = str((config.get("text_config") or {}).get("model_type") or config.get("model_type") or "")
    return _with(found, modules=modules.apart(given, model_type), cache=modules.cached(given))


def _of_method(config: dict[str, Any], given: dict[str, Any]) -> Precision:
    method = str(given.get("quant_method") or given.get("quant_algo") or given.get("producer", {})).lower()
    bits = given.get("bits") or given.get("w_bit")
    group = given.get("group_size") or given.get("q_group_size") or 128
    expert = "mxfp4" if config.get("expert_dtype") == "fp4" else ""
    if method == "fp8":
        blocked = bool(given.get("weight_block_size"))
        return _with(PRECISIONS["fp8-block" if blocked else "fp8"], experts=expert)
    if method in ("gptq", "awq", "auto-round", "auto_round", "autoround", "intel/auto-round"):
        base = {"gptq": "gptq-int8" if bits == 8 else "gptq-int4", "awq": "awq"}.get(method, "int4")
        return _grouped(PRECISIONS[base], bits, group)
    if method in ("mxfp4", "gpt_oss_mxfp4"):
        return _with(PRECISIONS["mxfp4"], kinds=("expert",))
    if method in ("bitsandbytes", "bnb"):
        if given.get("load_in_8bit"):
            return _with(PRECISIONS["bnb-int8"], load=False)
        double = bool(given.get("bnb_4bit_use_double_quant"))
        return _with(PRECISIONS["bnb-nf4-double" if double else "bnb-nf4"], load=False)
    if method in ("compressed-tensors", "compressed_tensors"):
        return _compressed(given)
    if "nvfp4" in str(given).lower():
        return PRECISIONS["nvfp4"]
    if method.startswith("modelopt") and "fp8" in str(given).lower():
        return PRECISIONS["fp8"]
    raise UsageError(f"config.json: quant_method {method[:60]!r} is not known")


def _compressed(given: dict[str, Any]) -> Precision:
    groups = given.get("config_groups")
    first: Any = next(iter(groups.values()), {}) if isinstance(groups, dict) else {}
    said = first.get("weights") if isinstance(first, dict) else None
    if not isinstance(said, dict):
        raise UsageError("config.json: quantization_config without config_groups.*.weights")
    bits, kind, group = said.get("num_bits"), said.get("type"), said.get("group_size")
    if bits == 8 and said.get("strategy") == "block":
        return PRECISIONS["fp8-block"]
    if bits == 8:
        return PRECISIONS["fp8" if kind == "float" else "int8"]
    if bits == 4 and kind == "float":
        return PRECISIONS["mxfp4" if group == 32 else "nvfp4"]
    return _grouped(PRECISIONS["int4"], bits, group or 128)


def _grouped(base: Precision, bits: Any, group: Any) -> Precision:
    if bits not in (None, 2, 3, 4, 8) or not isinstance(group, int) or not (group == -1 or 0 < group <= 1 << 20):
        raise UsageError(
            f"config.json: a quantisation of {str(bits)[:20]} bits in groups of {str(group)[:20]} is not known"
        )
    return _with(base, bits=float(bits or base.bits), group=max(group, 0))


def _with(base: Precision, **changes: Any) -> Precision:
    return dataclasses.replace(base, **changes)


# What people write after --quantization, by the words in it; the first that is there decides.
_WORDS = (
    (r"mxfp4", "mxfp4"),
    (r"nvfp4|\bfp4", "nvfp4"),
    (r"mxfp8", "mxfp8"),
    (r"gptq.*(?:int8|8 ?bit|w8)", "gptq-int8"),
    (r"gptq|marlin_24", "gptq-int4"),
    (r"awq", "awq"),
    (r"fp8|float8|e4m3|e5m2", "fp8"),
    (r"double|nf4[- _]?dq", "bnb-nf4-double"),
    (r"(?:bnb|bitsandbytes).*(?:8|int8)|llm\.?int8", "bnb-int8"),
    (r"bnb|bitsandbytes|nf4", "bnb-nf4"),
    (r"w4a16|int4|4 ?-?bit|auto.?round", "int4"),
    (r"w8a8|w8a16|int8|8 ?-?bit", "int8"),
    (r"^(?:none|no|auto|bf16|bfloat16|fp16|float16|half|16 ?bit)$", "none"),
)


def named(word: str) -> Precision:
    """The precision that ``word`` names: ``fp8``, ``awq``, ``gguf-q4_k_m``, ``modelopt nvfp4``. Raises ``UsageError``."""
    text = word.strip().lower()
    if "gguf" in text or re.fullmatch(r"(?:ud[-_])?(?:iq|q)\d\w*", text):
        kind = re.search(r"(?:iq|q)\d\w*|mxfp4|bf16|f16", text.replace("gguf", ""))
        if not kind:
            raise UsageError("GGUF files come in types from 2 to 16 bits a weight: name one, for example gguf-q4_k_m")
        return gguf(kind.group())
    for pattern, name in _WORDS:
        if re.search(pattern, text):
            return PRECISIONS[name]
    raise UsageError(
        f"quantization {word[:60]!r} is not known; expected one of {', '.join(PRECISIONS)}, or gguf-q4_k_m and the like"
    )


def gguf(kind: str) -> Precision:
    """A file type of llama.cpp ("q4_k_m"), over all weights: its mix quantises embedding and head too."""
    word = kind.lower()
    # Unsloth's "XL" files keep a few tensors wider than the mix they are named after.
    mixes = [f"{word.removesuffix('_xl')}{size}" for size in ("_l", "_m", "")] if word.endswith("_xl") else [word]
    bits = next((_FILE_TYPE_BITS[mix] for mix in mixes if mix in _FILE_TYPE_BITS), None)
    if not bits and word == "q8_k_xl":
        bits = _FILE_TYPE_BITS["q8_0"]
    if not bits:
        raise UsageError(f"GGUF type {kind[:30]!r} is not known; expected one of {', '.join(_FILE_TYPE_BITS)}")
    everything = ("linear", "expert", "shared", "embedding", "head")
    return Precision(name=f"gguf-{kind.lower()}", bits=bits, kinds=everything)
