"""report.html: complete, escaped, on its own, and readable without seeing it."""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import itertools
import re
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from click.testing import CliRunner

from provision import cause
from provision.cli import main
from provision.fact import Missing, NotKnown, Snapshot
from provision.facts.disks import Disk, Transport
from provision.report import html, use
from provision.report import map as machine_map
from provision.report.layout import clean

GIB = 1 << 30
VOID = {"meta", "br", "hr", "img", "input", "link"}
CONTRAST = 4.5  # WCAG 2.2, success criterion 1.4.3 (AA), text of ordinary size
DRAWN = 3.0  # success criterion 1.4.11 (AA), parts of a drawing


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


@pytest.fixture(scope="module", params=["run", "doctor"])
def both(request: pytest.FixtureRequest, sample: SimpleNamespace) -> str:
    """Each of the two pages, of a server with eight cards."""
    if request.param == "run":
        return html.page(sample.run(facts=sample.SERVER, serving=sample.SERVING))
    return html.diagnosis(sample.shown(snapshot=sample.SERVER, serving=sample.SERVING))


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


def test_nothing_is_loaded_and_only_the_search_runs(both: str) -> None:
    reader = Reader(both)
    assert not {"link", "img", "iframe", "object", "embed", "form", "base"} & {t for t, _ in reader.elements}
    for tag, attributes in reader.elements:
        assert not [name for name in attributes if name.startswith("on") or name in ("src", "srcset", "style")], tag
        assert (attributes.get("href") or "#").startswith("#")
    assert not re.search(r"url\(|@import|https?://", both)
    (policy,) = [m["content"] for m in reader.tags("meta") if m.get("http-equiv") == "Content-Security-Policy"]
    (style,), (script,) = reader.text["style"], reader.text["script"]
    hashes = [base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in (style, script)]
    assert policy == f"default-src 'none'; style-src 'sha256-{hashes[0]}'; script-src 'sha256-{hashes[1]}'"


def test_landmarks_and_language(both: str) -> None:
    reader = Reader(both)
    assert reader.tags("html") == [{"lang": "en"}]
    for landmark in ("header", "nav", "main", "footer", "h1"):
        assert len(reader.tags(landmark)) == 1, landmark
    assert reader.tags("nav")[0]["aria-label"]
    identifiers = [a["id"] for _, a in reader.elements if "id" in a]
    assert len(identifiers) == len(set(identifiers))
    headings = {a["id"] for tag, a in reader.elements if re.fullmatch("h[1-6]", tag) and "id" in a}
    assert {a["href"] for a in reader.tags("a")} == {f"#{i}" for i in headings | {"main"}}
    assert {s["aria-labelledby"] for s in reader.tags("section")} <= headings
    assert reader.tags("a")[0] == {"class": "skip", "href": "#main"}
    drawn = [svg for svg in reader.tags("svg") if svg["class"] != "swatch"]  # which stands beside its name
    assert all(svg["role"] == "img" and svg["aria-label"] for svg in drawn)
    assert {svg["aria-hidden"] for svg in reader.tags("svg") if svg["class"] == "swatch"} == {"true"}


def test_headings_go_down_one_at_a_time(both: str) -> None:
    reader = Reader(both)
    levels = [int(tag[1]) for tag, _ in reader.elements if re.fullmatch("h[1-6]", tag)]
    assert levels[0] == 1
    assert all(later <= earlier + 1 for earlier, later in itertools.pairwise(levels))


def test_every_table_has_a_caption_and_headers_with_a_scope(both: str) -> None:
    reader = Reader(both)
    assert len(reader.tags("table")) == len(reader.tags("caption")) > 0
    assert all(text.strip() for text in reader.text["caption"] + reader.text["th"])
    assert {th.get("scope") for th in reader.tags("th")} == {"col", "row"}
    assert len(reader.tags("details")) == len(reader.tags("summary")) > 0


def test_what_scrolls_can_be_reached_with_the_keyboard(both: str) -> None:
    reader = Reader(both)
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


