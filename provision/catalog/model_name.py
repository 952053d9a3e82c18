"""The words of a model's name: family, version, size, active size and what quantised it.

People write one model in many ways ("qwen38-27b", "Qwen/Qwen3.8-27B (fp8 variant)", "type=DeepseekV3ForCausalLM"). Both
sides of a look-up, the catalogue's names and the asked one, go through ``read``, so that they meet in the same words.
"""

from __future__ import annotations

import functools
import re

from provision.record import record

LONGEST = 300  # characters: a snapshot's path in the hub's cache has about 200


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


# Words that leave the shapes as they are. A date ("2507") and a context ("128k", "1m") are of this kind too.
_SOFT = _words(
    "instruct chat base it hf thinking reasoning coder code math preview exp terminus latest pt sft dpo zero rl"
    " meta nvidia llm text only bf16 bfloat16 fp16 float16 fp32 orig original released reasoner speciale"
    " research trained cutoff turbo beta alpha final new prev tuned"
)
# Words that say nothing about the model at all.
_NOISE = _words(
    "local path models model name repository repo compose variant export type config folder snapshots snapshot"
    " hub the of for with on and from weights checkpoint served ai org mlx community ud dynamic static unsloth"
    " huggingface cache data mnt home root opt file quantized quantised quant version architecture arch in"
    " format ct marlin vllm sglang"
)
# Words that make another model of it, whether the catalogue has one or not.
_OTHER = _words(
    "embedding embeddings embed reranker rerank omni audio asr tts ocr eagle eagle2 eagle3 draft dflash dspark"
    " medusa lora adapter reward rm prm classifier vl vision image video speech captioner tiny random"
)

# What a name says of its quantisation, most exact first; the first that is found counts.
_METHODS = tuple(
    (re.compile(rf"(?<![a-z0-9])(?:{pattern})(?![a-z0-9])"), method)
    for pattern, method in (
        (r"gptq[-_ ]?(?:marlin[-_ ]?)?(?:int8|8[-_ ]?bits?|w8a16)|(?:int8|8[-_ ]?bits?|w8a16)[-_ ]?gptq", "gptq-int8"),
        (r"gptq(?:[-_ ]?(?:int4|4[-_ ]?bits?|w4a16))?|(?:int4|4[-_ ]?bits?|w4a16)[-_ ]?gptq", "gptq-int4"),
        (r"awq(?:[-_ ]?(?:int4|4[-_ ]?bits?|w4a16))?|(?:int4|4[-_ ]?bits?|w4a16)[-_ ]?awq", "awq"),
        (r"nvfp4(?:a16)?(?:[-_ ](?:fp8|mlp[-_ ]only))*|w4a16[-_ ]?nvfp4|fp4", "nvfp4"),
        (r"mxfp4(?:[-_ ]moe)?", "mxfp4"),
        (r"mxfp8", "mxfp8"),
        (r"(?:bnb|bitsandbytes)[-_ ]?(?:int8|8[-_ ]?bits?)|llm[-_. ]?int8", "int8"),
        (r"(?:bnb|bitsandbytes)(?:[-_ ]?(?:nf4|fp4|int4|4[-_ ]?bits?))?|nf4", "bnb-nf4"),
        (r"(?:w8a8[-_ ]?)?fp8(?:[-_ ]?(?:dynamic|static|block|kv|pertensor|per[-_ ]tensor|e4m3|w8a8))*|float8", "fp8"),
        (
            r"(?:auto[-_ ]?round[-_ ]?)?(?:int4|w4a16(?:[-_ ]?g\d+)?|4[-_ ]?bits?)(?:[-_ ]?(?:auto[-_ ]?round|mixed))?",
            "int4",
        ),
        (r"auto[-_ ]?round|intel[-_ ]?int4", "int4"),
        (r"(?:int8|w8a16|w8a8|8[-_ ]?bits?)", "int8"),
    )
)
_ANY = re.compile(
    r"gptq|awq|fp[48]|nf4|bnb|bitsandbytes|bits?(?![a-z])|int[48]|w\d+a|gguf|q\d|exl[23]|round|float8"
)  # asked first
_GGUF = re.compile(r"(?<![a-z0-9])(i?q[1-8](?:_[01k])?(?:_(?:xxs|xs|s|m|l|xl|nl))?|tq[12]_0)(?![a-z0-9])")
_EXL = re.compile(r"(?<![a-z0-9])(exl[23])(?:[-_ ]?(\d(?:\.\d+)?)[-_ ]?bpw)?(?![a-z0-9])")
_BPW = re.compile(r"(\d(?:\.\d+)?)[-_ ]?bpw")

