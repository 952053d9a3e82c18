"""Real wheels of a few lines, and virtual environments that pip really installs them into. No network."""

from __future__ import annotations

import base64
import hashlib
import os
import subprocess
import sys
import sysconfig
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path


def make_wheel(
    folder: Path, name: str, version: str, files: Mapping[str, bytes] | None = None, requires: Sequence[str] = ()
) -> Path:
    """A wheel for every Python with a module, a program ``NAME`` and ``files`` besides."""
    stem, info = f"{name.replace('-', '_')}-{version}", f"{name.replace('-', '_')}-{version}.dist-info"
    metadata = [f"Name: {name}", f"Version: {version}", *(f"Requires-Dist: {one}" for one in requires)]
    module = name.replace("-", "_")
    content = {
        f"{module}.py": b"VALUE = 42\n\n\ndef main():\n    return 0\n",
        **(files or {}),
        f"{info}/METADATA": "\n".join(["Metadata-Version: 2.1", *metadata, ""]).encode(),
        f"{info}/WHEEL": b"Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{info}/entry_points.txt": f"[console_scripts]\n{name} = {module}:main\n".encode(),
    }
    rows = [f"{path},sha256={_digest(data)},{len(data)}" for path, data in content.items()]
    content[f"{info}/RECORD"] = "\n".join([*rows, f"{info}/RECORD,,", ""]).encode()
    folder.mkdir(parents=True, exist_ok=True)
    wheel = folder / f"{stem}-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as file:
        for path, data in content.items():
            file.writestr(path, data)
    return wheel


def _digest(data: bytes) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()


def make_venv(prefix: Path, *options: str) -> Path:
    """A virtual environment without pip in it; its package folder."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", *options, prefix], check=True)
    return prefix / "lib" / f"python{sys.version_info.major}.{sys.version_info.minor}" / "site-packages"


def pip_wheel() -> Path:
    """pip's wheel as every Python that can make a venv has it (Debian keeps it apart)."""
    folders = [Path(sysconfig.get_path("stdlib")) / "ensurepip/_bundled", Path("/usr/share/python-wheels")]
    return next(wheel for folder in folders for wheel in sorted(folder.glob("pip-*.whl")))


def pip(prefix: Path, *arguments: object, **variables: str) -> None:
    """``pip install`` with the Python of ``prefix``, from files alone."""
    command = [prefix / "bin/python", "-m", "pip", "install", "-q", "--disable-pip-version-check", "--no-index"]
    subprocess.run(
        [*map(str, command), "--root-user-action=ignore", *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": str(pip_wheel()), "PIP_CONFIG_FILE": os.devnull, **variables},
        check=True,
    )
