"""``provision doctor --from`` and ``--log``: what is printed, the exit codes, and that this machine is not looked at."""

from __future__ import annotations

import gzip
import hashlib
import json
from pathlib import Path

import jsonschema
import pytest
from click.testing import CliRunner, Result

from provision import check, fact, road
from provision.cli import main
from provision.fact import NOT_PASTED
from provision.paste import recognise, symptoms
from provision.report import machine

DUMPS = Path(__file__).parent / "dumps"
OLD = "PyTorch version: 2.6.0+cu124\nNvidia driver version: 450.80.02\n"


@pytest.fixture
def doctor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> object:
    """``doctor("--from", …)``, in an empty folder, on a machine that must not be looked at."""
    monkeypatch.chdir(tmp_path)

    def looked(*_: object) -> None:
        raise AssertionError("this machine was looked at")

    monkeypatch.setattr(road, "look", looked)
    monkeypatch.setattr(fact, "collect", looked)

    def run(*arguments: str, text: str | bytes | None = None) -> Result:
        return CliRunner().invoke(main, ["doctor", *arguments], input=text, catch_exceptions=False)

    return run


def test_json_keeps_the_contract(doctor) -> None:
    done = doctor("--from", "-", "--format", "json", text=OLD)
    said = json.loads(done.stdout)
    jsonschema.validate(said, machine.schema())
    assert done.exit_code == 1
    assert [c["cause"] for c in said["causes"]] == ["driver-too-old-for-cuda"]
    assert said["machine"] == "pasted"


def test_the_text_groups_what_was_not_pasted_into_one_line(doctor, judge) -> None:
    done = doctor("--from", "-", text="Nvidia driver version: 550.90.07\n")
    assert done.stdout.splitlines()[0] == "pasted: nothing found in what was pasted"
    unknown = sum(r.reason == NOT_PASTED for r in judge("Nvidia driver version: 550.90.07\n").values())
    assert unknown > 20
    assert f"  not looked at: only what was pasted was read ({unknown} checks); " in done.stdout
    assert "could not look" not in done.stdout


MISMATCH = """Failed to initialize NVML: Driver/library version mismatch
RuntimeError: CUDA error: no CUDA-capable device is detected
"""


@pytest.mark.parametrize("form", ["text", "markdown", "github", "html"])
def test_under_a_cause_stands_what_was_pasted_and_not_what_was_not(doctor, tmp_path: Path, form: str) -> None:
    """The cause would explain twenty checks that had nothing to read; JSON keeps them, a reader has no use for them."""
    log = tmp_path / "error.log"
    log.write_text(MISMATCH)
    said = json.loads(doctor("--log", str(log), "--format", "json").stdout)
    (one,) = [c for c in said["causes"] if c["cause"] == "nvml-driver-library-mismatch"]
    assert "CUD008" in one["also"]
    shown = doctor("--log", str(log), "--format", form).stdout
    if form == "html":
        shown = shown.partition('<h2 id="checks">')[0]  # below it is the list of all checks
    assert "CUD008" not in shown
    assert "CUD101" in shown
    assert form == "html" or NOT_PASTED not in shown
    if form != "html":
        assert f"only what was pasted was read ({said['summary']['unknown']} checks)" in shown.replace("\\", "")


@pytest.mark.parametrize(
    ("text", "strict", "code"),
    [
        (OLD, (), 1),
        ("Nvidia driver version: 550.90.07\n", (), 0),  # what a text does not state does not count …
        ("Nvidia driver version: 550.90.07\n", ("--strict",), 3),  # … unless it is asked for
        ("nothing that anybody knows\n", (), 2),
    ],
)
def test_exit_codes(doctor, text: str, strict: tuple[str, ...], code: int) -> None:
    assert doctor("--from", "-", *strict, text=text).exit_code == code


