"""The base image by digest, from a real registry: Debian's docker-registry, on this machine."""

from __future__ import annotations

import hashlib
import os
import shutil
import socket
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from provision import base, spec
from provision.errors import ChangeError, UsageError

from .conftest import ARCHITECTURE, CACHE, SUITE, wait_until

if TYPE_CHECKING:
    from docker import DockerClient

pytestmark = pytest.mark.engine
NOBODYS = f"sha256:{hashlib.sha256(b'nobody pushed this').hexdigest()}"


class Registry:
    """A registry with a folder and a port of its own, that a test may stop and start."""

    def __init__(self, folder: Path) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.address = f"127.0.0.1:{free.getsockname()[1]}"
        self.data = folder / "data"
        self._settings = folder / "config.yml"
        self._settings.write_text(
            f"version: 0.1\nstorage: {{filesystem: {{rootdirectory: {self.data}}}}}\nhttp: {{addr: '{self.address}'}}\n"
        )
        self._log = folder / "log"
        self.start()

    def start(self) -> None:
        command = ["docker-registry", "serve", str(self._settings)]
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL)
        wait_until(self._answers)

    def stop(self) -> None:
        self._process.terminate()
        self._process.wait(20)

    def _answers(self) -> bool:
        assert self._process.poll() is None, self._log.read_text()[-1000:]
        try:
            return bool(urllib.request.urlopen(f"http://{self.address}/v2/", timeout=5).status == 200)
        except urllib.error.URLError:
            return False


