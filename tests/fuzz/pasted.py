"""Fuzz what reads pasted text: any bytes as a dump and as a log give a snapshot or one UsageError, in 2 s.

usage: .venv-fuzz/bin/python tests/fuzz/pasted.py [-runs=500000]

The snapshot must survive being written and read again: a value that no record allows would be lost there.
"""

from __future__ import annotations

import atheris
import seeds

with atheris.instrument_imports(include=["provision.paste"]):
    from provision import codec, facts
    from provision.errors import UsageError
    from provision.fact import SCHEMA, NotKnown, Snapshot
    from provision.facts.stated import Stated
    from provision.paste import clean
    from provision.paste.snapshot import snapshot

facts.load()


def one(data: bytes) -> None:
    """One execution."""
    text = clean.decode(data)
    try:
        read = snapshot([("dump", text)], [("log", text)])
    except UsageError as error:
        if "\n" in error.message:
            raise AssertionError("an error is one line") from error
        read = snapshot([], [("log", text)])
    written = {"Stated": {"known": codec.dump(read.known(Stated))}}
    written |= {n: {"known": codec.dump(v)} for n, v in read.facts.items() if not isinstance(v, (NotKnown, Stated))}
    again = Snapshot.from_json({"schema": SCHEMA, "facts": written}, "again")
    if any(again.facts[name] != read.facts[name] for name in written):
        raise AssertionError("what was read is not what the records allow")


if __name__ == "__main__":
    dumps = [path.read_bytes() for path in sorted((seeds.ROOT / "tests/paste/dumps").iterdir())]
    pieces = [dump[at : at + seeds.LONGEST] for dump in dumps for at in range(0, len(dump), seeds.LONGEST)]
    atheris.Setup(seeds.options(pieces), one)
    atheris.Fuzz()
