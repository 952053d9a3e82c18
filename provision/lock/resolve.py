"""Requirements to pins, by uv or by pip-tools.

What a resolver prints is read; what goes into a lock is rendered by ``text``, the same for both.
"""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from provision import index
from provision.errors import ChangeError, UsageError
from provision.index import IndexSettings
from provision.lock.target import Target
from provision.lock.text import Pin

Resolver = Literal["uv", "pip-tools"]
RESOLVERS: tuple[Resolver, ...] = ("uv", "pip-tools")

_ONE_AT_A_TIME = threading.Lock()
_SECONDS = 1800  # pip-compile downloads whole torch wheels: minutes here, more on a slow line
_INPUT = "requirements.in"
_KEPT = "kept.txt"
_PIN = re.compile(r"(?P<name>[A-Za-z0-9][A-Za-z0-9._-]*)===?(?P<version>[^\s#=]+)(?:\s+#\s*via\s+(?P<via>.*))?")


def resolve(
    text: str,
    *,
    target: Target,
    settings: IndexSettings,
    resolver: Resolver = "uv",
    beside: Mapping[str, str] | None = None,
    previous: str = "",
    hold: bool = True,
    before: str = "",
) -> tuple[Pin, ...]:
    """The pins of one input for one target, sorted, without hashes; ``via`` names who asked for each.

    ``beside`` are further files that the input names (``-c OTHER.txt``). ``previous`` are pins to keep where they
    still fit; not ``hold``: where they stand in nobody's way. ``before`` (``2026-11-24T00:00:00Z``) leaves out what was
    uploaded later, which only uv can. Wheels only: what must be built from source cannot be installed from a lock
    without a network.
    pip-tools resolves for the interpreter it runs on, so it needs the target's Python.

    With several indexes uv looks for a kept pin on the first index that has the version, and finds no wheel where that
    index has it for another Python (0.13.9, triton 3.6.0, 2026-11-24); a constraint it looks for on all of them. So for
    uv the pins to keep are constraints first, then what uv itself makes of them, and at last none of them is kept.

    Raises ``ChangeError`` with the resolver's own words, redacted, where there is no answer.
    """
    beside = dict(beside or {})
    if before and resolver != "uv":
        raise UsageError("pip-tools cannot resolve as of a day", "provision lock --resolver uv --at DATE")
    if resolver != "uv" or not previous:
        return _asked(text, target, settings, resolver, beside, previous, before)
    kept = {_KEPT: previous.replace("==", "===")}
    for extra, pins in ((kept, ""), ({}, previous)) if hold else (({}, previous),):
        with contextlib.suppress(ChangeError):
            return _asked(text, target, settings, resolver, beside | extra, pins, before)
    return _asked(text, target, settings, resolver, beside, "", before)


def _asked(
    text: str,
    target: Target,
    settings: IndexSettings,
    resolver: Resolver,
    beside: Mapping[str, str],
    previous: str,
    before: str,
) -> tuple[Pin, ...]:
    """One run of a resolver in a folder of its own; ``previous`` is its output file of the last time."""
    with tempfile.TemporaryDirectory(prefix="provision-lock-") as folder:
        for name, content in {_INPUT: text, "pins.txt": previous, **beside}.items():
            Path(folder, name).write_text(content)
        command, environment = _COMMANDS[resolver](target, settings)
        if before:
            command += ["--exclude-newer", before]
        if _KEPT in beside:
            command += ["--constraint", _KEPT]
        try:
            done = subprocess.run(
                command,
                cwd=folder,
                env=environment,
                capture_output=True,
                text=True,
                timeout=_SECONDS,
                check=False,
                stdin=subprocess.DEVNULL,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise ChangeError(settings.redact(f"{resolver} did not run: {error}"), "make venv") from None
        if done.returncode != 0:
            said = _with_requirements(_last_words(done.stderr), text)
            raise ChangeError(f"{resolver} found no answer: {settings.redact(said)}")
        return _pins(Path(folder, "pins.txt").read_text())


def _uv(target: Target, settings: IndexSettings) -> tuple[list[str], dict[str, str]]:
    command = [
        _uv_program(),
        *("pip", "compile", _INPUT, "--output-file", "pins.txt"),
        *("--quiet", "--no-header", "--annotation-style", "line"),
        *("--python", sys.executable, "--python-version", target.python),
        *("--python-platform", f"{target.machine}-manylinux_{target.glibc.replace('.', '_')}"),
        *("--only-binary", ":all:", "--no-emit-index-url", "--no-emit-find-links"),
        *index.uv_arguments(settings),
    ]
    return command, index.uv_environment(settings, os.environ)


def _uv_program() -> str:
    from uv import find_uv_bin

    with _ONE_AT_A_TIME:  # it asks sysconfig, which gives None to a second thread while it starts (Python 3.11)
        return find_uv_bin()


def _pip_tools(target: Target, settings: IndexSettings) -> tuple[list[str], dict[str, str]]:
    if sys.version_info[:2] != target.python_pair():
        here = f"{sys.version_info[0]}.{sys.version_info[1]}"
        raise UsageError(
            f"pip-tools resolves for the Python it runs on, {here}; this lock is for {target.python}",
            "provision lock --resolver uv",
        )
    command = [
        *(sys.executable, "-m", "piptools", "compile", _INPUT, "--output-file", "pins.txt"),
        *("--no-config", "--no-header", "--annotation-style", "line", "--strip-extras", "--allow-unsafe"),
        *("--no-emit-index-url", "--no-emit-find-links", "--no-emit-trusted-host", "--no-emit-options"),
        *(word for path in settings.constraints for word in ("--constraint", path)),
    ]
    return command, {**index.pip_environment(settings, os.environ), "PIP_ONLY_BINARY": ":all:"}


_COMMANDS = {"uv": _uv, "pip-tools": _pip_tools}


def _pins(output: str) -> tuple[Pin, ...]:
    pins = []
    for line in output.splitlines():
        if not line.strip() or line.startswith("#"):
            continue
        found = _PIN.fullmatch(line.strip())
        if found is None:
            raise ChangeError(f"the resolver answered with a line that is no pin: {index.redact(line)}")
        via = {_asker(each) for each in (found["via"] or "").split(",")}
        pins.append(Pin(name=found["name"], version=found["version"], via=tuple(sorted(via - {""}))))
    return tuple(sorted(pins, key=lambda pin: pin.name))


def _asker(via: str) -> str:
    """A package's name, ``the input`` for a requirement of ours, nothing for a constraint (which may be a path)."""
    via = via.strip()
    if via.startswith("-c"):
        return ""
    return "the input" if via.startswith("-r") else via


def _with_requirements(said: str, text: str) -> str:
    """What a resolver said, with the requirement itself for each line number of our temporary input."""
    lines = text.splitlines()

    def requirement(match: re.Match[str]) -> str:
        number = int(match[1])
        return lines[number - 1] if number <= len(lines) else match[0]

    return re.sub(rf"-r {re.escape(_INPUT)} \(line (\d+)\)", requirement, said)


def _last_words(stderr: str) -> str:
    """The end of what a resolver said: it explains itself last, after its warnings; pip-tools before a traceback."""
    explained = stderr.partition("Traceback (most recent call last):")[0]
    said = (
        line.rstrip() for line in (explained.strip() or stderr).splitlines() if not line.lower().startswith("warning")
    )
    return "\n".join([line for line in said if line.strip()][-12:])
