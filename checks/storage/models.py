"""Folders of models and caches: room, place, permissions."""

from __future__ import annotations

from collections.abc import Iterator

from provision.catalog import tables
from provision.check import NOTE, WARNING, Finding, NotApplicable, check
from provision.checks._words import all_models, listed, mount_of, size, turning, unclear
from provision.fact import Missing
from provision.facts.caches import CacheFolder, CacheFolders
from provision.facts.disks import Disks, Mount, Mounts
from provision.facts.models import ModelFiles
from provision.facts.system import System

_MEMORY = ("ramfs", "tmpfs")
_LAYERED = ("aufs", "overlay")


def _models(folders: CacheFolders) -> list[CacheFolder]:
    found = [one for one in folders.folders if one.purpose == "models" and one.there]
    if not found:
        unknown = "; ".join(one.unknown for one in folders.folders if one.purpose == "models" and one.unknown)
        raise Missing(unknown) if unknown else NotApplicable("no folder of models is here yet")
    return found


def _mounted(folders: list[CacheFolder], mounts: Mounts) -> list[tuple[Mount, list[str]]]:
    """Each mount once, with the folders on it."""
    found: dict[str, tuple[Mount, list[str]]] = {}
    for one in folders:
        mount = mount_of(one.path, mounts)
        found.setdefault(mount.mount_point, (mount, []))[1].append(one.path)
    return list(found.values())


@check("STO050", WARNING, cause="disk-full")
def model_folder_nearly_full(folders: CacheFolders, mounts: Mounts) -> Iterator[Finding]:
    """The folder for models has no room for one more small model.

    A download that runs out of room leaves a partial file behind and the disk full for everybody else; hubs keep the
    partial file and go on from it only if the room appears.

    ## Fix
    Remove models that are not used (`hf cache ls`, `hf cache rm`), or point HF_HOME at a larger disk.

    ## Proof
    None of its own: `provision doctor --select STO050` measures again.
    """
    row = tables.thresholds().limit["model_room_bytes"]
    for mount, paths in _mounted(_models(folders), mounts):
        if mount.free_bytes is None:
            raise Missing(f"{mount.mount_point}: {mount.unreachable}")
        if mount.free_bytes < row.value:
            yield Finding(
                f"{listed(paths)} has {size(mount.free_bytes)} free; a small model (8 billion parameters) is {size(row.value)}",
                measured={"free_bytes": mount.free_bytes, "mount_point": mount.mount_point},
                needed={"free_bytes": row.value},
                fix=("hf cache ls", f"df -h {mount.mount_point}"),
            )


@check("STO051", WARNING, cause="disk-full")
def model_folder_out_of_inodes(folders: CacheFolders, mounts: Mounts) -> Iterator[Finding]:
    """The folder for models and caches is on a file system with few inodes left.

    Compiled kernels, hub caches and Python environments are tens of thousands of small files. Without inodes every new
    file fails with "no space left on device", while `df` still shows free gigabytes.

    ## Fix
    Remove caches of small files (`~/.triton/cache`, `~/.cache/torch_extensions`, old environments), or use xfs or btrfs.

    ## Proof
    None of its own: `provision doctor --select STO051` counts again.
    """
    row = tables.thresholds().limit["model_inodes"]
    for mount, paths in _mounted([one for one in folders.folders if one.there], mounts):
        if mount.inodes_free is not None and mount.inodes_total and mount.inodes_free < row.value:
            yield Finding(
                f"{listed(paths)} lies on {mount.mount_point}, which has {mount.inodes_free} free inodes; "
                f"one torch is {row.value} files",
                measured={"inodes_free": mount.inodes_free, "mount_point": mount.mount_point},
                needed={"inodes_free": row.value},
                fix=(f"df -i {mount.mount_point}", f"du --inodes -d 2 {mount.mount_point} | sort -n | tail"),
            )


