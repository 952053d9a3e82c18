"""What a bundle takes: to make, to check, to unpack, without and with a large model. Run with ``make bench``."""

from __future__ import annotations

import datetime
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.bench import measure

MODEL_BYTES = 4 << 30
MOST_MEMORY_BYTES = 200 << 20
CACHE = Path(os.environ.get("PROVISION_CACHE", Path.home() / ".cache/provision"))
UNPACK = (
    "import sys; from pathlib import Path; from provision.payload.bundle.unpack import unpack; "
    "unpack(*map(Path, sys.argv[1:]))"
)


@pytest.fixture
def model(tmp_path: Path) -> Iterator[Path]:
    """Four shards of a gigabyte each, of bytes that no disk compresses."""
    folder = tmp_path / "model"
    folder.mkdir()
    block = os.urandom(1 << 20)
    for number in range(4):
        with (folder / f"model-{number + 1:05d}-of-00004.safetensors").open("wb") as out:
            for turn in range(MODEL_BYTES // 4 >> 20):
                out.write(turn.to_bytes(4, "big") + block[4:])
    yield folder
    for path in folder.iterdir():
        path.unlink()


def test_a_bundle_without_and_with_a_large_model(model: Path, tmp_path: Path) -> None:
    key, trusted = tmp_path / "key", tmp_path / "trusted"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key], check=True)
    trusted.write_text(f"bench {key.with_suffix('.pub').read_text()}")
    provision = [sys.executable, "-m", "provision", "bundle"]
    environment = {"PROVISION_CACHE": str(CACHE)}
    plain, large = tmp_path / "site.bundle", tmp_path / "model.bundle"
    create = [*provision, "create", str(plain), "--key", str(key)]
    subprocess.run(
        create, check=True, env={**os.environ, **environment}, stdout=subprocess.DEVNULL
    )  # fetches what is not here
    rows = ["| command | wall time | processor time | peak memory |", "|---|---:|---:|---:|"]
    peaks = []

    def row(name: str, command: list[str]) -> None:
        report = tmp_path / "report"
        alone = [sys.executable, "-IS", str(measure.ROOT / "tests/alone.py"), str(report), *command]
        subprocess.run(alone, check=True, env={**os.environ, **environment}, stdout=subprocess.DEVNULL)
        used = json.loads(report.read_text())
        assert used["status"] == 0, name
        peaks.append(used["peak_bytes"])
        took = f"{used['seconds']:.1f} s | {used['processor_seconds']:.1f} s"
        rows.append(f"| {name} | {took} | {used['peak_bytes'] / 2**20:.0f} MiB |")

    row("`provision bundle create FILE --key KEY`, all in the cache", create)
    size, members = plain.stat().st_size, _members(plain)
    row("`provision bundle verify FILE`", [*provision, "verify", str(plain), "--allowed-signers", str(trusted)])
    row("unpacking it", [sys.executable, "-c", UNPACK, str(plain), str(tmp_path / "site"), str(trusted)])
    row(
        f"`create FILE --model DIR`, {MODEL_BYTES >> 30} GiB in 4 files",
        [*provision, "create", str(large), "--key", str(key), "--model", str(model)],
    )
    row("`verify` of that", [*provision, "verify", str(large), "--allowed-signers", str(trusted)])
    row("`sha256sum` of that, for comparison", ["sha256sum", str(large)])
    text = (
        f"{datetime.date.today().isoformat()}, {measure.machine()}; `make bench`; one run each, load average "
        f"{os.getloadavg()[0]:.0f}: the processor's time is what carries over. The bundle for a machine without a GPU "
        f"(`smoke-cpu-py311`): {size / 2**20:.0f} MiB, {members} members.\n\n" + "\n".join(rows)
    )
    measure.record("bundle", text)
    assert max(peaks) <= MOST_MEMORY_BYTES


def _members(path: Path) -> int:
    done = subprocess.run(["tar", "--list", "--file", path], capture_output=True, text=True, check=True)
    return len(done.stdout.splitlines()) - 2
