"""Faults of the machine itself: small, full and dead file systems, settings of the kernel, what provision.toml expects.

What holds for the whole machine is put back at once, and made only on a machine that is thrown away.
"""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from .rooms import COVER, ROOT, changes_the_machine, doctor, outcomes
from .test_induced import controllers_are_ours, environment, group, package, place, shared

__all__ = ["group", "place"]  # fixtures
needs_root = pytest.mark.skipif(
    not ROOT, reason="needs root: it mounts over folders of the system in its own namespace"
)
GIB = 1 << 30


def memory_disk(folder: str, options: str) -> str:
    """Shell lines for a memory file system over a folder that may not be there."""
    return f"mount -t tmpfs tmpfs /run; {COVER}\ncover /var/lib; mkdir -p {folder}; mount -t tmpfs -o {options} tmpfs {folder}"


@needs_root
@pytest.mark.parametrize(
    ("options", "small", "few"),
    [("size=1g", "found", "ok"), ("size=999g,nr_inodes=1000", "ok", "found"), ("size=999g", "ok", "ok")],
)
def test_too_little_room_or_too_few_inodes_for_the_image(options: str, small: str, few: str, tmp_path: Path) -> None:
    found = doctor("STO001", "STO002", before=memory_disk("/var/lib/docker", options), spaces="m", cwd=tmp_path)
    assert outcomes(found) == {"STO001": small, "STO002": few}


@needs_root
def test_a_state_folder_that_became_read_only(tmp_path: Path) -> None:
    found = doctor("STO003", before=memory_disk("/var/lib/provision", "ro"), spaces="m", cwd=tmp_path)
    assert outcomes(found) == {"STO003": "found"}


DEAD = """
import ctypes, os, sys
device = os.open("/dev/fuse", os.O_RDWR)
options = f"fd={device},rootmode=40000,user_id=0,group_id=0".encode()
if ctypes.CDLL(None, use_errno=True).mount(b"far:/away", sys.argv[1].encode(), b"fuse.sshfs", 0, options):
    sys.exit(os.strerror(ctypes.get_errno()))
os.read(device, 1 << 17)  # the kernel's first question, which is never answered
open(sys.argv[2], "w").close()
import time; time.sleep(60)
"""


@needs_root
@pytest.mark.skipif(not Path("/dev/fuse").exists(), reason="needs FUSE")
def test_a_network_file_system_that_does_not_answer_below_the_engines_data(tmp_path: Path) -> None:
    before = f"""{memory_disk("/var/lib/docker", "size=1m")}; umount /var/lib/docker
        {shlex.quote(sys.executable)} -c {shlex.quote(DEAD)} /var/lib/docker {tmp_path}/ready >/dev/null 2>&1 &
        for _ in $(seq 100); do test -e {tmp_path}/ready && break; sleep 0.1; done
    """
    found = doctor("STO005", "STO007", before=before, spaces="m", cwd=tmp_path)
    assert outcomes(found) == {"STO005": "found", "STO007": "found"}


@needs_root
def test_models_in_a_layer_of_a_container_and_on_a_disk_without_encryption(place: Path) -> None:
    (place / "hub/m").mkdir(parents=True)
    model = f"echo '{{}}' > {place}/hub/m/config.json; head -c 2000000 /dev/zero > {place}/hub/m/model.safetensors"
    before = f"mount -t tmpfs tmpfs /run; {COVER}\ncover {place}/hub; {model}"
    assert outcomes(doctor("STO055", before=before, spaces="m", HF_HOME=str(place / "hub"))) == {"STO055": "found"}
    found = doctor("STO055", "ISO059", before=model, HF_HOME=str(place / "hub"))
    assert found["STO055"][0] == "ok"
    assert found["ISO059"][0] == "found"
    assert all(message.endswith("is not encrypted") for message in found["ISO059"][1])


