"""Faults that are really made: in a mount or network namespace, a control group or a folder, looked at by the doctor itself.

``provision doctor`` runs as a child with the fault around it; nothing outside the namespace changes. What a check fires on
here stands as "induced" in provision/catalog/fired.toml.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from .rooms import ROOT, doctor

# An OOM kill or a file system's error stays in the kernel log: the next doctor would rightly speak of it.
leaves_a_trace = pytest.mark.skipif(
    os.environ.get("CI") != "true",
    reason="leaves lines in the kernel log: only on a machine that is thrown away (CI=true)",
)


@pytest.fixture
def place() -> Iterator[Path]:
    """A folder whose every parent lets others through, as pytest's own do not."""
    folder = Path(tempfile.mkdtemp(dir="/var/tmp"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


def test_a_small_memory_file_system_with_a_pickle_and_code_in_it(place: Path) -> None:
    hub = place / "hub"
    hub.mkdir()
    mount = f"mount -t tmpfs -o size=8m,nr_inodes=64,mode=777,sync tmpfs {hub}"
    fill = (
        f"mkdir -p {hub}/m && dd if=/dev/zero of={hub}/m/pytorch_model.bin bs=1M count=2 status=none && "
        f"""echo '{{"auto_map": {{"AutoModel": "modeling_x.X"}}}}' > {hub}/m/config.json"""
    )
    codes = ("STO050", "STO051", "STO054", "STO058", "ISO050", "ISO051", "ISO061")
    found = doctor(*codes, before=f"{mount}\n{fill}", spaces="m", HF_HOME=str(hub))
    assert {code: outcome for code, (outcome, _) in found.items()} == dict.fromkeys(codes, "found")
    assert found["ISO050"][1] == [f"1 checkpoint in pickle format in {hub}: m/pytorch_model.bin"]
    assert found["ISO051"][1] == [f"1 model in {hub} name code to be run: m/config.json"]


def test_a_read_only_hub_and_kernels_that_may_not_run(place: Path) -> None:
    before = f"""
        mkdir {place}/hub {place}/triton
        mount -t tmpfs -o ro tmpfs {place}/hub
        mount -t tmpfs -o noexec tmpfs {place}/triton
    """
    variables = {"HF_HOME": f"{place}/hub", "TRITON_CACHE_DIR": f"{place}/triton"}
    found = doctor("STO056", "STO057", before=before, spaces="m", **variables)
    assert found["STO056"] == (
        "found",
        [f"{place}/hub is not writable for this user: {place}/hub is mounted read-only (HF_HOME)"],
    )
    assert found["STO057"] == ("found", [f"{place}/triton lies on {place}/triton, which is mounted noexec"])


LISTEN = """
import pathlib, socket, sys, time
lines = [socket.create_server(("0.0.0.0", port)) for port in (8000, 8265)]
lines.append(socket.create_server(("127.0.0.1", 30000)))
pathlib.Path(sys.argv[1]).touch()
time.sleep(60)
"""


def test_ports_in_a_network_of_their_own(tmp_path: Path) -> None:
    before = f"""
        ip link set lo up 2>/dev/null || true
        {shlex.quote(sys.executable)} -c {shlex.quote(LISTEN)} {tmp_path}/ready >/dev/null 2>&1 &
        for _ in $(seq 100); do test -e {tmp_path}/ready && break; sleep 0.1; done
    """
    found = doctor("ISO052", "ISO053", "ROL050", before=before, spaces="n")
    assert found["ISO052"][1][0].startswith("port 8000, vLLM's API unless told otherwise, is open on every address")
    assert len(found["ISO052"][1]) == 1
    assert found["ISO053"] == ("found", ["port 8265, Ray's dashboard and job interface, is open on every address"])
    assert len(found["ROL050"][1]) == 3


def test_no_ports_no_finding() -> None:
    found = doctor("ISO052", "ISO053", "ROL050", spaces="n")
    assert {outcome for outcome, _ in found.values()} == {"ok"}


def test_a_session_with_limits_and_variables_that_are_wrong() -> None:
    found = doctor(
        "MEM054", "FRG052", "FRG053", "LAT056", "LAT057", "DEP062", "ISO062",
        before="ulimit -v 16777216",
        LD_PRELOAD="/nowhere/libjemalloc.so.2", OMP_NUM_THREADS="4096",
        CUDA_LAUNCH_BLOCKING="1", PYTORCH_NO_CUDA_MEMORY_CACHING="1",
        PIP_BREAK_SYSTEM_PACKAGES="1", PIP_EXTRA_INDEX_URL="https://one.example/simple", PIP_TRUSTED_HOST="two.example",
    )  # fmt: skip
    assert found["MEM054"][1][0].startswith("a process may use 16.0 GiB of address space")
    assert found["FRG052"] == ("found", ["LD_PRELOAD names /nowhere/libjemalloc.so.2, which is not there"])
    assert (found["FRG053"][0], found["LAT057"][0]) == ("found", "found")
    assert found["LAT056"][1][0].startswith("OMP_NUM_THREADS is 4096; ")
    assert "break-system-packages is set in pip's settings (environment)" in found["DEP062"][1]
    assert (
        "pip's settings (environment) name 1 further index and 1 host without certificate check" in found["ISO062"][1]
    )


def test_a_token_that_everybody_may_read(place: Path) -> None:
    token = place / ".cache/huggingface/token"
    token.parent.mkdir(parents=True)
    token.write_text("not-a-token")
    token.chmod(0o644)
    said = doctor("ISO054", cwd=place, HOME=str(place))["ISO054"]
    assert said == ("found", [f"{token} can be read by everybody (mode 0644)"])
    token.chmod(0o600)
    assert doctor("ISO054", cwd=place, HOME=str(place))["ISO054"][0] == "ok"


@pytest.mark.skipif(not ROOT, reason="needs root: it stands before /run and /var/lib in a namespace of its own")
def test_an_open_socket_open_evidence_and_a_reboot_that_is_due() -> None:
    socket = "import socket; socket.socket(socket.AF_UNIX).bind('/run/docker.sock')"
    before = f"""
        mount -t tmpfs tmpfs /run; mount -t tmpfs tmpfs /var/lib
        {shlex.quote(sys.executable)} -c "{socket}"; chmod 666 /run/docker.sock
        mkdir -m 777 /var/lib/provision
        echo linux-image-amd64 > /run/reboot-required.pkgs; touch /run/reboot-required
    """
    found = doctor("ISO055", "AUD053", "ROL054", before=before, spaces="m")
    assert found["ISO055"] == ("found", ["/var/run/docker.sock can be written by everybody (mode 0666)"])
    assert found["AUD053"] == ("found", ["/var/lib/provision can be written by everybody (mode 0777)"])
    assert found["ROL054"] == ("found", ["a reboot is due for linux-image-amd64"])


def environment(folder: Path) -> tuple[Path, Path]:
    """A virtual environment without packages, and the folder for them."""
    venv = folder / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", venv], check=True)
    (site,) = venv.glob("lib/python3*/site-packages")
    return venv, site


def package(site: Path, name: str, version: str, meta: str = "", tag: str = "py3-none-any") -> None:
    folder = site / f"{name}-{version}.dist-info"
    folder.mkdir(parents=True)
    (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{meta}\n\nText.\n")
    (folder / "WHEEL").write_text(f"Wheel-Version: 1.0\nRoot-Is-Purelib: false\nTag: {tag}\n")


def test_an_environment_in_which_nothing_fits(tmp_path: Path) -> None:
    venv, site = environment(tmp_path)
    linux = "Requires-Dist: triton==3.1.0; platform_system == 'Linux'\nRequires-Dist: nvidia-cudnn-cu12==9.1.0.70"
    package(site, "torch", "2.5.1", linux, "cp27-cp27m-manylinux_2_99_x86_64")
    package(site, "triton", "3.2.0")
    package(site, "nvidia_cudnn_cu12", "8.9.7.29")
    package(site, "torchvision", "0.15.0", "Requires-Dist: torch==2.0.0")
    package(site, "transformers", "4.50.0", "Requires-Dist: tokenizers<0.22,>=0.21\nRequires-Dist: regex")
    package(site, "tokenizers", "0.20.3", tag="cp39-abi3-musllinux_1_2_x86_64")
    package(site, "peft", "0.14.0", "Requires-Dist: accelerate>=0.21\nRequires-Python: <3.9")
    package(site, "accelerate", "0.20.0")
    package(site, "onnxruntime", "1.20.0")
    package(site, "onnxruntime_gpu", "1.20.0")
    package(site, "numpy", "1.26.4")
    package(site, "numpy", "2.1.0")
    (site / "~orch").mkdir()
    codes = ("CUD065", *(f"DEP{n:03}" for n in (50, 51, 52, 53, 54, 56, 57, 58, 59, 60, 63)))
    found = doctor(*codes, VIRTUAL_ENV=str(venv), HOME=str(tmp_path))
    assert {code: outcome for code, (outcome, _) in found.items()} == dict.fromkeys(codes, "found")
    assert found["DEP050"][1] == [f"in {venv}: torchvision 0.15.0 requires torch==2.0.0 and 2.5.1 is installed"]
    assert found["DEP060"][1] == [f"in {venv}: left over: ~orch; there twice: numpy"]


def test_an_old_torch_with_a_new_numpy_in_an_environment_that_lost_its_python(tmp_path: Path) -> None:
    venv, site = environment(tmp_path)
    package(site, "torch", "2.2.2")
    package(site, "numpy", "2.0.0")
    package(site, "flash_attn", "2.5.9+cu12torch2.1cxx11abiTRUE")
    package(site, "bitsandbytes", "0.41.0")
    (site / "torch").mkdir()
    (site / "torch/version.py").write_text("__version__ = '2.2.2+cu121'\ncuda: Optional[str] = '12.1'\n")
    (site / "bitsandbytes").mkdir()
    (site / "bitsandbytes/libbitsandbytes_cuda118.so").write_bytes(b"")
    for program in (venv / "bin").glob("python3*"):
        program.unlink()
    (venv / "bin/python3").symlink_to("/nowhere/python3.7")
    found = doctor("DEP055", "DEP064", "CUD067", "CUD068", VIRTUAL_ENV=str(venv), HOME=str(tmp_path))
    assert found["DEP055"][1] == [f"numpy 2.0.0 in {venv}; torch 2.2.2 was compiled against numpy 1"]
    assert found["DEP064"][1] == [f"the Python behind {venv} is gone"]
    assert found["CUD067"][0] == "found"
    assert found["CUD068"][1] == [
        f"flash-attn 2.5.9+cu12torch2.1cxx11abiTRUE in {venv} was compiled for torch 2.1, not 2.2"
    ]


@leaves_a_trace
@pytest.mark.skipif(not ROOT or not Path("/dev/loop-control").exists(), reason="needs root and loop devices")
def test_a_file_system_that_has_counted_an_error(place: Path) -> None:
    (place / "mount").mkdir()
    subprocess.run(["truncate", "-s", "16M", place / "image"], check=True)
    subprocess.run(["mkfs.ext4", "-q", place / "image"], check=True)
    before = f"""
        mount -o loop {place}/image {place}/mount
        device=$(basename "$(grep " {place}/mount " /proc/mounts | cut -d' ' -f1)")
        echo 1 > /sys/fs/ext4/$device/trigger_fs_error
    """
    outcome, said = doctor("STO066", before=before, spaces="m")["STO066"]
    assert outcome == "found"
    assert any(text.startswith("ext4 on loop") and text.endswith(" has counted 1 error") for text in said)


def shared(path: Path, *options: str, needs: tuple[Path, ...] = (), rpath: str = "", new: bool = False) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    tags = "--enable-new-dtags" if new else "--disable-new-dtags"
    command = [
        "gcc",
        "-shared",
        "-fPIC",
        "-x",
        "c",
        "/dev/null",
        "-x",
        "none",
        "-o",
        path,
        f"-Wl,-soname,{path.name},{tags}",
    ]
    run = [f"-Wl,-rpath,{rpath}"] if rpath else []
    subprocess.run([*command, "-Wl,--no-as-needed,--allow-shlib-undefined", *run, *options, *needs], check=True)


def test_a_torch_whose_libraries_are_shadowed_too_old_or_gone(tmp_path: Path) -> None:
    venv, site = environment(tmp_path)
    package(site, "torch", "2.5.1")
    package(site, "nvidia_nvjitlink_cu12", "12.4.127")
    package(site, "nvidia_nccl_cu12", "2.21.5")
    nvidia, toolkit = site / "nvidia", tmp_path / "toolkit"
    jit, sparse, nccl = (nvidia / f"{n}/lib/lib{s}" for n, s in (
        ("nvjitlink", "nvJitLink.so.12"), ("cusparse", "cusparse.so.12"), ("nccl", "nccl.so.2"),
    ))  # fmt: skip
    shared(jit)
    shared(nccl)
    shared(sparse, needs=(jit, nccl), rpath="$ORIGIN/../../nvjitlink/lib:$ORIGIN/../../nccl/lib", new=True)
    old_cpp, new_cpp = toolkit / "libstdc++.so.6", tmp_path / "new/libstdc++.so.6"
    for path, version in ((old_cpp, "9"), (new_cpp, "99")):
        script = tmp_path / f"map{version}"
        script.write_text(f"GLIBCXX_3.4.{version} {{ global: made; local: *; }};")
        path.parent.mkdir(exist_ok=True)
        code = tmp_path / "made.c"
        code.write_text("int made(void) { return 1; }")
        shared(path, str(code), f"-Wl,--version-script,{script}")
    use = tmp_path / "use.c"
    use.write_text("int made(void); int used(void) { return made(); }")
    python = site / "torch/lib/libtorch_python.so"
    gone = tmp_path / "gone/libcudnn.so.9"
    shared(gone)
    shared(python, str(use), needs=(sparse, gone, new_cpp), rpath="$ORIGIN/../../nvidia/cusparse/lib")
    (site / "torch/version.py").write_text("__version__ = '2.5.1+cu124'\ncuda: Optional[str] = '12.4'\n")
    shared(toolkit / "libnvJitLink.so.12.1.105")
    (toolkit / "libnvJitLink.so.12").symlink_to("libnvJitLink.so.12.1.105")
    shared(toolkit / "libnccl.so.2")
    found = doctor(
        "CUD060", "CUD061", "CUD062", "CUD063",
        VIRTUAL_ENV=str(venv), HOME=str(tmp_path), LD_LIBRARY_PATH=str(toolkit),
    )  # fmt: skip
    assert found["CUD060"][1] == [
        f"libnvJitLink.so.12 12.1.105 in {toolkit}/libnvJitLink.so.12.1.105 comes before 12.4.127 in {jit} (LD_LIBRARY_PATH)"
    ]
    assert f"libnccl.so.2 in {toolkit}/libnccl.so.2 comes before {nccl} (LD_LIBRARY_PATH)" in found["CUD061"][1]
    assert found["CUD062"][1] == [
        f"{old_cpp} (LD_LIBRARY_PATH) offers GLIBCXX_3.4.9; torch/lib/libtorch_python.so in {venv} needs GLIBCXX_3.4.99"
    ]
    assert found["CUD063"][1] == [
        f"torch 2.5.1+cu124 in {venv} links to libcudnn.so.9 (for libtorch_python.so), found nowhere"
    ]


# --- control groups ---------------------------------------------------------------------------------------------------


@pytest.fixture
def group() -> Iterator[Any]:
    """Makes a control group of a controller (version 1 or 2) and gives its folder."""
    made: list[Path] = []

    def make(controller: str) -> Path:
        old = Path("/sys/fs/cgroup") / controller
        root = old if old.is_dir() else Path("/sys/fs/cgroup")
        folder = root / f"provision-test-{uuid.uuid4().hex[:8]}"
        folder.mkdir()
        made.append(folder)
        return folder

    yield make
    for folder in made:
        for _ in range(50):  # what was killed in it takes a moment to be gone
            try:
                folder.rmdir()
                break
            except OSError:
                time.sleep(0.1)
        assert not folder.exists()


def controllers_are_ours() -> bool:
    old = Path("/sys/fs/cgroup/memory/memory.limit_in_bytes")
    new = Path("/sys/fs/cgroup/cgroup.subtree_control")
    writable = old.exists() or (new.exists() and {"cpu", "memory", "pids"} <= set(new.read_text().split()))
    return ROOT and writable and os.access("/sys/fs/cgroup", os.W_OK)


needs_groups = pytest.mark.skipif(not controllers_are_ours(), reason="needs root and control groups that may be made")


@leaves_a_trace
@needs_groups
def test_a_group_that_killed_a_process(group: Any) -> None:
    folder = group("memory")
    limit = next(folder / n for n in ("memory.max", "memory.limit_in_bytes") if (folder / n).exists())
    limit.write_text(str(256 << 20))
    eat = shlex.quote("x = bytearray(1 << 30)")
    before = f"echo 0 > {folder}/cgroup.procs; {shlex.quote(sys.executable)} -c {eat} 2>/dev/null || true"
    said = doctor("MEM050", before=before)["MEM050"]
    assert said == ("found", ["the control group of this session has killed 1 process for its limit"])


@needs_groups
def test_a_group_whose_tasks_and_processors_are_used_up(group: Any) -> None:
    tasks, cpu = group("pids"), group("cpu")
    (tasks / "pids.max").write_text("48")
    if (cpu / "cpu.max").exists():
        (cpu / "cpu.max").write_text("10000 100000")
    else:
        (cpu / "cpu.cfs_quota_us").write_text("10000")
    before = f"""
        echo 0 > {tasks}/cgroup.procs; echo 0 > {cpu}/cgroup.procs
        for _ in $(seq 39); do sleep 30 >/dev/null 2>&1 & done
    """
    found = doctor("MON058", "LAT053", before=before)
    assert found["LAT053"][0] == "found"
    assert found["LAT053"][1][0].startswith("the quota of 0.1 processors was used up in ")
    assert found["MON058"][0] == "found"
