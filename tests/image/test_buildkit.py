"""The rendered Dockerfile under BuildKit, as ``docker build`` would run it: the same image as the classic builder's."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import tarfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from provision import base, image

if TYPE_CHECKING:
    from docker import DockerClient

pytestmark = pytest.mark.engine
TAG = "provision-test/buildkit:one"
# Debian's own client, which came with the engine: clients since 23 need a plugin for BuildKit that Debian 12 does not have.
CLIENT = "/usr/bin/docker"
# What provision adds through the API beside the Dockerfile.
OURS = {image.CONTEXT_LABEL, image.LOCK_LABEL}


def files(client: DockerClient, name: str, folder: Path) -> dict[str, tuple[Any, ...]]:
    """Path to kind, mode, owner, link and content of everything in an image. Times are the builder's own."""
    container = client.api.create_container(name, command=["none"])["Id"]
    try:
        with (folder / "export.tar").open("wb") as file:
            file.writelines(client.api.export(container))
    finally:
        client.api.remove_container(container)
    found = {}
    with tarfile.open(folder / "export.tar") as archive:
        for member in archive:
            content = archive.extractfile(member) if member.isreg() else None
            digest = hashlib.sha256(content.read()).hexdigest() if content else ""
            found[member.name] = (member.type, member.mode, member.uid, member.gid, member.linkname, digest)
    return found


def config(client: DockerClient, name: str) -> dict[str, Any]:
    wanted = ("Entrypoint", "Cmd", "Env", "User", "WorkingDir", "ExposedPorts", "Volumes", "OnBuild")
    found = client.api.inspect_image(name)["Config"]
    labels = {key: value for key, value in (found["Labels"] or {}).items() if key not in OURS}
    return {**{key: found.get(key) or None for key in wanted}, "Labels": labels}


def test_buildkit_builds_the_same_image_without_a_network(
    engine: Any, client: DockerClient, base_image: base.Base, ingredients: Any, tmp_path: Path
) -> None:
    classic = ingredients.build(client, base_image.image_id, "provision-test/classic:one", team="ml").tag
    context = tmp_path / "whole"
    shutil.copytree(ingredients.context, context)
    for name, source in ingredients.parts().items():
        (context / name).parent.mkdir(parents=True, exist_ok=True)
        (shutil.copytree if source.is_dir() else shutil.copy)(source, context / name)
    labels = ("--label", "team=ml", "--label", f"{image.UNFINISHED_LABEL}=no")
    done = subprocess.run(
        [
            *(CLIENT, "-H", engine.url, "build", "--progress=plain", "--network=none", "--no-cache", "--tag", TAG),
            *("--build-arg", f"BASE={base_image.reference}", *labels, str(context)),
        ],
        capture_output=True,
        text=True,
        env={**os.environ, "DOCKER_BUILDKIT": "1"},
        check=False,
    )
    try:
        assert done.returncode == 0, done.stdout + done.stderr
        assert "exporting to image" in done.stderr, "the classic builder answered"
        assert config(client, TAG) == config(client, classic)
        kit, old = files(client, TAG, tmp_path), files(client, classic, tmp_path)
        assert "opt/venv/lib/python3.11/site-packages/tinydep.py" in kit and "opt/provision/smoke/__main__.py" in kit
        assert {
            name: (kit.get(name), old.get(name)) for name in kit.keys() | old.keys() if kit.get(name) != old.get(name)
        } == {}
    finally:
        for name in (TAG, classic):
            subprocess.run([CLIENT, "-H", engine.url, "rmi", "--force", name], capture_output=True, check=False)
