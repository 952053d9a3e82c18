"""``provision doctor`` as a CI system calls it: formats, selection, waivers, baselines, expectations, exit codes."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from provision import check, road
from provision.cli import main
from provision.errors import UsageError
from provision.fact import PROBES, Absent, Missing, Snapshot
from provision.facts import load
from provision.reading import FORMATS
from provision.report import formats


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(road, "now", lambda: "2026-11-24T12:00:00Z")
    return tmp_path


def snapshot(folder: Path, **facts: Any) -> str:
    load()
    known = dict.fromkeys(PROBES, Absent("not there")) | facts
    (folder / "facts.json").write_text(json.dumps(Snapshot("gpu-07", known, "0").to_json()))
    return str(folder / "facts.json")


def doctor(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["doctor", *arguments], catch_exceptions=False)


def outcomes(done: Result) -> dict[str, Any]:
    return {r["code"]: r for r in json.loads(done.stdout)["results"]}


@pytest.mark.parametrize("form", FORMATS)
def test_every_format_goes_to_standard_output_and_to_a_file(folder: Path, form: str) -> None:
    facts = snapshot(folder)
    shown, written = doctor("--facts", facts, "--format", form), doctor("--facts", facts, "--format", form, "-o", "out")
    assert shown.stdout == (folder / "out").read_text(encoding="utf-8") != ""
    assert written.stdout == ""
    assert shown.exit_code == written.exit_code


@pytest.mark.parametrize("other", ["--facts", "--from", "--log"])
def test_files_are_hashed_on_this_machine_only(folder: Path, other: str) -> None:
    (folder / "text").write_text("x")
    done = doctor(other, "text", "--files")
    assert done.exit_code == 2
    assert "--files hashes files of this machine" in done.stderr


H100 = Path(__file__).parents[1] / "machines/gpu-h100.json"


@pytest.mark.parametrize(
    ("model", "code", "outcome"),
    [
        ("name = 'R1-Distill-Llama-70B'", "MEM030", "found"),
        ("name = 'R1-Distill-Qwen-32B'\nusers = 64\ncontext = 32768", "MEM031", "found"),
        ("name = 'R1-Distill-Qwen-14B'\nusers = 8\ncontext = 8192", "MEM031", "ok"),
        ("name = 'Qwen3-8B'\ntp = 3", "MEM032", "found"),
        ("name = 'Qwen3-8B'\ntp = 2", "MEM033", "found"),
        ("name = 'Qwen3-8B'", "DEP080", "ok"),
        ("name = 'Qwen3-8B'\nengine = 'sglang'", "DEP080", "found"),
    ],
)
def test_a_planned_model_is_judged_before_it_is_downloaded(folder: Path, model: str, code: str, outcome: str) -> None:
    (folder / "provision.toml").write_text(f"[model]\n{model}\n")
    done = doctor("--facts", str(H100), "--select", code, "--format", "json")
    assert done.exit_code == (1 if outcome == "found" else 0), done.output
    assert outcomes(done)[code]["outcome"] == outcome
    page = doctor("--facts", str(H100), "--format", "html")
    assert "The planned model" in page.stdout


@pytest.mark.parametrize(
    ("model", "code"),
    [
        ("name = 'R1-Distill-Llama-70B'\nquantization = 'fp8'\nusers = 9\nkv_cache_dtype = 'fp8'", "MEM031"),
        ("name = 'R1-Distill-Qwen-32B'\nusers = 64\ncontext = 8192\ngpu_memory_utilization = 0.9", "MEM031"),
        ("name = 'R1-Distill-Qwen-32B'\nusers = 24\nkv_cache_dtype = 'fp8'", "MEM031"),
        ("name = 'R1-Distill-Llama-70B'\nengine = 'sglang==0.5.1'", "MEM030"),
    ],
)
def test_the_command_that_the_doctor_names_gives_the_same_answer(folder: Path, model: str, code: str) -> None:
    """One code, two ways to it: the same bytes in the plan and in the answer of ``provision fit``."""
    (folder / "provision.toml").write_text(f"[model]\n{model}\n")
    (finding,) = outcomes(doctor("--facts", str(H100), "--select", code, "--format", "json"))[code]["findings"]
    asked = CliRunner().invoke(main, [*shlex.split(finding["fix"][0])[1:], "--facts", str(H100), "--json"])
    assert asked.exit_code in (0, 1), asked.output
    answer = json.loads(asked.stdout)
    (folder / "provision.toml").write_text(f"[model]\n{model}\n")
    card = json.loads(CliRunner().invoke(main, ["plan", "--facts", str(H100), "--json"]).stdout)["gpu_memory"][
        "serving"
    ]["card"]
    assert (answer["gpu_bytes"], answer["usable_bytes"]) == (card["total_bytes"], card["usable_bytes"])
    assert (answer["weights_bytes"], answer["max_model_len"]) == (card["weights_bytes"], card["tokens"])
    assert answer["range"]["kv_cache_bytes"] == [card["cache_low_bytes"], card["cache_high_bytes"]]


def test_a_planned_model_that_nobody_knows_is_a_bad_input_file(folder: Path) -> None:
    (folder / "provision.toml").write_text("[model]\nname = 'R1-Distill-Qwen-33B'\n")
    for command in ("doctor", "plan"):
        done = CliRunner().invoke(main, [command, "--facts", str(H100)])
        assert (done.exit_code, done.stdout) == (2, "")
        assert (
            "provision.toml: model.name: no published model is called 'R1-Distill-Qwen-33B' (the nearest "
            in done.stderr
        )
        assert "DeepSeek-R1-Distill-Qwen-32B" in done.stderr
    assert not (folder / ".provision").exists()


def test_a_card_that_vanished_fails_and_is_not_skipped(folder: Path) -> None:
    """[expect] is held to a machine on which no card is left on the bus and no driver is loaded."""
    (folder / "provision.toml").write_text("[expect]\ngpus = 8\n")
    done = doctor("--facts", snapshot(folder), "--select", "expected-gpus-missing", "--format", "json")
    assert done.exit_code == 1
    assert [r["outcome"] for r in outcomes(done).values()] == ["found"]
    (folder / "provision.toml").write_text("")
    done = doctor("--facts", snapshot(folder), "--select", "expected-gpus-missing", "--format", "json")
    assert done.exit_code == 0


def expect_eight(folder: Path, waiver: str) -> None:
    codes = road.choose(["expected-gpus-missing"], [])
    lines = [f'[[accept]]\ncode = "{code}"\nreason = "cards are on order"\n{waiver}\n' for code in codes]
    (folder / "provision.toml").write_text("[expect]\ngpus = 8\n" + "".join(lines))


@pytest.mark.parametrize(
    ("waiver", "code", "outcome", "says"),
    [
        ("", 0, "accepted", "accepted: {}: cards are on order"),
        ("expires = 2026-11-24", 0, "accepted", "accepted: {}: cards are on order (until 2026-11-24)"),
        ("expires = 2026-11-23", 1, "found", "waiver: {}: the waiver ended on 2026-11-23: cards are on order"),
    ],
)
def test_a_waiver_is_shown_every_time_and_ends(folder: Path, waiver: str, code: int, outcome: str, says: str) -> None:
    expect_eight(folder, waiver)
    arguments = ("--facts", snapshot(folder), "--select", "expected-gpus-missing")
    done = doctor(*arguments, "--format", "json")
    assert done.exit_code == code
    (result,) = outcomes(done).values()
    assert result["outcome"] == outcome
    assert says.format(f"{result['code']} {result['name']}") in doctor(*arguments).stdout.splitlines()


def test_a_named_unknown_can_be_waived_and_is_still_said(folder: Path) -> None:
    facts = snapshot(folder, KernelLog=Missing("permission denied"))
    dark = doctor("--facts", facts, "--select", "MON", "--strict", "--format", "json")
    assert dark.exit_code == 3
    blind = [code for code, r in outcomes(dark).items() if r["outcome"] == "unknown"]
    assert blind
    lines = [f'[[accept]]\ncode = "{code}"\nreason = "no root here"\n' for code in blind]
    (folder / "provision.toml").write_text("".join(lines))
    done = doctor("--facts", facts, "--select", "MON", "--strict")
    assert done.exit_code == 0
    assert done.stdout.count("no root here (could not look: permission denied)") == len(blind)


def test_a_waiver_of_no_check_is_refused(folder: Path) -> None:
    (folder / "provision.toml").write_text('[[accept]]\ncode = "STO001x"\nreason = "a slip"\n')
    done = doctor("--facts", snapshot(folder))
    assert done.exit_code == 2
    assert "waives 'STO001x', which is no check's code (did you mean \"STO001\"?)" in done.stderr


def test_only_new_findings_fail_with_a_baseline(folder: Path) -> None:
    (folder / "provision.toml").write_text("[expect]\ngpus = 8\n")
    facts = snapshot(folder)
    select = ("--facts", facts, "--select", "expected-gpus-missing")
    assert doctor(*select, "--format", "json", "-o", "old.json").exit_code == 1
    done = doctor(*select, "--baseline", "old.json")
    assert done.exit_code == 0
    assert "expected-gpus-missing (in the baseline)" in done.stdout
    (folder / "provision.toml").write_text("[expect]\ngpus = 9\n")
    assert doctor(*select, "--baseline", "old.json").exit_code == 1


def test_a_baseline_that_is_none_is_refused_before_anything_is_looked_at(folder: Path) -> None:
    (folder / "old.json").write_text("{}")
    done = doctor("--baseline", "old.json")
    assert (done.exit_code, done.stdout) == (2, "")


@pytest.mark.parametrize("kind", ["code", "name", "roadblock", "cause"])
def test_selecting_and_ignoring_by_code_name_obstacle_and_cause(kind: str) -> None:
    check.load()
    one = check.CHECKS["CUD001"]
    chosen = road.choose([getattr(one, kind)], [])
    assert chosen == tuple(sorted(c.code for c in check.CHECKS.values() if getattr(c, kind) == getattr(one, kind)))
    assert road.choose([], [getattr(one, kind)]) == tuple(sorted(set(check.CHECKS) - set(chosen)))


def test_a_pasted_text_given_as_a_snapshot_is_sent_to_the_right_option(folder: Path) -> None:
    (folder / "collect_env.txt").write_text("PyTorch version: 2.8.0\n")
    done = doctor("--facts", "collect_env.txt")
    assert (done.exit_code, done.stdout) == (2, "")
    assert "pasted output goes to 'provision doctor --from', an error log to '--log'" in done.stderr
    done = doctor("--facts", ".")
    assert (done.exit_code, done.stdout) == (2, "")
    assert done.stderr == "provision: .: not a snapshot: is a directory\nnext: provision facts -o FILE\n"


def test_several_words_may_stand_in_one_option() -> None:
    assert road.choose(["MEM001, disk-full"], []) == road.choose(["MEM001", "disk-full"], [])
    assert set(road.choose([], ["MEM,CUD"])) == {c for c in check.CHECKS if c[:3] not in ("MEM", "CUD")}


@pytest.mark.parametrize("word", ["", "MEM001,", " "])
def test_an_empty_word_selects_nothing_and_not_everything(word: str) -> None:
    with pytest.raises(UsageError, match="no check is called ''"):
        road.choose([word], [])


def test_a_word_that_selects_nothing_names_the_nearest(folder: Path) -> None:
    done = doctor("--facts", snapshot(folder), "--select", "driver-not-loadet")
    assert done.exit_code == 2
    assert 'did you mean "driver-not-loaded"?' in done.stderr


def test_every_format_of_the_command_line_is_written() -> None:
    shown = formats.Shown(machine="m", results=(), causes=(), snapshot=Snapshot("m", {}, "0"))
    written = {form: formats.write(form, shown) for form in FORMATS}
    assert len(set(written.values())) == len(FORMATS)
