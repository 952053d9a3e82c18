"""The wheelhouse, filled by the real pip: whole, verified, and one clear message for each real cause of failure."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from provision import index, wheelhouse
from provision.errors import Busy, ChangeError, UsageError
from provision.index import IndexSettings

ROOT = Path(__file__).parents[2]
APP, LIB = "app-1.0-py3-none-any.whl", "lib-1.1-py3-none-any.whl"


def forbidden() -> IndexSettings:
    raise AssertionError("the indexes were asked for though every wheel is there")


@pytest.fixture
def lockfile(tmp_path: Path, wheels: Path, sha256: Callable) -> Path:
    """app 1.0 and lib 1.1, with the hashes of the ``wheels`` folder."""
    path = tmp_path / "small.txt"
    pins = (("app", "1.0", APP), ("lib", "1.1", LIB))
    path.write_text("".join(f"{n}=={v} \\\n    --hash=sha256:{sha256(wheels / f)}\n" for n, v, f in pins))
    return path


@pytest.fixture
def house(tmp_path: Path) -> Path:
    return tmp_path / "house"


def contents(house: Path) -> list[str]:
    """What stands in the house, without its lock file."""
    return sorted(path.name for path in house.iterdir() if path.name != ".lock")


def test_it_is_filled_and_then_asks_nobody(
    lockfile: Path, house: Path, offline: IndexSettings, wheels: Path, sha256: Callable
) -> None:
    first = wheelhouse.fill(lockfile, house, "3.11", lambda: offline)
    assert first.downloaded == ("app", "lib")
    assert [(wheel.name, wheel.version, wheel.filename) for wheel in first.wheels] == [
        ("app", "1.0", APP),
        ("lib", "1.1", LIB),
    ]
    assert [(wheel.sha256, wheel.size_bytes) for wheel in first.wheels] == [
        (sha256(wheels / name), (wheels / name).stat().st_size) for name in (APP, LIB)
    ]
    assert contents(house) == [APP, LIB]
    second = wheelhouse.fill(lockfile, house, "3.11", forbidden)
    assert (second.wheels, second.downloaded) == (first.wheels, ())


def test_only_what_is_missing_is_downloaded(lockfile: Path, house: Path, wheels: Path, serve: Callable) -> None:
    server = serve(wheels)
    settings = IndexSettings(index_url=server.url)
    wheelhouse.fill(lockfile, house, "3.11", lambda: settings)
    (house / LIB).unlink()
    server.asked.clear()
    assert wheelhouse.fill(lockfile, house, "3.11", lambda: settings).downloaded == ("lib",)
    assert not [path for path in server.asked if "app" in path]


def test_a_stranger_in_the_house_is_left_alone_and_not_counted(
    lockfile: Path, house: Path, offline: IndexSettings, make_wheel: Callable
) -> None:
    make_wheel(house, "lib", "1.0")
    make_wheel(house, "other", "5.0")
    filled = wheelhouse.fill(lockfile, house, "3.11", lambda: offline)
    assert [wheel.filename for wheel in filled.wheels] == [APP, LIB]
    assert "other-5.0-py3-none-any.whl" in contents(house)


def test_unpacked_bytes(lockfile: Path, house: Path, wheels: Path, make_wheel: Callable, sha256: Callable) -> None:
    before = sha256(wheels / LIB)
    make_wheel(wheels, "lib", "1.1", content=b"x" * 4096)
    lockfile.write_text(lockfile.read_text().replace(before, sha256(wheels / LIB)))
    settings = IndexSettings(no_index=True, find_links=(str(wheels),))
    filled = wheelhouse.fill(lockfile, house, "3.11", lambda: settings)
    listed = subprocess.run(
        [sys.executable, "-c", "import sys, zipfile\nfor p in sys.argv[1:]: zipfile.ZipFile(p).printdir()"]
        + [str(house / wheel.filename) for wheel in filled.wheels],
        capture_output=True, text=True, check=True,
    ).stdout.splitlines()  # fmt: skip
    sizes = [int(line.split()[-1]) for line in listed if not line.startswith("File Name")]
    assert wheelhouse.unpacked_bytes(filled) == sum(sizes)
    assert sum(sizes) > 4096


def test_a_wheel_that_was_tampered_with_is_found(
    lockfile: Path, house: Path, offline: IndexSettings, wheels: Path, make_wheel: Callable, sha256: Callable
) -> None:
    wheelhouse.fill(lockfile, house, "3.11", lambda: offline)
    with (house / LIB).open("r+b") as file:
        file.seek(40)
        byte = file.read(1)[0]
        file.seek(40)
        file.write(bytes([byte ^ 1]))
    with pytest.raises(ChangeError) as caught:
        wheelhouse.fill(lockfile, house, "3.11", forbidden)
    assert caught.value.message == (
        "lib 1.1: the wheel in the house is not the one that was locked. "
        f"Expected sha256 {sha256(wheels / LIB)}; got {sha256(house / LIB)} in {house / LIB}"
    )
    assert caught.value.next_command == f"rm {house / LIB}"
    (house / LIB).unlink()
    assert wheelhouse.fill(lockfile, house, "3.11", lambda: offline).downloaded == ("lib",)


@pytest.mark.parametrize("others", [0, 2])
def test_a_hash_that_does_not_match_names_package_expected_and_got(
    others: int, lockfile: Path, house: Path, offline: IndexSettings, wheels: Path, sha256: Callable
) -> None:
    real = sha256(wheels / LIB)
    wrong = [digit * 64 for digit in "abc"[: others + 1]]
    listed = " \\\n    --hash=sha256:".join(wrong)
    lockfile.write_text(lockfile.read_text().replace(real, listed))
    with pytest.raises(ChangeError) as caught:
        wheelhouse.fill(lockfile, house, "3.11", lambda: offline)
    more = f" or one of {others} more" if others else ""
    assert caught.value.message == (
        "lib==1.1: the wheel that the index gave is not the one that was locked. "
        f"Expected sha256 {wrong[0]}{more}; got {real}. Nothing was kept"
    )
    assert caught.value.next_command.startswith("provision lock small ")
    assert caught.value.exit_code == 4
    assert contents(house) == []


def test_an_index_that_lies_about_a_hash(
    lockfile: Path, house: Path, wheels: Path, serve: Callable, sha256: Callable, make_wheel: Callable
) -> None:
    """The page promises the locked hash, the file is another."""
    server = serve(wheels, json=False)
    real = sha256(wheels / LIB)
    server.answer = (
        f'{{"files": [{{"filename": "{LIB}", "url": "/files/{LIB}", "hashes": {{"sha256": "{real}"}}}}]}}'.encode()
    )
    make_wheel(wheels, "lib", "1.1", content=b"# evil")
    lockfile.write_text(f"lib==1.1 --hash=sha256:{real}\n")
    with pytest.raises(ChangeError, match=rf"lib==1\.1.*Expected sha256 {real}; got {sha256(wheels / LIB)}"):
        wheelhouse.fill(lockfile, house, "3.11", lambda: IndexSettings(index_url=server.url))
    assert contents(house) == []


def test_no_network_is_one_message_that_names_the_index(lockfile: Path, house: Path) -> None:
    with pytest.raises(ChangeError) as caught:
        wheelhouse.fill(lockfile, house, "3.11", lambda: IndexSettings(index_url="http://me:word@127.0.0.1:9/simple"))
    assert caught.value.message == (
        "the package index http://****@127.0.0.1:9/simple/app/ did not answer: [Errno 111] Connection refused. "
        "Nothing was changed"
    )
    assert contents(house) == []


def test_a_version_that_the_index_lost(lockfile: Path, house: Path, offline: IndexSettings, wheels: Path) -> None:
    (wheels / LIB).unlink()
    with pytest.raises(ChangeError, match=r"pip download failed, nothing was kept: .*lib==1\.1"):
        wheelhouse.fill(lockfile, house, "3.11", lambda: offline)
    assert contents(house) == []


def test_a_wheel_for_another_machine_is_not_taken(
    lockfile: Path, house: Path, offline: IndexSettings, wheels: Path, make_wheel: Callable, sha256: Callable
) -> None:
    other = make_wheel(wheels, "lib", "1.1", tag="cp311-cp311-manylinux_2_37_x86_64")
    generic = sha256(wheels / LIB)
    (wheels / LIB).unlink()
    lockfile.write_text(lockfile.read_text().replace(generic, sha256(other)))
    with pytest.raises(ChangeError, match="pip download failed"):
        wheelhouse.fill(lockfile, house, "3.11", lambda: offline)
    filled = wheelhouse.fill(lockfile, house, "3.11", lambda: offline, glibc="2.37")
    assert [wheel.filename for wheel in filled.wheels] == [APP, other.name]
    # In the house of a machine with an older C library that same file is no answer either.
    with pytest.raises(ChangeError, match="pip download failed"):
        wheelhouse.fill(lockfile, house, "3.11", lambda: offline, glibc="2.36")


@pytest.mark.parametrize("text", ["lib>=1.1\n", "lib==1.1\n", "--find-links x\n"])
def test_a_lock_that_cannot_be_used(text: str, lockfile: Path, house: Path) -> None:
    lockfile.write_text(text)
    with pytest.raises(UsageError, match=rf"{lockfile}:1: ") as caught:
        wheelhouse.fill(lockfile, house, "3.11", forbidden)
    assert caught.value.next_command == "provision lock small"
    assert not house.exists()
    with pytest.raises(UsageError, match="cannot be read"):
        wheelhouse.fill(lockfile.with_name("none.txt"), house, "3.11", forbidden)


def test_a_password_in_a_lock_is_not_told(lockfile: Path, house: Path) -> None:
    lockfile.write_text("lib @ https://me:s3cr3t-word@h.test/lib.whl\n")
    with pytest.raises(UsageError, match=r"https://\*\*\*\*@h\.test") as caught:
        wheelhouse.fill(lockfile, house, "3.11", forbidden)
    assert "s3cr3t" not in caught.value.message


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 256 KiB of its own."""
    folder = tmp_path / "disk"
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(folder)], check=True)
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root: mounts a file system or drops privileges")


