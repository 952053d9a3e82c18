"""report.html: complete, escaped, on its own, and readable without seeing it."""

from __future__ import annotations

import itertools
import re
from html.parser import HTMLParser
from types import SimpleNamespace

import pytest

from provision.report import html
from provision.report.layout import clean

VOID = {"meta", "br", "hr", "img", "input", "link"}
CONTRAST = 4.5  # WCAG 2.2, success criterion 1.4.3 (AA), text of ordinary size


class Reader(HTMLParser):
    """What a screen reader meets: elements with their attributes and text, and whether every one is closed in order."""

    def __init__(self, page: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text: dict[str, list[str]] = {}
        self.said = ""
        self.feed(page)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)
            self.text.setdefault(tag, []).append("")

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag
        self.said += "" if tag in ("a", "span", "strong") else " "

    def handle_data(self, data: str) -> None:
        self.said += data
        for tag in set(self.open):
            self.text[tag][-1] += data

    def tags(self, name: str) -> list[dict[str, str | None]]:
        return [attributes for tag, attributes in self.elements if tag == name]


@pytest.fixture(scope="module")
def page(sample: SimpleNamespace) -> str:
    return html.page(sample.run())


@pytest.fixture(scope="module")
def reader(page: str) -> Reader:
    return Reader(page)


def test_it_says_what_was_found_changed_and_proved(reader: Reader) -> None:
    said = " ".join(reader.said.split())
    for expected in (
        "Now: 2 causes: 1 error, 1 warning. Changed: 2 of 3 managed things. Proved: 1 of 2 promised proofs.",
        "GPU path: not yet run on hardware",
        "error: driver-too-old-for-cuda",
        "driver 525.147 gives CUDA 12.0; torch 2.13.0 needs 580.65",
        "provision lock smoke-cu126 or: install driver 580",
        "(possible) [STO004]",
        "To tell it apart provision disk /srv",
        "disk-full STO001 / has 0 B free",
        "package docker.io installed",
        "Difference --- /dev/null +++ /etc/docker/daemon.json +{}",
        "1 other managed things were right already",
        "MEM-P1 sums-right: proved",
        "nf4 98 % 99.35 %",
        "STO-P1 storage: not proved could not run: no weights",
        "load 10.0 s not measured",
        "MEM001 memory-limit-too-low unknown permission denied",
        "STO005 scratch accepted reviewed 2026-11-24",
        "Memory: known",
        "total bytes 64 GiB",
        "Gpus: could not look",
        "reason NVML gave no answer in 2 s",
        "Nouveau: not there",
        "build 5 min 12 s",
        "ansible changed=2, ok=9",
        ".provision/gpu-07/runs/0007",
    ):
        assert expected in said


def test_the_title_says_the_machine_and_the_verdict(reader: Reader) -> None:
    assert reader.text["title"] == ["gpu-07: 2 causes: 1 error, 1 warning - provision"]


def test_an_empty_run_has_a_sentence_in_every_part(sample: SimpleNamespace) -> None:
    empty = sample.run(
        results=(), causes=(), before=(), changes=(), proofs=(), facts=None, about={}, directory="", gpu_ran=True
    )
    page = html.page(empty)
    Reader(page)
    for sentence in (
        "Nothing is wrong.",
        "Nothing was changed.",
        "Nothing was proved in this run.",
        "No facts are kept",
    ):
        assert sentence in page
    assert "GPU path" not in page


def test_the_same_run_gives_the_same_bytes(sample: SimpleNamespace, page: str) -> None:
    assert html.page(sample.run()) == page


def test_nothing_is_loaded_and_nothing_runs(page: str, reader: Reader) -> None:
    assert not {"script", "link", "img", "iframe", "object", "embed", "form", "base"} & {t for t, _ in reader.elements}
    for tag, attributes in reader.elements:
        assert not [name for name in attributes if name.startswith("on") or name in ("src", "srcset", "style")], tag
        assert (attributes.get("href") or "#").startswith("#")
    assert not re.search(r"url\(|@import|https?://", page)
    policy = [m["content"] for m in reader.tags("meta") if m.get("http-equiv") == "Content-Security-Policy"]
    assert policy == ["default-src 'none'; style-src 'unsafe-inline'"]


