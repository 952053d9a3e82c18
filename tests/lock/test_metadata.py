"""METADATA without the wheel, and the tables that follow from it, against a real index on the loopback interface."""

from __future__ import annotations

import datetime
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tomllib

from provision import index
from provision.catalog import refresh, tables
from provision.errors import ChangeError
from provision.index import IndexSettings
from provision.lock import metadata
from provision.lock.pages import Pages

LINUX = "cp311-cp311-manylinux_2_28_x86_64"
TODAY, LATER = datetime.date(2026, 11, 24), datetime.date(2027, 1, 2)
OLDEST = {"torch": "2.0", "vllm": "0.4", "sglang": "0.4", "bitsandbytes": "0.42", "flash-attn": "2", "triton": "2"}
SOURCES = {"flash_attn-2.7.0.tar.gz": ">=3.8", "flash_attn-2.8.0.tar.gz": ">=3.9", "flash_attn-2.8.1.tar.gz": ">=3.9"}


@pytest.fixture
def wheels(tmp_path: Path, make_wheel: Callable[..., Path]) -> Path:
    """Two torch releases, a withdrawn one, a pre-release, another platform; two engines."""
    folder = tmp_path / "index"
    linux = '; platform_system == "Linux"'
    gpu = (f"nvidia-cuda-runtime-cu12==12.8.90{linux}", f"nvidia-cudnn-cu12==9.10.2.21{linux}", f"triton==3.5.0{linux}")
    make_wheel(folder, "torch", "2.9.0", *gpu, f"nvidia-nccl-cu12==2.27.5{linux}", tag=LINUX)
    until = 'triton==2.2.0; platform_system == "Linux" and python_version < "3.12"'
    make_wheel(folder, "torch", "2.0.1", until, tag="cp311-cp311-manylinux1_x86_64")
    make_wheel(folder, "torch", "2.0.1", until, tag="cp312-cp312-manylinux1_x86_64")
    make_wheel(folder, "torch", "2.9.0", tag="cp312-cp312-macosx_11_0_arm64")
    new = (f"cuda-toolkit[cublas,cudart]==13.2.2{linux}", "triton~=3.9.0", "nvidia-cudnn-cu13==9.26; extra == 'x'")
    make_wheel(folder, "torch", "2.15.0", *new, tag=LINUX, content=os.urandom(3 << 20))
    make_wheel(folder, "torch", "2.15.0", *new, tag="cp310-cp310-manylinux2014_x86_64")
    make_wheel(folder, "torch", "2.15.0", *new, tag="cp313-cp313t-manylinux_2_28_x86_64")
    for left_out in ("2.15.1", "2.16.0rc1", "1.13.0"):
        make_wheel(folder, "torch", left_out, tag=LINUX)
    for version, torch in (("0.5.0", "2.3.0"), ("0.5.1", "2.3.0"), ("0.6.0", "2.9.0")):
        make_wheel(folder, "vllm", version, f"torch=={torch}", tag="cp38-abi3-manylinux1_x86_64")
    make_wheel(folder, "sglang", "0.4.1", "torch==2.5.1; extra == 'srt'", "torch; extra == 'other'")
    make_wheel(folder, "sglang", "0.5.0", "requests")
    kernels = "py3-none-manylinux_2_24_x86_64"
    for version in ("0.49.0", "0.50.0", "0.50.1"):
        make_wheel(
            folder, "bitsandbytes", version, "torch<3,>=2.3" if version < "0.50" else "torch>=2.4,<3", tag=kernels
        )
    make_wheel(
        folder, "bitsandbytes", "0.50.2", "torch", tag="py3-none-win_amd64"
    )  # nothing for Linux: not a release here
    for python in ("cp39", "cp311"):
        make_wheel(folder, "triton", "3.5.0", tag=f"{python}-{python}-manylinux_2_28_x86_64.manylinux_2_27_x86_64")
    for source in SOURCES:
        (folder / source).write_bytes(b"a source archive is never opened")
    return folder


def pages(served: Any) -> Pages:
    served.pythons.update(SOURCES)
    return Pages(IndexSettings(index_url=served.url))


