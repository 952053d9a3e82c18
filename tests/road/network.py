"""The only way out of a machine that has a network of its own: a proxy that listens there and connects from here.

A socket belongs to the network it was made in, whoever reads it. So the listening socket is made inside the machine's
network and served from ours; nothing of this machine's network is changed.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import socket
import threading
from pathlib import Path
from urllib.parse import urlsplit

CLONE_NEWNET = 0x40000000  # linux/sched.h
PORT = 3128
HEAD_BYTES = 1 << 16


def listen_in(process: int) -> socket.socket:
    """A socket that listens on ``PORT`` of the loopback interface in the network of ``process``."""
    made: list[socket.socket | OSError] = []

    def work() -> None:  # setns() moves one thread, and this one ends
        try:
            enter(process)
            made.append(socket.create_server(("127.0.0.1", PORT)))
        except OSError as error:
            made.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    if isinstance(made[0], OSError):
        raise made[0]
    return made[0]


def enter(process: int) -> None:
    with Path(f"/proc/{process}/ns/net").open("rb") as namespace:
        if ctypes.CDLL(None, use_errno=True).setns(namespace.fileno(), CLONE_NEWNET):
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


class Proxy:
    """Serves HTTP and CONNECT on ``listening`` until it is closed."""

    def __init__(self, listening: socket.socket) -> None:
        self._loop = asyncio.new_event_loop()
        self._socket = listening
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()

    def _serve(self) -> None:
        asyncio.set_event_loop(self._loop)
        server = self._loop.run_until_complete(asyncio.start_server(_answer, sock=self._socket, limit=HEAD_BYTES))
        self._loop.run_forever()
        server.close()
        for task in asyncio.all_tasks(self._loop):
            task.cancel()
        self._loop.run_until_complete(asyncio.sleep(0.1))
        self._loop.close()


async def _answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        first, *fields = head.split("\r\n")
        method, target, version = first.split(" ")
        there = urlsplit(f"//{target}" if method == "CONNECT" else target)
        try:
            from_there, to_there = await asyncio.open_connection(there.hostname, there.port or 80)
        except OSError as error:
            writer.write(f"HTTP/1.1 502 {error.strerror or error}\r\nContent-Length: 0\r\n\r\n".encode())
            await writer.drain()
        else:
            if method == "CONNECT":
                writer.write(b"HTTP/1.1 200 Connected\r\n\r\n")
            else:  # one request a connection
                kept = [f for f in fields if f and not f.lower().startswith(("connection:", "proxy-"))]
                path = (there.path or "/") + (f"?{there.query}" if there.query else "")
                lines = [f"{method} {path} {version}", *kept, "Connection: close", "", ""]
                to_there.write("\r\n".join(lines).encode("latin-1"))
            await asyncio.gather(_pass_on(reader, to_there), _pass_on(from_there, writer))
    with contextlib.suppress(OSError):
        writer.close()
        await writer.wait_closed()


async def _pass_on(source: asyncio.StreamReader, destination: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while piece := await source.read(1 << 16):
            destination.write(piece)
            await destination.drain()
        destination.close()
