"""Python packages that matter to models, by environment, from their metadata: nothing is imported."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator
from typing import Literal

from provision.fact import Absent, fact, probe
from provision.facts.python import Pythons
from provision.host import Host, or_none
from provision.record import record

Kind = Literal["venv", "conda", "system", "user"]
_NAMES = frozenset(
    """
    accelerate apex auto-gptq autoawq awq bitsandbytes causal-conv1d compressed-tensors ctransformers datasets
    deepspeed diffusers exllamav2 fastapi flash-attn flash-attn-3 gguf gradio gptqmodel hf-transfer hf-xet huggingface-hub
    jax jaxlib keras kernels llama-cpp-python llmcompressor lmdeploy mamba-ssm megablocks mlc-llm mooncake-transfer-engine
    numba numpy onnx onnxruntime onnxruntime-gpu optimum outlines peft protobuf pydantic pynvml pytorch-triton ray
    safetensors scipy sentencepiece setuptools sgl-kernel sglang tensorflow tensorflow-cpu tensorflow-gpu tensorrt
    tensorrt-llm tiktoken tilelang tokenizers torch torchao torchaudio torchtext torchvision transformer-engine
    transformers triton unsloth vllm xformers xgrammar
    """.split()  # noqa: SIM905 (a list to be read)
)
_FAMILIES = ("nvidia-", "cupy", "flashinfer", "vllm-", "sgl-", "tensorrt-")
_COMPANIONS = frozenset({"protobuf", "pydantic", "setuptools"})  # said beside others; alone no sign of models
_OWN = frozenset({"nvidia-ml-py"})  # this tool brings it into its own environment


@record
class TorchBuild:
    version: str  # "2.13.0+cpu"
    cuda: str | None  # "12.6": what torch/version.py says it was built for; None: a build without CUDA
    hip: str | None  # ROCm builds: "6.2.41133"


@record
class PackageEnvironment:
    prefix: str
    kind: Kind  # "system": a Python's own packages; "user": pip install --user
    python: str  # "3.11"
    packages: tuple[tuple[str, str], ...]  # (normalised name, version), sorted; only those on the list
    torch: TorchBuild | None


@fact
class Packages:
    environments: tuple[PackageEnvironment, ...]  # those with any such package; the one in use first, then by prefix
    in_use: str  # prefix that a plain "python3" would use here; this tool's own only where models live in it
    looked_in: tuple[str, ...]  # every site-packages folder that was read


@probe
def packages(host: Host, pythons: Pythons) -> Packages:
    """Packages by environment, from the names of their metadata folders (``torch-2.13.0+cpu.dist-info``).

    Sources: ``*.dist-info`` and ``*.egg-info`` in every package folder that ``Pythons`` leads to, and
    ``torch/version.py`` read as text for what torch was built for. Nothing is imported: importing torch takes seconds
    and loads the driver.

    Source: PyPA "Recording installed projects" (site-packages/*.dist-info, *.egg-info); torch/version.py.
    """
    in_use = environment_in_use(host, pythons)
    found: dict[tuple[str, Kind, str], dict[str, str]] = {}
    builds: dict[tuple[str, Kind, str], TorchBuild] = {}
    looked_in = []
    for prefix, kind, python, folder in _folders(host, pythons, in_use):
        if folder in looked_in or not host.exists(folder):
            continue
        looked_in.append(folder)
        here = _packages(host, folder, own=prefix == pythons.prefix)
        found.setdefault((prefix, kind, python), {}).update(here)
        if "torch" in here:
            builds[prefix, kind, python] = _torch(host, folder, here["torch"])
    environments = [
        PackageEnvironment(
            prefix=key[0], kind=key[1], python=key[2], packages=tuple(sorted(names.items())), torch=builds.get(key)
        )
        for key, names in found.items()
        if names
    ]
    if not environments:
        raise Absent(f"no package that runs models is installed (package folders read: {len(looked_in)})")
    environments.sort(key=lambda one: (one.prefix != in_use, one.prefix, one.python))
    return Packages(environments=tuple(environments), in_use=in_use, looked_in=tuple(looked_in))


def environment_in_use(host: Host, pythons: Pythons) -> str:
    """The prefix that a plain "python3" would use here; this tool's own only where models live in it."""
    candidates = [or_none(host.env, name) for name in ("VIRTUAL_ENV", "CONDA_PREFIX")]
    first = or_none(host.which, "python3")
    if first is not None:
        candidates.append(_prefix_of(host, first))
    for prefix in (candidate.rstrip("/") for candidate in candidates if candidate):
        if prefix != pythons.prefix or not _is_only_ours(host, prefix):
            return prefix
    return "/usr" if host.exists("/usr/bin/python3") else pythons.prefix


def _prefix_of(host: Host, program: str) -> str:
    shims = re.fullmatch(r"(.*)/shims/python3", program)
    if shims:  # pyenv: the shim would ask these, in this order
        chosen = or_none(host.env, "PYENV_VERSION") or or_none(host.read, f"{shims[1]}/version") or "system"
        name = chosen.replace(":", " ").split()[0]
        return "/usr" if name == "system" else f"{shims[1]}/versions/{name}"
    prefix = posixpath.dirname(posixpath.dirname(program))
    if host.exists(f"{prefix}/pyvenv.cfg") or host.exists(f"{prefix}/conda-meta"):
        return prefix
    return posixpath.dirname(posixpath.dirname(host.real(program)))


def _is_only_ours(host: Host, prefix: str) -> bool:
    folders = host.glob(f"{prefix}/lib/python3*/site-packages")
    ours = any(host.glob(f"{folder}/llm_provision-*.dist-info") for folder in folders)
    return ours and not any(_packages(host, folder, own=True) for folder in folders)


def _folders(host: Host, pythons: Pythons, in_use: str) -> Iterator[tuple[str, Kind, str, str]]:
    """(prefix, kind, Python, folder) of every package folder, the one in use first. Some may not exist."""
    kinds: dict[str, Kind] = {environment.prefix: environment.kind for environment in pythons.environments}
    installed = sorted({posixpath.dirname(posixpath.dirname(python.path)) for python in pythons.found})
    for prefix in dict.fromkeys((in_use, *kinds, *installed)):
        for pattern in ("site-packages", "dist-packages"):
            for folder in host.glob(f"{prefix}/lib/python3.*/{pattern}"):
                yield prefix, kinds.get(prefix, "system"), _minor(folder), folder
    system = next((p for p in pythons.found if posixpath.dirname(p.path) == "/usr/bin"), None)
    if system is not None:  # Debian: pip installs under /usr/local, apt under python3, both for the same Python
        python = ".".join(system.version.split(".")[:2])
        yield "/usr", "system", python, f"/usr/local/lib/python{python}/dist-packages"
        yield "/usr", "system", python, "/usr/lib/python3/dist-packages"
    base = user_base(host)
    for folder in host.glob(f"{base}/lib/python3.*/site-packages"):
        yield base, "user", _minor(folder), folder


def user_base(host: Host) -> str:
    """Where ``pip install --user`` puts packages (Python's ``site.USER_BASE``)."""
    return or_none(host.env, "PYTHONUSERBASE") or f"{or_none(host.env, 'HOME') or '/root'}/.local"


def _minor(folder: str) -> str:
    return posixpath.basename(posixpath.dirname(folder)).removeprefix("python")


def _packages(host: Host, folder: str, own: bool) -> dict[str, str]:
    found = {}
    for path in metadata_places(host, folder):
        parts = re.fullmatch(r"(.+?)-(\d[^-]*)(?:-py3[^-]*)?\.(?:dist|egg)-info", posixpath.basename(path))
        if parts is None:
            continue
        name = re.sub(r"[-_.]+", "-", parts[1]).lower()
        if (name in _NAMES or name.startswith(_FAMILIES)) and not (own and name in _OWN):
            found[name] = parts[2]
    return found if found.keys() - _COMPANIONS else {}


def metadata_places(host: Host, folder: str) -> tuple[str, ...]:
    """Where the packages of a folder say what they are; ``*.egg-info`` is a folder or one file, and Debian's own way."""
    return (*host.glob(f"{folder}/*.dist-info"), *host.glob(f"{folder}/*.egg-info"))


def metadata_head(host: Host, place: str) -> str:
    """Core metadata up to the description; empty where there is none: what an interrupted installation left.

    Raises ``Missing`` where it is closed to us.
    """
    if place.endswith(".dist-info"):
        said = or_none(host.read, f"{place}/METADATA")
    else:
        said = or_none(host.read, f"{place}/PKG-INFO")
        if said is None and not host.exists(f"{place}/."):
            said = or_none(host.read, place)
    return re.split(r"\r?\n\r?\n", said or "", maxsplit=1)[0]


def _torch(host: Host, folder: str, version: str) -> TorchBuild:
    text = or_none(host.read, f"{folder}/torch/version.py") or ""  # lines such as: cuda: Optional[str] = '12.6'
    values = dict(re.findall(r"^(\w+)(?:\s*:[^=]+)?\s*=\s*['\"]([^'\"]+)['\"]", text, re.MULTILINE))
    return TorchBuild(version=values.get("__version__", version), cuda=values.get("cuda"), hip=values.get("hip"))
