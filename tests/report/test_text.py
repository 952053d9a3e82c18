"""The screens, to the letter where people and scripts read them."""

from __future__ import annotations

import dataclasses
import re
import textwrap
from pathlib import Path
from types import SimpleNamespace

import pytest

from provision import cause, check
from provision.cause import Cause
from provision.check import Finding, Result
from provision.errors import ChangeError, ConsentNeeded, ProvisionError
from provision.preview import Change
from provision.report import text
from provision.report.layout import Style
from provision.report.run import Run
from provision.undo import Undone

LINE = {name: cause.table()[name].line for name in ("driver-too-old-for-cuda", "slow-storage")}
FOUND = f"""\
error: driver-too-old-for-cuda [CUD003]
  {LINE["driver-too-old-for-cuda"]}
  because     driver 525.147 gives CUDA 12.0; torch 2.13.0 needs 580.65
  fix         provision lock smoke-cu126
              or: install driver 580

warning: slow-storage (possible) [STO004]
  {LINE["slow-storage"]}
  because     /srv lies on sda, a rotating disk
  fix         move it
  tell apart  provision disk /srv

could not look
  permission denied: MEM001, MEM002
  no answer in 2 s: CUD007

crashed: ISO001 engine-exposed: KeyError: 'x'
accepted: STO005 scratch: reviewed 2026-11-24
"""


def test_doctor_is_causes_first_counts_last(sample: SimpleNamespace) -> None:
    assert (
        text.doctor("gpu-07", sample.RESULTS, sample.CAUSES)
        == f"""\
gpu-07: 2 causes: 1 error, 1 warning

{FOUND}1 ok, 2 found, 3 unknown, 1 skipped, 1 crashed, 1 accepted
"""
    )


def test_a_waiver_without_effect_and_the_baseline_are_said(sample: SimpleNamespace) -> None:
    finding = dataclasses.replace(sample.RESULTS[0].findings[0], known=True)
    late = dataclasses.replace(sample.RESULTS[0], findings=(finding,), waiver="the waiver ended on 2026-01-01: moving")
    shown = text.doctor("m", (late,), cause.causes((late,))).splitlines()
    assert shown[2] == "error: driver-too-old-for-cuda (in the baseline) [CUD003]"
    assert shown[-2] == "waiver: CUD003 driver-too-old: the waiver ended on 2026-01-01: moving"


def test_a_healthy_machine_is_two_lines(sample: SimpleNamespace) -> None:
    healthy = [r for r in sample.RESULTS if r.outcome == "ok"]
    assert text.doctor("m", healthy, ()) == (
        "m: nothing wrong\n\n1 ok, 0 found, 0 unknown, 0 skipped, 0 crashed, 0 accepted\n"
    )


def test_nothing_wrong_is_not_said_where_a_check_could_not_look(sample: SimpleNamespace) -> None:
    blind = [r for r in sample.RESULTS if r.outcome in ("ok", "unknown")]
    count = sum(r.outcome == "unknown" for r in blind)
    assert count
    said = "1 check" if count == 1 else f"{count} checks"
    assert text.doctor("m", blind, ()).splitlines()[0] == f"m: nothing found; {said} could not look"


def test_an_unknown_that_a_cause_explains_is_said_under_it_once(sample: SimpleNamespace) -> None:
    one = Cause("driver-not-loaded", ("CUD001",), "error", "certain", (), ("x",), (), ("CUD007",))
    shown = text.doctor("m", sample.RESULTS, [one])
    assert "  also        CUD007 driver-does-not-answer (could not look)\n" in shown
    assert "no answer in 2 s" not in shown
    assert "permission denied: MEM001, MEM002" in shown


def blind(count: int, reasons: int) -> list[Result]:
    return [
        Result(f"MEM{n:03d}", "n", "gpu_memory", "error", "disk-full", "unknown", f"reason {n % reasons}")
        for n in range(1, count + 1)
    ]


@pytest.mark.parametrize(
    ("count", "shown"),
    [
        (7, "reason 0: MEM001, MEM002, MEM003, MEM004, MEM005, MEM006, MEM007\n"),
        (8, "reason 0: MEM001, MEM002, MEM003, MEM004, MEM005, MEM006, and 2 more\n"),
    ],
)
def test_many_checks_with_one_reason_are_counted(count: int, shown: str) -> None:
    assert shown in text.doctor("m", blind(count, 1), ())


@pytest.mark.parametrize(("reasons", "counted"), [(8, False), (9, True)])
def test_many_reasons_are_counted_and_say_where_they_all_are(reasons: int, counted: bool) -> None:
    shown = text.doctor("m", blind(reasons, reasons), ())
    assert ("and 1 more reason for 1 check: provision doctor --format json" in shown) is counted
    assert shown.count("reason ") == min(reasons, 8) + counted


