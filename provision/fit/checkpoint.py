"""A model's weights on this machine, read exactly from the headers of its files: every tensor's name, type, shape and bytes.

Standard library only: where the file system may hang, this module runs in a child (``provision.fit.apart``).
"""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Sequence
from typing import Any

from provision.errors import UsageError
from provision.fit import folder, gguf, gguf_names, index, safetensors
from provision.fit.source import HEADER_LIMIT_BYTES, TENSORS_LIMIT, Source, opened, shown, unreadable
from provision.record import record

_CONFIG = "config.json"
_CONFIG_LIMIT_BYTES = 4 << 20  # the longest that are published list a quantiser's exceptions: some 100 KB
_NAMES_LIMIT = 100_000  # of a folder
_ENDS = {".safetensors": "safetensors", ".gguf": "gguf", **dict.fromkeys((".bin", ".pt", ".pth"), "pickle")}


@record
class Tensor:
    """``dtype`` as the format spells it: "BF16", "F8_E4M3", "U8" (safetensors); "Q4_K" (GGUF). ``shape`` in elements,
    rows first in both formats."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    bytes: int


@record
class Checkpoint:
    """``tensors`` by name; none for "pickle", whose header is a program: there ``bytes`` is the files' size, an upper bound.

    ``config`` is config.json as parsed, or a GGUF file's key-values under its names. It is the author's text: of any shape.
    """

    path: str
    format: str  # "safetensors", "gguf" or "pickle"
    tensors: tuple[Tensor, ...]
    bytes: int  # of all tensors
    file_bytes: int
    files: tuple[str, ...]  # names, in path's folder
    config: dict[str, Any]


def read_checkpoint(path: str | os.PathLike[str]) -> Checkpoint:
    """The model in a folder (config.json and its weights), or in one .safetensors, .gguf or pickle file.

    A file of a split GGUF stands for all of them. ``metadata.total_size`` of an index is not believed: published ones
    are often wrong. Raises ``UsageError``: which file, what is wrong with it, what was expected.
    """
    from provision.fit import apart

    text = os.fspath(path)
    return apart.read(text) if apart.may_hang(text) else read_here(text)


def read_here(path: str) -> Checkpoint:
    """The same in this process."""
    try:
        alone = not stat.S_ISDIR(os.stat(path).st_mode)
    except (OSError, ValueError) as error:
        raise unreadable(path, error) from None
    top = os.path.dirname(path) if alone else path
    indexed = None if alone else _index(path)
    try:
        if indexed is not None:
            kind, files = "safetensors", tuple(sorted(set(indexed.values())))
        else:
            kind, files = _one(path) if alone else folder.weights(_names(path))
    except ValueError as error:
        raise UsageError(f"{shown(path)}: {error}") from None
    rows: list[safetensors.Row] = []
    places: dict[str, str] = {}  # tensor to file
    sizes = []
    config: dict[str, Any] = {} if kind == "gguf" else _config(top, needed=not alone)
    for name in files:
        with opened(os.path.join(top, name)) as source:
            sizes.append(source.size)
            if kind == "safetensors":
                rows += _placed(places, source, name, safetensors.read(source))
            elif kind == "gguf":
                header = gguf.read(source)
                rows += _placed(places, source, name, header.rows)
                config = config or gguf_names.config(header)
                _numbered(source, header, folder.part(name))
    if indexed is not None:
        _compare(os.path.join(top, folder.INDEX), indexed, places)
    rows.sort()
    tensors = tuple(Tensor(name=name, dtype=dtype, shape=shape, bytes=size) for name, dtype, shape, size in rows)
    return Checkpoint(
        path=path,
        format=kind,
        tensors=tensors,
        bytes=sum(tensor.bytes for tensor in tensors) if kind != "pickle" else sum(sizes),
        file_bytes=sum(sizes),
        files=files,
        config=config,
    )


def _names(top: str) -> list[str]:
    names: list[str] = []
    try:
        with os.scandir(top or ".") as entries:
            for entry in entries:
                names.append(entry.name)
                if len(names) > _NAMES_LIMIT:
                    raise UsageError(f"{shown(top)}: more than {_NAMES_LIMIT} files; expected a model's folder")
    except OSError as error:
        raise unreadable(top, error) from None
    return names


def _one(path: str) -> tuple[str, tuple[str, ...]]:
    """Format and files for the path of one file."""
    top, name = os.path.split(path)
    for end, kind in _ENDS.items():
        if name.endswith(end):
            split = kind == "gguf" and folder.part(name) != (1, 1)
            return kind, folder.parts(name, _names(top)) if split else (name,)
    raise ValueError(f"expected a folder or a file that ends in {', '.join(_ENDS)}")


def _placed(
    places: dict[str, str], source: Source, file: str, rows: Sequence[safetensors.Row]
) -> Sequence[safetensors.Row]:
    """``rows``, entered in ``places``. Raises ``UsageError`` for a tensor that another file has too."""
    new = dict.fromkeys([row[0] for row in rows], file)
    for twice in sorted(places.keys() & new.keys()):
        raise source.wrong(f"{shown(twice)} is in {shown(places[twice])} too; expected every tensor once")
    places |= new
    if len(places) > TENSORS_LIMIT:
        raise source.wrong(f"more than {TENSORS_LIMIT} tensors in this model up to here")
    return rows


def _config(top: str, needed: bool) -> dict[str, Any]:
    path = os.path.join(top, _CONFIG)
    if not needed and not os.path.lexists(path):
        return {}
    with opened(path) as source:
        if source.size > _CONFIG_LIMIT_BYTES:
            raise source.wrong(f"{source.size} bytes; expected at most {_CONFIG_LIMIT_BYTES}")
        try:
            found = json.loads(source.read(0, source.size).decode())
        except RecursionError:
            raise source.wrong("nested too deeply; expected a model's configuration") from None
        except ValueError as error:
            raise source.wrong(f"no JSON: {shown(str(error))}") from None
        if not isinstance(found, dict):
            raise source.wrong(f"a {type(found).__name__}; expected a JSON object, a model's configuration")
    return found


def _index(top: str) -> dict[str, str] | None:
    """Tensor to file, as the folder's index has it; None where there is none."""
    path = os.path.join(top, folder.INDEX)
    if not os.path.lexists(path):
        return None
    with opened(path) as source:
        if source.size > HEADER_LIMIT_BYTES:
            raise source.wrong(f"{source.size} bytes; expected at most {HEADER_LIMIT_BYTES}")
        try:
            found = index.read(source.read(0, source.size))
        except ValueError as error:
            raise source.wrong(str(error)) from None
        missing = sorted(set(found.values()) - set(_names(top)))
        if missing:
            raise source.wrong(f"names {folder.listed(missing)}; expected in the same folder, and not there")
        return found


def _compare(path: str, indexed: dict[str, str], places: dict[str, str]) -> None:
    """Every tensor lies in the file that the index names, and no other is there."""
    if indexed == places:
        return
    for name, file in indexed.items():
        if places.get(name) != file:
            where = f"it is in {shown(places[name])}" if name in places else "no file has it"
            raise UsageError(f"{shown(path)}: says that {shown(name)} is in {shown(file)}; {where}")
    name = min(places.keys() - indexed.keys())
    raise UsageError(f"{shown(path)}: does not name {shown(name)}, which is in {shown(places[name])}")


def _numbered(source: Source, header: gguf.Header, said: tuple[int, int]) -> None:
    """A split GGUF says in its key-values, too, which part it is; its parts are numbered from 0 there."""
    number, count = (header.values.get(key, 0) for key in ("split.no", "split.count"))
    if type(number) is not int or type(count) is not int or (number + 1, count or 1) != said:
        spoken = f"split.no {shown(str(number))} and split.count {shown(str(count))}"
        raise source.wrong(f"says {spoken}, counted from 0; its name says that it is part {said[0]} of {said[1]}")
