"""A bare machine whose network leads into a counting sink: what is brought up there is brought up without a network."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ..hosts.conftest import FreshMachine, can_make_machines
from ..road.conftest import CACHE, Ended
from . import bare
from .sink import RESOLV_CONF, Packet, Sink, can_sink

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
SUITE = platform.freedesktop_os_release().get("VERSION_CODENAME", "")
# What a program that leaves by mistake does: a name is asked for, a connection or a datagram is sent, by either protocol.
PLANTED = {
    "dns": "socket.getaddrinfo('planted.example', 443)",
    "tcp": "socket.create_connection(('198.51.100.7', 443), 0.5)",
    "tcp over IPv6": "socket.create_connection(('2001:db8::7', 443), 0.5)",
    "udp": "socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b'planted', ('198.51.100.7', 4789))",
}

__all__ = ["can_make_machines"]


class Bed:
    """One machine, the sink that all its ways out lead to, and how often what was planted there raised the count."""

    def __init__(self, shared: Path, root: Path) -> None:
        self.machine = FreshMachine(shared, own_network=True, below=root)
        try:
            self.sink = Sink(self.machine.first)
            self.machine.run("sh", "-c", f"printf '%s' '{RESOLV_CONF}' > /etc/resolv.conf")
            # The engine's data on a plain file system: overlay on overlay is refused by the kernel.
            self.machine.run("sh", "-c", "mkdir -p /var/lib/docker && mount -t tmpfs tmpfs /var/lib/docker")
        except BaseException:
            self.machine.close()
            raise
        self.planted: dict[str, list[Packet]] = {kind: self.plant(line) for kind, line in PLANTED.items()}
        self.start = self.sink.mark()

    def plant(self, line: str) -> list[Packet]:
        """What leaves while one line of Python runs in the machine."""
        mark = self.sink.mark()
        self.run("python3", "-c", f"import socket\n{line}")
        return self.sink.since(mark)

    def run(self, *command: str, **environment: str) -> Ended:
        """A command in the machine, with the environment that a fresh login of root has there and nothing of ours."""
        given = {"PATH": PATH, "HOME": "/root", "LANG": "C.UTF-8", **environment}
        started = time.monotonic()
        clean = ("env", "-i", "-C", "/root", *(f"{name}={value}" for name, value in given.items()))
        done: subprocess.CompletedProcess[str] = self.machine.run(*clean, *command, check=False)
        return Ended(code=done.returncode, out=done.stdout, err=done.stderr, seconds=time.monotonic() - started)

    def begin(self, *command: str) -> subprocess.Popen[str]:
        """The same, still running."""
        return self.machine.popen("env", "-i", "-C", "/root", f"PATH={PATH}", "HOME=/root", "LANG=C.UTF-8", *command)

    def close(self) -> None:
        self.machine.close()
        self.sink.close()


class Bundle:
    """A bundle and the program beside it, as they would lie on a stick, and whose signatures count."""

    def __init__(self, folder: Path) -> None:
        self.file = folder / "site.bundle"
        self.signers, self.another_signers = (self._signers(folder / name) for name in ("key", "another"))
        spec = folder / "provision.toml"
        spec.write_text('[machine]\nname = "offline"\n')
        command = (sys.executable, "-m", "provision", "bundle", "create", str(self.file), "--key", str(folder / "key"))
        subprocess.run([*command, "--spec", str(spec)], env={**os.environ, "PROVISION_CACHE": str(CACHE)}, check=True)

    def command(
        self, name: str, *options: str, file: Path | None = None, signers: Path | None = None
    ) -> tuple[str, ...]:
        """The command on the other machine."""
        trust = ("--allowed-signers", str(signers or self.signers))
        return ("python3", f"{self.file}.pyz", name, str(file or self.file), *trust, *options)

    def offset(self, member: str, place: int) -> int:
        """Where in the file a byte of the first member lies whose name begins with ``member``."""
        with tarfile.open(self.file) as archive:
            found = next(one for one in archive if one.name.startswith(member))
        return found.offset_data + (found.size + place if place < 0 else place)

    def _signers(self, key: Path) -> Path:
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)], check=True)
        signers = key.with_suffix(".signers")
        signers.write_text(f"maker@example.org {key.with_suffix('.pub').read_text()}")
        return signers


@pytest.fixture(scope="session")
def bundle(bed: Bed) -> Bundle:
    """Made once: where the machine sees it."""
    return Bundle(bed.machine.shared)


@pytest.fixture(scope="session")
def bare_root(can_make_machines: None, can_install: Callable[[str, str, str], None]) -> Path:
    if not can_sink():
        pytest.skip("no sink: needs root and /dev/net/tun")
    for program, package in (("ip", "iproute2"), ("mmdebstrap", "mmdebstrap"), ("ssh-keygen", "openssh-client")):
        can_install(program, package, "no sink")
    return bare.root(SUITE, CACHE)


@pytest.fixture(scope="session")
def bed(bare_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bed]:
    made = Bed(tmp_path_factory.mktemp("offline"), bare_root)
    try:
        yield made
    finally:
        made.close()
