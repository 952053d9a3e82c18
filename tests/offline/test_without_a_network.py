"""A bare Debian, a bundle, and no network: brought up, proven, looked at, and nothing left the machine meanwhile.

The order is the story: refused, interrupted, brought up, repeated, used; then the counter is read, and only then something
is planted again, from inside a container.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
from pathlib import Path
from typing import Any

import pytest

from ..road.conftest import Ended, wait_until
from .conftest import Bed, Bundle

pytestmark = [pytest.mark.engine, pytest.mark.network]
PROOFS = 10
STATE = "/var/lib/provision"
SITE = f"{STATE}/site"
CONTENT = f"{STATE}/bundles/current/content"
# What the machine's own apt is configured by, and what it knows of its own sources.
OF_APT = "find /etc/apt /var/lib/apt/lists -type f -exec sha256sum {} + | sort; ls -lR /etc/apt"


@pytest.fixture(scope="module")
def before(bed: Bed) -> str:
    """The machine's own apt before anything was brought."""
    return bed.run("sh", "-c", OF_APT).out


@pytest.fixture(scope="module")
def first(bed: Bed, bundle: Bundle, before: str) -> Ended:
    """The one command on the bare machine, after it was interrupted."""
    return bed.run(*bundle.command("install"))


def read(bed: Bed, name: str) -> Any:
    text = bed.run("cat", f"{SITE}/.provision/offline/latest/{name}").out
    return [json.loads(line) for line in text.splitlines()] if name.endswith("jsonl") else json.loads(text)


# --- refused ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("what", ["a wheel's last byte", "a package's first byte", "cut off", "another signer"])
def test_a_bundle_that_is_not_as_signed_installs_nothing(bed: Bed, bundle: Bundle, before: str, what: str) -> None:
    bad = bundle.file.with_name("bad.bundle")
    shutil.copy(bundle.file, bad)
    signers = bundle.signers
    if what == "another signer":
        signers = bundle.another_signers
    elif what == "cut off":
        with bad.open("r+b") as file:
            file.truncate(bundle.file.stat().st_size - 512)
    else:
        member, place = {
            "a wheel's last byte": ("cache/wheels/torch-", -1),
            "a package's first byte": ("debs/docker.io_", 0),
        }[what]
        at = bundle.offset(member, place)
        with bad.open("r+b") as file:
            file.seek(at)
            byte = file.read(1)
            file.seek(at)
            file.write(bytes([byte[0] ^ 1]))
    done = bed.run(*bundle.command("install", file=bad, signers=signers))
    bad.unlink()
    assert done.code == 4, done.err
    assert "Traceback" not in done.err and done.out == ""
    assert bed.run("ls", "-d", STATE, "/usr/local/bin/provision").out == ""


def test_a_bundle_for_another_machine_is_refused_with_both_named(bed: Bed, bundle: Bundle) -> None:
    bed.run(
        "sh",
        "-c",
        "sed 's/bookworm/trixie/' /etc/os-release > /tmp/os-release; mount --bind /tmp/os-release /etc/os-release",
    )
    try:
        done = bed.run(*bundle.command("install"))
    finally:
        bed.run("umount", "/etc/os-release")
    assert done.code == 4 and "Debian release: the bundle is for bookworm, this machine has trixie" in done.err
    assert bed.run("ls", "-d", STATE).out == ""


# --- interrupted ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("where", "how"),
    [
        ("/var/lib/provision/bundles/*/.content.*.part/cache/wheels/torch-*", signal.SIGKILL),
        ("/var/lib/provision/bundles/*/.content.*.part/debs/*", signal.SIGINT),
        ("/var/lib/provision/bundles/*/venv/lib/python3*/site-packages/ansible", signal.SIGKILL),
    ],
    ids=["unpacking, killed", "unpacking, Ctrl-C", "installing the tool, killed"],
)
def test_interrupted_the_same_command_goes_on(bed: Bed, bundle: Bundle, where: str, how: signal.Signals) -> None:
    """Each leaves something half-made for the next one; the last for the installation proper."""
    with bed.begin(*bundle.command("install", "--only-unpack")) as run:
        wait_until(lambda: bed.run("sh", "-c", f"ls -d {where}").code == 0 or run.poll() is not None)
        # What runs there is the child of the program that entered the machine.
        (child,) = Path(f"/proc/{run.pid}/task/{run.pid}/children").read_text().split()
        os.kill(int(child), how)
        out, err = run.communicate(timeout=60)
    assert run.returncode != 0, out + err
    assert bed.run("sh", "-c", f"ls {STATE}/bundles/*/venv/finished").code != 0


# --- brought up -------------------------------------------------------------------------------------------------------


def test_the_first_run_ends_with_every_promised_proof(bed: Bed, first: Ended) -> None:
    assert first.code == 0, first.out[-3000:] + first.err[-3000:]
    proofs = read(bed, "proof.jsonl")
    assert [p["code"] for p in proofs if p["proved"] is not True] == [] and len(proofs) == PROOFS
    assert f"{PROOFS} of {PROOFS} promised proofs hold" in first.out and "failures=0" in first.out
    assert read(bed, "image.json")["downloaded"] == 0
    print(f"install and road: {first.seconds:.0f} s")


