"""Every proof holds on the good model, and fails for the right reason when the thing it proves is broken."""

from __future__ import annotations

import hashlib
import json
import math
import os
import shutil
import struct
import subprocess
from pathlib import Path
from typing import Any

import pytest

from provision.payload.smoke.promise import NF4_BLOCK, promised_weight_bytes, stored_tensors

PAYLOAD = Path(__file__).parents[2] / "provision" / "payload"
MODEL = PAYLOAD / "smoke" / "model"
LOCK = Path(__file__).parents[2] / "lockfiles" / "smoke-cpu-py311.txt"

pytestmark = pytest.mark.torch

SUMS = {"sums": 2000, "float32": 0.995, "int8": 0.99, "nf4": 0.98}
GOOD = {
    "MEM-P1": SUMS,
    "MEM-P2": {"share": 0.90},
    "MEM-P3": {**promised_weight_bytes(MODEL), "tolerance": 0.02},
    "STO-P1": {"seconds": 60},
    "LAT-P1": {"float32": 1.0, "int8": 1.0, "nf4": 1.0},
    "FRG-P1": {"growth_bytes": 16 * 2**20},
    "CUD-P1": {"accelerator": "cpu"},
    "ROL-P1": {},
}


@pytest.fixture(scope="module")
def good(smoke: Any) -> dict[str, Any]:
    code, lines, stderr = smoke(GOOD)
    assert code == 0, [line["reason"] for line in lines] + [stderr]
    return {line["code"]: line for line in lines}


