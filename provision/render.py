"""Plan plus templates gives files. No clock, no host, no network: the same plan gives the same bytes.

manifest.json   what the roles loop over: source, destination, mode, owner, what to restart, section, guarding checks
files/…         each under the path it becomes
vars.yml        values for the roles, every string ``!unsafe``: Ansible never runs a template over them
inventory.yml   the one host, under a named interpreter
image/…         the image context's rendered part: Dockerfile and request.json
"""

from __future__ import annotations

import dataclasses
import json
import re
import shlex
from importlib import resources
from pathlib import Path, PurePosixPath
from typing import Any

from provision import check, codec
from provision.errors import Refused
from provision.files import write_whole
from provision.plan import Plan
from provision.record import record

SCHEMA = 1


@record
class ManifestFile:
    """One file that lands on the host. ``shared``: somebody else may own it too, so its content was merged from a fact."""

    source: str
    destination: str
    section: str
    checks: tuple[str, ...]
    restart: str = ""
    shared: bool = False
    mode: str = "0644"
    owner: str = "root"
    group: str = "root"


@record
class Manifest:
    """Everything rendered for one machine from one plan."""

    schema: int = SCHEMA
    plan: str
    machine: str
    files: tuple[ManifestFile, ...]


# destination to (plan section, service to restart, shared with its administrator)
HOST_FILES: dict[str, tuple[str, str, bool]] = {
    "/etc/docker/daemon.json": ("dependencies", "docker", True),
    "/etc/provision/allocator.env": ("fragmentation", "", False),
    "/etc/provision/offline.env": ("isolation", "", False),
}


def _host_files(plan: Plan) -> dict[str, tuple[str, str, bool]]:
    """``HOST_FILES``, with what a volume needs where one is planned."""
    volume = plan.storage.volume
    files = dict(HOST_FILES)
    if volume is not None:
        files["/etc/fstab"] = ("storage", "", True)
        if volume.array_uuid:
            files["/etc/mdadm/mdadm.conf.d/provision.conf"] = ("storage", "", False)
        if volume.read_ahead_kib is not None:
            files["/etc/udev/rules.d/65-provision-read-ahead.rules"] = ("storage", "", False)
    return files


def yaml_string(text: str) -> str:
    """A YAML double-quoted scalar. JSON's escapes are YAML's, but for characters beyond the BMP, which JSON splits in two."""
    quoted = json.dumps(text, ensure_ascii=False)
    return re.sub(r"[^\x20-\x7e]", lambda m: f"\\U{ord(m[0]):08x}", quoted)


def unsafe_yaml(value: Any) -> str:
    """A value in YAML's flow style with every string tagged ``!unsafe``, keys included as plain quoted scalars."""
    if value == "":
        return '""'  # ansible-core 2.19 reads !unsafe "" as null (seen 2026-11-24), and an empty string is no template
    if isinstance(value, str):
        return f"!unsafe {yaml_string(value)}"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{yaml_string(str(k))}: {unsafe_yaml(v)}" for k, v in value.items()) + "}"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(unsafe_yaml(v) for v in value) + "]"
    return json.dumps(value)


def dockerfile_string(text: str) -> str:
    """A double-quoted Dockerfile word. ``$`` would be a variable there, a newline ends the instruction."""
    if any(ord(c) < 32 or ord(c) == 127 for c in text):
        raise Refused(f"a Dockerfile cannot carry {text!r}: expected one line without control characters")
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"').replace("$", "\\$") + '"'


def env_value(text: str) -> str:
    """A value for an environment file, which systemd, the engine and a shell read: plain characters only."""
    if not re.fullmatch(r"[A-Za-z0-9_.,:=/@%+-]*", text):
        raise Refused(f"an environment file carries plain characters only, got {text!r}")
    return text


