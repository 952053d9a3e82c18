"""The Docker engine as its socket answers, its settings file, our images, and the CDI device specifications."""

from __future__ import annotations

import json
import re
from typing import Any

from provision.fact import Absent, Missing, fact, probe
from provision.facts.units import Units
from provision.host import Host, or_none
from provision.record import record

OUR_LABELS = "io.provision."
_SETTINGS = "/etc/docker/daemon.json"


@fact
class Docker:
    socket: str
    server_version: str  # "28.3.3"
    api_version: str  # "1.51"
    storage_driver: str  # "overlay2"
    data_root: str
    data_root_filesystem: str | None  # backing file system where the driver says it: "extfs", "xfs"
    data_root_free_bytes: int | None  # None: the folder cannot be seen from here (a remote or nested engine)
    cgroup_driver: str  # "systemd", "cgroupfs"
    cgroup_version: str  # "2"
    logging_driver: str
    runtimes: tuple[str, ...]
    default_runtime: str
    live_restore: bool
    running_containers: int
    security_options: tuple[str, ...]  # "name=apparmor", "name=rootless"
    cdi_spec_dirs: tuple[str, ...]  # empty: this engine takes no CDI devices
    exposed_hosts: tuple[str, ...]  # TCP addresses it listens on without TLS, by its own warnings
    warnings: tuple[str, ...]


@fact
class DaemonJson:
    """The engine's settings file. Absent where there is none."""

    path: str
    text: str
    keys: tuple[str, ...]  # top-level keys, sorted; empty where error is set
    error: str | None  # why it is no JSON object: the engine would refuse to start with it


@record
class Image:
    id: str
    tags: tuple[str, ...]
    labels: tuple[tuple[str, str], ...]  # only those that start with "io.provision."
    bytes: int


@fact
class Images:
    images: tuple[Image, ...]  # only those that carry one of our labels; may be empty


@record
class CdiSpec:
    path: str
    kind: str  # "nvidia.com/gpu"
    devices: tuple[str, ...]  # "0", "all"


@fact
class CdiSpecs:
    specs: tuple[CdiSpec, ...]  # at least one


@probe
def docker(host: Host, units: Units | Absent | Missing) -> Docker:
    """The Docker engine: versions, storage, runtimes, and how open it stands.

    Source: ``GET /info`` and ``/version`` on its socket (``/var/run/docker.sock``, or the Unix socket that
    ``DOCKER_HOST`` names); no client program is needed.
    """
    socket = _socket(host, units)
    info = _answer(host, socket, "/info")
    root = str(info["DockerRootDir"])
    room = or_none(host.statvfs, root)
    warnings = tuple(str(text) for text in info.get("Warnings") or ())
    return Docker(
        socket=socket,
        server_version=str(info["ServerVersion"]),
        api_version=str(_answer(host, socket, "/version")["ApiVersion"]),
        storage_driver=str(info["Driver"]),
        data_root=root,
        data_root_filesystem=dict(map(tuple, info.get("DriverStatus") or ())).get("Backing Filesystem"),
        data_root_free_bytes=room["available_blocks"] * room["block_size"] if room else None,
        cgroup_driver=str(info["CgroupDriver"]),
        cgroup_version=str(info.get("CgroupVersion", "1")),  # the field came with the API that knows version 2
        logging_driver=str(info["LoggingDriver"]),
        runtimes=tuple(sorted(info["Runtimes"])),
        default_runtime=str(info["DefaultRuntime"]),
        live_restore=bool(info["LiveRestoreEnabled"]),
        running_containers=int(info["ContainersRunning"]),
        security_options=tuple(str(option) for option in info.get("SecurityOptions") or ()),
        cdi_spec_dirs=tuple(str(folder) for folder in info.get("CDISpecDirs") or ()),
        exposed_hosts=tuple(
            address
            for text in warnings
            for address in re.findall(r"API is accessible on (\S+) without encryption", text)
        ),
        warnings=warnings,
    )


