"""The container engine: reaching it, and one clear sentence when that fails.

``engine()`` gives a docker SDK client in which every request has a deadline; ``talking()`` turns whatever the SDK,
its HTTP library or the socket raises into a ``ChangeError`` that names the cause and the next command.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from provision.errors import ChangeError

if TYPE_CHECKING:
    from docker import DockerClient

SOCKET = "unix:///var/run/docker.sock"
OLDEST_API = (1, 41)  # Docker 20.10, Debian 12's and the oldest engine this was run against (2026-11-24)
CONNECT_SECONDS = 20
CALL_SECONDS = 120


def engine(url: str | None = None, *, seconds: int = CALL_SECONDS) -> DockerClient:
    """A client for the engine at ``url`` (``DOCKER_HOST``, then the standard socket, where it is None).

    ``seconds`` bounds the silence of every later request; reaching the engine has at most ``CONNECT_SECONDS``.
    Raises ``ChangeError`` where no engine answers, access is refused, or it is too old.
    """
    import docker

    where = url or os.environ.get("DOCKER_HOST") or SOCKET
    with talking(f"reaching the container engine at {where}"):
        # from_env also reads DOCKER_TLS_VERIFY and DOCKER_CERT_PATH, which belong to DOCKER_HOST alone.
        first = min(seconds, CONNECT_SECONDS)
        if url is None:
            client = docker.from_env(version="auto", timeout=first)
        else:
            client = docker.DockerClient(base_url=url, version="auto", timeout=first)
    spoken = client.api.api_version
    if _numbers(spoken) < OLDEST_API:
        client.close()
        oldest = ".".join(map(str, OLDEST_API))
        raise ChangeError(
            f"the container engine at {where} speaks API {spoken}; {oldest} (Docker 20.10) or newer is needed",
            "sudo apt-get install --only-upgrade docker.io",
        )
    client.api.timeout = seconds
    _bound(client.api, seconds)
    return client


@contextmanager
def talking(doing: str) -> Iterator[None]:
    """Turn a failure of the engine, or of the road to it, into one ``ChangeError`` that begins with ``doing``."""
    import docker.errors
    import requests
    import urllib3

    try:
        yield
    except (docker.errors.DockerException, requests.RequestException, urllib3.exceptions.HTTPError) as error:
        raise _explain(error, doing) from error
    except (ConnectionError, TimeoutError) as error:  # a socket taken over from the SDK (attach) speaks for itself
        raise _explain(error, doing) from error


def gone(error: BaseException) -> bool:
    """Whether ``error`` (or what caused it) says that nobody is at the other end any more."""
    import requests
    import urllib3

    lost = (ConnectionError, requests.ConnectionError, requests.Timeout, urllib3.exceptions.ProtocolError, TimeoutError)
    return any(isinstance(link, (*lost, FileNotFoundError)) for link in _chain(error))


def _bound(api: Any, seconds: int) -> None:
    """Give a deadline to the SDK's requests that have none (pull, load and build pass ``timeout=None``)."""
    unbounded = api.request

    def request(method: str, address: str, **options: Any) -> Any:
        if options.get("timeout") is None:
            options["timeout"] = seconds
        return unbounded(method, address, **options)

    api.request = request


def _explain(error: BaseException, doing: str) -> ChangeError:
    import docker.errors
    import requests
    import urllib3

    chain = tuple(_chain(error))

    def met(*kinds: type[BaseException]) -> bool:
        return any(isinstance(link, kinds) for link in chain)

    if met(PermissionError):
        return ChangeError(
            f"{doing}: permission denied on the engine's socket for user {os.geteuid()}. Root may use it, and the "
            "members of group docker, who are thereby as good as root",
            "sudo provision up",
        )
    if met(FileNotFoundError):
        return ChangeError(
            f"{doing}: there is no engine socket; no engine is installed or it is not running", "provision up"
        )
    if met(ConnectionRefusedError):
        return ChangeError(
            f"{doing}: the socket is there but no engine listens on it; the engine has stopped", "provision up"
        )
    if met(TimeoutError, requests.Timeout, urllib3.exceptions.TimeoutError):
        return ChangeError(f"{doing}: the engine did not answer in time", "docker info")
    if isinstance(error, docker.errors.APIError):
        said = str(error.explanation or error).strip()
        if "no space left on device" in said.lower():
            return ChangeError(f"{doing}: the engine's disk is full ({said})", "docker system df")
        return ChangeError(f"{doing}: the engine refused: {said}", "docker info")
    if met(ConnectionError, requests.ConnectionError, urllib3.exceptions.ProtocolError):
        return ChangeError(f"{doing}: the connection broke off; the engine stopped half-way", "provision up")
    return ChangeError(f"{doing}: {error}", "docker info")


def _chain(error: BaseException) -> Iterator[BaseException]:
    """``error`` and everything it wraps: causes, contexts and the exceptions libraries hide in ``args``."""
    seen: set[int] = set()
    waiting: list[BaseException] = [error]
    while waiting:
        link = waiting.pop()
        if id(link) in seen:
            continue
        seen.add(id(link))
        yield link
        below = (link.__cause__, link.__context__, getattr(link, "reason", None), *link.args)
        waiting.extend(one for one in below if isinstance(one, BaseException))


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split("."))
