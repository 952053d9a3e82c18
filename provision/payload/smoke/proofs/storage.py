"""The weights load in time."""

from __future__ import annotations

from ..promise import PRECISIONS
from ..proof import Promise, Verdict, proof
from ..session import Session


@proof("STO-P1", "storage")
def loads_in_time(session: Session, promised: Promise) -> Verdict:
    """Every precision loads within the promised seconds.

    ## What it proves
    The time from the model's folder to a model that is ready to run, quantising included, importing the libraries
    excluded. Each precision is timed once, when it is first loaded.

    ## When it fails
    The folder lies on slow or network storage, or the machine is starved of CPU. Compare `provision disk` for the
    folder with what the model needs.
    """
    bound = promised["seconds"]
    measured = {precision: round(session.loaded(precision).load_seconds, 3) for precision in PRECISIONS}
    return Verdict(
        measured=measured,
        failures=tuple(
            f"{precision}: {seconds} s to load, promised at most {bound} s"
            for precision, seconds in measured.items()
            if seconds > bound
        ),
    )