def test_every_package_came_from_the_bundle_and_apt_is_as_it_was(bed: Bed, first: Ended, before: str) -> None:
    assert bed.run("sh", "-c", OF_APT).out == before
    shown = bed.run("apt-cache", "policy", "docker.io").out
    assert "file:" not in shown, "the machine's own apt knows nothing of the bundle"


def test_the_second_time_nothing_changes(bed: Bed, bundle: Bundle, first: Ended) -> None:
    # All but what apt and the wheelhouse write each time: a cache, a lock and the line that names pip.
    left_out = "-not -path '*/apt/cache/*' -not -name installer.txt -not -name .lock"
    look = f"find {STATE}/bundles /usr/local/bin/provision \\( -type f -o -type l \\) {left_out} -printf '%p %T@ %s %l\\n' | sort"
    untouched = bed.run("sh", "-c", look).out
    images = bed.run("docker", "images", "--no-trunc", "--format", "{{.Repository}}:{{.Tag}} {{.ID}}").out
    done = bed.run(*bundle.command("install"))
    assert done.code == 0, done.err
    assert "changed=0" in done.out and [line for line in read(bed, "apply.jsonl") if line["changed"]] == []
    assert bed.run("sh", "-c", look).out == untouched
    assert bed.run("docker", "images", "--no-trunc", "--format", "{{.Repository}}:{{.Tag}} {{.ID}}").out == images
    print(f"again: {done.seconds:.0f} s")


def test_a_member_that_was_altered_since_is_put_right(bed: Bed, bundle: Bundle, first: Ended) -> None:
    bed.run("sh", "-c", f"echo >> {CONTENT}/sbom.cdx.json")
    done = bed.run(*bundle.command("install", "--only-unpack"))
    assert done.code == 0 and "is not as it was bundled; unpacking again" in done.err
    again = bed.run(*bundle.command("install", "--only-unpack"))
    assert again.code == 0 and "unpacking" not in again.err


# --- used -------------------------------------------------------------------------------------------------------------


def test_doctor_works_there(bed: Bed, first: Ended) -> None:
    done = bed.run("env", "-C", SITE, "provision", "doctor", "--format", "json")
    said = json.loads(done.out)
    assert done.code == 0 and said["machine"] == "offline"
    assert not [r for r in said["results"] if r["outcome"] == "crashed"]


def test_fit_works_there(bed: Bed, first: Ended) -> None:
    done = bed.run("provision", "fit", "--model", "Qwen3-8B", "--gpu", "RTX 4090", "--json")
    assert done.code == 0 and json.loads(done.out)["fits"] is True


def test_lock_check_says_what_it_cannot_look_at(bed: Bed, first: Ended) -> None:
    done = bed.run("provision", "lock", "--check")
    assert done.code == 2 and "this is an installed copy" in done.err


def test_what_the_bundle_lacks_is_an_error_in_seconds_not_a_wait(bed: Bed, first: Ended) -> None:
    """A lock whose wheels were not brought, as on a machine with another card than the bundle was made for."""
    bed.run("sh", "-c", f"mv {CONTENT}/cache/wheels/numpy-* /root/")
    try:
        done = bed.run("env", "-C", SITE, "provision", "build")
    finally:
        bed.run("sh", "-c", f"mv /root/numpy-* {CONTENT}/cache/wheels/")
    assert done.code == 4 and "numpy" in done.err, done.err


# --- counted ----------------------------------------------------------------------------------------------------------


def test_nothing_has_left_the_machine(bed: Bed, first: Ended) -> None:
    """Since what was planted before the first command, this suite's own steps included."""
    assert first.code == 0
    assert bed.sink.since(bed.start) == []


def test_what_a_container_sends_would_have_been_counted(bed: Bed, first: Ended) -> None:
    image = read(bed, "image.json")["base"]
    mark = bed.sink.mark()
    line = "import socket\ntry: socket.create_connection(('198.51.100.8', 443), 1)\nexcept OSError: pass"
    script = f"{line}\ntry: socket.getaddrinfo('planted.example', 443)\nexcept OSError: pass"
    done = bed.run("docker", "run", "--rm", image, "python3", "-c", script)
    assert done.code == 0, done.err
    left = bed.sink.since(mark)
    assert {("tcp", "198.51.100.8")} <= {(p.what, p.address) for p in left}
    assert "planted.example" in {p.name for p in left}


def test_the_run_can_be_taken_back(bed: Bed, first: Ended) -> None:
    mark = bed.sink.mark()
    done = bed.run("env", "-C", SITE, "provision", "apply", "--undo", "0001")
    assert done.code == 0, done.err
    assert "was taken back" in done.out
    assert "installed" not in bed.run("dpkg-query", "--show", "--showformat=${db:Status-Status}", "docker.io").out
    assert bed.sink.since(mark) == []
