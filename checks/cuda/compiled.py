"""Compiled packages that were made for another CUDA, torch or card."""

from __future__ import annotations

import re
from collections.abc import Iterator

from provision.catalog import hardware
from provision.catalog.version import minor, numbers, older
from provision.check import ERROR, WARNING, Finding, NotApplicable, check
from provision.checks._words import listed
from provision.facts.cuda import CudaToolkits
from provision.facts.gpus import Gpus
from provision.facts.metadata import PythonMetadata
from provision.facts.native import NativeBuilds
from provision.facts.packages import PackageEnvironment, Packages
from provision.plan import Cuda


@check("CUD065", ERROR, cause="cudnn-mismatch")
def cudnn_older_than_torch_was_built_with(metadata: PythonMetadata) -> Iterator[Finding]:
    """The installed cuDNN is older than the one torch was built with.

    torch compares the two when cuDNN is first used and stops: "cuDNN version incompatibility". It happens when another
    package pulled an older nvidia-cudnn in. A newer one of the same major is accepted.

    ## Fix
    Install the release that torch names; the package that needs the older one belongs into an environment of its own.

    ## Proof
    CUD-P4: a matrix product and a convolution on the GPU agree with the CPU.
    """
    for environment in metadata.environments:
        for one in environment.unmet:
            wanted = re.search(r"==\s*([\d.]+)", one.requires)
            if one.package != "torch" or not one.name.startswith("nvidia-cudnn") or one.found is None or wanted is None:
                continue
            major_differs = numbers(one.found)[:1] != numbers(wanted[1])[:1]
            if major_differs or older(minor(one.found), minor(wanted[1])):
                yield Finding(
                    f"torch {one.version} in {environment.prefix} was built with {one.name} {wanted[1]}; {one.found} is here",
                    measured={"cudnn": one.found},
                    needed={"cudnn": wanted[1]},
                    fix=(f"{environment.prefix}/bin/python3 -m pip install {one.name}=={wanted[1]}",),
                )


@check("CUD066", WARNING, cause="cuda-toolkit-missing-or-mismatch")
def toolkit_of_another_major(toolkits: CudaToolkits, packages: Packages) -> Iterator[Finding]:
    """The CUDA toolkit that compiles is of another major than the installed torch.

    A torch from pip runs without any toolkit. Packages that are compiled here (flash-attn, deepspeed, vLLM from source) ask
    torch's build tools, which refuse: "The detected CUDA version mismatches the version that was used to compile PyTorch".

    ## Fix
    Point CUDA_HOME at a toolkit of torch's major, or take wheels that are compiled already.

    ## Proof
    None of its own: nothing is compiled on this road. `provision doctor --select CUD066` compares again.
    """
    chosen = next((one for one in toolkits.toolkits if one.path == toolkits.default and one.nvcc), None)
    if chosen is None:
        raise NotApplicable("no toolkit here is set to compile")
    for environment in packages.environments:
        build = environment.torch
        if environment.prefix != packages.in_use or build is None or build.cuda is None:
            continue
        if numbers(build.cuda)[:1] != numbers(chosen.version)[:1]:
            yield Finding(
                f"{chosen.path} is CUDA {chosen.version}; torch {build.version} in {environment.prefix} is for CUDA {build.cuda}",
                measured={"toolkit": chosen.version, "path": chosen.path},
                needed={"cuda": build.cuda},
                fix=(f"export CUDA_HOME=/usr/local/cuda-{build.cuda}", "ls -d /usr/local/cuda-*"),
            )


@check("CUD067", ERROR, cause="bitsandbytes-cuda-setup")
def bitsandbytes_without_library_for_cuda(native: NativeBuilds, packages: Packages) -> Iterator[Finding]:
    """bitsandbytes has no library for the CUDA that torch was built for.

    It looks for one file by torch's CUDA version. Without it, it loads and every 8-bit or 4-bit layer fails: "CUDA Setup
    failed despite GPU being available", "Configured CUDA binary not found".

    ## Fix
    Upgrade bitsandbytes, or install a torch built for a CUDA release that it has.

    ## Proof
    MEM-P3: the container loads the weights in every precision inside its limit.
    """
    builds = {one.prefix: one for one in packages.environments}
    for one in native.environments:
        environment = builds.get(one.prefix)
        torch = environment.torch if environment else None
        if not one.bitsandbytes or torch is None or torch.cuda is None:
            continue
        # From 0.48 on the nearest library of the same major that is not newer is taken.
        same = [
            v for v in one.bitsandbytes_cuda if numbers(v)[:1] == numbers(torch.cuda)[:1] and not older(torch.cuda, v)
        ]
        if minor(torch.cuda) not in one.bitsandbytes_cuda and not same:
            version = dict(environment.packages).get("bitsandbytes", "") if environment else ""
            yield Finding(
                f"bitsandbytes {version} in {one.prefix} has libraries for CUDA {listed(one.bitsandbytes_cuda) or 'none'}; "
                f"torch {torch.version} was built for {torch.cuda}",
                measured={"cuda": list(one.bitsandbytes_cuda)},
                needed={"cuda": torch.cuda},
                fix=(f"{one.prefix}/bin/python3 -m pip install --upgrade bitsandbytes",),
            )


