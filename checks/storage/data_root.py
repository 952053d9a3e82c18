"""The container engine's data root: room, inodes and the disk under it."""

from __future__ import annotations

from collections.abc import Iterator

from provision.check import ERROR, WARNING, Finding, NotApplicable, check
from provision.checks._words import data_root, listed, mount_of, size, turning, unclear
from provision.fact import Absent, Missing
from provision.facts.disks import Disks, Mounts
from provision.facts.docker import DaemonJson, Docker, Images
from provision.facts.system import System
from provision.plan import Rollout, Storage

_COPYING_DRIVERS = ("vfs",)  # it has no layers: every step of a build and every container is a full copy


def _built_already(images: Images | Absent | Missing, rollout: Rollout) -> None:
    if isinstance(images, Images) and any(rollout.image in image.tags for image in images.images):
        raise NotApplicable(f"{rollout.image} is built already; the next version is judged when it is planned")


@check("STO001", ERROR, cause="disk-full")
def data_root_too_small(
    mounts: Mounts,
    docker: Docker | Absent | Missing,
    daemon_json: DaemonJson | Absent | Missing,
    images: Images | Absent | Missing,
    rollout: Rollout,
    plan: Storage,
) -> Iterator[Finding]:
    """The engine's data root has too little room for the image.

    A build holds its base, the wheels and the finished layers at the same time, and the version before stays as the
    one to go back to. A build that runs out of room fails late and leaves the disk full for everything else.

    ## Fix
    Remove what is not used (`docker image prune` asks first), or let the engine keep its data on a larger disk: `data-root`
    in /etc/docker/daemon.json.

    ## Proof
    DEP-P1: the image exists and what is installed in it is the lock.
    """
    _built_already(images, rollout)
    folder = data_root(docker, daemon_json)
    free = docker.data_root_free_bytes if isinstance(docker, Docker) else None
    if free is None:
        mount = mount_of(folder, mounts)
        if mount.free_bytes is None:
            raise Missing(f"{mount.mount_point}: {mount.unreachable}")
        free = mount.free_bytes
    if free < plan.image_room_bytes:
        yield Finding(
            f"{folder} has {size(free)} free; building the image needs {size(plan.image_room_bytes)}",
            measured={"free_bytes": free},
            needed={"free_bytes": plan.image_room_bytes},
            fix=(
                "docker system df",
                "docker image prune",
                f"or set data-root in /etc/docker/daemon.json (now {folder})",
            ),
        )


@check("STO002", ERROR, cause="disk-full")
def data_root_out_of_inodes(
    mounts: Mounts,
    docker: Docker | Absent | Missing,
    daemon_json: DaemonJson | Absent | Missing,
    images: Images | Absent | Missing,
    rollout: Rollout,
    plan: Storage,
) -> Iterator[Finding]:
    """The engine's data root has too few inodes left for the image's files.

    A Python environment with torch is tens of thousands of small files. An ext4 disk made with few inodes is full
    ("no space left on device") while `df` still shows free gigabytes.

    ## Fix
    Remove what is not used, or move the data root to a file system with more inodes (xfs and btrfs have no fixed number).

    ## Proof
    DEP-P1: the image exists and what is installed in it is the lock.
    """
    _built_already(images, rollout)
    mount = mount_of(data_root(docker, daemon_json), mounts)
    if mount.inodes_total == 0:
        raise NotApplicable(f"{mount.filesystem} has no fixed number of inodes")
    if mount.inodes_free is None:
        raise Missing(f"{mount.mount_point}: {mount.unreachable}")
    if mount.inodes_free < plan.image_inodes:
        yield Finding(
            f"{mount.mount_point} has {mount.inodes_free} free inodes; the image needs {plan.image_inodes}",
            measured={"inodes_free": mount.inodes_free},
            needed={"inodes_free": plan.image_inodes},
            fix=(f"df -i {mount.mount_point}", "docker image prune"),
        )


@check("STO003", ERROR, cause="read-only-file-system")
def state_folder_read_only(mounts: Mounts, plan: Storage) -> Iterator[Finding]:
    """The folder that keeps this tool's state lies on a read-only file system.

    The evidence of each run, the wheels and what an undo puts back are kept there. A file system that became read-only by
    itself was usually remounted so by the kernel after disk errors.

    ## Fix
    Look for disk errors in the kernel log first; then remount it, or choose another `state_folder` in provision.toml.

    ## Proof
    None of its own: a run that cannot write its evidence stops before its first change.
    """
    mount = mount_of(plan.state_folder, mounts)
    if "ro" in mount.options:
        yield Finding(
            f"{plan.state_folder} lies on {mount.mount_point}, which is mounted read-only",
            measured={"options": list(mount.options)},
            needed={"options": ["rw"]},
            fix=("dmesg | grep -i -e 'i/o error' -e 'remounting'", f"mount -o remount,rw {mount.mount_point}"),
        )


