"""Accounts, containers and disks: who else gets at weights, prompts and keys on this machine."""

from __future__ import annotations

from collections.abc import Iterator

from provision.check import ERROR, NOTE, WARNING, Finding, NotApplicable, check
from provision.checks._words import counted, mount_of
from provision.fact import Absent, Missing
from provision.facts.block import Encryption
from provision.facts.caches import CacheFolders
from provision.facts.containers import Containers
from provision.facts.counters import KernelCounters
from provision.facts.disks import Mounts
from provision.facts.exposure import DockerAccess
from provision.facts.memory_settings import ProcessLimits
from provision.facts.system import System


@check("ISO055", ERROR, cause="docker-socket-open")
def docker_socket_open_to_all(access: DockerAccess) -> Iterator[Finding]:
    """Every account of the machine may talk to the Docker engine.

    The socket's permissions let everybody write. Whoever talks to the engine is root: one container with the disk mounted.

    ## Fix
    `chmod 660` and group docker; the engine sets this itself when it starts.

    ## Proof
    None of its own: `provision doctor --select ISO055` looks again.
    """
    if access.mode & 0o002:
        yield Finding(
            f"{access.socket} can be written by everybody (mode {access.mode:04o})",
            measured={"mode": f"{access.mode:04o}"},
            needed={"mode": "0660"},
            fix=(f"chmod 660 {access.socket}", "systemctl cat docker.socket | grep -i SocketMode"),
        )


@check("ISO056", NOTE, cause="docker-group")
def accounts_in_docker_group(access: DockerAccess) -> Iterator[Finding]:
    """Accounts are in the group that owns the Docker socket.

    The group is root without a password. That may be meant on a machine of one person; on a shared one it undoes every
    other permission. No account is named here.

    ## Fix
    Take accounts out (`gpasswd -d USER docker`), or use a rootless engine.

    ## Proof
    None of its own: `provision doctor --select ISO056` counts again.
    """
    if access.group_members is None:
        raise Missing("/etc/group could not be read")
    if access.group_members and not access.mode & 0o002:
        yield Finding(
            f"{counted(access.group_members, 'account')} beside root may talk to the Docker engine, which makes them root",
            measured={"accounts": access.group_members},
            needed={"accounts": 0},
            fix=('getent group "$(stat -c %G /var/run/docker.sock)"',),
        )


@check("ISO057", WARNING, cause="container-privileged")
def privileged_container_runs(containers: Containers) -> Iterator[Finding]:
    """A container runs with every privilege of the machine.

    `--privileged` takes all walls down: the container sees every device, may load modules and mount disks. GPUs do not need
    it: `--gpus` or a CDI device is enough.

    ## Fix
    Start it without `--privileged`, with the devices and capabilities that it really needs.

    ## Proof
    ISO-P1: the container runs as nobody special, cannot change itself, and has no way out.
    """
    for one in containers.running:
        if one.privileged:
            yield Finding(
                f"the container {one.name} ({one.image}) runs privileged",
                measured={"container": one.name},
                needed={"privileged": False},
                fix=(f"docker inspect {one.name} --format '{{{{.HostConfig.Privileged}}}}'",),
            )


@check("ISO058", WARNING, cause="container-privileged")
def engine_socket_inside_container(containers: Containers) -> Iterator[Finding]:
    """A container has the Docker engine's own socket mounted.

    What runs in it can start containers with any privilege: it is root on the machine. Agents of monitoring and CI ask for
    it; most of them work through a proxy that passes only reading.

    ## Fix
    Put a filtering proxy between, or give the container what it asks the engine for in another way.

    ## Proof
    None of its own: `provision doctor --select ISO058` looks again.
    """
    for one in containers.running:
        if one.engine_socket:
            yield Finding(
                f"the container {one.name} ({one.image}) holds the engine's socket",
                measured={"container": one.name},
                needed={"engine_socket": False},
                fix=(f"docker inspect {one.name} --format '{{{{json .Mounts}}}}'",),
            )


