"""From a plan to the image: the wheels of its lock, a base, one build. Everything is used again where it is right already."""

from __future__ import annotations

from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

from provision import base, engine, image, wheelhouse
from provision import cache as cached
from provision.errors import ChangeError
from provision.fact import Snapshot
from provision.facts.system import System
from provision.files import write_whole
from provision.lock import make, text, variants
from provision.plan import Plan
from provision.progress import say
from provision.record import record
from provision.wheelhouse import Wheelhouse

if TYPE_CHECKING:
    from docker import DockerClient

DEBIAN_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}


@record
class Image:
    """The image of a plan. ``wheel_bytes`` is the sum of its wheels unpacked; ``reused`` when nothing was built."""

    schema: int = 1
    reference: str
    image_id: str
    size_bytes: int
    base: str
    base_source: str
    base_bytes: int
    wheels: int
    wheel_bytes: int
    downloaded: int
    base_reused: bool
    reused: bool

    @property
    def made(self) -> tuple[str, ...]:
        """The images that this build added to the engine: what undoing it takes away."""
        names = ((self.reference, self.reused), (self.base, self.base_reused))
        return tuple(name for name, was_there in names if not was_there)


def build(plan: Plan, rendered: Path, snapshot: Snapshot, client: DockerClient | None = None) -> Image:
    """Make ``plan``'s image from ``rendered/image``. Raises ``ChangeError`` with the cause; nothing half-made is left."""
    client = client or engine.engine()
    cache = cached.folder()
    system = snapshot.get(System)
    if not isinstance(system, System) or system.os_codename is None:
        raise ChangeError(
            "which Debian release this is could not be seen, so no base image can be made for it", "provision facts"
        )
    locks = Path(str(resources.files("provision.lockfiles")))
    lock = locks / f"{plan.dependencies.lock}.txt"
    variant = variants.find(plan.dependencies.lock)
    house = wheelhouse.fill(
        lock,
        cache / "wheels",
        variant.target.python,
        lambda: make.indexes_for(variant, Path("pyproject.toml")),
        glibc=variant.target.glibc,
    )
    pip = installer(locks / "tool-py311.txt", cache, variant.target.python)
    (installing,) = (pip.folder / wheel.filename for wheel in pip.wheels)
    found = base.ensure(
        client,
        plan.dependencies.base,
        cache_dir=cache,
        suite=system.os_codename,
        architecture=DEBIAN_ARCHITECTURES.get(system.architecture, system.architecture),
        python=variant.target.python,
    )
    payload = Path(str(resources.files("provision.payload") / "smoke"))
    more = image.parts(lock, [house.folder / w.filename for w in house.wheels], installing, payload)
    built = image.build(
        client, rendered / "image", plan.rollout.image, plan.rollout.labels, base_id=found.image_id, more=more
    )
    say(f"image {built.tag}: {'unchanged' if built.reused else 'built'}")
    return Image(
        reference=built.tag,
        image_id=built.image_id,
        size_bytes=built.size_bytes,
        base=found.reference,
        base_source=found.source,
        base_bytes=found.size_bytes,
        wheels=len(house.wheels),
        wheel_bytes=wheelhouse.unpacked_bytes(house),
        downloaded=len(house.downloaded),
        base_reused=found.reused,
        reused=built.reused,
    )


def installer(tool_lock: Path, cache: Path, python: str) -> Wheelhouse:
    """pip's own wheel, as the tool's lock pins it: the image's first stage installs with it and the last has none."""
    (pin,) = (p for p in text.parse(tool_lock.read_text()).pins if p.name == "pip")
    cache.mkdir(parents=True, exist_ok=True)
    one = cache / "installer.txt"
    write_whole(one, f"pip=={pin.version} " + " ".join(f"--hash=sha256:{sha}" for sha in pin.sha256) + "\n")
    return wheelhouse.fill(one, cache / "installer", python)
