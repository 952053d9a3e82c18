"""The smoke test without torch: requests, the registry, locks, sums, promises, and the seal on an open host."""

from __future__ import annotations

import ast
import importlib
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from provision.payload.smoke import lockfile, proof, sums
from provision.payload.smoke.promise import promised_weight_bytes, stored_tensors
from provision.payload.smoke.proofs import cuda, isolation

PAYLOAD = Path(__file__).parents[2] / "provision" / "payload"
MODEL = PAYLOAD / "smoke" / "model"
REQUEST: dict[str, Any] = {
    "schema": 1,
    "device": "cpu",
    "model": str(MODEL),
    "lock": None,
    "proofs": [{"code": "DEP-P1", "promised": {}}],
}


def run(request: object, tmp_path: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    path = tmp_path / "request.json"
    path.write_text(request if isinstance(request, str) else json.dumps(request))
    return subprocess.run(
        [sys.executable, "-m", "smoke", "--request", path],
        check=False,
        cwd=PAYLOAD,
        env=os.environ | environment,
        capture_output=True,
        text=True,
    )


@pytest.mark.parametrize(
    "change, message",
    [
        ({"schema": 2}, "schema: expected 1"),
        ({"device": "tpu"}, "device: expected cpu or cuda"),
        ({"model": 3}, "model: expected a folder"),
        ({"lock": 3}, "lock: expected a file or null"),
        ({"proofs": []}, "proofs: expected a list with at least one proof"),
        ({"proofs": [{"code": "MEM-P1"}]}, "proofs[0]: expected code and promised"),
        ({"proofs": REQUEST["proofs"] * 2}, "proofs[1].code: expected each proof once"),
        ({"modle": ""}, "unknown key modle"),
    ],
)
def test_a_bad_request_is_refused_in_one_line(change: dict[str, Any], message: str, tmp_path: Path) -> None:
    done = run(REQUEST | change, tmp_path)
    assert done.returncode == 2 and done.stdout == ""
    assert message in done.stderr and done.stderr.count("\n") == 1


@pytest.mark.parametrize("given, meant", [("", "passive"), ("active", "active")])
def test_threads_wait_without_spinning_unless_told_otherwise(given: str, meant: str) -> None:
    """Before torch is there: libgomp reads the policy once, when it is loaded."""
    code = (
        "import os, sys; from smoke.__main__ import main; code = main(['--request', '/nowhere']);"
        "print(code, 'torch' in sys.modules, os.environ['OMP_WAIT_POLICY'])"
    )
    kept = {name: value for name, value in os.environ.items() if name != "OMP_WAIT_POLICY"}
    chosen = {"OMP_WAIT_POLICY": given} if given else {}
    done = subprocess.run(
        [sys.executable, "-c", code], check=False, cwd=PAYLOAD, env=kept | chosen, capture_output=True, text=True
    )
    assert done.stdout == f"2 False {meant}\n", done.stderr


def test_a_request_that_is_not_json_is_refused(tmp_path: Path) -> None:
    done = run("{", tmp_path)
    assert done.returncode == 2 and "not JSON" in done.stderr and done.stderr.count("\n") == 1


def test_an_unknown_proof_and_one_that_cannot_run_are_not_proved_and_not_absent(tmp_path: Path) -> None:
    proofs = [
        {"code": "ZZZ-P9", "promised": {}},
        {"code": "DEP-P1", "promised": {}},
        {"code": "CUD-P2", "promised": {}},
    ]
    done = run(REQUEST | {"proofs": proofs}, tmp_path)
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.returncode == 1
    assert [(line["code"], line["proved"]) for line in lines] == [
        ("ZZZ-P9", False),
        ("DEP-P1", False),
        ("CUD-P2", False),
    ]
    assert lines[0]["reason"].startswith("unknown proof ZZZ-P9")
    assert lines[1]["reason"] == "could not run: the request names no lock"
    assert lines[2]["reason"] == "CUD-P2 is for cuda, not for cpu"


def test_the_registry_is_sorted_and_every_proof_has_its_page() -> None:
    registry = proof.load()
    assert list(registry) == sorted(registry)
    assert registry["MEM-P1"].name == "sums-right" and registry["CUD-P5"].accelerators == ("cuda",)
    for entry in registry.values():
        assert "## What it proves" in entry.page and "## When it fails" in entry.page
        assert entry.page.splitlines()[0].endswith(".")


def test_importing_every_module_brings_in_the_standard_library_only() -> None:
    code = (
        "import sys, pkgutil, importlib; before = set(sys.modules)\n"
        "import smoke\n"
        "for m in pkgutil.walk_packages(smoke.__path__, 'smoke.'):\n"
        "    if not m.name.endswith('__main__'): importlib.import_module(m.name)\n"
        "tops = {n.partition('.')[0] for n in set(sys.modules) - before} - {'smoke'}\n"
        "print(sorted(tops - set(sys.stdlib_module_names)))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=PAYLOAD, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_payload_imports_nothing_of_provision() -> None:
    for path in PAYLOAD.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) and node.level == 0 else []
            assert not [name for name in names if name.partition(".")[0] == "provision"], path


def test_no_held_out_sum_is_in_training_and_none_is_lost() -> None:
    training = set(sums.training_sums())
    held_out = set(sums.held_out_sums(2000))
    assert len(held_out) == 2000
    assert not held_out & training
    assert not {(b, a) for a, b in held_out} & training
    assert sums.held_out_sums(2000) == sums.held_out_sums(2000)
    first = json.loads((MODEL / "training.log").read_text().splitlines()[0])
    assert first["training_sums"] == len(training), "the log is of a training with another rule"
    with pytest.raises(ValueError, match="held-out sums asked for"):
        sums.held_out_sums(900 * 900)


def test_a_sum_is_written_backwards_with_four_digits() -> None:
    assert (sums.prompt(123, 456), sums.answer(123, 456), sums.answer(999, 999)) == ("123+456=", "9750", "8991")


def test_the_bundled_model_is_small_and_its_training_ended_right() -> None:
    assert (MODEL / "model.safetensors").stat().st_size <= 4_000_000
    last = json.loads((MODEL / "training.log").read_text().splitlines()[-1])
    assert last["unseen_right"] >= 0.995 and last["unseen_right_nf4"] >= 0.98


def test_promised_bytes_count_every_tensor(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "deepseek_v3"}')
    header = json.dumps(
        {
            "__metadata__": {"format": "pt"},
            "model.embed_tokens.weight": {"shape": [16, 128]},
            "model.norm.weight": {"shape": [128]},
            "model.layers.0.mlp.gate_proj.weight": {"shape": [64, 128]},
        }
    ).encode()
    (tmp_path / "model.safetensors").write_bytes(len(header).to_bytes(8, "little") + header)
    kept = (16 * 128 + 128) * 4
    assert promised_weight_bytes(tmp_path) == {
        "float32": kept + 64 * 128 * 4,
        "int8": kept + 64 * 128 + 64 * 4,
        "nf4": kept + 64 * 128 // 2 + 128 * 4 + 64,
    }
    assert len(stored_tensors(MODEL)) > 60


def test_a_folder_without_weights_or_with_damaged_ones_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"no \*\.safetensors"):
        stored_tensors(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"\xff" * 16)
    with pytest.raises(ValueError, match="not a safetensors file"):
        stored_tensors(tmp_path)


