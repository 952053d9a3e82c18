"""What a machine gets from an unpacked bundle before ``provision up``: an environment, a package source, a command.

Everything lies in the bundle's own folder; nothing of the machine's configuration is touched:

content/    what was unpacked      venv/       the tool, from the bundle's wheels     provision    the command
apt/        a configuration of its own: the bundle's packages are its only source, its lists and its cache lie here
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
from pathlib import Path

from .errors import NotDone

VENV_SECONDS = 900  # measured 2026-11-24: see docs/measured.md; a slow disk takes many times that
FINISHED = "finished"  # in venv/, written last: an environment without it was broken off, and is made again


def environment(home: Path) -> dict[str, str]:
    """The variables with which every program takes what it needs from ``home``, and asks nobody else.

    APT_CONFIG is read by apt-get, python3-apt and mmdebstrap alike (apt.conf(5)); Ansible's module stands on the first two.
    """
    cache = home / "content/cache"
    return {
        "APT_CONFIG": str(home / "apt/apt.conf"),
        "PIP_FIND_LINKS": str(cache / "wheels"),
        "PIP_NO_INDEX": "1",
        "PROVISION_CACHE": str(cache),
        "PROVISION_OFFLINE": "1",
    }


def write_apt(home: Path) -> None:
    """apt's settings for whoever is given ``environment``. The machine's own are read too, its sources are not."""
    apt = home / "apt"
    for name in ("lists/partial", "cache/archives/partial"):
        (apt / name).mkdir(parents=True, exist_ok=True)
    # The signature over the whole bundle has vouched for these packages, each by its hash.
    write(apt / "sources.list", f"deb [trusted=yes] file:{home}/content/debs ./\n")
    settings = {
        "Dir::Etc::SourceList": apt / "sources.list",
        "Dir::Etc::SourceParts": "/dev/null",
        # Lists of its own: an update removes the lists of every source that it does not know.
        "Dir::State::Lists": apt / "lists",
        "Dir::Cache": apt / "cache",
        # _apt, as which apt reads otherwise, need not be allowed into this folder; nothing comes from outside.
        "APT::Sandbox::User": "root",
        "Acquire::Languages": "none",
        "Acquire::Check-Valid-Until": "false",
    }
    write(apt / "apt.conf", "".join(f'{name} "{value}";\n' for name, value in settings.items()))


def write_command(home: Path) -> Path:
    """The command that runs the tool of ``home`` with ``environment``, sudo or not."""
    lines = [f"export {name}={shlex.quote(value)}" for name, value in sorted(environment(home).items())]
    program = shlex.quote(str(home / "venv/bin/provision"))
    command = home / "provision"
    text = "\n".join(("#!/bin/sh", "# Takes everything from this folder.", *lines, f'exec {program} "$@"', ""))
    write(command, text, 0o755)
    return command


def make_environment(home: Path, python: str, requirements: str, installer: Path) -> bool:
    """``venv/`` with exactly ``requirements`` (lines with hashes) from the bundle's wheels. False: it was there.

    A bare Debian has neither pip nor ensurepip (its python3-venv), so ``installer``, pip's own wheel, installs itself
    and the rest; a wheel is a zip file that Python runs.
    """
    venv = home / "venv"
    if (venv / FINISHED).is_file():
        return False
    if venv.exists():
        shutil.rmtree(venv)
    run(python, "-I", "-m", "venv", "--without-pip", str(venv))
    listing = home / "requirements.txt"
    listing.write_text(requirements)
    run(
        *(str(venv / "bin/python"), str(installer / "pip"), "--isolated", "install", "--quiet", "--no-input"),
        *("--no-index", "--find-links", str(installer.parent), "--no-cache-dir", "--disable-pip-version-check"),
        *("--no-deps", "--only-binary", ":all:", "--require-hashes", "--requirement", str(listing)),
    )
    os.sync()  # the mark must not outlive what it vouches for
    (venv / FINISHED).touch()
    return True


def write(path: Path, text: str, mode: int = 0o644) -> None:
    """``text`` as ``path``, whole or not at all; untouched where it is that already."""
    if path.is_file() and path.read_text() == text:
        return
    part = path.with_name(f".{path.name}.part")
    with part.open("w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    part.chmod(mode)
    part.replace(path)


def run(*command: str) -> None:
    """A step that must succeed. Python's and pip's settings of the user do not reach it.

    It dies with this process, however that ends: the next installation removes what it had begun to write.
    """
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PIP_", "PYTHON"))}
    try:
        done = subprocess.run(
            ("setpriv", "--pdeathsig", "KILL", *command),
            env={**kept, "PIP_CONFIG_FILE": os.devnull},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=VENV_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise NotDone(f"{command[0]} did not run: {error}") from None
    if done.returncode != 0:
        said = (done.stderr.strip() or done.stdout.strip() or f"exit status {done.returncode}").splitlines()
        raise NotDone(f"{' '.join(command[:4])} failed: {said[-1]}")
