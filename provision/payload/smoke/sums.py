"""The task of the bundled model: three-digit sums, which of them are held out, and how one is written as text.

Standard library only. Training and proofs share this module, so the held-out set is derived again wherever it is
needed and is never a file that could drift. Truth is arithmetic.

A sum is written least significant digit first on the answer's side, with a fixed width of four: `123+456=9750` is
123 + 456 = 0579 read backwards. That order lets each digit be computed from digits the model has already seen.
"""

from __future__ import annotations

import functools
import hashlib
import random
from collections.abc import Iterator

LOWEST = 100
HIGHEST = 999
PROMPT_TOKENS = 8  # "123+456="
ANSWER_DIGITS = 4
HELD_OUT_ONE_IN = 50  # about 16,000 of 810,000 ordered pairs: eight times what one proof asks for

Sum = tuple[int, int]


def is_held_out(a: int, b: int) -> bool:
    """Whether the pair never occurs in training. a+b and b+a share one fate, so no held-out sum is seen mirrored."""
    low, high = sorted((a, b))
    digest = hashlib.sha256(f"{low}+{high}".encode("ascii")).digest()
    return int.from_bytes(digest[:8], "big") % HELD_OUT_ONE_IN == 0


def training_sums() -> Iterator[Sum]:
    """Every pair that training may draw from, in ascending order."""
    numbers = range(LOWEST, HIGHEST + 1)
    return ((a, b) for a in numbers for b in numbers if not is_held_out(a, b))


@functools.cache
def all_held_out() -> tuple[Sum, ...]:
    """Every held-out pair, in ascending order; kept, because finding them takes 1.7 s (810,000 hashes, 2026-11-24)."""
    numbers = range(LOWEST, HIGHEST + 1)
    return tuple((a, b) for a in numbers for b in numbers if is_held_out(a, b))


def held_out_sums(count: int, seed: int = 0) -> list[Sum]:
    """`count` distinct held-out pairs in a fixed pseudo-random order: the same list on every machine.

    Raises ValueError when more are asked for than are held out.
    """
    available = all_held_out()
    if not 0 < count <= len(available):
        raise ValueError(f"{count} held-out sums asked for, there are {len(available)}")
    return random.Random(seed).sample(available, count)  # noqa: S311  a repeatable choice, not a secret


def prompt(a: int, b: int) -> str:
    """What the model is given."""
    return f"{a}+{b}="


def answer(a: int, b: int) -> str:
    """What the model must say: the sum, zero-padded to four digits, read backwards."""
    return f"{a + b:0{ANSWER_DIGITS}d}"[::-1]