@pytest.fixture(scope="session")
def registry(can_install: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    can_install("docker-registry", "docker-registry", "no container registry")
    own = Registry(tmp_path_factory.mktemp("registry"))
    yield own
    own.stop()


@pytest.fixture(scope="session")
def pushed(registry: Registry, client: DockerClient, base_image: base.Base) -> tuple[str, str]:
    """The bootstrapped base in the registry: its reference by digest, and its image id."""
    name = f"{registry.address}/provision/base"
    client.api.tag(base_image.image_id, name, "one")
    answers = list(client.api.push(name, tag="one", stream=True, decode=True))
    digest = next(answer["aux"]["Digest"] for answer in answers if "aux" in answer)
    client.api.remove_image(f"{name}:one")
    return f"{name}@{digest}", base_image.image_id


@pytest.fixture
def elsewhere(second_engine: Any) -> Iterator[DockerClient]:
    """An engine that has no image yet. Whatever a test does, nothing half-fetched stays in it."""
    from provision.engine import engine as connect

    connected = connect(second_engine.url)
    connected.data_root = second_engine.data_root
    yield connected
    connected.close()


def ensure(client: DockerClient, setting: str, **more: Any) -> base.Base:
    return base.ensure(client, setting, cache_dir=CACHE, suite=SUITE, architecture=ARCHITECTURE, **more)


def table(folder: Path, reference: str) -> Path:
    """A catalogue whose one image is ``reference``: what "auto" asks for."""
    name, _, digest = reference.partition("@")
    path = folder / "base_images.toml"
    path.write_text(f'[[image]]\npython = "3.11"\nname = "{name}"\ndigest = "{digest}"\n')
    return path


def kept(client: Any) -> list[str]:
    """Everything of an image that an engine keeps: images, layers, and what it was in the middle of fetching."""
    root = Path(client.data_root) / "image/overlay2"
    files = [
        str(p.relative_to(root))
        for p in root.rglob("*")
        if p.name not in ("repositories.json", ".tmp-repositories.json")
    ]
    fetching = [p.name for p in (Path(client.data_root) / "tmp").glob("*")]
    layers = [p.name for p in (Path(client.data_root) / "overlay2").iterdir()]
    return sorted([*(f for f in files if "/sha256/" in f), *fetching, *layers])


def test_the_setting_in_provision_toml_fetches_it_by_digest_and_a_build_stands_on_it(
    pushed: tuple[str, str], elsewhere: DockerClient, ingredients: Any, tmp_path: Path
) -> None:
    reference, image_id = pushed
    (tmp_path / "provision.toml").write_text(f'[image]\nbase = "{reference}"\n')
    setting = spec.load(tmp_path / "provision.toml").image.base
    first = ensure(elsewhere, setting)
    assert (first.reference, first.source, first.reused) == (reference, "registry", False)
    assert first.image_id == image_id, "the same image, whichever way it came"
    assert ensure(elsewhere, setting).reused
    built = ingredients.build(elsewhere, first.image_id)
    layers = [elsewhere.api.inspect_image(name)["RootFS"]["Layers"] for name in (built.image_id, image_id)]
    assert layers[0][0] == layers[1][0]


def test_auto_takes_the_catalogues_image_where_the_registry_answers(
    pushed: tuple[str, str], elsewhere: DockerClient, tmp_path: Path
) -> None:
    made = ensure(elsewhere, base.AUTO, table=table(tmp_path, pushed[0]))
    assert (made.reference, made.source) == (pushed[0], "registry")


def test_a_digest_that_nobody_pushed(pushed: tuple[str, str], elsewhere: DockerClient) -> None:
    reference = pushed[0].partition("@")[0] + f"@{NOBODYS}"
    before = kept(elsewhere)
    with pytest.raises(ChangeError) as caught:
        ensure(elsewhere, reference)
    assert caught.value.message == f"fetching {reference}: the registry has no image with this digest"
    assert caught.value.next_command == 'set image.base in provision.toml to a digest it has, or to "auto"'
    assert kept(elsewhere) == before


def test_a_registry_that_is_down(registry: Registry, pushed: tuple[str, str], elsewhere: DockerClient) -> None:
    before = kept(elsewhere)
    registry.stop()
    try:
        with pytest.raises(ChangeError) as caught:
            ensure(elsewhere, pushed[0])
    finally:
        registry.start()
    assert caught.value.message.startswith(f"fetching {pushed[0]}: the registry cannot be reached (")
    assert "connection refused" in caught.value.message and "\n" not in caught.value.message
    assert (
        caught.value.next_command
        == f'docker pull {pushed[0]}; without a registry: image.base = "auto" in provision.toml'
    )
    assert kept(elsewhere) == before


@pytest.mark.parametrize("down", [True, False], ids=["down", "without-the-digest"])
def test_auto_falls_back_to_the_archive_and_says_why(
    registry: Registry,
    pushed: tuple[str, str],
    elsewhere: DockerClient,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    down: bool,
) -> None:
    reference = pushed[0] if down else pushed[0].partition("@")[0] + f"@{NOBODYS}"
    if down:
        registry.stop()
    try:
        made = ensure(elsewhere, base.AUTO, table=table(tmp_path, reference))
    finally:
        if down:
            registry.start()
    assert (made.source, made.image_id) == (base.BOOTSTRAP, pushed[1])
    said = capsys.readouterr().err
    why = "the registry cannot be reached" if down else "the registry has no image with this digest"
    assert f"{reference}: {why}" in said and "using the Debian archive instead" in said


def test_offline_no_registry_is_asked(
    pushed: tuple[str, str], elsewhere: DockerClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not even one that would answer."""
    monkeypatch.setenv("PROVISION_OFFLINE", "1")
    with pytest.raises(ChangeError, match="no registry is to be asked"):
        ensure(elsewhere, pushed[0])
    made = ensure(elsewhere, base.AUTO, table=table(tmp_path, pushed[0]))
    assert (made.source, made.image_id) == (base.BOOTSTRAP, pushed[1])


def test_offline_no_archive_is_asked_for_the_base(
    elsewhere: DockerClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PROVISION_OFFLINE", "1")
    with pytest.raises(ChangeError, match=r"provision-base-\S+\.tar is not there, and PROVISION_OFFLINE"):
        base.ensure(elsewhere, base.BOOTSTRAP, cache_dir=tmp_path, suite=SUITE, architecture=ARCHITECTURE)


@pytest.mark.parametrize("automatic", [True, False], ids=["auto", "by-digest"])
def test_content_that_does_not_match_its_digest_is_refused_also_by_auto(
    registry: Registry, pushed: tuple[str, str], elsewhere: DockerClient, tmp_path: Path, automatic: bool
) -> None:
    reference, _ = pushed
    before = kept(elsewhere)
    (layer,) = (p for p in registry.data.rglob("data") if p.stat().st_size > 1 << 20)
    good = tmp_path / "good"
    shutil.copy(layer, good)
    with layer.open("r+b") as file:
        file.seek(-64, os.SEEK_END)
        file.write(bytes(64))
    try:
        with pytest.raises(ChangeError) as caught:
            if automatic:
                ensure(elsewhere, base.AUTO, table=table(tmp_path, reference))
            else:
                ensure(elsewhere, reference)
    finally:
        shutil.copy(good, layer)
    assert caught.value.message.startswith(f"fetching {reference}: what the registry sent does not match its digest (")
    assert caught.value.next_command == 'have the registry repaired, or set image.base = "bootstrap" in provision.toml'
    assert kept(elsewhere) == before
    assert ensure(elsewhere, reference).source == "registry"


def test_a_tag_is_refused_before_anything_is_asked(registry: Registry, elsewhere: DockerClient, tmp_path: Path) -> None:
    name = f"{registry.address}/provision/base:one"
    with pytest.raises(UsageError, match="A name without a digest can mean another image tomorrow"):
        ensure(elsewhere, name)
    (tmp_path / "provision.toml").write_text(f'[image]\nbase = "{name}"\n')
    with pytest.raises(UsageError, match=r"image\.base: expected auto, bootstrap or NAME@sha256"):
        spec.load(tmp_path / "provision.toml")
