"""``--from`` and ``--log``: files and standard input read into a snapshot, with errors that name the file."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from provision import facts
from provision.errors import UsageError
from provision.fact import Snapshot
from provision.paste import clean
from provision.paste.snapshot import snapshot

LIMIT_BYTES = 32 << 20
STANDARD_INPUT = "-"


def read(dumps: Sequence[str], logs: Sequence[str], facts_path: str | None = None) -> Snapshot:
    """The snapshot behind the options. Raises ``UsageError`` for what cannot be read or is not recognised."""
    if facts_path is not None:
        raise UsageError(
            "--facts is a whole snapshot, --from and --log are pasted texts; expected one or the other",
            "provision doctor --facts FILE",
        )
    if [*dumps, *logs].count(STANDARD_INPUT) > 1:
        raise UsageError("standard input (-) can be read once; expected a file for the others")
    facts.load()
    return snapshot([_text(name, "--from") for name in dumps], [_text(name, "--log") for name in logs])


def _text(name: str, option: str) -> tuple[str, str]:
    """A name for messages, and the decoded text."""
    shown = "standard input" if name == STANDARD_INPUT else name
    try:
        if name == STANDARD_INPUT:
            data = sys.stdin.buffer.read(LIMIT_BYTES + 1)
        else:
            with Path(name).open("rb") as file:
                data = file.read(LIMIT_BYTES + 1)
    except OSError as error:
        what = (error.strerror or str(error)).lower()
        expected = "the output of a program such as collect_env or nvidia-smi" if option == "--from" else "a log"
        raise UsageError(f"{option} {shown}: {what}; expected a file with {expected}") from None
    if len(data) > LIMIT_BYTES:
        raise UsageError(
            f"{option} {shown}: larger than {LIMIT_BYTES >> 20} MiB; expected the part around the failure",
            f"tail -c 20000000 {shown} | provision doctor {option} -",
        )
    return shown, clean.decode(data)
