"""Both resolvers asked the same question, and their answers compared."""

from __future__ import annotations

import time
from pathlib import Path

from provision import index
from provision.index import IndexSettings
from provision.lock import answer
from provision.lock.pages import Pages, united_sha256
from provision.lock.resolve import RESOLVERS, resolve
from provision.lock.variants import Variant
from provision.record import record


@record
class Crosscheck:
    """Two resolvers' answers to one input. ``differences`` are (package, uv's version, pip-tools' version).

    ``hashes``: how many all configured places together have of uv's pins. ``seconds``: by resolver, in ``RESOLVERS``' order.
    """

    variant: str
    packages: int
    hashes: int
    seconds: tuple[float, ...]
    differences: tuple[tuple[str, str, str], ...]


def crosscheck(
    variant: Variant, *, lockfiles: Path, pyproject: Path, settings: IndexSettings | None = None
) -> Crosscheck:
    """Ask uv and pip-tools the same question from nothing, and compare every pin. Writes nothing."""
    settings = index.read() if settings is None else settings
    asked = answer.question(variant, lockfiles=lockfiles, pyproject=pyproject, upgrade=True, uploaded_before="")
    pages, _ = answer.with_public_indexes(asked.wanted, Pages(settings))
    beside = {f"{other}.txt": answer.bare(each) for other, each in answer.beside_on_disk(variant, lockfiles).items()}
    answers, seconds = [], []
    for resolver in RESOLVERS:
        begun = time.monotonic()
        pins = resolve(
            asked.input_text, target=variant.target, settings=pages.settings, resolver=resolver, beside=beside
        )
        seconds.append(time.monotonic() - begun)
        answers.append({pin.name: pin.version for pin in pins})
    names = sorted(answers[0].keys() | answers[1].keys())
    pairs = ((name, answers[0].get(name, ""), answers[1].get(name, "")) for name in names)
    return Crosscheck(
        variant=variant.name,
        packages=len(names),
        hashes=sum(map(len, united_sha256(pages, answers[0].items()).values())),
        seconds=tuple(seconds),
        differences=tuple(each for each in pairs if each[1] != each[2]),
    )