@needs_root
def test_a_full_disk_leaves_nothing(
    lockfile: Path, small_disk: Path, wheels: Path, make_wheel: Callable, sha256: Callable
) -> None:
    before = sha256(wheels / LIB)
    make_wheel(wheels, "lib", "1.1", content=os.urandom(512 * 1024))
    lockfile.write_text(lockfile.read_text().replace(before, sha256(wheels / LIB)))
    house = small_disk / "house"
    settings = IndexSettings(no_index=True, find_links=(str(wheels),))
    with pytest.raises(ChangeError, match=rf"the disk is full: \d+ bytes are free at {house}") as caught:
        wheelhouse.fill(lockfile, house, "3.11", lambda: settings)
    assert caught.value.next_command == f"df -h {house}"
    assert contents(house) == []


@needs_root
def test_a_folder_that_may_not_be_written(lockfile: Path, tmp_path: Path, offline: IndexSettings) -> None:
    locked = tmp_path / "locked"
    locked.mkdir(mode=0o755)
    # pytest's own folders are closed to others: open the way down, so that the refusal is the folder's own.
    for parent in (tmp_path, *tmp_path.parents[:2]):
        parent.chmod(0o755)
    os.seteuid(65534)
    try:
        with pytest.raises(ChangeError, match=r"the wheelhouse .*locked/house cannot be used: Permission denied"):
            wheelhouse.fill(lockfile, locked / "house", "3.11", lambda: offline)
    finally:
        os.seteuid(0)


