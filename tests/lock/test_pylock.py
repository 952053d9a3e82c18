"""The PEP 751 form of a lock: valid by the specification's own reader, equal to the .txt, written with it or not at all."""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import tomllib
from packaging.pylock import PackageWheel, Pylock, is_valid_pylock_path

from provision.errors import ChangeError
from provision.index import IndexSettings
from provision.lock import make, pylock, text, variants
from provision.lock.check import check_lock
from provision.lock.target import Target
from provision.lock.variants import Requirement, Variant

LOCKFILES = Path(__file__).parents[2] / "lockfiles"
ASKED = Requirement(name="app", bound=">=1", because="", source="here", date="2026-11-24")
VARIANT = Variant(
    name="small",
    purpose="none of the catalog's",
    accelerator="cpu",
    target=Target(python="3.11", glibc="2.36", machine="x86_64"),
    origin="",
    requirements=(ASKED,),
    agree_with=(),
    forbidden=(),
    forbidden_because="",
)


@pytest.fixture
def lock(tmp_path: Path, offline: IndexSettings) -> Callable[..., make.Locked]:
    def run(settings: IndexSettings = offline, variant: Variant = VARIANT) -> make.Locked:
        folder = tmp_path / "locks"
        return make.lock_variant(variant, lockfiles=folder, pyproject=tmp_path / "pyproject.toml", settings=settings)

    return run


def check(made: make.Locked) -> list[tuple[str, str]]:
    folder = made.lock_path.parent
    found = check_lock(VARIANT, lockfiles=folder, pyproject=folder.parent / "pyproject.toml")
    return [(problem.kind, problem.message) for problem in found]


def edit(path: Path, old: str, new: str) -> None:
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new, 1))


def test_the_whole_text(lock: Callable[..., make.Locked], wheels: Path, make_wheel: Callable, sha256: Callable) -> None:
    """Of lib the wheel for this Python is the best, another target's is not listed, nor what an extra requires."""
    app = make_wheel(wheels, "app", "1.0", "lib>=1", 'more; extra == "all"', 'win; sys_platform == "win32"')
    best = make_wheel(wheels, "lib", "1.1", tag="cp311-cp311-manylinux_2_28_x86_64")
    make_wheel(wheels, "lib", "1.1", tag="cp311-cp311-manylinux_2_38_x86_64")
    make_wheel(wheels, "lib", "1.1", tag="cp311-cp311-macosx_11_0_arm64")
    plain = wheels / "lib-1.1-py3-none-any.whl"
    made = lock()
    title = "small: none of the catalog's, accelerator cpu, CPython 3.11, glibc 2.36, x86_64."

    def wheel(path: Path) -> str:
        size = path.stat().st_size
        return f'    {{path = "wheels/{path.name}", size = {size}, hashes = {{sha256 = "{sha256(path)}"}}}},\n'

    pythons = 'tool.provision.pythons = ["3.11", "3.12", "3.13", "3.14"]\n'
    assert made.pylock_path.name == "pylock.small.toml"
    assert made.pylock_path.read_text() == (
        f"# {title}\n"
        "# Made by a command, not by hand:\n"
        "#     provision lock small\n"
        "# small.txt in the form of PEP 751: the wheels of it that this target loads, in a folder `wheels` beside this file.\n"
        'lock-version = "1.0"\n'
        "environments = [\"sys_platform == 'linux' and platform_machine == 'x86_64' and implementation_name == 'cpython'\"]\n"
        'requires-python = "==3.11.*"\n'
        'created-by = "provision"\n'
        "\n[[packages]]\n"
        'name = "app"\nversion = "1.0"\ndependencies = [{name = "lib"}]\n'
        f"wheels = [\n{wheel(app)}]\n"
        f'{pythons}tool.provision.requires = [\n    "lib>=1",\n]\n'
        "\n[[packages]]\n"
        'name = "lib"\nversion = "1.1"\n'
        f"wheels = [\n{wheel(best)}{wheel(plain)}]\n"
        f"{pythons}"
        f'\n[tool.provision]\nlock-sha256 = "{sha256(made.lock_path)}"\n'
    )
    assert check(made) == []


