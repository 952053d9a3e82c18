"""``lock --check`` on real files: each problem seen, and nothing said where nothing is wrong."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner

from provision.cli import main
from provision.errors import UsageError
from provision.index import IndexSettings
from provision.lock import make, variants
from provision.lock.check import Problem, check_lock
from provision.lock.target import Target
from provision.lock.variants import Requirement, Variant

ROOT = Path(__file__).parents[2]
ASKED = Requirement(name="app", bound=">=1", because="", source="here", date="2026-11-24")
BASE = Variant(
    name="base",
    purpose="tool",
    accelerator="none",
    target=Target(python="3.11", glibc="2.36", machine="x86_64"),
    origin="",
    requirements=(ASKED,),
    agree_with=(),
    forbidden=("nvidia-*",),
    forbidden_because="no GPU here",
)
SECOND = replace(BASE, name="second", requirements=(replace(ASKED, name="lib", bound=""),), agree_with=("base",))


@pytest.fixture
def locks(tmp_path: Path, offline: IndexSettings) -> Path:
    """Two real locks, the second agreeing with the first."""
    folder = tmp_path / "locks"
    for variant in (BASE, SECOND):
        make.lock_variant(variant, lockfiles=folder, pyproject=tmp_path / "pyproject.toml", settings=offline)
    return folder


def check(variant: Variant, locks: Path) -> list[tuple[str, str]]:
    found = check_lock(variant, lockfiles=locks, pyproject=locks.parent / "pyproject.toml")
    assert all(problem.next_command == f"provision lock {variant.name}" for problem in found)
    return [(problem.kind, problem.message) for problem in found]


def check_txt(variant: Variant, locks: Path) -> list[tuple[str, str]]:
    """Of a .txt that was edited alone: its PEP 751 form says something else then, which test_pylock.py looks at."""
    found = check(variant, locks)
    assert "drift" in {kind for kind, _ in found}
    return [each for each in found if each[0] != "drift"]


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


def test_fresh_locks_have_no_problem(locks: Path) -> None:
    assert check(BASE, locks) == []
    assert check(SECOND, locks) == []


def test_the_catalog_asks_for_something_else(locks: Path) -> None:
    changed = replace(BASE, requirements=(replace(ASKED, bound=">=0.9"),))
    assert check(changed, locks) == [
        ("input-changed", "base.in:4: provision/catalog/variants.toml asks for something else now")
    ]


def test_the_input_was_edited(locks: Path) -> None:
    edit(locks / "base.in", "app>=1", "app>=0.5")
    assert check(BASE, locks) == [
        ("input-changed", "base.in:4: provision/catalog/variants.toml asks for something else now"),
        ("input-changed", "base.in: base.txt was made from another base.in"),
    ]


def test_the_source_of_the_input_is_not_here(locks: Path, tmp_path: Path) -> None:
    """From an installed wheel there is no pyproject.toml: what could not be looked at is said, never passed over."""
    ((kind, message),) = check(replace(BASE, requirements=(), origin="project.dependencies"), locks)
    assert kind == "not-looked"
    assert message.startswith("base.in: whether the input changed is not known: ")
    assert "pyproject.toml" in message


@pytest.mark.parametrize("name", ["second.in", "second.txt", "pylock.second.toml", "base.txt"])
def test_a_file_that_is_no_text(name: str, locks: Path) -> None:
    (locks / name).write_bytes(b"\xff\xfe" + (locks / name).read_bytes())
    with pytest.raises(UsageError, match=rf"{name}: it is no UTF-8 text") as caught:
        check(SECOND, locks)
    assert caught.value.exit_code == 2


@pytest.mark.parametrize("name", ["base.in", "base.txt", "pylock.base.toml"])
def test_a_missing_file(name: str, locks: Path) -> None:
    (locks / name).unlink()
    assert check(BASE, locks) == [("missing", f"{name}: there is no such file")]


def test_a_hash_was_taken_out(locks: Path, wheels: Path, sha256: Callable) -> None:
    lib = sha256(wheels / "lib-1.1-py3-none-any.whl")
    edit(locks / "base.txt", f"lib==1.1 \\\n    --hash=sha256:{lib}", "lib==1.1")
    assert check_txt(BASE, locks) == [("no-hash", "base.txt:10: lib 1.1 has no hash")]


@pytest.mark.parametrize(
    "line",
    [
        "lib>=1.1",
        "--find-links /tmp/wheels",
        "-r other.txt",
        "lib @ https://h.test/lib.whl",
        f"lib==1.1 --hash=md5:{'0' * 32}",
        f"lib==1.1 --hash=sha256:{'0' * 63}",
        "lib==1.*",
    ],
)
def test_a_line_that_is_no_pin(line: str, locks: Path) -> None:
    lines = (locks / "second.txt").read_text().splitlines()
    (locks / "second.txt").write_text("\n".join([*lines, line]) + "\n")
    assert check_txt(SECOND, locks) == [
        ("no-pin", f"second.txt:{len(lines) + 1}: expected name==version and hashes, got {line[:80]!r}")
    ]


ADDRESS = "https://me:s3cr3t-word@h.test/lib.whl"


def test_a_password_in_a_line_is_not_told(locks: Path) -> None:
    """Of a lock and of an input; nor the part of it that stands before the place where the line is cut."""
    for name, line in (
        ("second.txt", f"lib @ {ADDRESS}"),
        ("second.txt", f"{'x' * 60} {ADDRESS}"),
        ("second.in", f"other @ {ADDRESS}"),
        ("second.in", f"no requirement {ADDRESS}"),
        ("second.in", f"{'x' * 60} {ADDRESS}"),
    ):
        whole = (locks / name).read_text()
        (locks / name).write_text(f"{whole}{line}\n")
        found = [message for _, message in check(SECOND, locks)]
        (locks / name).write_text(whole)
        assert "https://****@" in "".join(found)
        assert "s3cr" not in "".join(found)


def test_a_package_that_does_not_belong(locks: Path, wheels: Path) -> None:
    edit(locks / "base.txt", "lib==1.1", "nvidia-cublas==13.0")
    assert check_txt(BASE, locks) == [
        ("forbidden", "base.txt:10: nvidia-cublas 13.0 does not belong here: no GPU here")
    ]


@pytest.mark.parametrize(
    ("name", "pin", "found"),
    [
        ("smoke-cu130-py311", "torch==2.13.0+cpu", True),
        ("smoke-cu130-py311", "torch==2.13.0+cu130", False),
        ("smoke-cu130-py311", "nvidia-cudnn-cu12==9.10.2.21", True),
        ("serve-cu130-py312", "nvidia-cutlass-dsl-libs-cu12==4.8.0", False),
        ("smoke-cu128-py311", "nvidia-cudnn-cu13==9.20.0.48", True),
        ("smoke-cu126-py311", "nvidia-cuda-runtime==13.0.96", True),
        ("smoke-cu126-py311", "nvidia-cuda-runtime-cu12==12.6.77", False),
        ("smoke-cpu-py311", "torch==2.13.0+cu126", True),
        ("smoke-cpu-py311", "torch==2.13.0+cpu", False),
        ("smoke-cpu-py311", "nvidia-ml-py==13.615.71", True),
    ],
)
def test_what_each_accelerator_keeps_out(name: str, pin: str, found: bool) -> None:
    package, _, version = pin.partition("==")
    assert variants.find(name).forbids(package, version) is found


def test_a_requirement_that_is_not_met(locks: Path) -> None:
    edit(locks / "base.txt", "app==1.0", "app==0.9")
    assert check_txt(BASE, locks) == [("unmet", "base.txt:7: app 0.9 does not meet app>=1")]
    edit(locks / "base.txt", "app==0.9", "apple==0.9")
    assert check_txt(BASE, locks) == [("unmet", "base.txt: app>=1 is asked for and not locked")]


def test_two_locks_that_disagree(locks: Path) -> None:
    edit(locks / "second.txt", "lib==1.1", "lib==1.0")
    assert check_txt(SECOND, locks) == [("disagrees", "second.txt:7: lib 1.0 here, 1.1 in base.txt")]
    (locks / "base.txt").unlink()
    assert check_txt(SECOND, locks) == [("missing", "base.txt: second must agree with it")]


def test_a_carriage_return_or_a_missing_last_newline_hides_nothing(locks: Path) -> None:
    path = locks / "base.txt"
    path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n").rstrip())
    assert check_txt(BASE, locks) == []
    path.write_bytes(path.read_bytes() + b"\r\nlib==2.0 \\")
    assert [kind for kind, _ in check_txt(BASE, locks)] == ["no-hash"]


def test_the_command_says_what_it_did_not_look_at() -> None:
    done = CliRunner().invoke(main, ["lock", "--check", "--offline", "fuzz-py311"])
    assert (done.exit_code, done.output.splitlines()) == (
        0,
        [
            "fuzz-py311: its files stand",
            "not looked at: whether a locked wheel was withdrawn, replaced or is gone (--offline)",
        ],
    )


def test_offline_is_a_word_of_check() -> None:
    done = CliRunner().invoke(main, ["lock", "--offline", "fuzz-py311"])
    assert done.exit_code == 2
    assert "--offline and --strict belong to --check and --audit" in done.output + done.stderr


@pytest.mark.parametrize("look", ["--check", "--audit", "--crosscheck"])
@pytest.mark.parametrize("make", [["--at", "2026-11-01"], ["--upgrade"], ["--upgrade", "atheris"]], ids=" ".join)
def test_what_makes_a_lock_is_no_word_of_a_look(look: str, make: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Passed over in silence, a lock would seem to have been looked at as of that day."""
    for name in ("checking.check", "checking.audit", "command.compare"):
        monkeypatch.setattr(f"provision.lock.{name}", lambda *_, **__: ("looked\n", 0))
    done = CliRunner().invoke(main, ["lock", "fuzz-py311", look, *make])
    assert done.exit_code == 2
    assert "--at and --upgrade make a lock" in done.output + done.stderr


