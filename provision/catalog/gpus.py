"""GPUs by name (``gpus.toml``): what is known of a model whose driver cannot be asked, or does not say."""

from __future__ import annotations

import functools
import re
from fractions import Fraction

from provision.catalog import tables
from provision.record import record

# What CUDA reports of a GiB that a name states where its row has another size: 23.52 of 24 (RTX 4090), 31.36 of 32 (5090).
_OF_ANOTHER_SIZE = 0.98


@record
class GpuModel:
    """One model. None: no source says it."""

    name: str  # the words of the driver's name that tell it apart: "RTX 4090"
    aliases: tuple[str, ...] = ()  # other words that people write for it: "A100 80GB" for "A100 SXM4 80GB"
    compute_capability: str | None = None  # "8.9"; None: not an NVIDIA card
    memory_bytes: int | None = None  # as sold
    usable_bytes: int | None = None  # what CUDA reports as its total
    memory_bandwidth: int | None = None  # bytes a second, peak
    nvlink: bool | None = None
    p2p: bool | None = None  # False: no peer access over PCIe with the vendor's driver
    ecc: bool | None = None
    tdp: int | None = None  # watts
    source: str
    usable_source: str | None = None
    date: str


@functools.cache
def models() -> dict[tuple[str, ...], GpuModel]:
    """The words of every model's name and aliases, in lower case, to its row."""
    rows = tables.read("gpus.toml", dict[str, tuple[GpuModel, ...]])["gpu"]
    return {_words(name): row for row in rows for name in (row.name, *row.aliases)}


def find(name: str) -> GpuModel | None:
    """The row of "NVIDIA GeForce RTX 4090", "4090" or "RTX 4090 24G"; None for a name that holds no model of the table."""
    words = _words(name[:200])
    return _held(words) or _held(("rtx", *words)) or _in_any_order(words)


def _in_any_order(words: tuple[str, ...]) -> GpuModel | None:
    """The row all of whose words are there, with a number among them: "RTX 6000 Pro"."""
    held = [m for m in models() if len(m) > 2 and set(m) <= set(words)]
    return models()[max(held, key=len)] if held else None


def _held(words: tuple[str, ...]) -> GpuModel | None:
    """The row whose words stand in a row among ``words``; of several the longest."""
    held = [m for m in models() if any(words[at : at + len(m)] == m for at in range(len(words)))]
    return models()[max(held, key=len)] if held else None


def nearest(name: str, most: int = 3) -> tuple[str, ...]:
    """Names of the table to offer for one that it lacks, or has without a memory: the most alike, at most ``most``."""
    import difflib

    asked = _words(name[:200])
    plain = " ".join(asked)

    def likeness(row: GpuModel) -> tuple[int, float]:
        words = _words(row.name)
        return len(set(asked) & set(words)), difflib.SequenceMatcher(None, plain, " ".join(words)).ratio()

    rows = {row.name: row for row in models().values() if row.memory_bytes or row.usable_bytes}
    return tuple(sorted(rows, key=lambda each: (likeness(rows[each]), each), reverse=True)[:most])


def compute_capability(name: str) -> str | None:
    """``8.9`` for "NVIDIA GeForce RTX 4090"; None for a name that holds no model of the table.

    A Quadro RTX 6000 is none of them: "RTX 6000 Ada" has a word more.
    """
    found = find(name)
    return found.compute_capability if found else None


def usable_bytes(name: str) -> tuple[int, bool] | None:
    """What CUDA reports as the total memory of this card, and whether that was printed somewhere or is worked out here.

    None for an unknown card, and for a family named without its size ("A100"). Worked out: memory as sold, by
    the least ratio of usable to sold memory among the cards of its kind (RTX, or not) that are sold with as much, else
    among all of its kind. Cards of one size differ: with ECC on, GDDR6 shows a sixteenth less (L40S 0.99, RTX 6000 Ada
    1.06 of the gigabytes it is sold with), so the least is the answer that does not promise too much.
    """
    row = find(name)
    if row is None or (row.memory_bytes is None and row.usable_bytes is None):
        return None
    printed = row.usable_bytes is not None
    known = row.usable_bytes or int((row.memory_bytes or 0) * _ratio(row))
    size = next((int(word[:-2]) for word in _words(name[:200]) if re.fullmatch(r"\d{1,4}gb", word)), None)
    share = size * 2**30 / known if size else 1.0
    if size and (0.4 < share < 0.75 or 1.3 < share < 2.3):  # a card with other chips: "RTX 4090 48G"; not "GH200 480GB"
        return int(size * 2**30 * _OF_ANOTHER_SIZE), False
    return known, printed


def _ratio(row: GpuModel) -> Fraction:
    """Usable to sold memory, for a row that has no usable memory of its own."""
    kin = {
        other.name: (other.memory_bytes, Fraction(other.usable_bytes, other.memory_bytes))
        for other in models().values()
        if other.memory_bytes and other.usable_bytes and _is_rtx(other) == _is_rtx(row)
    }
    same_size = [ratio for sold, ratio in kin.values() if sold == row.memory_bytes]
    return min(same_size or [ratio for _, ratio in kin.values()])


def _is_rtx(row: GpuModel) -> bool:
    return _words(row.name)[0] in ("gtx", "rtx", "titan")


def _words(name: str) -> tuple[str, ...]:
    """Words in lower case; "80G", "80 GB" and "80GiB" are one word, 80gb."""
    sizes = re.sub(r"\b(\d+)\s*g(?:i?b)?\b", r"\1gb", name.lower())
    return tuple(re.findall(r"[a-z0-9]+", sizes))
