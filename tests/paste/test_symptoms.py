"""The search for known messages: bounded, in order, and the same whatever runtime printed the lines."""

from __future__ import annotations

import re
import time

import pytest

from provision import cause
from provision.catalog.symptoms import compiled, rules
from provision.paste import symptoms
from provision.paste.clean import lines
from provision.paste.symptoms import find

PATTERNS = [(rule.id, p) for rule in rules().values() for p in rule.patterns]


def told(text: str) -> list[tuple[str, int]]:
    return [(one.rule, one.line) for one in find(lines(text)).found]


def test_every_row_is_whole() -> None:
    for rule in rules().values():
        assert rule.cause in cause.table(), rule.id
        assert rule.say and rule.source and re.fullmatch(r"\d{4}-\d\d-\d\d", rule.date), rule.id
        assert rule.certainty in ("certain", "likely", "possible"), rule.id
        assert rule.patterns, rule.id
        assert all(word == word.lower() and "=>" not in word for word in rule.unless), rule.id


@pytest.mark.parametrize(
    ("row", "pattern"), PATTERNS, ids=lambda value: value if isinstance(value, str) else value.anchor
)
def test_a_pattern_has_a_literal_and_takes_linear_time(row: str, pattern: symptoms.Pattern) -> None:
    assert pattern.anchor == pattern.anchor.lower() and pattern.anchor.isascii() and pattern.anchor, row
    if not pattern.regex:
        return
    compiled(pattern.regex)
    assert not re.search(r"[+*}]\)[+*{]", pattern.regex), "a repetition inside a repetition"
    assert not re.search(r"(?<!\\)\.[*+]", pattern.regex), "an open-ended gap: write .{0,80}"


def test_hostile_lines_cost_little() -> None:
    hostile = "\n".join(f"{pattern.anchor} " * 200 for _, pattern in PATTERNS)
    began = time.process_time()
    find(lines(hostile))
    assert time.process_time() - began < 5  # 1.5 s of processor time, 2026-11-24


def test_megabytes_of_noise_cost_little() -> None:
    noise = "".join(f"INFO step {i} loss {i % 97 / 10:.3f} lr 1e-05 tokens/s 18231\n" for i in range(60_000))
    began = time.process_time()
    assert told(noise + "RuntimeError: CUDA error: uncorrectable ECC error encountered\n") == [
        ("ecc-uncorrectable", 60_001)
    ]
    assert time.process_time() - began < 4


def test_of_a_text_that_is_no_log_the_ends_are_read() -> None:
    letters = "abcdefghijklmnop"
    words = ["".join(letters[(number >> shift) % 16] for shift in range(0, 24, 4)) for number in range(400_000)]
    middle = "\n".join(" ".join(words[at : at + 10]) for at in range(0, len(words), 10))
    message = "RuntimeError: CUDA error: uncorrectable ECC error encountered"
    half = len(middle) // 2
    assert len(told(f"{message} 1\n{middle}\n{message} 2\n")) == 2
    assert told(f"{middle[:half]}\n{message}\n{middle[half:]}") == []


def test_a_message_that_repeats_is_told_a_few_times() -> None:
    text = "".join(f"OSError: [Errno 28] No space left on device: 'f{i}'\n" for i in range(100))
    assert told(text) == [("disk-full", i + 1) for i in range(symptoms.MOST_PER_RULE)]
    assert told("OSError: [Errno 28] No space left on device\n" * 100) == [("disk-full", 1)]


def test_a_message_on_two_lines_is_found_and_one_that_only_neighbours_is_not() -> None:
    assert told("numbers (64) must be divisible by\ntensor parallel size (6)") == [("not-divisible", 1)]
    assert told("no trouble\nat all") == []
    assert told("the list of xid codes\nXid 79") == [("xid", 2)]


def test_words_that_exclude_a_row_are_looked_for_in_its_line() -> None:
    assert told("NCCL WARN /dev/shm: No space left on device")[0][0] == "shm"
    assert told("WARNING: Using 'pin_memory=False' as WSL is detected. This may slow things") == []


def test_the_prefixes_of_runtimes_do_not_matter() -> None:
    message = "RuntimeError: CUDA error: system not yet initialized"
    for prefix in ("", "vllm-1  | ", "2025-03-02T10:11:12.123Z ", "(RayWorkerWrapper pid=881) ", "\x1b[31m"):
        assert told(prefix + message) == [("fabric-manager", 1)], prefix


def test_captures_are_kept() -> None:
    (one,) = find(lines("NVRM: Xid (PCI:0000:01:00): 79, pid=1, GPU is off")).found
    assert one.captures == (("code", "79"),)
