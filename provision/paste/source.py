"""``--from`` and ``--log``: files and standard input read into a snapshot, with errors that name the file."""

from __future__ import annotations

import codecs
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
SNIFFED_BYTES = 64 << 10
CONTROL = bytes({*range(1, 32), 127} - set(b"\a\b\t\n\v\f\r\x1b"))
MARKS = (codecs.BOM_UTF8, codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)  # UTF-32's little-endian mark begins as UTF-16's
# 24 of 256 values are such bytes: 9.4 % of anything compressed or encrypted, and next to none of a text in any encoding.
MOST_CONTROL = 0.05
_EXPECTED = {
    "--from": "a file with the output of a program such as collect_env or nvidia-smi",
    "--log": "a file with a log",
}


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
        raise UsageError(f"{option} {shown}: {what}; expected {_EXPECTED[option]}") from None
    if len(data) > LIMIT_BYTES:
        raise UsageError(
            f"{option} {shown}: larger than {LIMIT_BYTES >> 20} MiB; expected the part around the failure",
            f"tail -c 20000000 {shown} | provision doctor {option} -",
        )
    if _is_binary(data):
        raise UsageError(f"{option} {shown}: it is not text; expected {_EXPECTED[option]}, unpacked")
    return shown, clean.decode(data)


def _is_binary(data: bytes) -> bool:
    """What no terminal shows is more than ``MOST_CONTROL`` of the start. NUL is not counted: a log that a crash cut has it."""
    start = data[:SNIFFED_BYTES]
    return not data.startswith(MARKS) and len(start) - len(start.translate(None, CONTROL)) > MOST_CONTROL * len(start)
