"""A machine that a run has brought to its plan: it stays so, is repaired exactly, and a run that goes wrong says why."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

HOSTILE = "gpu-07 {{ lookup('pipe', 'touch /tmp/executed') }} $(touch /tmp/executed) \"'`"
DRIVE = str(Path(__file__).with_name("drive.py"))
START = "Start the engine as a background process"


@pytest.fixture(scope="module")
def machine(make_fresh) -> Iterator:
    for one in make_fresh("applied"):
        one.first = one.drive("apply", str(one.shared / "1"), json.dumps({"machine": HOSTILE}))
        yield one


def apply(machine, run: str, **options):
    return machine.drive("apply", str(machine.shared / run), json.dumps({"machine": HOSTILE, **options}), check=False)


def engine_answers(machine) -> bool:
    return machine.run("docker", "version", check=False).returncode == 0


def test_the_first_run_installs_starts_and_says_so(machine) -> None:
    assert {"docker.io", "containerd", "runc", "python3-apt"} <= set(machine.first["added"])
    assert machine.first["changed"][-1] == START
    assert machine.first["stats"]["failures"] == 0
    assert engine_answers(machine)
    assert machine.run("stat", "--format=%a", "/var/lib/provision/runs").stdout == "700\n"


def test_a_hostile_name_stays_data(machine) -> None:
    assert machine.run("ls", "/tmp/executed", check=False).returncode != 0
    assert json.loads((machine.shared / "1/replaced/evidence.json").read_text())["machine"] == HOSTILE


def test_exactly_what_was_altered_by_hand_is_repaired(machine) -> None:
    machine.run(
        "sh", "-c", "echo HF_HUB_OFFLINE=0 > /etc/provision/offline.env; chmod 600 /etc/provision/allocator.env"
    )
    machine.run("apt-get", "purge", "--yes", "-qq", "python3-apt")
    machine.run(
        "sh", "-c", "kill $(cat /var/lib/provision/engine/dockerd.pid); while pgrep -x dockerd; do sleep 0.1; done"
    )
    changes = machine.drive("preview", str(machine.shared / "3"), json.dumps({"machine": HOSTILE}))["changes"]
    foreseen = [(c["kind"], c["what"]) for c in changes if c["kind"] != "image"]
    assert foreseen == [
        ("file", "/etc/provision/allocator.env"),
        ("file", "/etc/provision/offline.env"),
        ("package", "python3-apt"),
        ("unit", "docker"),
    ]
    assert all(c["additive"] for c in changes)
    answer = apply(machine, "3")
    assert answer["changed"] == [
        "/etc/provision/allocator.env",
        "/etc/provision/offline.env",
        "Install the bindings that the package module stands on",
        START,
    ]
    assert engine_answers(machine)


def test_changed_settings_are_taken_up_even_when_the_run_that_wrote_them_was_killed(machine) -> None:
    settings = json.dumps({"bridge": "none", "iptables": False, "labels": ["provision.test=1"]}, indent=2) + "\n"
    run = machine.shared / "4"
    options = json.dumps({"machine": HOSTILE, "dependencies": {"daemon_json": settings}})
    with machine.popen(sys.executable, DRIVE, "apply", str(run), options) as tool:
        wait_until(lambda: "provision.test" in machine.run("cat", "/etc/docker/daemon.json").stdout)
        machine.run("pkill", "-KILL", "-f", f"drive.py apply {run}")
        tool.communicate()
    wait_until(lambda: "ansible-playbook" not in machine.run("ps", "-eo", "args=").stdout)
    assert "provision.test" not in machine.run("docker", "info", "--format", "{{.Labels}}").stdout
    answer = apply(machine, "5", dependencies={"daemon_json": settings})
    assert answer["changed"] == ["Stop the engine without an init system", START] or START in answer["changed"]
    assert "/etc/docker/daemon.json" not in answer["changed"]
    assert "provision.test=1" in machine.run("docker", "info", "--format", "{{.Labels}}").stdout


def test_an_engine_that_does_not_start_gives_its_own_reason(machine) -> None:
    broken = json.dumps({"bridge": "none", "iptables": False, "no-such-setting": 1}) + "\n"
    answer = apply(machine, "6", dependencies={"daemon_json": broken})
    assert answer["error"] == "ChangeError"
    first, done = answer["message"].splitlines()
    assert first.startswith("The container engine does not start: ") and "no-such-setting" in first
    assert "/etc/docker/daemon.json" in done
    assert answer["next"].endswith("to go back: provision apply --undo 6")
    undone = machine.drive("undo", str(machine.shared / "6"))
    assert "/etc/docker/daemon.json" in undone["taken_back"]
    assert "no-such-setting" not in machine.run("cat", "/etc/docker/daemon.json").stdout
    assert apply(machine, "7")["changed"][-1] == START
    assert engine_answers(machine)


def test_ctrl_c_ends_between_two_steps_and_keeps_the_evidence(machine) -> None:
    machine.run("rm", "/etc/provision/offline.env")
    run = machine.shared / "8"
    options = json.dumps({"machine": HOSTILE})
    with machine.popen(sys.executable, DRIVE, "apply", str(run), options) as tool:
        wait_until(
            lambda: (run / "ansible/results.jsonl").exists() and (run / "ansible/results.jsonl").stat().st_size > 0
        )
        machine.run("pkill", "-INT", "-f", f"^{sys.executable} .*drive.py apply {run}")
        out, err = tool.communicate(timeout=60)
    assert json.loads(out.splitlines()[-1]) == {"error": "KeyboardInterrupt"}
    assert "ending after the running step" in err
    assert (run / "replaced/after.json").exists() and (run / "apply.jsonl").exists()
    assert not (run / "ansible").exists()
    assert not any(json.loads(line)["failed"] for line in (run / "apply.jsonl").read_text().splitlines())
    assert apply(machine, "9")["changed"] == ["/etc/provision/offline.env"]


def wait_until(condition, seconds: float = 60.0) -> None:
    """Poll a real condition; no test asserts how long it took."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it never came"
        time.sleep(0.1)