def test_the_doctor_wraps_words_and_never_commands(sample: SimpleNamespace) -> None:
    command = "provision lock smoke-cu126 --resolver pip-tools --check --crosscheck --and --on --and --on"
    found = Finding("many words " * 20, fix=(command,))
    result = Result("CUD003", "n", "cuda", "error", "driver-too-old-for-cuda", "found", "", (found,))
    shown = text.doctor("m", [result], cause.causes([result]), Style(width=60))
    assert max(len(line) for line in shown.splitlines() if command not in line) <= 60
    assert command in shown


def test_colour_is_an_option_and_changes_nothing_else(sample: SimpleNamespace) -> None:
    plain = text.doctor("gpu-07", sample.RESULTS, sample.CAUSES)
    colour = text.doctor("gpu-07", sample.RESULTS, sample.CAUSES, Style(color=True))
    assert "\x1b[1;31merror\x1b[0m" in colour
    assert re.sub(r"\x1b\[[0-9;]*m", "", colour) == plain
    assert "\x1b" not in plain


def test_up_says_what_was_found_changed_and_proved(sample: SimpleNamespace) -> None:
    line = cause.table()["disk-full"].line
    assert (
        text.up(sample.run())
        == f"""\
gpu-07: NOT DONE: 1 proof of 2 not proved, 1 error left

found
  put right: disk-full: {line} [STO001]
{textwrap.indent(FOUND, "  ")}
changed: 2 of 3 managed things
  package  docker.io               installed
  file     /etc/docker/daemon.json  written
""".replace("docker.io               ", "docker.io                ")
        + """
proved
  proved MEM-P1 sums-right (12.3 s)
      nf4   99.35 % (promised 98 %)
      sums  2000
  NOT PROVED STO-P1 storage (0.00 s)
      could not run: no weights
      load  not measured (promised 10.0 s)
  1 of 2 promised proofs hold
  GPU path: not yet run on hardware

took
  facts and doctor  0.41 s
  build             5 min 12 s
  together          5 min 12 s

ansible   changed=2, ok=9
evidence  .provision/gpu-07/runs/0007 (report.html there says the same, with the facts)
"""
    )


def test_up_on_a_machine_that_was_right(sample: SimpleNamespace) -> None:
    shown = text.up(sample.run(results=(), causes=(), before=(), changes=sample.CHANGES[2:], proofs=sample.PROOFS[:1]))
    assert shown.startswith("gpu-07: 0 changes, every promised proof holds (1)\n\nfound\n  nothing wrong\n")
    assert "\nchanged: 0 of 1 managed thing\n" in shown


def test_up_says_when_what_was_found_is_put_right(sample: SimpleNamespace) -> None:
    shown = text.up(sample.run(causes=(), results=(), proofs=()))
    assert shown.startswith("gpu-07: 2 changes, nothing was proved yet\n")
    assert "  put right: disk-full" in shown
    assert "  nothing is wrong now\n" in shown


def test_a_run_on_a_card_does_not_say_that_none_has_run(sample: SimpleNamespace) -> None:
    assert "GPU path" not in text.up(sample.run(gpu_ran=True))
    assert "GPU path" not in text.proofs(sample.run(gpu_ran=True))
    assert text.proofs(sample.run()).endswith("1 of 2 promised proofs hold\nGPU path: not yet run on hardware\n")


def test_no_proof_is_never_all_proofs(sample: SimpleNamespace) -> None:
    assert text.proofs(sample.run(proofs=(), gpu_ran=True)) == "nothing was proved\n"


DIFF = "--- /etc/docker/daemon.json\n+++ /etc/docker/daemon.json\n@@ -1 +1 @@\n-{}\n+{\x1b[2J}\n"
PREVIEW = (
    Change(kind="file", what="/etc/docker/daemon.json", detail=DIFF, additive=False, needs="config"),
    Change(kind="file", what="/etc/provision/offline.env", detail="mode 0600 -> 0644"),
    Change(kind="package", what="docker.io", detail="install it"),
    Change(kind="unit", what="docker", detail="restart it", needs="config", previewable=False, reason="not there yet"),
    Change(kind="image", what="provision/smoke:cpu", detail="build it", previewable=False, reason="no engine"),
)


