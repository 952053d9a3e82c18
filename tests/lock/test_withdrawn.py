"""``lock --check`` and the indexes: real locks, and a real index that changes after they were made."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import stat
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from provision.index import IndexSettings
from provision.lock import offered, pylock, text
from provision.lock.package import Package, Wheel
from provision.lock.page_cache import PageCache
from provision.lock.target import Target
from provision.lock.text import Pin
from provision.lock.variants import PublicIndex, Requirement, Variant
from provision.lock.withdrawn import Look, NotLooked, look

PYTHON = f"{sys.version_info[0]}.{sys.version_info[1]}"
ASKED = Requirement(name="app", bound=">=1", because="", source="here", date="2026-11-24")
ONE = Variant(
    name="one",
    purpose="tool",
    accelerator="none",
    target=Target(python=PYTHON, glibc="2.36", machine="x86_64"),
    origin="",
    requirements=(ASKED,),
    agree_with=(),
    forbidden=(),
    forbidden_because="",
)
TWO = replace(ONE, name="two", requirements=(replace(ASKED, name="lib", bound=""),))
LIB = "lib-1.1-py3-none-any.whl"
APP = "app-1.0-py3-none-any.whl"


def write_lock(folder: Path, variant: Variant, *wheels: Path) -> None:
    """A lock of these wheels, in the text that ``provision lock`` writes."""
    folder.mkdir(exist_ok=True)
    hashes: dict[tuple[str, str], list[str]] = {}
    for wheel in wheels:
        name, version = wheel.name.split("-")[:2]
        hashes.setdefault((name, version), []).append(hashlib.sha256(wheel.read_bytes()).hexdigest())
    pins = [Pin(name=n, version=v, sha256=tuple(each), via=("the input",)) for (n, v), each in hashes.items()]
    (folder / f"{variant.name}.txt").write_text(text.render(variant.name, variant.name, "", pins))


@pytest.fixture
def locks(tmp_path: Path, wheels: Path) -> Path:
    """Two locks: app 1.0 and lib 1.1, and lib 1.1 alone."""
    write_lock(tmp_path / "locks", ONE, wheels / APP, wheels / LIB)
    write_lock(tmp_path / "locks", TWO, wheels / LIB)
    return tmp_path / "locks"


@pytest.fixture
def check(locks: Path, tmp_path: Path) -> Callable[..., Look]:
    def run(settings: IndexSettings, *variants: Variant, **how: Any) -> Look:
        cache = PageCache(tmp_path / "cache" / "pages.json")
        paths = {"lockfiles": locks, "pyproject": tmp_path / "pyproject.toml"}
        seen = look(variants or (ONE, TWO), settings=settings, cache=cache, **paths, **how)
        cache.save()
        return seen

    return run


def said(seen: Look) -> list[tuple[str, str]]:
    return [(problem.kind, problem.message) for problem in seen.problems]


@pytest.mark.parametrize("how", [{"etags": True}, {"modified": "Tue, 24 Nov 2026 20:00:00 GMT"}, {}])
def test_nothing_moved(how: dict[str, object], wheels: Path, serve: Callable, check: Callable) -> None:
    """One question a package for all locks; the second time a page that has a validator is not sent again."""
    index = serve(wheels, protocol="HTTP/1.1", **how)
    settings = IndexSettings(index_url=index.url)
    nothing = Look(problems=(), not_looked=(), packages=2)
    assert check(settings) == nothing
    assert check(settings) == nothing
    assert sorted(index.asked) == ["/simple/app/", "/simple/app/", "/simple/lib/", "/simple/lib/"]
    assert index.statuses == [200, 200, *([304, 304] if how else [200, 200])]


def test_connections_stay_open(
    wheels: Path, serve: Callable, make_wheel: Callable, locks: Path, check: Callable
) -> None:
    """Forty packages on at most eight connections; an answer of 404 or 500 does not cost one."""
    names = [f"more{number}" for number in range(40)]
    lines = (locks / "two.txt").read_text()
    for name in names[:30]:
        make_wheel(wheels, name, "1.0")
    (locks / "two.txt").write_text(lines + "".join(f"{name}==1.0 --hash=sha256:{'0' * 64}\n" for name in names))
    for chunked in (False, True):
        index = serve(wheels, protocol="HTTP/1.1", chunked=chunked)
        seen = check(IndexSettings(index_url=index.url))
        assert [problem.kind for problem in seen.problems] == ["vanished"] * 40
        assert len(index.asked) == 42
        assert index.connections <= 8


@pytest.mark.parametrize("is_json", [True, False])
@pytest.mark.parametrize(
    ("reason", "why"),
    [("does not start", ": does not start"), ("a\n\x1b[31mb  c", ": a [31mb c"), (True, ", without a reason")],
)
def test_a_withdrawn_version(
    reason: str | bool, why: str, is_json: bool, wheels: Path, serve: Callable, check: Callable
) -> None:
    """With the index's own words, on one line and without control characters; in each lock that holds it."""
    index = serve(wheels, json=is_json)
    if isinstance(reason, str):
        index.reasons = {LIB: reason}
    else:
        index.yanked = (LIB,)
        why = why if is_json else ": why"
    seen = check(IndexSettings(index_url=index.url))
    place = f"{index.url}/lib/"
    assert said(seen) == [
        ("yanked", f"one.txt:10: lib 1.1 was withdrawn (yanked) by {place}{why}"),
        ("yanked", f"two.txt:7: lib 1.1 was withdrawn (yanked) by {place}{why}"),
    ]
    assert [problem.next_command for problem in seen.problems] == [
        "provision lock one --upgrade lib",
        "provision lock two --upgrade lib",
    ]
    assert seen.not_looked == ()


