"""Whether a lock of this tool serves the model of provision.toml."""

from __future__ import annotations

from collections.abc import Iterator

from provision.check import ERROR, Finding, NotApplicable, check
from provision.plan import Cuda, Dependencies


@check("DEP080", ERROR, cause="no-lock-for-serving")
def no_lock_serves_the_model(plan: Dependencies, cuda: Cuda) -> Iterator[Finding]:
    """No lock of this tool serves the model that provision.toml names.

    A lock for serving holds one engine of one release, and that engine runs some precisions on some generations of GPUs. Where
    none fits, the container of the smoke test is built and proved all the same, and says nothing of the model. What each lock
    lacks stands in the plan's reasons. Where the same change gives the cards a lock and the model too, CUD005 or CUD070 says it.

    ## Fix
    What the plan names as the way out: another engine, a checkpoint in another precision, another accelerator or image.

    ## Proof
    None of its own: no command builds an image from such a lock yet. `provision doctor --select DEP080` plans again.
    """
    serving = plan.serving
    if serving is None:
        raise NotApplicable("the bundled model is proved, not served")
    if serving.lock:
        return
    if serving.way_out and set(serving.way_out) <= set(cuda.way_out):
        raise NotApplicable("what gives the GPUs a lock gives the model one too (CUD005, CUD070)")
    lacks = [one for one in serving.reasons if " is out: " in one or one.startswith("no lock ")]
    yield Finding(
        f"no lock serves the model with {serving.engine}: {'; '.join(lacks)}",
        measured={"lock": None, "engine": serving.engine, "precision": serving.precision},
        needed={"lock": True},
        fix=serving.way_out,
    )
