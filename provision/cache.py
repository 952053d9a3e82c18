"""Where this user's downloads and pages of indexes are kept between runs."""

from __future__ import annotations

import os
from pathlib import Path


def folder() -> Path:
    """``PROVISION_CACHE``, else root's or the user's own cache."""
    if given := os.environ.get("PROVISION_CACHE"):
        return Path(given)
    if os.geteuid() == 0:
        return Path("/var/cache/provision")
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "provision"
