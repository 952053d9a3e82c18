"""``provision disk`` as a user calls it: exit codes, the contract's keys, one screen."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from provision.cli import main

PROVISION = str(Path(sys.executable).with_name("provision"))
SHORT = ("--seconds", "1.5", "--gib", "0.25")
KEYS = {
    "device",
    "kind",
    "filesystem",
    "sequential_read_bytes_per_s",
    "random_read_iops",
    "mmap_read_bytes_per_s",
    "method",
}


def disk(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["disk", *arguments], catch_exceptions=False)


def said(*arguments: str) -> dict[str, Any]:
    return dict(json.loads(disk(*arguments, "--json").stdout))


def test_weights_whose_name_is_no_text_do_not_end_it(on_disk: Path) -> None:
    (Path(os.fsdecode(os.fsencode(on_disk) + b"/\xff\xfe.bin"))).write_bytes(bytes(2 << 20))
    assert said(str(on_disk), *SHORT).keys() >= KEYS


def test_the_contracts_keys_and_no_model(on_disk: Path) -> None:
    found = said(str(on_disk), *SHORT)
    assert found.keys() >= KEYS
    assert found["kind"] in ("hdd", "ssd", "nvme", "raid", "network", "memory", "virtual", "unknown")
    assert all(found[key] for key in KEYS)
    assert "load_seconds" not in found
    assert "temporary file without a name" in found["method"]
    assert list(on_disk.iterdir()) == []


def test_a_models_folder_is_forecast_and_read(weights: Path) -> None:
    for number in (3, 4, 5):
        (weights / f"model-{number}.safetensors").write_bytes((weights / "model-1.safetensors").read_bytes())
    found = said(str(weights), *SHORT)
    assert "wrote nothing" in found["method"]
    assert found["model"] == {"name": str(weights), "bytes": 320 << 20, "files": 5, "whole": True}
    cold, warm = found["load_seconds"]["cold"], found["load_seconds"]["warm"]
    for seconds in (cold["mmap"], cold["streamed"], warm["mmap"], warm["streamed"]):
        assert 0 < seconds["low"] <= seconds["likely"] <= seconds["high"]
    assert cold["mmap"]["likely"] == pytest.approx((320 << 20) / found["mmap_read_bytes_per_s"], rel=0.01)
    elsewhere = said("/dev/shm", "--model", str(weights), *SHORT)
    assert elsewhere["model"]["bytes"] == 320 << 20
    assert (elsewhere["kind"], "nothing can be cold" in elsewhere["method"]) == ("memory", True)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["/not/there"], "/not/there: no such file or folder; expected a folder of models"),
        (["/dev/null"], "/dev/null is no place for files"),
        (["/tmp", "--seconds", "0"], "--seconds is more than 0"),
        (["/tmp", "--gib", "5000"], "--gib more than 0 and at most 1024"),
        (["/tmp", "--model", "/not/there"], "--model /not/there: no such folder"),
    ],
)
def test_a_bad_input_is_one_line_and_exit_2(arguments: list[str], message: str) -> None:
    done = subprocess.run([PROVISION, "disk", *arguments], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert message in done.stderr and len(done.stderr.strip().splitlines()) == 1


def test_what_could_not_be_measured_is_exit_3_with_its_reason(on_disk: Path) -> None:
    done = disk(str(on_disk), "--read-only")
    assert done.exit_code == 3
    assert "nothing could be measured: fewer than 256 MiB of weights are there to read, and --read-only" in done.stdout
    found = said(str(on_disk), "--read-only")
    assert found["sequential_read_bytes_per_s"] is None and "--read-only" in found["unmeasured"]["sequential"]


@pytest.mark.parametrize(("expected", "code"), [(1, 0), (10_000_000, 1)])
def test_the_expected_rate_decides_the_exit(on_disk: Path, expected: int, code: int) -> None:
    spec = on_disk / "spec.toml"
    spec.write_text(f"[expect]\ndisk_mb_per_s = {expected}\n")
    done = disk(str(on_disk), *SHORT, "--spec", str(spec))
    assert done.exit_code == code
    assert f"{'slower than' if code else 'at least'} the {expected} MB/s" in done.stdout


def test_the_text_is_one_screen(on_disk: Path) -> None:
    done = disk(str(on_disk), *SHORT)
    assert done.exit_code == 0
    lines = done.stdout.splitlines()
    assert len(lines) <= 40 and lines[0].startswith(f"{on_disk}: ")
    assert [name for name in ("mapped, cold", "single pages", "how: ") if not any(name in line for line in lines)] == []


def test_the_command_needs_no_torch_and_answers_help() -> None:
    done = subprocess.run([PROVISION, "disk", "--help"], capture_output=True, text=True, check=True)
    assert "Example:  provision disk /srv/models" in done.stdout
