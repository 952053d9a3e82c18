"""``lock --upgrade`` says what moved and why; ``lock --at`` gives the same bytes whatever was uploaded since."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner

from provision.cli import main
from provision.errors import UsageError
from provision.index import IndexSettings
from provision.lock import make
from provision.lock.target import Target
from provision.lock.variants import Requirement, Variant

VARIANT = Variant(
    name="small",
    purpose="smoke",
    accelerator="cpu",
    target=Target(python=f"{sys.version_info[0]}.{sys.version_info[1]}", glibc="2.36", machine="x86_64"),
    origin="",
    requirements=tuple(
        Requirement(name=n, bound="", because="", source="here", date="2026-11-24") for n in ("app", "top")
    ),
    agree_with=(),
    forbidden=(),
    forbidden_because="",
)


@pytest.fixture
def lock(tmp_path: Path, wheels: Path, make_wheel: Callable) -> Callable[..., make.Locked]:
    """``small`` holds app 1.0 and lib 1.1 (for app), and top 1.0."""
    make_wheel(wheels, "top", "1.0")

    def run(settings: IndexSettings | None = None, **how: object) -> make.Locked:
        settings = settings or IndexSettings(no_index=True, find_links=(str(wheels),))
        paths = {"lockfiles": tmp_path / "locks", "pyproject": tmp_path / "pyproject.toml"}
        return make.lock_variant(VARIANT, settings=settings, **paths, **how)

    return run


def said(made: make.Locked) -> list[tuple[str, ...]]:
    return [(m.name, m.before, m.after, m.because) for m in made.moved]


def test_only_the_named_package_and_what_it_forces_moves(lock: Callable, wheels: Path, make_wheel: Callable) -> None:
    lock()
    make_wheel(wheels, "top", "2.0")
    make_wheel(wheels, "lib", "3.0")
    make_wheel(wheels, "app", "2.0", "lib>=3", "more")
    make_wheel(wheels, "more", "1.0")
    assert said(lock(upgrade=("App",))) == [
        ("app", "1.0", "2.0", "it was asked to move"),
        ("lib", "1.1", "3.0", "asked for by app, which moved too"),
        ("more", "", "1.0", "asked for by app, which moved too"),
    ]
    assert said(lock(upgrade=True)) == [("top", "1.0", "2.0", "the newest that the input admits")]
    make_wheel(wheels, "app", "3.0")
    assert said(lock(upgrade=("app",))) == [
        ("app", "2.0", "3.0", "it was asked to move"),
        ("lib", "3.0", "", "nothing asks for it any more"),
        ("more", "1.0", "", "nothing asks for it any more"),
    ]


def test_a_package_that_the_lock_lacks_is_named(lock: Callable) -> None:
    lock()
    with pytest.raises(UsageError, match="small holds no absent") as caught:
        lock(upgrade=("absent", "lib"))
    assert caught.value.next_command == "provision lock small --upgrade"


def test_as_of_a_day(lock: Callable, wheels: Path, serve: Callable, make_wheel: Callable, sha256: Callable) -> None:
    """Neither a newer release nor a further wheel of a locked one changes a byte; the day itself still counts."""
    index = serve(wheels)
    index.uploaded = {path.name: "2026-01-01T12:00:00.000000Z" for path in wheels.iterdir()}
    settings = IndexSettings(index_url=index.url)
    index.uploaded["lib-1.1-py3-none-any.whl"] = "2026-01-02T23:59:59.999999Z"
    made = lock(settings, at="2026-01-02")
    assert [(pin.name, pin.version) for pin in made.pins] == [("app", "1.0"), ("lib", "1.1"), ("top", "1.0")]
    later = make_wheel(wheels, "lib", "2.0"), make_wheel(wheels, "lib", "1.1", tag="py3-none-linux_x86_64")
    index.uploaded |= {path.name: "2026-01-03T00:00:00.000000Z" for path in later}
    assert not lock(settings, at="2026-01-02").changed
    assert said(lock(settings, at="2026-01-01")) == [("lib", "1.1", "1.0", "the newest that app admits")]
    assert [pin.version for pin in lock(settings, at="2026-01-03").pins] == ["1.0", "2.0", "1.0"]


def test_what_is_no_day_and_who_cannot(lock: Callable) -> None:
    with pytest.raises(UsageError, match="'2026-13-01' is no day such as 2026-11-24"):
        lock(at="2026-13-01")
    with pytest.raises(UsageError, match="pip-tools cannot resolve as of a day"):
        lock(at="2026-01-01", resolver="pip-tools")


def test_at_and_upgrade_exclude_each_other() -> None:
    done = CliRunner().invoke(main, ["lock", "fuzz-py311", "--at", "2026-01-01", "--upgrade"])
    assert done.exit_code == 2
    assert "--at resolves everything anew" in done.output + done.stderr


def test_a_package_is_moved_only_where_a_lock_holds_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of all locks, those with the package; the others are not made again."""
    made: dict[str, object] = {}

    def record(chosen: tuple[Variant, ...], *, upgrade: dict[str, object], **_: object) -> tuple[make.Locked, ...]:
        made.update({variant.name: upgrade[variant.name] for variant in chosen})
        return ()

    monkeypatch.setattr("provision.lock.command.lock_variants", record)
    for words in (["--upgrade", "vLLM", "--upgrade", "hatchling"], ["fuzz-py311"], ["fuzz-py311", "--upgrade"]):
        assert CliRunner().invoke(main, ["lock", *words]).exit_code == (2 if "hatchling" in words else 0)
    assert made == {"fuzz-py311": True}
    made.clear()
    assert CliRunner().invoke(main, ["lock", "--upgrade", "vLLM", "--upgrade=Torch"]).exit_code == 0
    assert made["serve-cu128-py312"] == ("torch", "vllm")
    assert made["smoke-cpu-py311"] == ("torch",)
    assert "tool-py311" not in made


def test_a_variant_behind_upgrade_is_no_package() -> None:
    done = CliRunner().invoke(main, ["lock", "--upgrade", "fuzz-py311"])
    assert done.exit_code == 2
    assert "provision lock fuzz-py311 --upgrade" in done.output + done.stderr
