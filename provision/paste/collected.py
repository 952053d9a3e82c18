"""The environment reports of PyTorch, vLLM, SGLang, transformers and accelerate: a list of "key: value" lines."""

from __future__ import annotations

import re
from collections.abc import Callable

from provision.paste.draft import Draft

MARK = (
    r"\s*(?:Collecting environment information|=*\s*System Info\s*$|(?:- )?PyTorch(?: version(?: \(GPU\?\))?)?\s*: ?\S|"
    r"Is debug build\s*:|(?:CUDA|ROCM) used to build PyTorch\s*:|(?:Is )?CUDA available\s*:|CUDA runtime version\s*:|"
    r"Libc version\s*:|Python platform\s*:|(?:- )?Python(?: version)?\s*: \d|GPU models and configuration\s*:|"
    r"OS\s*: \S|(?:Nvidia driver|CUDA Driver|cuDNN|vLLM) [vV]ersion\s*:|Versions of relevant libraries\s*:|"
    r"\[(?:pip3?|conda)\] |GPU \d+(?:,\d+)*(?: Compute Capability)?: |NVCC: |- `?\w+`? version: )"
)
_KEY = re.compile(r"\s*(?:- )?`?([A-Za-z][\w /.()?`-]*?)\s*:(?: +(.*)|$)")
_GPU = re.compile(r"\s*GPU ([\d,]+)( Compute Capability)?: *(.*?)(?: \(UUID: [^)]*\))?$")
_PACKAGE = re.compile(r"\s*\[(pip3?|conda)\] ([A-Za-z0-9][\w.-]*)(?:==|\s+)(\d\S*)(?:\s+(\S+))?")
_VERSION = re.compile(r"v?(\d[\w.+!-]*)")
_PLAIN_FIELDS = {
    "python": "python_version",
    "python version": "python_version",
    "cuda runtime version": "toolkit_version",
    "nvidia driver version": "driver_version",
    "cuda driver version": "driver_version",
    "rocm used to build pytorch": "torch_hip",
}
_PLATFORM = re.compile(r"Linux-(.+?)(?:-(x86_64|aarch64|ppc64le))?(?:-with-(?:glibc([\d.]+))?.*)?$")


def parse(lines: list[str], draft: Draft) -> None:
    """A report, or a part of one."""
    key = ""
    for line in lines:
        if found := _GPU.match(line):
            _gpu(found, draft)
        elif found := _PACKAGE.match(line):
            _package(found, draft)
        elif found := _KEY.match(line):
            key = found[1].lower().replace("`", "")
            _statement(key, (found[2] or "").strip(), draft)
        elif key == "cudnn version" and (found := re.search(r"libcudnn\w*\.so\.(\d+(?:\.\d+)+)", line)):
            draft.say("cudnn_version", found[1])


def _gpu(found: re.Match[str], draft: Draft) -> None:
    for index in (int(part) for part in found[1].split(",") if part.isdigit() and len(part) < 4):
        draft.gpu(index, **{"compute_capability" if found[2] else "name": found[3].strip() or None})


def _package(found: re.Match[str], draft: Draft) -> None:
    name, version = found[2], found[3]
    draft.package(name, version)
    if found[1] == "conda" and name == "pytorch":
        conda_torch(version, found[4] or "", draft)


def conda_torch(version: str, build: str, draft: Draft) -> None:
    """torch from a conda channel, whose build string says what it was built for ("py3.10_cuda12.1_cudnn8.9.2_0")."""
    draft.say("torch_version", version)
    if named := re.search(r"cuda_?(\d+)\.(\d+)|cuda(\d\d)(\d)", build):
        draft.say("torch_cuda", f"{named[1]}.{named[2]}" if named[1] else f"{named[3]}.{named[4]}")
    elif re.search(r"(?:^|_)cpu(?:_|$)", build):
        draft.say("torch_without_cuda", True)


def _statement(key: str, value: str, draft: Draft) -> None:
    version = _VERSION.match(value)
    if key in _PLAIN_FIELDS:
        draft.say(_PLAIN_FIELDS[key], version[1] if version else None)
    elif key in _READERS:
        _READERS[key](value, draft)
    else:
        _other(key, value, version, draft)


def _torch(value: str, draft: Draft) -> None:
    if version := _VERSION.match(value):
        draft.torch(version[1])


def _built_for(value: str, draft: Draft) -> None:
    """torch.version.cuda as collect_env prints it: None is a build without CUDA (or one for ROCm)."""
    version = _VERSION.match(value)
    draft.say("torch_cuda", version[1] if version else None)
    draft.say("torch_without_cuda", True if value == "None" else None)


def _system(value: str, draft: Draft) -> None:
    architecture = re.search(r"\((x86_64|aarch64|ppc64le)\)\s*$", value)
    draft.say("architecture", architecture[1] if architecture else None)
    draft.say("os_name", value[: architecture.start()] if architecture else value)


def _platform(value: str, draft: Draft) -> None:
    if found := _PLATFORM.match(value):
        draft.say("kernel", found[1])
        draft.say("architecture", found[2])
        draft.say("glibc", found[3])


def _glibc(value: str, draft: Draft) -> None:
    draft.say("glibc", value.removeprefix("glibc-") if value.startswith("glibc-") else None)


def _available(value: str, draft: Draft) -> None:
    draft.say("cuda_available", {"true": True, "false": False}.get(value.lower()))


def _cudnn(value: str, draft: Draft) -> None:
    found = re.search(r"\.so\.(\d+(?:\.\d+)+)|^(\d+(?:\.\d+)*)$", value)
    draft.say("cudnn_version", (found[1] or found[2]) if found else None)


def _only_gpu(value: str, draft: Draft) -> None:
    """ "No CUDA" is collect_env's word where torch sees no GPU and neither nvidia-smi nor the driver could be asked."""
    found = _GPU.match(value)
    if found:  # a single card stands on the key's own line
        _gpu(found, draft)
    elif value and not value.lower().startswith(("could not", "n/a", "no cuda")):
        draft.gpu(0, name=value)
    draft.say("no_gpu_seen", True if value.lower() == "no cuda" else None)


def _compiler(value: str, draft: Draft) -> None:
    found = re.search(r"release (\d+\.\d+)", value)
    draft.say("toolkit_version", found[1] if found else None)


_READERS: dict[str, Callable[[str, Draft], None]] = {
    "cuda available": _available,
    "cuda used to build pytorch": _built_for,
    "cudnn version": _cudnn,
    "gpu models and configuration": _only_gpu,
    "gpu type": _only_gpu,
    "is cuda available": _available,
    "libc version": _glibc,
    "nvcc": _compiler,
    "os": _system,
    "platform": _platform,
    "python platform": _platform,
    "pytorch": _torch,
    "pytorch version": _torch,
    "pytorch version (gpu?)": _torch,
}


def _other(key: str, value: str, version: re.Match[str] | None, draft: Draft) -> None:
    """A package by its bare name, as SGLang and transformers list them: "flashinfer: 0.2.0", "transformers version: 4.40"."""
    name = key.removesuffix(" version")
    if (
        version
        and version.end() == len(value.partition(" ")[0])
        and re.fullmatch(r"[a-z][\w.-]*", name)
        and "." in value
    ):
        draft.package(name, version[1])
