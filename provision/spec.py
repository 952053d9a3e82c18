"""``provision.toml``: what the user wants. Read strictly: an unknown key or a wrong type is refused with its path.

[machine]    name = "gpu-07"                 # shown in reports; the host name where it is left out
[model]      name = "bundled"                # or a published name, or a folder; for those also, all may be left out:
             quantization = "fp8"  context = 32768  users = 8  kv_cache_dtype = "fp8"
             engine = "vllm==0.33.0"  gpu_memory_utilization = 0.9  tp = 2  pp = 1  dp = 1
[image]      repository = "provision/smoke"  base = "auto"   python = "3.11"   glibc = "2.36"   labels = { team = "ml" }
[expect]     gpus = 8   driver = "580"   memory_gib = 500       # what the machine must have: a card that vanished is a finding
             gpu_model = "H100"  link_width = 16  nvlinks = 18  gpu_memory_bytes = 80000000000
[dependencies]   lock = "requirements.txt"   environment = "/opt/app"   # an environment of your own and the lock it was made from
[storage]    disks = ["S4EWNX0N123456", "S4EWNX0N123457"]   level = "raid0"   filesystem = "xfs"   mount_point = "/srv/models"
             read_ahead_kib = 4096   wipe = []       # by serial number or by-id name; wipe: serials whose content may go
[storage.model]   source = "/mnt/usb/DeepSeek-R1"   sha256 = { "config.json" = "<64 hex digits>" }
[[accept]]   code = "STO004"  reason = "scratch machine, reviewed 2026-11-24"  expires = 2027-05-31
"""

from __future__ import annotations

import dataclasses
import datetime
import re
import unicodedata
from pathlib import Path
from typing import Any

import tomllib

from provision import codec
from provision.errors import CodecError, Refused, UsageError
from provision.record import record
from provision.spec_dependencies import DependenciesSpec, resolved
from provision.spec_storage import StorageSpec, check_storage

# What the engine accepts as a repository name (distribution's reference grammar, lower-case path components).
_REPOSITORY = re.compile(r"[a-z0-9]+(?:[._-][a-z0-9]+)*(?:/[a-z0-9]+(?:[._-][a-z0-9]+)*)*")
BUNDLED = "bundled"
ENGINES = ("sglang", "transformers", "vllm")
_ENGINE = re.compile(r"([a-z]+)(?:==([0-9][0-9A-Za-z.+-]{0,39}))?")
_KV_DTYPES = ("auto", "bfloat16", "float16", "fp8", "fp8_e4m3", "fp8_e5m2")
# The most of each: what no machine and no model comes near, so that a slip of the keyboard is refused.
_MOST = {"context": 100_000_000, "users": 1_000_000, "tp": 1024, "pp": 256, "dp": 1024}
_DIGEST = re.compile(r"[^@\s]+@sha256:[0-9a-f]{64}")


@record
class MachineSpec:
    """``name``: how reports call the machine; empty means its host name."""

    name: str = ""


@record
class ModelSpec:
    """``name``: the model the machine is meant for: ``bundled`` (the tiny one the proofs use), a published name or a folder.

    The rest is how it is to be served, and is left out with ``bundled``. ``context``: tokens that each of ``users``
    requests may have. ``engine``: its name, and ``==VERSION`` where it matters. ``gpu_memory_utilization``: the share of a
    card, the engine's own if left out. ``tp``, ``pp``, ``dp``: ways of tensor, pipeline and data parallelism; where
    ``tp`` and ``pp`` are left out the plan chooses them.
    """

    name: str = BUNDLED
    quantization: str | None = None
    context: int | None = None
    users: int | None = None
    kv_cache_dtype: str = "auto"
    engine: str = "vllm"
    gpu_memory_utilization: float | None = None
    tp: int | None = None
    pp: int | None = None
    dp: int | None = None


@record
class ImageSpec:
    """``base``: ``auto`` (a digest-pinned image where a registry answers, else bootstrap), ``bootstrap``, or by digest.

    ``python`` and ``glibc``: what a base named by digest has (left out: those of the first catalogued image); with ``auto``,
    ``python`` says which of the catalogued images.
    """

    repository: str = "provision/smoke"
    base: str = "auto"
    python: str = ""
    glibc: str = ""
    labels: dict[str, str] = dataclasses.field(default_factory=dict)


