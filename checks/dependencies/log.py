"""What a log says of containers, the C library, Python packages and ports."""

from __future__ import annotations

from collections.abc import Iterator

from provision.check import ERROR, Finding, check
from provision.checks._log import said
from provision.checks._pasted import MaybeStated
from provision.facts.symptoms import Symptoms


@check("DEP100", ERROR, cause="container-gpu-runtime-missing")
def log_says_no_gpu_runtime(symptoms: Symptoms, stated: MaybeStated) -> Iterator[Finding]:
    """A log says that containers have no way to the GPUs.

    The engine needs NVIDIA's container toolkit, told to it in its settings or by a CDI specification.

    ## Fix
    Install the toolkit, configure the engine, restart it.

    ## Proof
    DEP-P1; `provision doctor --select DEP100` reads a new log.
    """
    yield from said(
        symptoms,
        stated,
        "container-gpu-runtime-missing",
        (
            "nvidia-ctk runtime configure --runtime=docker && systemctl restart docker",
            "nvidia-ctk cdi list",
        ),
        ("ls -l /dev/nvidia*; id",),
    )


@check("DEP101", ERROR, cause="container-lost-gpu-cgroup")
def log_says_container_lost_gpu(symptoms: Symptoms, stated: MaybeStated) -> Iterator[Finding]:
    """A log says that a container lost its GPUs.

    systemd rewrites the device rules of every container when its units are reloaded. Devices that a hook added are
    not in its list.

    ## Fix
    Give devices by CDI or by --device, or let the engine manage control groups itself. Make the container anew.

    ## Proof
    DEP-P1; `provision doctor --select DEP101` reads a new log.
    """
    yield from said(
        symptoms,
        stated,
        "container-lost-gpu-cgroup",
        (
            "docker run --device nvidia.com/gpu=all …",
            "docker info | grep -i cgroup",
        ),
        ("ls -Z /dev/nvidia*; getenforce   # SELinux",),
    )


@check("DEP102", ERROR, cause="glibc-or-manylinux-too-old")
def log_says_c_library_too_old(symptoms: Symptoms, stated: MaybeStated) -> Iterator[Finding]:
    """A log says that the C or C++ library is too old.

    Binaries name the oldest C library that they run with. It comes with the distribution and cannot be replaced
    alone.

    ## Fix
    Use a newer distribution or its container, or an older build.

    ## Proof
    DEP-P1; `provision doctor --select DEP102` reads a new log.
    """
    yield from said(
        symptoms,
        stated,
        "glibc-or-manylinux-too-old",
        (
            "ldd --version",
            "run it in a container of a newer distribution",
        ),
        ("ldd --version; strings libstdc++.so.6 | grep GLIBCXX | tail -1",),
    )


@check("DEP103", ERROR, cause="dependency-conflict")
def log_says_packages_conflict(symptoms: Symptoms, stated: MaybeStated) -> Iterator[Finding]:
    """A log says that Python packages do not fit each other.

    Extensions are compiled against one torch and one numpy; pure packages call each other's names. One that was
    replaced alone leaves the rest behind.

    ## Fix
    Install the set together, from one lock, in a fresh environment.

    ## Proof
    DEP-P1; `provision doctor --select DEP103` reads a new log.
    """
    yield from said(
        symptoms,
        stated,
        "dependency-conflict",
        (
            "python3 -m pip check",
            "reinstall torch and what is built against it together, in a fresh environment",
        ),
        ("python3 -m pip list | grep -i -e nvidia -e torch",),
    )


@check("DEP104", ERROR, cause="python-version-or-abi")
def log_says_python_unfit(symptoms: Symptoms, stated: MaybeStated) -> Iterator[Finding]:
    """A log says that this Python does not fit.

    Packages state the Pythons they run on, and compiled ones are built for a single one.

    ## Fix
    Use a Python that the package supports.

    ## Proof
    DEP-P1; `provision doctor --select DEP104` reads a new log.
    """
    yield from said(symptoms, stated, "python-version-or-abi", ("python3 --version; uv venv --python 3.11",))


@check("DEP105", ERROR, cause="cpu-isa-missing")
def log_says_instructions_lacking(symptoms: Symptoms, stated: MaybeStated) -> Iterator[Finding]:
    """A log says that the processor lacks instructions.

    Binaries compiled for AVX2, AVX-512 or x86-64-v3 end with an illegal instruction on an older processor or in a
    virtual machine that hides them.

    ## Fix
    Use a build for the older level, or let the hypervisor show the host's processor.

    ## Proof
    DEP-P1; `provision doctor --select DEP105` reads a new log.
    """
    yield from said(
        symptoms,
        stated,
        "cpu-isa-missing",
        (
            "lscpu | grep -o -w -e avx -e avx2 -e avx512f | sort -u",
            "in a VM: CPU type host",
        ),
    )


@check("DEP106", ERROR, cause="port-in-use")
def log_says_port_taken(symptoms: Symptoms, stated: MaybeStated) -> Iterator[Finding]:
    """A log says that a port is taken.

    Another server, or an earlier run that did not end, listens there. Engines also open ports between their own
    processes.

    ## Fix
    End what listens, or choose another port.

    ## Proof
    DEP-P1; `provision doctor --select DEP106` reads a new log.
    """
    yield from said(
        symptoms,
        stated,
        "port-in-use",
        (
            "ss -ltnp | grep PORT",
            "start engines one after another, or give each its own ports",
        ),
    )
