"""One HTTP/1.0 exchange over a Unix socket: short enough to need no library, and it works where an engine's client is not
installed. Standard library only, Python 3.10.
"""

from __future__ import annotations

import json
from typing import Any

from provision.fact import Absent, Missing


def get(path_of_socket: str, path: str, seconds: float) -> Any:
    """The JSON answer to ``GET path``. Raises ``Absent`` (no socket) or ``Missing`` (no answer in time, no JSON, an error)."""
    import socket

    try:
        with socket.socket(socket.AF_UNIX) as line:
            line.settimeout(seconds)
            line.connect(path_of_socket)
            line.sendall(f"GET {path} HTTP/1.0\r\nHost: localhost\r\n\r\n".encode())
            answer = b"".join(iter(lambda: line.recv(65536), b""))
    except (FileNotFoundError, NotADirectoryError):
        raise Absent(f"{path_of_socket} is not there") from None
    except TimeoutError:
        raise Missing(f"{path_of_socket} gave no answer in {seconds:g} s") from None
    except OSError as error:
        raise Missing(f"{path_of_socket}: {(error.strerror or str(error)).lower()}") from None
    head, _, body = answer.partition(b"\r\n\r\n")
    status = head.split(b" ", 2)[1:2]
    if status != [b"200"]:
        raise Missing(f"{path_of_socket}: GET {path} answered {head.splitlines()[:1]}")
    try:
        return json.loads(body)
    except ValueError:
        raise Missing(f"{path_of_socket}: GET {path} answered no JSON") from None