CHILD = """
import sys
from pathlib import Path
from provision import wheelhouse
from provision.index import IndexSettings
wheelhouse.fill(Path(sys.argv[1]), Path(sys.argv[2]), "3.11", lambda: IndexSettings(index_url=sys.argv[3]))
"""


def test_killed_while_downloading_then_run_again(lockfile: Path, house: Path, wheels: Path, serve: Callable) -> None:
    """kill -9 with one wheel on its way: the next run clears the remains away and fills the house. And while the
    first one lives, a second one says who holds the house."""
    server = serve(wheels, wheel_seconds=30)
    child = subprocess.Popen(
        [sys.executable, "-c", CHILD, str(lockfile), str(house), server.url],
        cwd=ROOT, start_new_session=True, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        deadline = time.monotonic() + 60
        while not any("/files/" in path for path in server.asked) and time.monotonic() < deadline:
            time.sleep(0.05)
        with pytest.raises(Busy, match="another run is filling the wheelhouse"):
            wheelhouse.fill(lockfile, house, "3.11", lambda: IndexSettings(index_url=server.url))
    finally:
        os.killpg(child.pid, signal.SIGKILL)
        child.wait()
    assert [name.startswith(".partial-") for name in contents(house)] == [True]
    server.wheel_seconds = 0
    filled = wheelhouse.fill(lockfile, house, "3.11", lambda: IndexSettings(index_url=server.url))
    assert filled.downloaded == ("app", "lib")
    assert contents(house) == [APP, LIB]


@pytest.mark.network
def test_a_real_lock_from_the_real_indexes(tmp_path: Path, house: Path) -> None:
    """A slice of the tool's own lock: pure Python, a C extension and a binary of several candidates."""
    text = (ROOT / "lockfiles" / "tool-py311.txt").read_text()
    wanted = ("click", "markupsafe", "pyyaml")
    blocks = [block for block in text.split("\n") if not block.startswith("#")]
    lines, keep = [], False
    for line in blocks:
        if not line.startswith(" "):
            keep = line.partition("==")[0] in wanted
        if keep and line.strip() and not line.strip().startswith("#"):
            lines.append(line)
    (tmp_path / "slice.txt").write_text("\n".join(lines) + "\n")
    filled = wheelhouse.fill(tmp_path / "slice.txt", house, "3.11", index.read)
    assert [wheel.name for wheel in filled.wheels] == list(wanted)
    assert wheelhouse.fill(tmp_path / "slice.txt", house, "3.11", forbidden).wheels == filled.wheels
    assert wheelhouse.unpacked_bytes(filled) > sum(wheel.size_bytes for wheel in filled.wheels)
