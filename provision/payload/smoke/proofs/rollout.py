"""A version can be compared with another, because the same version repeats itself."""

from __future__ import annotations

from .. import sums
from ..promise import PRECISIONS
from ..proof import Promise, Verdict, proof
from ..session import Session

PROMPTS = 64


@proof("ROL-P1", "rollout")
def same_tokens_again(session: Session, promised: Promise) -> Verdict:  # noqa: ARG001  it promises no number
    """The same prompts give the same tokens, now and after loading again.

    ## What it proves
    In every precision 64 prompts are decoded twice by the loaded model and once by a freshly loaded one. All three
    give identical token numbers, so a difference between two versions is a difference of the versions.

    ## When it fails
    Something random is left in the model (dropout, sampling), a kernel is not deterministic, or the weights on disk
    changed while the test ran.
    """
    pairs = sums.held_out_sums(PROMPTS)
    measured: dict[str, int] = {"prompts": PROMPTS}
    failures = []
    for precision in PRECISIONS:
        model = session.loaded(precision).model
        first = session.decode(model, pairs)
        again = session.decode(model, pairs)
        reloaded = session.decode(session.load(precision).model, pairs)
        measured[precision] = sum(a == b == c for a, b, c in zip(first, again, reloaded, strict=True))
        if measured[precision] != PROMPTS:
            failures.append(f"{precision}: {measured[precision]} of {PROMPTS} prompts gave the same tokens three times")
    return Verdict(measured=measured, failures=tuple(failures))
