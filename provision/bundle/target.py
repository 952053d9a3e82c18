"""What a bundle is for: the lock, the machine, and what of provision.toml and a snapshot goes along."""

from __future__ import annotations

import platform
import re
from pathlib import Path

from provision import building, road, spec
from provision.errors import UsageError
from provision.fact import Absent, Missing, Snapshot
from provision.facts.system import System
from provision.lock import variants
from provision.lock.variants import Variant
from provision.payload.bundle.manifest import MadeFor
from provision.plan import Plan, storage
from provision.plan.cuda import image
from provision.plan.dependencies import DEBIAN_PACKAGES
from provision.record import record
from provision.spec import ImageSpec

TOOL_LOCK = "tool-py311"
DEFAULT_LOCK = "smoke-cpu-py311"
ENGINE = "docker.io"
_PACKAGE = re.compile(r"[a-z0-9][a-z0-9+.-]+")  # Debian Policy 5.6.1; and no option of apt-get
_FOR_AN_IMAGE = ("smoke", "serve")


@record
class Target:
    """``packages``: Debian packages that the roles install there; ``plan`` where a snapshot was given."""

    made_for: MadeFor
    variant: Variant
    packages: tuple[str, ...]
    snapshot: Snapshot | None = None
    plan: Plan | None = None

    @property
    def architecture(self) -> str:
        """Debian's name for it."""
        return building.DEBIAN_ARCHITECTURES[self.made_for.architecture]


def choose(lock: str | None, spec_path: Path | None, facts_path: str | None, more: tuple[str, ...] = ()) -> Target:
    """The target of these options. Without a snapshot it is a machine of this one's kind. ``more``: further packages.

    Raises ``UsageError`` where the lock, the specification and the snapshot do not go together.
    """
    wish = spec.load(spec_path) if spec_path else spec.Spec()
    if wish.image.base not in ("auto", "bootstrap"):
        raise UsageError(
            f"{spec_path}: image.base: a bundle carries the base image made from Debian's archive, "
            f"not {wish.image.base}",
            'image.base = "bootstrap"',
        )
    snapshot = road.read_snapshot(facts_path) if facts_path else None
    plan = road.plan_of(road.diagnose(snapshot, wish)) if snapshot else None
    seen = snapshot or road.look(("System",))
    system = _system(seen)
    if plan and lock and lock != plan.dependencies.lock:
        raise UsageError(
            f"--lock {lock}: the plan for {facts_path} takes {plan.dependencies.lock}",
            f"provision bundle create FILE --lock {plan.dependencies.lock}",
        )
    for name in more:
        if not _PACKAGE.fullmatch(name):
            raise UsageError(f"--package {name}: no Debian package has such a name", "apt-cache search WORD")
    variant = variants.find(lock or (plan.dependencies.lock if plan else DEFAULT_LOCK))
    tool = variants.find(TOOL_LOCK).target
    _need_fit(variant, tool.python, system, seen)
    made_for = MadeFor(
        architecture=variant.target.machine,
        debian=str(system.os_codename),
        glibc=tool.glibc,
        python=tool.python,
        lock=variant.name,
    )
    wanted = plan.dependencies.packages if plan else (*DEBIAN_PACKAGES, ENGINE, *storage.packages(wish.storage))
    # docker-ce is in the plan of a machine that has it already; Debian's archive has it not, and it is not installed again.
    packages = tuple(sorted({*wanted, *more} - {"docker-ce"}))
    return Target(made_for=made_for, variant=variant, packages=packages, snapshot=snapshot, plan=plan)


def _system(snapshot: Snapshot) -> System:
    system = snapshot.get(System)
    if isinstance(system, (Absent, Missing)):
        raise UsageError(f"which system the bundle is for is not known: {system.reason}", "provision facts")
    if system.os_id != "debian" or system.os_codename is None:
        raise UsageError(f"a bundle is for Debian; {snapshot.machine or platform.node()} has {system.os_name}")
    return system


def _need_fit(variant: Variant, python: str, system: System, snapshot: Snapshot) -> None:
    """What the image and the tool (its ``python``) need of the release's own Python and C library."""
    of_release = next(iter(image.possible(ImageSpec(base="bootstrap"), snapshot)), None)
    if of_release is None or of_release.python != python:
        has = f"has {of_release.python}" if of_release else "is not in the table of releases"
        raise UsageError(f"this tool's own lock is for Python {python}; Debian's release {system.os_codename} {has}")
    if variant.purpose not in _FOR_AN_IMAGE:
        raise UsageError(f"{variant.name} is not for an image", _locks(of_release.python))
    wanted = variant.target
    if wanted.python != of_release.python:
        raise UsageError(
            f"{variant.name} is for Python {wanted.python}; {of_release.what} has {of_release.python}",
            _locks(of_release.python),
        )
    if wanted.machine != system.architecture:
        raise UsageError(f"{variant.name} is for {wanted.machine}, the machine is {system.architecture}")


def _locks(python: str) -> str:
    fitting = [v.name for v in variants.load() if v.target.python == python and v.purpose in _FOR_AN_IMAGE]
    return f"provision bundle create FILE --lock with one of {', '.join(fitting)}"
