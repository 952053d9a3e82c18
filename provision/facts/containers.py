"""Containers that run: what they may do to the machine, and whether they come back. Their environment is not kept."""

from __future__ import annotations

from typing import Any

from provision.fact import Missing, NotKnown, fact, probe
from provision.facts.docker import Docker
from provision.host import Host, or_none
from provision.record import record

_MOST = 32  # containers that are asked for one by one


@record
class RunningContainer:
    name: str
    image: str  # as it was named: "vllm/vllm-openai:latest"
    privileged: bool
    engine_socket: bool  # the engine's own socket is mounted into it
    restart: str  # "no", "always", "unless-stopped", "on-failure"
    open_ports: tuple[int, ...]  # published on every address, sorted
    gpus: bool  # asks for GPUs
    shared_memory_bytes: int | None  # its /dev/shm; None: the host's own
    memory_bytes: int | None  # its limit; None: none


@fact
class Containers:
    running: tuple[RunningContainer, ...]  # sorted by name; may be empty
    more: int  # running ones beyond the first 32, not looked at


@probe
def containers(host: Host, docker: Docker) -> Containers:
    """What the engine says of its running containers.

    Source: ``GET /containers/json`` and ``/containers/ID/json`` on the engine's socket. Variables and labels are dropped.
    """
    listed = host.get(docker.socket, "/containers/json")
    if not isinstance(listed, list):
        raise Missing(f"{docker.socket}: GET /containers/json answered something else than a list")
    names = sorted(str(one.get("Id", "")) for one in listed if isinstance(one, dict))
    found = []
    for name in names[:_MOST]:
        said = or_none(host.get, docker.socket, f"/containers/{name}/json", reasons=NotKnown)  # it may have ended since
        if isinstance(said, dict):
            found.append(_container(said))
    return Containers(running=tuple(sorted(found, key=lambda one: one.name)), more=max(0, len(names) - _MOST))


def _container(said: dict[str, Any]) -> RunningContainer:
    settings = said.get("HostConfig") or {}
    mounts = said.get("Mounts") or ()
    ports = (said.get("NetworkSettings") or {}).get("Ports") or {}
    published = {
        int(binding["HostPort"])
        for bindings in ports.values()
        for binding in bindings or ()
        if binding.get("HostIp", "") in ("", "0.0.0.0", "::") and str(binding.get("HostPort", "")).isdigit()  # noqa: S104
    }
    requests = settings.get("DeviceRequests") or ()
    devices = [str(one.get("PathOnHost", "")) for one in settings.get("Devices") or ()]
    return RunningContainer(
        name=str(said.get("Name", "")).lstrip("/"),
        image=str((said.get("Config") or {}).get("Image", "")),
        privileged=bool(settings.get("Privileged")),
        engine_socket=any(str(mount.get("Source", "")).endswith("/docker.sock") for mount in mounts),
        restart=str((settings.get("RestartPolicy") or {}).get("Name") or "no"),
        open_ports=tuple(sorted(published)),
        gpus=bool(requests) or settings.get("Runtime") == "nvidia" or any("/nvidia" in path for path in devices),
        shared_memory_bytes=None if settings.get("IpcMode") == "host" else int(settings.get("ShmSize") or 0) or None,
        memory_bytes=int(settings.get("Memory") or 0) or None,
    )