@check("ISO059", NOTE, cause="disk-not-encrypted")
def models_on_plain_disk(
    folders: CacheFolders, mounts: Mounts, encryption: Encryption | Absent, system: System
) -> Iterator[Finding]:
    """The folder for models lies on a disk that is not encrypted.

    A disk that is sold, returned under warranty or stolen takes weights, prompts in logs and keys with it. Cloud disks are
    often encrypted below the machine, where it cannot be seen from inside.

    ## Fix
    LUKS below the file system (`cryptsetup`), or the provider's encryption.

    ## Proof
    None of its own: `provision doctor --select ISO059` looks again.
    """
    sealed = encryption.encrypted if isinstance(encryption, Encryption) else ()
    there = [one for one in folders.folders if one.purpose == "models" and one.there]
    if not there:
        raise NotApplicable("no folder of models is here yet")
    virtual = system.virtualization != "none"
    for mount in sorted(
        {m.mount_point: m for m in (mount_of(one.path, mounts) for one in there)}.values(), key=lambda m: m.mount_point
    ):
        if mount.network or not mount.disks or mount.filesystem in ("zfs", "bcachefs"):  # these encrypt by themselves
            continue
        if mount.source.removeprefix("/dev/mapper/") not in sealed:
            yield Finding(
                f"{mount.mount_point} ({mount.source}) is not encrypted",
                measured={"source": mount.source},
                needed={"encrypted": True},
                fix=("lsblk -o NAME,TYPE,MOUNTPOINT",),
                certainty="possible" if virtual else "likely",
                tell_apart=(
                    "ask the provider whether its disks are encrypted"
                    if virtual
                    else "sedutil-cli --scan   # drives that encrypt themselves",
                ),
            )


@check("ISO060", NOTE, cause="core-dump-of-engine")
def core_dumps_keep_prompts(limits: ProcessLimits, counters: KernelCounters) -> Iterator[Finding]:
    """A program that crashes leaves its memory in a file.

    An engine's memory holds weights, keys and other people's prompts. With core dumps unlimited and written as a plain file
    they lie in its working directory, tens of gigabytes at a time.

    ## Fix
    `ulimit -c 0` for the engine (`LimitCORE=0`, `--ulimit core=0`), or systemd-coredump with Storage=none.

    ## Proof
    None of its own: `provision doctor --select ISO060` reads the limit again.
    """
    if counters.core_pattern is None:
        raise Missing("/proc/sys/kernel/core_pattern cannot be read")
    if limits.core_bytes != 0 and not counters.core_pattern.startswith("|"):
        yield Finding(
            f"core dumps are written to {counters.core_pattern!r}, "
            + ("without a limit" if limits.core_bytes is None else f"up to {limits.core_bytes} bytes"),
            measured={"core_bytes": limits.core_bytes, "core_pattern": counters.core_pattern},
            needed={"core_bytes": 0},
            fix=("ulimit -c 0", "or, for a container: --ulimit core=0"),
        )


@check("ISO061", WARNING, cause="model-folder-writable")
def model_folder_writable_by_all(folders: CacheFolders) -> Iterator[Finding]:
    """Every account of the machine may change the models.

    Weights decide what the engine says, and code beside them runs in it. A folder that everybody may write to lets any
    account replace both.

    ## Fix
    Give the folder to the account that downloads, and let the engine's account only read it.

    ## Proof
    None of its own: `provision doctor --select ISO061` looks again.
    """
    for one in folders.folders:
        if (
            one.purpose == "models"
            and one.there
            and one.mode is not None
            and one.mode & 0o002
            and not one.mode & 0o1000
        ):
            yield Finding(
                f"{one.path} can be written by everybody (mode {one.mode:04o})",
                measured={"path": one.path, "mode": f"{one.mode:04o}"},
                needed={"mode": "0755"},
                fix=(f"chmod o-w {one.path}",),
            )
