"""Files of installed packages against their RECORD: in environments that pip made."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from provision import installed
from provision.fact import Missing
from provision.host import LocalHost
from tests.wheels import make_venv, make_wheel, pip

BIG_BYTES = 3 * installed.CHUNK_BYTES + 1


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment with two packages: one with a program, data and a large file, and one that ships a file of the first."""
    folder = tmp_path_factory.mktemp("installed")
    site = make_venv(folder / "venv")
    big = {
        "first_data/big.bin": bytes(BIG_BYTES),
        "shared/__init__.py": b"",
        "first-1.0.data/data/etc/first.conf": b"a",
    }
    # A wheel's own "scripts" that are no text: copied as they are.
    binary = {"first-1.0.data/scripts/first-tool": b"\x7fELF not a script"}
    wheels = [
        make_wheel(folder, "first", "1.0", {**big, **binary}),
        make_wheel(folder, "second", "2.0", {"shared/__init__.py": b"# not empty\n"}),
    ]
    for wheel in wheels:  # one after the other: the second overwrites the file that both have
        pip(folder / "venv", "--no-deps", "--no-warn-conflicts", wheel)
    assert site.is_dir()
    return folder / "venv"


@pytest.fixture
def venv(template: Path, tmp_path: Path) -> Path:
    """A copy of it, moved: what pip wrote into programs is another path now."""
    shutil.copytree(template, tmp_path / "moved", symlinks=True)
    for program in (tmp_path / "moved/bin").glob("first"):
        program.write_text(program.read_text().replace(str(template), str(tmp_path / "moved")))
    return tmp_path / "moved"


def site(prefix: Path) -> Path:
    return next(prefix.glob("lib/python3*/site-packages"))


def look(prefix: Path, seconds: float = 60.0) -> dict[str, Any]:
    return LocalHost().installed([], [str(site(prefix))], seconds)


def test_what_pip_installed_and_an_environment_that_was_moved_are_as_recorded(template: Path, venv: Path) -> None:
    for prefix in (template, venv):
        found = look(prefix)
        assert (found["packages"], found["edited"], found["missing"], found["unreadable"]) == (2, 0, 0, 0), found
        assert found["named"] == {} and found["without_record"] == [] and found["unfinished"] == ""
    # Two modules, one shared file, the large one, the binary program, and METADATA, WHEEL and entry_points.txt of both.
    assert found["files"] == 11
    assert found["bytes"] > BIG_BYTES
    assert found["passed_over"] == {
        "made at installation": 12,  # bytecode of a module and the shared file, and four notes of pip's; both twice
        "outside the package folder": 1,
        "scripts, whose first line an installer writes": 2,
    }


def test_edited_removed_and_unreadable_files_are_told_apart(venv: Path) -> None:
    (site(venv) / "first.py").write_text("VALUE = 43\n\n\ndef main():\n    return 0\n")  # the same size
    (site(venv) / "first_data/big.bin").unlink()
    (site(venv) / "second.py").unlink()
    (site(venv) / "second.py").mkdir()
    (venv / "bin/first-tool").write_bytes(b"\x7fELF another")
    found = look(venv)
    assert found["named"] == {
        "edited": [f"first 1.0: {venv}/bin/first-tool", "first 1.0: first.py"],
        "missing": ["first 1.0: first_data/big.bin"],
        "unreadable": ["second 2.0: second.py"],
    }
    assert (found["edited"], found["missing"], found["unreadable"]) == (2, 1, 1)


def test_a_file_is_as_recorded_if_one_of_its_packages_says_so(venv: Path) -> None:
    shared = site(venv) / "shared/__init__.py"
    assert shared.read_bytes() == b"# not empty\n"  # the second package's, which came last
    shared.write_bytes(b"")  # the first package's
    assert look(venv)["edited"] == 0
    shared.write_bytes(b"# nobody's\n")
    assert look(venv)["named"]["edited"] == ["first 1.0: shared/__init__.py"]


@pytest.mark.parametrize(
    ("edit", "passed_over"),
    [
        (lambda row: row.partition(",")[0] + ",,", "without a hash"),
        (lambda row: row.replace("sha256=", "crc32="), "with an unknown hash"),
    ],
)
def test_a_line_without_a_hash_that_can_be_compared_is_passed_over(venv: Path, edit: Any, passed_over: str) -> None:
    record = site(venv) / "first-1.0.dist-info/RECORD"
    rows = record.read_text().splitlines()
    record.write_text("".join(f"{edit(row) if row.startswith('first.py') else row}\n" for row in rows))
    (site(venv) / "first.py").write_text("edited")
    found = look(venv)
    assert found["edited"] == 0
    assert found["passed_over"][passed_over] == 1


def test_a_file_that_one_of_its_packages_records_without_a_hash_is_not_judged(venv: Path) -> None:
    record = site(venv) / "second-2.0.dist-info/RECORD"
    rows = record.read_text().splitlines()
    bare = [f"{row.partition(',')[0]},," if row.startswith("shared/__init__.py") else row for row in rows]
    record.write_text("".join(f"{row}\n" for row in bare))
    assert look(venv)["edited"] == 0  # it is the second package's, and not what the first one records


