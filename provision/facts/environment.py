"""Environment variables that change how models run. A secret's value never leaves the process."""

from __future__ import annotations

import fnmatch
import functools
import re

from provision.fact import fact, probe
from provision.host import Host, or_none

SET = "(set)"  # stands for a secret's value


@fact
class Environment:
    variables: tuple[tuple[str, str], ...]  # (name, value), sorted; only names on the list; a secret's value is "(set)"


_PATTERNS = (
    "ACCELERATE_*", "BNB_*", "CONDA_PREFIX", "CUBLAS_*", "CUDA_*", "CUDNN_*", "DO_NOT_TRACK", "DOCKER_HOST", "GLOO_*",
    "GRADIO_ANALYTICS_ENABLED", "HF_*", "LD_LIBRARY_PATH", "LD_PRELOAD", "MALLOC_*", "MASTER_*", "MKL_*", "NCCL_*",
    "NVIDIA_*", "OMP_*", "PYTHONHOME", "PYTHONNOUSERSITE", "PYTHONPATH", "PYTORCH_*", "RANK", "RAY_*", "SAFETENSORS_*",
    "SGLANG_*", "SGL_*", "TOKENIZERS_*", "TORCH_*", "TRANSFORMERS_*", "TRITON_*", "UCX_*", "VIRTUAL_ENV", "VLLM_*",
    "WORLD_SIZE",
)  # fmt: skip
_SECRET = re.compile(r"TOKEN(?!IZ)|KEY|SECRET|PASSW|CREDENTIAL|AUTH|COOKIE|SIGNATURE")
_IN_ADDRESS = re.compile(r"(?<=://)[^/@\s]+@")  # https://user:password@host


@probe
def environment(host: Host) -> Environment:
    """Variables that change how models load and run, of the session that asks.

    Source: the environment, by a list of names. A variable whose name speaks of a secret is not read at all, only
    said to be set; a password inside an address is cut out.
    """
    names = sorted({name for pattern in _PATTERNS for name in host.env_names(pattern)})
    found = []
    for name in names:
        value = SET if _SECRET.search(name) else or_none(host.env, name)
        if value is not None:
            found.append((name, _IN_ADDRESS.sub("", value)))
    return Environment(variables=tuple(found))


def admitted(name: str, value: str) -> str | None:
    """What is kept of a variable that somebody pasted: None where the name is not on the list, "(set)" for a secret."""
    if not _admitted().match(name):
        return None
    return SET if _SECRET.search(name) else _IN_ADDRESS.sub("", value)


@functools.cache
def _admitted() -> re.Pattern[str]:
    return re.compile("|".join(map(fnmatch.translate, _PATTERNS)))
