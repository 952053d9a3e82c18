"""A bare Debian machine for each test, in a second: this machine's own root behind an overlay, in namespaces of its own.

Whatever a test does there (packages, files, a container engine) is gone with it and never reaches this machine. The
container engine and its bindings are removed first, ``/run`` is empty, processes are its own; the network is shared,
because the package index is needed.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
# Process 1 of the machine: builds its root, says so, and buries the dead until it is killed.
FIRST = HERE / "first_process.py"
BARE_WITHOUT = (
    "docker.io",
    "docker-ce",
    "containerd",
    "containerd.io",
    "runc",
    "python3-apt",
    "debootstrap",
    "mmdebstrap",
    "iptables",
)


class FreshMachine:
    """Processes, files and packages of its own. ``shared`` is a folder that is the same inside and outside."""

    def __init__(self, shared: Path) -> None:
        self.shared = shared
        self.upper = shared / "changes"
        folders = [str(p) for p in (ROOT, sys.prefix, sys.base_prefix)]
        command = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "--propagation", "private"]
        self._process = subprocess.Popen(
            [*command, "/usr/bin/python3", "-I", str(FIRST), str(shared), *folders],
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == "ready\n"
        children = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children").read_text().split()
        self._enter = ["nsenter", "--target", children[0], "--mount", "--pid", "--root", "--wd=/"]

    def run(self, *command: str, check: bool = True, **environment: str) -> subprocess.CompletedProcess[str]:
        """A command inside."""
        done = subprocess.run(
            [*self._enter, *command], capture_output=True, text=True, env={**os.environ, **environment}, check=False
        )
        assert not check or done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
        return done

    def popen(self, *command: str) -> subprocess.Popen[str]:
        """A command inside that the test talks to."""
        return subprocess.Popen([*self._enter, *command], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def drive(self, *arguments: str, check: bool = True) -> dict[str, Any]:
        """``drive.py`` inside: the tool's own functions on the fresh machine. Its last line is the answer."""
        done = self.run(sys.executable, str(HERE / "drive.py"), *arguments, check=False, PYTHONPATH=str(ROOT))
        assert done.stdout.strip(), done.stderr
        answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
        answer["progress"] = done.stderr
        assert not check or "error" not in answer, answer
        return answer

    def state(self) -> dict[str, Any]:
        """What undo must bring back: packages, files that matter, processes."""
        packages = self.run("dpkg-query", "--show", "--showformat=${Package} ${Version} ${db:Status-Status}\n").stdout
        tree = self.run(
            "sh",
            "-c",
            "find /etc /var/lib /opt /usr/local -xdev -newer /etc/hostname >/dev/null; find /etc /var/lib/docker /var/lib/containerd /var/lib/provision -xdev 2>/dev/null | sort; true",  # noqa: E501
        ).stdout
        processes = self.run("ps", "-eo", "comm=").stdout.split()
        return {
            "packages": [p for p in packages.splitlines() if p.endswith(" installed")],
            "files": tree.splitlines(),
            "engine": sorted({"dockerd", "containerd"} & set(processes)),
        }

    def close(self) -> None:
        self._process.kill()  # --kill-child takes process 1 with it, and the kernel everything else inside
        self._process.wait()


@pytest.fixture(scope="session")
def can_make_machines() -> None:
    """Root, namespaces and Debian, or the test is skipped."""
    if os.geteuid() != 0 or not Path("/etc/debian_version").exists():
        pytest.skip("no fresh machine: needs root on Debian or Ubuntu")


@pytest.fixture
def fresh(can_make_machines: None, tmp_path: Path) -> Iterator[FreshMachine]:
    """A machine without a container engine and without Ansible's package bindings."""
    machine = FreshMachine(tmp_path)
    try:
        here = machine.run("dpkg-query", "--show", "--showformat=${Package}\n").stdout.split()
        gone = [name for name in BARE_WITHOUT if name in here]
        if gone:
            machine.run("apt-get", "purge", "--yes", "-qq", *gone, DEBIAN_FRONTEND="noninteractive")
        yield machine
    finally:
        machine.close()
