"""What installed packages require of each other, and marks of installations that went wrong."""

from __future__ import annotations

from collections.abc import Iterator

from provision.catalog.version import older
from provision.check import ERROR, NOTE, WARNING, Finding, check
from provision.checks._words import counted, listed
from provision.facts.metadata import EnvironmentMetadata, PythonMetadata, Unmet
from provision.facts.native import PipSettings
from provision.facts.packages import Packages

_TRIPLE = ("torchaudio", "torchtext", "torchvision")
# transformers compares these itself when it is imported, and stops (dependency_versions_check.py, pkgs_to_check_at_runtime).
_CHECKED_AT_IMPORT = frozenset(
    {
        "accelerate",
        "filelock",
        "huggingface-hub",
        "numpy",
        "packaging",
        "pyyaml",
        "regex",
        "requests",
        "safetensors",
        "tokenizers",
        "tqdm",
    }
)
_SAME_FILES = (
    ("onnxruntime", "onnxruntime-gpu"),
    ("pytorch-triton", "triton"),
    ("tensorflow", "tensorflow-cpu"),
    ("flash-attn", "flash-attn-3"),
)
_SHOWN = 4


def _of(environment: EnvironmentMetadata, found: list[Unmet], fix: str) -> Finding:
    more = f", and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
    said = [
        f"{u.package} {u.version} requires {u.requires}" + (f" and {u.found} is installed" if u.found else "")
        for u in found
    ]
    return Finding(
        f"in {environment.prefix}: {'; '.join(said[:_SHOWN])}{more}",
        measured={
            "unmet": [f"{u.package} {u.version}: {u.requires}, found {u.found}" for u in found],
            "prefix": environment.prefix,
        },
        needed={"unmet": []},
        fix=(fix, f"{environment.prefix}/bin/python3 -m pip check"),
    )


@check("DEP050", ERROR, cause="dependency-conflict")
def torch_companion_for_another_torch(metadata: PythonMetadata) -> Iterator[Finding]:
    """torchvision or torchaudio was built for another torch than the one installed.

    They call into torch's compiled code. With another release they fail at import or later: "operator torchvision::nms does
    not exist", "undefined symbol". Upgrading torch alone does it.

    ## Fix
    Install the releases that belong together in one command.

    ## Proof
    DEP-P1: what is installed in the image is the lock, no more and no less.
    """
    for one in metadata.environments:
        found = [u for u in one.unmet if u.package in _TRIPLE and u.name == "torch"]
        if found:
            names = " ".join(sorted({u.package for u in found}))
            yield _of(one, found, f"{one.prefix}/bin/python3 -m pip install --force-reinstall torch {names}")


@check("DEP051", ERROR, cause="dependency-conflict")
def transformers_refuses_its_companions(metadata: PythonMetadata) -> Iterator[Finding]:
    """transformers refuses to be imported because of another package's version.

    It compares tokenizers, huggingface-hub, safetensors and a few more at import and stops: "tokenizers>=0.21,<0.22 is required
    for a normal functioning of this module, but found tokenizers==0.20.3".

    ## Fix
    Install transformers again and let it bring what it needs; then keep the set in a lock.

    ## Proof
    DEP-P1: what is installed in the image is the lock, no more and no less.
    """
    for one in metadata.environments:
        found = [u for u in one.unmet if u.package == "transformers" and u.name in _CHECKED_AT_IMPORT and u.found]
        if found:
            yield _of(
                one,
                found,
                f"{one.prefix}/bin/python3 -m pip install --upgrade --upgrade-strategy only-if-needed transformers",
            )