@pytest.mark.parametrize("how", [{}, {"metadata": True}, {"json": False}, {"json": False, "metadata": True}], ids=str)
def test_metadata_is_read_without_the_wheel(serve: Any, wheels: Path, how: dict[str, bool]) -> None:
    served = serve(wheels, **how)
    read = pages(served)
    (wheel,) = (w for w in read.wheels("torch", "2.15.0") if LINUX in w.filename)
    said = metadata.of(read, wheel)
    assert (said["Name"], said["Version"]) == ("torch", "2.15.0")
    assert any(path.endswith(".metadata") for path in served.asked) is bool(how.get("metadata"))
    assert served.sent_bytes < 600_000 < (wheels / wheel.filename).stat().st_size


def test_metadata_of_a_file_on_disk(wheels: Path) -> None:
    read = Pages(IndexSettings(no_index=True, find_links=(str(wheels),)))
    (wheel,) = read.wheels("vllm", "0.6.0")
    assert metadata.of(read, wheel).get_all("Requires-Dist") == ["torch==2.9.0"]


def test_an_index_without_ranges_is_said(serve: Any, wheels: Path) -> None:
    read = pages(serve(wheels, ranges=False))
    with pytest.raises(ChangeError, match=r"vllm-0.6.0-.*: the index answers no ranged request"):
        metadata.of(read, read.wheels("vllm", "0.6.0")[0])


def test_a_file_that_is_no_wheel_is_said(serve: Any, wheels: Path) -> None:
    (wheels / f"torch-2.9.5-{LINUX}.whl").write_bytes(b"x" * 2000)
    read = pages(serve(wheels))
    with pytest.raises(ChangeError, match=r"torch-2.9.5-.*: its METADATA cannot be read: File is not a zip file"):
        metadata.of(read, read.wheels("torch", "2.9.5")[0])


@pytest.mark.parametrize("beside", [True, False])
@pytest.mark.parametrize(
    ("how", "message"),
    [
        ({"failures": [404]}, r"vllm-0\.6\.0-.*: an index lists (it|its METADATA), which is not there"),
        ({"broken_off": 5}, r"vllm-0\.6\.0-.*: its METADATA cannot be read: IncompleteRead"),
        ({"broken_off": 5, "chunked": True}, r"vllm-0\.6\.0-.*: its METADATA cannot be read: IncompleteRead"),
    ],
    ids=str,
)
def test_an_index_that_does_not_give_what_it_lists(
    beside: bool, how: dict[str, Any], message: str, serve: Any, wheels: Path
) -> None:
    """METADATA as a file of its own, or read from the wheel by ranges."""
    served = serve(wheels, metadata=beside)
    read = pages(served)
    (wheel,) = read.wheels("vllm", "0.6.0")
    for name, value in how.items():
        setattr(served, name, list(value) if isinstance(value, list) else value)
    with pytest.raises(ChangeError, match=message):
        metadata.of(read, wheel)


def test_a_wheel_whose_bytes_are_damaged_is_said(wheels: Path) -> None:
    (path,) = wheels.glob("vllm-0.6.0-*.whl")
    import zipfile

    with zipfile.ZipFile(path) as archive:
        (name,) = (n for n in archive.namelist() if n.endswith("/METADATA"))
        content = archive.read(name)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(name, content * 50)
        start = archive.infolist()[0].header_offset + 30 + len(name)
    damaged = bytearray(path.read_bytes())
    damaged[start : start + 8] = b"\xff" * 8
    path.write_bytes(damaged)
    read = Pages(IndexSettings(no_index=True, find_links=(str(wheels),)))
    with pytest.raises(ChangeError, match=r"vllm-0\.6\.0-.*: its METADATA cannot be read: "):
        metadata.of(read, read.wheels("vllm", "0.6.0")[0])


def test_tables_follow_from_the_index(serve: Any, wheels: Path, tmp_path: Path) -> None:
    withdrawn = f"torch-2.15.1-{LINUX}.whl"
    moved = refresh.refresh(pages(serve(wheels, yanked=(withdrawn,))), tmp_path, TODAY, OLDEST)
    releases = tomllib.loads((tmp_path / "torch_releases.toml").read_text())["release"]
    assert [(r["torch"], r["pythons"], r["glibc"]) for r in releases] == [
        ("2.0.1", ["3.11", "3.12"], "2.5"),
        ("2.9.0", ["3.11"], "2.28"),
        ("2.15.0", ["3.10", "3.11"], "2.28"),
    ]
    assert [(r["cuda"], r["cudnn"], r["nccl"], r["triton"]) for r in releases] == [
        ("", "", "", "2.2.0"),  # of the wheel for 3.11, though the one for 3.12 is read
        ("12.8", "9.10.2.21", "2.27.5", "3.5.0"),
        ("13.2", "", "", "3.9.0"),
    ]
    pins = tomllib.loads((tmp_path / "engine_torch.toml").read_text())["pin"]
    assert [(p["engine"], p["first"], p["last"], p["torch"], p["date"]) for p in pins] == [
        ("vllm", "0.5.0", "0.5.1", "2.3.0", TODAY),
        ("vllm", "0.6.0", "0.6.0", "2.9.0", TODAY),
        ("sglang", "0.4.1", "0.4.1", "2.5.1", TODAY),
    ]
    assert len(moved) == 15 and moved[0] == "torch_releases.toml: new: torch 2.0.1"