_FLASH = re.compile(r"\+cu(\d{2,3})torch(\d+\.\d+)(?:\.\d+)?cxx11abi(TRUE|FALSE)", re.IGNORECASE)


def _torch_abi(one: PackageEnvironment, native: NativeBuilds) -> bool | None:
    said = next((n.torch_cxx11_abi for n in native.environments if n.prefix == one.prefix), None)
    if said is not None or one.torch is None:
        return said
    # All wheels from 2.7 on are built with the new interface, all up to 2.5 with the old (PyTorch 2.7 release notes).
    return True if not older(one.torch.version, "2.7") else False if older(one.torch.version, "2.6") else None


@check("CUD068", ERROR, cause="python-version-or-abi")
def flash_attn_built_for_another_torch(packages: Packages, native: NativeBuilds) -> Iterator[Finding]:
    """The installed flash-attn was compiled for another torch, CUDA or C++ interface.

    Its wheels say so in their name: `+cu12torch2.6cxx11abiFALSE`. With another torch it fails at import with an "undefined
    symbol" of thousands of letters.

    ## Fix
    Install the wheel whose name fits, or compile it against this torch (`--no-build-isolation`).

    ## Proof
    CUD-P4: a matrix product and a convolution on the GPU agree with the CPU.
    """
    for environment in packages.environments:
        version = dict(environment.packages).get("flash-attn", "")
        made, torch = _FLASH.search(version), environment.torch
        if made is None or torch is None:
            continue
        wrong = []
        if made[2] != minor(torch.version):
            wrong.append(f"torch {made[2]}, not {minor(torch.version)}")
        if torch.cuda is not None and made[1][:2] != str(numbers(torch.cuda)[0]):
            wrong.append(f"CUDA {made[1][:2]}, not {torch.cuda}")
        abi = _torch_abi(environment, native)
        if not wrong and abi is not None and abi != (made[3].upper() == "TRUE"):
            wrong.append(f"the {'new' if made[3].upper() == 'TRUE' else 'old'} C++ interface, not torch's")
        if wrong:
            yield Finding(
                f"flash-attn {version} in {environment.prefix} was compiled for {listed(wrong)}",
                measured={"flash_attn": version, "torch": torch.version},
                needed={"torch": made[2], "cxx11abi": made[3].upper()},
                fix=(
                    f"{environment.prefix}/bin/python3 -m pip install --no-build-isolation --force-reinstall flash-attn",
                ),
            )


@check("CUD069", ERROR, cause="compute-capability-feature")
def package_has_no_kernels_for_gpu(packages: Packages, gpus: Gpus) -> Iterator[Finding]:
    """An installed package has no code for the GPU's generation.

    The package imports, and fails at its first call: "FlashAttention only supports Ampere GPUs or newer", "no kernel image is
    available". Recent releases leave old generations out.

    ## Fix
    Use an older release, another attention backend (`--attention-backend`, `attn_implementation="sdpa"`), or another card.

    ## Proof
    CUD-P5: the card's architecture is among those the build was compiled for.
    """
    for environment in packages.environments:
        here = dict(environment.packages)
        for row in hardware.floors():
            version = here.get(row.package)
            if (
                version is None
                or older(version, row.first)
                or (row.last and older(row.last, version))
                or "+cpu" in version
            ):
                continue
            known = {g.compute_capability for g in gpus.gpus if g.compute_capability is not None}
            below = sorted(capability for capability in known if older(capability, row.least))
            if below:
                cards = listed(sorted({g.name for g in gpus.gpus if g.compute_capability in below}))
                yield Finding(
                    f"{row.package} {version} in {environment.prefix} has code from compute capability {row.least} on; "
                    f"{cards} is {listed(below)}",
                    measured={"compute_capability": below, "package": f"{row.package} {version}"},
                    needed={"compute_capability": row.least},
                    fix=(f"{environment.prefix}/bin/python3 -m pip uninstall {row.package}   # or an older release",),
                )


@check("CUD070", ERROR, cause="torch-arch-unsupported")
def gpus_without_a_lock(plan: Cuda) -> Iterator[Finding]:
    """No lock of this tool runs on the GPUs here.

    Every lock was made for some generations of GPUs and one Python in the image. Where none fits, the container is built for
    the CPU: its proofs hold, and they say nothing of the GPUs. What each lock lacks stands in the plan's reasons. A driver
    that is too old for every lock is CUD005's.

    ## Fix
    What the plan names as the way out. If the cards are not meant for this machine, write `accelerator = "cpu"` into
    provision.toml.

    ## Proof
    CUD-P2: every parameter of the model is on the GPU.
    """
    if plan.way_out and not plan.wanted:
        yield Finding(
            f"no lock runs on the GPUs here: {'; '.join(one for one in plan.reasons if ' is out: ' in one)}",
            measured={"accelerator": plan.accelerator},
            needed={"device": "cuda"},
            fix=plan.way_out,
        )