def test_another_withdrawn_version_is_none_of_ours(wheels: Path, serve: Callable, check: Callable) -> None:
    index = serve(wheels, yanked=("lib-1.0-py3-none-any.whl",))
    assert said(check(IndexSettings(index_url=index.url))) == []


def test_a_wheel_that_is_gone(wheels: Path, serve: Callable, check: Callable) -> None:
    """Other versions, or nothing at all: a page that answers, and a package that the index no longer knows."""
    settings = IndexSettings(index_url=serve(wheels).url)
    (wheels / LIB).unlink()
    (wheels / APP).unlink()
    assert said(check(settings, ONE)) == [
        ("vanished", "one.txt:7: no configured place has a wheel of app 1.0 any more"),
        ("vanished", "one.txt:10: no configured place has a wheel of lib 1.1 any more"),
    ]


def test_a_wheel_that_another_place_still_has_is_not_gone(
    wheels: Path, tmp_path: Path, serve: Callable, check: Callable
) -> None:
    kept = tmp_path / "kept"
    kept.mkdir()
    (wheels / LIB).rename(kept / LIB)
    index = serve(wheels)
    assert [p.kind for p in check(IndexSettings(index_url=index.url), TWO).problems] == ["vanished"]
    assert said(check(IndexSettings(index_url=index.url, find_links=(str(kept),)))) == []
    assert said(check(IndexSettings(index_url=index.url, extra_index_urls=(serve(kept).url,)))) == []


def test_only_wheels_that_the_target_loads_count(
    wheels: Path, serve: Callable, make_wheel: Callable, check: Callable, locks: Path, sha256: Callable
) -> None:
    """The lock has the hashes of every platform; what is left must load on its own."""
    here = make_wheel(wheels, "lib", "1.1", tag="py3-none-manylinux_2_36_x86_64", content=b"# here")
    other = make_wheel(wheels, "lib", "1.1", tag="cp38-cp38-manylinux_2_17_aarch64", content=b"# elsewhere")
    text = (locks / "two.txt").read_text()
    (locks / "two.txt").write_text(
        text.replace("lib==1.1 \\\n", f"lib==1.1 \\\n    --hash=sha256:{sha256(other)} \\\n")
    )
    settings = IndexSettings(index_url=serve(wheels).url)
    assert said(check(settings, TWO)) == []
    (wheels / LIB).unlink()
    here.unlink()
    assert said(check(settings, TWO)) == [
        (
            "vanished",
            "two.txt:7: no configured place has a wheel of lib 1.1 any more that this lock's Python and C library load",
        )
    ]


