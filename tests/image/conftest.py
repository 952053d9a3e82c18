"""A small image on the real base: one home-made wheel and a stand-in for the payload. No network."""

from __future__ import annotations

import base64
import contextlib
import dataclasses
import hashlib
import os
import platform
import signal
import subprocess
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jinja2
import pytest

from provision import base, image
from provision.engine import engine as connect
from provision.render import dockerfile_string
from tests.wheels import pip_wheel

if TYPE_CHECKING:
    from docker import DockerClient

ROOT = Path(__file__).parents[2]
SUITE = platform.freedesktop_os_release()["VERSION_CODENAME"]
ARCHITECTURE = subprocess.run(
    ["dpkg", "--print-architecture"], capture_output=True, text=True, check=True
).stdout.strip()
CACHE = Path(os.environ.get("PROVISION_CACHE", Path.home() / ".cache/provision"))
STAND_IN = (Path(__file__).parent / "stand_in.py").read_text()


@dataclasses.dataclass(frozen=True, kw_only=True)
class Ingredients:
    """What a build needs. ``context`` is the rendered part."""

    context: Path
    lock: Path
    wheel: Path
    installer: Path
    payload: Path

    def parts(self) -> dict[str, Path]:
        return image.parts(self.lock, [self.wheel], self.installer, self.payload)

    def build(
        self, client: DockerClient, base_id: str, tag: str = "provision-test/smoke:one", **labels: str
    ) -> image.Built:
        return image.build(client, self.context, tag, labels, base_id=base_id, more=self.parts())


def make_wheel(folder: Path, name: str = "tinydep", padding_bytes: int = 0) -> Path:
    """A wheel of one module; ``padding_bytes`` of noise that no compression makes smaller."""
    files = {f"{name}.py": b"VALUE = 42\n", f"{name}.noise": os.urandom(padding_bytes)}
    info = f"{name}-1.0.dist-info"
    files[f"{info}/METADATA"] = f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n".encode()
    files[f"{info}/WHEEL"] = b"Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    hashes = {
        key: base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
        for key, data in files.items()
    }
    files[f"{info}/RECORD"] = "".join(
        [*(f"{key},sha256={hashes[key]},{len(data)}\n" for key, data in files.items()), f"{info}/RECORD,,\n"]
    ).encode()
    folder.mkdir(parents=True, exist_ok=True)
    wheel = folder / f"{name}-1.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as file:
        for key, data in files.items():
            file.writestr(key, data)
    return wheel


def lock_line(wheel: Path) -> str:
    return f"{wheel.name.split('-')[0]}==1.0 --hash=sha256:{hashlib.sha256(wheel.read_bytes()).hexdigest()}\n"


def make_ingredients(folder: Path, padding_bytes: int = 0, **env: str) -> Ingredients:
    context, payload = folder / "context", folder / "smoke"
    context.mkdir(parents=True)
    payload.mkdir()
    # The same switches as in provision/render.py; a missing variable is an error.
    jinja = jinja2.Environment(
        undefined=jinja2.StrictUndefined, keep_trailing_newline=True, trim_blocks=True, lstrip_blocks=True
    )
    jinja.filters["dockerfile_string"] = dockerfile_string
    template = jinja.from_string((ROOT / "templates/image/Dockerfile.j2").read_text())
    values: dict[str, Any] = {"uid": 10001, "gid": 10001, "lock": "test", "env": {"HF_HUB_OFFLINE": "1", **env}}
    (context / "Dockerfile").write_text(template.render(image=values))
    (payload / "__init__.py").write_text("")
    (payload / "__main__.py").write_text(STAND_IN)
    wheel = make_wheel(folder / "wheels", padding_bytes=padding_bytes)
    lock = folder / "test.txt"
    lock.write_text(lock_line(wheel))
    return Ingredients(context=context, lock=lock, wheel=wheel, installer=pip_wheel(), payload=payload)


def wait_until(condition: Callable[[], bool], seconds: float = 60.0) -> None:
    """Poll a real condition; no test asserts how long it took."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it never came"
        time.sleep(0.1)


@pytest.fixture
def ingredients(tmp_path: Path) -> Ingredients:
    return make_ingredients(tmp_path / "ingredients")


@pytest.fixture(scope="session")
def client(engine: Any) -> Iterator[DockerClient]:
    connected = connect(engine.url)
    yield connected
    connected.close()


@pytest.fixture(scope="session")
def base_image(client: DockerClient) -> base.Base:
    """The bootstrapped base; its archive is kept under ~/.cache/provision or $PROVISION_CACHE."""
    return base.ensure(client, base.BOOTSTRAP, cache_dir=CACHE, suite=SUITE, architecture=ARCHITECTURE)


@pytest.fixture(scope="session")
def built(client: DockerClient, base_image: base.Base, tmp_path_factory: pytest.TempPathFactory) -> image.Built:
    return make_ingredients(tmp_path_factory.mktemp("built")).build(
        client, base_image.image_id, "provision-test/smoke:run"
    )


@pytest.fixture
def second_engine(engine: Any) -> Iterator[Any]:
    """An engine that a test may kill. ``kill()`` is ``kill -9``; ``start()`` brings it back on the same data."""

    class Mortal(type(engine)):  # type: ignore[misc]
        def kill(self) -> None:
            self._child.kill()
            self._child.wait(10)
            self._child = None
            # containerd dies with its dockerd. Where process 1 reaps nobody (as in many test machines) it stays a zombie,
            # which the next dockerd, going by this file, would take for a living one and wait for.
            pid_file = self.folder / "exec/containerd/containerd.pid"
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(pid_file.read_text()), signal.SIGKILL)
            pid_file.unlink()

    folder = Path(tempfile.mkdtemp(prefix="engine-"))  # short: a socket's path may have 107 characters
    mortal = Mortal(folder)
    mortal.start()
    try:
        yield mortal
    finally:
        try:
            if mortal._child is None:  # its containers outlive it; a new engine finds them and ends them
                mortal.start()
            mortal.stop()
        finally:
            mortal.remove()


@pytest.fixture
def loaded(second_engine: Any, base_image: base.Base) -> Iterator[tuple[DockerClient, str]]:
    """A client of the second engine, and the id of the base image there."""
    connected = connect(second_engine.url)
    made = base.ensure(connected, base.BOOTSTRAP, cache_dir=CACHE, suite=SUITE, architecture=ARCHITECTURE)
    yield connected, made.image_id
    connected.close()
