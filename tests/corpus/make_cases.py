"""Write cases.jsonl from the shared collection of failures: facts, messages, source and cause, nothing else.

usage: make_cases.py FAILURES.jsonl > cases.jsonl
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

# Rows whose scorable input names no mechanism, and what would decide them.
UNDECIDABLE = {
    "comfyui-12407-pep604": "only that the system is Linux; the Python version would decide",
    "ollama-871-i7-3740qm-no-avx2": "only that the system is Ubuntu; the processor's flags would decide",
    "textgen-367-wsl-ldpath": "only that the system is WSL 2; ldconfig -p and LD_LIBRARY_PATH would decide",
    "torchtune-1185-expandable": "a speed and a size; allocated against reserved memory would decide",
    "vllm-15862-k8s-reload": "a progress line without its rate; the rate, or df -T, would decide",
    "vllm-6551-mig": "only versions of Python and vLLM; CUDA_VISIBLE_DEVICES would decide",
}


def case(row: dict[str, object]) -> dict[str, object]:
    """One line of cases.jsonl."""
    made = {
        "id": row["id"],
        "source": row["source"],
        "cause": row["label"],
        "also": row["secondary_labels"],
        "stated": row["env"],
        "messages": [] if row.get("symptom_is_paraphrase") else row["symptom"],
    }
    if row["id"] in UNDECIDABLE:
        made["undecidable"] = UNDECIDABLE[str(row["id"])]
    return made


if __name__ == "__main__":
    for line in Path(sys.argv[1]).read_text(encoding="utf-8").splitlines():
        sys.stdout.write(json.dumps(case(json.loads(line)), ensure_ascii=False, sort_keys=True) + "\n")
