"""The HTML pages in a real browser: accessible by axe-core, usable by keyboard, searchable, printable, and silent."""

from __future__ import annotations

import base64
import json
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webelement import WebElement

from provision.fit import command
from provision.fit.answer import Answer
from provision.report import html

AXE = "axe-core@4.14.1"
# Of the package as npm's registry names it (npm view axe-core@4.14.1 dist.integrity, 2026-11-24).
AXE_SHA512 = "FHfa+lmNjQZfJz1q8wKqIDwC6DExcHt/pkjNQb09a3NPjCKg2rhu5qb2S4r76ASyFNNtuFooJpZe37OgudVGtQ=="
SERIOUS = ("serious", "critical")


@pytest.fixture(scope="module")
def axe(npm_pack: Callable[[str, str], Path]) -> str:
    """The source of axe-core, from npm, held to its hash before a line of it runs."""
    with tarfile.open(npm_pack(AXE, AXE_SHA512)) as archive:
        content = archive.extractfile("package/axe.min.js")
        assert content is not None
        return content.read().decode()


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory, program: Callable[..., str]) -> Iterator[webdriver.Chrome]:
    """Debian's Chromium with an empty profile, that says what it loads and logs."""
    chromium, driver = program("chromium", "chromium"), program("chromedriver", "chromium-driver")
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for flag in (
        *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"),
        *("--disable-background-networking", "--disable-component-update", "--disable-dev-shm-usage"),
        *("--window-size=1280,1000", f"--user-data-dir={tmp_path_factory.mktemp('profile')}"),
    ):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"performance": "ALL", "browser": "ALL"})
    opened = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))
    try:
        yield opened
    finally:
        opened.quit()


def answered() -> Answer:
    """What ``provision fit`` answers to the question of the README: more is needed than a card has."""
    return command.run(
        model="R1-Distill-Qwen-32B", gpu="RTX 4090", gpu_memory_gib=None, gpus=2, tp=None, pp=1, dp=1, ep=False,
        engine="vllm", quantization=None, dtype=None, users=8,
    )  # fmt: skip


