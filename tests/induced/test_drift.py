"""Drift that is really made: environments that pip installs from wheels, then changed, looked at by the doctor itself.

The CUDA wheels are stand-ins of a few lines under NVIDIA's names: the real ones need no GPU to conflict, and are gigabytes.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.wheels import make_venv, make_wheel, pip

from .rooms import doctor, outcomes

LOCK = """
# what was tested
--index-url https://example.com/simple
first==1.0 \\
    --hash=sha256:0000000000000000000000000000000000000000000000000000000000000000
second[fast]==2.0 ; python_version >= "3"
third==3.0 ; sys_platform == "win32"
"""
QUIET = {"DEP070": "ok", "DEP071": "ok"}


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A folder with an environment made from a lock, the lock, and a provision.toml that names both."""
    wheels = [make_wheel(tmp_path, "first", "1.0"), make_wheel(tmp_path, "second", "2.0")]
    make_venv(tmp_path / "venv")
    pip(tmp_path / "venv", "--no-deps", *wheels)
    (tmp_path / "requirements.txt").write_text(LOCK)
    (tmp_path / "provision.toml").write_text(
        f'[dependencies]\nlock = "requirements.txt"\nenvironment = "{tmp_path}/venv"\n'
    )
    return tmp_path


def looked(place: Path, *codes: str, **variables: str) -> dict[str, tuple[str, list[str]]]:
    return doctor(*(codes or ("DEP070", "DEP071")), cwd=place, HOME=str(place / "home"), VIRTUAL_ENV="", **variables)


def test_an_environment_that_is_its_lock_is_quiet_until_it_is_not(place: Path) -> None:
    assert outcomes(looked(place)) == QUIET
    pip(place / "venv", "--no-deps", make_wheel(place, "third", "3.0"))
    pip(place / "venv", "--no-deps", make_wheel(place, "second", "2.1"))
    shutil.rmtree(next(place.glob("venv/lib/python3*/site-packages")) / "first-1.0.dist-info")
    found = looked(place)
    assert found == {
        "DEP070": (
            "found",
            [f"{place}/venv is not requirements.txt: not installed: first 1.0; second 2.1 instead of 2.0"],
        ),
        "DEP071": ("found", [f"{place}/venv holds what requirements.txt does not name: third 3.0"]),
    }
    shutil.rmtree(place / "venv")
    assert outcomes(looked(place)) == {"DEP070": "found", "DEP071": "skipped"}


def test_facts_that_were_taken_for_a_spec_are_judged_elsewhere(place: Path) -> None:
    program = [sys.executable, "-m", "provision"]
    for options, outcome in ((["--spec", "provision.toml"], "ok"), ([], "unknown")):
        subprocess.run([*program, "facts", "-o", "facts.json", *options], cwd=place, check=True)
        judge = [*program, "doctor", "--facts", "facts.json", "--select", "DEP070", "--format", "json"]
        done = subprocess.run(judge, cwd=place, capture_output=True, text=True, check=False)
        assert [one["outcome"] for one in json.loads(done.stdout)["results"]] == [outcome], done.stdout


def test_the_project_itself_from_its_folder_is_no_stranger(place: Path) -> None:
    project = place / "project"
    (project / "backend").mkdir(parents=True)
    (project / "pyproject.toml").write_text(
        '[project]\nname = "ours"\nversion = "0.1"\n'
        '[build-system]\nrequires = []\nbuild-backend = "b"\nbackend-path = ["backend"]\n'
    )
    # A build backend of a few lines: what an editable wheel holds is a path.
    (project / "backend/b.py").write_text(
        "import sys; sys.path.insert(0, " + repr(str(Path(__file__).parents[2])) + ")\n"
        "from pathlib import Path\nfrom tests.wheels import make_wheel\n"
        "def build_editable(folder, *_):\n"
        "    return make_wheel(Path(folder), 'ours', '0.1', {'__editable__.ours.pth': b'/somewhere'}).name\n"
    )
    pip(place / "venv", "--no-deps", "--no-build-isolation", "-e", project)
    assert (next(place.glob("venv/lib/python3*/site-packages")) / "ours-0.1.dist-info/direct_url.json").exists()
    assert outcomes(looked(place)) == QUIET