def test_every_text_stands_out_in_light_dark_and_print(both: str) -> None:
    page = both
    schemes = [dict(re.findall(r"--(\w+): (#[0-9a-f]{6})", block)) for block in re.findall(r":root \{(.*?)\}", page)]
    assert len(schemes) == 3
    for colors in schemes:
        for text in ("text", "quiet", "good", "bad", "warn", "link"):
            assert contrast(colors[text], colors["page"]) >= CONTRAST, (text, colors)
        assert contrast(colors["text"], colors["inset"]) >= CONTRAST
        for drawn in ("weights", "work", "outside", "graphs", "cache"):
            assert contrast(colors[drawn], colors["page"]) >= DRAWN, (drawn, colors)


def test_colors_are_only_the_named_ones(page: str) -> None:
    rules = re.sub(r":root \{.*?\}", "", page[page.index("<style>") : page.index("</style>")])
    assert not re.search(r"#[0-9a-f]{3,8}\b", rules)


def test_print_shows_what_is_folded(page: str) -> None:
    printed = page[page.index("@media print") :]
    assert "details::details-content { content-visibility: visible; block-size: auto; }" in printed


@pytest.mark.parametrize("kind", ["run", "doctor"])
def test_hostile_text_stays_text(sample: SimpleNamespace, kind: str) -> None:
    page = html.page(sample.hostile_run()) if kind == "run" else html.diagnosis(sample.hostile_shown())
    reader = Reader(page)
    assert reader.tags("script") == [{}]
    assert page.count("<script") == 1
    assert "{{ 7*7 }}" in page  # not 49: one pass, and values are not templates
    assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e\ud800-\udfff]", page)
    page.encode("utf-8")
    shown = "\n".join(clean(line) for line in sample.HOSTILE.split("\n"))
    assert reader.text["h1"] == [shown]
    assert shown in reader.text["title"][0]
    cells = reader.text["td"] + reader.text["th"] + reader.text["li"] + reader.text["pre"] + reader.text["p"]
    assert sum(shown in cell for cell in cells) >= (15 if kind == "run" else 10)


