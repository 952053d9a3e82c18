"""NVML through the real binding (pynvml), before a stub library and before Debian's real one."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from provision import child, codec, facts
from provision.fact import Absent, Missing, collect
from provision.facts.gpus import Gpus
from provision.host import LocalHost
from provision.recorded import RecordedHost

facts.load()
HERE = Path(__file__).parent


@pytest.mark.parametrize(
    ("mode", "case"),
    [("h100", "h100"), ("rtx4090", "geforce-without-mig"), ("gb10", "unified-memory-gb10"), ("h100-lost", "one-lost")],
)
def test_the_recordings_are_what_the_binding_says(nvml_stub: Callable[[str], None], mode: str, case: str) -> None:
    nvml_stub(mode)
    recorded = json.loads((HERE / "Gpus" / f"{case}.json").read_text())["answers"]["nvml"]["known"]
    said = LocalHost().nvml()
    assert {name: said[name] for name in recorded} == recorded
    assert codec.load(Gpus, recorded).driver_version == "580.82.07"


def test_a_pending_mig_mode_is_seen(nvml_stub: Callable[[str], None]) -> None:
    nvml_stub("h100-mig")
    (gpu,) = collect(LocalHost(), "here", "0", ["Gpus"]).facts["Gpus"].gpus
    assert (gpu.mig_mode, gpu.mig_mode_pending) == (False, True)


@pytest.mark.parametrize(
    ("mode", "reason"),
    [
        ("not-loaded", Absent("the NVIDIA kernel module is not loaded")),
        ("mismatch", Missing("the driver's library and the loaded kernel module are of different versions")),
        ("permission", Missing("permission denied by the NVIDIA driver")),
        ("unknown", Missing("unknown error; in a container: its device nodes may have been taken away")),
    ],
)
def test_a_return_code_becomes_its_meaning(nvml_stub: Callable[[str], None], mode: str, reason: Exception) -> None:
    nvml_stub(mode)
    with pytest.raises(type(reason)) as raised:
        LocalHost().nvml()
    assert raised.value == reason


def test_a_driver_that_never_answers_is_missing(
    nvml_stub: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    nvml_stub("hang")
    monkeypatch.setattr(child, "NVML_DEADLINE_SECONDS", 1.0)
    with pytest.raises(Missing, match=r"^NVML gave no answer in 1 s$"):
        LocalHost().nvml()


def test_a_hung_driver_leaves_the_other_facts_alone(
    nvml_stub: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    nvml_stub("hang")
    monkeypatch.setattr(child, "NVML_DEADLINE_SECONDS", 1.0)
    found = collect(LocalHost(), "here", "0", ["Gpus", "Memory", "System"]).facts
    assert found["Gpus"] == Missing("NVML gave no answer in 1 s")
    assert found["Memory"].total_bytes > 0


def test_no_library_is_absent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LD_LIBRARY_PATH", raising=False)
    if "libnvidia-ml.so.1" in LocalHost().run("ldconfig", "-p"):
        pytest.skip("the NVIDIA driver is here: its own library answers")
    with pytest.raises(Absent, match=r"^the NVIDIA management library \(libnvidia-ml.so.1\) is not installed$"):
        LocalHost().nvml()


def test_a_library_that_cannot_be_loaded_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "libnvidia-ml.so.1").write_text("cut off in the middle of an upgrade")
    monkeypatch.setenv("LD_LIBRARY_PATH", str(tmp_path))
    with pytest.raises(
        Missing, match=r"^the NVIDIA management library cannot be loaded: .*(invalid ELF header|file too short)"
    ):
        LocalHost().nvml()


def test_without_the_binding_it_is_missing_and_says_why(
    nvml_stub: Callable[[str], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nvml_stub("h100")
    bare = tmp_path / "bare"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", bare], check=True)
    monkeypatch.setattr(sys, "executable", str(bare / "bin" / "python3"))
    with pytest.raises(Missing) as raised:
        LocalHost().nvml()
    assert raised.value.reason == (
        f"{bare}/bin/python3 has no pynvml (package nvidia-ml-py), which asks the NVIDIA management library"
    )


def test_a_pynvml_in_the_working_directory_is_not_run(
    nvml_stub: Callable[[str], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nvml_stub("h100")
    (tmp_path / "pynvml.py").write_text("raise SystemExit('a stranger ran')\n")
    monkeypatch.chdir(tmp_path)
    assert LocalHost().nvml()["driver_version"] == "580.82.07"


def test_the_cards_decide_between_absent_and_missing() -> None:
    library = {"nvml": {"absent": "the NVIDIA kernel module is not loaded"}}
    bus = "/sys/bus/pci/devices/0000:01:00.0"
    card = {
        f"read {bus}/{k}": {"known": v}
        for k, v in {"vendor": "0x10de", "device": "0x2684", "class": "0x030000"}.items()
    }
    reasons = [
        collect(RecordedHost(answers), "m", "0", ["Gpus"]).facts["Gpus"] for answers in (library, library | card)
    ]
    assert reasons == [
        Absent("the NVIDIA kernel module is not loaded"),
        Missing("the NVIDIA kernel module is not loaded"),
    ]


# --- Debian's own library ---------------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def debians_library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of libnvidia-ml.so.1 from Debian's non-free, fetched from the archive that this host uses."""
    if shutil.which("apt-get") is None:
        pytest.skip("no Debian archive: this host has no apt")
    folder = tmp_path_factory.mktemp("apt")
    (folder / "sources").mkdir()
    (folder / "lists" / "partial").mkdir(parents=True)
    text = "".join(path.read_text() + "\n\n" for path in sorted(Path("/etc/apt/sources.list.d").glob("*.sources")))
    stanzas = [s for s in re.split(r"\n\s*\n", text) if "debian-archive-keyring" in s and "-security" not in s]
    if not stanzas:
        pytest.skip("no Debian archive: no deb822 source signed by Debian")
    source = re.sub(r"^Components:.*$", "Components: non-free", stanzas[0], flags=re.MULTILINE)
    (folder / "sources" / "nonfree.sources").write_text(source + "\n")
    apt = (
        *("apt-get", "-q", "-o", "Dir::Etc::sourcelist=/dev/null", "-o", f"Dir::Etc::sourceparts={folder}/sources"),
        *("-o", f"Dir::State::lists={folder}/lists", "-o", f"Dir::Cache={folder}/cache"),
        *("-o", "APT::Sandbox::User=root"),
    )
    for arguments in (["update"], ["download", "libnvidia-ml1"]):
        done = subprocess.run([*apt, *arguments], cwd=folder, capture_output=True, text=True, timeout=60, check=False)
        if done.returncode != 0 or "Err:" in done.stdout:
            pytest.skip("no Debian archive: libnvidia-ml1 is not reachable")
    (package,) = folder.glob("libnvidia-ml1_*.deb")
    subprocess.run(["dpkg", "-x", package, folder / "tree"], check=True)
    return next((folder / "tree").rglob("libnvidia-ml.so.1")).parent


@pytest.mark.network
def test_nvidias_own_library_says_the_driver_is_not_loaded(
    debians_library: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if Path("/sys/module/nvidia").exists():
        pytest.skip("the NVIDIA driver is here: its own library answers")
    monkeypatch.setenv("LD_LIBRARY_PATH", str(debians_library))
    with pytest.raises(Absent, match=r"^the NVIDIA kernel module is not loaded$"):
        LocalHost().nvml()