def test_landmarks_and_language(reader: Reader) -> None:
    assert reader.tags("html") == [{"lang": "en"}]
    for landmark in ("header", "nav", "main", "footer", "h1"):
        assert len(reader.tags(landmark)) == 1, landmark
    assert reader.tags("nav")[0]["aria-label"]
    identifiers = [a["id"] for _, a in reader.elements if "id" in a]
    assert len(identifiers) == len(set(identifiers))
    assert {a["href"] for a in reader.tags("a")} == {f"#{i}" for i in identifiers}
    assert {s["aria-labelledby"] for s in reader.tags("section")} <= set(identifiers)


def test_headings_go_down_one_at_a_time(reader: Reader) -> None:
    levels = [int(tag[1]) for tag, _ in reader.elements if re.fullmatch("h[1-6]", tag)]
    assert levels[0] == 1
    assert all(later <= earlier + 1 for earlier, later in itertools.pairwise(levels))


def test_every_table_has_a_caption_and_headers_with_a_scope(reader: Reader) -> None:
    assert len(reader.tags("table")) == len(reader.tags("caption")) > 0
    assert all(text.strip() for text in reader.text["caption"] + reader.text["th"])
    assert {th.get("scope") for th in reader.tags("th")} == {"col", "row"}
    assert len(reader.tags("details")) == len(reader.tags("summary")) > 0


def test_what_scrolls_can_be_reached_with_the_keyboard(reader: Reader) -> None:
    assert reader.tags("pre")
    assert all(pre == {"tabindex": "0"} for pre in reader.tags("pre"))


def luminance(color: str) -> float:
    """Relative luminance of ``#rrggbb`` as WCAG defines it."""
    parts = [int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    red, green, blue = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: str, other: str) -> float:
    darker, lighter = sorted((luminance(one), luminance(other)))
    return (lighter + 0.05) / (darker + 0.05)


def test_contrast_is_measured_as_the_standard_does() -> None:
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    assert contrast("#777777", "#ffffff") == pytest.approx(4.48, abs=0.01)


def test_every_text_stands_out_in_light_dark_and_print(page: str) -> None:
    schemes = [dict(re.findall(r"--(\w+): (#[0-9a-f]{6})", block)) for block in re.findall(r":root \{(.*?)\}", page)]
    assert len(schemes) == 3
    for colors in schemes:
        for text in ("text", "quiet", "good", "bad", "warn"):
            assert contrast(colors[text], colors["page"]) >= CONTRAST, (text, colors)
        assert contrast(colors["text"], colors["inset"]) >= CONTRAST


def test_colors_are_only_the_named_ones(page: str) -> None:
    rules = re.sub(r":root \{.*?\}", "", page[page.index("<style>") : page.index("</style>")])
    assert not re.search(r"#[0-9a-f]{3,8}\b", rules)


def test_print_shows_what_is_folded(page: str) -> None:
    printed = page[page.index("@media print") :]
    assert "details::details-content { content-visibility: visible; block-size: auto; }" in printed


def test_hostile_text_stays_text(sample: SimpleNamespace) -> None:
    page = html.page(sample.hostile_run())
    reader = Reader(page)
    assert not reader.tags("script")
    assert "<script" not in page
    assert "{{ 7*7 }}" in page  # not 49: one pass, and values are not templates
    assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e\ud800-\udfff]", page)
    page.encode("utf-8")
    shown = "\n".join(clean(line) for line in sample.HOSTILE.split("\n"))
    assert reader.text["h1"] == [shown]
    assert shown in reader.text["title"][0]
    cells = reader.text["td"] + reader.text["th"] + reader.text["li"] + reader.text["pre"] + reader.text["p"]
    assert sum(shown in cell for cell in cells) >= 15


def test_hostile_text_adds_no_element_and_no_attribute(sample: SimpleNamespace) -> None:
    hostile = Reader(html.page(sample.hostile_run()))
    known = {"html", "head", "meta", "title", "style", "body", "header", "h1", "h2", "h3", "p", "strong", "nav", "a"}
    known |= {"main", "section", "span", "ul", "li", "pre", "table", "caption", "thead", "tbody", "tr", "th", "td"}
    known |= {"details", "summary", "footer"}
    assert {tag for tag, _ in hostile.elements} <= known
    attributes = {name for _, those in hostile.elements for name in those}
    expected = {
        "lang",
        "charset",
        "name",
        "content",
        "http-equiv",
        "aria-label",
        "href",
        "aria-labelledby",
        "id",
        "class",
    }
    assert attributes <= expected | {"scope", "tabindex"}
