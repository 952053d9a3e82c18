"""A real Docker engine with wrong settings: started in namespaces of its own, with its data in memory.

Its folders are covered and its network is its own; the machine's engine, where there is one, is not touched.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from .rooms import COVER, ROOT, doctor, outcomes

pytestmark = pytest.mark.skipif(
    not ROOT or shutil.which("dockerd") is None, reason="needs root and a Docker engine's program"
)
SPACES = "mnpf"
ROOM = f"""
mount -t proc proc /proc; mount -t tmpfs tmpfs /run; {COVER}
cover /etc; cover /var/lib; mkdir -p /etc/docker /var/lib/docker; mount -t tmpfs tmpfs /var/lib/docker
rm -f /etc/docker/daemon.json; ip link set lo up
"""
HOST = "unix:///run/docker.sock"


def started(settings: dict[str, Any], *options: str, socket: str = HOST) -> str:
    """Shell lines that start the engine with these settings and wait until it answers."""
    words = " ".join(options)
    return f"""{ROOM}
cat > /etc/docker/daemon.json <<'END'
{json.dumps({"iptables": False, "bridge": "none", "storage-driver": "vfs", **settings})}
END
dockerd -H {socket} {words} >/run/engine.log 2>&1 &
for _ in $(seq 200); do docker -H {socket} version >/dev/null 2>&1 && break; sleep 0.1; done
docker -H {socket} version >/dev/null || {{ tail -5 /run/engine.log >&2; exit 9; }}
"""


def run(*containers: str) -> str:
    """Shell lines that make an image of this machine's own sleep and run containers of it: each its ``docker run`` words."""
    commands = "\n".join(f"docker run -d --network none {words} sleep 60 >/dev/null" for words in containers)
    return f"""
mkdir -p /run/image/bin; cp /bin/sleep /run/image/bin/
for library in $(ldd /bin/sleep | grep -o '/[^ ]*'); do
    mkdir -p /run/image/$(dirname $library)
    cp -L $library /run/image$library
done
tar -C /run/image -c . | docker import - models:latest >/dev/null
docker tag models:latest models:1
{commands}
"""


def test_an_engine_that_keeps_nothing_and_copies_every_layer() -> None:
    found = doctor("AUD001", "STO006", "DEP005", before=started({"log-driver": "none"}), spaces=SPACES)
    assert outcomes(found) == {"AUD001": "found", "STO006": "found", "DEP005": "ok"}
    assert found["AUD001"][1] == ['the engine\'s log driver is "none"; the plan keeps logs with "local"']


@pytest.mark.parametrize(("options", "outcome"), [({}, "found"), ({"max-size": "20m"}, "ok")])
def test_an_engine_whose_logs_grow_without_a_limit(options: dict[str, str], outcome: str) -> None:
    settings = {"log-driver": "json-file", "log-opts": options}
    assert outcomes(doctor("AUD002", before=started(settings), spaces=SPACES)) == {"AUD002": outcome}


def test_an_engine_that_listens_to_everybody() -> None:
    before = started({}, "-H tcp://0.0.0.0:2375") + "groupadd -f docker; chgrp docker /run/docker.sock\n"
    before += "useradd -M -G docker somebody\n"
    found = doctor("ISO001", "ISO056", before=before, spaces=SPACES)
    assert outcomes(found) == {"ISO001": "found", "ISO056": "found"}


def test_an_engine_that_listens_elsewhere() -> None:
    found = doctor("DEP005", before=started({}, socket="unix:///run/elsewhere.sock"), spaces=SPACES)
    assert found["DEP005"][0] == "found"
    assert found["DEP005"][1][0].startswith("the Docker engine runs and cannot be asked: ")


def test_an_engine_that_was_stopped() -> None:
    assert outcomes(doctor("DEP004", before=ROOM, spaces=SPACES)) == {"DEP004": "found"}
    assert outcomes(doctor("DEP004", before=started({}), spaces=SPACES)) == {"DEP004": "ok"}


def test_settings_that_are_no_json_and_settings_that_are_not_the_plans(tmp_path: Path) -> None:
    broken = f'{ROOM}\necho \'{{"data-root": "/srv",}}\' > /etc/docker/daemon.json\n'
    found = doctor("DEP006", "DEP007", before=broken, spaces=SPACES, cwd=tmp_path)
    assert outcomes(found) == {"DEP006": "found", "DEP007": "unknown"}  # no plan is made over what cannot be read
    other = f"{ROOM}\necho '{{\"live-restore\": true}}' > /etc/docker/daemon.json\n"
    found = doctor("DEP006", "DEP007", before=other, spaces=SPACES, cwd=tmp_path)
    assert outcomes(found) == {"DEP006": "ok", "DEP007": "found"}


def test_containers_that_hold_the_socket_and_do_not_come_back() -> None:
    bridge = "ip link add bridge0 type bridge; ip addr add 10.9.8.1/24 dev bridge0\n"
    before = started({"bridge": "bridge0"}).replace("dockerd -H", f"{bridge}dockerd -H", 1)
    before += run("-v /run/docker.sock:/run/docker.sock --name inside models:1")
    before += "docker run -d -p 8000:8000 --name serves models sleep 60 >/dev/null\n"  # through the engine's own proxy
    codes = ("ISO058", "ROL003", "ROL051", "ROL055")
    found = doctor(*codes, before=before, spaces=SPACES)
    assert outcomes(found) == dict.fromkeys(codes, "found")
    assert found["ROL051"][1] == ["the container serves serves on port 8000 and has no restart policy"]


def test_an_image_of_another_lock_and_none_at_all(tmp_path: Path) -> None:
    """The planned name is read from the finding that it is not there, and given to an image with another label."""
    found = doctor("ROL001", "ROL002", before=started({}), spaces=SPACES, cwd=tmp_path)
    assert outcomes(found) == {"ROL001": "skipped", "ROL002": "found"}
    name = found["ROL002"][1][0].removeprefix("there is no image ")
    label = "LABEL io.provision.lock.sha256=0123456789abcdef"
    made = f"echo | tar -c -T - | docker import --change '{label}' - {name} >/dev/null\n"
    found = doctor("ROL001", "ROL002", before=started({}) + made, spaces=SPACES, cwd=tmp_path)
    assert outcomes(found) == {"ROL001": "found", "ROL002": "ok"}


def test_two_engines_a_node_agent_and_packages_left_half_way() -> None:
    """dpkg itself writes its status: packages without content, built here."""
    build = """
    for name in docker.io docker-ce kubelet nginx; do
        mkdir -p /run/$name/DEBIAN
        printf 'Package: %s\\nVersion: 1:99\\nArchitecture: all\\nMaintainer: x <x@x.example>\\nDescription: x\\n' $name \
            > /run/$name/DEBIAN/control
        dpkg-deb -b /run/$name /run/$name.deb >/dev/null
    done
    dpkg -i --force-all /run/docker.io.deb /run/docker-ce.deb /run/kubelet.deb >/dev/null 2>&1
    """
    found = doctor("DEP002", "DEP003", before=f"{ROOM}\ncover /usr\n{build}", spaces=SPACES)
    assert outcomes(found) == {"DEP002": "found", "DEP003": "found"}
    half = "(dpkg --unpack --force-all /run/nginx.deb; dpkg --remove --force-all docker.io docker-ce) >/dev/null 2>&1 || true"
    found = doctor("DEP011", "DEP012", before=f"{ROOM}\ncover /usr\n{build}{half}", spaces=SPACES)
    assert outcomes(found) == {"DEP011": "found", "DEP012": "found"}
