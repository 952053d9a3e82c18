"""Which copy of every library wins when torch is loaded, and why: the loader's own search, done without loading.

Source: ld.so(8), "the dynamic linker resolves the library's dependencies in the following order", and glibc's
elf/dl-load.c: an object with DT_RUNPATH ignores every DT_RPATH, its own and its loaders'.
"""

from __future__ import annotations

import dataclasses
import posixpath
import re
from collections.abc import Iterator

from provision.fact import Absent, Missing, NotKnown, fact, probe
from provision.facts import libraries
from provision.facts.packages import Packages
from provision.host import Host, or_none
from provision.record import record

_ENVIRONMENTS = 2
_MOST = 160  # libraries in one search: torch's CUDA build loads about 60
_SUBLIBRARIES = (
    "ops",
    "cnn",
    "adv",
    "graph",
    "engines_precompiled",
    "heuristic",
    "ops_infer",
    "cnn_infer",
    "adv_infer",
)
_SHOWN = re.compile(
    r"lib(cublas|cublasLt|cudart|cudnn\w*|cufft|curand|cusolver|cusparse|nccl|nvJitLink|nvrtc|stdc\+\+|cuda)\.so"
)
_COMPONENT = {  # the name of NVIDIA's pip package behind a library's
    "cublas": "cublas", "cublasLt": "cublas", "cudart": "cuda_runtime", "cufft": "cufft", "curand": "curand", "nccl": "nccl",
    "cusolver": "cusolver", "cusparse": "cusparse", "nvJitLink": "nvjitlink", "nvrtc": "cuda_nvrtc",
}  # fmt: skip
_EXTENSIONS = (
    "flash_attn_2_cuda*.so", "vllm/_C*.so", "vllm/_moe_C*.so", "xformers/_C*.so", "torchvision/_C*.so", "torchvision/image.so",
    "sgl_kernel/common_ops*.so", "deepspeed/ops/*/*.so", "bitsandbytes/libbitsandbytes_cpu.so", "llama_cpp/lib/libllama.so",
)  # fmt: skip


@record
class Linked:
    name: str  # "libnvJitLink.so.12"
    path: str  # the copy that wins, links resolved
    version: str | None  # from its file name, or of the pip package that brought it
    why: str  # "LD_LIBRARY_PATH", "RPATH of libtorch_cuda.so", "RUNPATH of …", "loader's cache", "system folder"
    own_path: str | None  # the copy that would win with LD_LIBRARY_PATH empty; None: none
    own_version: str | None


@record
class Wanting:
    file: str  # below site-packages: "torch/lib/libtorch_cpu.so"
    glibc: str | None  # the newest C library version that it asks for: "2.28"
    cpp: str | None  # the newest GLIBCXX that it asks for: "3.4.22"


@record
class TorchLinkage:
    prefix: str
    linked: tuple[Linked, ...]  # CUDA's libraries and the C++ library, sorted by name
    not_found: tuple[str, ...]  # "libcudnn.so.9 (for libtorch_cuda.so)": nothing on the way holds it
    cpp_offered: str | None  # the newest GLIBCXX of the C++ library that wins: "3.4.30"
    wanting: tuple[Wanting, ...]  # torch's own libraries and compiled extensions, sorted by file


@fact
class Linkage:
    environments: tuple[TorchLinkage, ...]  # those with torch, at most two, the one in use first


@probe
def linkage(host: Host, packages: Packages) -> Linkage:
    """The loader's search for everything that torch links to, with and without LD_LIBRARY_PATH.

    Sources: the dynamic sections of torch's libraries and what they need, ``LD_LIBRARY_PATH``, the loader's cache
    (``ldconfig -p``), ``/etc/ld.so.conf`` through it. Nothing is loaded or run.
    """
    places = [
        (one.prefix, folder)
        for one in packages.environments
        if one.torch is not None
        for folder in packages.looked_in
        if f"{folder}/".startswith(f"{one.prefix}/") and host.exists(f"{folder}/torch/lib")
    ]
    if not places:
        raise Absent("torch is in none of the environments here")
    cached = libraries.cache(host)
    extra = [f for f in (or_none(host.env, "LD_LIBRARY_PATH") or "").split(":") if f.startswith("/")]
    return Linkage(
        environments=tuple(_of(host, prefix, site, cached, extra) for prefix, site in places[:_ENVIRONMENTS])
    )


@record
class _Object:
    path: str
    why: str
    loader: _Object | None  # who asked for it first


