"""Run by the interpreter with torch: each proof on a model that is broken in the way it is there to see.

Writes one JSON object: the name of the breakage to the proof's line.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

import torch
from smoke import proof
from smoke.promise import promised_weight_bytes
from smoke.session import Session, load_model
from transformers import AutoModelForCausalLM, BitsAndBytesConfig

MODEL = Path(sys.argv[1])
kept: list[Any] = []


def fused(folder: Path, precision: str, device: str) -> Any:
    """What everybody would write: transformers' own class, whose experts bitsandbytes passes over."""
    options = BitsAndBytesConfig(
        load_in_8bit=precision == "int8", load_in_4bit=precision == "nf4", bnb_4bit_quant_type="nf4"
    )
    return AutoModelForCausalLM.from_pretrained(
        folder, quantization_config=options, dtype=torch.float32, device_map={"": device}
    )


def never_quantised(folder: Path, precision: str, device: str) -> Any:
    return load_model(folder, "float32", device)


def half_missing(folder: Path, precision: str, device: str) -> Any:
    model = load_model(folder, precision, device)
    del model.model.layers[1:]
    return model


def slow(folder: Path, precision: str, device: str) -> Any:
    time.sleep(1.5)
    return load_model(folder, precision, device)


def crawling(folder: Path, precision: str, device: str) -> Any:
    model = load_model(folder, precision, device)
    model.lm_head.register_forward_pre_hook(lambda *_: time.sleep(0.1))
    return model


def leaking(folder: Path, precision: str, device: str) -> Any:
    kept.append(load_model(folder, precision, device))
    return kept[-1]


def noisy(folder: Path, precision: str, device: str) -> Any:
    model = load_model(folder, precision, device)
    model.lm_head.register_forward_hook(lambda module, inputs, output: output + 20 * torch.randn_like(output))
    return model


def differs_each_time(folder: Path, precision: str, device: str) -> Any:
    model = load_model(folder, precision, device)
    model.lm_head.weight.data += torch.randn_like(model.lm_head.weight)
    return model


MEMORY = {**promised_weight_bytes(MODEL), "tolerance": 0.02}
SPEED = dict.fromkeys(("float32", "int8", "nf4"), 700.0)  # 64 prompts a step and 0.1 s a step: at most 640 tokens/s
CASES = (
    ("fused", "MEM-P2", {"share": 0.9}, fused),
    ("never quantised, share", "MEM-P2", {"share": 0.9}, never_quantised),
    ("never quantised, memory", "MEM-P3", MEMORY, never_quantised),
    ("half missing", "MEM-P3", MEMORY, half_missing),
    ("slow", "STO-P1", {"seconds": 1.5}, slow),
    ("crawling", "LAT-P1", SPEED, crawling),
    ("leaking", "FRG-P1", {"growth_bytes": 16 * 2**20}, leaking),
    ("noisy", "ROL-P1", {}, noisy),
    ("differs each time", "ROL-P1", {}, differs_each_time),
)


def main() -> None:
    lines = {}
    for name, code, promised, loader in CASES:
        session = Session(device="cpu", model_folder=MODEL, loader=loader)
        lines[name] = proof.run(code, session, promised)
        kept.clear()
    session = Session(device="cpu", model_folder=MODEL)
    product = torch.matmul
    torch.matmul = lambda left, right: product(left, right) * 1.001
    lines["wrong product"] = proof.run("CUD-P1", session, {"accelerator": "cpu"})
    torch.matmul = product
    ordinary = AutoModelForCausalLM.from_pretrained(MODEL)
    pairs = [(123, 456), (999, 999), (100, 100), (678, 345)]
    lines["ordinary"] = {
        "class": type(ordinary).__name__,
        "dtype": str(ordinary.dtype),
        "right": session.right(session.decode(ordinary, pairs), pairs),
    }
    print(json.dumps(lines))


main()