@record
class Expect:
    """What the machine must have. ``driver`` is the oldest NVIDIA driver that is right.

    ``gpu_model``: words of every GPU's name ("H100"). ``link_width``: PCIe lanes of every card, at least.
    ``gpu_memory_bytes``: memory of every GPU, at least. ``nvlinks``: active NVLinks of every GPU, at least.
    ``memory_gib``: main memory, at least. ``python``: minor release ("3.11") of the environment in use.
    ``disk_mb_per_s``: measured by ``provision disk``; the doctor only compares what the disk's link can carry.
    """

    gpus: int | None = None
    driver: str | None = None
    gpu_model: str | None = None
    link_width: int | None = None
    gpu_memory_bytes: int | None = None
    nvlinks: int | None = None
    memory_gib: float | None = None
    disk_mb_per_s: int | None = None
    python: str | None = None


@record
class Accept:
    """What a check finds, or that it cannot look, waived with a reason that is shown every time.

    ``expires``: the last day on which it holds (``2027-05-31``); "" is no end.
    """

    code: str
    reason: str
    expires: str = ""

    @property
    def words(self) -> str:
        """The reason, with the day it ends where it does."""
        return f"{self.reason} (until {self.expires})" if self.expires else self.reason


@record
class Spec:
    """The whole of ``provision.toml``; every part may be left out.

    ``accelerator``: ``auto``, or one that there is a lock for ("cpu", "cu128"; catalogue of variants).
    """

    machine: MachineSpec = MachineSpec()
    model: ModelSpec = ModelSpec()
    image: ImageSpec = ImageSpec()
    accelerator: str = "auto"
    expect: Expect = Expect()
    storage: StorageSpec = StorageSpec()
    dependencies: DependenciesSpec = DependenciesSpec()
    accept: tuple[Accept, ...] = ()
    state_folder: str = "/var/lib/provision"

    def accepted(self, today: str) -> dict[str, str]:
        """Code to the reason it is waived on the day ``today`` (``2026-11-24``)."""
        return {a.code: a.words for a in self.accept if not a.expires or today <= a.expires}

    def expired(self, today: str) -> dict[str, str]:
        """Code to what is said of a waiver that ended before ``today``; one that still holds for the code wins."""
        held = self.accepted(today)
        ended = [a for a in self.accept if a.code not in held]
        return {a.code: f"the waiver ended on {a.expires}: {a.reason}" for a in ended}


def load(path: Path | None) -> Spec:
    """Read a spec. ``None`` looks for ``provision.toml`` here and falls back to the defaults.

    Raises ``UsageError`` (exit 2) naming the file, the key, what was expected and the nearest known key.
    """
    if path is None:
        path = Path("provision.toml")
        if not path.exists():
            return Spec()
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{path}: cannot be read: {error}") from None
    try:
        parsed = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"{path}: not TOML: {error}") from None
    try:
        spec = codec.load(Spec, _with_dates_as_text(parsed))
        check_values(spec)
        spec = dataclasses.replace(spec, dependencies=resolved(spec.dependencies, path.parent))
    except CodecError as error:
        raise UsageError(f"{path}: {error}") from None
    except Refused as error:
        raise Refused(f"{path}: {error}") from None
    return spec


