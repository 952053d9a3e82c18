"""``provision up`` from a bare machine to a proven container, again, and after hands other than ours."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from provision import image

from .conftest import Ended, Road

pytestmark = [pytest.mark.engine, pytest.mark.network]
PROOFS = 10
LEFT = {
    *("apply.jsonl", "facts.json", "findings.json", "image.json", "plan.json", "preview.json", "proof.jsonl"),
    *("rendered", "replaced", "report.html", "run.json", "spec.json"),
}


def changed(road: Road) -> list[str]:
    """What Ansible changed in the latest run, each thing or task once."""
    return list(dict.fromkeys(line["item"] or line["task"] for line in road.read("apply.jsonl") if line["changed"]))


def test_the_first_run_ends_with_every_promised_proof_in_print_and_on_record(first: tuple[Road, Ended]) -> None:
    road, done = first
    assert done.code == 0, done.out[-3000:] + done.err[-3000:]
    run = road.runs[0]
    promised = [p["code"] for p in road.read("plan.json", run)["proofs"]]
    proofs = road.read("proof.jsonl", run)
    assert len(promised) == PROOFS and [p["code"] for p in proofs] == promised
    assert all(p["proved"] is True and p["seconds"] >= 0 for p in proofs)
    assert [code for code in promised if f"\n  proved {code} " not in done.out] == []
    assert f"{PROOFS} of {PROOFS} promised proofs hold" in done.out
    assert "failures=0" in done.out and "GPU path: not yet run on hardware" in done.out


def test_the_run_directory_is_complete_and_every_file_has_its_schema(first: tuple[Road, Ended]) -> None:
    road, _ = first
    run = road.runs[0]
    assert {p.name for p in run.iterdir()} == LEFT
    documents = [*run.glob("*.json"), run / "rendered/manifest.json", *run.glob("replaced/*.json")]
    assert [p.name for p in documents if json.loads(p.read_text()).get("schema") != 1] == []
    for name in ("apply.jsonl", "proof.jsonl"):
        assert {line["schema"] for line in road.read(name, run)} == {1}
    said = road.read("run.json", run)
    assert (said["command"], said["exit"]) == ("up", 0) and said["ended"] >= said["applied"] >= said["started"]
    assert said["plan"] == road.read("rendered/manifest.json", run)["plan"]
    assert said["consent"] == {"terminal": False, "yes": False, "allow": []}


def test_the_image_is_small_and_holds_nothing_it_should_not(first: tuple[Road, Ended]) -> None:
    road, _ = first
    made = road.read("image.json", road.runs[0])
    assert made["size_bytes"] <= image.size_budget(made["base_bytes"], made["wheel_bytes"])
    (seen,) = json.loads(road.docker("image", "inspect", made["reference"]))
    assert seen["Id"] == made["image_id"] and seen["Size"] == made["size_bytes"]
    assert seen["Config"]["User"] == "10001:10001"
    labels = seen["Config"]["Labels"]
    assert labels["io.provision.lock"] == road.read("plan.json", road.runs[0])["dependencies"]["lock_sha256"]
    assert labels["io.provision.unfinished"] == "no"
    (base,) = json.loads(road.docker("image", "inspect", made["base"]))
    dockerfile = (road.runs[0] / "rendered/image/Dockerfile").read_text()
    # Every variable is the base's or the Dockerfile's own: none of the host's (proxies, indexes, tokens) came along.
    added = set(seen["Config"]["Env"]) - set(base["Config"]["Env"])
    assert [e for e in added if f"{e.partition('=')[0]}=" not in dockerfile] == []
    # No stage, no dangling layer and no container is left: the base and the image are all that the engine has.
    assert len(road.docker("images", "--quiet", "--filter", "dangling=true").split()) == 0
    assert road.docker("ps", "--all", "--quiet") == ""
    found = inside(
        road,
        made["reference"],
        "for c in gcc cc g++ c++ clang ld as make pip pip3; do command -v $c; done; "
        "find / -xdev ( -name 'libcuda.so*' -o -name 'libnvidia-ml.so*' -o -name 'pip.conf' -o -name '.netrc' "
        "-o -name '*.pem' -path '*/private/*' -o -name 'id_rsa*' )".replace("(", "\\(").replace(")", "\\)"),
    )
    assert found == ""


def inside(road: Road, reference: str, script: str) -> str:
    """What a shell in the image prints, as root, so that nothing is hidden from it."""
    return road.docker(
        "run", "--rm", "--network=none", "--user=0", "--entrypoint=sh", reference, "-c", f"{script} 2>/dev/null; true"
    )


def test_the_second_run_changes_nothing(road: Road) -> None:
    before = road.docker("images", "--no-trunc", "--format", "{{.Repository}}:{{.Tag}} {{.ID}}")
    plan = road.read("plan.json")
    done = road.provision("up")
    assert done.code == 0, done.err
    assert "changed=0" in done.out and changed(road) == []
    assert road.read("preview.json")["changes"] == []
    assert road.docker("images", "--no-trunc", "--format", "{{.Repository}}:{{.Tag}} {{.ID}}") == before
    assert road.read("image.json")["reused"] is True
    # Planning after applying: the facts are others now (an engine, an image), the plan is the same.
    assert road.read("plan.json") == plan
    assert road.read("run.json")["plan"] == road.read("run.json", road.runs[0])["plan"]


def test_what_was_altered_by_hand_is_reported_and_repaired_and_nothing_else(road: Road) -> None:
    road.machine.run("sh", "-c", "echo HF_HUB_OFFLINE=0 > /etc/provision/offline.env")
    road.machine.run("apt-get", "purge", "--yes", "-qq", "mmdebstrap")
    road.stop_engine()
    done = road.provision("up")
    assert done.code == 0, done.err
    foreseen = [(c["kind"], c["what"]) for c in road.read("preview.json")["changes"] if c["kind"] != "image"]
    assert foreseen == [("file", "/etc/provision/offline.env"), ("package", "mmdebstrap"), ("unit", "docker")]
    said = done.out.partition("\nproved\n")[0]
    assert all(what in said for _, what in foreseen) and "-HF_HUB_OFFLINE=0" in said
    repaired = changed(road)
    assert repaired[0] == "/etc/provision/offline.env" and "mmdebstrap" in repaired[1]
    assert repaired[2:] == ["Start the engine as a background process"]
    assert road.read("image.json")["reused"] is True
    assert road.machine.run("dpkg-query", "--show", "mmdebstrap").stdout


# --- each stage alone -------------------------------------------------------------------------------------------------


def test_doctor_alone_speaks_json(road: Road) -> None:
    done = road.provision("doctor", "--format", "json")
    said = json.loads(done.out)
    assert done.code == 0 and done.err == ""
    assert (said["schema"], said["machine"]) == (1, "road")
    assert sum(said["summary"].values()) == len(said["results"]) > 0
    assert not [
        r["code"] for r in said["results"] if r["severity"] == "error" and r["outcome"] not in ("ok", "skipped")
    ]
    # The image was looked into, through its layers, and is its lock.
    assert [r["outcome"] for r in said["results"] if r["code"] == "DEP072"] == ["ok"]


def test_doctor_hashes_what_is_in_the_image(road: Road) -> None:
    done = road.provision("doctor", "--files", "--select", "DEP073", "--format", "json")
    (result,) = json.loads(done.out)["results"]
    image = road.read("image.json")["reference"]
    said = next(line for line in done.err.splitlines() if line.startswith(f"{image}: "))
    assert int(said.split()[1]) > 10_000 and "not finished" not in said  # torch alone has more files
    # The Python that runs these tests is looked at too, and may have been edited.
    assert (done.code, result["reason"]) == (0, "")
    assert not [one["message"] for one in result["findings"] if image in one["message"]]


def test_doctor_with_a_finding_ends_with_1(road: Road) -> None:
    """An error that a plan promises against: eight GPUs expected, none here."""
    (road.folder / "gpus.toml").write_text('[machine]\nname = "road"\n[expect]\ngpus = 8\n')
    done = road.provision("doctor", "--spec", "gpus.toml", "--format", "json")
    assert done.code == 1
    assert [r["severity"] for r in json.loads(done.out)["results"] if r["outcome"] == "found"].count("error") == 1


def test_explain_alone_has_every_page(road: Road) -> None:
    done = road.provision("explain", "--all")
    assert done.code == 0 and done.err == ""
    codes = {r["code"] for r in road.read("findings.json")["results"]}
    assert codes and not [code for code in codes if code not in done.out]


def test_plan_render_build_and_verify_alone(road: Road) -> None:
    plan = road.read("plan.json")
    planned = road.provision("plan", "--json")
    assert planned.code == 0 and json.loads(planned.out) == plan
    run = road.runs[-1]
    assert {p.name for p in run.iterdir()} == {"facts.json", "findings.json", "plan.json", "run.json", "spec.json"}
    rendered = road.provision("render")
    assert rendered.code == 0 and "/etc/docker/daemon.json" in rendered.out
    assert contents(run / "rendered") == contents(road.runs[0] / "rendered")
    built = road.provision("build")
    assert built.code == 0 and road.read("image.json")["reused"] is True
    verified = road.provision("verify")
    assert verified.code == 0, verified.err
    assert f"{PROOFS} of {PROOFS} promised proofs hold" in verified.out
    assert [p["proved"] for p in road.read("proof.jsonl")] == [True] * PROOFS


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@pytest.mark.parametrize("command", ["render", "build", "verify"])
def test_a_stage_without_a_run_names_the_command_that_makes_one(road: Road, command: str) -> None:
    (road.folder / "other.toml").write_text('[machine]\nname = "other"\n')
    done = road.provision(command, "--spec", "other.toml")
    assert done.code == 2 and done.out == ""
    assert "no run of 'other'" in done.err and "provision plan" in done.err
