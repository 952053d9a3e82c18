"""A Debian server with systemd, a disk of its own, an NVMe and a rotating one: a virtual machine without KVM.

Its disk is made once (make_image.py) and kept in the cache under the hash of its recipe. Every run works on a
copy-on-write view of it. The tool comes on a second disk, read-only: this checkout, and the packages of the tool's own
lock out of the environment that runs the tests.
"""

from __future__ import annotations

import compileall
import contextlib
import dataclasses
import fcntl
import hashlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any, Literal

import pytest

from provision.lock import text

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
RECIPE = HERE / "make_image.py"
CACHE = Path(os.environ.get("PROVISION_CACHE", Path.home() / ".cache/provision"))
# program: Debian package
NEEDED = {
    "qemu-system-x86_64": "qemu-system-x86",
    "mmdebstrap": "mmdebstrap",
    "mke2fs": "e2fsprogs",
    "ssh": "openssh-client",
}
IN_CI = os.environ.get("CI") == "true"
MAY_INSTALL = IN_CI or os.environ.get("PROVISION_TEST_INSTALL") == "1"
PYTHON = "/opt/tool/venv/bin/python"
# It answered after 20 s on 2 idle cores (2026-11-24); with seven other suites beside it, more than 300.
BOOT_SECONDS = 900
DISK_BYTES = 1 << 30


@dataclasses.dataclass(frozen=True)
class Drive:
    """An empty disk. ``options`` go to QEMU's ``-drive``: ``throttling.bps-read=104857600`` makes it a slow one."""

    kind: Literal["nvme", "rotating"]
    serial: str
    size_bytes: int = DISK_BYTES
    options: str = ""

    def arguments(self, folder: Path) -> tuple[str, ...]:
        """What QEMU is told; the file is made in ``folder``."""
        file = folder / f"{self.kind}-{self.serial}.img"
        with file.open("wb") as empty:
            empty.truncate(self.size_bytes)
        more = f",{self.options}" if self.options else ""
        drive = f"file={file},format=raw,cache=unsafe,if=none,id=drive-{self.serial}{more}"
        device = {"nvme": "nvme", "rotating": "scsi-hd,rotation_rate=7200"}[self.kind]
        return ("-drive", drive, "-device", f"{device},drive=drive-{self.serial},serial={self.serial}")


STANDARD = (Drive("nvme", "one"), Drive("rotating", "turning"))


