"""Markdown for bug reports, read by a CommonMark parser that is not ours."""

from __future__ import annotations

import dataclasses
import re
from types import SimpleNamespace

import pytest
from markdown_it import MarkdownIt

from provision import cause
from provision.check import Finding, Result
from provision.report import markdown
from provision.report.layout import clean

PARSER = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"])

NASTY = [
    "a | b",
    "`rm -rf /`",
    "``` sh",
    "<img src=x onerror=alert(1)>",
    "**bold** _it_ ~~gone~~",
    "[text](http://x.example)",
    "![](http://x.example/i.png)",
    "# heading",
    "- item",
    "+ item",
    "1. item",
    "2) item",
    "> quote",
    "===",
    "---",
    "    indented",
    "&amp; &lt;b&gt; &#64;",
    "\\",
    "\\|",
    "<!-- ",
    "$x$",
    "GPU #12",
    "<https://x.example>",
]


def rendered(document: str) -> str:
    return str(PARSER.render(document))


def texts(document: str) -> list[str]:
    """What a reader sees: the content of every inline text, code span and code block."""
    found: list[str] = []
    for token in PARSER.parse(document):
        if token.type == "fence":
            found.append(token.content.rstrip("\n"))
        for child in [token, *(token.children or ())]:
            if child.type == "inline":
                found.append("".join(part.content for part in child.children or () if part.type != "softbreak"))
    return found


def kinds(document: str) -> set[str]:
    return {c.type for token in PARSER.parse(document) for c in [token, *(token.children or ())]}


def test_it_reads_as_a_report(sample: SimpleNamespace) -> None:
    document = markdown.document(sample.shown())
    read = texts(document)
    assert read[0] == "provision doctor: 2 causes: 1 error, 1 warning"
    for expected in (
        "error: driver-too-old-for-cuda [CUD003]",
        cause.table()["driver-too-old-for-cuda"].line,
        "driver 525.147 gives CUDA 12.0; torch 2.13.0 needs 580.65",
        "provision lock smoke-cu126\nor: install driver 580",
        "warning: slow-storage (possible) [STO004]",
        "provision disk /srv",
        "MEM001, MEM002",
        "permission denied",
        "crashed: ISO001 engine-exposed",
        "accepted: STO005 scratch",
        "reviewed 2026-11-24",
    ):
        assert expected in read, expected
    assert "1 ok, 2 found, 3 unknown, 1 skipped, 1 crashed, 1 accepted; provision " in document
    assert "<summary>gpu-07: 3 facts, 1 of them not there</summary>" in document
    assert "could not look: NVML gave no answer in 2 s" in read


def test_nothing_wrong_is_short(sample: SimpleNamespace) -> None:
    document = markdown.document(sample.shown(results=(), causes=(), snapshot=None))
    assert document.splitlines()[0] == "### provision doctor: nothing wrong"
    assert len(document.splitlines()) == 3


@pytest.mark.parametrize("text", NASTY)
def test_text_stays_text(text: str) -> None:
    for document in (markdown.inline(text), f"- {markdown.inline(text)}", f"#### x {markdown.inline(text)}"):
        assert texts(document)[-1].removeprefix("x ") == text.strip(), document
        assert not kinds(document) & {"html_inline", "html_block", "link_open", "image", "em_open", "strong_open"}


@pytest.mark.parametrize("text", [n for n in NASTY if n != "\\|"])
def test_text_stays_text_in_a_table(sample: SimpleNamespace, text: str) -> None:
    one = Result("STO001", "n", "storage", "error", "disk-full", "unknown", text)
    document = markdown.document(sample.shown(results=(one,), causes=(), snapshot=None))
    assert text.strip() in texts(document)
    assert rendered(document).count("<td>") == 2


@pytest.mark.parametrize("text", NASTY)
def test_a_command_stays_a_command(sample: SimpleNamespace, text: str) -> None:
    one = Result("STO001", "n", "storage", "error", "disk-full", "found", "", (Finding("m", fix=(text, "second")),))
    document = markdown.document(sample.shown(results=(one,), causes=cause.causes((one,)), snapshot=None))
    assert f"{text}\nsecond" in texts(document)


@pytest.mark.parametrize("text", ["ask @admin", "see https://x.example/a_b", "mail a@b.example now", "`@x`"])
def test_nobody_is_called_and_nothing_is_linked(text: str) -> None:
    """GitHub makes mentions and links of text, never of code."""
    (paragraph,) = [t for t in PARSER.parse(markdown.inline(text)) if t.type == "inline"]
    outside = "".join(part.content for part in paragraph.children or () if part.type == "text")
    assert "@" not in outside and "://" not in outside
    assert texts(markdown.inline(text)) == [text]


def test_a_finding_of_the_baseline_and_a_late_waiver_are_said(sample: SimpleNamespace) -> None:
    old = dataclasses.replace(
        sample.RESULTS[0], findings=(Finding("old", known=True),), waiver="the waiver ended on 2026-01-01: moving"
    )
    read = texts(markdown.document(sample.shown(results=(old,), causes=cause.causes((old,)))))
    assert "error: driver-too-old-for-cuda (in the baseline) [CUD003]" in read
    assert "the waiver ended on 2026-01-01: moving" in read


def test_hostile_text_everywhere(sample: SimpleNamespace) -> None:
    document = markdown.document(sample.hostile_shown())
    page = rendered(document)
    ours = {
        "details",
        "summary",
        "h3",
        "h4",
        "p",
        "ul",
        "li",
        "pre",
        "code",
        "table",
        "thead",
        "tbody",
        "tr",
        "th",
        "td",
    }
    assert set(re.findall(r"<(\w+)", page)) <= ours
    assert sum(clean(sample.HOSTILE) in text for text in texts(document)) >= 6
