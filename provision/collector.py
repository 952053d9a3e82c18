"""The collector: everything that looks at a machine, in one file that any Python 3.10 or newer runs.

Copied to a machine where this tool is not installed, it prints that machine's snapshot; ``provision doctor --facts -``
judges it here. It is a zipapp of the modules that are standard library only, and of NVIDIA's binding (``pynvml``, one
module under the BSD licence, which stands in its first lines), without which no GPU could be asked.
"""

from __future__ import annotations

import importlib.util
import io
import zipfile
from importlib import resources
from pathlib import Path

from provision.errors import ProvisionError, UsageError
from provision.files import write_whole

MODULES = (
    *("__init__", "child", "codec", "elf", "errors", "fact", "files", "host"),
    *("installed", "local", "overlay", "record", "unix_http"),
)
# Parsed by any Python from 2.7 up, so that one too old is told so in one line.
MAIN = '''\
"""Prints what this machine is, as JSON, on standard output. Changes nothing."""

import sys

if sys.version_info < (3, 10):
    sys.exit(
        "the collector needs Python 3.10 or newer; %s is %d.%d. On Debian 12 or Ubuntu 22.04: "
        "apt-get install python3   (elsewhere: /path/to/python3.10 %s)"
        % (sys.executable, sys.version_info[0], sys.version_info[1], sys.argv[0])
    )

import os

from provision import __version__, codec, fact, facts
from provision.host import LocalHost

facts.load()
snapshot = fact.collect(LocalHost(), os.uname().nodename, __version__)
sys.stdout.buffer.write(codec.dumps(snapshot.to_json()).encode("utf-8", "backslashreplace"))
'''
_OLDEST = (1980, 1, 1, 0, 0, 0)  # a zip file's earliest date: the same tool gives the same bytes


def build() -> bytes:
    """The collector's bytes: a line for the shell, then the zip file. Raises ``ProvisionError`` without the binding."""
    content = io.BytesIO()
    content.write(b"#!/usr/bin/env python3\n")
    with zipfile.ZipFile(content, "a", zipfile.ZIP_DEFLATED) as archive:
        for name, data in sorted(_files().items()):
            archive.writestr(zipfile.ZipInfo(name, _OLDEST), data, zipfile.ZIP_DEFLATED)
    return content.getvalue()


def write(path: Path, alone: bool = True) -> None:
    """Write the collector, executable, whole or not at all.

    Raises ``UsageError`` where the path cannot be written, or where facts were asked for too (not ``alone``).
    """
    if not alone:
        raise UsageError("--collector writes a program, not facts; expected it without -o and --json")
    content = build()
    try:
        write_whole(path.resolve(), content, mode=0o755)
    except OSError as error:
        raise UsageError(f"{path}: cannot be written: {error.strerror}") from None


def _files() -> dict[str, bytes]:
    package = resources.files("provision")
    files = {f"provision/{name}.py": (package / f"{name}.py").read_bytes() for name in MODULES}
    for entry in (package / "facts").iterdir():
        if entry.name.endswith(".py"):
            files[f"provision/facts/{entry.name}"] = entry.read_bytes()
    return {"__main__.py": MAIN.encode(), "pynvml.py": _binding(), **files}


def _binding() -> bytes:
    found = importlib.util.find_spec("pynvml")
    if found is None or found.origin is None:
        raise ProvisionError(
            "this environment has no pynvml (package nvidia-ml-py), which the collector carries to ask NVIDIA's library",
            "pip install nvidia-ml-py",
        )
    return Path(found.origin).read_bytes()