def version_that_is_imported(prefix: Path, name: str, **variables: str) -> str:
    script = f"import importlib.metadata as m; print([d.version for d in m.distributions(name='{name}')][:1])"
    done = subprocess.run(
        [prefix / "bin/python", "-c", script],
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.strip()


def user_packages(place: Path, *wheels: Path) -> dict[str, str]:
    """A PYTHONUSERBASE with these in it."""
    site = place / "base/lib" / f"python{sys.version_info.major}.{sys.version_info.minor}" / "site-packages"
    pip(place / "venv", "--no-deps", "--target", site, *wheels)
    return {"PYTHONUSERBASE": str(place / "base")}


def test_the_users_own_packages_count_where_python_lets_them_in(place: Path) -> None:
    """Python itself is asked beside us: of the user's packages a virtual environment that is open takes what it lacks."""
    base = user_packages(place, make_wheel(place, "first", "9.0"), make_wheel(place, "third", "3.0"))
    venv, lock = place / "venv", place / "requirements.txt"
    lock.write_text("first==1.0\nsecond==2.0\nthird==3.0\n")
    lacking = ("found", [f"{venv} is not requirements.txt: not installed: third 3.0"])
    assert version_that_is_imported(venv, "third", **base) == "[]"
    assert looked(place, "DEP070", **base)["DEP070"] == lacking
    settings = venv / "pyvenv.cfg"
    settings.write_text(settings.read_text().replace("packages = false", "packages = true"))
    assert version_that_is_imported(venv, "third", **base) == "['3.0']"
    assert version_that_is_imported(venv, "first", **base) == "['1.0']"  # its own comes before the user's
    assert outcomes(looked(place, **base)) == QUIET
    assert looked(place, "DEP070", **base, PYTHONNOUSERSITE="1")["DEP070"] == lacking


def test_user_packages_before_those_of_conda(place: Path) -> None:
    """Conda's own Python, but for its name: this one, from a folder that looks like conda's."""
    base = user_packages(place, make_wheel(place, "numpy", "1.26.4"))
    conda = place / "conda"
    site = conda / "lib" / f"python{sys.version_info.major}.{sys.version_info.minor}" / "site-packages"
    pip(place / "venv", "--no-deps", "--target", site, make_wheel(place, "numpy", "2.4.6"))
    (conda / "conda-meta").mkdir()
    (conda / f"conda-meta/python-{'.'.join(map(str, sys.version_info[:3]))}-0.json").write_text("{}")
    (place / "provision.toml").write_text(f'[dependencies]\nlock = "requirements.txt"\nenvironment = "{conda}"\n')
    (place / "requirements.txt").write_text("numpy==2.4.6\n")
    variables = {"CONDA_PREFIX": str(conda), **base}
    found = looked(place, "DEP014", "DEP070", **variables)
    assert f"{place}/base comes before {conda}: numpy 1.26.4 instead of 2.4.6" in found["DEP014"][1]
    said = f"{conda} is not requirements.txt: numpy 1.26.4 (pip install --user) instead of 2.4.6"
    assert found["DEP070"] == ("found", [said])
    found = looked(place, "DEP014", "DEP070", **variables, PYTHONNOUSERSITE="1")
    assert outcomes(found) == {"DEP014": "skipped", "DEP070": "ok"}


def test_two_cuda_majors_and_requirements_of_an_extra_that_are_not_met(tmp_path: Path) -> None:
    make_venv(tmp_path / "venv")
    torch = ["nvidia-cudnn-cu13==9.13.0", "helper[fast]>=1"]
    helper = ["speed>=2; extra == 'Fast'", "never; extra == 'slow'", "other; extra == 'fast' and python_version < '3'"]
    wheels = [
        make_wheel(tmp_path, "torch", "2.13.0", requires=torch),
        make_wheel(tmp_path, "helper", "1.0", requires=helper),
        make_wheel(tmp_path, "speed", "1.0"),
        make_wheel(tmp_path, "nvidia-cudnn-cu12", "9.1.0.70"),
        make_wheel(tmp_path, "nvidia-cudnn-cu13", "9.13.0"),
    ]
    pip(tmp_path / "venv", "--no-deps", *wheels)
    variables = {"VIRTUAL_ENV": str(tmp_path / "venv"), "HOME": str(tmp_path)}
    found = doctor("DEP013", "DEP052", "DEP053", **variables)
    venv = tmp_path / "venv"
    assert f"{venv} holds NVIDIA packages for CUDA 12 and 13, nvidia-cudnn in both" in found["DEP013"][1]
    assert f"in {venv}: helper 1.0 requires speed>=2 and 1.0 is installed" in found["DEP052"][1]
    assert found["DEP053"][1] == []
    pip(venv, "--no-deps", make_wheel(tmp_path, "speed", "2.0"))
    assert not [said for said in doctor("DEP052", **variables)["DEP052"][1] if "helper" in said]


def test_files_that_were_edited_and_removed_are_found_on_request_only(place: Path) -> None:
    command = [sys.executable, "-m", "provision", "doctor", "--select", "DEP073", "--format", "json"]
    environment = {**os.environ, "VIRTUAL_ENV": str(place / "venv"), "HOME": str(place)}

    def run(*more: str) -> tuple[str, str]:
        done = subprocess.run(
            [*command, *more], cwd=place, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode in (0, 3), done.stderr
        return done.stdout, done.stderr

    assert '"outcome": "skipped"' in run()[0]
    out, err = run("--files")
    assert '"outcome": "ok"' in out
    assert f"{place}/venv: 8 files of 2 packages hashed, 0.00 GiB; passed over: 10 made at installation" in err
    site = next(place.glob("venv/lib/python3*/site-packages"))
    (site / "first.py").write_text("VALUE = 43\n")
    (site / "second.py").unlink()
    out, _ = run("--files")
    assert f"in {place}/venv: 1 file edited: first.py; 1 file removed: second.py" in out
