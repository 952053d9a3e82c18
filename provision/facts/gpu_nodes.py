"""What stands between a program and a GPU besides the driver: device nodes, kernel modules, CDI, the fabric manager."""

from __future__ import annotations

import json
import posixpath
import re
from typing import Any

from provision.fact import Absent, Missing, NotKnown, fact, probe
from provision.facts.docker import CdiSpecs
from provision.facts.driver import NvidiaDriver
from provision.facts.pci import NvidiaCards
from provision.host import Host, or_none
from provision.record import record


@record
class DeviceNode:
    path: str  # "/dev/nvidia0"
    major: int
    minor: int
    mode: int  # permission bits
    uid: int
    gid: int
    may_use: bool  # this process may read and write it; False with mode 0o666: a control group forbids it


@fact
class DeviceNodes:
    nodes: tuple[DeviceNode, ...]  # /dev/nvidia*, sorted by path; MIG's capability nodes are left out
    majors: tuple[tuple[str, int], ...]  # the driver's entries in /proc/devices: ("nvidia", 195), ("nvidia-uvm", 510) …
    gpu_minors: tuple[int, ...] | None  # one for every GPU that the driver has; None: /proc/driver/nvidia is not there


@fact
class GpuModules:
    loaded: tuple[str, ...]  # of the kernel modules that matter to GPUs, sorted
    infiniband: tuple[str, ...]  # InfiniBand and RoCE devices: "mlx5_0"
    modprobe_helper: bool  # nvidia-modprobe: loads modules and makes nodes for ordinary users
    profiling_for_all: bool | None  # any user may read a GPU's performance counters; None: the driver does not say


@fact
class FabricManager:
    version: str  # "580.82.07", must be the driver's own


@record
class CdiNode:
    path: str
    spec: str  # the file that names it
    major: int | None  # as the specification says; None: it leaves the numbers to the engine
    minor: int | None
    found_major: int | None  # as the host has it; None: the node is not there
    found_minor: int | None


@fact
class CdiDevices:
    nodes: tuple[CdiNode, ...]  # device nodes that the specifications name, sorted by path
    lost_files: tuple[str, ...]  # libraries and programs they mount that are not on the host any more
    driver_versions: tuple[str, ...]  # driver releases that the mounted libraries' names carry


_MODULES = frozenset(
    """
    gdrdrv ib_core ib_umad mlx5_ib nouveau nova_core nvidia nvidia_drm nvidia_fs nvidia_modeset nvidia_peermem nv_peer_mem
    nvidia_uvm nvidia_vgpu_vfio vfio_pci
    """.split()  # noqa: SIM905 (a list to be read)
)


@probe
def device_nodes(host: Host, driver: NvidiaDriver) -> DeviceNodes:  # noqa: ARG001  nodes of an unloaded driver mean nothing
    """The driver's device nodes: numbers, permissions, and whether this process may use them.

    Sources: ``/dev/nvidia*`` (looked at, never opened), ``/proc/devices``, ``/proc/driver/nvidia/gpus``.
    """
    nodes = []
    for path in host.glob("/dev/nvidia*"):
        if re.fullmatch(r"/dev/nvidia(\d+|ctl|-uvm|-uvm-tools|-modeset|-nvswitch\w*)", path):
            found = host.node(path)
            nodes.append(
                DeviceNode(
                    path=path,
                    may_use=bool(found["may_use"]),
                    **{name: found[name] for name in ("major", "minor", "mode", "uid", "gid")},
                )
            )
    majors = re.findall(r"^\s*(\d+) (nvidia\S*)$", host.read("/proc/devices"), re.MULTILINE)
    minors = None
    if host.exists("/proc/driver/nvidia/gpus"):
        texts = [host.read(path) for path in host.glob("/proc/driver/nvidia/gpus/*/information")]
        minors = tuple(sorted(int(n) for text in texts for n in re.findall(r"^Device Minor:\s*(\d+)", text, re.M)))
    return DeviceNodes(
        nodes=tuple(nodes),
        majors=tuple(sorted((name, int(number)) for number, name in majors)),
        gpu_minors=minors,
    )