def test_other_bytes_under_the_same_name(
    wheels: Path, tmp_path: Path, serve: Callable, make_wheel: Callable, check: Callable, sha256: Callable
) -> None:
    """On one place of two the locked wheel is still there; where it was replaced everywhere, it is gone."""
    other = make_wheel(tmp_path / "other", "lib", "1.1", content=b"# rebuilt")
    index, rebuilt = serve(wheels), serve(other.parent)
    both = IndexSettings(index_url=index.url, extra_index_urls=(rebuilt.url,))
    assert said(check(both, TWO)) == [
        (
            "replaced",
            f"two.txt:7: {rebuilt.url}/lib/ now has other bytes for {LIB}: sha256 {sha256(other)} is not in the lock",
        )
    ]
    (wheels / LIB).write_bytes(other.read_bytes())
    assert said(check(IndexSettings(index_url=index.url), TWO)) == [
        (
            "vanished",
            "two.txt:7: no place has a wheel of lib 1.1 with a hash of this lock any more; "
            f"{index.url}/lib/ has {LIB} with other bytes",
        )
    ]


def test_the_names_of_the_locked_wheels(
    wheels: Path, serve: Callable, make_wheel: Callable, check: Callable, locks: Path, sha256: Callable
) -> None:
    """Only the PEP 751 form knows the name of a wheel that no place has any more with its locked bytes."""
    second = make_wheel(wheels, "lib", "1.1", tag="py3-none-manylinux_2_17_x86_64")
    held = {file.name: sha256(file) for file in (wheels / LIB, second)}
    write_lock(locks, TWO, wheels / LIB, second)
    listed = tuple(Wheel(filename=name, sha256=digest, size_bytes=0, line=0) for name, digest in held.items())
    package = Package(name="lib", version="1.1", wheels=listed, pythons=(), requires=(), dependencies=(), line=0)
    second = make_wheel(wheels, "lib", "1.1", tag="py3-none-manylinux_2_17_x86_64", content=b"# rebuilt")
    index = serve(wheels)
    settings = IndexSettings(index_url=index.url)
    assert said(check(settings, TWO)) == []
    (locks / "pylock.two.toml").write_text(pylock.render("two", "two", TWO.target, "", [package]))
    assert said(check(settings, TWO)) == [
        (
            "replaced",
            f"two.txt:7: {index.url}/lib/ now has other bytes for {second.name}: sha256 {sha256(second)} is not in the lock",
        )
    ]
    (locks / "pylock.two.toml").write_text("no TOML at all")
    assert said(check(settings, TWO)) == []


def test_a_further_wheel_of_a_locked_version_is_no_problem(
    wheels: Path, serve: Callable, make_wheel: Callable, check: Callable
) -> None:
    make_wheel(wheels, "lib", "1.1", tag="py3-none-manylinux_2_36_x86_64", content=b"# uploaded later")
    assert said(check(IndexSettings(index_url=serve(wheels).url))) == []


# What could not be looked at is never called gone, and never fine.


def test_a_closed_port(check: Callable) -> None:
    seen = check(IndexSettings(index_url="http://me:s3cr3t-word@127.0.0.1:9/simple"))
    assert seen.problems == ()
    assert seen.not_looked == (
        NotLooked(
            place="http://****@127.0.0.1:9/simple/",
            reason="did not answer: [Errno 111] Connection refused",
            packages=("app", "lib"),
        ),
    )


@pytest.mark.parametrize(
    ("how", "reason"),
    [
        ({"failures": [500] * 9}, "answered 500 Internal Server Error"),
        ({"failures": [403] * 9}, "answered 403 Forbidden"),
        ({"answer": b"{"}, "answered with what is no package page: "),
        ({"answer": b'{"files": [{"filename": 3}, {}]}'}, "answered with what is no package page: "),
        ({"answer": b"[" * 100_000}, "answered with what is no package page: "),
        ({"answer": b"<![unknown[ x", "answer_kind": "text/html"}, "answered with what is no package page: "),
        (
            {"answer": b"<a href='http://[x/lib.whl'>", "answer_kind": "text/html"},
            "answered with what is no package page: ",
        ),
        ({"answer": b"<html><a href='/login'>Log in</a>", "answer_kind": "text/html"}, "a page that names no file"),
        ({"answer": b"", "json": False, "answer_kind": "text/html", "hashes": False}, "its page names no hashes"),
        ({"broken_off": 10, "json": False}, "did not answer: it broke off, "),
        ({"broken_off": 10, "json": False, "chunked": True}, "did not answer: IncompleteRead"),
    ],
)
def test_an_answer_that_is_no_page(
    how: dict[str, Any], reason: str, wheels: Path, serve: Callable, check: Callable
) -> None:
    seen = check(IndexSettings(index_url=serve(wheels, protocol="HTTP/1.1", **how).url))
    assert seen.problems == ()
    assert {name for each in seen.not_looked for name in each.packages} == {"app", "lib"}
    assert all(reason in each.reason for each in seen.not_looked)