def test_a_lock_is_read_with_hashes_markers_and_comments() -> None:
    text = (
        "# head\nTyping_Extensions==4.1 \\\n    --hash=sha256:aa \\\n    --hash=sha256:bb\n    # via x\n"
        "--require-hashes\nuvicorn[standard]==0.3 ; python_version > '3'\ntorch===2.1 --hash=sha256:cc\n"
    )
    assert lockfile.pins(text) == {"typing-extensions": "4.1", "uvicorn": "0.3", "torch": "2.1"}
    with pytest.raises(ValueError, match="line 2: expected name==version"):
        lockfile.pins("a==1\nb>=2\n")
    with pytest.raises(ValueError, match="names no package"):
        lockfile.pins("# nothing\n")


def test_differences_name_each_package(tmp_path: Path) -> None:
    present = {name: (version, tmp_path) for name, version in {"a": "1", "b": "2", "t": "2.1+cpu", "x": "9"}.items()}
    assert lockfile.differences({"a": "1", "b": "3", "c": "4", "t": "2.1"}, present) == {
        "missing": ["c==4"],
        "extra": ["x==9"],
        "other_version": ["b: lock 3, installed 2"],
    }
    assert not lockfile.same_version("2.1+cu126", "2.1+cpu")


def test_this_host_is_not_sealed_and_what_is_open_is_named(tmp_path: Path) -> None:
    proofs = [{"code": "ISO-P1", "promised": {"uid": 10001, "environment": ["HF_HUB_OFFLINE", "DO_NOT_TRACK"]}}]
    environment = {"HF_HUB_OFFLINE": "1", "DO_NOT_TRACK": "0", "MY_API_TOKEN": "never shown"}
    done = run(REQUEST | {"proofs": proofs}, tmp_path, **environment)
    (line,) = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.returncode == 1 and line["proved"] is False
    assert "the root file system is writable" in line["reason"]
    assert "not set to 1: DO_NOT_TRACK" in line["reason"] and "HF_HUB_OFFLINE" not in line["reason"]
    assert "MY_API_TOKEN" in line["measured"]["secrets"] and "never shown" not in done.stdout
    assert re.search(r"runs as (root|uid \d+, promised 10001)", line["reason"])


