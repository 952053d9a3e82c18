"""Bundles for the tests: right ones from the real writer and real keys, and members that any tar program would unpack."""

from __future__ import annotations

import hashlib
import subprocess
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from provision.bundle import content, signing, writing
from provision.payload.bundle import manifest
from provision.payload.bundle.manifest import Asked, MadeFor, Manifest, Member

MADE_FOR = MadeFor(architecture="x86_64", debian="bookworm", glibc="2.36", python="3.11", lock="smoke-cpu-py311")
ASKED = Asked(packages=("docker.io",), model="", spec=False, facts=False)
LONG = "cache/wheels/" + "long_name_" * 11 + "-1.0-py3-none-any.whl"  # over 100 bytes: an extended header
FILES = {
    "cache/base.tar": b"base" * 300,
    LONG: b"a wheel",
    "cache/wheels/zero-1.0-py3-none-any.whl": b"",
    "debs/Packages": b"Package: x\n" * 100,
    "model/gewichte-größe.bin": bytes(range(256)) * 8,
    "tool/tool.whl": b"t" * 512,
}


@dataclass(frozen=True)
class Keys:
    """A folder with a key of each name; ``allowed`` trusts ``me`` alone."""

    folder: Path

    def __truediv__(self, name: str) -> Path:
        return self.folder / name

    @property
    def me(self) -> Path:
        return self.folder / "me"

    @property
    def allowed(self) -> Path:
        return self.folder / "allowed"


def make_key(path: Path, *options: str) -> Path:
    subprocess.run(
        ["ssh-keygen", "-q", "-N", "", "-C", path.name, "-f", path, *(options or ("-t", "ed25519"))], check=True
    )
    return path


def table(files: Mapping[str, bytes], **more: object) -> Manifest:
    """The manifest of these files, in the order of ``files`` unless they are sorted first."""
    members = tuple(Member(path=p, sha256=hashlib.sha256(d).hexdigest(), size_bytes=len(d)) for p, d in files.items())
    return replace(Manifest(tool_version="0", made_for=MADE_FOR, asked=ASKED, members=members), **more)  # type: ignore[arg-type]


def ordered(files: Mapping[str, bytes]) -> dict[str, bytes]:
    return dict(sorted(files.items(), key=lambda pair: manifest.order(pair[0])))


def write(path: Path, key: Path, files: Mapping[str, bytes]) -> Path:
    """A right bundle of these files."""
    files = ordered(files)
    data = manifest.dumps(table(files))
    writing.write(path, data, signing.sign(key, data), [content.literal(p, d) for p, d in files.items()])
    return path


def raw_members(path: Path) -> dict[str, bytes]:
    """Every member's bytes in the archive, header, content and padding, by path; the end is left out."""
    with tarfile.open(path) as archive:
        starts = [(m.name, m.offset) for m in archive.getmembers()]
    data = path.read_bytes()
    ends = [offset for _, offset in starts[1:]] + [len(data) - 1024]
    return {name: data[start:end] for (name, start), end in zip(starts, ends, strict=True)}


def forged(name: str, data: bytes = b"", kind: bytes = tarfile.REGTYPE, link: str = "", **more: object) -> bytes:
    """A member as Python's own tarfile writes it: one that any tar program would unpack."""
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.size = kind, link, len(data)
    for key, value in more.items():
        setattr(info, key, value)
    return info.tobuf(tarfile.PAX_FORMAT) + data + bytes(-len(data) % 512)
