"""An image against its lock, and its files against their records: read from a real engine's layers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import pytest

from provision import check, facts
from provision.catalog import locks
from provision.fact import Snapshot, collect
from provision.facts.image_packages import ImageEnvironment, ImagePackages
from provision.facts.installed_files import InstalledFiles
from provision.host import LocalHost
from provision.image import LOCK_LABEL
from provision.plan import Dependencies, Rollout

if TYPE_CHECKING:
    from docker import DockerClient

    from provision.image import Built

pytestmark = pytest.mark.engine
TAG = "provision-test/smoke:by-hand"
# What somebody does in a container and commits: an upgrade, one more package, an edit, and a file that is gone.
BY_HAND = """
from pathlib import Path
site = Path("/opt/venv/lib").glob("python3*/site-packages").__next__()
(site / "tinydep.py").write_text("VALUE = 43\\n")
(site / "tinydep.noise").unlink()
(site / "more-2.0.dist-info").mkdir()
(site / "more-2.0.dist-info/METADATA").write_text("Name: more\\nVersion: 2.0\\n")
(site / "more-2.0.dist-info/RECORD").write_text("more-2.0.dist-info/RECORD,,\\n")
"""
UPGRADE = """
import shutil
from pathlib import Path
site = Path("/opt/venv/lib").glob("python3*/site-packages").__next__()
shutil.move(site / "tinydep-1.0.dist-info", site / "tinydep-1.1.dist-info")  # a rename would cross layers
"""
Commit = Callable[[str, str], str]


@pytest.fixture
def commit(client: DockerClient) -> Iterator[Commit]:
    """Run a script as root in a container of an image, and tag what it left behind; gives the tag."""
    containers: list[str] = []

    def run(image: str, script: str) -> str:
        made = client.api.create_container(
            image,
            command=["-c", script],
            entrypoint=["/opt/venv/bin/python"],
            user="0",
            host_config=client.api.create_host_config(network_mode="none"),
        )["Id"]
        containers.append(made)
        client.api.start(made)
        assert client.api.wait(made)["StatusCode"] == 0, client.api.logs(made)
        repository, _, tag = TAG.rpartition(":")
        client.api.commit(made, repository, tag)
        return TAG

    yield run
    for one in containers:
        client.api.remove_container(one, force=True)
    client.api.remove_image(TAG, force=True)


@pytest.fixture
def look(engine: Any, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Snapshot]:
    """The facts of that engine's images."""
    monkeypatch.setenv("DOCKER_HOST", engine.url)
    monkeypatch.setattr(locks, "pins", lambda _: {"tinydep": "1.0"})
    facts.load()
    check.load()
    return lambda name, **asked: collect(LocalHost(asked), "image", "0", [name])


def judged(seen: Snapshot, tag: str, lock_sha256: str | None) -> check.Result:
    repository, _, name = tag.rpartition(":")
    sections = {
        Rollout: Rollout(repository=repository, tag=name, previous_tag="", labels={}),
        Dependencies: Dependencies(
            engine="docker.io",
            packages=(),
            start="direct",
            lock="test",
            lock_sha256=lock_sha256 or "",
            base="auto",
            daemon_json="",
        ),
    }
    (result,) = check.run(seen, sections, codes=("DEP072",))
    return result


def of(seen: Snapshot, tag: str) -> ImageEnvironment:
    known = seen.get(ImagePackages)
    assert isinstance(known, ImagePackages), known
    return next(one for one in known.images if tag in one.tags)


def test_an_image_that_was_just_built_is_its_lock(look: Callable[..., Snapshot], built: Built) -> None:
    seen = look("ImagePackages")
    found = of(seen, built.tag)
    assert found.packages == (("tinydep", "1.0"),)
    assert found.python is not None
    assert judged(seen, built.tag, found.lock_sha256).outcome == "ok"


def test_an_image_that_somebody_installed_into_by_hand(
    look: Callable[..., Snapshot], built: Built, client: DockerClient, commit: Commit
) -> None:
    tag = commit(commit(built.tag, BY_HAND), UPGRADE)
    lock = client.api.inspect_image(built.tag)["Config"]["Labels"][LOCK_LABEL]
    result = judged(look("ImagePackages"), tag, lock)  # the label still says that lock: ROL001 sees nothing
    assert [one.message for one in result.findings] == [
        f"{tag} is not test: not in the lock: more 2.0; other version: tinydep 1.1 instead of 1.0"
    ]


def test_files_that_were_edited_in_a_container_are_found(
    look: Callable[..., Snapshot], built: Built, commit: Commit
) -> None:
    tag = commit(built.tag, BY_HAND)
    found = look("InstalledFiles", files=("all",)).get(InstalledFiles)
    assert isinstance(found, InstalledFiles), found
    places = {one.place: one for one in found.places}
    assert (places[built.tag].packages, places[built.tag].edited, places[built.tag].missing) == (1, 0, 0)
    assert places[built.tag].files == 4
    assert places[tag].named == {"edited": ("tinydep 1.0: tinydep.py",), "missing": ("tinydep 1.0: tinydep.noise",)}
