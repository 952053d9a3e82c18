"""Run the proofs of a request and write one JSON object a line.

    python -m smoke --request request.json [--out proof.jsonl]

Exit 0 when every requested proof holds, 1 when one does not, 2 when the request cannot be used.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from contextlib import nullcontext
from pathlib import Path
from typing import TextIO

from . import proof
from .request import BadRequest, Request, read_request
from .session import Session


def prove(request: Request, out: TextIO) -> bool:
    """Run every proof, each line flushed as it comes; whether all hold."""
    session = Session(device=request.device, model_folder=request.model, lock=request.lock)
    proved = True
    for code, promised in request.proofs:
        line = proof.run(code, session, promised)
        proved = proved and line["proved"]
        out.write(json.dumps(line, sort_keys=True, allow_nan=False) + "\n")
        out.flush()
    return proved


def wait_without_spinning() -> None:
    """Let torch's threads sleep while they wait for each other, unless the user chose otherwise.

    OpenMP's default is to spin, and a thread that spins on a busy machine keeps the one it waits for off the processor:
    with both of 2 cores taken, LAT-P1 and ROL-P1 did not end in 150 s; so they took 36 s (2026-11-24). Read by libgomp when
    torch is loaded, so this comes before.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")


def main(arguments: list[str] | None = None) -> int:
    wait_without_spinning()
    parser = argparse.ArgumentParser(prog="smoke", description="Prove that this environment does what was promised.")
    parser.add_argument("--request", type=Path, required=True, help="request.json: what to prove, on which device")
    parser.add_argument("--out", type=Path, help="write the lines here instead of standard output")
    options = parser.parse_args(arguments)
    try:
        request = read_request(options.request)
        opened = nullcontext(sys.stdout) if options.out is None else options.out.open("w", encoding="utf-8")
    except BadRequest as error:
        print(f"smoke: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        print(f"smoke: {options.out}: {error.strerror}", file=sys.stderr)
        return 2
    with opened as out:
        return 0 if prove(request, out) else 1


if __name__ == "__main__":
    sys.exit(main())
