"""CUDA on disk: toolkits, and every copy of libcuda and cuDNN that a process could pick up."""

from __future__ import annotations

import json
import posixpath
import re

from provision.fact import Absent, fact, probe
from provision.facts import libraries
from provision.facts.packages import Packages
from provision.host import Host, or_none
from provision.record import record


@record
class CudaToolkit:
    path: str  # the real folder, "/usr/local/cuda-12.4"
    version: str  # "12.4.1" from version.json, "12.4" from cuda.h
    nvcc: bool  # has the compiler


@fact
class CudaToolkits:
    toolkits: tuple[CudaToolkit, ...]  # at least one, sorted by path
    default: str | None  # the one that CUDA_HOME, CUDA_PATH or /usr/local/cuda names, the first of these that is set


@record
class LibraryCopy:
    path: str
    version: str | None  # from the file name, the link's target or the package that brought it
    source: libraries.Source  # how the loader comes to it


@fact
class CudaLibraries:
    """Copies in the order the loader prefers: LD_LIBRARY_PATH, the ldconfig cache, then what only a search finds."""

    libcuda: tuple[LibraryCopy, ...]
    cudnn: tuple[LibraryCopy, ...]


@probe
def cuda_toolkits(host: Host) -> CudaToolkits:
    """CUDA toolkits on disk. A pip-installed torch needs none of them.

    Sources: ``version.json``, ``version.txt`` or ``include/cuda.h`` under ``/usr/local/cuda*``, ``/opt/cuda``,
    ``/usr/lib/cuda`` (Debian's own) and the folders that ``CUDA_HOME`` and ``CUDA_PATH`` name.
    """
    named = [or_none(host.env, name) for name in ("CUDA_HOME", "CUDA_PATH")]
    chosen = [host.real(path) for path in (*named, "/usr/local/cuda") if path]
    folders = {*chosen, *(host.real(p) for p in (*host.glob("/usr/local/cuda*"), "/opt/cuda", "/usr/lib/cuda"))}
    toolkits = []
    for folder in sorted(folders):
        version = _toolkit_version(host, folder)
        if version is not None:
            toolkits.append(CudaToolkit(path=folder, version=version, nvcc=host.exists(f"{folder}/bin/nvcc")))
    if not toolkits:
        raise Absent("no CUDA toolkit is installed")
    paths = [toolkit.path for toolkit in toolkits]
    return CudaToolkits(toolkits=tuple(toolkits), default=next((path for path in chosen if path in paths), None))


def _toolkit_version(host: Host, folder: str) -> str | None:
    text = or_none(host.read, f"{folder}/version.json")  # since CUDA 11.1
    if text is not None:
        return _version_in_json(text)
    text = or_none(host.read, f"{folder}/version.txt")  # until CUDA 11.0
    found = re.search(r"CUDA Version ([\d.]+)", text or "")
    if found:
        return found[1]
    for header in (f"{folder}/include/cuda.h", "/usr/include/cuda.h" if folder == "/usr/lib/cuda" else ""):
        found = re.search(r"^#define CUDA_VERSION (\d+)", (or_none(host.read, header) if header else "") or "", re.M)
        if found:
            return f"{int(found[1]) // 1000}.{int(found[1]) % 1000 // 10}"
    return None


def _version_in_json(text: str) -> str | None:
    """``{"cuda": {"name": "CUDA SDK", "version": "12.4.1"}, …}``"""
    try:
        return str(json.loads(text)["cuda"]["version"])
    except (ValueError, KeyError, TypeError):
        return None


@probe
def cuda_libraries(host: Host, packages: Packages | Absent) -> CudaLibraries:
    """Every copy of libcuda and cuDNN that a process here could load.

    Sources: ``LD_LIBRARY_PATH``, the loader's cache (``ldconfig -p``), the usual folders with the toolkits' own and
    their ``compat`` and ``stubs``, and ``nvidia/cudnn/lib`` and ``torch/lib`` in the site-packages of ``Packages``.
    """
    toolkits = tuple(
        folder
        for pattern in ("/usr/local/cuda*/lib64", "/usr/local/cuda*/compat", "/usr/local/cuda*/lib64/stubs")
        for folder in host.glob(pattern)
    )
    sonames = tuple(f"libcudnn.so.{major}" for major in (7, 8, 9, 10))
    cudnn = [_copy(copy) for copy in libraries.system_copies(host, sonames, toolkits)]
    cudnn += _in_site_packages(host, packages.looked_in if isinstance(packages, Packages) else ())
    libcuda = [_copy(copy) for copy in libraries.system_copies(host, ("libcuda.so.1", "libcuda.so"), toolkits)]
    if not cudnn and not libcuda:
        raise Absent("no copy of libcuda or cuDNN is installed")
    return CudaLibraries(libcuda=tuple(libcuda), cudnn=tuple(cudnn))


def _copy(copy: libraries.Copy) -> LibraryCopy:
    return LibraryCopy(path=copy.path, version=copy.version, source=copy.source)


def _in_site_packages(host: Host, folders: tuple[str, ...]) -> list[LibraryCopy]:
    copies = []
    for folder in folders:
        brought = host.glob(f"{folder}/nvidia_cudnn_cu*.dist-info")
        version = posixpath.basename(brought[-1]).removesuffix(".dist-info").split("-")[1] if brought else None
        for path in host.glob(f"{folder}/nvidia/cudnn/lib/libcudnn.so.*"):
            copies.append(LibraryCopy(path=path, version=version, source="site-packages"))
        for path in host.glob(f"{folder}/torch/lib/libcudnn.so.*"):  # torch before 2.0 brought its own
            copies.append(LibraryCopy(path=path, version=libraries.version_of(path), source="site-packages"))
    return copies
