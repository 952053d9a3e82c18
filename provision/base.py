"""The base image: by digest from a registry where one is reachable, otherwise from the host's Debian archive.

One setting, ``image.base``: ``"auto"``, ``"bootstrap"``, or ``"NAME@sha256:DIGEST"``. A name without a digest is
refused: a tag can mean another image tomorrow. With ``PROVISION_OFFLINE`` nobody is asked: what neither the engine nor
the cache has is an error.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

import tomllib

from provision import bootstrap, index
from provision.engine import talking
from provision.errors import ChangeError, UsageError
from provision.progress import say
from provision.record import record

if TYPE_CHECKING:
    from docker import DockerClient

AUTO = "auto"
BOOTSTRAP = "bootstrap"
REGISTRY_SECONDS = 8  # a registry that can be reached answers in under 2; without a network this is what "auto" costs
_PINNED = re.compile(r"(?P<name>[a-z0-9][a-z0-9._:/-]*)@(?P<digest>sha256:[0-9a-f]{64})")


@record
class Base:
    """A base image that the engine has. ``source`` is registry or bootstrap; ``reused`` when nothing was fetched."""

    reference: str
    image_id: str
    size_bytes: int
    source: str
    reused: bool


def check_setting(setting: str, where: str = "image.base") -> str:
    """``setting`` as it is. Raises ``UsageError`` naming ``where`` for anything but the three forms."""
    if setting in (AUTO, BOOTSTRAP) or _PINNED.fullmatch(setting):
        return setting
    raise UsageError(
        f'{where}: expected "auto", "bootstrap" or "NAME@sha256:" and 64 hex digits, got {setting!r}. A name without '
        "a digest can mean another image tomorrow"
    )


def catalogued(python: str = "3.11", table: Path | None = None) -> str | None:
    """The catalog's image for this Python as ``name@sha256:…``, or None where there is no row."""
    for row in _rows(table):
        if row["python"] == python:
            return f"{row['name']}@{row['digest']}"
    return None


def ensure(
    client: DockerClient,
    setting: str = AUTO,
    *,
    cache_dir: Path,
    suite: str,
    architecture: str,
    python: str = "3.11",
    table: Path | None = None,
) -> Base:
    """The base image for ``setting``, fetched or made where the engine does not have it yet.

    ``suite`` (VERSION_CODENAME) and ``architecture`` (Debian's name) are the host's. "auto" keeps to what the engine
    already has, so a second run needs no network and changes nothing. ``table`` replaces the catalog's.
    Raises ``ChangeError``, ``UsageError``.
    """
    check_setting(setting)
    made = bootstrap.reference(suite, architecture)
    unfit = _unfit(suite, python)
    if unfit and setting == BOOTSTRAP:
        raise unfit
    if setting == BOOTSTRAP:
        return _present(client, made, BOOTSTRAP) or _make(client, suite, architecture, cache_dir)
    if setting != AUTO:
        return _present(client, setting, "registry") or _pull(client, setting)
    pinned = catalogued(python, table)
    if pinned is not None and (here := _present(client, pinned, "registry")):
        return here
    if not unfit and (here := _present(client, made, BOOTSTRAP)):
        return here
    if pinned is not None and not index.offline() and _reachable(client, pinned):
        return _pull(client, pinned)
    if unfit:
        raise unfit
    return _make(client, suite, architecture, cache_dir)


def _unfit(suite: str, python: str) -> ChangeError | None:
    """Why a base made from the host's archive cannot load a lock for ``python``; None where it can, or is not known."""
    own = next((str(row["python"]) for row in _rows(None, "suite") if row["name"] == suite), python)
    if own == python:
        return None
    return ChangeError(
        f"no base image: the lock is for Python {python}, and one made from this host's archive ({suite}) has Python {own}",
        "docker pull an image with that Python and name it by digest: image.base in provision.toml",
    )


def _present(client: DockerClient, reference: str, source: str) -> Base | None:
    import docker.errors

    with talking(f"looking for {reference}"):
        try:
            found = _api(client).inspect_image(reference)
        except docker.errors.ImageNotFound:
            return None
    return _base(found, reference, source, reused=True)