@check("STO052", WARNING, cause="slow-storage")
def models_on_network_file_system(files: ModelFiles, mounts: Mounts) -> Iterator[Finding]:
    """Models lie on a network file system.

    Loaders map weight files and touch them in the model's own order: over a network each touch is a round trip. Measured
    from a cold cache: 0.15 to 0.4 GB/s where the network gave 2 (huggingface/transformers#48512, SGLang pull request 7469).
    Only NFS and Lustre are read ahead by recent vLLM.

    ## Fix
    Copy the model to a local NVMe disk before serving. Or load without mapping: vLLM `--safetensors-load-strategy eager`,
    SGLang `--weight-loader-disable-mmap`.

    ## Proof
    STO-P1: the weights load within the planned time.
    """
    for folder in all_models(files):
        mount = mount_of(folder.path, mounts)
        if mount.network:
            yield Finding(
                f"{folder.path} ({size(folder.bytes)} seen) lies on {mount.mount_point}, over a network ({mount.filesystem})",
                measured={"filesystem": mount.filesystem, "bytes": folder.bytes},
                needed={"network": False},
                fix=(
                    f"provision disk {folder.path}",
                    "cp -r MODEL /local/disk   # or --safetensors-load-strategy eager",
                ),
            )


@check("STO053", WARNING, cause="slow-storage")
def models_on_rotating_disk(files: ModelFiles, mounts: Mounts, disks: Disks, system: System) -> Iterator[Finding]:
    """Models lie on a rotating disk.

    One head reads 0.16 GB/s for one sequential reader (measured on a 14 TB disk, PocketLLM, pull request 53) and a
    hundredth of it for several, as with tensor parallelism. It is paid at every start. Of a virtual disk the
    kernel's word says nothing.

    ## Fix
    Keep models on an SSD or NVMe disk.

    ## Proof
    STO-P1: the weights load within the planned time.
    """
    virtual_disks: list[str] = []
    for folder in all_models(files):
        found, claiming = turning(mount_of(folder.path, mounts), disks)
        virtual_disks += claiming
        if found:
            virtual = system.virtualization != "none"
            yield Finding(
                f"{folder.path} lies on {listed(found)}, which the kernel calls a rotating disk",
                measured={"disks": found},
                needed={"rotational": False},
                fix=("move the models to an SSD and set HF_HOME to their place",),
                certainty="possible" if virtual else "certain",
                tell_apart=(f"provision disk {folder.path}",) if virtual else (),
            )
    if virtual_disks:
        raise unclear(virtual_disks)


@check("STO054", WARNING, cause="models-in-memory")
def models_in_memory_file_system(files: ModelFiles, mounts: Mounts) -> Iterator[Finding]:
    """Models lie in a file system that is memory.

    Files in a tmpfs take main memory that nobody can take back, count against a container's limit, and are gone after a
    reboot. A model that is also loaded is there twice.

    ## Fix
    Keep models on a disk; the page cache makes the second load as fast, and gives way when memory is needed.

    ## Proof
    None of its own: `provision doctor --select STO054` looks again.
    """
    for folder in all_models(files):
        mount = mount_of(folder.path, mounts)
        if mount.filesystem in _MEMORY:
            yield Finding(
                f"{folder.path} holds {size(folder.bytes)} in {mount.mount_point}, which is memory ({mount.filesystem})",
                measured={"bytes": folder.bytes, "filesystem": mount.filesystem},
                needed={"filesystem": "on a disk"},
                fix=(f"du -sh {folder.path}", "export HF_HOME=/a/folder/on/a/disk"),
            )


@check("STO055", NOTE, cause="models-in-container-layer")
def models_in_container_layer(files: ModelFiles, mounts: Mounts) -> Iterator[Finding]:
    """Models lie in a container's own layer.

    What a container writes outside its volumes is kept as a difference to its image: it is gone with the container, is
    downloaded again by the next one, and cannot be shared.

    ## Fix
    Mount a folder of the machine: `-v /srv/models:/root/.cache/huggingface`.

    ## Proof
    None of its own: `provision doctor --select STO055`, run in the container, looks again.
    """
    for folder in all_models(files):
        mount = mount_of(folder.path, mounts)
        if mount.filesystem in _LAYERED:
            yield Finding(
                f"{folder.path} holds {size(folder.bytes)} in the container's own layer ({mount.filesystem})",
                measured={"bytes": folder.bytes, "filesystem": mount.filesystem},
                needed={"filesystem": "a volume"},
                fix=(f"docker run -v /srv/models:{folder.path} …",),
            )