def test_hostile_text_adds_no_element_and_no_attribute(sample: SimpleNamespace) -> None:
    """Element by element the page of a hostile machine is that of one on which the same strings are plain words."""

    def plain(value: Any) -> Any:
        if isinstance(value, str):
            return "word" if value == sample.HOSTILE else value
        if isinstance(value, NotKnown):
            return type(value)("word")
        if isinstance(value, Snapshot):
            return Snapshot("word", {k: plain(v) for k, v in value.facts.items()}, "word")
        if dataclasses.is_dataclass(value) and not isinstance(value, type):
            return dataclasses.replace(
                value, **{f.name: plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
            )
        if isinstance(value, (tuple, list)):
            return tuple(plain(item) for item in value)
        if isinstance(value, dict):
            return {plain(k): plain(v) for k, v in value.items()}
        return value

    def shape(page: str) -> list[tuple[str, list[str]]]:
        return [(tag, sorted(attributes)) for tag, attributes in Reader(page).elements]

    run, shown = sample.hostile_run(), sample.hostile_shown()
    assert shape(html.page(run)) == shape(html.page(plain(run)))
    assert shape(html.diagnosis(shown)) == shape(html.diagnosis(plain(shown)))


def test_the_map_shows_every_card_its_link_and_its_memory(sample: SimpleNamespace) -> None:
    reader = Reader(html.diagnosis(sample.shown(snapshot=sample.SERVER)))
    said = " ".join(reader.said.split())
    for expected in (
        "GPU 0: NVIDIA H100 80GB HBM3 PCIe 5.0 x16, now 1.0 x16 (an idle card lowers its generation)",
        "GPU 1: NVIDIA H100 80GB HBM3 PCIe 5.0 x16, now 5.0 x8: 8 of 16 lanes",
        "2 GiB free of 80 GiB",
        "NVIDIA card at 0000:91:00.0",
        "no driver has it",
        "GPU 7 lost the GPU fell off the bus",
        "nvme0n1 3.5 TiB NVMe, SAMSUNG MZQL23T8 / ext4",
        "network file systems of servers /models nfs4",
        "/dead ext4, no answer",
        "7 x NVIDIA H100 80GB HBM3",
        "torch 2.13.0+cu130 for CUDA 13.0",
        "Docker not there: no Docker engine is installed",
    ):
        assert expected in said, expected
    assert "numpy 1.24.2" in said  # a fact, though not of the Python in use
    lanes = [svg["aria-label"] for svg in reader.tags("svg") if svg["class"] == "lanes"]
    assert lanes == ["16 of 16 lanes in use", "8 of 16 lanes in use", *["16 of 16 lanes in use"] * 6]
    assert len([line for line in reader.tags("line") if line.get("class") == "off"]) == 8


def test_the_map_shows_where_the_memory_of_every_planned_gpu_would_go(both: str) -> None:
    reader = Reader(both)
    said = " ".join(reader.said.split())
    for expected in (
        "The planned model deepseek-ai/DeepSeek-R1-Distill-Llama-70B: fits",
        "GPUs 4 of 7, tensor parallel 4",
        "cache holds 14.5 requests of 32,768 tokens",
        "4 GPUs are the fewest that hold it",
        "--tensor-parallel-size 4 --max-model-len 32768",
        "Where the memory of each of 4 GPUs would go",
        "weights 40 GiB 50% activations 3 GiB 4% outside torch 1 GiB 1% CUDA graphs 1 GiB 1% KV cache 29 GiB 36%",
        "not used 6 GiB 8%",
        "assumed 'R1-Distill-Llama-70B' is taken as",
    ):
        assert expected in said, expected
    bars = [svg for svg in reader.tags("svg") if svg["class"] == "use"]
    assert len(bars) == 5  # in the cells of GPUs 0 to 3, and above the table
    assert {bar["role"] for bar in bars} == {"img"}
    assert {bar["aria-label"] for bar in bars} == {
        "of 80 GiB: weights 40 GiB, activations 3 GiB, outside torch 1 GiB, CUDA graphs 1 GiB, KV cache 29 GiB, "
        "not used 6 GiB"
    }
    cells = both[both.index('aria-label="GPUs"') : both.index("The planned model")].split("<li ")[1:]
    drawn = ["GPU " + re.findall(r"GPU (\d)", cell)[0] for cell in cells if 'class="use"' in cell]
    assert drawn == [f"GPU {index}" for index in range(4)]


def test_without_a_planned_model_the_map_is_as_it_was(sample: SimpleNamespace) -> None:
    page = html.diagnosis(sample.shown(snapshot=sample.SERVER))
    assert 'class="use"' not in page and "The planned model" not in page


def test_a_drawing_ends_where_the_card_does() -> None:
    whole = use.picture(100, {"weights": 60, "KV cache": 30, "CUDA graphs": 0, "not used": 10})
    assert [(one.name, one.kind, one.start, one.width) for one in whole.pieces] == [
        ("weights", "part0", 0, 600),
        ("KV cache", "part1", 600, 300),
        ("not used", "spare", 900, 100),
    ]
    assert whole.end == use.WIDTH
    over = use.picture(100 * GIB, {"weights": 150 * GIB, "activations": 50 * GIB, "not used": 0})
    assert (over.end, sum(one.width for one in over.pieces)) == (500, 1000)
    assert over.label == "of 100 GiB: weights 150 GiB, activations 50 GiB; 100 GiB more than it has"
    assert [one.share for one in over.pieces] == ["150%", "50%"]


@pytest.mark.parametrize(
    ("changes", "verdict", "state"),
    [
        ({}, "fits", "good"),
        ({"certain": False}, "probably fits", "warning"),
        ({"fits": False, "certain": False}, "probably does not fit", "warning"),
        ({"fits": False}, "does not fit", "bad"),
        ({"fits": False, "refused": "tp 3: 64 heads", "card": None}, "cannot be divided", "bad"),
    ],
)
def test_the_verdict_of_the_planned_model_has_its_colour(
    sample: SimpleNamespace, changes: dict[str, Any], verdict: str, state: str
) -> None:
    serving = dataclasses.replace(sample.SERVING, **changes)
    page = html.diagnosis(sample.shown(snapshot=sample.SERVER, serving=serving))
    assert f'<h4>{serving.model}: <span class="{state}">{verdict}</span></h4>' in page
    assert ("--tensor-parallel-size" in page) is serving.fits  # options of what does not start are not for pasting
    assert ('class="use"' in page) is (serving.card is not None)
    assert ("<li>tp 3: 64 heads</li>" in page) is bool(serving.refused)


def test_the_answer_of_fit_is_a_page_with_the_same_picture(tmp_path: Path) -> None:
    asked = ["fit", "--model", "R1-Distill-Qwen-32B", "--gpu", "RTX 4090", "--gpus", "2", "--users", "8"]
    written = tmp_path / "answer.html"
    done = CliRunner().invoke(main, [*asked, "--html", str(written)])
    assert (done.exit_code, done.stdout) == (1, CliRunner().invoke(main, asked).stdout)
    reader = Reader(written.read_text())
    said = " ".join(reader.said.split())
    assert "deepseek-ai/DeepSeek-R1-Distill-Qwen-32B: does not fit" in said
    assert "instead weights in awq" in said and "weights 30.7 GiB 131%" in said
    (bar,) = [svg for svg in reader.tags("svg") if svg["class"] == "use"]
    assert "GiB more than it has" in str(bar["aria-label"])
    assert "Skip to the answer" in said
    fits = CliRunner().invoke(main, [*asked[:-2], "--quantization", "awq", "--html", str(written)])
    assert fits.exit_code == 0
    assert "--tensor-parallel-size 2" in written.read_text()
    assert "cache holds" in written.read_text()


def test_the_map_shows_how_the_gpus_reach_each_other(sample: SimpleNamespace) -> None:
    reader = Reader(html.diagnosis(sample.shown(snapshot=sample.SERVER)))
    said = " ".join(reader.said.split())
    assert "NVLink 4 of 4 links up, to gpu" in said
    assert "NVLink 1 of 2 links up, to switch" in said
    assert said.count("NVLink 0 of") == 0
    assert "GPU 0 1 2 3 4 5 6 0 itself 4 NVLinks one switch one switch" in said
    assert "3 one switch one switch system; no peer access: chipset not supported itself one switch" in said
    assert "5 one switch one switch one switch one switch one switch itself not told" in said
    warned = [td for td in reader.tags("td") if td.get("class") == "warning"]
    assert len(warned) == 4
    alone = Snapshot("m", {k: v for k, v in sample.SERVER.facts.items() if k != "GpuLinks"}, "0")
    assert "Between the GPUs" not in html.diagnosis(sample.shown(snapshot=alone))


def test_a_machine_of_which_nothing_is_known_says_so(sample: SimpleNamespace) -> None:
    reader = Reader(html.diagnosis(sample.shown(snapshot=Snapshot("m", {"Gpus": Missing("no answer")}, "0"))))
    said = " ".join(reader.said.split())
    assert "PCI bus: no NVIDIA card is known here" in said
    assert "Gpus not known: no answer" in said
    assert "System not known: System was not looked at" in said


def test_facts_are_whole_so_that_the_search_finds_them(sample: SimpleNamespace) -> None:
    said = " ".join(Reader(html.diagnosis(sample.shown(snapshot=sample.SERVER))).said.split())
    assert "gpus 7 memory free bytes 2 GiB" in said
    assert "and 1 more" not in said


def test_the_baseline_and_waivers_are_said(sample: SimpleNamespace) -> None:
    finding = dataclasses.replace(sample.RESULTS[0].findings[0], known=True)
    old = dataclasses.replace(sample.RESULTS[0], findings=(finding,), waiver="the waiver ended on 2026-01-01: moving")
    said = " ".join(Reader(html.diagnosis(sample.shown(results=(old,), causes=cause.causes((old,))))).said.split())
    assert "[CUD003] in the baseline" in said
    assert "CUD003 driver-too-old found the waiver ended on 2026-01-01: moving" in said


def test_nothing_wrong_does_not_hide_what_could_not_be_looked_at(sample: SimpleNamespace) -> None:
    dark = html.diagnosis(sample.shown(results=sample.RESULTS[1:2], causes=()))
    assert "Nothing is wrong, as far as could be looked." in dark
    assert "Nothing is wrong." in html.diagnosis(sample.shown(results=sample.RESULTS[2:3], causes=()))


@pytest.mark.parametrize(("transport", "word"), [("sata", "sata, rotating"), ("virtio", "virtio")])
def test_a_virtual_disk_is_not_drawn_as_a_rotating_one(transport: Transport, word: str) -> None:
    disk = Disk(name="vda", rotational=True, transport=transport, bytes=1 << 40, model=None)
    assert machine_map._disk(disk) == f"1 TiB {word}"