def _reachable(client: DockerClient, reference: str) -> bool:
    """Whether the registry answers the engine for ``reference`` (the engine pulls, so its network counts)."""
    import docker.errors
    import requests

    patience = client.api.timeout
    client.api.timeout = REGISTRY_SECONDS
    try:
        _api(client).inspect_distribution(reference)
    except (docker.errors.APIError, requests.RequestException) as error:
        say(f"{reference}: {_cause(reference, error)[0]}; using the Debian archive instead")
        return False
    finally:
        client.api.timeout = patience
    return True


def _pull(client: DockerClient, reference: str) -> Base:
    import docker.errors

    if index.offline():
        raise ChangeError(
            f"the engine has no {reference}, and PROVISION_OFFLINE says that no registry is to be asked",
            'set image.base = "auto" in provision.toml, or docker load the image',
        )
    say(f"fetching {reference}")
    name, _, digest = reference.partition("@")
    with talking(f"fetching {reference}"):
        try:
            for event in client.api.pull(name, tag=digest, stream=True, decode=True):
                if "error" in event:
                    raise _not_fetched(reference, event["error"])
        except docker.errors.APIError as error:
            raise _not_fetched(reference, error) from error
    here = _present(client, reference, "registry")
    if here is None:
        raise ChangeError(f"{reference} was fetched but the engine does not have it", f"docker pull {reference}")
    return replace(here, reused=False)


def _not_fetched(reference: str, error: Exception | str) -> ChangeError:
    why, then = _cause(reference, error)
    return ChangeError(f"fetching {reference}: {why}", then)


def _cause(reference: str, error: Exception | str) -> tuple[str, str]:
    """What stood in the way of ``reference``, and what to do. The engine's texts are those of 20.10 (2026-11-24)."""
    said = error if isinstance(error, str) else _first_line(error)
    if re.search(r"manifest unknown|not found|repository name not known", said):
        return (
            "the registry has no image with this digest",
            'set image.base in provision.toml to a digest it has, or to "auto"',
        )
    if re.search(r"verification failed|digest verification|does not match", said):
        mended = 'have the registry repaired, or set image.base = "bootstrap" in provision.toml'
        return f"what the registry sent does not match its digest ({said})", mended
    if re.search(r"unauthorized|denied|authentication required", said):
        return f"the registry refuses ({said})", f"docker login {reference.partition('/')[0]}"
    if "no space left on device" in said.lower():
        return f"the engine's disk is full ({said})", "docker system df"
    if re.search(
        r"dial tcp|refused|no such host|time-?out|timed out|deadline exceeded|unreachable|reset by|EOF|tls:",
        said,
        re.IGNORECASE,
    ):
        without = 'without a registry: image.base = "auto" in provision.toml'
        return f"the registry cannot be reached ({said})", f"docker pull {reference}; {without}"
    return f"the engine refused ({said})", f"docker pull {reference}"


def _make(client: DockerClient, suite: str, architecture: str, cache_dir: Path) -> Base:
    made = bootstrap.reference(suite, architecture)
    kept = bootstrap.kept(suite, architecture, cache_dir)
    if index.offline() and not kept.is_file():
        raise ChangeError(
            f"{kept} is not there, and PROVISION_OFFLINE says that no archive is to be asked for what it is made of",
            "bring that file from a machine with a network, or a bundle that holds it",
        )
    kept = bootstrap.make(suite, architecture, cache_dir)
    with talking(f"loading {made}"), kept.open("rb") as file:
        try:
            for event in _api(client).load_image(file):
                if "error" in event:
                    raise ChangeError(f"loading {made} failed: {event['error']}", "provision build")
        except ChangeError:
            kept.unlink()  # a damaged archive would fail the same way for ever
            raise
    here = _present(client, made, BOOTSTRAP)
    if here is None:
        kept.unlink()
        raise ChangeError(f"{made} was loaded but the engine does not have it", "provision build")
    return replace(here, reused=False)


def _base(found: Mapping[str, Any], reference: str, source: str, *, reused: bool) -> Base:
    return Base(reference=reference, image_id=found["Id"], size_bytes=found["Size"], source=source, reused=reused)


def _first_line(error: Exception) -> str:
    return (str(getattr(error, "explanation", "") or error).strip().splitlines() or [""])[0]


def _rows(table: Path | None, key: str = "image") -> list[dict[str, Any]]:
    source = table or resources.files("provision.catalog") / "base_images.toml"
    rows: list[dict[str, Any]] = tomllib.loads(source.read_text(encoding="utf-8")).get(key, [])
    return rows


def _api(client: DockerClient) -> Any:
    """The SDK's low-level half, of which the type stubs know only a part."""
    return client.api
