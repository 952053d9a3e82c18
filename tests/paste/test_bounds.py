"""20 MB of anything: at most 2 s of processor time and 200 MiB, and a result or one line that says what was expected."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest

ALONE = Path(__file__).parents[1] / "alone.py"
BYTES = 20_000_000
SECONDS = 2.0
MIB = 200


def repeated(unit: str | bytes) -> Callable[[], bytes]:
    data = unit.encode() if isinstance(unit, str) else unit
    return lambda: (data * (BYTES // len(data) + 1))[:BYTES]


def numbered() -> bytes:
    line = "(EngineCore_0 pid=7) INFO 11-24 10:00:00 [core.py:396] request {:08d} took 17 ms, cache at 45 %\n"
    return "".join(line.format(number) for number in range(BYTES // len(line.format(0)))).encode()


NOISE: dict[str, Callable[[], bytes]] = {
    "a log": numbered,
    "errors": repeated(
        "ERROR 11-24 10:00:00 [core.py:396] CUDA error: out of memory, cannot allocate, failed: denied\n"
    ),
    "short lines": repeated("a\n"),
    "empty lines": repeated("\n"),
    "one line": repeated("a"),
    "one line of digits": repeated("7"),
    "one line of spaces": repeated(" "),
    "one line of JSON": repeated('{"name": "torch", "version": "2.1.0"}, '),
    "one line of JSON text": repeated('{"log":"ERROR: \\\\n'),
    "open brackets": repeated("(["),
    "quotations": repeated("> "),
    "escapes": repeated("\x1b[31m"),
    "open escapes": repeated("\x1b]0;"),
    "progress": repeated(" 10%|#### | 1/10 [00:01<00:09, 1.1it/s]\r"),
    "emoji": repeated("💥 error\n"),
    "zeros": repeated(b"\0"),
    "not UTF-8": repeated(b"\xff\xfe\x80error \xc3\n"),
    "UTF-16": lambda: b"\xff\xfe" + ("error x\n" * (BYTES // 16)).encode("utf-16-le"),
    "a table's rows": repeated(
        "|   0  NVIDIA GeForce RTX 3090        Off |   00000000:01:00.0 Off |                  N/A |\n"
    ),
    "packages": repeated("torch==2.1.0\n"),
    "processors": repeated("processor\t: 0\nflags\t\t: lm sse\n\n"),
    "kernel lines": repeated("[    1.000000] NVRM: Xid (PCI:0000:17:00): 79, pid=1, GPU has fallen off the bus.\n"),
    "kinds in turn": repeated("torch==2.1.0\nHF_HOME=/x\nMemTotal:       131891696 kB\n"),
    "GPUs": repeated("GPU 0,1,2,3,4,5,6,7: NVIDIA H100\n"),
    "tags": repeated("<gpu id='1'><product_name>x</product_name>"),
    "words": repeated("Filesystem Size Used Avail Use% Mounted on\n/dev/a 1G 1G 1G 1% /\n"),
}


def measured(*arguments: str) -> tuple[int, str, float, float]:
    """Exit status, errors, processor seconds and peak MiB of one run."""
    with tempfile.NamedTemporaryFile() as report:
        command = [sys.executable, "-m", "provision", "doctor", "--format", "json", *arguments]
        done = subprocess.run(
            [sys.executable, "-IS", str(ALONE), report.name, *command],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            check=True,
        )
        used = json.loads(Path(report.name).read_text())
    return used["status"], done.stderr, used["processor_seconds"], used["peak_bytes"] / 2**20


# What a dump's parsers read; the rest is a log's noise. Each is run once.
DUMPS = {
    *(
        "one line of JSON",
        "quotations",
        "zeros",
        "a table's rows",
        "packages",
        "processors",
        "kernel lines",
        "kinds in turn",
    ),
    *("GPUs", "tags", "words", "a log"),
}

EMPTY = {"empty lines", "open escapes"}  # nothing is left of these


@pytest.mark.parametrize("name", NOISE)
def test_megabytes_of_noise(name: str, tmp_path: Path) -> None:
    file = tmp_path / "noise"
    file.write_bytes(NOISE[name]())
    option = "--from" if name in DUMPS else "--log"
    status, said, seconds, mib = measured(option, str(file))
    if option == "--log":
        assert status in ((2,) if name in EMPTY else (0, 1)), said
    assert status in (0, 1, 2), said
    assert "Traceback" not in said
    assert len(said.splitlines()) == (1 if status == 2 else 0), said
    assert mib < MIB
    assert seconds < SECONDS


def test_more_than_the_limit_is_said_with_what_to_do(tmp_path: Path) -> None:
    file = tmp_path / "noise"
    with file.open("wb") as out:
        out.truncate(33 << 20)
    status, said, _, mib = measured("--log", str(file))
    assert status == 2
    assert said == (
        f"provision: --log {file}: larger than 32 MiB; expected the part around the failure\n"
        f"next: tail -c 20000000 {file} | provision doctor --log -\n"
    )
    assert mib < MIB
