"""Progress goes to standard error, so that documents stand alone on standard output."""

from __future__ import annotations

import sys


def say(text: str) -> None:
    """One line of progress. Safe when nobody listens any more."""
    try:
        sys.stderr.write(text + "\n")
        sys.stderr.flush()
    except BrokenPipeError:  # the reader went away; the work goes on and its result is in the run directory
        return
