"""Where a card's memory goes, as a drawing with its words: of the planned model in a report, and of ``provision fit``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from provision.plan import Serving
from provision.record import record
from provision.report.quantity import size

if TYPE_CHECKING:
    from provision.fit.answer import Answer

WIDTH = 1000  # units of the drawing from one end to the other


@record
class Piece:
    """One part of a card's memory: from where to where in the drawing, and the same in words. ``kind``: its colour."""

    name: str
    kind: str
    start: int
    width: int
    size: str
    share: str


@record
class Picture:
    """``label`` says all that is drawn. ``end``: where the card ends; less than ``WIDTH`` where more is needed than it has."""

    pieces: tuple[Piece, ...]
    end: int
    label: str


@record
class Planned:
    """How a model is to be served, for a page. ``state`` colours the verdict."""

    title: str
    verdict: str
    state: str
    about: tuple[tuple[str, str], ...]
    reasons: tuple[str, ...]
    options: str
    caption: str
    picture: Picture | None
    ranks: int


def picture(total_bytes: int, parts: Mapping[str, int]) -> Picture:
    """The parts of a card of ``total_bytes``, in their order; empty ones are left out."""
    needed = sum(parts.values())
    scale = max(total_bytes, needed, 1)
    pieces, at = [], 0
    for number, (name, held) in enumerate(parts.items()):
        if held > 0:
            start, stop = round(at * WIDTH / scale), round((at + held) * WIDTH / scale)
            share = f"{held / total_bytes:.0%}" if total_bytes else ""
            kind = "spare" if name == "not used" else f"part{number}"
            pieces.append(Piece(name=name, kind=kind, start=start, width=stop - start, size=size(held), share=share))
        at += held
    said = ", ".join(f"{one.name} {one.size}" for one in pieces)
    over = f"; {size(needed - total_bytes)} more than it has" if needed > total_bytes else ""
    return Picture(
        pieces=tuple(pieces), end=round(total_bytes * WIDTH / scale), label=f"of {size(total_bytes)}: {said}{over}"
    )


def answered(found: Answer) -> Planned:
    """The answer of ``provision fit`` as a page shows it."""
    from provision.fit import answer as answers

    made, split = found.forecast, found.asked.parallel
    about = [
        ("precision", found.model.precision.name if found.model.precision.kinds else "16 bit"),
        ("engine", answers.engine_name(found.engine)),
        ("GPUs", f"{split.gpus} x {found.card}, {_divided(split.tp, split.pp, split.dp)}"),
    ]
    if answers.loads(made, found.card_bytes) and made.tokens_known:
        about.append(("cache holds", f"{made.concurrency:,.1f} requests of {made.length:,} tokens"))
    about += [("instead", str(one["change"])) for one in found.alternatives]
    about += [("assumed", one) for one in found.model.assumed]
    sure = "" if found.certain else "probably "
    return Planned(
        title=found.model.name,
        verdict=f"{sure}{'fits' if found.fits else 'does not fit'}",
        state=_state(found.fits, found.certain),
        about=tuple(about),
        reasons=found.why,
        options=" ".join(found.engine_args) if found.fits else "",
        caption=_caption(split.gpus),
        picture=picture(found.card_bytes, answers.parts(found)),
        ranks=split.gpus,
    )


def _divided(tp: int, pp: int, dp: int) -> str:
    split = (("tensor", tp), ("pipeline", pp), ("data", dp))
    return ", ".join(f"{name} parallel {ways}" for name, ways in split if ways > 1) or "not divided"


def _state(fits: bool, certain: bool) -> str:
    return "warning" if not certain else "good" if fits else "bad"


def _caption(ranks: int) -> str:
    return f"Where the memory of {f'each of {ranks} GPUs' if ranks > 1 else 'the GPU'} would go"


def planned(served: Serving) -> Planned:
    """The plan's serving as a page shows it."""
    use = served.card
    about = [
        ("precision", served.precision),
        ("engine", served.engine),
        ("GPUs", f"{served.ranks} of {served.gpus}, {_divided(served.tp, served.pp, served.dp)}"),
    ]
    if use and use.requests is not None:
        about.append(("cache holds", f"{use.requests:,.1f} requests of {use.tokens:,} tokens"))
    about += [("instead", one) for one in served.instead] + [("assumed", one) for one in served.assumed]
    return Planned(
        title=served.model,
        verdict=served.verdict,
        state=_state(served.fits, served.certain),
        about=tuple(about),
        reasons=(*((served.refused,) if served.refused else ()), *served.reasons),
        options=" ".join(served.options) if served.fits else "",
        caption=_caption(served.ranks),
        picture=picture(use.total_bytes, use.parts) if use else None,
        ranks=served.ranks,
    )
