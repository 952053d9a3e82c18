"""A bare machine that goes the whole road: its own packages, processes, network and engine, and a way out by proxy."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ..hosts.conftest import ROOT, FreshMachine, can_make_machines
from .network import PORT, Proxy, listen_in

# Wheels and the base image's archive: the same folder as in tests/image, so that they are fetched once.
CACHE = Path(os.environ.get("PROVISION_CACHE", Path.home() / ".cache/provision"))
PROGRAM = (sys.executable, "-m", "provision")
NAME = "road"
# The machine's name is given, so that its run directory has the same path on every machine the tests run on.
SPEC = f'[machine]\nname = "{NAME}"\n'

__all__ = ["can_make_machines"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Ended:
    """A command of ours that has ended."""

    code: int
    out: str
    err: str
    seconds: float


class Road:
    """One machine and the folder its runs are in."""

    def __init__(self, machine: FreshMachine) -> None:
        self.machine = machine
        self.folder = machine.shared / "work"
        self.folder.mkdir()
        (self.folder / "provision.toml").write_text(SPEC)

    def provision(self, *arguments: str, **environment: str) -> Ended:
        """``provision ARGUMENTS`` in the machine, without a terminal."""
        started = time.monotonic()
        done = self.machine.run(*self._command(arguments), check=False, PYTHONPATH=str(ROOT), **environment)
        return Ended(code=done.returncode, out=done.stdout, err=done.stderr, seconds=time.monotonic() - started)

    def begin(self, *arguments: str, **environment: str) -> subprocess.Popen[str]:
        """The same, still running."""
        return self.machine.popen(*self._command(arguments), **environment)

    def _command(self, arguments: tuple[str, ...]) -> tuple[str, ...]:
        return ("env", "-C", str(self.folder), *PROGRAM, *arguments)

    @property
    def runs(self) -> list[Path]:
        return sorted((self.folder / ".provision" / NAME / "runs").glob("[0-9]*"))

    def read(self, name: str, run: Path | None = None) -> Any:
        """A JSON file of a run, of the latest where none is given; a list of them where it is one object a line."""
        text = ((run or self.folder / ".provision" / NAME / "latest") / name).read_text()
        return [json.loads(line) for line in text.splitlines()] if name.endswith("jsonl") else json.loads(text)

    def docker(self, *arguments: str) -> str:
        return self.machine.run("docker", *arguments).stdout.strip()

    def stop_engine(self) -> None:
        self.machine.run("sh", "-c", "kill $(cat /var/lib/provision/engine/dockerd.pid)")
        wait_until(lambda: self.machine.run("pgrep", "-x", "dockerd", check=False).returncode == 1)

    def holder(self) -> int:
        """The process that holds the machine; 0 where none does."""
        found = self.machine.run("cat", "/run/lock/provision.lock", check=False).stdout
        return int(found.partition('"pid": ')[2].partition(",")[0] or 0)


@pytest.fixture(scope="session")
def make_road(can_make_machines: None, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Iterator[Road]]:
    """Makes bare machines that share the wheels and nothing else."""
    CACHE.mkdir(parents=True, exist_ok=True)

    def make(name: str) -> Iterator[Road]:
        machine = FreshMachine(tmp_path_factory.mktemp(name), (CACHE,), own_network=True)
        proxy = Proxy(listen_in(machine.first))
        try:
            machine.run("ip", "link", "set", "lo", "up")
            machine.make_bare()
            # The engine's data on a plain file system: overlay on overlay is refused by the kernel.
            machine.run("sh", "-c", "mkdir -p /var/lib/docker && mount -t tmpfs tmpfs /var/lib/docker")
            address = f"http://127.0.0.1:{PORT}"
            machine.environment = {
                **{name: address for name in ("http_proxy", "https_proxy")},
                "no_proxy": "127.0.0.1,localhost",
                "PROVISION_CACHE": str(CACHE),
            }
            yield Road(machine)
        finally:
            machine.close()
            proxy.close()

    return make


@pytest.fixture(scope="session")
def first(make_road: Callable[[str], Iterator[Road]]) -> Iterator[tuple[Road, Ended]]:
    """A machine that was bare before its first ``provision up``, and how that ended. Every test leaves it proven."""
    for road in make_road("road"):
        yield road, road.provision("up")


@pytest.fixture
def road(first: tuple[Road, Ended]) -> Road:
    return first[0]


def wait_until(condition: Callable[[], Any], seconds: float = 120.0) -> None:
    """Poll a real condition; no test asserts how long it took."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it never came"
        time.sleep(0.05)