def test_a_crash_counts_without_strict(doctor, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(**_: object) -> None:
        raise ZeroDivisionError

    one = check.CHECKS["CUD006"]
    monkeypatch.setitem(
        check.CHECKS, "CUD006", check.Check(one.code, one.severity, one.cause, broken, (), one.roadblock)
    )
    assert doctor("--from", "-", text="Nvidia driver version: 550.90.07\n").exit_code == 3


def test_several_dumps_and_logs_are_read_together(doctor, tmp_path: Path) -> None:
    (tmp_path / "pip").write_text("torch==2.6.0+cu124\n")
    (tmp_path / "log").write_text("anything at all\n")
    smi = "| NVIDIA-SMI 450.80.02    Driver Version: 450.80.02    CUDA Version: 11.0     |\n"
    done = doctor("--from", "pip", "--from", "-", "--log", "log", "--log", "log", "--format", "json", text=smi)
    assert [c["codes"] for c in json.loads(done.stdout)["causes"]] == [["CUD010"]]


def test_select_works_on_what_was_pasted(doctor) -> None:
    done = doctor("--from", "-", "--select", "CUD010", "--format", "json", text=OLD)
    assert [r["code"] for r in json.loads(done.stdout)["results"]] == ["CUD010"]


def test_a_log_may_be_anything(doctor) -> None:
    for text in ("one line", b"\xff\xfe\xff\xff\x00"):
        assert doctor("--log", "-", text=text).exit_code == 0


def test_every_line_of_every_log_reaches_the_symptoms(doctor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []

    def find(lines):
        seen.extend(lines)
        return whole(iter(()))

    whole = symptoms.find
    monkeypatch.setattr(symptoms, "find", find)
    (tmp_path / "a").write_text("first\nsecond\n")
    (tmp_path / "b").write_text("vllm-1  | third\n")
    assert doctor("--log", "a", "--log", "b").exit_code == 0
    assert [(line.number, line.text) for line in seen] == [(1, "first"), (2, "second"), (1, "third")]


def test_kernel_messages_in_a_log_are_the_kernels(doctor) -> None:
    text = "Nov 24 10:00:00 gpu-07 kernel: NVRM: Xid (PCI:0000:17:00): 79, GPU has fallen off the bus.\n"
    dump = (DUMPS / "lspci_vv.txt").read_text()
    Path("lspci").write_text(dump)
    done = doctor("--log", "-", "--from", "lspci", "--format", "json", text=text)
    assert "xid-hardware" in [c["cause"] for c in json.loads(done.stdout)["causes"]]


@pytest.mark.parametrize(
    ("arguments", "text", "said"),
    [
        (
            ("--from", "missing.txt"),
            None,
            "provision: --from missing.txt: no such file or directory; "
            "expected a file with the output of a program such as collect_env or nvidia-smi",
        ),
        (("--log", "."), None, "provision: --log .: is a directory; expected a file with a log"),
        (
            ("--from", "-", "--log", "-"),
            "x",
            "provision: standard input (-) can be read once; expected a file for the others",
        ),
        (
            ("--from", "-"),
            "hello\n",
            f"provision: standard input: nothing in it is recognised; expected the output of one of: {recognise.known()}. "
            "An error message goes to --log",
        ),
        (
            ("--from", "-"),
            "\n\n",
            f"provision: standard input: it is empty; expected the output of one of: {recognise.known()}. "
            "An error message goes to --log",
        ),
        (("--log", "-"), " \n\n", "provision: standard input: it is empty; expected an error log or a traceback"),
        (
            ("--from", "-", "--facts", "facts.json"),
            "x",
            "provision: --facts is a whole snapshot, --from and --log are pasted texts; expected one or the other\n"
            "next: provision doctor --facts FILE",
        ),
    ],
)
def test_errors_name_the_file_and_what_was_expected(
    doctor, arguments: tuple[str, ...], text: str | None, said: str
) -> None:
    done = doctor(*arguments, text=text)
    assert (done.exit_code, done.stderr, done.stdout) == (2, f"{said}\n", "")


@pytest.mark.parametrize("option", ["--from", "--log"])
def test_what_is_not_text_is_refused_and_not_judged(doctor, option: str) -> None:
    """A gzip'd log has words in it only by chance; "slow storage" was read out of one."""
    packed = gzip.compress("\n".join(hashlib.sha256(bytes([n])).hexdigest() for n in range(200)).encode())
    done = doctor(option, "-", text=packed)
    assert done.exit_code == 2
    assert done.stderr.startswith(f"provision: {option} standard input: it is not text; expected a file with ")
    assert done.stderr.endswith(", unpacked\n")


@pytest.mark.parametrize(
    "data",
    [
        b"\0" * 4096 + b"RuntimeError: CUDA error: out of memory\n",  # what a file system leaves after a power failure
        "RuntimeError: CUDA error: out of memory\n".encode("utf-16"),
        "Fehler: Gerät für Größe\nRuntimeError: CUDA error: out of memory\n".encode("latin-1"),
        b"\x1b[31mRuntimeError:\x1b[0m CUDA error: out of memory\x07\n",
    ],
    ids=["nul", "utf-16", "latin-1", "colour"],
)
def test_a_text_with_odd_bytes_is_read(doctor, data: bytes) -> None:
    done = doctor("--log", "-", "--format", "json", text=data)
    assert [c["cause"] for c in json.loads(done.stdout)["causes"]] == ["insufficient-vram-weights"]
