"""Reading a checkpoint of 1,000 files with 100 tensors each, beside the safetensors package. Run with ``make bench``."""

from __future__ import annotations

import datetime
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.bench import measure
from tests.fit import build

ROUNDS = 7
FILES, TENSORS = 1000, 100
SECONDS = 1.0
OURS = "provision.fit.checkpoint"
PEER = "safetensors.safe_open"
READ = "import sys; from provision.fit.checkpoint import read_checkpoint as r; print(len(r(sys.argv[1]).tensors))"


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A folder as DeepSeek's: shards and an index (sparse files, so the data takes no room)."""
    places: dict[str, str] = {}
    for number in range(FILES):
        name = f"model-{number + 1:05d}-of-{FILES:05d}.safetensors"
        tensors = [f"model.layers.{number}.mlp.experts.{place}.down_proj.weight" for place in range(TENSORS)]
        size = 7168 * 2048
        header = {t: build.tensor("F8_E4M3", (7168, 2048), size * at, size * (at + 1)) for at, t in enumerate(tensors)}
        with (tmp_path / name).open("wb") as file:
            file.write(build.safetensors({"__metadata__": {"format": "pt"}, **header}))
            file.truncate(file.tell() + size * TENSORS)
        places |= dict.fromkeys(tensors, name)
    (tmp_path / "model.safetensors.index.json").write_bytes(build.compact({"weight_map": places}))
    (tmp_path / "config.json").write_bytes(b'{"model_type": "deepseek_v3"}')
    return tmp_path


def test_headers_beside_the_safetensors_package(model: Path) -> None:
    python = os.environ.get("PROVISION_SMOKE_PYTHON", str(measure.ROOT / ".venv-smoke/bin/python"))
    commands = {
        OURS: [sys.executable, "-c", READ, str(model)],
        PEER: [python, str(measure.ROOT / "tests/bench/open_headers.py"), str(model)],
    }
    for command in commands.values():  # both see every tensor
        done = subprocess.run(command, check=True, capture_output=True, text=True, cwd=measure.ROOT)
        assert done.stdout.split() == [str(FILES * TENSORS)]
    timings = measure.side_by_side(commands, ROUNDS)
    text = (
        f"{datetime.date.today().isoformat()}, {measure.machine()}; `make bench`; median of {ROUNDS} rounds, one command "
        f"after the other in every round: a Python that starts, reads the headers of {FILES} files with {TENSORS} tensors "
        f"each and ends. Ours also reads the index and compares it, and refuses what the package lets pass (a name twice).\n\n"
        f"{measure.table(timings, OURS)}"
    )
    measure.record("headers", text)
    assert {one.statuses for one in timings.values()} == {(0,)}
    assert timings[OURS].fastest <= SECONDS
