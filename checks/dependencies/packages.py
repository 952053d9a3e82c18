"""Packages, Debian's and Python's: missing, half installed, or in each other's way."""

from __future__ import annotations

import re
from collections.abc import Iterator

from provision.catalog import tables
from provision.catalog.version import minor, numbers
from provision.check import ERROR, WARNING, Finding, NotApplicable, check
from provision.checks._pasted import Installed, MaybeStated, environments
from provision.checks._words import listed
from provision.fact import Absent, Missing
from provision.facts.debian import DebianPackages
from provision.facts.environment import Environment
from provision.facts.packages import Packages
from provision.plan import Dependencies

_CUDA_SUFFIX = re.compile(r"(nvidia-.+)-cu(\d\d)")
# From CUDA 13 on the wheels of CUDA itself carry no suffix, and their own version is CUDA's.
_UNSUFFIXED = ("nvidia-cublas", "nvidia-cuda-runtime", "nvidia-cuda-nvrtc", "nvidia-cuda-cupti", "nvidia-cufft")


def _lacking(debian: DebianPackages, plan: Dependencies) -> list[str]:
    there = dict(debian.packages)
    return [name for name in plan.packages if name not in there]


@check("DEP011", ERROR, cause="package-manager-broken")
def debian_packages_half_installed(debian: DebianPackages, plan: Dependencies) -> Iterator[Finding]:
    """Half-installed Debian packages stop the package manager, and packages are still to be installed.

    apt refuses to install anything while a package is unpacked and not configured, as after a full disk or a killed
    upgrade.

    ## Fix
    Finish what was begun.

    ## Proof
    None of its own: the packages of the plan are installed, or `provision up` says which are not.
    """
    lacking = _lacking(debian, plan)
    if not lacking:
        raise NotApplicable("every package of the plan is installed")
    if debian.broken:
        yield Finding(
            f"{listed(debian.broken)} is half installed, so apt will not install {listed(lacking)}",
            measured={"broken": list(debian.broken)},
            needed={"broken": []},
            fix=("dpkg --configure -a", "apt-get -f install"),
        )


@check("DEP012", WARNING, cause="debian-package-missing")
def planned_package_missing(debian: DebianPackages, plan: Dependencies) -> Iterator[Finding]:
    """A Debian package of the plan is not installed.

    The engine's default network needs iptables, a base image without a registry needs debootstrap, and Ansible installs
    packages through python3-apt. A package that was removed by hand is found here.

    ## Fix
    `provision up` installs exactly what is missing.

    ## Proof
    DEP-P1: the image is built and what is installed in it is the lock.
    """
    lacking = _lacking(debian, plan)
    if lacking:
        yield Finding(
            f"not installed: {listed(lacking)}",
            measured={"missing": lacking},
            needed={"packages": list(plan.packages)},
            fix=("provision up",),
        )


def _components(environment: Installed) -> dict[str, set[int]]:
    """NVIDIA's pip packages by component, with the CUDA majors they are for."""
    found: dict[str, set[int]] = {}
    for name, version in environment.packages:
        suffixed = _CUDA_SUFFIX.fullmatch(name)
        if suffixed:
            found.setdefault(suffixed[1], set()).add(int(suffixed[2]))
        elif name in _UNSUFFIXED and numbers(version):
            found.setdefault(name, set()).add(numbers(version)[0])
    return found


