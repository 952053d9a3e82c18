"""Pages: what a word finds, what programs get, the generated README, and the contract every check's page keeps."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from provision import cause, check, page
from provision.check import ERROR, Check, Finding
from provision.errors import UsageError
from provision.fact import needs_of
from provision.payload.smoke import proof

check.load()
ROOT = Path(__file__).parents[1]
CODES = sorted(check.CHECKS)


@pytest.mark.parametrize("code", CODES)
def test_a_check_is_found_by_code_and_name_in_any_case(code: str) -> None:
    one = check.CHECKS[code]
    text = page.page(code)
    assert one.page.rstrip() in text
    assert text.startswith(f"{code} {one.name} ({one.severity}, {one.roadblock}, cause: {one.cause}, looks at: ")
    assert page.page(code.lower()) == text
    assert text.rstrip() in page.page(one.name)


def test_a_word_that_names_a_check_and_a_cause_finds_both() -> None:
    shared = sorted({c.name for c in check.CHECKS.values()} & set(cause.table()))
    assert shared
    for word in shared:
        assert " (cause)\n" in page.page(word)
        assert "## Proof" in page.page(word)


def test_a_proof_is_found_by_code_and_name() -> None:
    for one in proof.load().values():
        assert one.page.rstrip() in page.page(one.code)
        assert one.page.rstrip() in page.page(one.name)


def test_a_cause_says_what_it_is_who_names_it_and_what_it_explains() -> None:
    text = page.page("driver-not-loaded")
    row = cause.table()["driver-not-loaded"]
    assert text.startswith(f"driver-not-loaded (cause)\n\n{row.line}.\n\nNamed by: CUD001")
    assert f"Explains: {', '.join(row.explains)}\n" in text
    assert "nouveau-loaded" in text.rpartition("Explained by: ")[2].strip().split(", ")


@pytest.mark.parametrize(
    ("word", "nearest"),
    [
        ("STO00", "STO001"),
        ("driver-not-laoded", "driver-not-loaded"),
        ("mem-p", "MEM-P1"),
        ("CARD-WITHOUT", "card-without-driver"),
    ],
)
def test_an_unknown_word_is_refused_with_the_nearest(word: str, nearest: str) -> None:
    with pytest.raises(UsageError) as caught:
        page.page(word)
    assert caught.value.exit_code == 2
    assert f"{word!r} is not a code, a name or a cause; the nearest are " in caught.value.message
    assert nearest in caught.value.message
    assert caught.value.next_command == "provision explain --all"


def test_a_word_that_is_near_nothing_names_nothing() -> None:
    with pytest.raises(UsageError, match=r"^'§§§§' is not a code, a name or a cause$"):
        page.page("§§§§")


def test_all_pages_hold_every_check_proof_and_cause_once() -> None:
    parts = page.all_pages().split("\n\n" + "-" * 72 + "\n\n")
    firsts = [part.split(" ", 1)[0] for part in parts]
    assert firsts == [*CODES, *sorted(proof.load()), *sorted(cause.table())]


def test_json_is_everything_for_programs() -> None:
    document = json.loads(page.as_json())
    assert list(document) == ["schema", "checks", "proofs", "causes"]
    assert [c["code"] for c in document["checks"]] == CODES
    assert [p["code"] for p in document["proofs"]] == sorted(proof.load())
    assert [c["cause"] for c in document["causes"]] == sorted(cause.table())
    one = check.CHECKS["STO001"]
    assert document["checks"][CODES.index("STO001")] == {
        "code": "STO001",
        "name": one.name,
        "roadblock": "storage",
        "severity": one.severity,
        "cause": one.cause,
        "title": one.title,
        "needs": [kind.__name__ for _, kind, _ in one.needs],
        "page": one.page,
    }


def test_json_of_a_word_is_what_the_word_finds() -> None:
    document = json.loads(page.as_json("sto001"))
    assert ([c["code"] for c in document["checks"]], document["proofs"], document["causes"]) == (["STO001"], [], [])
    document = json.loads(page.as_json("driver-not-loaded"))
    assert ([c["cause"] for c in document["causes"]], document["checks"]) == (["driver-not-loaded"], [])
    assert document["causes"][0]["codes"] == ["CUD001", "CUD100"]
    with pytest.raises(UsageError):
        page.as_json("no-such-thing-anywhere")


def test_the_readme_is_the_generated_one() -> None:
    assert (ROOT / "checks" / "README.md").read_text(encoding="utf-8") == page.readme(), "run: make pages"


def test_the_readme_has_a_row_for_every_check_and_cause() -> None:
    rows = [line.split(" | ") for line in page.readme().splitlines() if line.startswith("| ")]
    firsts = [row[0].removeprefix("| ") for row in rows]
    assert sorted(f for f in firsts if f in check.CHECKS) == CODES
    assert {f for f in firsts if f in cause.table()} == set(cause.table())
    assert {len(row) for row in rows} == {7, 4}


@pytest.mark.parametrize("code", CODES)
def test_every_check_keeps_the_contract_of_pages(code: str) -> None:
    assert page.lint(check.CHECKS[code]) == []


GOOD = """The data root is too small.

