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
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
# Process 1 of the machine: builds its root, says so, and buries the dead until it is killed.
FIRST = HERE / "first_process.py"
BARE_WITHOUT = (
    *("docker.io", "docker-ce", "containerd", "containerd.io", "runc", "iptables"),
    *("python3-apt", "debootstrap", "mmdebstrap"),
)
# What an earlier run of this tool, or another engine, may have left on the machine below.
BARE_OF = ("/etc/docker", "/etc/provision", "/var/lib/provision", "/var/lib/docker", "/var/lib/containerd")
LOOKED_AT = ("/etc", "/opt", "/var/lib/docker", "/var/lib/containerd", "/var/lib/provision")
# Caches and backups that every installation rewrites, and dpkg's record of what it once enabled.
CHANGED_BY_ANY_INSTALLATION = ("/etc/ld.so.cache", "/etc/group-", "/etc/gshadow-")


class FreshMachine:
    """Processes, files and packages of its own. ``shared`` is a folder that is the same inside and outside.

    ``also``: more such folders. ``own_network``: interfaces and firewall of its own too, with nothing but loopback.
    ``below``: another system's root instead of this machine's; then nothing of this checkout is to be seen there.
    """

    def __init__(
        self, shared: Path, also: tuple[Path, ...] = (), *, own_network: bool = False, below: Path | None = None
    ) -> None:
        self.shared = shared
        self.environment: dict[str, str] = {}
        shares = os.pathsep.join(map(str, (shared, *also)))
        folders = [] if below else [str(p) for p in (ROOT, sys.prefix, sys.base_prefix)]
        namespaces = ["--mount", "--pid", *(["--net"] if own_network else [])]
        # It ends with the tests, however they end: a suite that was killed must not leave machines behind.
        dies = ["setpriv", "--pdeathsig", "KILL"]
        command = [*dies, "unshare", *namespaces, "--fork", "--kill-child", "--propagation", "private"]
        self._process = subprocess.Popen(
            [*command, "/usr/bin/python3", "-I", str(FIRST), str(below or "/"), shares, *folders],
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == "ready\n"
        children = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children").read_text().split()
        self.first = int(children[0])
        self._enter = ["nsenter", "--target", children[0], *namespaces, "--root", "--wd=/"]

    def run(self, *command: str, check: bool = True, **environment: str) -> subprocess.CompletedProcess[str]:
        """A command inside."""
        done = subprocess.run(
            [*self._enter, *command],
            capture_output=True,
            text=True,
            env={**os.environ, **self.environment, **environment},
            stdin=subprocess.DEVNULL,
            check=False,
        )
        assert not check or done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
        return done

    def popen(self, *command: str, **more: str) -> subprocess.Popen[str]:
        """A command inside that the test talks to."""
        environment = {**os.environ, "PYTHONPATH": str(ROOT), **self.environment, **more}
        return subprocess.Popen(
            [*self._enter, *command], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
        )

    def drive(self, *arguments: str, check: bool = True) -> dict[str, Any]:
        """``drive.py`` inside: the tool's own functions on the fresh machine. Its last line is the answer."""
        done = self.run(sys.executable, str(HERE / "drive.py"), *arguments, check=False, PYTHONPATH=str(ROOT))
        assert done.stdout.strip(), done.stderr
        answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
        answer["progress"] = done.stderr
        assert not check or "error" not in answer, answer
        return answer

    def state(self) -> dict[str, list[str]]:
        """What undo must bring back: packages, files, users' groups, the engine's processes."""
        packages = self.run("dpkg-query", "--show", "--showformat=${Package} ${Version} ${db:Status-Status}\n").stdout
        files = self.run("find", *LOOKED_AT, "-xdev", "-printf", "%p %y %m %u\n", check=False).stdout
        processes = self.run("ps", "-eo", "comm=").stdout.split()
        return {
            "packages": packages.splitlines(),
            "files": sorted(line for line in files.splitlines() if line.split()[0] not in CHANGED_BY_ANY_INSTALLATION),
            "groups": self.run("cut", "-d:", "-f1", "/etc/group").stdout.split(),
            "engine": sorted({"dockerd", "containerd"} & set(processes)),
        }

    def make_bare(self) -> None:
        """Take away the container engine and the bindings that the road installs."""
        here = self.run("dpkg-query", "--show", "--showformat=${Package}\n").stdout.split()
        gone = [name for name in BARE_WITHOUT if name in here]
        if gone:
            self.run("apt-get", "purge", "--yes", "-qq", *gone, DEBIAN_FRONTEND="noninteractive")
        self.run("rm", "-rf", *BARE_OF)
        self.run("sed", "-i", "/^docker:/d", "/etc/group", "/etc/gshadow")

    def close(self) -> None:
        self._process.kill()  # --kill-child takes process 1 with it, and the kernel everything else inside
        self._process.wait()
        assert self._process.stdout is not None
        self._process.stdout.close()


@pytest.fixture(scope="session")
def can_make_machines() -> None:
    """Root, namespaces and Debian, or the test is skipped."""
    if os.geteuid() != 0 or not Path("/etc/debian_version").exists():
        pytest.skip("no fresh machine: needs root on Debian or Ubuntu")


@pytest.fixture(scope="session")
def make_fresh(
    can_make_machines: None, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], Iterator[FreshMachine]]:
    """Makes machines without a container engine and without Ansible's package bindings."""

    def make(name: str) -> Iterator[FreshMachine]:
        machine = FreshMachine(tmp_path_factory.mktemp(name))
        try:
            machine.make_bare()
            yield machine
        finally:
            machine.close()

    return make