@check("DEP052", WARNING, cause="dependency-conflict")
def installed_packages_contradict_each_other(metadata: PythonMetadata) -> Iterator[Finding]:
    """Installed packages require versions of each other that are not there.

    pip installs what it is told even if that breaks what was there before, and says so in one line among hundreds. Not every
    such contradiction hurts; each is a place nobody has tested.

    ## Fix
    Make the environment from one lock in which everything was resolved together.

    ## Proof
    DEP-P1: what is installed in the image is the lock, no more and no less.
    """
    for one in metadata.environments:
        found = [u for u in one.unmet if u.found and not _judged_elsewhere(u)]
        if found:
            yield _of(one, found, f"{one.prefix}/bin/python3 -m pip install '{found[0].requires}'")


def _judged_elsewhere(one: Unmet) -> bool:
    return (
        (one.package in _TRIPLE and one.name == "torch")  # DEP050
        or (one.package == "transformers" and one.name in _CHECKED_AT_IMPORT)  # DEP051
        or (one.package == "torch" and one.name in ("triton", "pytorch-triton"))  # DEP054
    )


@check("DEP053", WARNING, cause="dependency-conflict")
def required_package_not_installed(metadata: PythonMetadata) -> Iterator[Finding]:
    """Installed packages require others that are not installed.

    `pip install --no-deps`, an interrupted installation or an uninstall leaves such holes: "ModuleNotFoundError" at the first
    use, which may be long after the start.

    ## Fix
    Install what lacks.

    ## Proof
    DEP-P1: what is installed in the image is the lock, no more and no less.
    """
    for one in metadata.environments:
        found = [u for u in one.unmet if u.found is None]
        if found:
            lacking = sorted({u.name for u in found})
            more = f", and {len(lacking) - _SHOWN} more" if len(lacking) > _SHOWN else ""
            askers = sorted({u.package for u in found})[:3]
            yield Finding(
                f"in {one.prefix}: {listed(lacking[:_SHOWN])}{more} not installed, required by {listed(askers)}",
                measured={"lacking": lacking, "prefix": one.prefix},
                needed={"lacking": []},
                fix=(f"{one.prefix}/bin/python3 -m pip install {' '.join(lacking[:_SHOWN])}",),
            )


@check("DEP054", WARNING, cause="dependency-conflict")
def triton_is_not_torchs_own(metadata: PythonMetadata) -> Iterator[Finding]:
    """The installed triton is not the one that torch was released with.

    torch.compile and the engines' kernels are written against one triton release; with another they fail to compile or, worse,
    compile to something slower or wrong.

    ## Fix
    Install the release that torch names.

    ## Proof
    DEP-P1: what is installed in the image is the lock, no more and no less.
    """
    for one in metadata.environments:
        found = [u for u in one.unmet if u.package == "torch" and u.name in ("triton", "pytorch-triton") and u.found]
        if found:
            yield _of(one, found, f"{one.prefix}/bin/python3 -m pip install '{found[0].requires}'")


@check("DEP055", ERROR, cause="dependency-conflict")
def numpy_2_with_older_torch(packages: Packages) -> Iterator[Finding]:
    """numpy 2 is installed beside a torch that was compiled against numpy 1.

    torch imports with a warning ("Failed to initialize NumPy: _ARRAY_API not found") and every exchange with numpy fails:
    "Numpy is not available". torch 2.3 is the first that was built for both.

    ## Fix
    `pip install 'numpy<2'`, or a newer torch.

    ## Proof
    DEP-P1: what is installed in the image is the lock, no more and no less.
    """
    for one in packages.environments:
        here = dict(one.packages)
        numpy, torch = here.get("numpy", ""), here.get("torch", "")
        if numpy and torch and not older(numpy, "2") and older(torch, "2.3"):
            yield Finding(
                f"numpy {numpy} in {one.prefix}; torch {torch} was compiled against numpy 1",
                measured={"numpy": numpy, "torch": torch},
                needed={"numpy": "<2"},
                fix=(f"{one.prefix}/bin/python3 -m pip install 'numpy<2'",),
            )


