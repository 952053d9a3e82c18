"""Files that the safetensors package itself writes, read as it reads them. Needs PROVISION_SMOKE_PYTHON."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from provision.fit import checkpoint

WRITE = """
import json, sys, torch
from safetensors import safe_open
from safetensors.torch import save_file
kinds = [torch.bool, torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64, torch.float16, torch.bfloat16,
         torch.float32, torch.float64, torch.float8_e4m3fn, torch.float8_e5m2, torch.float8_e8m0fnu, torch.complex64]
tensors = {f"layer.{n}.{kind}": torch.zeros(n, 3, 5).to(kind) for n, kind in enumerate(kinds)}
tensors["scalar"] = torch.tensor(1.0)
tensors["n\\u00e4me with \\"quotes\\" and \\\\"] = torch.zeros(2)
save_file(tensors, sys.argv[1], metadata={"format": "pt", "odd": "}{\\""})
with safe_open(sys.argv[1], "pt") as file:
    said = [[n, file.get_slice(n).get_dtype(), file.get_slice(n).get_shape(), tensors[n].nbytes] for n in sorted(file.keys())]
print(json.dumps(said))
"""


@pytest.mark.torch
def test_every_type_that_torch_writes(tmp_path: Path) -> None:
    python = os.environ.get("PROVISION_SMOKE_PYTHON")
    if not python:
        pytest.fail(
            "PROVISION_SMOKE_PYTHON is not set: name an interpreter with the packages of lockfiles/smoke-cpu-py311.txt"
        )
    path = tmp_path / "m.safetensors"
    done = subprocess.run([python, "-c", WRITE, str(path)], check=True, capture_output=True, text=True)
    found = checkpoint.read_checkpoint(path)
    assert [[one.name, one.dtype, list(one.shape), one.bytes] for one in found.tensors] == json.loads(done.stdout)
