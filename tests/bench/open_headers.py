"""What the safetensors package takes to say name, type and shape of every tensor of a folder: ``open_headers.py FOLDER``."""

from __future__ import annotations

import sys
from pathlib import Path

from safetensors import safe_open

found = {}
for path in sorted(Path(sys.argv[1]).glob("*.safetensors")):
    with safe_open(path, framework="np") as file:
        for name in file.keys():  # noqa: SIM118 (it is no dictionary)
            part = file.get_slice(name)
            found[name] = (part.get_dtype(), tuple(part.get_shape()))
print(len(found))