def render(plan: Plan, out: Path) -> Manifest:
    """Write everything under ``out`` and return the manifest. Raises ``Refused`` where a value cannot be carried as data."""
    check.load()
    environment = _environment()
    context = {f.name: getattr(plan, f.name) for f in dataclasses.fields(plan)}
    files = []
    for destination, (section, restart, shared) in sorted(_host_files(plan).items()):
        guards = guarding(type(getattr(plan, section)))
        text = environment.get_template(f"{section}{destination}.j2").render(**context, checks=guards, section=section)
        _put(out / f"files{destination}", text)
        entry = ManifestFile(
            source=f"files{destination}",
            destination=destination,
            section=section,
            checks=guards,
            restart=restart,
            shared=shared,
        )
        files.append(entry)
    manifest = Manifest(plan=plan.digest, machine=plan.machine, files=tuple(files))
    _put(out / "manifest.json", codec.dumps(manifest))
    _put(out / "vars.yml", _variables(plan, manifest))
    _put(out / "inventory.yml", _INVENTORY)
    _put(
        out / "image/Dockerfile", environment.get_template("image/Dockerfile.j2").render(**context, image=_image(plan))
    )
    _put(out / "image/request.json", codec.dumps(request(plan)))
    return manifest


def request(plan: Plan) -> dict[str, Any]:
    """What the smoke test is asked: the paths as they are inside the image."""
    return {
        "schema": 1,
        "device": plan.cuda.device,
        "model": "/opt/provision/smoke/model",
        "lock": "/opt/provision/requirements.txt",
        "proofs": codec.dump(plan.proofs),
    }


def guarding(section: type) -> tuple[str, ...]:
    """The codes of the checks that ask for a plan section."""
    return tuple(sorted(c.code for c in check.CHECKS.values() if any(kind is section for _, kind, _ in c.needs)))


_INVENTORY = """\
# Rendered by provision. Package tasks need the system's own Python; discovery is fooled by pyenv's shims.
all:
  hosts:
    target:
      ansible_connection: local
      ansible_python_interpreter: /usr/bin/python3
"""


def _image(plan: Plan) -> dict[str, Any]:
    return {
        # What a build by hand would start from; provision itself passes the base it made or fetched by its id.
        "base": plan.dependencies.base if "@" in plan.dependencies.base else "provision/base",
        "lock": "requirements.txt",
        "uid": plan.isolation.uid,
        "gid": plan.isolation.gid,
        "env": {**plan.isolation.environment, "PYTORCH_ALLOC_CONF": plan.fragmentation.allocator_conf},
    }


def _variables(plan: Plan, manifest: Manifest) -> str:
    values: dict[str, Any] = {
        "provision_machine": plan.machine,
        "provision_plan": manifest.plan,
        "provision_files": codec.dump(manifest.files),
        "dependencies_engine": plan.dependencies.engine,
        "dependencies_packages": plan.dependencies.packages,
        "dependencies_start": plan.dependencies.start,
        "storage_state_folder": plan.storage.state_folder,
        "storage_volume": codec.dump(plan.storage.volume) or {},
        "storage_mdadm_uuid": plan.storage.volume.mdadm_uuid if plan.storage.volume else "",
    }
    lines = [f"{key}: {unsafe_yaml(value)}" for key, value in values.items()]
    return "---\n# Rendered by provision from plan " + manifest.plan + "\n" + "\n".join(lines) + "\n"


def _environment() -> Any:
    import jinja2

    loader = jinja2.FunctionLoader(_template)
    # Not HTML: every value goes through the filter of its own language.
    environment = jinja2.Environment(  # noqa: S701
        loader=loader,
        undefined=jinja2.StrictUndefined,
        keep_trailing_newline=True,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "dockerfile_string": dockerfile_string,
        "env_value": env_value,
        "shell": shlex.quote,
        "yaml": unsafe_yaml,
    }
    return environment


def _template(name: str) -> str:
    path = PurePosixPath(name)
    node = resources.files("provision.templates")
    for part in path.parts:
        node = node / part
    return node.read_text(encoding="utf-8")


def _put(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, text)
