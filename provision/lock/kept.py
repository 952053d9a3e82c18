"""Connections to package indexes that are used again: a TLS handshake per connection instead of one per page.

urllib closes every connection after one answer. The pages of the 266 packages in all locks took 25 and 21 s that way,
8 and 11 s over kept connections (two runs each in turn, 2 cores that others used too, load 5 to 7, 2026-11-24).
"""

from __future__ import annotations

import http.client
import threading
import urllib.error
import urllib.request
import weakref
from collections.abc import Callable, Hashable

Connection = http.client.HTTPConnection
_STALE = (ConnectionError, http.client.BadStatusLine)  # what a connection says that the server closed meanwhile


class KeptConnections:
    """The connections of one opener, by what they lead to. Closed when the opener is dropped."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._kept: dict[Hashable, list[tuple[Connection, http.client.HTTPResponse]]] = {}
        weakref.finalize(self, _close, self._kept)

    def ask(
        self, key: Hashable, connect: Callable[[], Connection], request: urllib.request.Request
    ) -> http.client.HTTPResponse:
        """The answer to ``request``, over a kept connection where one to ``key`` is idle, else over a new one.

        Raises ``URLError`` as urllib does.
        """
        while (connection := self._idle(key)) is not None:
            try:
                return self._answer(key, connection, request)
            except _STALE:
                continue
        connection = connect()
        _through_proxy(connection, request)
        try:
            return self._answer(key, connection, request)
        except (OSError, http.client.HTTPException) as error:
            raise urllib.error.URLError(error) from None

    def _answer(
        self, key: Hashable, connection: Connection, request: urllib.request.Request
    ) -> http.client.HTTPResponse:
        headers = {name.title(): value for name, value in {**request.headers, **request.unredirected_hdrs}.items()}
        if request._tunnel_host:  # type: ignore[attr-defined]
            headers.pop("Proxy-Authorization", None)  # the proxy's business, not the index's
        try:
            connection.request(request.get_method(), request.selector, request.data, headers)
            answer = connection.getresponse()
        except BaseException:
            connection.close()
            raise
        if connection.sock is not None:  # otherwise the server closes it after this answer
            with self._lock:
                self._kept.setdefault(key, []).append((connection, answer))
        answer.url = request.full_url
        answer.msg = answer.reason  # type: ignore[assignment]  # where urllib's handlers look for it
        return answer

    def _idle(self, key: Hashable) -> Connection | None:
        """A connection whose answer was read to its end; those whose answer was given up are closed."""
        with self._lock:
            there = self._kept.get(key, [])
            for pair in [each for each in there if each[1].isclosed()]:
                there.remove(pair)
                if _read_to_its_end(pair[1]):
                    return pair[0]
                pair[0].close()
        return None


def _through_proxy(connection: Connection, request: urllib.request.Request) -> None:
    tunnel = request._tunnel_host  # type: ignore[attr-defined]
    if tunnel:
        word = "Proxy-authorization"  # as ``Request.add_header`` writes it
        given = request.get_header(word) or request.unredirected_hdrs.get(word)
        connection.set_tunnel(tunnel, headers={"Proxy-Authorization": given} if given else {})


def _read_to_its_end(answer: http.client.HTTPResponse) -> bool:
    return answer.chunk_left is None if answer.chunked else answer.length == 0


def _close(kept: dict[Hashable, list[tuple[Connection, http.client.HTTPResponse]]]) -> None:
    for pairs in kept.values():
        for connection, _ in pairs:
            connection.close()