def test_a_session_that_keeps_core_dumps_and_secrets(tmp_path: Path) -> None:
    venv, site = environment(tmp_path)
    package(site, "vllm", "0.11.0")
    package(site, "torch", "2.6.0")
    variables = {"VIRTUAL_ENV": str(venv), "HOME": str(tmp_path), "HF_TOKEN": "not-a-token"}
    found = doctor("ISO002", "ISO003", "DEP015", **variables)
    assert outcomes(found) == {"ISO002": "found", "ISO003": "found", "DEP015": "found"}
    assert found["DEP015"][1] == [f"vllm 0.11.0 in {venv} requires torch 2.8.0; 2.6.0 is installed"]


@pytest.mark.skipif(
    Path("/proc/sys/kernel/core_pattern").read_text().startswith("|"),
    reason="this machine hands core dumps to a program",
)
def test_core_dumps_without_a_limit() -> None:
    found = doctor("ISO060", before="ulimit -H -c unlimited 2>/dev/null; ulimit -S -c unlimited")
    assert found["ISO060"][0] == "found"
    assert doctor("ISO060", before="ulimit -c 0")["ISO060"][0] == "ok"


def test_two_cuda_majors_and_the_users_own_packages(tmp_path: Path) -> None:
    release = f"python{sys.version_info.major}.{sys.version_info.minor}"
    conda = tmp_path / "miniconda3"
    site = conda / "lib" / release / "site-packages"
    (conda / "conda-meta").mkdir(parents=True)
    for name, version in (
        ("python", f"{sys.version_info.major}.{sys.version_info.minor}.1"),
        ("libcublas", "12.4.5.8"),
    ):
        said = {"name": name, "version": version, "channel": "nvidia", "build": "0", "files": []}
        (conda / f"conda-meta/{name}-{version}-0.json").write_text(json.dumps(said))
    (conda / "bin").mkdir()
    (conda / "bin/python3").symlink_to(sys.executable)
    for name, version in (
        ("nvidia_cublas_cu12", "12.4.5.8"),
        ("nvidia_cudnn_cu12", "9.1.0.70"),
        ("nvidia_cudnn_cu13", "9.13.0"),
    ):
        package(site, name, version)
    package(tmp_path / ".local/lib" / release / "site-packages", "numpy", "1.26.4")
    package(site, "numpy", "2.1.0")
    found = doctor("CUD064", "DEP013", "DEP014", CONDA_PREFIX=str(conda), HOME=str(tmp_path), VIRTUAL_ENV="")
    assert outcomes(found) == {"CUD064": "found", "DEP013": "found", "DEP014": "found"}


def test_a_stub_of_libcuda_on_the_loaders_path(tmp_path: Path) -> None:
    stubs = tmp_path / "cuda/lib64/stubs"
    shared(stubs / "libcuda.so.1")
    found = doctor("CUD012", LD_LIBRARY_PATH=str(stubs))
    assert found["CUD012"][1] == [f"the first libcuda is the stub {stubs}/libcuda.so.1 (through LD_LIBRARY_PATH)"]


def test_a_machine_that_is_not_what_was_expected(tmp_path: Path) -> None:
    (tmp_path / "provision.toml").write_text('[expect]\nmemory_gib = 99999\npython = "3.99"\n')
    venv, site = environment(tmp_path)
    package(site, "torch", "2.6.0")
    found = doctor("MEM058", "DEP065", cwd=tmp_path, VIRTUAL_ENV=str(venv), HOME=str(tmp_path))
    assert outcomes(found) == {"MEM058": "found", "DEP065": "found"}


@pytest.mark.skipif(not controllers_are_ours(), reason="needs root and control groups that may be made")
def test_a_session_in_a_small_control_group(group: Any, tmp_path: Path) -> None:
    folder = group("memory")
    limit = next(folder / n for n in ("memory.max", "memory.limit_in_bytes") if (folder / n).exists())
    limit.write_text(str(512 << 20))
    found = doctor("MEM001", before=f"echo 0 > {folder}/cgroup.procs", cwd=tmp_path)
    assert found["MEM001"][0] == "found"
    assert found["MEM001"][1][0].startswith("the control group allows 512")


