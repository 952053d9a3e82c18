"""What is installed against what was locked, and files against what was installed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from provision.catalog import locks
from provision.check import ERROR, WARNING, Finding, NotApplicable, check
from provision.checks._words import counted, listed
from provision.fact import Absent, Missing
from provision.facts import requirement
from provision.facts.image_packages import ImageEnvironment, ImagePackages
from provision.facts.installed_files import FilesLooked, InstalledFiles
from provision.facts.locked import DISTRIBUTION, InstalledPackage, LockedEnvironment
from provision.facts.system import System
from provision.plan import Dependencies, Rollout
from provision.spec import Spec

_SHOWN = 4
# What a Python and its environments bring along before anyone asks for a package. pkg-resources 0.0.0: split off setuptools by
# older Debian and Ubuntu, in every environment made there.
_SEEDS = ("pip", "setuptools", "wheel", "pkg-resources")


def _some(items: list[str]) -> str:
    more = f", and {len(items) - _SHOWN} more" if len(items) > _SHOWN else ""
    return (", ".join(items[:_SHOWN]) if more else listed(items)) + more


def _same(found: str, locked: str) -> bool:
    """PEP 440 for ``==``: a local part (+cpu) counts where the lock names one. No version in the lock: any will do."""
    try:
        return not locked or requirement.meets(found, f"=={locked}")
    except requirement.Unreadable:
        return found == locked


def _pins(spec: Spec, python: str, architecture: str) -> dict[str, str]:
    """The lines of the lock that hold for this Python and processor."""
    here = requirement.marker_environment(python, architecture)
    return {one.name: one.version for one in spec.dependencies.pins if requirement.applies(one.marker, here)}


def _imported(environment: LockedEnvironment) -> dict[str, InstalledPackage]:
    """Of each package the one that is imported."""
    order = ("own", "user", "inherited") if environment.venv else ("user", "own")
    ordered = sorted(environment.packages, key=lambda one: order.index(one.place), reverse=True)
    return {one.name: one for one in ordered}


def _named(environment: LockedEnvironment | Absent | Missing, spec: Spec) -> LockedEnvironment:
    """The environment that the lock of provision.toml is about. Raises why there is none, or why it was not looked at."""
    if not spec.dependencies.lock:
        raise NotApplicable("provision.toml names no lock for a Python environment ([dependencies] lock)")
    if isinstance(environment, Missing):
        raise environment
    wanted = spec.dependencies.environment.rstrip("/")
    if isinstance(environment, Absent) or wanted not in ("", environment.prefix):
        raise Missing(
            f"{wanted or 'the environment in use'} was not looked at: these facts were taken for another provision.toml"
        )
    return environment


@check("DEP070", ERROR, cause="lock-drift")
def environment_differs_from_its_lock(
    locked: LockedEnvironment | Absent | Missing, system: System, spec: Spec
) -> Iterator[Finding]:
    """A Python environment lacks packages of its lock, or holds other versions of them.

    What was tested is what the lock says; what runs is what is installed. One `pip install` by hand is enough to part the two,
    and so is a copy below ~/.local where the environment lets it in. Looked at where provision.toml says `[dependencies] lock`
    (and `environment`; else the one in use), by names and versions. Lines whose marker does not hold here are passed over.

    ## Fix
    Install from the lock again, with `--require-hashes` where it has them.

    ## Proof
    DEP-P1 says the same of the image; of an environment of your own, `provision doctor --select DEP070` looks again.
    """
    environment = _named(locked, spec)
    lock, prefix = spec.dependencies.lock, environment.prefix
    if environment.python is None:
        yield Finding(
            f"there is no Python environment in {prefix}, which {lock} was made for",
            measured={"prefix": prefix},
            needed={"lock": lock},
            fix=(f"python3 -m venv {prefix}", _install(prefix, lock)),
        )
        return
    here = _imported(environment)
    pins = _pins(spec, environment.python, system.architecture)
    missing = [f"{name} {version}".strip() for name, version in sorted(pins.items()) if name not in here]
    other = [
        f"{name} {here[name].version}{_where(here[name])} instead of {version}"
        for name, version in sorted(pins.items())
        if name in here and not _same(here[name].version, version)
    ]
    if missing or other:
        parts = [*([f"not installed: {_some(missing)}"] if missing else []), *([_some(other)] if other else [])]
        yield Finding(
            f"{prefix} is not {lock}: {'; '.join(parts)}",
            measured={"missing": missing, "other_version": other, "prefix": prefix, "packages": len(here)},
            needed={"lock": lock, "packages": len(pins)},
            fix=(_install(prefix, lock),),
        )


def _where(one: InstalledPackage) -> str:
    return {"own": "", "inherited": " (the system's)", "user": " (pip install --user)"}[one.place]


def _install(prefix: str, lock: str) -> str:
    """``lock``: a file, or one of this tool's own, which lies in its lockfiles/."""
    file = lock if "." in lock or "/" in lock else f"lockfiles/{lock}.txt"
    return f"{prefix}/bin/python3 -m pip install -r {file}"


