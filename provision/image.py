"""Building the container: the rendered context and the wheels go to the engine, one image comes back.

The context is streamed from where its files lie (rendered Dockerfile, lock, wheelhouse, payload). An image whose
context has not changed is used again. Whatever a build made and the image does not need is removed, and so is
what a killed build left behind: both are known by the label that the Dockerfile sets before it does anything.
"""

from __future__ import annotations

import hashlib
import re
import shutil
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from provision import archive
from provision.engine import gone, talking
from provision.errors import ChangeError
from provision.progress import say
from provision.record import record

if TYPE_CHECKING:
    from docker import DockerClient

CONTEXT_LABEL = "io.provision.context"
LOCK_LABEL = "io.provision.lock"
UNFINISHED_LABEL = "io.provision.unfinished"
LOCK_NAME = "requirements.txt"
# pip says nothing while it unpacks torch: tens of seconds on 2 cores, minutes on a slow disk.
SILENCE_SECONDS = 900
AGAIN = "provision build"


@record
class Built:
    """The image under ``tag``. ``reused`` when the context was unchanged and nothing was built."""

    image_id: str
    tag: str
    size_bytes: int
    reused: bool


def build(
    client: DockerClient,
    context: Path,
    tag: str,
    labels: Mapping[str, str],
    *,
    base_id: str,
    more: Mapping[str, Path] | None = None,
) -> Built:
    """Build ``context`` on the base image ``base_id`` and tag it.

    ``context`` holds the rendered Dockerfile; ``more`` (from ``parts()``) adds files and folders under their own
    names. Labels travel beside the Dockerfile, so any text is data. Raises ``ChangeError`` with the real cause; nothing of
    the build remains then.
    """
    entries = archive.gather(context, more or {})
    lock = next((entry for entry in entries if entry.name == LOCK_NAME), None)
    if lock is None or not isinstance(lock.source, Path):
        raise ChangeError(f"{context}: the image's context has no {LOCK_NAME}", "provision render")
    named = sorted(f"{key}={value}" for key, value in labels.items())
    wanted = archive.digest(entries, base_id, *named)
    with talking(f"building {tag}"):
        sweep(client)
        if found := _with_context(client, wanted):
            return _tagged(client, found, tag, reused=True)
        before = _tag_holder(client, tag)
        all_labels = {
            **labels,
            CONTEXT_LABEL: wanted,
            LOCK_LABEL: hashlib.sha256(lock.source.read_bytes()).hexdigest(),
            UNFINISHED_LABEL: "no",
        }
        image_id = _build(client, entries, all_labels, base_id)
        built = _tagged(client, image_id, tag, reused=False)
        if before not in (None, image_id):
            _remove_superseded(client, str(before))
        return built


def sweep(client: DockerClient) -> None:
    """Remove what builds of ours left half-made: their stopped containers and their untagged images, no others'.

    The caller holds the machine's lock: a build that is under way looks the same.
    """
    ours = {"label": f"{UNFINISHED_LABEL}=yes"}
    for container in _api(client).containers(all=True, filters=ours):
        if container["State"] != "running":
            _api(client).remove_container(container["Id"], force=True, v=True)
    # Removing an untagged image takes its untagged parents along, so each round may show new ends of chains.
    while left := _api(client).images(filters={**ours, "dangling": True}, quiet=True):
        if not any([_remove_image(client, image_id) for image_id in left]):
            return


def size_budget(base_bytes: int, unpacked_bytes: int) -> int:
    """The most bytes the image may have: 1.05 times the base plus its wheels unpacked (``wheelhouse.unpacked_bytes``)."""
    return (base_bytes + unpacked_bytes) * 105 // 100


def parts(lock: Path, wheels: Iterable[Path], installer: Path, payload: Path) -> dict[str, Path]:
    """What ``build`` needs beside the rendered Dockerfile, under the names the Dockerfile copies.

    ``installer`` is pip's own wheel; ``payload`` is the folder of the smoke test.
    """
    return {
        LOCK_NAME: lock,
        f"installer/{installer.name}": installer,
        "smoke": payload,
        **{f"wheelhouse/{wheel.name}": wheel for wheel in wheels},
    }


def _build(client: DockerClient, entries: tuple[archive.Entry, ...], labels: dict[str, str], base_id: str) -> str:
    size_bytes = sum(entry.size_bytes for entry in entries)
    say(f"building the image from {len(entries)} files, {size_bytes >> 20} MiB, without a network")
    log = _Log()
    try:
        for event in _api(client).build(
            fileobj=_Upload(archive.stream(entries)),
            custom_context=True,
            buildargs={"BASE": base_id},
            labels=labels,
            network_mode="none",
            nocache=True,  # ours is the context label; the engine's cache would hold on to the stages
            rm=True,
            forcerm=True,
            use_config_proxy=False,  # the user's proxy would be passed in as a build argument
            decode=True,
            timeout=SILENCE_SECONDS,
        ):
            log.take(event)
        if log.error or not log.image_id:
            raise _failure(client, log)
    except BaseException as error:
        _remove_what_is_left(client, error)
        raise
    sweep(client)
    return log.image_id


