"""Connections are used again, but never one whose answer was not read to its end, nor one that the server closed."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from provision.errors import ChangeError
from provision.index import IndexSettings
from provision.lock.once import Once
from provision.lock.pages import Pages


def test_one_connection_carries_many_pages(wheels: Path, serve: Callable) -> None:
    index = serve(wheels, protocol="HTTP/1.1")
    pages = Pages(IndexSettings(index_url=index.url))
    for name in ("app", "lib", "unheard-of", "unheard-of-too"):  # a 404 is read to its end as well
        pages.files(pages.places(name)[0])
    assert (len(index.asked), index.connections) == (4, 1)


def test_a_connection_whose_answer_was_given_up_is_not_used_again(wheels: Path, serve: Callable) -> None:
    """What is left of the old answer would be taken for the new one."""
    index = serve(wheels, protocol="HTTP/1.1")
    pages = Pages(IndexSettings(index_url=index.url))
    (wheel,) = pages.wheels("lib", "1.0")
    with pages.open(wheel.address) as body:
        assert len(body.read(4)) == 4
    assert len(pages.wheels("app", "1.0")) == 1
    assert index.connections == 2


def test_two_answers_at_a_time_have_two_connections(wheels: Path, serve: Callable) -> None:
    index = serve(wheels, protocol="HTTP/1.1")
    pages = Pages(IndexSettings(index_url=index.url))
    place = pages.places("lib")[0]
    with pages.open(place) as one, pages.open(place) as other:
        assert one.read() == other.read() != b""
    assert index.connections == 2


@pytest.fixture
def hasty() -> Iterator[Callable[[int], str]]:
    """``hasty(answers)``: an index that promises to keep a connection and closes it after so many answers (0: before)."""
    listener = socket.create_server(("127.0.0.1", 0))

    def run(answers: int) -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with connection:
                for _ in range(answers):
                    connection.recv(65536)
                    body = b"<!DOCTYPE html>"
                    head = f"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: {len(body)}\r\n\r\n"
                    connection.sendall(head.encode() + body)

    def start(answers: int) -> str:
        threading.Thread(target=run, args=(answers,), daemon=True).start()
        return f"http://127.0.0.1:{listener.getsockname()[1]}/simple"

    yield start
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()


def test_a_connection_that_the_server_closed_is_replaced(hasty: Callable[[int], str]) -> None:
    pages = Pages(IndexSettings(index_url=hasty(1)))
    for name in ("one", "two", "three"):
        assert pages.files(pages.places(name)[0]) == ()


def test_a_server_that_closes_before_it_answers_is_silent(hasty: Callable[[int], str]) -> None:
    pages = Pages(IndexSettings(index_url=hasty(0)))
    with pytest.raises(ChangeError, match="did not answer"):
        pages.files(pages.places("one")[0])


def test_work_is_done_once_for_all_who_wait_and_again_after_a_failure() -> None:
    once, begun, go = Once(), [], threading.Event()

    def work() -> int:
        begun.append(1)
        assert go.wait(10)
        return 7

    with ThreadPoolExecutor(4) as pool:
        waiting = [pool.submit(once.get, "key", work) for _ in range(4)]
        go.set()
        assert [each.result() for each in waiting] == [7, 7, 7, 7]
    assert len(begun) == 1

    def fail() -> int:
        raise ValueError("no")

    for _ in range(2):
        with pytest.raises(ValueError, match="no"):
            once.get("other", fail)
    assert once.get("other", lambda: 8) == 8