def test_bytecode_notes_and_configuration_may_change_and_go(venv: Path) -> None:
    shutil.rmtree(site(venv) / "__pycache__")
    (site(venv) / "first-1.0.dist-info/INSTALLER").write_text("uv")
    (site(venv) / "first-1.0.dist-info/REQUESTED").touch()
    (venv / "etc/first.conf").write_text("changed, as configuration is")
    (venv / "bin/first").write_text("#!/somewhere/else/python\n")
    found = look(venv)
    assert (found["edited"], found["missing"]) == (0, 0), found["named"]


def test_condas_packages_are_passed_over_and_one_without_a_record_is_named(venv: Path) -> None:
    (site(venv) / "first-1.0.dist-info/INSTALLER").write_text("conda\n")
    (site(venv) / "first.py").write_text("/opt/conda was written into it")
    (site(venv) / "second-2.0.dist-info/RECORD").unlink()
    found = look(venv)
    assert (found["packages"], found["edited"]) == (0, 0)
    assert found["passed_over"] == {"of conda": 1}
    assert found["without_record"] == ["second 2.0"]


def test_a_record_cannot_send_us_elsewhere(venv: Path) -> None:
    record = site(venv) / "first-1.0.dist-info/RECORD"
    lines = [f"{'../' * 12}dev/zero,sha256=x,1", "/dev/zero,sha256=x,1", "first_data/null,sha256=x,1"]
    record.write_text(record.read_text() + "\n".join(lines) + "\n\udcff,sha256=x,1\n".encode(errors="replace").decode())
    (site(venv) / "first_data/null").symlink_to("/dev/zero")
    found = look(venv, seconds=20)
    assert found["passed_over"]["outside the package folder"] == 3
    assert found["named"]["unreadable"] == ["first 1.0: first_data/null"]


def test_it_ends_when_its_time_is_over_and_says_how_far_it_came(venv: Path) -> None:
    found = look(venv, seconds=0.0)
    assert found["unfinished"] == "its 0 s were over after 0 of 13 files"
    assert found["files"] == 0


def test_a_child_that_is_stuck_is_killed(venv: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file whose reading never ends: a pipe that nobody writes to, in the place of a RECORD."""
    record = site(venv) / "first-1.0.dist-info/RECORD"
    record.unlink()
    os.mkfifo(record)
    monkeypatch.setattr("provision.host.DEADLINE_SECONDS", 1.0)
    with pytest.raises(Missing, match=r"gave no answer in 1\.5 s"):
        look(venv, seconds=0.5)


PARENT = """
import sys
from provision.host import LocalHost
LocalHost().installed([], [sys.argv[1]], 600)
"""


def test_the_child_ends_with_whoever_asked(venv: Path) -> None:
    """Ctrl-C in the doctor: no child goes on hashing gigabytes for nobody."""
    with (site(venv) / "first_data/big.bin").open("r+b") as file:
        file.truncate(1 << 40)  # a hole: no disk is filled, and reading it takes hours
    parent = subprocess.Popen([sys.executable, "-c", PARENT, str(site(venv))])
    children = Path(f"/proc/{parent.pid}/task/{parent.pid}/children")
    (child,) = wait_for(lambda: children.read_text().split())
    state = Path(f"/proc/{child}/stat")
    wait_for(
        lambda: int(state.read_text().rpartition(")")[2].split()[11]) > 20
    )  # it is at work: 0.2 s of processor time
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    wait_for(lambda: not state.exists() or state.read_text().rpartition(")")[2].split()[0] == "Z")


def wait_for(condition: Any, seconds: float = 60.0) -> Any:
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, "it never came"
        time.sleep(0.02)
    return found


@pytest.fixture
def layers(venv: Path, tmp_path: Path) -> Iterator[list[str]]:
    """The environment as an image's lowest layer at /opt/venv, with an empty layer over it."""
    lower, upper = tmp_path / "lower", tmp_path / "upper"
    (lower / "opt").mkdir(parents=True)
    upper.mkdir()
    venv.rename(lower / "opt/venv")
    yield [str(upper), str(lower)]


def test_an_images_layers_are_read_as_one(layers: list[str]) -> None:
    upper, lower = map(Path, layers)
    inside = str(site(lower / "opt/venv").relative_to(lower))
    look_in = lambda: LocalHost().installed(layers, [f"/{inside}"], 60)  # noqa: E731
    assert (look_in()["packages"], look_in()["files"], look_in()["edited"]) == (2, 11, 0)
    (upper / inside).mkdir(parents=True)
    (upper / inside / "first.py").write_text("edited in a container")
    (lower / inside / "second.py").unlink()
    (lower / inside / "second.py").symlink_to("/etc/passwd")
    found = look_in()
    assert found["named"] == {"edited": ["first 1.0: first.py"]}
    assert found["passed_over"]["a link"] == 1
    assert json.dumps(found)