@check("STO056", WARNING, cause="permission-cache-dir")
def cache_folder_not_writable(folders: CacheFolders, mounts: Mounts) -> Iterator[Finding]:
    """A folder that models or compiled kernels are written to is not writable for this user.

    Downloads and compilers fail with "Permission denied" deep inside a library, often after minutes. It happens when the
    folder was made by root, or by a container that runs as root, and when a service has a read-only home.

    ## Fix
    Give the folder to the user who runs the engine, or name another one in the variable.

    ## Proof
    None of its own: `provision doctor --select STO056`, run as the engine's user, asks again.
    """
    for one in folders.folders:
        if one.writable is False:
            read_only = "ro" in mount_of(one.path, mounts).options
            why = f"{one.mount_point} is mounted read-only" if read_only else "its permissions do not allow it"
            what = one.path if one.there else f"{one.path} cannot be made: it"
            yield Finding(
                f"{what} is not writable for this user: {why}"
                + (f" ({one.named_by})" if one.named_by != "default" else ""),
                measured={"path": one.path, "writable": False, "named_by": one.named_by},
                needed={"writable": True},
                fix=(f"ls -ld {one.path}", f'chown -R "$(id -u)" {one.path}   # or name another folder'),
            )
    unknown = "; ".join(one.unknown for one in folders.folders if one.writable is None)
    if unknown:
        raise Missing(unknown)


@check("STO057", WARNING, cause="permission-cache-dir")
def compiled_kernels_may_not_run(folders: CacheFolders, mounts: Mounts) -> Iterator[Finding]:
    """Compiled kernels go to a file system whose files may not be run.

    Triton, torch.compile and torch's extensions write shared objects and load them. On a mount with `noexec` this fails
    with "failed to map segment from shared object: Operation not permitted".

    ## Fix
    Name a folder on another file system (TRITON_CACHE_DIR, TORCHINDUCTOR_CACHE_DIR, TMPDIR), or remount with `exec`.

    ## Proof
    None of its own: `provision doctor --select STO057` reads the mount's options again.
    """
    for mount, paths in _mounted([one for one in folders.folders if one.purpose != "models"], mounts):
        if "noexec" in mount.options:
            yield Finding(
                f"{listed(paths)} lies on {mount.mount_point}, which is mounted noexec",
                measured={"mount_point": mount.mount_point, "options": list(mount.options)},
                needed={"options": ["exec"]},
                fix=(
                    "export TMPDIR=/a/folder/that/may/run   # and TRITON_CACHE_DIR",
                    f"mount -o remount,exec {mount.mount_point}",
                ),
            )


@check("STO058", WARNING, cause="slow-storage")
def model_folder_mounted_synchronously(folders: CacheFolders, mounts: Mounts) -> Iterator[Finding]:
    """The folder for models is on a file system that writes every byte at once.

    With the option `sync` (and on network file systems with `sync` exports) a download waits for the disk after each
    piece: gigabytes take hours. `strictatime` adds a write to every read.

    ## Fix
    Take `sync` or `strictatime` out of /etc/fstab and remount.

    ## Proof
    None of its own: `provision doctor --select STO058` reads the mount's options again.
    """
    for mount, paths in _mounted(_models(folders), mounts):
        bad = ["sync"] if "sync" in mount.options else []
        if mount.disks and not {"noatime", "relatime"} & set(mount.options):
            bad.append("strictatime")  # the kernel shows it only by what is not there
        if bad:
            yield Finding(
                f"{listed(paths)} lies on {mount.mount_point}, which is mounted with {listed(bad)}",
                measured={"mount_point": mount.mount_point, "options": bad},
                needed={"options": ["async", "relatime"]},
                fix=(
                    f"mount -o remount,async,relatime {mount.mount_point}",
                    "grep -n -e sync -e strictatime /etc/fstab",
                ),
            )
