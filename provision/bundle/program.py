"""``FILE.pyz``: what checks and installs a bundle where this tool is not installed yet. A zipapp of ``payload/bundle``."""

from __future__ import annotations

import io
import zipfile
from importlib import resources

# Parsed by any Python from 2.7 up, so that one too old is told so in one line.
MAIN = '''\
"""Checks a bundle and brings a machine up from it. See --help."""

import sys

if sys.version_info < (3, 10):
    sys.exit(
        "this program needs Python 3.10 or newer; %s is %d.%d. On Debian 12: /usr/bin/python3 %s"
        % (sys.executable, sys.version_info[0], sys.version_info[1], sys.argv[0])
    )

from bundle.__main__ import main

sys.exit(main())
'''
_OLDEST = (1980, 1, 1, 0, 0, 0)  # a zip file's earliest date: the same tool gives the same bytes


def build() -> bytes:
    """The program's bytes: a line for the shell, then the zip file. Not compressed: zlib's output differs by version."""
    files = {"__main__.py": MAIN.encode()}
    for entry in (resources.files("provision.payload") / "bundle").iterdir():
        if entry.name.endswith(".py"):
            files[f"bundle/{entry.name}"] = entry.read_bytes()
    content = io.BytesIO()
    content.write(b"#!/usr/bin/env python3\n")
    with zipfile.ZipFile(content, "a", zipfile.ZIP_STORED) as archive:
        for name, data in sorted(files.items()):
            archive.writestr(zipfile.ZipInfo(name, _OLDEST), data)
    return content.getvalue()