def test_driver_libraries_are_found_and_others_are_not(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    for name in ("libcuda.so.1", "libnvidia-ml.so", "libcudart.so.12", "libbitsandbytes_cuda126.so"):
        (tmp_path / "deep" / name).touch()
    found = {Path(path).name for path in isolation.driver_libraries((str(tmp_path),))}
    assert found == {"libcuda.so.1", "libnvidia-ml.so"}


@pytest.mark.parametrize(
    "name, value, secret",
    [
        ("HF_TOKEN", "x", True),
        ("HF_TOKEN", "", False),
        ("AWS_SECRET_ACCESS_KEY", "x", True),
        ("KEYBOARD", "x", False),
        ("HF_HUB_DISABLE_IMPLICIT_TOKEN", "1", False),
    ],
)
def test_what_looks_like_a_secret(name: str, value: str, secret: bool) -> None:
    assert isolation.secret_names({name: value}) == ([name] if secret else [])


@pytest.mark.parametrize(
    "built, capability, fits",
    [
        (["sm_80"], (8, 6), True),
        (["sm_86"], (8, 0), False),
        (["sm_80"], (9, 0), False),
        (["sm_80", "compute_80"], (9, 0), True),
        (["sm_90a"], (9, 0), True),
        (["sm_100"], (10, 0), True),
        (["sm_100", "sm_120"], (12, 1), True),
        ([], (9, 0), False),
    ],
)
def test_whether_a_build_covers_a_card(built: list[str], capability: tuple[int, int], fits: bool) -> None:
    assert cuda.covers(built, capability) is fits


def test_cudnn_versions_are_read_in_both_forms(tmp_path: Path) -> None:
    assert (cuda.cudnn_version(91002), cuda.cudnn_version(8907)) == ("9.10.2", "8.9.7")
    lock = tmp_path / "lock.txt"
    lock.write_text("nvidia-cudnn-cu12==9.10.2.21\n")
    assert cuda.cudnn_of_the_lock(lock) == "9.10.2.21"
    lock.write_text("torch==2.13.0\n")
    with pytest.raises(importlib.import_module(proof.__name__).CannotRun, match="nothing to be compared with"):
        cuda.cudnn_of_the_lock(lock)
