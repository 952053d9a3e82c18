"""Which copy of a library wins when torch is loaded."""

from __future__ import annotations

import re
from collections.abc import Iterator

from provision.catalog.version import numbers, older
from provision.check import ERROR, NOTE, WARNING, Finding, check
from provision.checks._words import listed
from provision.facts.linkage import Linkage
from provision.facts.metadata import CondaPackages
from provision.facts.packages import Packages

_DRIVER = ("libcuda.so",)  # the driver's own: CUD012 and CUD013 look at it


@check("CUD060", ERROR, cause="ld-library-path-shadow")
def older_cuda_library_comes_first(linkage: Linkage) -> Iterator[Finding]:
    """LD_LIBRARY_PATH puts an older CUDA library before the one that torch was installed with.

    torch's own libraries carry a search path that comes before LD_LIBRARY_PATH (RPATH), but several of NVIDIA's carry one
    that comes after it (RUNPATH), and then no RPATH counts. What they ask for is taken from the variable's folders:
    "undefined symbol: __nvJitLinkComplete_12_4", CUDNN_STATUS_SUBLIBRARY_VERSION_MISMATCH.

    ## Fix
    Leave the folder out of LD_LIBRARY_PATH: a torch from pip needs no toolkit and no entry there.

    ## Proof
    CUD-P4: a matrix product and a convolution on the GPU agree with the CPU.
    """
    for environment in linkage.environments:
        for one in environment.linked:
            if one.why != "LD_LIBRARY_PATH" or one.own_path in (None, one.path) or one.name.startswith(_DRIVER):
                continue
            if one.name.startswith("libstdc++") or one.version is None or one.own_version is None:
                continue
            if older(one.version, one.own_version):
                yield Finding(
                    f"{one.name} {one.version} in {one.path} comes before {one.own_version} in {one.own_path} (LD_LIBRARY_PATH)",
                    measured={"library": one.name, "version": one.version, "path": one.path},
                    needed={"version": one.own_version, "path": one.own_path},
                    fix=(
                        "unset LD_LIBRARY_PATH",
                        'echo "$LD_LIBRARY_PATH"   # who sets it: ~/.bashrc, /etc/environment, the service',
                    ),
                )


@check("CUD061", NOTE, cause="ld-library-path-shadow")
def foreign_cuda_library_comes_first(linkage: Linkage) -> Iterator[Finding]:
    """LD_LIBRARY_PATH puts a CUDA library of another origin before the one that torch was installed with.

    It is as new or newer, or does not say its version, so it may well work. What was tested together is not what runs, and
    an upgrade of the toolkit changes torch.

    ## Fix
    Leave the folder out of LD_LIBRARY_PATH.

    ## Proof
    CUD-P4: a matrix product and a convolution on the GPU agree with the CPU.
    """
    for environment in linkage.environments:
        for one in environment.linked:
            if one.why != "LD_LIBRARY_PATH" or one.own_path in (None, one.path) or one.name.startswith(_DRIVER):
                continue
            known = one.version is not None and one.own_version is not None
            if known and older(one.version or "", one.own_version or "") and not one.name.startswith("libstdc++"):
                continue  # CUD060
            name = f"{one.name} {one.version}" if one.version else one.name
            yield Finding(
                f"{name} in {one.path} comes before {one.own_path} (LD_LIBRARY_PATH)",
                measured={"library": one.name, "path": one.path},
                needed={"path": one.own_path},
                fix=("unset LD_LIBRARY_PATH",),
            )