# The locks kept in git.


@pytest.mark.parametrize("variant", variants.load(), ids=lambda variant: variant.name)
def test_the_locks_in_git_stand(variant: Variant) -> None:
    found: tuple[Problem, ...] = check_lock(variant, lockfiles=ROOT / "lockfiles", pyproject=ROOT / "pyproject.toml")
    assert [problem.message for problem in found] == []


@pytest.mark.parametrize("variant", variants.load(), ids=lambda variant: variant.name)
def test_no_index_address_stands_in_git(variant: Variant) -> None:
    for name in (f"{variant.name}.in", f"{variant.name}.txt", f"pylock.{variant.name}.toml"):
        text = (ROOT / "lockfiles" / name).read_text()
        for never in ("://", "--index", "--extra-index", "--find-links", "--trusted", "/opt/", "/etc/", "/home/"):
            assert never not in text


def test_the_folder_holds_no_lock_that_no_variant_makes() -> None:
    kept = {path.name for path in (ROOT / "lockfiles").iterdir() if path.suffix in {".in", ".txt", ".toml"}}
    shapes = ("{}.in", "{}.txt", "pylock.{}.toml")
    assert kept == {shape.format(variant.name) for variant in variants.load() for shape in shapes}


def test_the_cpu_lock_in_git_has_the_cpu_torch_and_nothing_of_cuda() -> None:
    from provision.lock.text import parse

    pins = {pin.name: pin.version for pin in parse((ROOT / "lockfiles" / "smoke-cpu-py311.txt").read_text()).pins}
    assert pins["torch"].endswith("+cpu")
    assert not [name for name in pins if any(word in name for word in ("nvidia", "cuda", "triton", "cudnn", "nccl"))]
    assert not [name for name, version in pins.items() if "+cu" in version and not version.endswith("+cpu")]