@check("DEP060", WARNING, cause="installation-interrupted")
def installation_was_interrupted(metadata: PythonMetadata) -> Iterator[Finding]:
    """pip was stopped in the middle, and left pieces behind.

    Folders that begin with "~" are what pip had moved aside; two metadata folders of one package mean that the old one was not
    taken away. Which files belong to which version nobody knows.

    ## Fix
    Remove the "~" folders and install the packages again, or make the environment anew.

    ## Proof
    DEP-P1: what is installed in the image is the lock, no more and no less.
    """
    for one in metadata.environments:
        if one.interrupted or one.doubled:
            parts = [
                *([f"left over: {listed(one.interrupted[:3])}"] if one.interrupted else []),
                *([f"there twice: {listed(one.doubled[:3])}"] if one.doubled else []),
            ]
            yield Finding(
                f"in {one.prefix}: {'; '.join(parts)}",
                measured={"interrupted": list(one.interrupted), "doubled": list(one.doubled)},
                needed={"interrupted": [], "doubled": []},
                fix=(
                    f"{one.prefix}/bin/python3 -m pip install --force-reinstall {' '.join(one.doubled[:3]) or 'PACKAGE'}",
                ),
            )


@check("DEP061", NOTE, cause="system-python-changed")
def pip_changed_the_systems_python(metadata: PythonMetadata, packages: Packages) -> Iterator[Finding]:
    """pip has put packages among those of the system's own Python.

    The distribution's programs (apt, cloud-init, firewalld) run on that Python and those packages. The mark
    EXTERNALLY-MANAGED forbids it; `--break-system-packages` went around it.

    ## Fix
    `pip uninstall` them, and use a virtual environment.

    ## Proof
    DEP-P1: what is installed in the image is the lock; the system's Python is not touched.
    """
    kinds = {one.prefix: one.kind for one in packages.environments}
    for one in metadata.environments:
        if one.by_pip and kinds.get(one.prefix) == "system":
            yield Finding(
                f"{counted(len(one.by_pip), 'package')} of pip in the system's Python {one.python}: {listed(one.by_pip[:3])}",
                measured={"packages": list(one.by_pip)},
                needed={"packages": []},
                fix=("python3 -m venv ENV   # and install there",),
            )


@check("DEP062", NOTE, cause="system-python-changed")
def pip_may_change_the_systems_python(pip: PipSettings) -> Iterator[Finding]:
    """pip is told for good that it may change the system's own Python.

    `break-system-packages = true` in a settings file turns off, for every command, the one guard that keeps pip out of the
    distribution's packages.

    ## Fix
    Take the line out; give the option to the one command that needs it.

    ## Proof
    None of its own: `provision doctor --select DEP062` reads the settings again.
    """
    for one in pip.files:
        if one.break_system_packages:
            yield Finding(
                f"break-system-packages is set in pip's settings ({one.path})",
                measured={"path": one.path},
                needed={"break_system_packages": False},
                fix=("python3 -m pip config unset global.break-system-packages",),
            )


@check("DEP063", WARNING, cause="dependency-conflict")
def two_packages_with_the_same_files(packages: Packages) -> Iterator[Finding]:
    """Two packages that install the same files are in one environment.

    The one that came last won, file by file. Uninstalling either takes files of the other away. onnxruntime beside
    onnxruntime-gpu runs on the CPU without a word.

    ## Fix
    Uninstall both, then install the one that is wanted.

    ## Proof
    DEP-P1: what is installed in the image is the lock, no more and no less.
    """
    for one in packages.environments:
        here = {name for name, _ in one.packages}
        for pair in _SAME_FILES[:3]:
            if here.issuperset(pair):
                yield Finding(
                    f"{listed(pair)} are both in {one.prefix}; they install the same files",
                    measured={"packages": list(pair)},
                    needed={"packages": 1},
                    fix=(
                        f"{one.prefix}/bin/python3 -m pip uninstall -y {' '.join(pair)}",
                        f"{one.prefix}/bin/python3 -m pip install {pair[1]}",
                    ),
                )
