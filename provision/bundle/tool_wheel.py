"""The tool's own wheel, packed from where this tool runs: a checkout or an installed wheel, without a build and a network.

The same tool gives the same bytes: members sorted, dated 1980, not compressed.
"""

from __future__ import annotations

import base64
import hashlib
import importlib.metadata
import io
import os
import zipfile
from pathlib import Path

import provision
from provision.errors import ProvisionError

NAME = "llm-provision"
FILENAME = f"llm_provision-{provision.__version__}-py3-none-any.whl"
_INFO = f"llm_provision-{provision.__version__}.dist-info"
_WHEEL = "Wheel-Version: 1.0\nGenerator: provision bundle\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
_CARRIED = ("METADATA", "entry_points.txt")
_OLDEST = (1980, 1, 1, 0, 0, 0)


def build() -> bytes:
    """The wheel's bytes. Raises ``ProvisionError`` where this environment does not know the tool in this version."""
    files = {**_package(), **_about()}
    lines = [f"{name},sha256={_hash(data)},{len(data)}" for name, data in sorted(files.items())]
    files[f"{_INFO}/RECORD"] = "\n".join([*lines, f"{_INFO}/RECORD,,", ""]).encode()
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_STORED) as archive:
        for name, data in sorted(files.items()):
            entry = zipfile.ZipInfo(name, _OLDEST)
            entry.external_attr = 0o100644 << 16
            archive.writestr(entry, data)
    return content.getvalue()


def _package() -> dict[str, bytes]:
    """Every file of the package. In a checkout four folders are links, which are followed; bytecode is left out."""
    top = Path(provision.__file__).parent
    found = {}
    for folder, folders, names in os.walk(top, followlinks=True):
        folders[:] = [name for name in folders if name != "__pycache__"]
        for name in names:
            path = Path(folder, name)
            if not name.endswith(".pyc"):
                found[f"provision/{path.relative_to(top)}"] = path.read_bytes()
    return found


def _about() -> dict[str, bytes]:
    again = "make venv, or: pip install --no-deps -e ."
    try:
        installed = importlib.metadata.distribution(NAME)
    except importlib.metadata.PackageNotFoundError:
        raise ProvisionError(
            f"{NAME} is not installed in this environment, so its wheel cannot be packed", again
        ) from None
    if installed.version != provision.__version__:
        raise ProvisionError(
            f"this environment says {NAME} {installed.version}, the code is {provision.__version__}", again
        )
    files = {f"{_INFO}/WHEEL": _WHEEL.encode()}
    for path in installed.files or ():
        inside = str(path).partition(".dist-info/")[2]
        if inside in _CARRIED or inside.startswith("licenses/"):
            files[f"{_INFO}/{inside}"] = path.read_binary()
    missing = [name for name in _CARRIED if f"{_INFO}/{name}" not in files]
    if missing:
        raise ProvisionError(f"{NAME} is installed without {', '.join(missing)}, so its wheel cannot be packed", again)
    return files


def _hash(data: bytes) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(data).digest()).decode().rstrip("=")