@pytest.mark.parametrize("json", [True, False])
def test_what_the_other_packages_ask_for_is_a_range_of_releases(
    serve: Any, wheels: Path, tmp_path: Path, json: bool
) -> None:
    refresh.refresh(pages(serve(wheels, json=json)), tmp_path, TODAY, OLDEST)
    rows = tomllib.loads((tmp_path / "package_releases.toml").read_text())["range"]
    said = [
        (r["package"], r["first"], r["last"], r["kind"], r["requires_python"], r["pythons"], r["glibc"], r["torch"])
        for r in rows
    ]
    assert said == [
        ("bitsandbytes", "0.49.0", "0.49.0", "wheel", "", [], "2.24", "<3,>=2.3"),
        ("bitsandbytes", "0.50.0", "0.50.1", "wheel", "", [], "2.24", "<3,>=2.4"),
        ("flash-attn", "2.7.0", "2.7.0", "sdist", ">=3.8", [], "", ""),
        ("flash-attn", "2.8.0", "2.8.1", "sdist", ">=3.9", [], "", ""),
        ("sglang", "0.4.1", "0.4.1", "wheel", "", [], "", "==2.5.1"),
        ("sglang", "0.5.0", "0.5.0", "wheel", "", [], "", ""),
        ("triton", "3.5.0", "3.5.0", "wheel", "", ["3.9", "3.11"], "2.27", ""),
        ("vllm", "0.5.0", "0.5.1", "wheel", "", [], "2.5", "==2.3.0"),
        ("vllm", "0.6.0", "0.6.0", "wheel", "", [], "2.5", "==2.9.0"),
    ]


def test_no_address_and_no_password_is_written(serve: Any, wheels: Path, tmp_path: Path) -> None:
    served = serve(wheels, user="anna:geheim")
    tables_folder, kept = tmp_path / "tables", tmp_path / "kept"
    tables_folder.mkdir()
    refresh.refresh(pages(served), tables_folder, TODAY, OLDEST, kept)
    assert "Basic " in served.authorizations[-1]
    written = [path.read_text() for folder in (tables_folder, kept) for path in folder.iterdir()]
    assert len(written) > 10
    assert not [text for text in written if any(word in text for word in ("geheim", "anna", "127.0.0.1", "http://"))]


def test_metadata_that_was_read_is_not_asked_for_again(
    serve: Any, wheels: Path, tmp_path: Path, make_wheel: Callable[..., Path]
) -> None:
    kept = tmp_path / "kept"
    refresh.refresh(pages(serve(wheels)), tmp_path, TODAY, OLDEST, kept)
    before = {f.name: f.read_bytes() for f in tmp_path.glob("*.toml")}
    again = serve(wheels)
    assert refresh.refresh(pages(again), tmp_path, LATER, OLDEST, kept) == ()
    assert [path for path in again.asked if path.startswith("/files/")] == []
    assert {f.name: f.read_bytes() for f in tmp_path.glob("*.toml")} == before
    make_wheel(wheels, "vllm", "0.6.1", "torch==2.9.0", tag="cp38-abi3-manylinux1_x86_64")
    third = serve(wheels)
    moved = refresh.refresh(pages(third), tmp_path, LATER, OLDEST, kept)
    assert moved == ("engine_torch.toml: changed: vllm from 0.6.0", "package_releases.toml: changed: vllm from 0.6.0")
    assert {path for path in third.asked if path.startswith("/files/")} == {
        "/files/vllm-0.6.1-cp38-abi3-manylinux1_x86_64.whl"
    }


