"""A flat Debian repository (``deb [trusted=yes] file:/…/debs ./``) of the packages in a bundle.

It carries no signature of its own: the bundle's covers it. Hence ``trusted=yes`` where it is used, after verifying.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from datetime import datetime

from provision.bundle.content import Content, from_file, literal
from provision.bundle.debian import Deb

FOLDER = "debs"


def contents(debs: Iterable[Deb], suite: str, published: datetime) -> Iterator[Content]:
    """The packages, their index, and the file that names the index. ``published``: the archive's own date, no clock's."""
    stanzas = []
    for deb in debs:
        yield from_file(f"{FOLDER}/{deb.filename}", deb.path, deb.sha256)
        stanzas.append(
            f"{deb.control.strip()}\nFilename: ./{deb.filename}\nSize: {deb.size_bytes}\nSHA256: {deb.sha256}\n"
        )
    packages = "\n".join(stanzas).encode()
    release = (
        f"Origin: provision bundle\nLabel: provision bundle\nSuite: {suite}\nCodename: {suite}\n"
        f"Date: {published.strftime('%a, %d %b %Y %H:%M:%S UTC')}\n"
        f"SHA256:\n {hashlib.sha256(packages).hexdigest()} {len(packages)} Packages\n"
    )
    yield literal(f"{FOLDER}/Packages", packages)
    yield literal(f"{FOLDER}/Release", release)
