"""The way from a program to the driver: kernel modules, device nodes, control groups, CDI."""

from __future__ import annotations

from collections.abc import Iterator

from provision.check import ERROR, WARNING, Finding, NotApplicable, check
from provision.checks._words import listed
from provision.fact import Absent, Missing
from provision.facts.driver import NvidiaDriver
from provision.facts.gpu_nodes import CdiDevices, DeviceNode, DeviceNodes, GpuModules
from provision.facts.pci import NvidiaCards
from provision.facts.system import System
from provision.spec import Spec

_READ_WRITE_BY_ALL = 0o006
_READ_WRITE_BY_GROUP = 0o060


@check("CUD020", ERROR, cause="device-nodes-broken")
def unified_memory_module_not_loaded(modules: GpuModules, driver: NvidiaDriver) -> Iterator[Finding]:
    """The driver's unified memory module, nvidia-uvm, is not loaded and nothing will load it.

    `nvidia-smi` works without it and CUDA does not: every program stops with "CUDA unknown error" (999) or finds no GPU.
    Where the setuid program nvidia-modprobe is installed, the first CUDA program loads the module; without it, or in a
    container, nobody does.

    ## Fix
    Load it now and at every start, or install the package nvidia-modprobe.

    ## Proof
    CUD-P4: a matrix product and a convolution on the GPU agree with the CPU.
    """
    if "nvidia_uvm" not in modules.loaded and not modules.modprobe_helper:
        yield Finding(
            f"the NVIDIA driver {driver.version} is loaded without nvidia-uvm, and nvidia-modprobe is not installed",
            measured={"loaded": list(modules.loaded), "modprobe_helper": False},
            needed={"loaded": ["nvidia_uvm"]},
            fix=("modprobe nvidia-uvm", "echo nvidia-uvm > /etc/modules-load.d/nvidia-uvm.conf"),
        )


@check("CUD021", ERROR, cause="device-nodes-broken")
def gpu_nodes_missing(nodes: DeviceNodes, modules: GpuModules, system: System) -> Iterator[Finding]:
    """Device nodes of the NVIDIA driver are missing under /dev.

    Programs reach a GPU through /dev/nvidia0 and its neighbours, the driver through /dev/nvidiactl, and CUDA's memory
    through /dev/nvidia-uvm. On a host nvidia-modprobe makes them when they are first needed; in a container only those
    are there that were passed in.

    ## Fix
    On a host: install nvidia-modprobe, or run `nvidia-smi` once as root at every start. In a container: start it with
    its GPUs.

    ## Proof
    CUD-P2: every parameter of the model is on the GPU.
    """
    if nodes.gpu_minors is None:
        raise Missing("/proc/driver/nvidia/gpus is not there to say which nodes there must be")
    if modules.modprobe_helper and system.container == "none":
        raise NotApplicable("nvidia-modprobe makes missing nodes when they are needed")
    wanted = ["/dev/nvidiactl", "/dev/nvidia-uvm", *(f"/dev/nvidia{minor}" for minor in nodes.gpu_minors)]
    lacking = [path for path in wanted if path not in {node.path for node in nodes.nodes}]
    if lacking:
        yield Finding(
            f"{listed(lacking)} {'is' if len(lacking) == 1 else 'are'} not there",
            measured={"missing": lacking},
            needed={"nodes": wanted},
            fix=(
                "nvidia-smi   # as root: makes the nodes of this start"
                if system.container == "none"
                else "docker run --gpus all …   # or --device nvidia.com/gpu=all",
            ),
        )


def _refused(nodes: DeviceNodes, by_mode: bool) -> list[DeviceNode]:
    return [
        node
        for node in nodes.nodes
        if not node.may_use and ((node.mode & _READ_WRITE_BY_ALL) != _READ_WRITE_BY_ALL) is by_mode
    ]