@check("STO004", WARNING, cause="slow-storage")
def data_root_on_rotational_disk(
    mounts: Mounts,
    disks: Disks,
    system: System,
    docker: Docker | Absent | Missing,
    daemon_json: DaemonJson | Absent | Missing,
) -> Iterator[Finding]:
    """The engine keeps its data on a rotating disk.

    A hard disk has one head: 0.16 GB/s were measured for one sequential reader on a 14 TB disk (PocketLLM, pull request
    53), which is a quarter of an hour for 140 GB of weights, and a hundredth of that where the file is read in small
    pieces or by several readers. It is paid at every start.

    A virtual disk is called rotating by most hypervisors whatever it lies on, so of it the kernel's word says nothing.

    ## Fix
    Keep images and weights on an SSD or NVMe disk: `data-root` in /etc/docker/daemon.json.

    ## Proof
    STO-P1: the weights load within the planned time.
    """
    folder = data_root(docker, daemon_json)
    found, virtual_disks = turning(mount_of(folder, mounts), disks)
    if found:
        virtual = system.virtualization != "none"
        yield Finding(
            f"{folder} lies on {listed(found)}, which the kernel calls a rotating disk",
            measured={"disks": found},
            needed={"rotational": False},
            fix=("set data-root in /etc/docker/daemon.json to a folder on an SSD",),
            certainty="possible" if virtual else "certain",
            tell_apart=(f"provision disk {folder}",) if virtual else (),
        )
    elif virtual_disks:
        raise unclear(virtual_disks)


@check("STO005", ERROR, cause="engine-storage-unsuitable")
def data_root_on_network_file_system(
    mounts: Mounts, docker: Docker | Absent | Missing, daemon_json: DaemonJson | Absent | Missing
) -> Iterator[Finding]:
    """The engine keeps its data on a network file system.

    The overlay file system cannot write its layers to NFS, CIFS or a FUSE mount, so the engine fails to start, or falls
    back to copying every layer. Weights may well be read over a network; the engine's own data must be local.

    ## Fix
    Set `data-root` in /etc/docker/daemon.json to a folder on a local disk.

    ## Proof
    DEP-P1: the image is built and runs.
    """
    folder = data_root(docker, daemon_json)
    mount = mount_of(folder, mounts)
    if mount.network:
        yield Finding(
            f"{folder} lies on {mount.mount_point}, a network file system ({mount.filesystem})",
            measured={"filesystem": mount.filesystem},
            needed={"network": False},
            fix=("set data-root in /etc/docker/daemon.json to a folder on a local disk",),
        )


@check("STO006", WARNING, cause="engine-storage-unsuitable")
def storage_driver_copies_every_layer(docker: Docker) -> Iterator[Finding]:
    """The engine's storage driver copies every layer in full.

    The vfs driver has no layers: each step of a build and each container is a complete copy. A 5 GB image of ten steps
    takes tens of gigabytes, and starting a container takes as long as copying the image. The engine chooses vfs by itself
    where overlay2 does not work: inside a container, on a network file system, on an old kernel.

    ## Fix
    Put the data root on a local ext4 or xfs file system, and restart the engine; it then chooses overlay2.

    ## Proof
    None of its own: the storage driver is the engine's. `docker info` names it.
    """
    if docker.storage_driver in _COPYING_DRIVERS:
        yield Finding(
            f"the engine uses the storage driver {docker.storage_driver}, which copies whole images; overlay2 shares layers",
            measured={"storage_driver": docker.storage_driver, "filesystem": docker.data_root_filesystem},
            needed={"storage_driver": "overlay2"},
            fix=("docker info --format '{{.Driver}} {{.DriverStatus}}'", f"df -T {docker.data_root}"),
        )


@check("STO007", WARNING, cause="mount-unreachable")
def file_system_does_not_answer(mounts: Mounts) -> Iterator[Finding]:
    """A mounted file system does not answer.

    A network file system whose server is gone blocks every process that touches it, in a state that cannot be killed.
    An engine that looks for weights there hangs at its start without a message. One that this user may not look into is
    not judged.

    ## Fix
    Bring the server back, or unmount it (`umount -l` lets go of it even while it hangs).

    ## Proof
    None: it is somebody else's server. `provision doctor --select STO007` asks again.
    """
    silent = [mount for mount in mounts.mounts if mount.unreachable is not None]
    closed = [mount for mount in silent if (mount.unreachable or "").endswith("permission denied")]
    if closed and len(closed) == len(silent):
        raise Missing(listed([f"{mount.mount_point}: permission denied" for mount in closed]))
    for mount in silent:
        if mount not in closed:
            yield Finding(
                f"{mount.mount_point} ({mount.filesystem}) does not answer: {mount.unreachable}",
                measured={"mount_point": mount.mount_point},
                needed={"reachable": True},
                fix=(f"umount -l {mount.mount_point}",),
            )
