"""A machine without a container engine: what is foreseen there, and what stops before anything is half done."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

WANTED_FILES = ["/etc/docker/daemon.json", "/etc/provision/allocator.env", "/etc/provision/offline.env"]
# A closed port of the machine itself: refused at once, as an unplugged cable is not.
CLOSED = "deb http://127.0.0.1:9/debian bookworm main\n"


@pytest.fixture(scope="module")
def bare(make_fresh) -> Iterator:
    yield from make_fresh("bare")


def test_everything_is_foreseen_and_nothing_changed(bare) -> None:
    before = bare.state()
    changes = bare.drive("preview", str(bare.shared / "1"))["changes"]
    by_kind = {kind: [c["what"] for c in changes if c["kind"] == kind] for kind in ("file", "package", "unit", "image")}
    assert by_kind["file"] == WANTED_FILES
    assert {"docker.io", "python3-apt"} <= set(by_kind["package"])
    assert by_kind["unit"] == ["docker"] and len(by_kind["image"]) == 1
    assert {c["kind"] for c in changes if not c["previewable"]} == {"unit", "image"}
    assert all(c["reason"] for c in changes if not c["previewable"])
    assert all(c["additive"] and c["needs"] is None for c in changes)
    assert bare.state() == before


def test_ansibles_check_mode_runs_where_its_own_bindings_are_missing(bare) -> None:
    before = bare.state()
    results = bare.drive("check", str(bare.shared / "2"))["results"]
    assert {r["item"] or r["task"] for r in results} == {"Make the state folder", "/etc/provision", "/etc/docker"}
    assert bare.state() == before


def test_a_file_that_appeared_since_the_facts_is_left_as_it_is(bare) -> None:
    edit = {"path": "/etc/docker/daemon.json", "text": '{"debug": true}\n'}
    answer = bare.drive("apply", str(bare.shared / "3"), json.dumps({"edit": edit}), check=False)
    assert answer["error"] == "ChangeError"
    assert answer["message"].startswith("/etc/docker/daemon.json has changed since the facts were taken")
    assert bare.run("cat", "/etc/docker/daemon.json").stdout == '{"debug": true}\n'
    assert "dockerd" not in bare.run("ps", "-eo", "comm=").stdout
    assert bare.drive("undo", str(bare.shared / "3"))["kept"] == []
    assert bare.run("cat", "/etc/docker/daemon.json").stdout == '{"debug": true}\n'
    bare.run("rm", "-r", "/etc/docker")


def test_no_network_is_one_message_with_the_way_on(bare) -> None:
    before = bare.state()
    lists = "/var/lib/apt/lists"
    away = f"mkdir /root/apt && mv /etc/apt/sources.list* {lists} /root/apt/ && mkdir -p {lists}/partial"
    back = f"rm -r /etc/apt/sources.list {lists} && mv /root/apt/sources.list* /etc/apt/ && mv /root/apt/lists {lists}"
    bare.run("sh", "-c", f"{away} && printf '{CLOSED}' > /etc/apt/sources.list")
    try:
        answer = bare.drive("apply", str(bare.shared / "4"), check=False)
    finally:
        bare.run("sh", "-c", f"{back} && rmdir /root/apt")
    assert answer["error"] == "ChangeError"
    first, done = answer["message"].splitlines()
    assert "docker.io" in first and "the package index cannot be reached (Failed to fetch http://127.0.0.1:9/" in first
    assert "onnection refused" in first or "onnect to 127.0.0.1:9" in first
    assert done.startswith("Changed until then: ") and "/etc/docker/daemon.json" in done
    assert (
        answer["next"] == "make `sudo apt-get update` succeed, then: provision up; to go back: provision apply --undo 4"
    )
    bare.drive("undo", str(bare.shared / "4"))
    assert bare.state() == before


def test_results_are_one_object_a_line(bare) -> None:
    run: Path = bare.shared / "5"
    answer = bare.drive("apply", str(run), json.dumps({"only": "isolation"}))
    lines = [json.loads(line) for line in (run / "apply.jsonl").read_text().splitlines()]
    assert [x["item"] or x["task"] for x in lines if x["changed"]] == answer["changed"]
    assert answer["changed"][-1] == "/etc/provision/offline.env"
    (offline,) = (x for x in lines if x["item"] == "/etc/provision/offline.env" and x["changed"])
    assert "+HF_HUB_OFFLINE=1" in offline["diff"] and offline["kind"] == "file" and offline["role"] == "isolation"
    assert not {x["role"] for x in lines if x["kind"]} & {"dependencies", "fragmentation"}
    evidence = json.loads((run / "replaced/evidence.json").read_text())
    kept = bare.run("cat", f"/var/lib/provision/runs/{evidence['run']}/evidence.json").stdout
    assert json.loads(kept) == evidence
    assert evidence["plan"] == json.loads((run / "rendered/manifest.json").read_text())["plan"]
    assert evidence["who"] and evidence["when"] and evidence["tool_version"]
    bare.drive("undo", str(run))


def test_a_file_changed_since_the_run_is_kept_and_said(bare) -> None:
    run = bare.shared / "6"
    bare.drive("apply", str(run), json.dumps({"only": "isolation"}))
    bare.run("sh", "-c", "echo mine >> /etc/provision/offline.env")
    undone = bare.drive("undo", str(run))
    assert undone["kept"] == ["/etc/provision/offline.env was changed since the run; it stays as it is"]
    assert bare.run("tail", "-n1", "/etc/provision/offline.env").stdout == "mine\n"
    bare.run("rm", "-r", "/etc/provision")


def test_a_file_that_was_there_comes_back_with_its_mode(bare) -> None:
    run = bare.shared / "7"
    bare.run(
        "sh",
        "-c",
        "mkdir -p /etc/provision; printf 'A=1' > /etc/provision/offline.env; chmod 640 /etc/provision/offline.env",
    )
    before = bare.state()
    assert (
        bare.drive("apply", str(run), json.dumps({"only": "isolation"}))["changed"][-1] == "/etc/provision/offline.env"
    )
    undone = bare.drive("undo", str(run))
    assert "/etc/provision/offline.env" in undone["taken_back"] and undone["kept"] == []
    assert bare.run("cat", "/etc/provision/offline.env").stdout == "A=1"
    assert bare.state() == before
    bare.run("rm", "-r", "/etc/provision")


def test_the_second_run_changes_nothing_and_undoing_both_gives_the_machine_back(bare) -> None:
    before = bare.state()
    first = bare.drive("apply", str(bare.shared / "8"))
    assert {"docker.io", "containerd", "runc", "python3-apt"} <= set(first["added"])
    pid = bare.run("cat", "/var/lib/provision/engine/dockerd.pid").stdout
    second = bare.drive("apply", str(bare.shared / "9"))
    assert second["stats"]["changed"] == 0 and second["changed"] == [] and second["added"] == []
    assert bare.run("cat", "/var/lib/provision/engine/dockerd.pid").stdout == pid
    for run in ("9", "8"):
        assert bare.drive("undo", str(bare.shared / run))["kept"] == []
    assert bare.state() == before
    again = bare.drive("undo", str(bare.shared / "8"), check=False)
    assert again["error"] == "UsageError" and again["message"].startswith("run 8 was taken back already, 2")


def test_undoing_with_the_engine_stopped_looks_on_the_disk(bare) -> None:
    stop = "kill $(cat /var/lib/provision/engine/dockerd.pid); while pgrep -x dockerd; do sleep 0.1; done"
    before = bare.state()
    bare.drive("apply", str(bare.shared / "10"))
    bare.run("sh", "-c", f"{stop}; mkdir -p /var/lib/docker/volumes/mine/_data")
    (kept,) = bare.drive("undo", str(bare.shared / "10"))["kept"]
    assert kept.startswith("/var/lib/docker, ") and kept.endswith(
        " stay: the engine holds 1 volumes that are not of this run"
    )
    assert bare.run("ls", "/var/lib/docker/volumes/mine").stdout == "_data\n"
    assert "docker.io deinstall ok config-files" in bare.run("dpkg-query", "-W", "-f", "${Package} ${Status}\n").stdout
    bare.run("dpkg", "--purge", "docker.io")  # which deletes the engine's data: undoing must leave that to its owner
    assert "mine" not in bare.run("ls", "-R", "/var/lib/docker", check=False).stdout
    bare.run("rm", "-rf", "/var/lib/docker", "/var/lib/containerd", "/etc/docker")
    bare.drive("apply", str(bare.shared / "11"))
    bare.run("sh", "-c", stop)
    assert bare.drive("undo", str(bare.shared / "11"))["kept"] == []
    assert bare.state() == before
