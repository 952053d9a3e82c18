"""Our search for libraries against the real loader's, over libraries compiled here; and our ELF reader on damaged files."""

from __future__ import annotations

import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from provision import elf
from provision.fact import Missing
from provision.facts.linkage import Linkage, linkage
from provision.facts.packages import PackageEnvironment, Packages, TorchBuild
from provision.host import LocalHost

SAY = "import ctypes,sys; ctypes.CDLL(sys.argv[1]); print(open('/proc/self/maps').read())"


def library(path: Path, *needed: Path, rpath: str = "", new: bool = False) -> None:
    """A shared library called ``path.name`` that needs others; ``new``: its path is a RUNPATH, not an RPATH."""
    path.parent.mkdir(parents=True, exist_ok=True)
    tags = "--enable-new-dtags" if new else "--disable-new-dtags"
    options = [f"-Wl,-soname,{path.name}", f"-Wl,{tags}", "-Wl,--no-as-needed", "-Wl,--allow-shlib-undefined"]
    if rpath:
        options.append(f"-Wl,-rpath,{rpath}")
    source = path.with_suffix(".c")
    source.write_text(f"int made_{abs(hash(path.name)) % 9999}(void) {{ return 1; }}\n")
    subprocess.run(["gcc", "-shared", "-fPIC", "-o", path, source, *options, *needed], check=True)


@pytest.fixture(params=[False, True], ids=["RPATH", "RUNPATH"])
def environment(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Path, bool]:
    """An environment shaped as torch's: libcusparse finds libnvJitLink by RPATH of its loader, or by its own RUNPATH."""
    site = tmp_path / "venv/lib/python3.11/site-packages"
    jit = site / "nvidia/nvjitlink/lib/libnvJitLink.so.12"
    sparse = site / "nvidia/cusparse/lib/libcusparse.so.12"
    library(jit)
    own = "$ORIGIN/../../nvjitlink/lib" if request.param else ""
    library(sparse, jit, rpath=own, new=True)
    folders = "$ORIGIN:$ORIGIN/../../nvidia/cusparse/lib:$ORIGIN/../../nvidia/nvjitlink/lib"
    library(site / "torch/lib/libtorch_python.so", sparse, rpath=folders)
    library(tmp_path / "toolkit/libnvJitLink.so.12")
    return tmp_path, bool(request.param)


def ours(folder: Path) -> dict[str, Any]:
    site = folder / "venv/lib/python3.11/site-packages"
    one = PackageEnvironment(
        prefix=str(folder / "venv"),
        kind="venv",
        python="3.11",
        packages=(("torch", "2.5.1"),),
        torch=TorchBuild(version="2.5.1", cuda="12.4", hip=None),
    )
    found = linkage(LocalHost(), Packages(environments=(one,), in_use=one.prefix, looked_in=(str(site),)))
    assert isinstance(found, Linkage)
    return {one.name: one for one in found.environments[0].linked}


def theirs(folder: Path, path: str) -> str:
    start = folder / "venv/lib/python3.11/site-packages/torch/lib/libtorch_python.so"
    done = subprocess.run(
        [sys.executable, "-c", SAY, start], env={"LD_LIBRARY_PATH": path}, capture_output=True, text=True, check=True
    )
    (loaded,) = {line.split()[-1] for line in done.stdout.splitlines() if line.endswith("libnvJitLink.so.12")}
    return loaded


def test_the_copy_that_wins_is_the_one_that_the_real_loader_takes(
    environment: tuple[Path, bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, runpath = environment
    toolkit = str(folder / "toolkit")
    monkeypatch.setenv("LD_LIBRARY_PATH", toolkit)
    found = ours(folder)["libnvJitLink.so.12"]
    assert found.path == theirs(folder, toolkit)
    assert found.own_path == theirs(folder, "")
    assert found.why == ("LD_LIBRARY_PATH" if runpath else "RPATH of libtorch_python.so")


def test_versions_that_are_asked_for_are_those_that_readelf_shows() -> None:
    path = Path(sys.executable).resolve()
    wanted = {version for versions in elf.read(str(path))["wants"].values() for version in versions}
    shown = subprocess.run(["readelf", "-V", "-W", path], capture_output=True, text=True, check=True).stdout
    assert wanted
    assert all(f"Name: {version} " in shown for version in wanted)


def test_what_is_no_library_is_missing(tmp_path: Path) -> None:
    text = tmp_path / "x.so"
    text.write_text("INPUT(-lfoo)")
    with pytest.raises(Missing, match="not a 64-bit little-endian ELF file"):
        LocalHost().elf(str(text))


def test_a_damaged_library_is_said_to_be_one_and_never_crashes(tmp_path: Path) -> None:
    whole = tmp_path / "libwhole.so"
    library(whole)
    content, damaged, random_ = whole.read_bytes(), tmp_path / "libdamaged.so", random.Random(0)
    for _ in range(400):
        broken = bytearray(content)
        for _ in range(random_.randrange(1, 40)):
            broken[random_.randrange(16, 4096)] = random_.randrange(256)
        damaged.write_bytes(bytes(broken[: random_.randrange(64, len(broken))]))
        try:
            elf.read(str(damaged))
        except elf.NotElf:
            continue
