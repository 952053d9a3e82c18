"""Folders that models, compiled kernels and temporary files go to, as the asking session would choose them."""

from __future__ import annotations

import posixpath
from collections.abc import Iterator
from typing import Literal

from provision.fact import Absent, Missing, fact, probe
from provision.facts.disks import Mount, Mounts
from provision.host import Host, or_none
from provision.record import record

Purpose = Literal["models", "compiled", "temporary"]


@record
class CacheFolder:
    path: str  # links resolved
    purpose: Purpose
    named_by: str  # the variable that names it, or "default"
    there: bool  # it exists; otherwise all else is about the nearest folder above it that does
    writable: bool | None  # by this process; None: see unknown
    mode: int | None  # permission bits
    mount_point: str
    unknown: str  # why it could not be looked at; empty where it could


@fact
class CacheFolders:
    """Those that are there, or that a variable names. Absent where there is none."""

    folders: tuple[CacheFolder, ...]  # sorted by path


_NAMED: tuple[
    tuple[Purpose, tuple[str, ...], str], ...
] = (  # variables in the order they win, and the default below home
    ("models", ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "TRANSFORMERS_CACHE"), ""),
    ("models", ("HF_HOME",), ".cache/huggingface"),
    ("models", ("OLLAMA_MODELS",), ".ollama/models"),
    ("models", ("MODELSCOPE_CACHE",), ".cache/modelscope"),
    ("models", ("LLAMA_CACHE",), ".cache/llama.cpp"),
    ("models", ("TORCH_HOME",), ".cache/torch"),
    ("compiled", ("VLLM_CACHE_ROOT",), ".cache/vllm"),
    ("compiled", ("TRITON_CACHE_DIR",), ".triton/cache"),
    ("compiled", ("TORCHINDUCTOR_CACHE_DIR",), ""),
    ("compiled", ("TORCH_EXTENSIONS_DIR",), ".cache/torch_extensions"),
    ("compiled", ("XDG_CACHE_HOME",), ".cache"),
    ("temporary", ("TMPDIR",), "/tmp"),  # noqa: S108 (looked at, not written to)
)
_USUAL = ("/models", "/data/models", "/mnt/models", "/opt/models", "/srv/models", "/usr/share/ollama/.ollama/models")


@probe
def cache_folders(host: Host, mounts: Mounts) -> CacheFolders:
    """Where this session's models and caches lie, and whether it may write there.

    Sources: the variables that the libraries read (huggingface_hub, torch, triton, vLLM, Ollama, ModelScope, llama.cpp),
    their defaults below ``HOME``, the usual model folders; ``stat``. A folder on a file system that does not answer is
    not touched.
    """
    found: dict[str, CacheFolder] = {}
    for purpose, path, named_by in _wanted(host):
        mount = _mount_of(path, mounts)
        if mount is None:
            continue
        if mount.unreachable is not None:
            said = f"{mount.mount_point} does not answer: {mount.unreachable}"
            found.setdefault(path, _folder(path, purpose, named_by, mount, said))
            continue
        real = host.real(path)
        mount = _mount_of(real, mounts) or mount
        if named_by == "default" and not host.exists(real):
            continue
        found.setdefault(real, _looked(host, real, purpose, named_by, mount))
    if not found:
        raise Absent("no folder of models or caches is here")
    return CacheFolders(folders=tuple(folder for _, folder in sorted(found.items())))


def _wanted(host: Host) -> Iterator[tuple[Purpose, str, str]]:
    home = or_none(host.env, "HOME") or "/root"
    for purpose, names, below in _NAMED:
        said = next(((name, value) for name in names if (value := or_none(host.env, name))), None)
        if said is not None:
            path = f"{home}{said[1][1:]}" if said[1].startswith("~") else said[1]
            if path.startswith("/"):
                yield purpose, path.rstrip("/") or "/", said[0]
        elif below:
            yield purpose, below if below.startswith("/") else f"{home}/{below}", "default"
    for path in _USUAL:
        yield "models", path, "default"


def _looked(host: Host, path: str, purpose: Purpose, named_by: str, mount: Mount) -> CacheFolder:
    at = path
    while True:
        try:
            found = host.status(at)
        except Absent:
            if at in ("/", ""):
                return _folder(path, purpose, named_by, mount, "nothing above it is there")
            at = posixpath.dirname(at)
            continue
        except Missing as reason:
            return _folder(path, purpose, named_by, mount, reason.reason)
        return CacheFolder(
            path=path,
            purpose=purpose,
            named_by=named_by,
            there=at == path,
            writable=bool(found["writable"]) and bool(found["folder"]),
            mode=found["mode"],
            mount_point=mount.mount_point,
            unknown="",
        )


def _folder(path: str, purpose: Purpose, named_by: str, mount: Mount, unknown: str) -> CacheFolder:
    return CacheFolder(
        path=path, purpose=purpose, named_by=named_by, there=False, writable=None, mode=None,
        mount_point=mount.mount_point, unknown=unknown,
    )  # fmt: skip


def _mount_of(path: str, mounts: Mounts) -> Mount | None:
    holding = [m for m in mounts.mounts if m.mount_point == "/" or f"{path}/".startswith(f"{m.mount_point}/")]
    return max(holding, key=lambda m: len(m.mount_point), default=None)
