"""Compiled parts of Python packages, by the names of their files: which CUDA and which binary interface they are for."""

from __future__ import annotations

import posixpath
import re

from provision.fact import Absent, NotKnown, fact, probe
from provision.facts.packages import Packages
from provision.facts.reading import text
from provision.host import Host, or_none
from provision.record import record


@record
class NativeBuild:
    prefix: str
    torch_cxx11_abi: bool | None  # torch was built with the C++11 binary interface; None: it does not say
    bitsandbytes_cuda: tuple[
        str, ...
    ]  # CUDA releases it has a library for: "11.8", "12.6"; empty: not installed, or none
    bitsandbytes: bool  # its folder is there


@fact
class NativeBuilds:
    environments: tuple[NativeBuild, ...]  # one for each environment with packages that run models


@record
class PipFile:
    path: str
    break_system_packages: bool
    extra_indexes: int  # how many; no address is kept
    trusted_hosts: int


@fact
class PipSettings:
    """Absent where pip has no settings."""

    files: tuple[PipFile, ...]  # sorted by path; "environment" stands for PIP_* variables


@fact
class Preloaded:
    """What LD_PRELOAD asks the loader to put before everything. Absent where it is not set."""

    there: tuple[str, ...]
    lacking: tuple[str, ...]  # named with a path, and no such file


@fact
class EnvironmentLinks:
    """Virtual environments and the Python that each was made from."""

    whole: tuple[str, ...]
    broken: tuple[str, ...]  # prefixes whose bin/python3 leads nowhere: that Python was removed or replaced


@probe
def native_builds(host: Host, packages: Packages) -> NativeBuilds:
    """Which CUDA releases bitsandbytes has a library for, and torch's C++ binary interface.

    Sources: ``bitsandbytes/libbitsandbytes_cuda*.so``, ``torch/share/cmake/Torch/TorchConfig.cmake``.
    """
    found = []
    for one in packages.environments:
        folders = [f for f in packages.looked_in if f"{f}/".startswith(f"{one.prefix}/")]
        flags = "".join(text(host, f"{folder}/torch/share/cmake/Torch/TorchConfig.cmake") or "" for folder in folders)
        abi = re.search(r"_GLIBCXX_USE_CXX11_ABI=([01])", flags)
        libraries = [p for f in folders for p in host.glob(f"{f}/bitsandbytes/libbitsandbytes_cuda*.so")]
        digits = {re.sub(r"\D", "", posixpath.basename(path).split("cuda", 1)[1]) for path in libraries}
        found.append(
            NativeBuild(
                prefix=one.prefix,
                torch_cxx11_abi=None if abi is None else abi[1] == "1",
                bitsandbytes_cuda=tuple(sorted(f"{d[:-1]}.{d[-1]}" for d in digits if len(d) > 2)),
                bitsandbytes=any(host.exists(f"{folder}/bitsandbytes") for folder in folders),
            )
        )
    return NativeBuilds(environments=tuple(found))


@probe
def pip_settings(host: Host) -> PipSettings:
    """Settings that let pip change the system's own Python, or take packages from more than one place.

    Sources: ``/etc/pip.conf``, ``~/.config/pip/pip.conf``, ``~/.pip/pip.conf``, ``PIP_*`` (pip, "Configuration"). No
    address is kept: it may hold a password.
    """
    home = or_none(host.env, "HOME") or "/root"
    found = []
    for path in ("/etc/pip.conf", f"{home}/.config/pip/pip.conf", f"{home}/.pip/pip.conf"):
        said = text(host, path)
        if said is not None:
            found.append(_pip_file(path, said))
    names = {"PIP_BREAK_SYSTEM_PACKAGES", "PIP_EXTRA_INDEX_URL", "PIP_TRUSTED_HOST"}
    values = {name: or_none(host.env, name) for name in sorted(names) if name in host.env_names("PIP_*")}
    if any(values.values()):
        lines = "\n".join(f"{n.removeprefix('PIP_').lower().replace('_', '-')} = {v}" for n, v in values.items() if v)
        found.append(_pip_file("environment", lines))
    if not found:
        raise Absent("pip has no settings here")
    return PipSettings(files=tuple(sorted(found, key=lambda one: one.path)))


def _pip_file(path: str, said: str) -> PipFile:
    values = dict(re.findall(r"^\s*([a-z-]+)\s*[=:]\s*(.*(?:\n[ \t]+\S.*)*)", said, re.MULTILINE))
    return PipFile(
        path=path,
        break_system_packages=values.get("break-system-packages", "").strip().lower() in ("1", "true", "yes", "on"),
        extra_indexes=len(values.get("extra-index-url", "").split()),
        trusted_hosts=len(values.get("trusted-host", "").split()),
    )


@probe
def preloaded(host: Host) -> Preloaded:
    """Libraries that this session puts before every program's own.

    Source: ``LD_PRELOAD`` (ld.so(8): separated by spaces or colons).
    """
    paths = [word for word in re.split(r"[\s:]+", host.env("LD_PRELOAD")) if word]
    if not paths:
        raise Absent("LD_PRELOAD is empty")
    lacking = tuple(path for path in paths if "/" in path and not host.exists(path))
    return Preloaded(there=tuple(path for path in paths if path not in lacking), lacking=lacking)


@probe
def environment_links(host: Host, packages: Packages) -> EnvironmentLinks:
    """Whether the Python behind each virtual environment is still there.

    Source: the link ``bin/python3`` of each environment.
    """
    prefixes = sorted({one.prefix for one in packages.environments if one.kind == "venv"})
    if not prefixes:
        raise Absent("no virtual environment with packages that run models is here")
    links = {p: or_none(host.link, f"{p}/bin/python3", reasons=NotKnown) for p in prefixes}
    broken = [p for p, link in links.items() if link is not None and not host.exists(host.real(f"{p}/bin/python3"))]
    return EnvironmentLinks(whole=tuple(p for p in prefixes if p not in broken), broken=tuple(broken))
