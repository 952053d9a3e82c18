"""``provision lock --audit``: known vulnerabilities of what is locked, by pip-audit, and the version that fixes each.

pip-audit is no dependency of the tool (sixteen packages for one question); it is asked in a process of its own where it
is installed. It exits 0 and says "No known vulnerabilities found" where its service knows none of the packages, so what
counts here is each package's own row in its answer, and a package without one was not looked at.
"""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from provision import cache
from provision.index import IndexSettings
from provision.lock import listing
from provision.lock.text import Lock
from provision.lock.withdrawn import NotLooked
from provision.record import record

_SECONDS = 600  # pip-audit asks for one package after the other: 266 of them at two a second
_SERVICE = "pip-audit"
_WAY_OUT = "PIP_AUDIT_VULNERABILITY_SERVICE and PIP_AUDIT_OSV_URL name another service"


@record
class Vulnerability:
    """What is known of one locked version. ``fixed_in`` are the versions that are said to fix it, oldest first."""

    package: str
    version: str
    names: tuple[str, ...]  # the service's own first, then its other names (CVE …)
    fixed_in: tuple[str, ...]
    locks: tuple[str, ...]


@record
class Audit:
    """What pip-audit said of ``looked_at`` locked versions, and what it could not look at."""

    vulnerabilities: tuple[Vulnerability, ...]
    not_looked: tuple[NotLooked, ...]
    looked_at: int


Version = tuple[str, str]  # package, version as the lock has it


def audit(
    locks: Mapping[str, Lock],
    settings: IndexSettings,
    *,
    command: tuple[str, ...] | None = None,
    seconds: float = _SECONDS,
) -> Audit:
    """Ask about every version of ``locks`` (by variant), once each. ``command`` is pip-audit, where it is not looked for."""
    where: dict[Version, list[str]] = {}
    for name, lock in locks.items():
        for pin in lock.pins:
            where.setdefault((pin.name, pin.version), []).append(name)
    command = _command() if command is None else command
    if not command:
        reason = "pip-audit is not installed: python -m pip install pip-audit"
        return Audit(vulnerabilities=(), not_looked=(_all(where, reason),) if where else (), looked_at=0)
    found: list[Vulnerability] = []
    silent: dict[str, list[str]] = {}
    looked_at = 0
    for versions in _rounds(where):
        rows, trouble = _ask({name: _public(version) for name, version in versions}, command, settings, seconds)
        for name, version in versions:
            row = rows.get(name)
            if row is None or "vulns" not in row:
                reason = trouble or listing.one_line((row or {}).get("skip_reason")) or "no answer"
                silent.setdefault(_without_name(reason, name, version), []).append(f"{name} {version}")
                continue
            looked_at += 1
            found += (_vulnerability(each, name, version, where[name, version]) for each in row["vulns"])
    return Audit(
        vulnerabilities=tuple(sorted(found, key=lambda each: (each.package, each.version, each.names))),
        not_looked=tuple(
            NotLooked(place=_SERVICE, reason=reason, packages=tuple(names)) for reason, names in sorted(silent.items())
        ),
        looked_at=looked_at,
    )


def _command() -> tuple[str, ...]:
    """pip-audit of this environment, else the one on PATH; nothing where there is none."""
    if importlib.util.find_spec("pip_audit") is not None:
        return (sys.executable, "-m", "pip_audit")
    found = shutil.which("pip-audit")
    return (found,) if found else ()


def _rounds(versions: Iterable[Version]) -> Iterator[tuple[Version, ...]]:
    """The versions in groups without a package twice, which pip-audit refuses."""
    left = sorted(versions)
    while left:
        taken: dict[str, Version] = {}
        for each in left:
            taken.setdefault(each[0], each)
        yield tuple(taken.values())
        left = [each for each in left if taken[each[0]] != each]


def _public(version: str) -> str:
    """Without the local part: what is known of 2.13.0 holds for 2.13.0+cpu, which no service knows by that name."""
    return version.partition("+")[0]


def _ask(
    versions: Mapping[str, str], command: tuple[str, ...], settings: IndexSettings, seconds: float
) -> tuple[dict[str, Any], str]:
    """pip-audit's rows by package, and why there are none (empty where there are)."""
    with tempfile.TemporaryDirectory(prefix="provision-audit-") as folder:
        path = Path(folder, "pins.txt")
        path.write_text("".join(f"{name}=={version}\n" for name, version in sorted(versions.items())))
        words = (
            *("--requirement", str(path), "--no-deps", "--disable-pip"),
            *("--format", "json", "--desc", "off", "--aliases", "on", "--progress-spinner", "off", "--output", "-"),
            *("--cache-dir", str(cache.folder() / "pip-audit"), "--timeout", str(settings.timeout_seconds)),
        )
        try:
            done = subprocess.run(
                (*command, *words),
                env=_environment(settings, os.environ),
                capture_output=True,
                text=True,
                timeout=seconds,
                check=False,
                stdin=subprocess.DEVNULL,
            )
        except subprocess.TimeoutExpired:
            return {}, f"no answer within {seconds:g} s"
        except OSError as error:
            return {}, f"did not run: {error.strerror or error}"
    try:
        return {row["name"]: row for row in json.loads(done.stdout)["dependencies"]}, ""
    except (ValueError, KeyError, TypeError):
        said = [line.strip() for line in done.stderr.splitlines() if line.strip() and not line.startswith("WARNING")]
        reason = said[-1] if said else f"exit {done.returncode} without a word"
        return {}, f"{listing.one_line(settings.redact(reason))}; {_WAY_OUT}"


def _environment(settings: IndexSettings, environment: Mapping[str, str]) -> dict[str, str]:
    """The user's certificates and proxy, which pip-audit takes from the variables of its HTTP client alone."""
    given = {
        "REQUESTS_CA_BUNDLE": settings.certificate,
        "HTTP_PROXY": settings.proxy,
        "HTTPS_PROXY": settings.proxy,
        "NO_COLOR": "1",
    }
    return {**environment, **{name: value for name, value in given.items() if value}}


def _vulnerability(row: Mapping[str, Any], name: str, version: str, locks: list[str]) -> Vulnerability:
    return Vulnerability(
        package=name,
        version=version,
        names=(_word(row["id"]), *sorted(_word(each) for each in row.get("aliases", ()))),
        fixed_in=tuple(_word(each) for each in row.get("fix_versions", ())),
        locks=tuple(locks),
    )


def _word(value: object) -> str:
    """A name or version from a service, fit for a terminal."""
    return re.sub(r"[^A-Za-z0-9._:+!-]", "", str(value))[:80]


def _without_name(reason: str, name: str, version: str) -> str:
    """A reason that names its package, made one that several share."""
    return reason.removesuffix(f": {name} ({_public(version)})")


def _all(versions: Iterable[Version], reason: str) -> NotLooked:
    return NotLooked(place=_SERVICE, reason=reason, packages=tuple(f"{n} {v}" for n, v in sorted(versions)))