@check("DEP071", WARNING, cause="lock-drift")
def environment_holds_more_than_its_lock(
    locked: LockedEnvironment | Absent | Missing, system: System, spec: Spec
) -> Iterator[Finding]:
    """A Python environment holds packages that its lock does not name.

    Nobody has resolved them together with the rest, nobody reviews or updates them, and the next environment made from the lock
    lacks them. Passed over: pip, setuptools, wheel and pkg-resources, what was installed from a folder of this machine (the
    project itself, editable or not), what conda or the distribution installed, and what is inherited or the user's own.

    ## Fix
    Put them into the lock's input and lock again, or take them away.

    ## Proof
    DEP-P1 says the same of the image; of an environment of your own, `provision doctor --select DEP071` looks again.
    """
    environment = _named(locked, spec)
    lock = spec.dependencies.lock
    if environment.python is None:
        raise NotApplicable(f"there is no Python environment in {environment.prefix} (DEP070)")
    pins = _pins(spec, environment.python, system.architecture)
    extra = [
        f"{one.name} {one.version}"
        for one in environment.packages
        if one.place == "own"
        and one.name not in pins
        and one.name not in _SEEDS
        and one.installer not in ("conda", DISTRIBUTION)
        and not one.local
    ]
    if extra:
        yield Finding(
            f"{environment.prefix} holds what {lock} does not name: {_some(extra)}",
            measured={"extra": extra, "prefix": environment.prefix},
            needed={"extra": []},
            fix=(
                f"{environment.prefix}/bin/python3 -m pip uninstall {' '.join(e.split()[0] for e in extra[:_SHOWN])}",
            ),
        )


@check("DEP072", WARNING, cause="lock-drift")
def image_differs_from_its_lock(images: ImagePackages, rollout: Rollout, plan: Dependencies) -> Iterator[Finding]:
    """The planned image does not hold the packages of its lock.

    Its label says which lock it was built from, and a label stays when somebody installs into a container of it and commits
    that. So names and versions are read from the image's layers on this machine's disk; no container is made and nothing runs.
    Only root may read them, and the engine must say where they lie (overlay2; not containerd's image store).

    ## Fix
    Remove the image and build it again from the lock; never install into it by hand.

    ## Proof
    DEP-P1 asks the same inside the container: what is installed in the image is the lock, no more and no less.
    """
    image = next((one for one in images.images if rollout.image in one.tags), None)
    if image is None:
        raise NotApplicable(f"{rollout.image} is not built (ROL002)")
    if image.lock_sha256 != plan.lock_sha256:
        raise NotApplicable(f"{rollout.image} was built from another lock (ROL001)")
    if image.unread:
        raise Missing(image.unread)
    differences = _differences(image, locks.pins(plan.lock))
    if any(differences.values()):
        said = [f"{kind}: {_some(names)}" for kind, names in differences.items() if names]
        yield Finding(
            f"{rollout.image} is not {plan.lock}: {'; '.join(said)}",
            measured={kind.replace(" ", "_"): names for kind, names in differences.items()},
            needed={"lock": plan.lock, "lock_sha256": plan.lock_sha256},
            fix=(f"docker image rm {rollout.image}", "provision up"),
        )


