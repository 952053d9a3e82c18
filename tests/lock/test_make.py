"""Locks made with the real uv and the real pip-tools, from real wheels."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from provision.errors import ChangeError, UsageError
from provision.index import IndexSettings
from provision.lock import make, text, variants
from provision.lock.resolve import RESOLVERS, Resolver
from provision.lock.target import Target
from provision.lock.variants import PublicIndex, Requirement, Variant

PYTHON = f"{sys.version_info[0]}.{sys.version_info[1]}"
APP = Requirement(name="app", bound=">=1", because="the thing itself", source="here", date="2026-11-24")
VARIANT = Variant(
    name="small",
    purpose="smoke",
    accelerator="cpu",
    target=Target(python=PYTHON, glibc="2.36", machine="x86_64"),
    origin="",
    requirements=(APP,),
    agree_with=(),
    forbidden=("nvidia-*",),
    forbidden_because="no GPU here",
)


@pytest.fixture
def lock(tmp_path: Path, offline: IndexSettings) -> Callable[..., make.Locked]:
    def run(variant: Variant = VARIANT, settings: IndexSettings = offline, **how: object) -> make.Locked:
        return make.lock_variant(
            variant, lockfiles=tmp_path / "locks", pyproject=tmp_path / "pyproject.toml", settings=settings, **how
        )

    return run


@pytest.mark.parametrize("resolver", RESOLVERS)
def test_the_whole_text(resolver: Resolver, lock: Callable, wheels: Path, sha256: Callable) -> None:
    made = lock(resolver=resolver)
    assert made.input_path.read_text() == (
        f"# What small asks for: smoke, accelerator cpu, CPython {PYTHON}, glibc 2.36, x86_64.\n"
        "# Rendered from provision/catalog/variants.toml; change it there, then run:\n"
        "#     provision lock small\n"
        "# app: the thing itself\n"
        "app>=1\n"
    )
    assert made.lock_path.read_text() == (
        f"# small: smoke, accelerator cpu, CPython {PYTHON}, glibc 2.36, x86_64.\n"
        "# Made by a command, not by hand:\n"
        "#     provision lock small\n"
        f"# Input: small.in sha256={sha256(made.input_path)}\n"
        "# Hashes: every wheel of the version, on every index and find-links folder that was configured when this was\n"
        "# made. A wheel from anywhere else is refused: then make the lock again with the indexes that are to be used.\n"
        "app==1.0 \\\n"
        f"    --hash=sha256:{sha256(wheels / 'app-1.0-py3-none-any.whl')}\n"
        "    # via the input\n"
        "lib==1.1 \\\n"
        f"    --hash=sha256:{sha256(wheels / 'lib-1.1-py3-none-any.whl')}\n"
        "    # via app\n"
    )
    assert made.moved == (
        make.Moved(name="app", before="", after="1.0", because="the newest that the input admits"),
        make.Moved(name="lib", before="", after="1.1", because="asked for by app, which moved too"),
    )


def test_repeated_it_changes_nothing(lock: Callable) -> None:
    first = lock()
    inode = first.lock_path.stat().st_ino
    again = lock(resolver="pip-tools")
    assert (first.changed, again.changed, again.moved) == (True, False, ())
    assert again.lock_path.stat().st_ino == inode


@pytest.mark.parametrize("resolver", RESOLVERS)
def test_a_newer_release_waits_for_upgrade(
    resolver: Resolver, lock: Callable, wheels: Path, make_wheel: Callable
) -> None:
    lock()
    make_wheel(wheels, "lib", "2.0")
    assert not lock(resolver=resolver).changed
    made = lock(resolver=resolver, upgrade=True)
    assert made.moved == (make.Moved(name="lib", before="1.1", after="2.0", because="the newest that app admits"),)


def test_a_forbidden_package_is_refused_and_nothing_written(
    lock: Callable, wheels: Path, make_wheel: Callable, tmp_path: Path
) -> None:
    made = lock()
    before = made.lock_path.read_bytes(), made.input_path.read_bytes()
    make_wheel(wheels, "app", "1.1", "nvidia-cublas")
    make_wheel(wheels, "nvidia-cublas", "13.0")
    with pytest.raises(ChangeError) as caught:
        lock(upgrade=True)
    assert caught.value.message == (
        "small would hold nvidia-cublas 13.0 (asked for by app), but no GPU here; nothing was written"
    )
    assert (made.lock_path.read_bytes(), made.input_path.read_bytes()) == before
    assert sorted(path.name for path in (tmp_path / "locks").iterdir()) == [
        "pylock.small.toml",
        "small.in",
        "small.txt",
    ]


@pytest.mark.parametrize("resolver", RESOLVERS)
def test_an_impossible_pair_is_named_and_the_previous_lock_stands(resolver: Resolver, lock: Callable) -> None:
    made = lock()
    before = made.lock_path.read_bytes()
    with pytest.raises(ChangeError, match="lib") as caught:
        lock(replace(VARIANT, requirements=(APP, replace(APP, name="lib", bound="<1"))), resolver=resolver)
    assert resolver in caught.value.message
    assert made.lock_path.read_bytes() == before


def test_a_silent_index_is_named_before_anything_is_written(lock: Callable, wheels: Path, tmp_path: Path) -> None:
    settings = IndexSettings(index_url="http://127.0.0.1:9/simple", find_links=(str(wheels),))
    with pytest.raises(ChangeError, match=r"the package index http://127\.0\.0\.1:9/simple/app/ did not answer"):
        lock(settings=settings)
    assert not (tmp_path / "locks").exists()


def test_no_address_and_no_path_reaches_a_file(
    lock: Callable, wheels: Path, serve: Callable, tmp_path: Path, make_wheel: Callable
) -> None:
    (tmp_path / "limits.txt").write_text("lib<1.1\n")
    extra = serve(make_wheel(tmp_path / "extra", "lib", "1.0").parent)
    settings = IndexSettings(
        index_url=serve(wheels, user="me:s3cr3t-word").url,
        extra_index_urls=(extra.url,),
        find_links=(str(wheels),),
        constraints=(str(tmp_path / "limits.txt"),),
        trusted_hosts=("127.0.0.1",),
    )
    for resolver in RESOLVERS:
        made = lock(settings=settings, resolver=resolver)
        written = made.lock_path.read_text() + made.input_path.read_text()
        assert "lib==1.0" in written
        for never in (
            "127.0.0.1",
            "s3cr3t-word",
            str(tmp_path),
            "limits",
            "://",
            "--index",
            "--find",
            "--extra",
            "-c ",
        ):
            assert never not in written


def public(url: str) -> Variant:
    """A variant whose ``app`` has an index of its own."""
    index = PublicIndex(name="app-own", url=url, packages=("app",), source="here", date="2026-11-24")
    return replace(VARIANT, requirements=(replace(APP, bound="==1.0+cpu", index=index),))


@pytest.fixture
def own(tmp_path: Path, serve: Callable, make_wheel: Callable):
    """An index of a project: it has app 1.0+cpu, and a ``lib`` newer than anywhere else."""
    make_wheel(tmp_path / "own", "app", "1.0+cpu", "lib>=1")
    make_wheel(tmp_path / "own", "lib", "99.0")
    return serve(tmp_path / "own")


@pytest.mark.parametrize("resolver", RESOLVERS)
def test_a_projects_own_index_is_asked_for_its_package_alone(
    resolver: Resolver, lock: Callable, own, wheels: Path, serve: Callable, sha256: Callable
) -> None:
    made = lock(public(own.url), settings=IndexSettings(index_url=serve(wheels).url), resolver=resolver)
    assert made.public_indexes == ("app-own",)
    assert [(pin.name, pin.version) for pin in made.pins] == [("app", "1.0+cpu"), ("lib", "1.1")]
    assert made.pins[0].sha256 == (sha256(own.folder / "app-1.0+cpu-py3-none-any.whl"),)
    assert not [path for path in own.asked if "lib" in path]
    assert "# app: its hashes are those of its own index, app-own." in made.lock_path.read_text()


def test_a_projects_own_index_is_not_asked_where_the_user_has_the_build(
    lock: Callable, own, wheels: Path, make_wheel: Callable, sha256: Callable
) -> None:
    mine = make_wheel(wheels, "app", "1.0+cpu", "lib>=1", content=b"# rebuilt")
    made = lock(public(own.url))
    assert (made.public_indexes, own.asked) == ((), [])
    assert made.pins[0].sha256 == (sha256(mine),)
    assert "its own index, app-own, was not asked" in made.lock_path.read_text()


def test_no_index_forbids_a_projects_own_index(lock: Callable, own, offline: IndexSettings) -> None:
    with pytest.raises(
        ChangeError, match=r"app 1\.0\+cpu is on none of the 1 places .* no-index forbids its own index"
    ):
        lock(public(own.url), settings=offline)
    assert own.asked == []


def test_a_projects_own_index_that_is_silent_or_lacks_the_build(lock: Callable, wheels: Path, serve: Callable) -> None:
    mirror = serve(wheels)
    settings = IndexSettings(index_url=mirror.url)
    with pytest.raises(
        ChangeError, match=r"is on none of the 1 places .* the package index http://127\.0\.0\.1:9/app/"
    ):
        lock(public("http://127.0.0.1:9"), settings=settings)
    with pytest.raises(ChangeError, match="does not have it either") as caught:
        lock(public(serve(wheels).url), settings=settings)
    assert "PIP_FIND_LINKS" in caught.value.next_command


def test_a_kept_pin_is_found_on_every_index(
    lock: Callable, serve: Callable, tmp_path: Path, make_wheel: Callable
) -> None:
    """A private index has the kept version for another Python only; the ordinary one has it for ours."""
    nodot = PYTHON.replace(".", "")
    make_wheel(tmp_path / "own", "lib", "1.0", tag="cp38-cp38-manylinux_2_17_x86_64")
    make_wheel(tmp_path / "ordinary", "app", "1.0", "lib>=1")
    make_wheel(tmp_path / "ordinary", "lib", "1.0", tag=f"cp{nodot}-cp{nodot}-manylinux_2_17_x86_64")
    extra = (serve(tmp_path / "own").url,)
    settings = IndexSettings(index_url=serve(tmp_path / "ordinary").url, extra_index_urls=extra)
    assert lock(settings=settings).changed
    make_wheel(tmp_path / "ordinary", "lib", "1.1")
    assert not lock(settings=settings).changed


def test_a_pin_that_no_longer_fits_gives_way_alone(lock: Callable, wheels: Path, make_wheel: Callable) -> None:
    lock()
    make_wheel(wheels, "app", "1.1", "lib>=2")
    make_wheel(wheels, "lib", "2.0")
    made = lock(replace(VARIANT, requirements=(replace(APP, bound=">=1.0"), replace(APP, name="lib", bound=">=2"))))
    assert [(m.name, m.before, m.after) for m in made.moved] == [("lib", "1.1", "2.0")]


@pytest.mark.parametrize("resolver", RESOLVERS)
def test_an_exact_pin_of_the_input_is_read_from_either_resolver(resolver: Resolver, lock: Callable) -> None:
    made = lock(replace(VARIANT, requirements=(replace(APP, bound="===1.0"),)), resolver=resolver)
    assert [(pin.name, pin.version) for pin in made.pins] == [("app", "1.0"), ("lib", "1.1")]


def test_a_build_for_something_else_is_refused(lock: Callable, wheels: Path, make_wheel: Callable) -> None:
    """ "==1.0" admits 1.0+cpu, and takes it: PEP 440 sorts it above 1.0."""
    make_wheel(wheels, "app", "1.0+cpu")
    gpu = replace(VARIANT, requirements=(replace(APP, bound="==1.0"),), forbidden=("*==*+cpu",))
    with pytest.raises(ChangeError, match=r"would hold app 1\.0\+cpu \(asked for by the input\)"):
        lock(gpu)
    made = lock(replace(gpu, requirements=(replace(APP, bound="===1.0"),)))
    assert (
        "\napp===1.0 \\\n" in made.lock_path.read_text()
    )  # uv would take 1.0+cpu from the lock, too, and lack its hash
    assert [(pin.name, pin.exact) for pin in text.parse(made.lock_path.read_text()).pins] == [
        ("app", True),
        ("lib", False),
    ]
    assert [(pin.name, pin.version) for pin in made.pins] == [("app", "1.0"), ("lib", "1.1")]


def test_two_locks_that_must_agree(lock: Callable, wheels: Path, make_wheel: Callable) -> None:
    lock(replace(VARIANT, name="base"))
    make_wheel(wheels, "lib", "2.0")
    made = lock(replace(VARIANT, requirements=(replace(APP, name="lib", bound=""),), agree_with=("base",)))
    assert [(pin.name, pin.version, pin.via) for pin in made.pins] == [("lib", "1.1", ("the input",))]
    assert "-c base.txt\n" in made.input_path.read_text()
    with pytest.raises(UsageError, match=r"other\.txt: missing, and this lock must agree with it") as caught:
        lock(replace(VARIANT, agree_with=("other",)))
    assert caught.value.next_command == "provision lock other"


def test_pip_tools_cannot_answer_for_another_python(lock: Callable) -> None:
    target = replace(VARIANT.target, python="3.99")
    with pytest.raises(UsageError, match=rf"for the Python it runs on, {PYTHON}; this lock is for 3\.99"):
        lock(replace(VARIANT, target=target), resolver="pip-tools")


def test_only_wheels_that_the_target_loads_are_chosen(lock: Callable, wheels: Path, make_wheel: Callable) -> None:
    make_wheel(wheels, "lib", "3.0", tag="cp38-cp38-manylinux_2_17_x86_64")
    make_wheel(wheels, "lib", "2.0", tag="py3-none-manylinux_2_36_x86_64")
    assert [pin.version for pin in lock().pins] == ["1.0", "2.0"]
    lower = replace(VARIANT, target=replace(VARIANT.target, glibc="2.35"))
    assert [pin.version for pin in lock(lower, upgrade=True).pins] == ["1.0", "1.1"]


def test_the_input_of_the_tool_carries_the_reasons_of_pyproject(
    lock: Callable, tmp_path: Path, wheels: Path, make_wheel: Callable
) -> None:
    (tmp_path / "pyproject.toml").write_text(
        '[project]\ndependencies = [\n  "lib>=1",  # one was the first with wheels\n  "app",\n]\n'
        '[dependency-groups]\nmore = ["lib<9"]\ntest = ["app", {include-group = "more"}]\n'
    )
    tool = replace(VARIANT, requirements=(), origin="project.dependencies")
    assert lock(tool).input_path.read_text().splitlines()[1:] == [
        "# Rendered from pyproject.toml, [project.dependencies]; change it there, then run:",
        "#     provision lock small",
        "app",
        "# lib: one was the first with wheels",
        "lib>=1",
    ]
    group = lock(replace(tool, origin="dependency-groups.test"))
    assert group.input_path.read_text().splitlines()[3:] == ["app", "lib<9"]
    with pytest.raises(UsageError, match=r"dependency-groups\.absent: expected a list of requirements"):
        lock(replace(tool, origin="dependency-groups.absent"))


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (("schema = 1", "schema = 2"), "schema: expected 1, got 2"),
        (('purpose = "tool"', 'purose = "tool"'), "variant.tool-py311.purose: unknown key; did you mean 'purpose'"),
        (('python = "3.11"', "python = 3.11"), "variant.tool-py311.python: expected text, got 3.11"),
        (('accelerator = "none"', 'accelerator = "gpu"'), "expected one of none, cu126, cu128, cu130, cpu, got 'gpu'"),
        (
            ('from = "project.dependencies"', ""),
            "variant.tool-py311: expected either `from`, or `sets` and [[requirement]] rows",
        ),
        (('bound = "==2.13.0+cpu"', 'bound = ">=2.13"'), "a package of index torch-cpu needs one exact version"),
        (
            ('sets = ["smoke-gpu",', 'sets = ["smoke",'),
            "smoke-cu126-py311.sets: expected some of smoke-gpu, torch-cu126",
        ),
        (('index = "torch-cpu"', 'index = "torch"'), "requirement.0.index: expected one of torch-cpu, got 'torch'"),
    ],
)
def test_the_catalog_is_read_strictly(edit: tuple[str, str], message: str, tmp_path: Path) -> None:
    text = variants.CATALOG.read_text()
    assert edit[0] in text
    (tmp_path / "variants.toml").write_text(text.replace(edit[0], edit[1], 1))
    with pytest.raises(UsageError) as caught:
        variants.load(tmp_path / "variants.toml")
    assert caught.value.message.startswith(f"{tmp_path / 'variants.toml'}: ")
    assert message in caught.value.message


def test_an_unknown_variant_names_the_nearest() -> None:
    with pytest.raises(UsageError, match="no variant is called 'smoke-cpu'; there are tool-py311") as caught:
        variants.find("smoke-cpu")
    assert caught.value.next_command == "provision lock smoke-cpu-py311"
