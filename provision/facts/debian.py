"""Debian packages that matter here, and where packages may come from."""

from __future__ import annotations

from dataclasses import dataclass

from provision.fact import fact


@fact
class DebianPackages:
    """Absent on a system without dpkg."""

    packages: tuple[tuple[str, str], ...]  # (name, version), sorted; installed ones of those looked for
    broken: tuple[str, ...]  # of all: half-installed, half-configured or unpacked; apt refuses to go on with these


@dataclass(frozen=True, kw_only=True, slots=True)
class AptSource:
    """One entry. No address: an internal mirror's name is nobody's business."""

    path: str
    suites: tuple[str, ...]
    components: tuple[str, ...]


@fact
class AptSources:
    sources: tuple[AptSource, ...]  # binary packages, enabled; at least one
