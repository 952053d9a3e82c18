"""CUDA on disk: toolkits, and every copy of libcuda and cuDNN that a process could pick up."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from provision.fact import fact


@dataclass(frozen=True, kw_only=True, slots=True)
class CudaToolkit:
    path: str  # the real folder, "/usr/local/cuda-12.4"
    version: str  # "12.4.1" from version.json, "12.4" from cuda.h
    nvcc: bool  # has the compiler


@fact
class CudaToolkits:
    toolkits: tuple[CudaToolkit, ...]  # at least one, sorted by path
    default: str | None  # the path that CUDA_HOME, CUDA_PATH or /usr/local/cuda names, first of these


@dataclass(frozen=True, kw_only=True, slots=True)
class LibraryCopy:
    path: str
    version: str | None  # from the file name, the link's target or the package that brought it
    source: Literal["LD_LIBRARY_PATH", "ldconfig", "folder", "site-packages"]  # how the loader comes to it


@fact
class CudaLibraries:
    """Copies in the order the loader prefers: LD_LIBRARY_PATH, the ldconfig cache, then what only a search finds."""

    libcuda: tuple[LibraryCopy, ...]
    cudnn: tuple[LibraryCopy, ...]