@dataclass(kw_only=True, slots=True)
class _Log:
    """What the engine said while building."""

    text: list[str] = field(default_factory=list)
    error: str = ""
    image_id: str = ""

    def take(self, event: dict[str, Any]) -> None:
        self.error = event.get("error", self.error)
        self.image_id = event.get("aux", {}).get("ID", self.image_id)
        said = str(event.get("stream", ""))
        self.text.append(said)
        if said.startswith("Step "):
            say(said.strip().splitlines()[0][:110])


class _Upload:
    """A generator in the clothes the SDK and its HTTP library want: iterable and without a length, so chunked."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks = chunks

    def __iter__(self) -> Iterator[bytes]:
        return self._chunks


def _remove_what_is_left(client: DockerClient, error: BaseException) -> None:
    """Clean up after a failed build. Where the engine is gone, the next build's first step does it."""
    import docker.errors
    import requests

    if gone(error):
        return
    try:
        sweep(client)
    except (docker.errors.DockerException, requests.RequestException) as second:
        say(f"could not clean up after the failed build; the next build will: {second}")


def _failure(client: DockerClient, log: _Log) -> ChangeError:
    """The cause in one sentence, from the engine's error and what pip printed before it."""
    said = re.sub(r"\x1b\[[0-9;]*m", "", "".join(log.text))
    full = "No space left on device"
    if full.lower() in (log.error + said).lower():
        root = _api(client).info().get("DockerRootDir", "the engine's data root")
        room = f", {shutil.disk_usage(root).free >> 20} MiB are free again" if Path(root).is_dir() else ""
        return ChangeError(
            f"the build failed: the engine's disk is full: {root}; nothing of it was kept{room}", f"df -h {root}"
        )
    if wrong := re.search(r"^\s+(\S.*?)(?: from .*)?:\s+Expected sha256 (\w+)[\s\S]*?Got\s+(\w+)", said, re.MULTILINE):
        return ChangeError(
            f"the build failed: the wheel of {wrong[1]} does not match the lock: expected sha256 {wrong[2]}, got {wrong[3]}",
            AGAIN,
        )
    if missing := re.search(r"No matching distribution found for (\S+)", said):
        return ChangeError(
            f"the build failed: the wheelhouse has no wheel of {missing[1]} that the base image's Python can load",
            AGAIN,
        )
    errors = [line for line in said.splitlines() if line.startswith(("ERROR:", "E:"))]
    cause = log.error or "the engine ended the build without an image; it stopped half-way"
    return ChangeError(f"the build failed: {cause.strip()}" + (f" ({errors[-1]})" if errors else ""), AGAIN)


def _with_context(client: DockerClient, wanted: str) -> str | None:
    found = _api(client).images(filters={"label": [f"{CONTEXT_LABEL}={wanted}", f"{UNFINISHED_LABEL}=no"]}, quiet=True)
    return min(found) if found else None


def _tag_holder(client: DockerClient, tag: str) -> str | None:
    import docker.errors

    try:
        return str(_api(client).inspect_image(tag)["Id"])
    except docker.errors.ImageNotFound:
        return None


def _tagged(client: DockerClient, image_id: str, tag: str, *, reused: bool) -> Built:
    if _tag_holder(client, tag) != image_id:
        repository, _, name = tag.rpartition(":")
        _api(client).tag(image_id, repository, name, force=True)
    found = _api(client).inspect_image(image_id)
    return Built(image_id=found["Id"], tag=tag, size_bytes=found["Size"], reused=reused)


def _remove_superseded(client: DockerClient, image_id: str) -> None:
    """Remove the image that lost its tag to a newer one, if it is ours and nothing else holds it."""
    import docker.errors

    try:
        found = _api(client).inspect_image(image_id)
    except docker.errors.ImageNotFound:
        return
    if not found["RepoTags"] and CONTEXT_LABEL in (found["Config"].get("Labels") or {}):
        _remove_image(client, image_id)


def _remove_image(client: DockerClient, image_id: str) -> bool:
    """Whether the image is gone. One that a container uses stays: the engine refuses, and it is right."""
    import docker.errors

    try:
        _api(client).remove_image(image_id)
    except docker.errors.ImageNotFound:
        return True
    except docker.errors.APIError as error:
        if error.status_code == 409:
            return False
        raise
    return True


def _api(client: DockerClient) -> Any:
    """The SDK's low-level half. Its type stubs know neither a streamed context nor half of the image calls."""
    return client.api