def test_our_own_mistake_is_not_taken_for_a_silent_index(
    wheels: Path, serve: Callable, check: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("provision.lock.offered.wheels_of", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        check(IndexSettings(index_url=serve(wheels).url))


def test_a_file_name_that_writes_to_a_terminal(wheels: Path, serve: Callable, check: Callable, locks: Path) -> None:
    """What an index names is shown without its control characters."""
    entry = {"filename": "lib-1.1-1\x1b[31m-py3-none-any.whl", "url": "/a", "hashes": {"sha256": "0" * 64}}
    index = serve(wheels, answer=json.dumps({"files": [entry]}).encode())
    (problem,) = check(IndexSettings(index_url=index.url), TWO).problems
    assert problem.kind == "vanished"
    assert "lib-1.1-1[31m-py3-none-any.whl" in problem.message
    assert problem.message.isprintable()


def test_a_passing_trouble_is_asked_again(wheels: Path, serve: Callable, check: Callable) -> None:
    for how in ({"failures": [503]}, {"drops": 1}):
        index = serve(wheels, protocol="HTTP/1.1", **how)
        assert check(IndexSettings(index_url=index.url), TWO) == Look(problems=(), not_looked=(), packages=1)
        assert index.asked == ["/simple/lib/", "/simple/lib/"]


def test_one_silent_place_of_two_hides_nothing_of_the_other(wheels: Path, serve: Callable, check: Callable) -> None:
    index = serve(wheels, yanked=(LIB,))
    (wheels / APP).unlink()
    seen = check(IndexSettings(index_url=index.url, extra_index_urls=("http://127.0.0.1:9/s",)), ONE)
    assert [problem.kind for problem in seen.problems] == ["yanked"]
    assert [(each.place, each.packages) for each in seen.not_looked] == [("http://127.0.0.1:9/s/", ("app", "lib"))]


def test_an_index_that_hangs(wheels: Path, serve: Callable, check: Callable) -> None:
    """The look ends at its deadline and says of which packages it has no answer; what came in time counts."""
    quick, slow = serve(wheels, yanked=(LIB,)), serve(wheels, page_seconds=30)
    started = time.monotonic()
    seen = check(IndexSettings(index_url=quick.url, extra_index_urls=(slow.url,)), seconds=1.0)
    assert [problem.kind for problem in seen.problems] == ["yanked", "yanked"]
    (silent,) = seen.not_looked
    assert silent.place == f"{slow.url}/"
    assert silent.packages == ("app", "lib")
    assert silent.reason in {"no answer within 1 s", "did not answer: timed out"}
    assert time.monotonic() - started < 6


def test_a_host_that_does_not_answer_is_not_asked_for_everything(
    locks: Path, check: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After some failures in a row, each with its own wait, the other packages have the same reason."""
    lines = "".join(f"more{number}==1.0 --hash=sha256:{'0' * 64}\n" for number in range(40))
    (locks / "two.txt").write_text((locks / "two.txt").read_text() + lines)
    asked: list[str] = []
    fetched = offered._Reader._fetched
    monkeypatch.setattr(offered._Reader, "_fetched", lambda *given: (asked.append(given[1]), fetched(*given))[1])
    seen = check(IndexSettings(index_url="http://127.0.0.1:9/simple"))
    (silent,) = seen.not_looked
    assert silent.reason == "did not answer: [Errno 111] Connection refused"
    assert len(silent.packages) == 42
    assert 3 <= len(asked) <= 10  # eight threads at a time


def test_a_find_links_folder_that_is_not_there(wheels: Path, tmp_path: Path, serve: Callable, check: Callable) -> None:
    """A disk that is not mounted: what lay there may be there still."""
    (wheels / LIB).unlink()
    settings = IndexSettings(index_url=serve(wheels).url, find_links=(str(tmp_path / "absent"),))
    seen = check(settings, TWO)
    assert seen.problems == ()
    assert seen.not_looked == (
        NotLooked(place=str(tmp_path / "absent"), reason=f"there is no {tmp_path / 'absent'}", packages=("lib",)),
    )


@pytest.mark.parametrize("content", [b"<a href='x'>\xff\xfe</a>", b"<a href='http://[x/lib-1.whl'>"])
def test_a_find_links_page_that_is_none(
    content: bytes, wheels: Path, tmp_path: Path, serve: Callable, check: Callable
) -> None:
    (tmp_path / "page").mkdir()
    (tmp_path / "page" / "index.html").write_bytes(content)
    (wheels / LIB).unlink()
    seen = check(IndexSettings(index_url=serve(wheels).url, find_links=(str(tmp_path / "page"),)), TWO)
    assert seen.problems == ()
    (silent,) = seen.not_looked
    assert (silent.place, silent.packages) == (str(tmp_path / "page"), ("lib",))
    assert "index.html is no package page: " in silent.reason


def test_a_link_on_a_page_on_disk_that_leads_nowhere(tmp_path: Path, check: Callable) -> None:
    (tmp_path / "page").mkdir()
    (tmp_path / "page" / "index.html").write_text(f'<a href="a%00/{LIB}">lib</a>')
    seen = check(IndexSettings(no_index=True, find_links=(str(tmp_path / "page"),)), TWO)
    assert seen.problems == ()
    assert "names an address that is none: embedded null byte" in seen.not_looked[0].reason


def test_an_index_in_a_folder(wheels: Path, tmp_path: Path, check: Callable, sha256: Callable) -> None:
    """A package that it lacks is an answer; an index that is not there is none."""
    page = tmp_path / "simple" / "lib" / "index.html"
    page.parent.mkdir(parents=True)
    page.write_text(f'<a href="{LIB}#sha256={sha256(wheels / LIB)}">lib</a>')
    index_url = (tmp_path / "simple").as_uri()
    assert [(p.kind, p.line) for p in check(IndexSettings(index_url=index_url), ONE).problems] == [("vanished", 7)]
    absent = check(IndexSettings(index_url=(tmp_path / "absent").as_uri()), ONE)
    assert absent.problems == ()
    assert {name for each in absent.not_looked for name in each.packages} == {"app", "lib"}


def test_a_certificate_file_that_cannot_be_used(tmp_path: Path, check: Callable) -> None:
    (tmp_path / "ca.pem").write_text("none")
    seen = check(IndexSettings(index_url="https://h.test/simple", certificate=str(tmp_path / "ca.pem")))
    assert seen.problems == ()
    assert "ca.pem cannot be used" in seen.not_looked[0].reason
    assert seen.not_looked[0].packages == ("app", "lib")


# A build that has an index of its own.


def test_a_projects_own_index_is_asked_only_where_nobody_else_has_the_build(
    wheels: Path, tmp_path: Path, serve: Callable, make_wheel: Callable, check: Callable, locks: Path
) -> None:
    own = serve(make_wheel(tmp_path / "own", "lib", "1.1+cpu").parent)
    public = PublicIndex(name="own", url=own.url, packages=("lib",), source="here", date="2026-11-24")
    variant = replace(ONE, name="three", requirements=(replace(ASKED, name="lib", bound="==1.1+cpu", index=public),))
    settings = IndexSettings(index_url=serve(wheels).url)
    write_lock(locks, variant, own.folder / "lib-1.1+cpu-py3-none-any.whl")
    assert said(check(settings, variant)) == []
    assert own.asked == ["/simple/lib/"]
    own.asked.clear()
    assert said(check(replace(settings, find_links=(str(own.folder),)), variant)) == []
    assert own.asked == []
    silent = check(replace(settings, extra_index_urls=("http://127.0.0.1:9/s",)), variant)
    assert (silent.problems, own.asked) == ((), [])
    assert [each.packages for each in silent.not_looked] == [("lib",)]


# The cache.


def pages(tmp_path: Path) -> dict[str, Any]:
    table: dict[str, Any] = json.loads((tmp_path / "cache" / "pages.json").read_text())
    return table["pages"]


def test_a_page_that_changed_is_read_again(wheels: Path, serve: Callable, check: Callable) -> None:
    for how in ({"etags": True}, {}):
        index = serve(wheels, **how)
        settings = IndexSettings(index_url=index.url)
        assert said(check(settings, TWO)) == []
        index.yanked = (LIB,)
        assert [problem.kind for problem in check(settings, TWO).problems] == ["yanked"]
        index.yanked = ()
        assert said(check(settings, TWO)) == []


def test_a_kept_page_answers_only_for_what_it_was_read_for(
    wheels: Path, serve: Callable, check: Callable, locks: Path
) -> None:
    """The lock moves to a version that the kept page was not searched for."""
    index = serve(wheels, etags=True)
    settings = IndexSettings(index_url=index.url)
    check(settings, TWO)
    old = (locks / "two.txt").read_text()
    (locks / "two.txt").write_text(old.replace("lib==1.1", "lib==1.0"))
    assert [problem.kind for problem in check(settings, TWO).problems] == ["vanished"]
    (locks / "two.txt").write_text(old)
    assert said(check(settings, TWO)) == []
    assert index.statuses == [200, 200, 304]


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[]", b'{"schema": 1}', b'{"schema": 1, "pages": {"a": {}}, "files": {}}', b'{"schema": 2}', b"\xff"],
)
def test_a_cache_that_cannot_be_read_is_made_again(
    content: bytes, wheels: Path, tmp_path: Path, serve: Callable, check: Callable
) -> None:
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / "pages.json").write_bytes(content)
    assert said(check(IndexSettings(index_url=serve(wheels).url))) == []
    assert len(pages(tmp_path)) == 2


def test_no_credential_reaches_the_cache(wheels: Path, tmp_path: Path, serve: Callable, check: Callable) -> None:
    """Neither a password nor a token in a query, nor a digest of it; and nobody else may read the file."""
    index = serve(wheels, user="me:s3cr3t-word")
    settings = IndexSettings(index_url=index.url)
    assert check(settings).not_looked == ()
    path = tmp_path / "cache" / "pages.json"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    kept = path.read_text()
    for secret in ("s3cr3t-word", base64.b64encode(b"me:s3cr3t-word").decode(), "127.0.0.1"):
        assert secret not in kept
    before = set(pages(tmp_path))
    index.user = "me:another"
    assert check(replace(settings, index_url=index.url)).not_looked == ()
    assert set(pages(tmp_path)) == before  # the same pages, whatever the password
    check(replace(settings, index_url=serve(wheels).url, find_links=(f"{index.url}/lib/?token=s3cr3t-word",)), TWO)
    assert len(set(pages(tmp_path)) - before) == 1  # the page without a query


def test_a_password_that_is_refused_is_not_told(wheels: Path, serve: Callable, check: Callable) -> None:
    index = serve(wheels, user="me:s3cr3t-word")
    seen = check(IndexSettings(index_url=index.url.replace("s3cr3t-word", "wr0ng-word")))
    assert seen.not_looked[0].reason == "answered 401 Unauthorized"
    assert "wr0ng-word" not in repr(seen)


def test_a_file_of_a_folder_is_hashed_again_when_it_changes(
    wheels: Path, check: Callable, tmp_path: Path, make_wheel: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Same name and size: by its time or inode. Unchanged, its digest is remembered."""
    settings = IndexSettings(no_index=True, find_links=(str(wheels),))
    for file in wheels.iterdir():
        os.utime(file, (1e9, 1e9))
    assert said(check(settings, TWO)) == []
    table = json.loads((tmp_path / "cache" / "pages.json").read_text())["files"]
    assert [Path(name).name for name in table] == [LIB]
    monkeypatch.setattr("provision.lock.page_cache.hashlib.file_digest", None)
    assert said(check(settings, TWO)) == []
    monkeypatch.undo()
    content = bytearray((wheels / LIB).read_bytes())
    content[len(content) // 2] ^= 1
    (wheels / LIB).write_bytes(bytes(content))
    os.utime(wheels / LIB, (1e9, 1e9 + 5))
    assert [problem.kind for problem in check(settings, TWO).problems] == ["vanished"]