_SIZE = re.compile(r"(?<![a-z0-9.])(e?)(\d+(?:\.\d+)?(?:x\d+(?:\.\d+)?)?)([bmt])(?![a-z0-9])")
_ACTIVE = re.compile(r"(?<![a-z0-9.])a(\d+(?:\.\d+)?)([bm])(?![a-z0-9])")
_CLASS = re.compile(r"for(?:causallm|conditionalgeneration)")
_UNDERSCORE = re.compile(r"(?<=\d)_(?=\d)")  # llama-3_3
_JOINED = re.compile(r"([a-z]{3,}?)v?(?=\d)")  # qwen38, deepseekv3, mixtral8x7b
_HYPHEN = re.compile(r"(?<![\w.])(\d)[-_ ](?=\d(?![\w.]))")  # llama-3-1
_WORD = re.compile(r"[a-z0-9.]+")
_DATE = re.compile(r"\d{4}|\d{6,8}|0")
_SNAPSHOT = re.compile(r"[0-9a-f]{12,}\s*")
_CACHED = re.compile(r"[a-z0-9_.]*models--[a-z0-9_.-]+?--")
_LONG = re.compile(r"(?<![a-z0-9.])\d+k(?![a-z0-9])|(?<![a-z0-9.])1m(?![a-z0-9])")


@record
class Words:
    """One name, taken apart.

    ``hard`` words must agree, ``soft`` ones leave the shapes as they are. Sizes are texts in billions ("7", "8x7", "e4").
    ``numbers``: bare numbers that may be a size without its letter ("qwen 2.5 32 instruct").
    """

    hard: frozenset[str]
    soft: frozenset[str]
    size: str | None
    active: str | None
    quantization: str | None
    numbers: tuple[str, ...]


@functools.lru_cache(maxsize=4096)
def read(name: str) -> Words:
    """Take a name apart; only its last part counts ("unsloth/…", "/models/…"). Pure."""
    text = _last(name[:LONGEST].lower())
    quantization, text = _quantization(text)
    text = _LONG.sub(" ", _CLASS.sub(" ", text))
    text = _JOINED.sub(r"\1-", _UNDERSCORE.sub(".", text))
    active = _first(_ACTIVE, text)
    text = _ACTIVE.sub(" ", text)
    sizes = list(_SIZE.finditer(text))
    size = _billions(sizes[0]) if sizes else None
    text = _SIZE.sub(" ", text)
    text = _HYPHEN.sub(r"\1.", text)
    hard, soft, numbers = set(), set(), []
    for word in _WORD.findall(text):
        plain = (word[1:] if word[0] == "v" and word[1:2].isdigit() else word).replace(".", "")
        if not plain or plain in _NOISE:
            continue
        if plain in _SOFT or _DATE.fullmatch(plain):
            soft.add(plain)
        else:
            hard.add(plain)
            if word.isdigit() and len(word) in (2, 3):
                numbers.append(word)
    return Words(
        hard=frozenset(hard),
        soft=frozenset(soft),
        size=size,
        active=active,
        quantization=quantization,
        numbers=tuple(numbers),
    )


def another_kind(words: frozenset[str]) -> frozenset[str]:
    """Those of ``words`` that name another kind of model, such as an embedding of the same family."""
    return words & _OTHER


def _last(text: str) -> str:
    """The part of a path or a hub's name that names the model: the last one with a digit in it, else the last."""
    if "models--" in text:
        text = _CACHED.sub(" ", text)
    if " " in text.strip() and "(" in text:  # "Qwen1.5-7B-Chat (local path …)": what is in brackets comes after
        before, inside = text.split("(", 1)
        return f"{_last(before)} {_last(inside.split(')')[0])}"
    parts = [part for part in text.replace("\\", "/").split("/") if part.strip()]
    named = (part for part in reversed(parts) if any(map(str.isdigit, part)) and not _SNAPSHOT.fullmatch(part))
    return next(named, parts[-1] if parts else "")


def _quantization(text: str) -> tuple[str | None, str]:
    """The method that the text names, and the text without its words."""
    if not _ANY.search(text):
        return None, text
    exl = _EXL.search(text)
    if exl:
        bits = exl.group(2) or next(iter(_BPW.findall(text)), None)
        return exl.group(1) + (f"-{bits}bpw" if bits else ""), _BPW.sub(" ", _EXL.sub(" ", text))
    kind = _GGUF.search(text)
    if kind or re.search(r"(?<![a-z])gguf(?![a-z])", text):
        rest = re.sub(r"(?<![a-z])(?:gguf|imatrix|i1)(?![a-z0-9])", " ", _GGUF.sub(" ", text))
        return f"gguf-{kind.group(1)}" if kind else "gguf", rest
    found = None
    for pattern, method in _METHODS:
        if pattern.search(text):
            found = found or method
            text = pattern.sub(" ", text)
    return found, text


def _first(pattern: re.Pattern[str], text: str) -> str | None:
    match = pattern.search(text)
    return _number(match.group(1), match.group(2)) if match else None


def _billions(match: re.Match[str]) -> str:
    return match.group(1) + _number(match.group(2), match.group(3))


def _number(digits: str, unit: str) -> str:
    """ "7" for ("7", "b"), "2400" for ("2.4", "t"), "0.6" for ("600", "m")."""
    if "x" in digits or unit == "b":
        return digits.removesuffix(".0")
    return f"{float(digits) * (1000 if unit == 't' else 0.001):.4g}"