Why that matters.

## Fix
Make room.

## Proof
DEP-P1 shows it.
"""


def linted(text: str, name: str = "data_root_too_small", cause: str = "disk-full") -> list[str]:
    def function() -> Iterator[Finding]:
        yield from ()

    function.__name__ = name
    function.__doc__ = text
    return page.lint(Check("STO999", ERROR, cause, function, needs_of(function), "storage"))


def test_a_good_page_has_nothing_to_say_about() -> None:
    assert linted(GOOD) == []


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("too small.", "too small", "ends in a full stop"),
        ("too small.", "too small..", "ends in a full stop"),
        ("The data root is too small.", "Checks the data root.", "what the check does"),
        ("The data root is too small.", "Verify the data root.", "what the check does"),
        ("The data root is too small.", "x" * 110 + ".", "has 111 characters, more than 110"),
        ("too small.\n\nWhy", "too small.\nWhy", "an empty line after it"),
        ("Why that matters.\n\n", "", "no prose between"),
        ("## Fix", "## Cure", "expected the headings '## Fix' and '## Proof' once each"),
        ("## Proof\n", "", "expected the headings"),
        ("## Fix", "## Proof\nx\n\n## Fix", "expected the headings"),
        ("Make room.\n\n", "", "nothing stands under '## Fix'"),
        ("DEP-P1 shows it.\n", "", "nothing stands under '## Proof'"),
        ("DEP-P1", "DEP-P77", "DEP-P77, which is neither a check nor a proof"),
        ("Why that", "STO998 says why that", "STO998, which is neither"),
    ],
)
def test_each_fault_of_a_page_is_named(old: str, new: str, problem: str) -> None:
    assert old in GOOD
    (said,) = linted(GOOD.replace(old, new))
    assert problem in said


def test_a_title_of_110_characters_is_fine() -> None:
    assert linted(GOOD.replace("The data root is too small.", "x" * 109 + ".")) == []


def test_a_page_that_is_not_there_has_every_fault_and_no_crash() -> None:
    said = linted("")
    assert [problem.split(":")[0][:24] for problem in said] == [
        "the title is a sentence ",
        "the title is one line, w",
        "expected the headings '#",
        "there is no prose betwee",
    ]


def test_a_name_that_says_what_the_check_does_is_a_fault() -> None:
    (said,) = linted(GOOD, name="check_data_root")
    assert "'check-data-root' says what the check does" in said
    assert linted(GOOD, name="checksum_wrong") == []


def test_a_cause_outside_the_table_is_a_fault() -> None:
    assert linted(GOOD, cause="bad-luck") == ["the cause 'bad-luck' is not in catalog/causes.toml"]


def test_words_like_codes_are_left_alone() -> None:
    assert linted(GOOD.replace("Why", "SHA256 and UTF-8 and ABC123: why")) == []