def test_an_extra_that_is_asked_for_brings_its_requirements(
    lock: Callable[..., make.Locked], wheels: Path, make_wheel: Callable
) -> None:
    make_wheel(wheels, "app", "1.0", 'lib>=1; extra == "all"', 'none; extra == "other"')
    made = lock(variant=replace(VARIANT, requirements=(replace(ASKED, bound="[All]>=1"),)))
    app, lib = pylock.parse(made.pylock_path.read_text()).packages
    assert (app.extras, app.requires, app.dependencies) == (("all",), ('lib>=1; extra == "all"',), ("lib",))
    assert lib.extras == ()


def test_the_pythons_are_those_with_a_wheel_that_the_metadata_admits(
    lock: Callable[..., make.Locked], wheels: Path, make_wheel: Callable
) -> None:
    make_wheel(wheels, "app", "1.5", "lib", tag="cp311-cp311-manylinux_2_28_x86_64")
    make_wheel(wheels, "app", "1.5", "lib", tag="cp313-cp313-manylinux_2_28_x86_64")
    make_wheel(wheels, "app", "1.5", "lib", tag="cp314-cp314-musllinux_1_2_x86_64")
    make_wheel(wheels, "lib", "1.5", 'never; extra == "x"\nRequires-Python: >=3.10,<3.13')  # a line more of METADATA
    app, lib = pylock.parse(lock().pylock_path.read_text()).packages
    assert (app.version, app.pythons) == ("1.5", ("3.11", "3.13"))
    assert (lib.version, lib.pythons) == ("1.5", ("3.11", "3.12"))


def test_sizes_are_those_of_the_index(lock: Callable[..., make.Locked], wheels: Path, serve: Callable) -> None:
    sized = lock(
        IndexSettings(
            index_url=serve(
                wheels,
                sizes=True,
            ).url
        )
    )
    known = {w.filename: w.size_bytes for p in pylock.parse(sized.pylock_path.read_text()).packages for w in p.wheels}
    assert known == {name: (wheels / name).stat().st_size for name in known} != {}
    unsized = lock(IndexSettings(index_url=serve(wheels).url))
    assert "size" not in unsized.pylock_path.read_text()
    assert sized.lock_path.read_bytes() == unsized.lock_path.read_bytes()


def test_of_two_files_with_one_name_the_first_place_is_believed(
    lock: Callable[..., make.Locked], wheels: Path, tmp_path: Path, make_wheel: Callable, sha256: Callable
) -> None:
    """An installer finds one file under the path; the .txt keeps both hashes."""
    other = make_wheel(tmp_path / "other", "lib", "1.1", content=b"# rebuilt")
    made = lock(IndexSettings(no_index=True, find_links=(str(wheels), str(other.parent))))
    (lib,) = [each for each in pylock.parse(made.pylock_path.read_text()).packages if each.name == "lib"]
    assert [each.sha256 for each in lib.wheels] == [sha256(wheels / other.name)]
    assert sha256(other) in made.lock_path.read_text()
    assert check(made) == []


@pytest.mark.parametrize(
    ("old", "new", "kind", "said"),
    [
        ('version = "1.1"', 'version = "1.0"', "drift", ": not as PEP 751 has it: .*'1.0'"),
        ('lock-version = "1.0"', 'lock-version = "2.0"', "drift", ": not as PEP 751 has it: pylock version 2.0"),
        ('created-by = "provision"\n', "", "drift", ": not as PEP 751 has it: Missing required value in 'created-by'"),
        ("lock-version", "= lock-version", "drift", ": no TOML: .*line 5"),
        ("tool.provision.pythons", "tool.other.pythons", "drift", ": what provision writes is not there: 'pythons'"),
        ('lock-sha256 = "', 'lock-sha256 = "0', "drift", ": it was made with another small.txt"),
        ("==3.11.*", ">=3.9", "drift", ": requires-python is '>=3.9', the target has 3.11"),
        ("x86_64' and", "aarch64' and", "drift", ": environments is .*, which is not the target"),
        ('name = "lib"\nversion = "1.1"', 'name = "lib"', "drift", ": what provision writes is not there: 'version'"),
        (
            "-py3-none-any",
            "-cp312-cp312-linux_x86_64",
            "wrong-tag",
            ":15: app-1.0-cp312-cp312-linux_x86_64.whl: CPython 3.11",
        ),
        (
            "-py3-none-any",
            "-py3-none-manylinux_2_38_x86_64",
            "wrong-tag",
            ":15: .*with glibc 2.36 on x86_64 cannot load it",
        ),
        ('sha256 = "', 'sha256 = "0', "drift", ":15: app-1.0-py3-none-any.whl: small.txt has no such hash"),
    ],
)
def test_what_the_pep_751_form_says_otherwise_is_named(
    old: str, new: str, kind: str, said: str, lock: Callable[..., make.Locked]
) -> None:
    made = lock()
    edit(made.pylock_path, old, new)
    ((found, message),) = check(made)
    assert found == kind
    assert re.match(r"pylock\.small\.toml" + said, message), message


