"""The Docker engine as its socket answers, its settings file, our images, and the CDI device specifications."""

from __future__ import annotations

from dataclasses import dataclass

from provision.fact import fact


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


@dataclass(frozen=True, kw_only=True, slots=True)
class Image:
    id: str
    tags: tuple[str, ...]
    labels: tuple[tuple[str, str], ...]  # only those that start with "io.provision."
    bytes: int


@fact
class Images:
    images: tuple[Image, ...]  # only those that carry one of our labels; may be empty


@dataclass(frozen=True, kw_only=True, slots=True)
class CdiSpec:
    path: str
    kind: str  # "nvidia.com/gpu"
    devices: tuple[str, ...]  # "0", "all"


@fact
class CdiSpecs:
    specs: tuple[CdiSpec, ...]  # at least one