def test_all_tables_are_written_or_none(serve: Any, wheels: Path, tmp_path: Path, monkeypatch: Any) -> None:
    refresh.refresh(pages(serve(wheels)), tmp_path, TODAY, OLDEST)
    before = {f.name: f.read_bytes() for f in tmp_path.iterdir() if f.is_file()}
    (wheels / f"torch-2.9.0-{LINUX}.whl").unlink()
    for gone in ("vllm-0.6.0-*", "bitsandbytes-0.49.0-*"):
        next(wheels.glob(gone)).unlink()
    renamed = os.replace
    calls: list[str] = []

    def full(source: Any, target: Any) -> None:
        calls.append(Path(target).name)
        if Path(target).name == "package_releases.toml":
            raise OSError(28, "No space left on device")
        renamed(source, target)

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(OSError, match="No space left"):
        refresh.refresh(pages(serve(wheels)), tmp_path, LATER, OLDEST)
    assert calls.index("torch_releases.toml") < calls.index("package_releases.toml")  # one was new already
    assert {f.name: f.read_bytes() for f in tmp_path.iterdir() if f.is_file()} == before


def test_a_second_refresh_writes_the_same_bytes_and_names_what_moved(
    serve: Any, wheels: Path, tmp_path: Path, make_wheel: Callable[..., Path]
) -> None:
    refresh.refresh(pages(serve(wheels)), tmp_path, TODAY, OLDEST)
    before = {f.name: f.read_bytes() for f in tmp_path.glob("*.toml")}
    assert refresh.refresh(pages(serve(wheels)), tmp_path, LATER, OLDEST) == ()
    assert {f.name: f.read_bytes() for f in tmp_path.glob("*.toml")} == before
    make_wheel(wheels, "vllm", "0.6.1", "torch==2.15.0", tag="cp38-abi3-manylinux1_x86_64")
    (wheels / f"torch-2.9.0-{LINUX}.whl").unlink()
    moved = refresh.refresh(pages(serve(wheels)), tmp_path, LATER, OLDEST)
    assert moved == (
        "torch_releases.toml: gone: torch 2.9.0",
        "engine_torch.toml: new: vllm from 0.6.1",
        "package_releases.toml: new: vllm from 0.6.1",
    )
    pins = tomllib.loads((tmp_path / "engine_torch.toml").read_text())["pin"]
    assert {p["first"]: p["date"] for p in pins}["0.6.1"] == LATER


def test_an_index_that_lacks_a_package_empties_no_table(serve: Any, wheels: Path, tmp_path: Path) -> None:
    for file in wheels.glob("flash_attn-*"):
        file.unlink()
    with pytest.raises(ChangeError, match="no configured index has any release of flash-attn; no table was written"):
        refresh.refresh(pages(serve(wheels)), tmp_path, TODAY, OLDEST)
    assert list(tmp_path.glob("*.toml")) == []


def test_nothing_is_written_where_the_index_is_silent(serve: Any, wheels: Path, tmp_path: Path) -> None:
    with pytest.raises(ChangeError, match="did not answer"):
        refresh.refresh(Pages(IndexSettings(index_url="http://127.0.0.1:9/simple")), tmp_path, TODAY, OLDEST)
    assert list(tmp_path.glob("*.toml")) == []


@pytest.mark.network
def test_the_newest_rows_kept_here_are_what_the_users_index_says(tmp_path: Path) -> None:
    newest = sorted(tables.torch_releases().values(), key=lambda r: [int(x) for x in r.torch.split(".")])[-1]
    only = {name: "9999" for name in refresh.OLDEST} | {
        "torch": newest.torch,
        "bitsandbytes": "0.50",
        "flash-attn": "2.8",
    }
    refresh.refresh(Pages(index.read()), tmp_path, TODAY, only)
    rows = tomllib.loads((tmp_path / "torch_releases.toml").read_text())["release"]
    (row,) = (r for r in rows if r["torch"] == newest.torch)
    assert {k: v for k, v in row.items() if k != "date"} == {
        f: list(v) if isinstance(v := getattr(newest, f), tuple) else v for f in row if f != "date"
    }
    ranges = tomllib.loads((tmp_path / "package_releases.toml").read_text())["range"]
    here = {(row.package, row.last): row for row in tables.package_ranges()}
    assert {row["package"] for row in ranges} == {"bitsandbytes", "flash-attn"}
    for row in ranges:
        kept = here[row["package"], row["last"]]
        assert (kept.kind, kept.requires_python, kept.torch) == (row["kind"], row["requires_python"], row["torch"])
