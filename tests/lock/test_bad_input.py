"""Locks that cannot be made: the file, line, package or pair is named, the exit code is 2 or 4, and the old lock stands."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from provision.errors import ChangeError, ProvisionError, UsageError
from provision.index import IndexSettings
from provision.lock import inputs, make, variants
from provision.lock.check import check_lock
from provision.lock.resolve import RESOLVERS, Resolver
from provision.lock.target import Target
from provision.lock.variants import Requirement, Variant

PYTHON = f"{sys.version_info[0]}.{sys.version_info[1]}"
APP = Requirement(name="app", bound=">=1", because="", source="here", date="2026-11-24")
VARIANT = Variant(
    name="small",
    purpose="tool",
    accelerator="none",
    target=Target(python=PYTHON, glibc="2.36", machine="x86_64"),
    origin="",
    requirements=(APP,),
    agree_with=(),
    forbidden=(),
    forbidden_because="",
)
LIB = "lib-1.1-py3-none-any.whl"
RESOLVED_BY = pytest.mark.parametrize("resolver", RESOLVERS)


@pytest.fixture
def lock(tmp_path: Path, offline: IndexSettings) -> Callable[..., make.Locked]:
    def run(variant: Variant = VARIANT, settings: IndexSettings = offline, **how: object) -> make.Locked:
        paths = {"lockfiles": tmp_path / "locks", "pyproject": tmp_path / "pyproject.toml"}
        return make.lock_variant(variant, settings=settings, **paths, **how)

    return run


@pytest.fixture
def refused(lock: Callable, tmp_path: Path) -> Callable[..., str]:
    """What is said when a lock cannot be made. The one that is there stays, byte for byte, and nothing beside it."""

    def run(kind: type[ProvisionError], variant: Variant = VARIANT, **how: object) -> str:
        before = contents(tmp_path / "locks")
        with pytest.raises(kind) as caught:
            lock(variant, **how)
        assert caught.value.exit_code == {UsageError: 2, ChangeError: 4}[kind]
        assert contents(tmp_path / "locks") == before
        assert "Traceback" not in caught.value.message
        return caught.value.message

    return run


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())} if folder.is_dir() else {}


# Indexes.


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ({"failures": [500] * 9}, r"simple/app/ answered 500"),
        ({"failures": [404] * 9}, r"app"),
        ({"answer": b"<html><a href='/login'>Log in</a>", "answer_kind": "text/html"}, r"app"),
        (
            {"answer": b"<html>", "answer_kind": "application/json"},
            r"simple/app/ answered with what is no package page",
        ),
        ({"broken_off": 5}, r"simple/app/ .*"),
        ({"broken_off": 5, "chunked": True}, r"simple/app/ .*"),
        ({"page_seconds": 3}, r"simple/app/ did not answer: .*timed out"),
    ],
    ids=lambda each: "-".join(each) if isinstance(each, dict) else "",
)
def test_an_index_that_answers_no_page(
    how: dict[str, object], message: str, lock: Callable, refused: Callable, wheels: Path, serve: Callable
) -> None:
    lock()
    index = serve(wheels, protocol="HTTP/1.1", **how)
    said = refused(ChangeError, settings=IndexSettings(index_url=index.url, timeout_seconds=1), upgrade=True)
    import re

    assert re.search(message, said)


def test_an_index_that_is_no_web_server(lock: Callable, refused: Callable) -> None:
    import socket
    import threading

    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer() -> None:
            while True:
                try:
                    there, _ = server.accept()
                except OSError:
                    return
                with there:
                    there.recv(1 << 16)
                    there.sendall(b"SSH-2.0-OpenSSH_9.2\r\n")

        thread = threading.Thread(target=answer, daemon=True)
        thread.start()
        address = f"http://127.0.0.1:{server.getsockname()[1]}/simple"
        said = refused(ChangeError, settings=IndexSettings(index_url=address, timeout_seconds=2))
        server.shutdown(socket.SHUT_RDWR)
    assert f"{address}/app/" in said


@RESOLVED_BY
def test_a_page_that_hangs_for_a_package_that_is_found_on_the_way(
    resolver: Resolver, refused: Callable, wheels: Path, serve: Callable
) -> None:
    """The first look asks for what the input names; lib is met later, by the resolver."""
    index = serve(wheels, slow={"/simple/lib/": 20.0})
    said = refused(ChangeError, settings=IndexSettings(index_url=index.url, timeout_seconds=1), resolver=resolver)
    assert "lib" in said


@RESOLVED_BY
def test_a_wheel_that_is_none(
    resolver: Resolver, lock: Callable, refused: Callable, wheels: Path, serve: Callable
) -> None:
    """Cut short, in a folder and on an index, of a release that nothing can replace."""
    lock()
    whole = (wheels / LIB).read_bytes()
    (wheels / "lib-2.0-py3-none-any.whl").write_bytes(whole[: len(whole) // 2])
    pinned = replace(VARIANT, requirements=(APP, replace(APP, name="lib", bound="==2.0")))
    for settings in (
        IndexSettings(no_index=True, find_links=(str(wheels),)),
        IndexSettings(index_url=serve(wheels).url),
    ):
        assert "lib" in refused(ChangeError, pinned, settings=settings, resolver=resolver)


def test_a_release_whose_wheel_is_none_is_passed_over(lock: Callable, wheels: Path) -> None:
    """uv takes the newest release that it can read; the lock that was there stays what it was."""
    lock()
    (wheels / "lib-2.0-py3-none-any.whl").write_bytes((wheels / LIB).read_bytes()[:100])
    assert not lock(upgrade=True).changed


def test_an_index_whose_hash_is_not_the_wheels(lock: Callable, wheels: Path, serve: Callable, tmp_path: Path) -> None:
    """A lock holds what the index promised; who installs from it is refused what the index then gives."""
    from provision import wheelhouse

    lie = "0" * 64
    entry = {
        "filename": "app-1.0-py3-none-any.whl",
        "url": "/files/app-1.0-py3-none-any.whl",
        "hashes": {"sha256": lie},
    }
    index = serve(wheels, answer=json.dumps({"files": [entry], "name": "app", "meta": {"api-version": "1.0"}}).encode())
    variant = replace(VARIANT, requirements=(APP,))
    settings = IndexSettings(index_url=index.url, find_links=(str(wheels),))
    made = lock(variant, settings)
    assert lie in next(pin for pin in made.pins if pin.name == "app").sha256
    only = IndexSettings(index_url=index.url)
    (tmp_path / "one.txt").write_text(f"app==1.0 --hash=sha256:{lie}\n")
    with pytest.raises(ChangeError, match=r"app") as caught:
        wheelhouse.fill(tmp_path / "one.txt", tmp_path / "house", PYTHON, lambda: only)
    assert caught.value.exit_code == 4
    assert lie in caught.value.message


# Releases that were withdrawn.


@RESOLVED_BY
@pytest.mark.parametrize("is_json", [True, False])
def test_a_withdrawn_release_is_not_chosen(
    is_json: bool, resolver: Resolver, lock: Callable, wheels: Path, serve: Callable
) -> None:
    index = serve(wheels, yanked=(LIB,), json=is_json)
    made = lock(settings=IndexSettings(index_url=index.url), resolver=resolver)
    assert [(pin.name, pin.version) for pin in made.pins] == [("app", "1.0"), ("lib", "1.0")]


@RESOLVED_BY
def test_a_withdrawn_release_is_chosen_where_it_is_asked_for(
    resolver: Resolver, lock: Callable, wheels: Path, serve: Callable
) -> None:
    index = serve(wheels, yanked=(LIB,))
    pinned = replace(VARIANT, requirements=(APP, replace(APP, name="lib", bound="==1.1")))
    made = lock(pinned, IndexSettings(index_url=index.url), resolver=resolver)
    assert [(pin.name, pin.version) for pin in made.pins] == [("app", "1.0"), ("lib", "1.1")]


def test_a_lock_leaves_a_release_that_was_withdrawn_since(lock: Callable, wheels: Path, serve: Callable) -> None:
    """By the command that ``--check`` names."""
    index = serve(wheels)
    settings = IndexSettings(index_url=index.url)
    lock(settings=settings)
    index.yanked = (LIB,)
    made = lock(settings=settings, upgrade=("lib",))
    assert [(m.name, m.before, m.after) for m in made.moved] == [("lib", "1.1", "1.0")]


# Inputs.


@RESOLVED_BY
def test_both_of_an_impossible_pair_are_named(
    resolver: Resolver, lock: Callable, refused: Callable, wheels: Path, make_wheel: Callable
) -> None:
    make_wheel(wheels, "lib", "0.9")
    lock()
    said = refused(
        ChangeError, replace(VARIANT, requirements=(APP, replace(APP, name="lib", bound="<1"))), resolver=resolver
    )
    assert "lib<1" in said
    assert ("app>=1" if resolver == "pip-tools" else "lib>=1") in said
    assert "app" in said


@pytest.mark.parametrize("bound", ["=>1", "== 1 2", ">=1 --index-url http://h.test", "\n-r other"])
def test_a_bound_in_the_catalog_that_is_none(bound: str, lock: Callable, refused: Callable) -> None:
    lock()
    said = refused(UsageError, replace(VARIANT, requirements=(APP, replace(APP, name="lib", bound=bound))))
    assert said.startswith("provision/catalog/variants.toml: variant.small: ")
    assert repr(f"lib{bound}") in said


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('[project]\ndependencies = ["app", "lib=>1"]\n', r"pyproject\.toml: line 2: 'lib=>1' is no requirement: "),
        (
            '[project]\ndependencies = [\n  "app",\n  "lib >= "\n]\n',
            r"pyproject\.toml: line 4: 'lib >= ' is no requirement: ",
        ),
        ("[project]\ndependencies = [\n", r"pyproject\.toml: cannot be read: .*\(at end of document\)"),
        ("[project]\ndependencies = nothing\n", r"pyproject\.toml: cannot be read: .*\(at line 2, column 16\)"),
        ("[project]\ndependencies = [3]\n", r"pyproject\.toml: project\.dependencies: expected a requirement, got 3"),
        ("[project]\n", r"pyproject\.toml: project\.dependencies: expected a list of requirements"),
    ],
)
def test_a_pyproject_that_asks_for_nothing_that_can_be_asked(
    text: str, message: str, lock: Callable, refused: Callable, tmp_path: Path
) -> None:
    import re

    lock()
    (tmp_path / "pyproject.toml").write_text(text)
    assert re.search(message, refused(UsageError, replace(VARIANT, requirements=(), origin="project.dependencies")))


def test_a_catalog_that_is_no_toml(tmp_path: Path) -> None:
    text = variants.CATALOG.read_text()
    (tmp_path / "variants.toml").write_text(text.replace("schema = 1", "schema = ", 1))
    with pytest.raises(UsageError, match=r"variants\.toml: cannot be read: .*\(at line \d+, column \d+\)") as caught:
        variants.load(tmp_path / "variants.toml")
    assert caught.value.exit_code == 2


def test_an_edited_input_with_a_syntax_error_is_found_and_healed(lock: Callable, tmp_path: Path) -> None:
    made = lock()
    whole = made.input_path.read_text()
    made.input_path.write_text(whole + "lib=>1\n")
    found = check_lock(VARIANT, lockfiles=tmp_path / "locks", pyproject=tmp_path / "pyproject.toml")
    assert "small.in:5: no requirement: 'lib=>1'" in [problem.message for problem in found]
    assert lock().changed
    assert made.input_path.read_text() == whole


# Interrupted.


KILLED = textwrap.dedent("""
    import os, signal, sys
    from pathlib import Path
    from unittest import mock

    sys.path.insert(0, {tests!r})
    from provision.index import IndexSettings
    from provision.lock import make
    from provision.lock.target import Target
    from provision.lock.variants import Requirement, Variant

    call, at = sys.argv[1], int(sys.argv[2])
    real, count = getattr(os, call), 0

    def counted(*given, **how):
        global count
        count += 1
        if count == at:
            os.kill(os.getpid(), signal.SIGKILL)
        return real(*given, **how)

    setattr(os, call, counted)
    app = Requirement(name="app", bound=">=1.1", because="", source="here", date="2026-11-24")
    variant = Variant(
        name="small", purpose="tool", accelerator="none", target=Target(python={python!r}, glibc="2.36", machine="x86_64"),
        origin="", requirements=(app,), agree_with=(), forbidden=(), forbidden_because="",
    )
    make.lock_variant(
        variant, lockfiles=Path({locks!r}), pyproject=Path("none"),
        settings=IndexSettings(no_index=True, find_links=({wheels!r},)),
    )
    print(count)