def _socket(host: Host, units: Units | Absent | Missing) -> str:
    """The engine's socket. Absent where systemd holds it for a stopped engine: connecting would start that engine."""
    address = or_none(host.env, "DOCKER_HOST") or "unix:///var/run/docker.sock"
    scheme, _, path = address.partition("://")
    if scheme != "unix":
        raise Missing(f"DOCKER_HOST names another machine ({scheme}://…); only a Unix socket is looked at")
    if isinstance(units, Units) and units.manager == "systemd" and path in ("/var/run/docker.sock", "/run/docker.sock"):
        state = {unit.name: unit.state for unit in units.units}
        if state.get("docker.socket") == "active" and state.get("docker.service") in ("inactive", "failed"):
            raise Absent(
                f"the engine is stopped (docker.service is {state['docker.service']}); asking it would start it"
            )
    return path


def _answer(host: Host, socket: str, path: str) -> dict[str, Any]:
    answer = host.get(socket, path)
    if not isinstance(answer, dict):
        raise Missing(f"{socket}: GET {path} answered something else than an object")
    return answer


@probe
def daemon_json(host: Host) -> DaemonJson:
    """The Docker engine's settings file as it stands, so that it can be merged and never replaced.

    Source: ``/etc/docker/daemon.json``.
    """
    text = host.read(_SETTINGS)
    keys: tuple[str, ...] = ()
    error = None
    try:
        content = json.loads(text)
        if isinstance(content, dict):
            keys = tuple(sorted(content))
        else:
            error = "not a JSON object"
    except ValueError as problem:
        error = str(problem)
    return DaemonJson(path=_SETTINGS, text=text, keys=keys, error=error)


@probe
def images(host: Host, units: Units | Absent | Missing) -> Images:
    """The container images that this tool has built here.

    Source: ``GET /images/json`` on the engine's socket; an image is ours when it has a label ``io.provision.*``.
    """
    socket = _socket(host, units)
    ours = []
    for image in host.get(socket, "/images/json"):
        labels = {name: text for name, text in (image.get("Labels") or {}).items() if name.startswith(OUR_LABELS)}
        if labels:
            tags = tuple(sorted(tag for tag in image.get("RepoTags") or () if tag != "<none>:<none>"))
            ours.append(
                Image(id=str(image["Id"]), tags=tags, labels=tuple(sorted(labels.items())), bytes=int(image["Size"]))
            )
    return Images(images=tuple(sorted(ours, key=lambda image: (image.tags, image.id))))


@probe
def cdi_specs(host: Host) -> CdiSpecs:
    """Container Device Interface specifications: how an engine hands a GPU to a container.

    Sources: ``/etc/cdi`` and ``/var/run/cdi``, YAML and JSON.
    """
    specs = []
    for folder in ("/etc/cdi", "/var/run/cdi"):
        for path in sorted((*host.glob(f"{folder}/*.json"), *host.glob(f"{folder}/*.yaml"))):
            specs.append(_spec(path, host.read(path)))
    if not specs:
        raise Absent("no CDI specification in /etc/cdi or /var/run/cdi")
    return CdiSpecs(specs=tuple(specs))


def _spec(path: str, text: str) -> CdiSpec:
    if path.endswith(".json"):
        try:
            content = json.loads(text)
            names = [str(device["name"]) for device in content.get("devices") or ()]
            return CdiSpec(path=path, kind=str(content["kind"]), devices=tuple(names))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise Missing(f"{path} is no CDI specification: {error!r}") from None
    # nvidia-ctk writes block style with sorted keys; a YAML reader is not in the standard library.
    kind = re.search(r"^kind:\s*[\"']?([^\s\"']+)", text, re.MULTILINE)
    if kind is None:
        raise Missing(f"{path} is no CDI specification: it has no kind")
    names = []
    block = re.search(r"^devices:[ \t]*\n((?:[ -].*\n?)*)", text, re.MULTILINE)
    items = re.match(r" *(?=- )", block[1]) if block else None
    if block and items:  # a device's name stands in the list item itself; deeper names (a network device's) are none
        names = re.findall(rf"^{items[0]}(?:- |  )name:\s*[\"']?([^\s\"']+)", block[1], re.MULTILINE)
    return CdiSpec(path=path, kind=kind[1], devices=tuple(names))
