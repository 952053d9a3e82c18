"""The answer of ``provision fit`` as text: the verdict, where each card's memory goes, what would fit instead."""

from __future__ import annotations

from provision import codec
from provision.fit import answer as answers
from provision.fit.answer import GIB, Answer
from provision.report.layout import PLAIN, Style, clean, table

_BAR = 60  # characters of a card
_SIGNS = (
    ("weights", "#"),
    ("activations", "+"),
    ("outside torch", "-"),
    ("CUDA graphs", "g"),
    ("KV cache", "="),
    ("not used", "."),
)


def as_json(found: Answer) -> str:
    """The document of the contract."""
    return codec.dumps(answers.as_json(found))


def text(found: Answer, style: Style = PLAIN) -> str:
    """One screen."""
    made, parts = found.forecast, found.asked.parallel
    verdict = "fits" if found.fits else "does not fit"
    if not found.certain:
        verdict = f"probably {verdict}"
    cards = f"{parts.gpus} x {found.card}" if parts.gpus > 1 else found.card
    precision = found.model.precision.name if found.model.precision.kinds else "16 bit"
    lines = [
        f"{style.paint(clean(found.model.name), 'head')} ({precision}) on {clean(cards)} with {found.engine.engine}: "
        f"{style.paint(verdict, 'good' if found.fits else 'bad')}",
        "",
        *(f"  {clean(one)}" for one in found.why),
        "",
        *_picture(found),
    ]
    if answers.loads(made, found.card_bytes) and made.pool > 0:
        low, high = max(made.pool_low, 0), made.pool_high
        lines += [
            "",
            f"  KV cache {answers.gib(made.pool)} (between {answers.gib(low)} and {answers.gib(high)}), "
            f"{made.cache.bytes_per_token / 1024:,.1f} KiB a token on each card",
        ]
        if made.tokens_known:
            asked = "" if found.asked.length else " (the longest that fits, or the model's own)"
            lines.append(
                f"  {made.tokens:,} tokens: {made.concurrency:.1f} requests of {made.length:,} tokens at once{asked}"
            )
        else:
            lines.append(
                "  how many tokens that is cannot be said: this engine divides it in a way that is not modelled here"
            )
    if found.tokens_per_s:
        lines.append(f"  at most {found.tokens_per_s:,.0f} tokens a second for one request, by memory bandwidth")
    if found.fits and found.engine_args:
        lines += ["", f"  {found.engine.engine} options: {' '.join(found.engine_args)}"]
    if found.alternatives:
        lines += ["", "  what would fit, and for how many requests of what length at once:"]
        rows = [
            (
                f"    {one['change']}",
                f"{one['max_concurrency']:.1f} x {one['max_model_len']:,} tokens" if "max_concurrency" in one else "",
            )
            for one in found.alternatives
        ]
        lines += table(rows)
    elif not found.fits:
        lines += ["", "  nothing near would fit: no narrower precision, no shorter context, up to 16 of these cards"]
    lines += ["", *(f"  assumed: {clean(one)}" for one in found.model.assumed)] if found.model.assumed else []
    return "\n".join(lines) + "\n"


def _picture(found: Answer) -> list[str]:
    """One bar for a card (all are alike: the fullest is shown), and its legend."""
    made = found.forecast
    sizes = list(answers.parts(found).items())
    scale = _BAR / max(found.card_bytes, sum(size for _, size in sizes))
    signs = dict(_SIGNS)
    bar, at = "", 0.0
    for name, size in sizes:
        at += size * scale
        bar += signs[name] * max(round(at) - len(bar), 0)
    legend = ", ".join(f"{signs[name]} {name} {answers.gib(size)}" for name, size in sizes if size)
    over = made.weights_bytes > found.card_bytes
    mark = f"{bar[: round(found.card_bytes * scale)]}|{bar[round(found.card_bytes * scale) :]}" if over else f"{bar}|"
    return [f"  |{mark} {found.card_bytes / GIB:.1f} GiB", f"  {legend}"]
