"""What to prove: request.json, rendered from the plan. Standard library only."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .proof import ACCELERATORS, SCHEMA

KEYS = ("schema", "device", "model", "lock", "proofs")


class BadRequest(Exception):
    """The request cannot be used; the message says where and what was expected."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Request:
    """The device, the model's folder, the lock if there is one, and each proof's code with what was promised."""

    device: str
    model: Path
    lock: Path | None
    proofs: tuple[tuple[str, dict[str, Any]], ...]


def read_request(path: Path) -> Request:
    """Read and check a request. Relative paths in it are taken from the folder it lies in."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise BadRequest(f"{path}: {error.strerror}") from error
    except ValueError as error:
        raise BadRequest(f"{path}: not JSON ({error})") from error
    if not isinstance(content, dict):
        raise BadRequest(f"{path}: expected an object, got {type(content).__name__}")
    unknown = sorted(set(content) - set(KEYS))
    if unknown:
        raise BadRequest(f"{path}: unknown key {unknown[0]}; expected {', '.join(KEYS)}")
    expect(path, "schema", content.get("schema") == SCHEMA, str(SCHEMA))
    expect(path, "device", content.get("device") in ACCELERATORS, " or ".join(ACCELERATORS))
    model: Any = content.get("model")
    lock: Any = content.get("lock")
    expect(path, "model", isinstance(model, str) and model != "", "a folder")
    expect(path, "lock", lock is None or (isinstance(lock, str) and lock != ""), "a file or null")
    listed: Any = content.get("proofs")
    expect(path, "proofs", isinstance(listed, list) and len(listed) > 0, "a list with at least one proof")
    proofs: dict[str, dict[str, Any]] = {}
    for index, entry in enumerate(listed or []):
        where = f"proofs[{index}]"
        expect(path, where, isinstance(entry, dict) and set(entry) == {"code", "promised"}, "code and promised")
        expect(path, f"{where}.code", isinstance(entry["code"], str), "a text")
        expect(path, f"{where}.promised", isinstance(entry["promised"], dict), "an object")
        expect(path, f"{where}.code", entry["code"] not in proofs, f"each proof once, {entry['code']} stands twice")
        proofs[entry["code"]] = entry["promised"]
    return Request(
        device=content["device"],
        model=path.parent / str(model),
        lock=None if lock is None else path.parent / lock,
        proofs=tuple(proofs.items()),
    )


def expect(path: Path, where: str, holds: bool, expected: str) -> None:
    """Raise BadRequest unless it holds."""
    if not holds:
        raise BadRequest(f"{path}: {where}: expected {expected}")