class VirtualMachine:
    """A running machine. ``folder`` holds its disks, its key and its console's log."""

    def __init__(self, folder: Path, image: Path, drives: tuple[Drive, ...] = STANDARD) -> None:
        self.folder = folder
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self._port = free.getsockname()[1]
        disk = "file={0},format=raw,cache=unsafe,if={1}"
        command = [
            *("setpriv", "--pdeathsig", "KILL"),  # it ends with the tests, however they end
            *("qemu-system-x86_64", "-accel", "tcg", "-machine", "q35"),
            *("-cpu", "max", "-smp", "2", "-m", "2048", "-display", "none", "-monitor", "none"),
            *("-serial", f"file:{folder}/console", "-kernel", str(image / "vmlinuz")),
            *("-initrd", str(image / "initrd.img"), "-append", "root=LABEL=root rw console=ttyS0"),
            *("-drive", disk.format(image / "root.img", "virtio") + ",snapshot=on"),
            *("-drive", disk.format(folder / "tool.img", "virtio") + ",readonly=on"),
            *("-device", "virtio-scsi-pci"),
            *(word for drive in drives for word in drive.arguments(folder)),
            *("-nic", f"user,model=virtio-net-pci,hostfwd=tcp:127.0.0.1:{self._port}-:22"),
        ]
        with (folder / "qemu").open("wb") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL)
        self._await_answer()

    def run(self, command: str, check: bool = True, seconds: float = 1500.0) -> subprocess.CompletedProcess[str]:
        """A shell command as root."""
        done = subprocess.run(
            [*self._ssh(), command],
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            timeout=seconds,
            check=False,
        )
        assert not check or done.returncode == 0, f"{command}: {done.returncode}\n{done.stdout}{done.stderr}"
        return done

    def provision(self, arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """The tool itself, as a user calls it."""
        return self.run(f"cd /root && PYTHONDONTWRITEBYTECODE=1 {PYTHON} -m provision {arguments}", check)

    def results(self) -> list[dict[str, Any]]:
        """``apply.jsonl`` of the newest run."""
        return [
            json.loads(line) for line in self.run("cat /root/.provision/fresh/latest/apply.jsonl").stdout.splitlines()
        ]

    def reboot(self) -> None:
        before = self.run("cat /proc/sys/kernel/random/boot_id").stdout
        self.run("systemctl reboot", check=False)
        self._forget_connection()
        deadline = time.monotonic() + BOOT_SECONDS
        while time.monotonic() < deadline:
            self._await_answer()
            now = self.run("cat /proc/sys/kernel/random/boot_id", check=False)
            if now.returncode == 0 and now.stdout != before:
                self.run("systemctl is-system-running --wait", check=False)
                return
            self._forget_connection()
            time.sleep(1)
        raise RuntimeError(f"the machine did not come back:\n{self._console()}")

    def close(self) -> None:
        self._forget_connection()
        self._process.send_signal(signal.SIGTERM)
        self._process.wait(30)

    def _await_answer(self) -> None:
        deadline = time.monotonic() + BOOT_SECONDS
        while time.monotonic() < deadline and self._process.poll() is None:
            try:
                if self.run("true", check=False, seconds=20).returncode == 0:
                    return
            except subprocess.TimeoutExpired:
                pass  # it listens and does not answer yet
            time.sleep(1)
        log = (self.folder / "qemu").read_text()
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()
        raise RuntimeError(f"the virtual machine did not answer: {log}\n{self._console()}")

    def _console(self) -> str:
        return (self.folder / "console").read_text(errors="replace")[-2000:]

    def _ssh(self) -> list[str]:
        options = {
            "StrictHostKeyChecking": "no",
            "UserKnownHostsFile": "/dev/null",
            "LogLevel": "ERROR",
            "ConnectTimeout": "15",
            "ControlMaster": "auto",  # one handshake: it takes seconds under emulation
            "ControlPath": f"{self.folder}/ssh",
            "ControlPersist": "yes",
        }
        words = [word for name, value in options.items() for word in ("-o", f"{name}={value}")]
        return ["ssh", "-F", "none", "-p", str(self._port), "-i", f"{self.folder}/key", *words, "root@127.0.0.1"]

    def _forget_connection(self) -> None:
        subprocess.run([*self._ssh()[:-1], "-O", "exit", "root@127.0.0.1"], capture_output=True, check=False)
        with contextlib.suppress(FileNotFoundError):
            (self.folder / "ssh").unlink()


def root_image() -> Path:
    """The folder with root.img, vmlinuz and initrd.img: from the cache, or made now."""
    kept = CACHE / "vm" / hashlib.sha256(RECIPE.read_bytes()).hexdigest()[:16]
    kept.parent.mkdir(parents=True, exist_ok=True)
    with (kept.parent / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not kept.is_dir():
            for old in kept.parent.iterdir():
                if old.is_dir():
                    shutil.rmtree(old)  # an earlier recipe's, or what a killed run left
            work = kept.with_suffix(".new")
            work.mkdir()
            done = subprocess.run(
                [sys.executable, str(RECIPE), str(work)],
                capture_output=True,
                text=True,
                env={**os.environ, "PYTHONPATH": str(ROOT)},
                check=False,
            )
            assert done.returncode == 0, f"the machine's disk could not be made:\n{done.stderr[-3000:]}"
            work.rename(kept)
    return kept


def tool_disk(folder: Path) -> None:
    """``tool.img``: the checkout, an environment with the tool's lock in it, and the key that may log in."""
    tree = folder / "tool"
    names = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    for name in filter(None, names.split("\0")):
        if (ROOT / name).is_symlink() or (ROOT / name).exists():
            copy(ROOT / name, tree / "checkout" / name)
    site = tree / "venv/lib/python3.11/site-packages"
    for pin in text.parse((ROOT / "lockfiles/tool-py311.txt").read_text()).pins:
        for file in metadata.distribution(pin.name).files or ():
            source = Path(str(file.locate()))
            if source.suffix != ".pyc" and file.parts[0] != ".." and source.exists():
                copy(source, site / str(file))
    (site / "checkout.pth").write_text("/opt/tool/checkout\n")
    scripts = tree / "venv/bin"
    scripts.mkdir()
    (scripts / "python").symlink_to("/usr/bin/python3.11")
    (tree / "venv/pyvenv.cfg").write_text("home = /usr/bin\ninclude-system-site-packages = false\n")
    launcher = f"#!{PYTHON}\nimport sys\nfrom ansible.cli.playbook import main\nsys.exit(main())\n"
    (scripts / "ansible-playbook").write_text(launcher)
    (scripts / "ansible-playbook").chmod(0o755)
    compileall.compile_dir(str(tree), quiet=2, stripdir=str(tree), prependdir="/opt/tool", workers=0)
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / "key")], check=True)
    shutil.copy(folder / "key.pub", tree / "authorized_keys")
    command = ["mke2fs", "-q", "-t", "ext4", "-L", "tool", "-d", str(tree), str(folder / "tool.img"), "512M"]
    subprocess.run(command, check=True, capture_output=True)
    shutil.rmtree(tree)


def copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy2(source, target, follow_symlinks=False)


def what_is_missing() -> str:
    """Why there can be no virtual machine here, after installing what may be installed; "" where there can."""
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        return "needs root on Debian"
    missing = [package for program, package in NEEDED.items() if shutil.which(program) is None]
    if missing and MAY_INSTALL:
        quiet = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        subprocess.run(["apt-get", "update", "-qq"], check=True, env=quiet, stdout=subprocess.DEVNULL)
        command = ["apt-get", "install", "-y", "-qq", "--no-install-recommends", *missing]
        subprocess.run(command, check=True, env=quiet, stdout=subprocess.DEVNULL)
        missing = []
    return f"needs {', '.join(missing)} (CI=true or PROVISION_TEST_INSTALL=1 installs them)" if missing else ""


@contextlib.contextmanager
def booted(folder: Path, drives: tuple[Drive, ...] = STANDARD) -> Iterator[VirtualMachine]:
    """A machine with these disks beside its own; without what it takes, the test is skipped."""
    if reason := what_is_missing():
        if IN_CI:
            pytest.fail(f"no virtual machine: {reason}")
        pytest.skip(f"no virtual machine: {reason}")
    tool_disk(folder)
    machine = VirtualMachine(folder, root_image(), drives)
    try:
        yield machine
    finally:
        machine.close()


@pytest.fixture(scope="session")
def vm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[VirtualMachine]:
    """The machine, booted."""
    with booted(tmp_path_factory.mktemp("vm")) as machine:
        yield machine
