"""Fuzz the reader of model.safetensors.index.json: any bytes give files of one folder, or one ValueError of one line, in 2 s.

usage: .venv-fuzz/bin/python tests/fuzz/indexes.py [-runs=500000]
"""

from __future__ import annotations

import json

import atheris
import seeds

with atheris.instrument_imports(include=["provision.fit"]):
    from provision.fit import index


def one(data: bytes) -> None:
    """One execution."""
    try:
        found = index.read(data)
    except ValueError as error:
        if not str(error).isprintable() or len(str(error)) > 1000:
            raise AssertionError("an error is one short line") from error
        return
    if json.loads(data.decode(errors="surrogateescape"))["weight_map"] != found:
        raise AssertionError("json.loads reads another index")
    for name, file in found.items():
        if "/" in file or not file.endswith(".safetensors") or not (name + file).isprintable():
            raise AssertionError("a file outside the folder, or a name that cannot be printed")


if __name__ == "__main__":
    maps = [{}, {"a": "m.safetensors"}, {"a": "m-1.safetensors", "b": "m-2.safetensors", 'é\\"': "m.safetensors"}]
    whole = [{"metadata": {"total_size": 1e9, "x": [None, {"y": True}]}, "weight_map": one_map} for one_map in maps]
    start = [json.dumps(each, indent=indent).encode() for each in whole for indent in (None, 2)]
    atheris.Setup(seeds.options([*start, *(json.dumps(each, separators=(",", ":")).encode() for each in whole)]), one)
    atheris.Fuzz()