def _with_dates_as_text(value: Any) -> Any:
    """TOML's own dates as ``2027-05-31``: both spellings of a date are one."""
    if isinstance(value, dict):
        return {key: _with_dates_as_text(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_with_dates_as_text(item) for item in value]
    return value.isoformat() if isinstance(value, datetime.date) else value


def check_values(spec: Spec) -> None:
    """Refuse what a target language cannot carry (control characters) and names that could never work."""
    _no_control("", codec.dump(spec))
    if not _REPOSITORY.fullmatch(spec.image.repository):
        raise Refused(
            f"image.repository: expected a lower-case image name such as provision/smoke, got {spec.image.repository!r}"
        )
    if spec.image.base not in ("auto", "bootstrap") and not _DIGEST.fullmatch(spec.image.base):
        raise Refused(f"image.base: expected auto, bootstrap or NAME@sha256:<64 hex digits>, got {spec.image.base!r}")
    for key, value in (("python", spec.image.python), ("glibc", spec.image.glibc)):
        if value and not re.fullmatch(r"[23]\.\d{1,2}", value):
            raise Refused(
                f"image.{key}: expected two numbers such as {'3.11' if key == 'python' else '2.36'}, got {value!r}"
            )
    for key in spec.image.labels:
        if not key or key.startswith("io.provision."):
            raise Refused(f"image.labels: expected a key outside io.provision., got {key!r}")
    _check_accelerator(spec.accelerator)
    _check_model(spec.model)
    if not re.fullmatch(r"/[A-Za-z0-9._/-]+", spec.state_folder) or ".." in spec.state_folder.split("/"):
        raise Refused(f"state_folder: expected an absolute path of plain characters, got {spec.state_folder!r}")
    check_storage(spec.storage, spec.state_folder)
    for i, entry in enumerate(spec.accept):
        if not entry.reason.strip():
            raise Refused(f"accept[{i}].reason: expected a reason; it is shown with every report")
        if entry.expires and not _is_day(entry.expires):
            raise Refused(f"accept[{i}].expires: expected a day such as 2027-05-31, got {entry.expires!r}")


def _check_accelerator(name: str) -> None:
    if name in ("auto", "cpu"):
        return
    from provision.lock import variants  # only for who names a build: the start-up budget

    known = ("auto", *sorted({each.accelerator for each in variants.load() if each.purpose == "smoke"}))
    if name not in known:
        near = codec.nearest(name, known)
        raise Refused(f"accelerator: expected one of {', '.join(known)}; got {name!r}{near}")


def _check_model(model: ModelSpec) -> None:
    """What can be said of ``[model]`` without looking the model up."""
    if not model.name.strip():
        raise Refused(f"model.name: expected {BUNDLED}, a published model's name or its folder, got {model.name!r}")
    if model.name == BUNDLED:
        given = [f.name for f in dataclasses.fields(model)[1:] if getattr(model, f.name) != f.default]
        if given:
            raise Refused(f"model.{given[0]}: goes with a published model or a folder; model.name is {BUNDLED!r}")
    for key, most in _MOST.items():
        value = getattr(model, key)
        if value is not None and not 1 <= value <= most:
            raise Refused(f"model.{key}: expected a whole number from 1 to {most}, got {value}")
    share = model.gpu_memory_utilization
    if share is not None and not 0.01 <= share <= 1:
        raise Refused(f"model.gpu_memory_utilization: expected a share of the card from 0.01 to 1, got {share}")
    engine = _ENGINE.fullmatch(model.engine)
    if not engine or engine[1] not in ENGINES:
        near = codec.nearest(engine[1] if engine else model.engine.partition("=")[0].lower(), ENGINES)
        raise Refused(
            f"model.engine: expected one of {', '.join(ENGINES)}, or vllm==0.33.0; got {model.engine!r}{near}"
        )
    if model.kv_cache_dtype not in _KV_DTYPES:
        near = codec.nearest(model.kv_cache_dtype, _KV_DTYPES)
        raise Refused(
            f"model.kv_cache_dtype: expected one of {', '.join(_KV_DTYPES)}; got {model.kv_cache_dtype!r}{near}"
        )
    if model.quantization is not None:
        from provision.fit import precision  # only for who asks: the start-up budget

        try:
            precision.named(model.quantization)
        except UsageError as error:
            near = codec.nearest(model.quantization.lower(), precision.PRECISIONS)
            raise Refused(f"model.quantization: {error.message}{near}") from None


def _is_day(text: str) -> bool:
    try:
        return datetime.date.fromisoformat(text).isoformat() == text
    except ValueError:
        return False


def _no_control(path: str, value: Any) -> None:
    if isinstance(value, str):
        bad = next((c for c in value if unicodedata.category(c) in ("Cc", "Cs", "Zl", "Zp")), None)
        if bad is not None:
            raise Refused(f"{path}: expected one line without control characters, got {value!r}")
    elif isinstance(value, dict):
        for key, item in value.items():
            _no_control(f"{path}.{key!s}" if path else str(key), key)
            _no_control(f"{path}.{key}" if path else key, item)
    elif isinstance(value, list):
        for i, item in enumerate(value):
            _no_control(f"{path}[{i}]", item)
