"""The forecast beside what engines printed: the errors are printed, and have ceilings."""

from __future__ import annotations

import statistics
from collections import defaultdict
from typing import Any

import pytest

from tests.fit.printed import ROWS, ask, errors, ninetieth, spread


def test_the_forecast_on_what_engines_printed(capsys: pytest.CaptureFixture[str]) -> None:
    found: dict[str, list[float]] = defaultdict(list)
    verdicts = []
    far = []
    for row in ROWS:
        if "off" in row:
            continue
        said = ask(row)
        if "fits" in row["printed"]:
            verdicts.append((row["id"], said["fits"] is row["printed"]["fits"]))
        for name, share in errors(row, said).items():
            found[name].append(share)
            if share > 0.05:
                far.append(f"{row['id']}: {name} {share:.1%}")
    right = sum(good for _, good in verdicts)
    with capsys.disabled():
        print(
            f"\nfit: {right} of {len(verdicts)} verdicts right; "
            + "; ".join(f"{n} {spread(v)}" for n, v in found.items())
        )
        print("fit, more than 5 % off: " + ("; ".join(far) or "none"))
    assert all(good for _, good in verdicts), verdicts
    for name, middle, most in (("weights", 0.01, 0.03), ("KV bytes", 0.03, 0.10), ("KV tokens", 0.05, 0.15)):
        assert statistics.median(found[name]) <= middle, name
        assert ninetieth(found[name]) <= most, name


@pytest.mark.parametrize(
    "row", [r for r in ROWS if "activation_gib" in r["printed"] and "kv_gib" in r["printed"]], ids=lambda r: r["id"]
)
def test_with_measured_terms_the_cache_is_what_is_left(row: dict[str, Any]) -> None:
    said = ask(row, "activation", "non-torch")
    # what remains is the error of the weights, and torch's allocator, which hands out large blocks in steps of 2 MiB
    left = row["printed"]["kv_gib"] * 2**30
    assert said["kv_cache_bytes"] == pytest.approx(left, rel=0.01, abs=0.007 * said["weights_bytes"])


def test_every_row_has_a_public_source_and_a_figure() -> None:
    assert all(row["source"].startswith(("https://", "public file ")) and row["printed"] for row in ROWS)
    assert len({row["id"] for row in ROWS}) == len(ROWS) >= 70