@pytest.fixture(scope="module")
def broken(smoke_python: str) -> dict[str, Any]:
    done = subprocess.run(
        [smoke_python, Path(__file__).with_name("broken_models.py"), MODEL],
        env=os.environ | {"PYTHONPATH": str(PAYLOAD), "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"},
        check=False,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize("code", GOOD)
def test_every_proof_holds_on_the_bundled_model(good: dict[str, Any], code: str) -> None:
    line = good[code]
    assert line["proved"] is True and line["reason"] == "" and line["schema"] == 1
    assert line["promised"] == GOOD[code] and line["measured"]


def test_the_promise_by_arithmetic_is_what_is_measured(good: dict[str, Any]) -> None:
    expected = promised_weight_bytes(MODEL)
    if "avx512_bf16" in Path("/proc/cpuinfo").read_text().split():
        # There bitsandbytes repacks NF4 at the first call, with the scale of each block in bfloat16: two bytes less a block
        # (bitsandbytes 0.50, functional.py, _convert_weight_packed_for_cpu; seen 2026-11-24).
        quantised = [t.parameters for t in stored_tensors(MODEL) if t.is_quantised]
        expected["nf4"] -= sum(2 * math.ceil(count / NF4_BLOCK) for count in quantised)
    assert good["MEM-P3"]["measured"] == pytest.approx(expected, rel=0.002)


def test_every_routed_expert_is_quantised(good: dict[str, Any]) -> None:
    for precision in ("int8", "nf4"):
        assert good["MEM-P2"]["measured"][precision]["experts"] == 16
        assert good["MEM-P2"]["measured"][precision]["experts_left_out"] == 0


def test_damaged_weights_are_not_right(smoke: Any, tmp_path: Path) -> None:
    model = tmp_path / "model"
    shutil.copytree(MODEL, model)
    data = bytearray((model / "model.safetensors").read_bytes())
    (length,) = struct.unpack("<Q", data[:8])
    start, end = json.loads(data[8 : 8 + length])["model.layers.1.self_attn.o_proj.weight"]["data_offsets"]
    data[8 + length + start : 8 + length + end] = bytes(end - start)
    (model / "model.safetensors").write_bytes(data)
    code, (line,), _ = smoke({"MEM-P1": SUMS | {"sums": 100}}, model=model)
    assert code == 1 and line["proved"] is False
    for precision in ("float32", "int8", "nf4"):
        assert f"{precision}: " in line["reason"] and "of 100 sums right" in line["reason"]
        assert line["measured"][precision] < 0.9


def test_no_model_is_not_proved_and_says_why(smoke: Any, tmp_path: Path) -> None:
    code, (line,), _ = smoke({"MEM-P1": SUMS | {"sums": 10}}, model=tmp_path / "nothing")
    assert code == 1 and line["proved"] is False
    assert line["reason"].startswith("could not run: ") and "nothing" in line["reason"]


@pytest.mark.parametrize(
    "name, reason",
    [
        ("fused", "int8: 16 of 16 routed experts not quantised"),
        ("fused", "nf4: 16 of 16 routed experts not quantised"),
        ("never quantised, share", "nf4: 0.0000 of the parameters quantised"),
        ("never quantised, memory", "nf4: 3175"),
        ("half missing", "float32: "),
        ("slow", "s to load, promised at most 1.5 s"),
        ("crawling", "tokens/s, promised at least 700.0"),
        ("leaking", "bytes more after 12 rounds"),
        ("noisy", "of 64 prompts gave the same tokens"),
        ("differs each time", "of 64 prompts gave the same tokens"),
        ("wrong product", "matrix product differs from pure Python"),
    ],
)
def test_a_broken_model_is_not_proved(broken: dict[str, Any], name: str, reason: str) -> None:
    assert broken[name]["proved"] is False
    assert reason in broken[name]["reason"]


def test_fused_experts_leave_half_of_the_model_unquantised(broken: dict[str, Any]) -> None:
    assert broken["fused"]["measured"]["nf4"]["share"] < 0.55


def test_the_ordinary_transformers_class_loads_the_model_and_adds(broken: dict[str, Any]) -> None:
    assert broken["ordinary"] == {"class": "DeepseekV3ForCausalLM", "dtype": "torch.float32", "right": 4}


def test_the_wrong_torch_build_is_not_proved(smoke: Any) -> None:
    code, (line,), _ = smoke({"CUD-P1": {"accelerator": "cu130"}})
    assert code == 1 and "is built for cpu, promised cu130" in line["reason"]


def test_falling_back_to_the_cpu_is_never_proved(smoke: Any) -> None:
    asked = ("CUD-P1", "CUD-P2", "CUD-P3", "CUD-P4", "CUD-P5", "MEM-P1", "MEM-P2", "FRG-P1", "ROL-P1")
    promised = {code: dict(GOOD.get(code, {})) for code in asked}
    code, lines, _ = smoke(promised, device="cuda")
    assert code == 1 and [line["code"] for line in lines] == list(asked)
    for line in lines:
        assert line["proved"] is False
        assert "device cuda was asked for" in line["reason"] and "no usable GPU" in line["reason"]


def test_another_version_in_the_lock_is_named(smoke: Any, tmp_path: Path) -> None:
    lock = tmp_path / "lock.txt"
    lock.write_text(LOCK.read_text().replace("safetensors==", "safetensors==99.", 1) + "not-there==1.0\n")
    code, (line,), _ = smoke({"DEP-P1": {"lock_sha256": hashlib.sha256(lock.read_bytes()).hexdigest()}}, lock=lock)
    assert code == 1 and line["proved"] is False
    assert "safetensors: lock 99." in line["reason"] and "missing: not-there==1.0" in line["reason"]
    assert "another lock" not in line["reason"]


def test_exactly_the_installed_packages_are_proved_and_another_lock_is_not(
    smoke: Any, smoke_python: str, tmp_path: Path
) -> None:
    lock = tmp_path / "lock.txt"
    frozen = subprocess.run(
        [smoke_python, "-c", "from importlib.metadata import *\nfor d in distributions(): print(d.name+'=='+d.version)"],
        capture_output=True, text=True, check=True, cwd=tmp_path,  # in the checkout it would see an egg-info left by a build
    ).stdout  # fmt: skip
    lock.write_text(frozen)
    code, (line,), _ = smoke({"DEP-P1": {"lock_sha256": hashlib.sha256(lock.read_bytes()).hexdigest()}}, lock=lock)
    assert (code, line["reason"]) == (0, "")
    code, (line,), _ = smoke({"DEP-P1": {"lock_sha256": "0" * 64}}, lock=lock)
    assert code == 1 and line["reason"].startswith("another lock: SHA-256")
    lock.write_text("".join(row for row in frozen.splitlines(True) if not row.startswith("numpy==")))
    code, (line,), _ = smoke({"DEP-P1": {}}, lock=lock)
    assert code == 1 and line["reason"].startswith("extra: numpy==")
