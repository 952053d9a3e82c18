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
