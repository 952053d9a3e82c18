"""What holds for every check: pages, causes, unknown and skipped, and a test of its own."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from provision import cause, check, roadblock
from provision.fact import Absent, Missing
from provision.spec import Spec

check.load()
HERE = Path(__file__).parent
CODES = sorted(check.CHECKS)
NEEDS = [(code, kind, tolerated) for code in CODES for _, kind, tolerated in check.CHECKS[code].needs]
REASON = "permission denied: /dev/null"


def named(case: Any) -> str:
    return case if isinstance(case, str) else getattr(case, "__name__", "")


@pytest.mark.parametrize(("code", "kind", "tolerated"), NEEDS, ids=named)
@pytest.mark.parametrize(("why", "outcome"), [(Missing, "unknown"), (Absent, "skipped")])
def test_a_fact_that_is_not_known_gives_the_probes_own_reason(
    run_check: Callable[..., check.Result], code: str, kind: type, tolerated: tuple[type, ...], why: type, outcome: str
) -> None:
    result = run_check(code, {kind: why(REASON)})
    if why in tolerated:
        assert result.outcome != "crashed", result.reason
    else:
        assert (result.outcome, result.reason, result.findings) == (outcome, REASON, ())


@pytest.mark.parametrize("gpu", [True, False], ids=["gpu", "cpu"])
@pytest.mark.parametrize("code", CODES)
def test_nothing_is_found_on_a_healthy_machine(run_check: Callable[..., check.Result], code: str, gpu: bool) -> None:
    result = run_check(code, gpu=gpu)
    assert result.outcome in ("ok", "skipped"), f"{result.outcome}: {result.reason} {result.findings}"


def test_every_check_was_seen_to_find_something(seen: Mapping[str, set[str]]) -> None:
    """A check could hide behind "does not apply" on every machine: here each fires once at least. conftest runs it last."""
    never = [code for code in CODES if "found" not in seen.get(code, ())]
    assert never == []


@pytest.mark.parametrize("code", CODES)
def test_a_page_has_a_title_prose_a_fix_and_a_proof(code: str) -> None:
    page = check.CHECKS[code].page
    head, _, rest = page.partition("\n\n")
    assert head.endswith(".") and "\n" not in head
    assert len(head) <= 110
    fix, proof = (rest.partition(f"## {name}\n")[2].partition("\n## ")[0].strip() for name in ("Fix", "Proof"))
    assert fix
    assert proof
    assert re.search(r"\b[A-Z]{3}-P\d|None|provision doctor --select", proof), (
        "names its proof, or says why there is none"
    )


def test_no_fix_has_prose_after_pip_install() -> None:
    """`pip install a torch built for this card` installs whatever is called "a", "built" and "for"."""
    texts = [path.read_text() for path in sorted((HERE.parents[1] / "checks").rglob("*.py"))]
    commands = [c for text in texts for c in re.findall(r'"(?:or: )?((?:python3 -m )?pip install [^"]*)"', text)]
    assert len(commands) >= 5
    assert [c for c in commands if re.search(r" (?:a|an|the|of|for|from|or) ", f"{c.partition('#')[0]} ")] == []


def test_the_proofs_that_pages_name_are_there() -> None:
    from provision.payload.smoke.proof import load

    known = set(load())
    for one in check.CHECKS.values():
        assert set(re.findall(r"\b[A-Z]{3}-P\d+", one.page)) <= known, one.code


@pytest.mark.parametrize("code", CODES)
def test_the_cause_is_in_the_table(code: str) -> None:
    assert check.CHECKS[code].cause in cause.table()


def test_every_name_has_a_check_and_three_have_three() -> None:
    per_name = {r.name: [c for c in check.CHECKS.values() if c.roadblock == r.name] for r in roadblock.ROADBLOCKS}
    assert all(per_name.values())
    assert all(len(per_name[name]) >= 3 for name in ("storage", "cuda", "dependencies"))


def test_codes_are_numbered_without_a_gap_in_blocks_that_begin_at_a_multiple_of_ten() -> None:
    for prefix in roadblock.BY_PREFIX:
        numbers = [int(code[3:]) for code in CODES if code.startswith(prefix)]
        assert numbers[0] == 1
        assert not [n for before, n in itertools.pairwise(numbers) if n != before + 1 and n % 10]


@pytest.mark.parametrize("code", CODES)
def test_every_code_is_tested_by_name(code: str) -> None:
    tests = "".join(p.read_text() for p in HERE.glob("test_*.py") if p != Path(__file__))
    assert f"test_{code.lower()}_" in tests or f'("{code}", ' in tests  # of its own, or a row of a table


def test_a_check_that_needs_no_plan_says_so_by_its_annotations() -> None:
    """Where no plan can be made (daemon.json is not JSON), the check that says why must still run."""
    kinds = {kind for _, kind, _ in check.CHECKS["DEP006"].needs}
    assert not any(kind.__module__.startswith("provision.plan") or kind is Spec for kind in kinds)