@check("CUD062", ERROR, cause="cpp-library-too-old")
def cpp_library_too_old(linkage: Linkage) -> Iterator[Finding]:
    """The C++ library that wins is older than what compiled packages need.

    A conda environment brings its own libstdc++, and LD_LIBRARY_PATH may bring one from a toolkit. What was compiled against a
    newer one fails when it is loaded: "version `GLIBCXX_3.4.30' not found".

    ## Fix
    Upgrade it where it comes from (`conda install -c conda-forge libstdcxx-ng`), or take its folder out of LD_LIBRARY_PATH.

    ## Proof
    None of its own: `provision doctor --select CUD062` compares again.
    """
    for environment in linkage.environments:
        offered = environment.cpp_offered
        if offered is None:
            continue
        lacking = [one for one in environment.wanting if one.cpp is not None and older(offered, one.cpp)]
        if lacking:
            newest = max((one.cpp or "" for one in lacking), key=numbers)
            library = next(one for one in environment.linked if one.name.startswith("libstdc++"))
            yield Finding(
                f"{library.path} ({library.why}) offers GLIBCXX_{offered}; {listed(one.file for one in lacking[:3])} in "
                f"{environment.prefix} needs GLIBCXX_{newest}",
                measured={"offered": offered, "path": library.path, "files": [one.file for one in lacking]},
                needed={"offered": newest},
                fix=(
                    f"strings {library.path} | grep GLIBCXX | sort -V | tail -n 1",
                    "conda install -c conda-forge 'libstdcxx-ng>=13'",
                ),
            )


@check("CUD063", WARNING, cause="ld-library-path-shadow")
def cuda_library_not_found(linkage: Linkage, packages: Packages) -> Iterator[Finding]:
    """A library that torch links to is nowhere on its way.

    The loader will stop at import: "cannot open shared object file". It happens when a package of NVIDIA was removed, or was
    installed for another CUDA major.

    ## Fix
    Install torch again with what it requires: `pip install --force-reinstall torch`.

    ## Proof
    CUD-P4: a matrix product and a convolution on the GPU agree with the CPU.
    """
    builds = {one.prefix: one.torch for one in packages.environments}
    for environment in linkage.environments:
        build = builds.get(environment.prefix)
        # The driver's own libraries are no part of torch: without a card they are rightly absent.
        lacking = [
            name for name in environment.not_found if re.match(r"lib(cu(?!da\.)|nccl|nv(?!idia-ml|cuvid))", name)
        ]
        if build is not None and build.cuda is not None and lacking:
            yield Finding(
                f"torch {build.version} in {environment.prefix} links to {listed(lacking[:4])}"
                + (f" and {len(lacking) - 4} more" if len(lacking) > 4 else "")
                + ", found nowhere",
                measured={"not_found": lacking},
                needed={"not_found": []},
                fix=(
                    f"{environment.prefix}/bin/python3 -m pip install --force-reinstall torch=={build.version.split('+')[0]}",
                ),
            )


@check("CUD064", WARNING, cause="dependency-conflict")
def conda_and_pip_cuda_together(conda: CondaPackages, packages: Packages) -> Iterator[Finding]:
    """One conda environment holds CUDA libraries from conda and from pip.

    Neither knows of the other. Which copy a program gets depends on which library asks first; `conda update` and
    `pip install` change it without a word, and cuDNN's parts then come from two releases.

    ## Fix
    Make the environment anew: Python from conda, and torch with everything of CUDA from pip.

    ## Proof
    DEP-P1: what is installed in the image is the lock, no more and no less.
    """
    by_prefix = {one.prefix: one for one in packages.environments if one.kind == "conda"}
    for environment in conda.environments:
        theirs = [
            n
            for n, _ in environment.packages
            if re.match(r"cuda-(cudart|nvrtc|libraries)|cudatoolkit|cudnn|nccl|libcublas", n)
        ]
        other = by_prefix.get(environment.prefix)
        ours = (
            [n for n, _ in other.packages if re.match(r"nvidia-(cublas|cudnn|cuda-runtime|nccl)", n)] if other else []
        )
        if theirs and ours:
            yield Finding(
                f"{environment.prefix} holds {listed(theirs[:3])} from conda and {listed(ours[:3])} from pip",
                measured={"conda": theirs, "pip": ours},
                needed={"sources": 1},
                fix=(f"conda list -p {environment.prefix} | grep -i -e cuda -e nvidia -e cudnn",),
            )