def _differences(image: ImageEnvironment, pins: dict[str, str]) -> dict[str, list[str]]:
    here = dict(image.packages)
    return {
        "not installed": [f"{name} {version}" for name, version in sorted(pins.items()) if name not in here],
        "not in the lock": [f"{name} {version}" for name, version in sorted(here.items()) if name not in pins],
        "other version": [
            f"{name} {here[name]} instead of {version}"
            for name, version in sorted(pins.items())
            if name in here and not _same(here[name], version)
        ],
    }


@check("DEP073", WARNING, cause="installed-files-changed")
def installed_files_changed(files: InstalledFiles) -> Iterator[Finding]:
    """Files of installed Python packages were edited or removed since they were installed.

    Every package keeps a RECORD of its files with their SHA-256. A file that differs was patched by hand, overwritten by another
    tool or damaged on disk; the version still reads the same. Hashing takes seconds to minutes, so it is done on request:
    `provision doctor --files`, for the environment in use, the one that `[dependencies]` names, and the images built here. Not
    judged: what an installer writes itself (bytecode, scripts, notes), files outside the package folder, files that another
    package records as they are, packages of conda and of the distribution. Whoever edits a file and its RECORD is not seen.

    ## Fix
    Install the packages again. A change that is meant belongs in a fork with a version of its own; further certificate
    authorities belong in SSL_CERT_FILE, not in certifi's cacert.pem.

    ## Proof
    None of its own: `provision doctor --files --select DEP073` hashes again.
    """
    blind = []
    for one in files.places:
        if one.edited or one.missing:
            parts = [
                *_part(one.edited, "edited", one.named.get("edited", ())),
                *_part(one.missing, "removed", one.named.get("missing", ())),
            ]
            yield Finding(
                f"in {one.place}: {'; '.join(parts)}",
                measured={
                    "edited": one.edited,
                    "missing": one.missing,
                    "files": one.files,
                    "named": {kind: list(paths) for kind, paths in one.named.items()},
                },
                needed={"edited": 0, "missing": 0},
                fix=_again(one),
            )
        blind += _blind(one)
    if blind:
        raise Missing("; ".join(blind))


def _part(count: int, what: str, named: Iterable[str]) -> list[str]:
    """Files by their paths, without the packages: what is said of thousands is their number."""
    if not count:
        return []
    paths = [one.partition(": ")[2] for one in named]
    return [f"{counted(count, 'file')} {what}: {', '.join(paths[:_SHOWN])}{' …' if count > _SHOWN else ''}"]


def _again(one: FilesLooked) -> tuple[str, ...]:
    named = [*one.named.get("edited", ()), *one.named.get("missing", ())]
    packages = sorted({entry.partition(":")[0].replace(" ", "==", 1) for entry in named})
    if not one.place.startswith("/"):
        return (f"docker image rm {one.place}", "provision up")
    return (f"{one.place}/bin/python3 -m pip install --force-reinstall --no-deps {' '.join(packages[:_SHOWN])}",)


def _blind(one: FilesLooked) -> list[str]:
    """Why something in one place was not looked at."""
    if one.unfinished:
        return [f"{one.place}: {one.unfinished}"]
    if one.unreadable:
        first = one.named.get("unreadable", ("",))[0].partition(": ")[2]
        return [f"{one.place}: {counted(one.unreadable, 'file')} could not be read: {first}"]
    if one.without_record:
        return [f"{one.place}: no RECORD for {_some(list(one.without_record))}"]
    return []