@dataclasses.dataclass(slots=True)
class _Loader:
    """One process's search; ``extra`` is its LD_LIBRARY_PATH."""

    host: Host
    cached: dict[str, list[str]]
    extra: list[str]
    read: dict[str, dict[str, list[str]] | None]  # path to its dynamic section, shared by both searches
    loaded: dict[str, _Object] = dataclasses.field(default_factory=dict)
    not_found: dict[str, str] = dataclasses.field(default_factory=dict)

    def section(self, path: str) -> dict[str, list[str]]:
        if path not in self.read:
            self.read[path] = or_none(self.host.elf, path, reasons=NotKnown)
        return self.read[path] or {}

    def load(self, start: str) -> None:
        waiting = [_Object(path=start, why="torch itself", loader=None)]
        self.loaded.setdefault(posixpath.basename(start), waiting[0])
        while waiting and len(self.loaded) < _MOST:
            one = waiting.pop(0)
            for name in (*self.section(one.path).get("needed", ()), *self._later(one)):
                if name in self.loaded or name in self.not_found or name.startswith("ld-linux"):
                    continue
                found = self._search(name, one)
                if found is None:
                    self.not_found[name] = posixpath.basename(one.path)
                    continue
                self.loaded[name] = found
                waiting.append(found)

    def _later(self, one: _Object) -> Iterator[str]:
        """cuDNN opens its parts itself, by these names, when they are first used."""
        front = re.fullmatch(r"libcudnn\.so\.(\d+)", posixpath.basename(one.path))
        if front:
            folder = posixpath.dirname(one.path)
            for part in _SUBLIBRARIES:
                name = f"libcudnn_{part}.so.{front[1]}"
                if self.host.exists(f"{folder}/{name}"):
                    yield name

    def _search(self, name: str, asking: _Object) -> _Object | None:
        for folder, why in self._folders(asking):
            path = f"{folder}/{name}"
            if self.host.exists(path) and self.section(path):
                return _Object(path=path, why=why, loader=asking)
        for path in self.cached.get(name, ()):
            return _Object(path=path, why="loader's cache", loader=asking)
        for folder in libraries.FOLDERS[:2] + libraries.FOLDERS[4:6]:
            if self.host.exists(f"{folder}/{name}"):
                return _Object(path=f"{folder}/{name}", why="system folder", loader=asking)
        return None

    def _folders(self, asking: _Object) -> Iterator[tuple[str, str]]:
        runpath = self.section(asking.path).get("runpath", [])
        if not runpath:
            one: _Object | None = asking
            while one is not None:
                section = self.section(one.path)
                for folder in () if section.get("runpath") else section.get("rpath", ()):
                    yield _expanded(folder, one.path), f"RPATH of {posixpath.basename(one.path)}"
                one = one.loader
        for folder in self.extra:
            yield folder.rstrip("/") or "/", "LD_LIBRARY_PATH"
        for folder in runpath:
            yield _expanded(folder, asking.path), f"RUNPATH of {posixpath.basename(asking.path)}"


def _expanded(folder: str, path: str) -> str:
    return posixpath.normpath(re.sub(r"\$(ORIGIN|\{ORIGIN\})", posixpath.dirname(path), folder))


def _of(host: Host, prefix: str, site: str, cached: dict[str, list[str]], extra: list[str]) -> TorchLinkage:
    read: dict[str, dict[str, list[str]] | None] = {}
    starts = [
        path
        for path in (f"{site}/torch/lib/libtorch_global_deps.so", f"{site}/torch/lib/libtorch_python.so")
        if host.exists(path)
    ]
    if not starts:
        raise Missing(f"{site}/torch/lib holds none of the libraries that torch begins with")
    with_path, without = _Loader(host, cached, extra, read), _Loader(host, cached, [], read)
    for loader in (with_path, without):
        for start in starts:
            loader.load(start)
    linked = []
    for name, one in sorted(with_path.loaded.items()):
        if _SHOWN.match(name):
            own = without.loaded.get(name)
            linked.append(
                Linked(
                    name=name,
                    path=host.real(one.path),
                    version=_version(host, name, one.path),
                    why=one.why,
                    own_path=host.real(own.path) if own else None,
                    own_version=_version(host, name, own.path) if own else None,
                )
            )
    cpp = with_path.loaded.get("libstdc++.so.6")
    missing = sorted(f"{name} (for {who})" for name, who in with_path.not_found.items())
    return TorchLinkage(
        prefix=prefix,
        linked=tuple(linked),
        not_found=tuple(missing),
        cpp_offered=_newest(with_path.section(cpp.path).get("offers", []), "GLIBCXX_") if cpp else None,
        wanting=tuple(_wanting(host, site)),
    )


def _version(host: Host, name: str, path: str) -> str | None:
    version = libraries.version_of(host.real(path))
    if version is not None or "/site-packages/" not in path:
        return version
    word = re.match(r"lib(\w+?)(?:_\w+)?\.so", name)
    component = _COMPONENT.get(word[1], word[1]) if word else ""
    site = path[: path.index("/site-packages/") + len("/site-packages")]
    brought = host.glob(f"{site}/nvidia_{component}*.dist-info")
    return posixpath.basename(brought[-1]).removesuffix(".dist-info").rsplit("-", 1)[1] if brought else None


def _wanting(host: Host, site: str) -> Iterator[Wanting]:
    own = [f"{site}/torch/lib/{name}" for name in ("libc10.so", "libtorch_cpu.so", "libtorch_python.so")]
    more = [path for pattern in _EXTENSIONS for path in host.glob(f"{site}/{pattern}")]
    for path in sorted({*own, *more}):
        section = or_none(host.elf, path, reasons=NotKnown)
        if section is not None:
            wants: dict[str, list[str]] = section.get("wants", {})
            every = [version for versions in wants.values() for version in versions]
            yield Wanting(
                file=path.removeprefix(f"{site}/"), glibc=_newest(every, "GLIBC_"), cpp=_newest(every, "GLIBCXX_")
            )


def _newest(names: list[str], prefix: str) -> str | None:
    found = [n.removeprefix(prefix) for n in names if re.fullmatch(rf"{prefix}\d+(\.\d+)*", n)]
    return max(found, key=lambda version: [int(part) for part in version.split(".")], default=None)