@needs_root
@pytest.mark.skipif(shutil.which("depmod") is None, reason="needs depmod")
def test_a_newer_kernel_waits_for_a_reboot() -> None:
    newer = f"99.{os.uname().release.partition('.')[2]}"  # of the running one's flavour
    before = f"""
        mount -t tmpfs tmpfs /run; {COVER}
        cover /usr; cover /boot
        mkdir -p /lib/modules/{newer}/kernel; depmod {newer} 2>/dev/null
        touch /boot/vmlinuz-{newer}
    """
    found = doctor("ROL053", before=before, spaces="m")
    assert found["ROL053"][0] == "found"
    assert found["ROL053"][1][0].endswith(f"; {newer} is installed and starts at the next reboot")


@needs_root
@pytest.mark.skipif(not Path("/lib/systemd/systemd-journald").exists(), reason="needs systemd's journal")
def test_a_journal_in_memory_only() -> None:
    before = f"""
        mount -t proc proc /proc; mount -t tmpfs tmpfs /run; {COVER}
        cover /etc; cover /var/log; rm -rf /var/log/journal; mkdir -p /run/systemd/journal
        /lib/systemd/systemd-journald >/dev/null 2>&1 &
        for _ in $(seq 100); do grep -qs systemd-journal /proc/[0-9]*/comm && break; sleep 0.1; done
    """
    assert outcomes(doctor("AUD050", before=before, spaces="mpf")) == {"AUD050": "found"}
    kept = "mkdir -p /etc/systemd /var/log/journal; printf '[Journal]\\nStorage=persistent\\n' > /etc/systemd/journald.conf\n"
    assert outcomes(doctor("AUD050", before=before + kept, spaces="mpf")) == {"AUD050": "ok"}


@contextlib.contextmanager
def set_to(path: str, value: str) -> Iterator[None]:
    """A setting of the kernel for a moment."""
    file = Path(path)
    before = file.read_text().strip()
    chosen = before.partition("[")[2].partition("]")[0] or before
    file.write_text(value)
    try:
        yield
    finally:
        file.write_text(chosen)


SETTINGS = [
    ("FRG050", [("/proc/sys/vm/max_map_count", "65529")]),
    (
        "LAT051",
        [
            ("/sys/kernel/mm/transparent_hugepage/enabled", "always"),
            ("/sys/kernel/mm/transparent_hugepage/defrag", "always"),
        ],
    ),
]


@changes_the_machine
@pytest.mark.parametrize(("code", "settings"), SETTINGS, ids=[code for code, _ in SETTINGS])
def test_a_setting_of_the_kernel(code: str, settings: list[tuple[str, str]], tmp_path: Path) -> None:
    assert doctor(code, cwd=tmp_path)[code][0] == "ok"
    with contextlib.ExitStack() as stack:
        for path, value in settings:
            stack.enter_context(set_to(path, value))
        assert doctor(code, cwd=tmp_path)[code][0] == "found"


def disk() -> Path:
    """The first disk of this machine that holds files."""
    return next(p for p in sorted(Path("/sys/block").iterdir()) if p.name.startswith(("vd", "sd", "nvme", "xvd")))


@changes_the_machine
def test_a_disk_that_is_read_in_small_steps(place: Path) -> None:
    (place / "hub/m").mkdir(parents=True)
    (place / "hub/m/config.json").write_text("{}")
    (place / "hub/m/model.safetensors").write_bytes(bytes(2_000_000))
    with set_to(f"{disk()}/queue/read_ahead_kb", "4"):
        found = doctor("STO060", HF_HOME=str(place / "hub"))
    assert outcomes(found) == {"STO060": "found"}


@changes_the_machine
def test_a_program_that_crashes_in_nccl(tmp_path: Path) -> None:
    code = tmp_path / "crash.c"
    code.write_text("int crash(void) { return *(volatile int *)8; }")
    shared(tmp_path / "libnccl.so.2", str(code))
    crash = f"import ctypes; ctypes.CDLL('{tmp_path}/libnccl.so.2').crash()"
    done = subprocess.run([sys.executable, "-c", crash], check=False, cwd=tmp_path)
    assert done.returncode == -11
    found = doctor("MON041")
    assert found["MON041"][0] == "found"
    assert any("libnccl.so.2" in message for message in found["MON041"][1])