def test_packages_that_one_of_the_two_lacks_are_named(lock: Callable[..., make.Locked]) -> None:
    made = lock()
    whole = made.pylock_path.read_text()
    first, app, lib_and_end = whole.split("\n[[packages]]\n")
    lib, end = lib_and_end.split("\n[tool.provision]")
    made.pylock_path.write_text("\n[[packages]]\n".join([first, app]) + "\n[tool.provision]" + end)
    assert check(made) == [("drift", "pylock.small.toml: lib 1.1 of small.txt is not here")]
    more = lib.replace("lib", "more")
    made.pylock_path.write_text("\n[[packages]]\n".join([first, app, lib, more]) + "\n[tool.provision]" + end)
    assert check(made) == [("drift", "pylock.small.toml:31: more 1.1 is not in small.txt")]
    made.pylock_path.write_text(re.sub(r"wheels = \[\n.*\n\]", "wheels = []", whole, count=1))
    assert [kind for kind, _ in check(made)] == ["drift"]


def test_another_version_in_the_txt_is_named(lock: Callable[..., make.Locked]) -> None:
    made = lock()
    edit(made.lock_path, "lib==1.1", "lib==1.0")
    assert check(made) == [
        ("drift", "pylock.small.toml: it was made with another small.txt"),
        ("drift", "pylock.small.toml:23: lib 1.1 here, 1.0 in small.txt"),
    ]


@pytest.mark.parametrize("nth", [1, 2, 3, 4])
@pytest.mark.parametrize("error", [OSError(errno.EIO, os.strerror(errno.EIO)), KeyboardInterrupt()], ids=["I/O", "^C"])
def test_all_three_files_or_none(
    nth: int,
    error: BaseException,
    lock: Callable[..., make.Locked],
    wheels: Path,
    make_wheel: Callable,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made = lock()
    folder = made.lock_path.parent
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    make_wheel(wheels, "app", "2.0")
    renames = []
    real = Path.replace

    def failing(self: Path, target: Path) -> Path:
        renames.append(target)
        if len(renames) == nth:
            raise error
        return real(self, target)

    monkeypatch.setattr(Path, "replace", failing)
    changed = replace(VARIANT, requirements=(replace(ASKED, bound=">=2"),))
    if nth == 4:
        assert lock(variant=changed).changed
        assert all((folder / name).read_bytes() != content for name, content in before.items())
        return
    with pytest.raises((ChangeError, KeyboardInterrupt)):
        lock(variant=changed)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_a_first_lock_that_cannot_be_written_leaves_no_file(
    lock: Callable[..., make.Locked], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    real = Path.replace

    def failing(self: Path, target: Path) -> Path:
        if target.name.startswith("pylock"):
            raise OSError(errno.EIO, "broken")
        return real(self, target)

    monkeypatch.setattr(Path, "replace", failing)
    with pytest.raises(ChangeError, match="the lock was not written: broken"):
        lock()
    assert [*(tmp_path / "locks").iterdir()] == []


# The locks kept in git.


@pytest.mark.parametrize("variant", variants.load(), ids=lambda variant: variant.name)
def test_the_locks_in_git_give_a_wheel_of_every_pin_by_the_specification(variant: Variant) -> None:
    path = LOCKFILES / pylock.filename(variant.name)
    assert is_valid_pylock_path(path)
    read = Pylock.from_dict(tomllib.loads(path.read_text()))
    pins = {pin.name: pin for pin in text.parse((LOCKFILES / f"{variant.name}.txt").read_text()).pins}
    environment = variant.target.environment()
    chosen = list(read.select(environment=environment, tags=variant.target.tags()))  # type: ignore[arg-type]
    assert {package.name: str(package.version) for package, _ in chosen} == {
        name: pin.version for name, pin in pins.items()
    }
    for package, wheel in chosen:
        assert isinstance(wheel, PackageWheel)
        assert wheel.path == f"wheels/{wheel.filename}"
        assert wheel.url is None
        assert wheel.hashes["sha256"] in pins[package.name].sha256