def test_preview_in_groups_with_diffs_names_and_what_cannot_be_seen() -> None:
    assert (
        text.preview(PREVIEW)
        == """\
What will be done: 5 changes

files (2)
  /etc/docker/daemon.json
      --- /etc/docker/daemon.json
      +++ /etc/docker/daemon.json
      @@ -1 +1 @@
      -{}
      +{\\x1b[2J}
  /etc/provision/offline.env  mode 0600 -> 0644

packages (1)
  docker.io  install it

units (1)
  docker  restart it

image (1)
  provision/smoke:cpu  build it

needs a yes by name
  --allow config  /etc/docker/daemon.json, docker

cannot be previewed
  unit docker                not there yet
  image provision/smoke:cpu  no engine
"""
    )


def test_preview_of_nothing() -> None:
    assert text.preview(()) == "Nothing to change: the machine is what the plan says.\n"


def test_facts_say_what_is_known_absent_and_not_looked_at(sample: SimpleNamespace) -> None:
    assert text.facts(sample.FACTS) == (
        "gpu-07, looked at by provision 0.1.0\n"
        "  Gpus     COULD NOT LOOK: NVML gave no answer in 2 s\n"
        "  Memory   total 64 GiB, available 60 GiB, swap total 0 B, swap free 0 B, cgroup limit none, limit 64 GiB\n"
        "  Nouveau  not there: nouveau is not loaded\n"
    )


@pytest.mark.parametrize(
    ("problem", "shown"),
    [
        (ChangeError("no room", "df -h"), "provision: no room\nnext: df -h"),
        (ProvisionError("one\ntwo"), "provision: one\ntwo"),
        (ConsentNeeded("a \x1b[2J name"), "provision: a \\x1b[2J name"),
        (ProvisionError(""), "provision: ProvisionError"),
    ],
)
def test_an_error_is_one_message_and_the_next_command(problem: ProvisionError, shown: str) -> None:
    assert text.error(problem) == shown


def test_undone_says_what_was_kept() -> None:
    shown = text.undone(
        Undone(run="0007", when="2026-11-24T07:00:00Z", taken_back=("docker.io",), kept=("/etc/x: changed\x1b",))
    )
    assert shown == "Run 0007 was taken back.\n  taken back  docker.io\n  kept        /etc/x: changed\\x1b\n"


def test_hostile_text_moves_no_cursor_and_starts_no_line(sample: SimpleNamespace) -> None:
    run = sample.hostile_run()
    screens = [
        text.up(run),
        text.proofs(run),
        text.doctor(run.machine, run.results, run.causes),
        text.facts(run.facts),
        text.preview((Change(kind="file", what=sample.HOSTILE, detail="x", needs=sample.HOSTILE),)),
        text.error(ProvisionError("x", sample.HOSTILE)),
    ]
    for shown in screens:
        assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e\ud800-\udfff]", shown)
        assert not re.search(r"^## x", shown, re.MULTILINE)
        shown.encode("utf-8")


def test_every_outcome_of_the_registry_is_counted(sample: SimpleNamespace) -> None:
    last = text.doctor("m", sample.RESULTS, ()).splitlines()[-1]
    assert [part.split()[1] for part in last.split(", ")] == list(check.OUTCOMES)


def test_built_manifest_and_plan_are_short(tmp_path: Path) -> None:
    from provision.building import Image
    from provision.render import Manifest, ManifestFile

    image = Image(
        reference="provision/smoke:cpu",
        image_id="sha256:0",
        size_bytes=3 << 30,
        base="bookworm",
        base_source="bootstrap",
        base_bytes=1 << 30,
        wheels=40,
        wheel_bytes=2 << 30,
        downloaded=0,
        base_reused=False,
        reused=True,
    )
    assert text.built(image) == (
        "provision/smoke:cpu: unchanged, 3 GiB\n  base bookworm (bootstrap, 1 GiB), 40 wheels (2 GiB unpacked)\n"
    )
    file = ManifestFile(source="files/x", destination="/etc/x", section="storage", checks=("STO001",))
    assert text.manifest(Manifest(plan="0" * 64, machine="m", files=(file,)), tmp_path) == (
        f"rendered from plan 000000000000 into {tmp_path}\n  /etc/x  0644  guarded by STO001\n"
    )


def test_one_limit_for_several_measurements_is_not_called_unmeasured() -> None:
    proof = {
        "code": "STO-P1",
        "roadblock": "storage",
        "proved": True,
        "promised": {"seconds": 10.0},
        "measured": {"float32": 0.1, "nf4": 0.2},
        "seconds": 0.0,
    }
    said = text.proofs(Run(machine="gpu-07", proofs=[proof]))  # type: ignore[list-item]
    assert "seconds  promised 10.0 s" in said
    assert "not measured" not in said