@check("CUD022", ERROR, cause="device-nodes-broken")
def gpu_nodes_closed_to_this_user(nodes: DeviceNodes) -> Iterator[Finding]:
    """This user may not use the device nodes of the GPUs.

    The driver's nodes are open to everybody unless somebody closed them (`NVreg_DeviceFileMode`, a udev rule). Then only
    their owner and group reach the GPUs, and for everyone else CUDA finds no device.

    ## Fix
    Add the user to the nodes' group and log in again. Where the group may not use them either, or is root's, take the
    restriction away instead and load the driver anew.

    ## Proof
    CUD-P2: every parameter of the model is on the GPU.
    """
    closed = _refused(nodes, by_mode=True)
    if closed:
        first = closed[0]
        yield Finding(
            f"{listed(node.path for node in closed)}: closed to this user (mode {first.mode:o}, group {first.gid})",
            measured={"closed": [node.path for node in closed], "mode": f"{first.mode:o}", "gid": first.gid},
            needed={"may_use": True},
            fix=(
                f"getent group {first.gid}   # then: usermod -aG GROUP USER"
                if first.gid and first.mode & _READ_WRITE_BY_GROUP == _READ_WRITE_BY_GROUP
                else "grep -rn -e NVreg_DeviceFile -e 'nvidia.*MODE=' /etc/modprobe.d /etc/udev/rules.d   # take it out",
            ),
        )


@check("CUD023", ERROR, cause="container-lost-gpu-cgroup")
def gpus_taken_by_the_control_group(nodes: DeviceNodes) -> Iterator[Finding]:
    """A control group keeps this container from the GPUs whose nodes it can see.

    The container worked, and since a `systemctl daemon-reload` on the host (package updates do one) NVML says "Unknown
    Error" and CUDA finds nothing: systemd wrote the container's device rules anew and left the GPUs out. The nodes are
    still there and open, and the kernel refuses them.

    ## Fix
    Create the container again. So that it stays: hand GPUs in through CDI or with explicit `--device` options, or let
    the engine keep its own groups (`"exec-opts": ["native.cgroupdriver=cgroupfs"]`).

    ## Proof
    CUD-P2: every parameter of the model is on the GPU.
    """
    taken = _refused(nodes, by_mode=False)
    if taken:
        yield Finding(
            f"{listed(node.path for node in taken)}: open to all by mode, and the kernel refuses this process",
            measured={"refused": [node.path for node in taken]},
            needed={"may_use": True},
            fix=("docker rm -f NAME; docker run --device nvidia.com/gpu=all …",),
        )


@check("CUD024", ERROR, cause="device-nodes-broken")
def gpu_nodes_of_another_number(nodes: DeviceNodes) -> Iterator[Finding]:
    """A device node of the NVIDIA driver has another number than the driver now has.

    The number of nvidia-uvm is given at every load. A node that was made before, or copied into an image or a container's
    specification, then leads nowhere: nvidia-smi works and CUDA says "unknown error" or "initialization error".

    ## Fix
    Remove the stale node; nvidia-modprobe or the container's runtime makes it anew.

    ## Proof
    CUD-P4: a matrix product and a convolution on the GPU agree with the CPU.
    """
    majors = dict(nodes.majors)
    for node in nodes.nodes:
        uvm = node.path.startswith("/dev/nvidia-uvm")
        right = majors.get("nvidia-uvm") if uvm else majors.get("nvidia", majors.get("nvidia-frontend"))
        if right is not None and node.major != right and "nvswitch" not in node.path:
            yield Finding(
                f"{node.path} has the major number {node.major}; the driver's is {right}",
                measured={"path": node.path, "major": node.major},
                needed={"major": right},
                fix=(f"rm {node.path}; nvidia-modprobe {'-u -c 0' if uvm else '-c 0'}",),
            )


