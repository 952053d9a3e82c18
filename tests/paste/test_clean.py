"""Pasted lines cleaned: prefixes, colours, progress bars, wrapping, encodings, and where each line stood."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from provision.paste import clean
from provision.paste.clean import Line, decode, lines

MESSAGE = "RuntimeError: CUDA error: no kernel image is available"
PREFIXED = {
    "docker compose": "vllm-1  | {}",
    "docker service": "stack_vllm.1.abc123@node-07    | {}",
    "kubectl --prefix": "[pod/vllm-6d4cf56db6-abcde/server] {}",
    "kubectl --timestamps": "2025-11-24T10:00:00.123456789Z {}",
    "a container runtime's file": "2025-11-24T10:00:00.123456789+01:00 stderr F {}",
    "json-file": '{{"log":"{}\\n","stream":"stderr","time":"2025-11-24T10:00:00.123Z"}}',
    "json-file, cut": '{{"log":"{}\\n","stre',
    "journald": "Nov 24 10:00:00 gpu-07 docker[812]: {}",
    "syslog, one digit": "Nov  4 10:00:00 gpu-07 vllm.service[812]: {}",
    "journald -o short-iso": "2025-11-24T10:00:00+0100 gpu-07 vllm[812]: {}",
    "Ray": "(RayWorkerWrapper pid=123, ip=10.0.0.7) {}",
    "Ray, coloured": "\x1b[36m(RayWorkerWrapper pid=123, ip=10.0.0.7)\x1b[0m {}",
    "Ray, folded": "(RayWorkerWrapper pid=123) {} [repeated 3x across cluster]",
    "vLLM's process": "(EngineCore_0 pid=123) {}",
    "vLLM's process and logging": "(EngineCore_DP0 pid=123) ERROR 11-24 10:00:00 [core.py:396] {}",
    "vLLM before 0.8": "ERROR 11-24 10:00:00 engine.py:366] {}",
    "vLLM with a folder": "ERROR 11-24 10:00:00 [v1/engine/core.py:396] {}",
    "SGLang": "[2025-11-24 10:00:00 TP0] {}",
    "SGLang DP and TP": "[2025-11-24 10:00:00 DP1 TP0] {}",
    "Python": "2025-11-24 10:00:00,123 - vllm.engine - ERROR - {}",
    "loguru": "2025-11-24 10:00:00.123 | ERROR    | app.main:start:42 - {}",
    "torchrun": "[rank0]: {}",
    "glog": "W1124 10:00:00.123456 140 torch/distributed/run.py:793] {}",
    "a quotation": "> {}",
    "a quotation of a quotation": "> > {}",
    "GitHub's runner": "2025-11-24T10:00:00.1234567Z {}",
    "all at once": "> vllm-1  | 2025-11-24T10:00:00Z (EngineCore_0 pid=7) ERROR 11-24 10:00:00 [core.py:396] {}",
    "colour": "\x1b[1;31m{}\x1b[0m",
    "colour, spelled out": "^[[31m{}^[[0m",
    "colour, in a syslog": "#033[31m{}#033[0m",
    "colour, escape lost": "[31m{}[0m",
    "a title for the terminal": "\x1b]0;vllm\x07{}",
    "zero-width marks": "\u200b{}\ufeff",
    "carriage return": "{}\r",
    "progress, then the message": " 10%|#  | 1/9\r 50%|####\r{}",
}


@pytest.mark.parametrize("name", PREFIXED)
def test_a_prefix_is_taken_off(name: str) -> None:
    assert list(lines(PREFIXED[name].format(MESSAGE))) == [Line(1, MESSAGE)]


KEPT = (
    "ERROR: Could not find a version that satisfies the requirement torch==1.10.0+cu113",
    "Error response from daemon: could not select device driver",
    "[W1124 ProcessGroupNCCL.cpp:1496] Warning",
    "gpu-07:812:900 [0] NCCL WARN Cuda failure 'out of memory'",
    "[  812.345678] NVRM: Xid (PCI:0000:17:00): 79, GPU has fallen off the bus.",
    "|   0  NVIDIA GeForce RTX 3090        Off |   00000000:01:00.0 Off |                  N/A |",
    "CUDA error: device-side assert triggered",
    "(most recent call last)",
    "- name: vllm",
    '  File "/opt/venv/lib/python3.11/site-packages/torch/__init__.py", line 367, in <module>',
    "TypeError: unsupported operand type(s) for |: 'type' and 'NoneType'",
)


@pytest.mark.parametrize("text", KEPT)
def test_a_message_that_only_looks_prefixed_is_kept(text: str) -> None:
    assert list(lines(text)) == [Line(1, text)]


def test_lines_keep_their_numbers() -> None:
    assert list(lines("\n\na\r\n```\nb\n\n~~~ console\n  c  \n")) == [Line(3, "a"), Line(5, "b"), Line(8, "  c")]


def test_a_line_of_control_characters_says_nothing() -> None:
    assert list(lines("\t\0\nx\n\x1b[0m \x07\n")) == [Line(2, "x")]


def test_an_old_macs_line_ends() -> None:
    assert list(lines("a\rb\rc")) == [Line(1, "a"), Line(2, "b"), Line(3, "c")]


def test_a_message_under_a_progress_bar_is_not_lost() -> None:
    text = "Loading: 10%|#\rERROR: out of disk\rLoading: 100%|####"
    assert list(lines(text)) == [Line(1, "ERROR: out of disk"), Line(1, "Loading: 100%|####")]


LONG = (
    "RuntimeError: The NVIDIA driver on your system is too old (found version 12040). "
    "Please update your GPU driver by downloading it"
)


@pytest.mark.parametrize(
    ("width", "joined"),
    [(80, True), (100, True), (88, False)],  # 88 is no usual width, and one full line could be chance
)
def test_a_line_that_a_terminal_wrapped_is_one_line(width: int, joined: bool) -> None:
    wrapped = f"start\n{LONG[:width]}\n{LONG[width:]}\nend"
    found = list(lines(wrapped))
    assert found == (
        [Line(1, "start"), Line(2, LONG), Line(4, "end")]
        if joined
        else [Line(1, "start"), Line(2, LONG[:width].rstrip()), Line(3, LONG[width:]), Line(4, "end")]
    )


def test_three_different_full_lines_are_a_terminal() -> None:
    texts = [f"{n} {LONG}" for n in "abc"]
    wrapped = "\n".join(part for text in texts for part in (text[:88], text[88:]))
    assert [line.text for line in lines(wrapped)] == texts


@pytest.mark.parametrize(
    "after",
    [
        "KeyError: 'x'",
        '  File "a.py", line 1',
        "torch==2.1.0",
        "HF_HOME=/x",
        "2025-11-24 10:00:00 x",
        "| a |",
        "key : value",
    ],
)
def test_a_line_that_begins_something_is_not_joined(after: str) -> None:
    full = "x" * 80
    assert [line.number for line in lines(f"{full}\n{after}")] == [1, 2]


def test_a_message_that_is_repeated_is_no_terminal() -> None:
    text = "\n".join(["waiting for the other nodes to come up before the engine can start today", "next"] * 5)
    assert len(list(lines(text))) == 10


@pytest.mark.parametrize(
    ("data", "text"),
    [
        ("Größe\n".encode(), "Größe\n"),
        ("\ufeffGröße\n".encode(), "Größe\n"),
        ("Größe\n".encode("utf-16"), "Größe\n"),
        ("Größe\n".encode("utf-16-be").join([b"\xfe\xff", b""]), "Größe\n"),
        ("Größe\n".encode("utf-32"), "Größe\n"),
        ("Größe Größe Größe Größe Größe Größe".encode("latin-1"), "Größe Größe Größe Größe Größe Größe"),
        ("Größe".encode()[:3], "Gr�"),
        (b"ok \xff bytes", "ok � bytes"),
        (b"", ""),
        (b"\xff\xfe", ""),
        (b"\xff\xfea", "�"),
    ],
)
def test_bytes_become_text(data: bytes, text: str) -> None:
    assert decode(data) == text


def test_of_a_long_text_both_ends_and_the_trouble_between_are_read() -> None:
    noise = "INFO all is well\n"
    half = noise * (clean.KEEP_LINES)
    text = f"first\n{half}{MESSAGE}\n{half}last\n"
    found = {line.text: line.number for line in lines(text)}
    assert found["first"] == 1
    assert found[MESSAGE] == clean.KEEP_LINES + 2
    assert found["last"] == 2 * clean.KEEP_LINES + 3


def test_a_text_at_the_bound_is_read_whole() -> None:
    text = "x\n" * clean.KEEP_LINES
    assert len(list(lines(text))) == clean.KEEP_LINES
    assert len(list(lines(text + "x\n"))) == clean.HEAD[0] + clean.TAIL[0] - 1


def test_a_very_long_line_keeps_its_ends() -> None:
    (line,) = lines("a" + "x" * clean.LONGEST + "b")
    assert line.text.startswith("ax")
    assert line.text.endswith("xb")
    assert len(line.text) == clean.LONGEST + 3


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=400))
def test_any_bytes_give_lines_in_order(data: bytes) -> None:
    found = list(lines(decode(data)))
    assert [line.number for line in found] == sorted(line.number for line in found)
    assert all(line.text.strip() and "\n" not in line.text and "\x1b" not in line.text for line in found)


PIECES = st.sampled_from(
    (
        *(
            "\x1b[31m",
            "\x1b]0;",
            "\x07",
            "\r",
            "\n",
            "> ",
            "vllm-1  | ",
            "(pid=1) ",
            "[rank0]: ",
            '{"log":"',
            "x",
            "ä",
            "�",
        ),
        *(
            "2025-11-24T10:00:00Z ",
            "Nov 24 10:00:00 h u[1]: ",
            "ERROR 11-24 10:00:00 [a.py:1] ",
            " 10%|# ",
            "```",
            "\x9b",
            "[0m",
        ),
    )
)


@settings(max_examples=300, deadline=None)
@given(st.lists(PIECES, max_size=60).map("".join))
def test_any_mixture_of_what_is_taken_off_gives_lines(text: str) -> None:
    assert all(line.text.strip() for line in lines(text))


@settings(max_examples=200, deadline=None)
@given(
    st.sampled_from(sorted(PREFIXED)),
    st.text(st.characters(min_codepoint=97, max_codepoint=122), min_size=1, max_size=50),
)
def test_any_word_comes_out_of_any_prefix(name: str, word: str) -> None:
    assert [line.text for line in lines(PREFIXED[name].format(word))] == [word]