@pytest.fixture(scope="module")
def pages(sample: SimpleNamespace, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The pages as files, by kind."""
    folder = tmp_path_factory.mktemp("pages")
    shown = {
        "doctor": html.diagnosis(sample.shown(snapshot=sample.SERVER)),
        "served": html.diagnosis(sample.shown(snapshot=sample.SERVER, serving=sample.SERVING)),
        "run": html.page(sample.run(facts=sample.SERVER, serving=sample.SERVING)),
        "fit": html.fit(answered()),
        "hostile": html.diagnosis(sample.hostile_shown()),
        "nothing": html.diagnosis(sample.shown(results=(), causes=(), snapshot=None)),
    }
    for kind, page in shown.items():
        (folder / f"{kind}.html").write_text(page, encoding="utf-8")
    return {kind: (folder / f"{kind}.html").as_uri() for kind in shown}


def opened(browser: webdriver.Chrome, address: str, media: str = "screen", scheme: str = "light") -> None:
    features = [{"name": "prefers-color-scheme", "value": scheme}]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": media, "features": features})
    browser.get(address)


def violations(browser: webdriver.Chrome, axe: str) -> list[str]:
    """What axe-core finds serious, with the elements; everything is unfolded first, for it passes over what is hidden."""
    browser.execute_script("for (const d of document.querySelectorAll('details')) d.open = true;")
    # By the devtools protocol: the page's own policy lets no foreign script in.
    browser.execute_cdp_cmd("Runtime.evaluate", {"expression": axe})
    run = {"expression": "axe.run(document).then((r) => JSON.stringify(r))", "awaitPromise": True}
    report = json.loads(browser.execute_cdp_cmd("Runtime.evaluate", run)["result"]["value"])
    assert len(report["passes"]) >= 15, "axe looked at nothing"
    return [
        f"{v['id']}: {node['target']} {node['failureSummary']}"
        for v in report["violations"]
        if v["impact"] in SERIOUS
        for node in v["nodes"]
    ]


@pytest.mark.parametrize(("media", "scheme"), [("screen", "light"), ("screen", "dark"), ("print", "light")])
@pytest.mark.parametrize("kind", ["doctor", "served", "run", "fit", "hostile", "nothing"])
def test_axe_finds_nothing_serious(
    browser: webdriver.Chrome, pages: dict[str, str], axe: str, kind: str, media: str, scheme: str
) -> None:
    opened(browser, pages[kind], media, scheme)
    assert violations(browser, axe) == []


def test_axe_does_find_what_is_wrong(browser: webdriver.Chrome, pages: dict[str, str], axe: str) -> None:
    opened(browser, pages["doctor"])
    browser.execute_script(
        "document.querySelector('label[for=find]').remove(); document.documentElement.lang = '';"
        "document.documentElement.style.setProperty('--quiet', '#bbbbbb');"
    )
    found = violations(browser, axe)
    assert {line.split(":")[0] for line in found} >= {"color-contrast", "html-has-lang", "label-title-only"}


@pytest.mark.parametrize("kind", ["doctor", "served", "run", "fit", "hostile"])
def test_no_request_leaves_the_page_and_nothing_is_refused_or_logged(
    browser: webdriver.Chrome, pages: dict[str, str], kind: str
) -> None:
    opened(browser, "about:blank")
    browser.get_log("performance"), browser.get_log("browser")
    opened(browser, pages[kind])
    box = browser.find_element(By.ID, "find")
    box.send_keys("nvidia")
    messages = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    asked = [m["params"]["request"]["url"] for m in messages if m["method"] == "Network.requestWillBeSent"]
    assert asked == [pages[kind]]
    assert browser.get_log("browser") == []


def test_a_script_that_is_not_ours_cannot_run(browser: webdriver.Chrome, pages: dict[str, str]) -> None:
    opened(browser, pages["hostile"])
    browser.execute_script(
        "const s = document.createElement('script'); s.textContent = 'window.taken = 1'; document.body.append(s);"
        "document.body.insertAdjacentHTML('beforeend', '<img src=x onerror=\"window.taken = 1\">');"
    )
    assert browser.execute_script("return window.taken") is None
    assert browser.find_elements(By.TAG_NAME, "script")[0].get_attribute("src") == ""


def focused(browser: webdriver.Chrome) -> WebElement:
    return browser.switch_to.active_element


def press(browser: webdriver.Chrome, *keys: str) -> None:
    actions = webdriver.ActionChains(browser)
    for key in keys:
        actions = actions.send_keys(key)
    actions.perform()


def test_the_skip_link_comes_first_and_leads_past_the_navigation(
    browser: webdriver.Chrome, pages: dict[str, str]
) -> None:
    opened(browser, pages["doctor"])
    press(browser, Keys.TAB)
    skip = focused(browser)
    assert skip.text == "Skip to the causes"
    assert skip.rect["x"] >= 0 and skip.rect["width"] > 20
    press(browser, Keys.ENTER)
    assert focused(browser).get_attribute("id") == "main"
    press(browser, Keys.TAB)
    assert focused(browser).tag_name == "pre"


def test_every_stop_of_the_keyboard_is_seen(browser: webdriver.Chrome, pages: dict[str, str]) -> None:
    """Tab goes through links, search, commands and folded parts; each shows an outline where it is."""
    opened(browser, pages["doctor"])
    stops: list[str] = []
    for _ in range(200):
        press(browser, Keys.TAB)
        here = focused(browser)
        if here.tag_name == "body":
            break
        stops.append(here.tag_name)
        outline = browser.execute_script("return getComputedStyle(arguments[0]).outlineStyle", here)
        assert outline == "solid", here.get_attribute("outerHTML")
    details = len(browser.find_elements(By.TAG_NAME, "summary"))
    assert stops[:6] == ["a", "a", "a", "a", "a", "input"]
    assert stops.count("summary") == details > 5


def test_folded_parts_open_with_the_keyboard(browser: webdriver.Chrome, pages: dict[str, str]) -> None:
    opened(browser, pages["doctor"])
    summary = browser.find_element(By.CSS_SELECTOR, "#checks ~ details summary")
    table = browser.find_element(By.CSS_SELECTOR, "#checks ~ details table")
    browser.execute_script("arguments[0].focus()", summary)
    assert not table.is_displayed()
    press(browser, Keys.ENTER)
    assert table.is_displayed()
    press(browser, Keys.SPACE)
    assert not table.is_displayed()


def shown_items(browser: webdriver.Chrome) -> list[str]:
    return [e.text for e in browser.find_elements(By.CSS_SELECTOR, "[data-item]") if e.is_displayed()]


def test_the_search_finds_what_is_folded_and_gives_the_page_back(
    browser: webdriver.Chrome, pages: dict[str, str]
) -> None:
    opened(browser, pages["doctor"])
    before = shown_items(browser)
    press(browser, "/")
    box = focused(browser)
    assert box.get_attribute("id") == "find"
    assert box.get_attribute("value") == ""
    press(browser, "avx512f")
    assert shown_items(browser) == ["flags avx2, avx512f"]
    assert browser.find_element(By.ID, "found").text.startswith("1 of ")
    assert [h.text for h in browser.find_elements(By.TAG_NAME, "h2") if h.is_displayed()] == ["Facts"]
    press(browser, Keys.ESCAPE)
    assert shown_items(browser) == before
    assert browser.find_element(By.ID, "found").text == ""
    press(browser, "GPU 6 mig")
    assert [text.splitlines()[0] for text in shown_items(browser)][:1] == ["GPU 6: NVIDIA H100 80GB HBM3"]
    press(browser, Keys.ESCAPE, "no such thing")
    assert shown_items(browser) == []
    assert browser.find_element(By.ID, "found").text.startswith("0 of ")


@pytest.mark.parametrize("kind", ["doctor", "served", "fit"])
def test_every_entry_can_be_found_by_the_search(browser: webdriver.Chrome, pages: dict[str, str], kind: str) -> None:
    """Every text that the page shows under its header stands in something that the search can find or is its frame."""
    opened(browser, pages[kind])
    script = (
        "return [...document.querySelectorAll('main td, main dd, main li, main pre')]"
        ".filter((e) => !e.closest('[data-item]')).map((e) => e.textContent)"
    )
    assert browser.execute_script(script) == []


def test_without_script_the_page_is_whole(browser: webdriver.Chrome, pages: dict[str, str]) -> None:
    browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    try:
        opened(browser, pages["doctor"])
        assert not browser.find_element(By.ID, "search").is_displayed()
        shown = [e.text for e in browser.find_elements(By.CSS_SELECTOR, "article, .cell, section > h2")]
        assert "Causes" in shown and any("GPU 6" in text for text in shown)
        assert all(shown)
    finally:
        browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})


def test_print_holds_what_is_folded_and_no_search(browser: webdriver.Chrome, pages: dict[str, str]) -> None:
    opened(browser, pages["doctor"], media="print")
    assert not browser.find_element(By.ID, "search").is_displayed()
    assert browser.find_element(By.CSS_SELECTOR, "#checks ~ details table").rect["height"] > 100
    pdf = base64.b64decode(browser.execute_cdp_cmd("Page.printToPDF", {})["data"])
    assert pdf.startswith(b"%PDF") and pdf.count(b"/Type /Page\n") >= 3


def test_the_bar_of_a_planned_gpu_is_drawn_from_end_to_end(browser: webdriver.Chrome, pages: dict[str, str]) -> None:
    """On the screen and on paper: pieces in their own colours, one behind the other, and the same in a table below."""
    for media in ("screen", "print"):
        opened(browser, pages["served"], media=media)
        bars = browser.find_elements(By.CSS_SELECTOR, "svg.use")
        assert len(bars) == 5
        for bar in bars:
            whole = bar.rect
            pieces = bar.find_elements(By.CSS_SELECTOR, "rect:not(.all)")
            widths = [piece.rect["width"] for piece in pieces]
            assert whole["width"] > 100 and whole["height"] >= 12
            assert sum(widths) == pytest.approx(whole["width"], abs=12)  # the edges of six pieces
            assert widths[0] == pytest.approx(whole["width"] / 2, abs=3)  # weights, 40 of 80 GiB
            fills = [piece.value_of_css_property("fill") for piece in pieces]
            assert len(set(fills)) == len(fills) == 6 and "rgb(0, 0, 0)" not in fills  # black: what has no rule
        rows = browser.find_elements(By.CSS_SELECTOR, "svg.use + table tbody tr")
        assert [row.text.split()[0] for row in rows] == ["weights", "activations", "outside", "CUDA", "KV", "not"]


def test_what_is_pasted_can_be_reached_by_keyboard(browser: webdriver.Chrome, pages: dict[str, str]) -> None:
    opened(browser, pages["served"])
    stops: list[str] = []
    for _ in range(60):
        press(browser, Keys.TAB)
        stops.append(focused(browser).text)
    assert "--tensor-parallel-size 4 --max-model-len 32768" in stops


@pytest.mark.parametrize("width", [320, 1280])
def test_it_never_scrolls_sideways(browser: webdriver.Chrome, pages: dict[str, str], width: int) -> None:
    """320 CSS pixels: WCAG 2.2, success criterion 1.4.10 (reflow)."""
    metrics: dict[str, Any] = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    try:
        for kind in ("doctor", "served", "run", "fit", "hostile"):
            opened(browser, pages[kind])
            browser.execute_script("for (const d of document.querySelectorAll('details')) d.open = true;")
            assert browser.execute_script("return document.documentElement.scrollWidth") <= width
    finally:
        browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
