"""Run the proofs of a request and write one JSON object a line.

    python -m smoke --request request.json [--out proof.jsonl]

Exit 0 when every requested proof holds, 1 when one does not, 2 when the request cannot be used.
"""

from __future__ import annotations

import argparse
import json
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


def main(arguments: list[str] | None = None) -> int:
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
