"""One variant's question to the indexes, and the answer: pins with hashes, and what is known of each package."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from provision.errors import ChangeError, UsageError
from provision.lock import closure, inputs, listing, package, text
from provision.lock.agreement import Held
from provision.lock.package import Package
from provision.lock.pages import Pages, united_sha256
from provision.lock.resolve import Resolver, resolve
from provision.lock.text import Lock, Pin
from provision.lock.variants import Requirement, Variant
from provision.record import record


@record
class Question:
    """What is asked for one variant. ``before``: its lock as it stands; ``keep``: the pins that should stay.

    ``hold``: not ``keep`` alone, whatever it takes; otherwise where those pins stand in nobody's way. ``uploaded_before``: the
    first moment that is too late, or nothing.
    """

    variant: Variant
    input_text: str
    wanted: tuple[Requirement, ...]
    before: Lock
    keep: tuple[Pin, ...]
    hold: bool
    uploaded_before: str


@record
class Answer:
    """``pins`` with hashes, ``packages`` by name, and the names of the public indexes that had to be asked."""

    question: Question
    pins: tuple[Pin, ...]
    packages: Mapping[str, Package]
    public_indexes: tuple[str, ...]

    def held(self, beside: Mapping[str, str]) -> Held:
        """For the agreement with other locks; ``beside`` are the versions it must share with the locks it names."""
        return Held(
            variant=self.question.variant,
            inputs=package.active(requirement_lines(self.question.input_text), (), self.question.variant.target),
            packages=self.packages,
            bound=beside,
        )


def ask(question: Question, pages: Pages, resolver: Resolver, beside: Mapping[str, Mapping[str, str]]) -> Answer:
    """Resolve, and read of each pin what the places offer. ``beside``: versions by name of the locks to agree with."""
    variant = question.variant
    # Also the look whether every place answers, before a resolver spends its retries on a dead one.
    pages.read(package.normal(each.name) for each in question.wanted)
    pages, sources = with_public_indexes(question.wanted, pages)
    pins = resolve(
        question.input_text,
        target=variant.target,
        settings=pages.settings,
        resolver=resolver,
        beside={f"{other}.txt": bare(versions) for other, versions in beside.items()},
        previous=bare({pin.name: pin.version for pin in question.keep}),
        hold=question.hold,
        before=question.uploaded_before,
    )
    _refuse_forbidden(variant, pins)
    hashes = united_sha256(pages, ((pin.name, pin.version) for pin in pins))
    notes = {
        package.normal(each.name): _note(each.name, each.index.name, sources)
        for each in question.wanted
        if each.index is not None
    }
    # uv looks for the version first and for its hash then: with == it finds a build for something else and stops.
    exact = {package.normal(each.name) for each in question.wanted if each.bound.startswith("===")}
    return Answer(
        question=question,
        pins=tuple(
            replace(pin, sha256=hashes[pin.name], note=notes.get(pin.name, ""), exact=pin.name in exact) for pin in pins
        ),
        packages=_packages(question, pages, pins),
        public_indexes=sources,
    )


def with_public_indexes(wanted: tuple[Requirement, ...], pages: Pages) -> tuple[Pages, tuple[str, ...]]:
    """The places with the page of each public index that is needed as a find-links address, and those indexes' names.

    The user's own places come first and are enough where one of them has the exact build. Only where none has it
    is the project's own index asked, for that package alone, and not at all under no-index.
    """
    first, names = pages, []
    for each in wanted:
        if each.index is None:
            continue
        name, version = package.normal(each.name), each.bound.removeprefix("==")
        if first.wheels(name, version):
            continue
        have_not = f"{name} {version} is on none of the {len(first.places(name))} places that pip is set to use"
        way_out = "set PIP_FIND_LINKS to a folder that holds the wheel, or PIP_EXTRA_INDEX_URL to a mirror that has it"
        if first.settings.no_index:
            raise ChangeError(f"{have_not}, and no-index forbids its own index {each.index.url}", way_out)
        page = each.index.page(name)
        try:
            offered = first.files(page)
        except ChangeError as error:
            raise ChangeError(f"{have_not}, and {error.message[:1].lower()}{error.message[1:]}", way_out) from None
        if not any(listing.is_wheel_of(file.filename, name, version) for file in offered):
            raise ChangeError(f"{have_not}, and its own index {each.index.url} does not have it either", way_out)
        pages = pages.also(page)
        names.append(each.index.name)
    return pages, tuple(dict.fromkeys(names))


def bare(versions: Mapping[str, str]) -> str:
    """Pins without hashes, one a line."""
    return "".join(f"{name}=={version}\n" for name, version in versions.items())


def beside_on_disk(variant: Variant, lockfiles: Path) -> dict[str, dict[str, str]]:
    """The versions of the locks that this one must agree with. Raises ``UsageError`` where one is missing."""
    found = {}
    for other in variant.agree_with:
        path = lockfiles / f"{other}.txt"
        if not path.is_file():
            raise UsageError(f"{path}: missing, and this lock must agree with it", f"provision lock {other}")
        found[other] = {pin.name: pin.version for pin in text.parse(text.read(path)).pins}
    return found


def requirement_lines(input_text: str) -> tuple[str, ...]:
    """The requirements of an input, without comments and options."""
    return tuple(line for line in input_text.splitlines() if line.strip() and not line.startswith(("#", "-")))


def question(
    variant: Variant, *, lockfiles: Path, pyproject: Path, upgrade: bool | tuple[str, ...], uploaded_before: str
) -> Question:
    """The question for one variant, from its present lock and what may move. Raises ``UsageError`` where it makes no sense."""
    path = lockfiles / f"{variant.name}.txt"
    before = text.parse(text.read(path)) if path.is_file() else Lock(pins=(), input_sha256="")
    freed = freed_by(upgrade)
    if unknown := sorted(freed - {pin.name for pin in before.pins}):
        raise UsageError(f"{variant.name} holds no {', '.join(unknown)}", f"provision lock {variant.name} --upgrade")
    keep = () if uploaded_before or upgrade is True else tuple(pin for pin in before.pins if pin.name not in freed)
    return Question(
        variant=variant,
        input_text=inputs.render(variant, pyproject),
        wanted=inputs.requirements(variant, pyproject),
        before=before,
        keep=keep,
        hold=not freed,
        uploaded_before=uploaded_before,
    )


def freed_by(upgrade: bool | tuple[str, ...]) -> frozenset[str]:
    """The packages that ``--upgrade`` names."""
    return frozenset(package.normal(name) for name in upgrade) if isinstance(upgrade, tuple) else frozenset()


def _packages(question: Question, pages: Pages, pins: tuple[Pin, ...]) -> dict[str, Package]:
    """What is known of each pin, with the requirements that this lock can ask for and who it was that asked."""
    target = question.variant.target
    looked = pages.each(lambda pin: package.look(pages, pin.name, pin.version, target), pins)
    asked = {pin.name: tuple(sorted(each.name for each in pins if pin.name in each.via)) for pin in pins}
    packages = {each.name: replace(each, dependencies=asked[each.name]) for each in looked}
    lines = package.active(requirement_lines(question.input_text), (), target)
    return closure.trimmed(packages, closure.walk(lines, packages, target), target)


def _note(name: str, home: str, asked: tuple[str, ...]) -> str:
    """Where the hashes of a build with several homes come from: the same version may be other bytes elsewhere."""
    if home in asked:
        return f"{name}: its hashes are those of its own index, {home}."
    return f"{name}: its hashes are those of the places configured by the user; its own index, {home}, was not asked."


def _refuse_forbidden(variant: Variant, pins: tuple[Pin, ...]) -> None:
    for pin in pins:
        if variant.forbids(pin.name, pin.version):
            raise ChangeError(
                f"{variant.name} would hold {pin.name} {pin.version} (asked for by {', '.join(pin.via)}), "
                f"but {variant.forbidden_because}; nothing was written"
            )
