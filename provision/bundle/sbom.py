"""The bundle's materials as a CycloneDX 1.6 document: wheels, Debian packages, the base image with what is in it, the model.

No clock and no serial number, which the format leaves open: the same bundle has the same list. Licences are what a wheel's
own metadata says; a Debian package states its licence in prose, in its copyright file, so none is given for it here.
"""

from __future__ import annotations

import email
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

from provision import __version__, bootstrap, codec
from provision.bundle import tool_wheel
from provision.bundle.collect import Gathered
from provision.bundle.content import Content
from provision.errors import ChangeError

PATH = "sbom.cdx.json"
_STATUS = "./var/lib/dpkg/status"


def document(gathered: Gathered, suite: str, model: str) -> str:
    """The list, as JSON with sorted keys. ``model``: its folder's name, empty where none goes along."""
    own = next(one for one in gathered.contents if one.member.path == f"tool/{tool_wheel.FILENAME}")
    files = [one for one in gathered.contents if one.member.path.startswith("model/")]
    components = [
        *(_wheel(one, wheel.name, wheel.version) for one, wheel in gathered.wheels),
        *(
            _debian(deb.field("Package"), deb.field("Version"), deb.field("Architecture"), suite)
            | _file(f"debs/{deb.filename}", deb.sha256)
            for deb in gathered.debs
        ),
        _base(gathered.base, suite),
        *([_model(model, files)] if files else []),
    ]
    return codec.dumps(
        {
            "bomFormat": "CycloneDX",
            "specVersion": "1.6",
            "version": 1,
            "metadata": {
                "component": {"type": "application", "name": tool_wheel.NAME, "version": __version__}
                | _file(own.member.path, own.member.sha256)
            },
            "components": sorted(components, key=lambda each: str(each["bom-ref"])),
        }
    )


def _file(path: str, sha256: str) -> dict[str, Any]:
    """A component that is one member of the bundle."""
    return {"bom-ref": path, "hashes": [{"alg": "SHA-256", "content": sha256}]}


def _wheel(one: Content, name: str, version: str) -> dict[str, Any]:
    assert isinstance(one.source, Path)
    found = {
        "type": "library",
        "name": name,
        "version": version,
        "purl": f"pkg:pypi/{name}@{quote(version, safe='')}",
        **_file(one.member.path, one.member.sha256),
    }
    licences = _licences(one.source)
    return found | ({"licenses": licences} if licences else {})


def _licences(wheel: Path) -> list[dict[str, Any]]:
    """An SPDX expression where the metadata has one (PEP 639), else the first line of what it says."""
    try:
        with zipfile.ZipFile(wheel) as archive:
            (name,) = (n for n in archive.namelist() if n.count("/") == 1 and n.endswith(".dist-info/METADATA"))
            said = email.message_from_bytes(archive.read(name))
    except (ValueError, zipfile.BadZipFile):
        raise ChangeError(f"{wheel}: it is no wheel with one METADATA", f"rm {wheel}") from None
    if expression := said["License-Expression"]:
        return [{"expression": str(expression)}]
    classified = [c.rpartition(" :: ")[2] for c in said.get_all("Classifier", []) if c.startswith("License ::")]
    named = str(said["License"] or "").strip().splitlines()[:1] or classified
    return [{"license": {"name": each[:100]}} for each in named if each]


def _debian(name: str, version: str, architecture: str, suite: str) -> dict[str, Any]:
    purl = f"pkg:deb/debian/{quote(name, safe='')}@{quote(version, safe='')}?arch={architecture}&distro={suite}"
    return {"type": "library", "name": name, "version": version, "purl": purl}


def _base(one: Content, suite: str) -> dict[str, Any]:
    assert isinstance(one.source, Path)
    inside = [
        _debian(name, version, architecture, suite) | {"bom-ref": f"{one.member.path}#{name}:{architecture}"}
        for name, version, architecture in sorted(_installed(one.source))
    ]
    return {
        "type": "container",
        "name": bootstrap.REPOSITORY,
        "version": one.member.path.rpartition("/")[2].removesuffix(".tar"),
        "components": inside,
        **_file(one.member.path, one.member.sha256),
    }


def _installed(image: Path) -> Iterator[tuple[str, str, str]]:
    """Name, version and architecture of every Debian package in the image, from its own list."""
    try:
        with tarfile.open(image) as outer, tarfile.open(fileobj=outer.extractfile("layer.tar")) as layer:
            listed = layer.extractfile(_STATUS)
            status = listed.read().decode() if listed else ""
    except (tarfile.TarError, KeyError) as error:
        raise ChangeError(f"{image}: the base image cannot be read: {error}", f"rm {image}") from None
    for stanza in status.split("\n\n"):
        said = email.message_from_string(stanza)
        if said["Package"]:
            yield said["Package"], said["Version"], said["Architecture"]


def _model(name: str, files: list[Content]) -> dict[str, Any]:
    return {
        "type": "machine-learning-model",
        "bom-ref": "model",
        "name": name,
        "components": [
            {
                "type": "file",
                "name": one.member.path.removeprefix("model/"),
                **_file(one.member.path, one.member.sha256),
            }
            for one in sorted(files, key=lambda each: each.member.path)
        ],
    }