@probe
def gpu_modules(host: Host, cards: NvidiaCards) -> GpuModules:  # noqa: ARG001  they matter where a card is
    """Kernel modules around the GPU: unified memory, direct network transfers, other drivers that could hold the card.

    Sources: ``/proc/modules``, ``/sys/class/infiniband``, ``/proc/driver/nvidia/params``.
    """
    names = {line.split(" ", 1)[0] for line in host.read("/proc/modules").splitlines()}
    settings = or_none(host.read, "/proc/driver/nvidia/params", reasons=NotKnown) or ""
    only_root = re.search(r"^RmProfilingAdminOnly: (\d)", settings, re.MULTILINE)
    return GpuModules(
        loaded=tuple(sorted(names & _MODULES)),
        infiniband=tuple(posixpath.basename(path) for path in host.glob("/sys/class/infiniband/*")),
        modprobe_helper=or_none(host.which, "nvidia-modprobe") is not None,
        profiling_for_all=only_root[1] == "0" if only_root else None,
    )


@probe
def fabric_manager(host: Host, cards: NvidiaCards) -> FabricManager:  # noqa: ARG001  without a card there is nothing to manage
    """The installed fabric manager's version.

    Source: ``nv-fabricmanager --version``, where the program is installed.
    """
    program = host.which("nv-fabricmanager")
    said = host.run(program, "--version")
    found = re.search(r"\d+\.\d+(?:\.\d+)?", said)
    if found is None:
        raise Missing(f"{program} --version names no version")
    return FabricManager(version=found[0])


@probe
def cdi_devices(host: Host, specs: CdiSpecs) -> CdiDevices:
    """What the CDI specifications hand into containers, against what is on the host now.

    Sources: the files that ``CdiSpecs`` found, and the nodes and files that they name.
    """
    nodes: dict[tuple[str, str], CdiNode] = {}
    files: set[str] = set()
    for spec in specs.specs:
        if not spec.kind.startswith("nvidia.com/"):
            continue
        named, mounted = _json(host.read(spec.path)) if spec.path.endswith(".json") else _yaml(host.read(spec.path))
        files |= mounted
        for path, major, minor in named:
            found = or_none(host.node, path)
            nodes[path, spec.path] = CdiNode(
                path=path,
                spec=spec.path,
                major=major,
                minor=minor,
                found_major=found["major"] if found else None,
                found_minor=found["minor"] if found else None,
            )
    if not nodes:
        raise Absent("no CDI specification of NVIDIA's names a device node")
    versions = {m[1] for f in files if (m := re.search(r"/lib(?:cuda|nvidia-ml)\.so\.(\d+\.[\d.]+)$", f))}
    return CdiDevices(
        nodes=tuple(nodes[key] for key in sorted(nodes)),
        lost_files=tuple(sorted(path for path in files if not host.exists(path))),
        driver_versions=tuple(sorted(versions)),
    )


def _json(text: str) -> tuple[list[tuple[str, int | None, int | None]], set[str]]:
    """Device nodes with their numbers, and files to mount, of a specification in JSON."""
    content: dict[str, Any] = json.loads(text)
    edits = [content.get("containerEdits") or {}]
    edits += [device.get("containerEdits") or {} for device in content.get("devices") or ()]
    nodes = [
        (str(n.get("hostPath") or n["path"]), n.get("major"), n.get("minor"))
        for edit in edits
        for n in edit.get("deviceNodes") or ()
    ]
    return nodes, {str(m["hostPath"]) for edit in edits for m in edit.get("mounts") or ()}


def _yaml(text: str) -> tuple[list[tuple[str, int | None, int | None]], set[str]]:
    """The same of YAML as nvidia-ctk writes it: block style, one key a line (no YAML reader in the standard library)."""
    nodes: list[tuple[str, int | None, int | None]] = []
    for item in re.split(r"\n(?= *- )", text):
        keys = dict(re.findall(r"^ *(?:- )*(\w+): *['\"]?([^'\"\n]*?)['\"]?$", item, re.MULTILINE))
        path = keys.get("hostPath") if keys.get("hostPath", "").startswith("/dev/") else keys.get("path", "")
        if path and path.startswith("/dev/"):
            nodes.append((path, _int(keys.get("major")), _int(keys.get("minor"))))
    mounts = re.findall(r"^ *(?:- )*hostPath: *['\"]?([^'\"\n]*?)['\"]?$", text, re.MULTILINE)
    return nodes, {path for path in mounts if not path.startswith("/dev/")}


def _int(text: str | None) -> int | None:
    return int(text) if text and text.isdigit() else None