""")
NEWER = replace(VARIANT, requirements=(replace(APP, bound=">=1.1"),))


@pytest.mark.parametrize("call", ["replace", "fsync"])
def test_killed_at_any_point_of_writing(
    call: str, lock: Callable, wheels: Path, make_wheel: Callable, tmp_path: Path
) -> None:
    """Before each rename and each flush. Every file is the old or the new one; where they are mixed, ``--check`` says so."""
    make_wheel(wheels, "app", "1.1", "lib>=1")
    folder = tmp_path / "locks"
    lock(replace(VARIANT, requirements=(replace(APP, bound="==1.0"),)))
    old = contents(folder)
    script = KILLED.format(tests="", python=PYTHON, locks=str(folder), wheels=str(wheels))
    mixed = 0
    for at in range(1, 20):
        for name, data in old.items():
            (folder / name).write_bytes(data)
        done = subprocess.run(
            [sys.executable, "-c", script, call, str(at)], capture_output=True, text=True, check=False
        )
        if done.returncode == 0:
            break
        assert done.returncode == -signal.SIGKILL, done.stderr
        now = {name: data for name, data in contents_shown(folder).items() if name in old}
        assert now.keys() == old.keys()
        found = check_lock(NEWER, lockfiles=folder, pyproject=tmp_path / "none")
        new = lock(NEWER)
        healed = contents_shown(folder)
        assert all(now[name] in (old[name], healed[name]) for name in old)
        assert check_lock(NEWER, lockfiles=folder, pyproject=tmp_path / "none") == ()
        if now != healed:
            assert found
            assert new.changed
            mixed += now != old
    assert at > 3
    assert sorted(contents(folder)) == sorted(old), "what was left half-made is taken away by the next lock"
    if call == "replace":
        assert mixed


def contents_shown(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 64 KiB of its own."""
    folder = tmp_path / "disk"
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(folder)], check=True)
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root: mounts a file system or drops privileges")
def test_a_full_disk_leaves_the_old_lock(
    small_disk: Path, offline: IndexSettings, wheels: Path, make_wheel: Callable
) -> None:
    """At every amount of room: either all files of the lock are written, or none."""
    make_wheel(wheels, "app", "1.1", "lib>=1")
    folder = small_disk / "locks"
    paths = {"lockfiles": folder, "pyproject": small_disk / "none", "settings": offline}
    make.lock_variant(replace(VARIANT, requirements=(replace(APP, bound="==1.0"),)), **paths)
    before = contents(folder)
    outcomes = set()
    for free_pages in range(6):
        filler = small_disk / "filler"
        fill(filler, small_disk, free_pages)
        try:
            make.lock_variant(NEWER, **paths)
        except ChangeError as error:
            assert "No space left on device" in error.message
            assert "the previous one stands" in error.message
            assert contents(folder) == before
            outcomes.add("full")
        else:
            outcomes.add("written")
            assert all(now != before[name] for name, now in contents(folder).items())
        filler.unlink()
    assert "full" in outcomes


def fill(filler: Path, disk: Path, free_pages: int) -> None:
    """Take all room of a file system but some pages of 4 KiB."""
    page = os.sysconf("SC_PAGE_SIZE")
    there = os.statvfs(disk)
    filler.write_bytes(b"\0" * max(0, there.f_bavail * there.f_frsize - free_pages * page))


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root: mounts a file system or drops privileges")
def test_a_folder_that_may_not_be_written(small_disk: Path, offline: IndexSettings) -> None:
    folder = small_disk / "locks"
    paths = {"lockfiles": folder, "pyproject": small_disk / "none", "settings": offline}
    make.lock_variant(VARIANT, **paths)
    before = contents(folder)
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    with pytest.raises(ChangeError, match="Read-only file system") as caught:
        make.lock_variant(replace(VARIANT, requirements=(replace(APP, bound="==1.0"),)), **paths)
    assert caught.value.exit_code == 4
    assert contents(folder) == before


def test_the_input_names_its_variant() -> None:
    """The message of a bad bound leads to the row: the name it gives is the one in the catalog."""
    for variant in variants.load():
        assert inputs.render(variant, Path(__file__).parents[2] / "pyproject.toml").startswith(
            f"# What {variant.name} "
        )
