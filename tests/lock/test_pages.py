"""What a real index on the loopback interface offers, and what it says when it does not answer."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from provision.errors import ChangeError
from provision.index import IndexSettings
from provision.lock.pages import Pages, united_sha256


def closed_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@pytest.mark.parametrize("how", [{}, {"json": False}, {"hashes": False}, {"json": False, "hashes": False}])
def test_every_kind_of_page_gives_the_same_hashes(
    how: dict[str, bool], wheels: Path, serve: Callable, sha256: Callable
) -> None:
    pages = Pages(IndexSettings(index_url=serve(wheels, **how).url))
    expected = (sha256(wheels / "lib-1.1-py3-none-any.whl"),)
    assert united_sha256(pages, [("lib", "1.1")]) == {"lib": expected}


def test_hashes_are_united_over_every_place(
    wheels: Path, tmp_path: Path, serve: Callable, make_wheel: Callable, sha256: Callable
) -> None:
    """The same version with other bytes on another index, and a folder whose files nobody hashed before."""
    other = make_wheel(tmp_path / "other", "lib", "1.1", content=b"# rebuilt")
    third = make_wheel(tmp_path / "third", "lib", "1.1", tag="cp311-cp311-manylinux_2_28_x86_64")
    (third.parent / "lib-1.1.tar.gz").write_bytes(b"a source, which no lock admits")
    settings = IndexSettings(
        index_url=serve(wheels).url, extra_index_urls=(serve(other.parent).url,), find_links=(str(third.parent),)
    )
    expected = sorted(map(sha256, (wheels / other.name, other, third)))
    assert united_sha256(Pages(settings), [("lib", "1.1")]) == {"lib": tuple(expected)}


def test_a_local_index_folder_is_read_like_pip_reads_it(wheels: Path, tmp_path: Path, sha256: Callable) -> None:
    page = tmp_path / "local" / "simple" / "lib" / "index.html"
    page.parent.mkdir(parents=True)
    page.write_text(f'<a href="../../../wheels/lib-1.0-py3-none-any.whl#sha256={"a" * 64}">lib</a>')
    index_url = (tmp_path / "local" / "simple").as_uri()
    assert united_sha256(Pages(IndexSettings(index_url=index_url)), [("lib", "1.0")]) == {"lib": ("a" * 64,)}
    page.write_text('<a href="../../../wheels/lib-1.0-py3-none-any.whl">lib</a>')
    expected = (sha256(wheels / "lib-1.0-py3-none-any.whl"),)
    assert united_sha256(Pages(IndexSettings(index_url=index_url)), [("lib", "1.0")]) == {"lib": expected}


def test_a_hash_that_is_none_is_never_copied(wheels: Path, serve: Callable, sha256: Callable) -> None:
    """What an index says goes into a file that pip and a shell read: only 64 hexadecimal digits pass."""
    index = serve(wheels)
    entry = {"filename": "lib-1.0-py3-none-any.whl", "url": "/files/lib-1.0-py3-none-any.whl"}
    index.answer = json.dumps({"files": [{**entry, "hashes": {"sha256": "0\n--find-links=http://evil"}}]}).encode()
    expected = (sha256(wheels / "lib-1.0-py3-none-any.whl"),)
    pages = Pages(IndexSettings(index_url=index.url))
    index_page = pages.places("lib")[0]
    assert pages.files(index_page)[0].sha256 == ""
    index.answer = b""
    assert united_sha256(pages, [("lib", "1.0")]) == {"lib": expected}


def dead_link(**how: object) -> bytes:
    entry = {"filename": "lib-1.0-py3-none-any.whl", "url": "/files/gone-1.0-py3-none-any.whl", **how}
    return json.dumps({"files": [entry]}).encode()


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ({}, r"lib-1\.0-py3-none-any\.whl is listed by an index and not there"),
        ({"broken_off": 5}, r"lib-1\.0-py3-none-any\.whl cannot be read.*: it broke off, 5 bytes too early"),
        ({"broken_off": 5, "chunked": True}, r"lib-1\.0-py3-none-any\.whl cannot be read.*IncompleteRead"),
    ],
)
def test_a_wheel_that_must_be_read_for_its_hash_and_cannot_be(
    how: dict[str, object], message: str, wheels: Path, serve: Callable
) -> None:
    index = serve(wheels, answer=dead_link())
    pages = Pages(IndexSettings(index_url=index.url))
    pages.read(["lib"])
    if how:
        (wheels / "gone-1.0-py3-none-any.whl").write_bytes(b"x" * 100)
        for name, value in how.items():
            setattr(index, name, value)
    else:
        index.failures = [404]
    with pytest.raises(ChangeError, match=message):
        united_sha256(pages, [("lib", "1.0")])


@pytest.mark.parametrize(("folder", "message"), [("", "No such file"), ("a%00/", "embedded null byte")])
def test_a_wheel_on_disk_that_a_page_lists_and_is_not_there(folder: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "index.html").write_text(f'<a href="{folder}lib-1.0-py3-none-any.whl">lib</a>')
    with pytest.raises(ChangeError, match=rf"lib-1\.0-py3-none-any\.whl cannot be read.*{message}"):
        united_sha256(Pages(IndexSettings(no_index=True, find_links=(str(tmp_path),))), [("lib", "1.0")])


@pytest.mark.parametrize(
    "content", [b"<a href='lib-1.0-py3-none-any.whl'>\xff\xfe</a>", b"<a href='http://[x/lib-1.whl'>"]
)
def test_a_page_on_disk_that_is_none(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "index.html").write_bytes(content)
    with pytest.raises(ChangeError, match=r"index\.html is no package page: "):
        Pages(IndexSettings(no_index=True, find_links=(str(tmp_path),))).read(["lib"])


def test_a_version_that_nobody_has_is_named(offline: IndexSettings) -> None:
    with pytest.raises(ChangeError, match=r"no configured index or find-links folder has a wheel of lib 9\.9"):
        united_sha256(Pages(offline), [("lib", "9.9")])


def test_a_package_that_an_index_lacks_is_an_answer(wheels: Path, serve: Callable) -> None:
    index = serve(wheels)
    pages = Pages(IndexSettings(index_url=index.url))
    assert pages.wheels("unheard-of", "1.0") == ()
    assert index.asked == ["/simple/unheard-of/"]


def test_each_page_is_asked_for_once(wheels: Path, serve: Callable) -> None:
    index = serve(wheels)
    pages = Pages(IndexSettings(index_url=index.url))
    pages.read(["lib", "app", "lib"])
    united_sha256(pages, [("lib", "1.0"), ("app", "1.0")])
    assert sorted(index.asked) == ["/simple/app/", "/simple/lib/"]


def test_a_closed_port_is_one_clear_message() -> None:
    address = f"http://me:s3cr3t-word@127.0.0.1:{closed_port()}/simple"
    with pytest.raises(ChangeError) as caught:
        Pages(IndexSettings(index_url=address)).read(["lib"])
    shown = address.replace("me:s3cr3t-word", "****")
    assert caught.value.message == (
        f"the package index {shown}/lib/ did not answer: [Errno 111] Connection refused. Nothing was changed"
    )
    assert "PIP_INDEX_URL" in caught.value.next_command
    assert caught.value.exit_code == 4


@pytest.mark.parametrize(("status", "attempts"), [(401, 1), (403, 1), (500, 3), (503, 3)])
def test_a_refusal_names_the_status_and_not_the_password(
    status: int, attempts: int, wheels: Path, serve: Callable
) -> None:
    index = serve(wheels, failures=[status] * attempts, user="me:s3cr3t-word")
    with pytest.raises(ChangeError, match=f"answered {status}") as caught:
        Pages(IndexSettings(index_url=index.url)).read(["lib"])
    assert "s3cr3t-word" not in caught.value.message
    assert len(index.asked) == attempts


def test_a_passing_trouble_is_tried_again(wheels: Path, serve: Callable) -> None:
    index = serve(wheels, failures=[503, 429])
    assert Pages(IndexSettings(index_url=index.url)).wheels("lib", "1.0")
    assert len(index.asked) == 3


def test_a_password_is_not_carried_to_another_host(wheels: Path, serve: Callable) -> None:
    there = serve(wheels)
    here = serve(wheels, user="me:s3cr3t-word", redirect=f"http://127.0.0.1:{there.port}")
    assert Pages(IndexSettings(index_url=here.url)).wheels("lib", "1.0")
    assert here.authorizations[0].startswith("Basic ")
    assert there.authorizations == [""]


@pytest.mark.parametrize("answer", [b"{", b"[]", b"[" * 100_000, b'{"files": 3}', b'{"files": [{"filename": "x"}]}'])
def test_an_answer_that_is_no_page(answer: bytes, wheels: Path, serve: Callable) -> None:
    with pytest.raises(ChangeError, match="answered with what is no package page"):
        Pages(IndexSettings(index_url=serve(wheels, answer=answer).url)).read(["lib"])


@pytest.mark.parametrize("answer", [b"<![unknown[ x", b"<a href='http://[x/lib.whl'>"])
def test_a_page_that_no_html_reader_reads(answer: bytes, wheels: Path, serve: Callable) -> None:
    index = serve(wheels, answer=answer, answer_kind="text/html")
    with pytest.raises(ChangeError, match="answered with what is no package page") as caught:
        Pages(IndexSettings(index_url=index.url)).read(["lib"])
    assert caught.value.message.isprintable()


def test_no_index_asks_no_index(wheels: Path, serve: Callable) -> None:
    index = serve(wheels)
    pages = Pages(IndexSettings(index_url=index.url, no_index=True, find_links=(str(wheels),)))
    assert pages.wheels("lib", "1.0")
    assert index.asked == []


def test_a_certificate_file_that_is_none_is_named(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("not a certificate")
    with pytest.raises(ChangeError, match=r"the certificate file .*ca\.pem cannot be used"):
        Pages(IndexSettings(certificate=str(tmp_path / "ca.pem"), index_url="https://h.test/simple"))


def test_an_index_that_is_no_web_address_is_refused() -> None:
    with pytest.raises(ChangeError, match=r"ftp://h\.test/simple/lib/ is neither http, https nor file"):
        Pages(IndexSettings(index_url="ftp://h.test/simple")).read(["lib"])