@check("DEP013", WARNING, cause="dependency-conflict")
def two_cuda_majors_in_one_environment(packages: Packages | Missing, stated: MaybeStated) -> Iterator[Finding]:
    """One Python environment holds NVIDIA's libraries for two CUDA majors.

    nvidia-cudnn-cu12 and nvidia-cudnn-cu13 install the same file (nvidia/cudnn/lib/libcudnn.so.9): the one that came
    last wins, for every package. Uninstalling one of them takes the file away from the other. It happens when a torch is
    replaced by one of another CUDA major in place.

    ## Fix
    Make the environment anew from a lock.

    ## Proof
    DEP-P1: what is installed in the image is the lock, no more and no less.
    """
    for environment in environments(packages, stated):
        majors = _components(environment)
        doubled = sorted(name for name, found in majors.items() if len(found) > 1)
        all_majors = sorted({major for found in majors.values() for major in found})
        if len(all_majors) > 1:
            yield Finding(
                f"{environment.prefix or 'the list'} holds NVIDIA packages for CUDA {listed(all_majors)}"
                + (f", {listed(doubled)} in both" if doubled else ""),
                measured={"majors": all_majors, "doubled": doubled, "prefix": environment.prefix},
                needed={"majors": 1},
                fix=(
                    f"{environment.python} -m pip list | grep -i nvidia",
                    "then make the environment anew",
                ),
            )


@check("DEP014", WARNING, cause="dependency-conflict")
def user_packages_shadow_an_environment(
    packages: Packages, environment: Environment | Absent | Missing
) -> Iterator[Finding]:
    """Packages installed with `pip install --user` come before those of an environment.

    Python puts ~/.local (or PYTHONUSERBASE) before the system's packages, and before those of a conda environment too. What the
    environment was tested with is then not what runs, and it looks right in `conda list`. Virtual environments are safe: their
    own packages come first even where they let the system's in. Does not apply where PYTHONNOUSERSITE is set.

    ## Fix
    Remove the user's copies, or set PYTHONNOUSERSITE=1 where the model runs.

    ## Proof
    DEP-P1: what is installed in the image is the lock; the container has no user packages.
    """
    if isinstance(environment, Environment) and dict(environment.variables).get("PYTHONNOUSERSITE"):
        raise NotApplicable("PYTHONNOUSERSITE is set")
    for user in (one for one in packages.environments if one.kind == "user"):
        mine = dict(user.packages)
        for other in packages.environments:
            if other.kind not in ("system", "conda") or other.python != user.python:
                continue
            shadowed = [(n, v, mine[n]) for n, v in other.packages if n in mine and mine[n] != v]
            if shadowed:
                name, theirs, ours = shadowed[0]
                yield Finding(
                    f"{user.prefix} comes before {other.prefix}: {name} {ours} instead of {theirs}"
                    + (f", and {len(shadowed) - 1} more" if len(shadowed) > 1 else ""),
                    measured={"shadowed": [name for name, _, _ in shadowed]},
                    needed={"shadowed": []},
                    fix=("export PYTHONNOUSERSITE=1", f"python{user.python} -m pip uninstall {name}"),
                )


@check("DEP015", ERROR, cause="dependency-conflict")
def engine_with_another_torch(packages: Packages | Missing, stated: MaybeStated) -> Iterator[Finding]:
    """An inference engine is installed beside a torch that it was not built for.

    vLLM and SGLang require one exact torch release, and their compiled code calls into it. Another minor release fails
    when it is loaded ("undefined symbol"). It happens when torch is upgraded by hand or by another package.

    ## Fix
    Install the engine again, and let it bring its torch; keep the two in one lock.

    ## Proof
    DEP-P1: what is installed in the image is the lock, and a lock in which they conflict cannot be made.
    """
    for environment in environments(packages, stated):
        here = dict(environment.packages)
        for pin in tables.pins():
            engine, torch = here.get(pin.engine), here.get("torch")
            if engine is None or torch is None or not _order(pin.first) <= _order(engine) <= _order(pin.last):
                continue
            if minor(torch) != minor(pin.torch):
                yield Finding(
                    f"{pin.engine} {engine}{environment.inside} requires torch {pin.torch}; {torch} is installed",
                    measured={"engine": f"{pin.engine} {engine}", "torch": torch},
                    needed={"torch": pin.torch},
                    fix=(f"{environment.python} -m pip install {pin.engine}=={engine}",),
                )


def _order(version: str) -> tuple[tuple[int, ...], int]:
    """Releases in order, post-releases after theirs: "0.4.5.post3" as ((0, 4, 5), 3)."""
    post = re.search(r"\.post(\d+)", version)
    return numbers(version), int(post[1]) if post else 0
