"""[dependencies] of provision.toml: a lock of ours or of the user's own, read strictly with the spec."""

from __future__ import annotations

from pathlib import Path

import pytest

from provision import spec
from provision.catalog import locks
from provision.errors import Refused, UsageError
from provision.spec_dependencies import DependenciesSpec, Pinned

REQUIREMENTS = """
# comment
-i https://example.com/simple
--find-links wheels
--extra-index-url=https://example.com/more
-c constraints.txt
--require-hashes
--only-binary :all:
Torch==2.13.0+cu130 \\
    --hash=sha256:00 \\
    --hash=sha256:11    # via something
ruamel.yaml[jinja2] == 0.18.6 ; python_version >= "3.8" --hash=sha256:22
exact===2024b
numpy==1.26.4 ; python_version < "3.12" and sys_platform == "linux"
numpy==2.4.6 ; python_version >= "3.12"
patched @ https://example.com/patched-1.0-py3-none-any.whl
"""
PYLOCK = """
lock-version = "1.0"
created-by = "uv"
[[packages]]
name = "Typing_Extensions"
version = "4.16.0"
[[packages]]
name = "colorama"
version = "0.4.6"
marker = "sys_platform == 'win32'"
[[packages]]
name = "ours"
directory = { path = "." }
"""


def load(folder: Path, lock: str, text: str | None = None, more: str = "") -> DependenciesSpec:
    if text is not None:
        (folder / lock).write_text(text)
    (folder / "provision.toml").write_text(f'[dependencies]\nlock = "{lock}"\n{more}')
    return spec.load(folder / "provision.toml").dependencies


def test_a_requirements_file_beside_provision_toml_is_read(tmp_path: Path) -> None:
    read = load(tmp_path, "requirements.txt", REQUIREMENTS, 'environment = "/opt/app"')
    assert (read.lock, read.environment) == ("requirements.txt", "/opt/app")
    assert read.pins == (
        Pinned(name="torch", version="2.13.0+cu130"),
        Pinned(name="ruamel-yaml", version="0.18.6", marker='python_version >= "3.8"'),
        Pinned(name="exact", version="2024b"),
        Pinned(name="numpy", version="1.26.4", marker='python_version < "3.12" and sys_platform == "linux"'),
        Pinned(name="numpy", version="2.4.6", marker='python_version >= "3.12"'),
        Pinned(name="patched", version=""),
    )


def test_a_pylock_is_read(tmp_path: Path) -> None:
    assert load(tmp_path, "pylock.toml", PYLOCK).pins == (
        Pinned(name="typing-extensions", version="4.16.0"),
        Pinned(name="colorama", version="0.4.6", marker="sys_platform == 'win32'"),
        Pinned(name="ours", version=""),
    )


@pytest.mark.parametrize("name", ["smoke-cpu-py311", "serve-cu130-py312"])
def test_a_lock_of_ours_is_known_by_its_name(tmp_path: Path, name: str) -> None:
    read = load(tmp_path, name)
    assert {pin.name: pin.version for pin in read.pins} == locks.pins(name)
    assert not any(pin.marker for pin in read.pins)


def test_without_the_section_nothing_is_read(tmp_path: Path) -> None:
    (tmp_path / "provision.toml").write_text("")
    assert spec.load(tmp_path / "provision.toml").dependencies == DependenciesSpec()


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("torch>=2\n", "requirements.txt: line 1: expected name==version, got 'torch>=2'"),
        ("\n\ntorch\n", "requirements.txt: line 3: expected name==version, got 'torch'"),
        ("torch==2.*\n", "line 1: expected name==version"),
        ("-r other.txt\n", "line 1: expected name==version, got '-r other.txt'"),
        ("-e .\n", "line 1: expected name==version, got '-e .'"),
        ("a==1 \\\n  ; python_version <\n", "line 1: a: a marker ends too early"),
        ("a==1 ; nonsense == 'x'\n", "line 1: a: 'nonsense' is not known to markers"),
        ("# nothing\n--require-hashes\n", "requirements.txt names no package"),
        ("", "requirements.txt names no package"),
    ],
)
def test_what_is_no_lock_is_refused_with_its_line(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(Refused, match=r"dependencies\.lock: ") as refused:
        load(tmp_path, "requirements.txt", text)
    assert says in refused.value.message


@pytest.mark.parametrize("before", ["", "a" * 25 + " "])
def test_a_password_in_a_line_is_not_told(tmp_path: Path, before: str) -> None:
    """Nor the part of it that stands before the place where the line is cut."""
    line = f"{before}git+https://me:s3cr3t-word-that-is-long@example.com/app.git"
    with pytest.raises(Refused) as refused:
        load(tmp_path, "requirements.txt", line + "\n")
    assert "s3cr3t" not in refused.value.message
    assert "git+https://****@example.com" in refused.value.message


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("lock-version =", "pylock.toml: not TOML: "),
        ("[[packages]]\nname = 'a'\nversion = '1'\n", "expected lock-version and [[packages]] (PEP 751)"),
        ("lock-version = '1.0'\npackages = 'a'\n", "expected lock-version and [[packages]] (PEP 751)"),
        ("lock-version = '1.0'\n[[packages]]\nversion = '1'\n", "packages[0]: expected a name and a version"),
        ("lock-version = '1.0'\n[[packages]]\nname = 'a'\nversion = 1\n", "packages[0]: expected a name and a version"),
        ("lock-version = '1.0'\npackages = ['a']\n", "packages[0]: expected a name and a version"),
        (
            "lock-version = '1.0'\n[[packages]]\nname = 'a'\nversion = '1'\nmarker = \"'dev' in dependency_groups\"\n",
            "packages[0]: a: 'dependency_groups' is not known to markers",
        ),
        ("lock-version = '1.0'\npackages = []\n", "pylock.toml names no package"),
    ],
)
def test_what_is_no_pylock_is_refused(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(Refused, match=r"dependencies\.lock: ") as refused:
        load(tmp_path, "pylock.toml", text)
    assert says in refused.value.message


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('lock = "none.txt"', "dependencies.lock: none.txt: no such file or directory; expected a file beside provision.toml"),
        ('lock = "smoke-cpu-py310"', "smoke-cpu-py311"),
        ('lock = "."', "dependencies.lock: .: is a directory"),
        ('environment = "/opt/app"', "dependencies.lock: missing; expected the lock that dependencies.environment was made from"),
        ('lock = "requirements.txt"\nenvironment = "venv"', "dependencies.environment: expected the absolute path"),
        ('lock = "requirements.txt"\npins = [{ name = "a", version = "1" }]', "dependencies.pins: read from the lock"),
        ('lok = "requirements.txt"', 'dependencies.lok: unknown key (did you mean "lock"?)'),
        ("lock = 1", "dependencies.lock: expected str, got int"),
    ],
)  # fmt: skip
def test_the_section_is_read_strictly(tmp_path: Path, text: str, says: str) -> None:
    (tmp_path / "requirements.txt").write_text("a==1\n")
    (tmp_path / "provision.toml").write_text(f"[dependencies]\n{text}\n")
    with pytest.raises(UsageError) as refused:
        spec.load(tmp_path / "provision.toml")
    assert says in refused.value.message
