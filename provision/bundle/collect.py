"""What goes into a bundle, gathered through the same doors that ``provision up`` uses, so that it is what that looks for."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import resources
from pathlib import Path

from provision import apt, bootstrap, building, codec, wheelhouse
from provision import cache as cached
from provision.bundle import content, debian, repository, tool_wheel
from provision.bundle.content import Content
from provision.bundle.debian import Deb
from provision.bundle.target import TOOL_LOCK, Target
from provision.errors import UsageError
from provision.lock import make
from provision.record import record
from provision.wheelhouse import Wheelhouse

_NOT_OURS = frozenset({"__pycache__"})


@record
class Gathered:
    """The members, and what the list of materials says about them."""

    contents: tuple[Content, ...]
    wheels: tuple[tuple[Content, wheelhouse.Wheel], ...]
    debs: tuple[Deb, ...]
    base: Content


@contextmanager
def gather(target: Target, spec_path: Path | None, model: Path | None) -> Iterator[Gathered]:
    """Fetch what is not here yet into the tool's cache, and list it all. Rendered files live as long as the context.

    Raises ``ChangeError`` where something cannot be fetched, ``UsageError`` for a folder or file that cannot be carried.
    """
    folder = [] if model is None else _model(model)  # first: it costs no network and is the user's own path
    cache = cached.folder()
    wheels = [*_wheels(target, cache), *_tool(target, cache)]
    base_file = bootstrap.make(target.made_for.debian, target.architecture, cache)
    base = content.from_file(f"cache/{base_file.name}", base_file)
    debs = debian.closure(target.packages, target.made_for.debian, target.architecture, cache)
    published = apt.debian_sources(target.made_for.debian)[0].published
    with tempfile.TemporaryDirectory(prefix="provision-bundle-") as name:
        contents = (
            *(one for one, _ in wheels),
            content.literal(f"tool/{tool_wheel.FILENAME}", tool_wheel.build()),
            content.from_file(f"tool/{TOOL_LOCK}.txt", _lock(TOOL_LOCK)),
            base,
            *repository.contents(debs, target.made_for.debian, published),
            *_run(target, spec_path, Path(name)),
            *folder,
        )
        yield Gathered(contents=contents, wheels=tuple(wheels), debs=debs, base=base)


def _wheels(target: Target, cache: Path) -> Iterator[tuple[Content, wheelhouse.Wheel]]:
    """The image's wheels and pip's own, as ``provision.building`` keeps them."""
    variant = target.variant
    house = wheelhouse.fill(
        _lock(variant.name),
        cache / "wheels",
        variant.target.python,
        lambda: make.indexes_for(variant, Path("pyproject.toml")),
        glibc=variant.target.glibc,
    )
    yield from _of_house("cache/wheels", house)
    yield from _of_house("cache/installer", building.installer(_lock(TOOL_LOCK), cache, variant.target.python))


def _tool(target: Target, cache: Path) -> Iterator[tuple[Content, wheelhouse.Wheel]]:
    yield from _of_house("tool", wheelhouse.fill(_lock(TOOL_LOCK), cache / "tool", target.made_for.python))


def _of_house(prefix: str, house: Wheelhouse) -> Iterator[tuple[Content, wheelhouse.Wheel]]:
    for wheel in house.wheels:
        yield content.from_file(f"{prefix}/{wheel.filename}", house.folder / wheel.filename, wheel.sha256), wheel


def _run(target: Target, spec_path: Path | None, folder: Path) -> Iterator[Content]:
    """What was given, and what the roles will put in place for it."""
    if spec_path is not None:
        yield content.from_file("run/provision.toml", spec_path)
    if target.snapshot is not None and target.plan is not None:
        from provision.render import render

        render(target.plan, folder)
        yield content.literal("run/facts.json", codec.dumps(target.snapshot.to_json()))
        yield content.literal("run/plan.json", codec.dumps(target.plan))
        yield from content.from_folder("run/rendered", folder)
    if spec_path is not None or target.snapshot is not None:
        yield from content.from_folder("run/playbooks", Path(str(resources.files("provision.playbooks"))), _NOT_OURS)


def _model(folder: Path) -> list[Content]:
    if not folder.is_dir():
        raise UsageError(f"--model {folder}: it is no folder")
    found = list(content.from_folder("model", folder))
    if not found:
        raise UsageError(f"--model {folder}: there is no file in it")
    return found


def _lock(name: str) -> Path:
    return Path(str(resources.files("provision.lockfiles"))) / f"{name}.txt"