@check("CUD025", WARNING, cause="cdi-spec-stale")
def cdi_specification_stale(cdi: CdiDevices, driver: NvidiaDriver) -> Iterator[Finding]:
    """A CDI specification names nodes, numbers or files that are no longer those of the host.

    The specification is a list written at one moment. After a driver upgrade or a reboot its library names and device
    numbers may be others: containers then do not start ("no such file or directory"), or see GPUs that CUDA cannot use.

    ## Fix
    Write it anew; since toolkit 1.18 nvidia-cdi-refresh.service does so by itself.

    ## Proof
    DEP-P1 covers the container; the specification is read again by `provision doctor --select CUD025`.
    """
    again = (
        "nvidia-ctk cdi generate --output=/var/run/cdi/nvidia.yaml",
        "systemctl restart nvidia-cdi-refresh.service",
    )
    gone = sorted({node.path for node in cdi.nodes if node.found_major is None})
    other = [
        node
        for node in cdi.nodes
        if node.major is not None
        and node.found_major is not None
        and (node.major, node.minor or 0) != (node.found_major, node.found_minor or 0)
    ]
    older = [version for version in cdi.driver_versions if version != driver.version]
    said = [
        *([f"it names {listed(gone)}, which {'is' if len(gone) == 1 else 'are'} not there"] if gone else []),
        *(
            f"it gives {n.path} the number {n.major}:{n.minor or 0}, which is {n.found_major}:{n.found_minor}"
            for n in other
        ),
        *([f"it mounts libraries of driver {listed(older)}; {driver.version} is loaded"] if older else []),
        *([f"it mounts {cdi.lost_files[0]}, which is gone"] if cdi.lost_files and not older else []),
    ]
    if said:
        yield Finding(
            f"{listed(sorted({node.spec for node in cdi.nodes}))}: {'; '.join(said)}",
            measured={"missing_nodes": gone, "lost_files": list(cdi.lost_files), "driver_versions": older},
            needed={"driver_version": driver.version},
            fix=again,
        )


@check("CUD042", WARNING, cause="gpu-held-by-another")
def card_held_for_virtual_machines(cards: NvidiaCards, spec: Spec) -> Iterator[Finding]:
    """A card is set aside for virtual machines and the NVIDIA driver cannot have it.

    vfio-pci holds the card for passing it through. Programs on this machine do not see it.

    ## Fix
    Where the card is meant for this machine: take its identifier out of vfio-pci's options and reboot.

    ## Proof
    CUD-P2: every parameter of the model is on the GPU.
    """
    held = [card for card in cards.cards if card.kernel_driver == "vfio-pci"]
    if spec.accelerator == "cpu":
        raise NotApplicable("provision.toml asks for the CPU")
    if held:
        yield Finding(
            f"vfio-pci holds {listed(card.address for card in held)}",
            measured={"cards": [card.address for card in held]},
            needed={"driver": "nvidia"},
            fix=("grep -rn vfio /etc/modprobe.d /proc/cmdline",),
        )


@check("CUD043", ERROR, cause="gpu-held-by-another")
def card_held_by_nova(cards: NvidiaCards, modules: GpuModules | Absent | Missing) -> Iterator[Finding]:
    """The kernel's new driver nova holds the NVIDIA card.

    From Linux 6.15 on kernels may bring nova-core, which claims Turing and newer cards at the start. It knows no CUDA, and
    the NVIDIA driver cannot take the card while it has it. Forbidding nouveau does not forbid it.

    ## Fix
    Forbid nova_core and nova_drm as well, rebuild the initial RAM disk, and reboot.

    ## Proof
    CUD-P2: every parameter of the model is on the GPU.
    """
    held = [card for card in cards.cards if (card.kernel_driver or "").lower().replace("-", "").startswith("nova")]
    if held:
        loaded = isinstance(modules, GpuModules) and "nova_core" in modules.loaded
        yield Finding(
            f"{held[0].kernel_driver} holds {listed(card.address for card in held)}",
            measured={"cards": [card.address for card in held], "nova_core_loaded": loaded},
            needed={"driver": "nvidia"},
            fix=(
                "printf 'blacklist nova_core\\nblacklist nova_drm\\n' > /etc/modprobe.d/nova.conf",
                "update-initramfs -u; reboot",
            ),
        )
