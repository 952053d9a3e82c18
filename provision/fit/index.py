"""``model.safetensors.index.json``: which file has which tensor. Read as bytes, so that memory stays bounded."""

from __future__ import annotations

import re

from provision.fit import members
from provision.fit.source import TENSORS_LIMIT, name_of, shown

_FILE = re.compile(r"[^/\\]+\.safetensors")
# A member and the comma behind it, as writers spell them.
_USUAL = re.compile(rb'"([ !#-\[\]-~]{1,1024})": ?"([ !#-\[\]-~]{1,255})",[ \r\n\t]{0,64}(?=")')


def read(raw: bytes) -> dict[str, str]:
    """``weight_map``, tensor to file. Raises ``ValueError`` saying what is wrong and what was expected.

    A file is a name in the index's own folder: never a path, so that an index cannot lead out of the folder.
    """
    found: dict[str, str] = {}
    files: dict[bytes, str] = {}
    maps = pairs = 0

    def file_of(value: bytes) -> str:
        file = name_of(value)
        if not _FILE.fullmatch(file) or file.startswith("."):
            raise ValueError(f"names the file {shown(file)}; expected a .safetensors file of its own folder")
        return files.setdefault(value, file)

    def usual(place: int) -> int:
        nonlocal pairs
        for _ in range(TENSORS_LIMIT - pairs):
            pair = _USUAL.match(raw, place)
            if pair is None:
                break
            name, value = pair.groups()
            found[name.decode()] = files.get(value) or file_of(value)
            pairs += 1
            place = pair.end()
        return place

    def unusual(key: bytes, place: int) -> int:
        nonlocal pairs
        value, place = members.string(raw, place)
        found[name_of(key)] = files.get(value) or file_of(value)
        pairs += 1
        if pairs > TENSORS_LIMIT:
            raise ValueError(f"more than {TENSORS_LIMIT} tensors")
        return place

    def top(key: bytes, place: int) -> int:
        nonlocal maps
        if key != b"weight_map":
            return members.small(raw, place)[1]
        maps += 1
        if maps > 1:
            raise ValueError("weight_map is there twice")
        return members.walk(raw, place, unusual, usual)

    end = members.walk(raw, members.skip(raw, 0), top)
    if raw[end:].strip(b" \t\n\r"):
        raise ValueError(f"something follows the JSON object, from byte {end}")
    if len(found) != pairs:
        raise ValueError("it names a tensor twice")
    if not found:
        raise ValueError("no weight_map with a tensor in it; expected one of tensor to file")
    return found
