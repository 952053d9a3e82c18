"""What happens at the next start: taken ports, pending reboots, containers that do not come back, versions nobody can name."""

from __future__ import annotations

from collections.abc import Iterator

from provision.catalog import tables
from provision.check import NOTE, WARNING, Finding, NotApplicable, check
from provision.checks._words import listed, newest_to_come
from provision.facts.containers import Containers
from provision.facts.docker import Images
from provision.facts.kernels import Kernels
from provision.facts.listeners import Listeners
from provision.facts.upgrades import RebootRequired
from provision.plan import Rollout


@check("ROL050", NOTE, cause="port-in-use")
def engine_port_taken(listeners: Listeners) -> Iterator[Finding]:
    """A port that an inference engine would take is taken.

    If an engine runs there, all is well. If not, the next one fails at its start with "address already in use", after it
    has loaded the weights.

    ## Fix
    Stop what holds it, or give the engine another port.

    ## Proof
    None of its own: `provision doctor --select ROL050` looks again.
    """
    rows = {row.port: row for row in tables.ports()}
    for one in listeners.listeners:
        if one.port in rows:
            yield Finding(
                f"port {one.port}, {rows[one.port].program}, is taken",
                measured={"port": one.port},
                needed={"free": True},
                fix=(f"ss -ltnp 'sport = :{one.port}'   # who holds it", "or give the engine another --port"),
                certainty="possible",
                tell_apart=(f"ss -ltnp 'sport = :{one.port}'",),
            )


@check("ROL051", WARNING, cause="container-not-restarted")
def serving_container_not_restarted(containers: Containers) -> Iterator[Finding]:
    """A container that serves on a port will not come back by itself.

    Without a restart policy a crash or a reboot ends it for good, and nobody is told.

    ## Fix
    `docker update --restart unless-stopped NAME`.

    ## Proof
    None of its own: `provision doctor --select ROL051` asks the engine again.
    """
    for one in containers.running:
        if one.restart == "no" and (one.open_ports or one.gpus):
            what = f"serves on port {listed(one.open_ports)}" if one.open_ports else "uses GPUs"
            yield Finding(
                f"the container {one.name} {what} and has no restart policy",
                measured={"container": one.name, "restart": "no"},
                needed={"restart": "unless-stopped"},
                fix=(f"docker update --restart unless-stopped {one.name}",),
            )


@check("ROL052", WARNING, cause="no-way-back")
def previous_image_gone(images: Images, plan: Rollout) -> Iterator[Finding]:
    """The image to go back to is not there any more.

    If the new version fails, the old one must be built again first, and its packages may have left the index by then.

    ## Fix
    Build it from its lock, and keep it: `docker image prune` removes what no container uses only without `-a`.

    ## Proof
    DEP-P1: what is installed in the image is the lock, no more and no less.
    """
    if not plan.previous_tag:
        raise NotApplicable("there was no version before this one")
    wanted = f"{plan.repository}:{plan.previous_tag}"
    if not any(wanted in image.tags for image in images.images):
        yield Finding(
            f"{wanted}, the version before, is not among the images",
            measured={"images": sorted(tag for image in images.images for tag in image.tags)},
            needed={"image": wanted},
            fix=("docker image ls",),
        )


@check("ROL053", NOTE, cause="reboot-due")
def running_kernel_is_not_the_newest(kernels: Kernels) -> Iterator[Finding]:
    """A newer kernel is installed than the one that runs.

    The machine will start with it at the next reboot, planned or not. What was built for the running kernel (drivers above
    all) then has to be there for the new one as well: CUD053 looks at that.

    ## Fix
    Reboot when it suits, not when the power fails.

    ## Proof
    None of its own: `provision doctor --select ROL053` looks again.
    """
    last = newest_to_come(kernels)
    if last is not None:
        yield Finding(
            f"{kernels.running} runs; {last} is installed and starts at the next reboot",
            measured={"running": kernels.running},
            needed={"running": last},
            fix=("reboot   # when it suits",),
        )


@check("ROL054", NOTE, cause="reboot-due")
def packages_wait_for_reboot(reboot: RebootRequired) -> Iterator[Finding]:
    """Upgraded packages wait for a reboot.

    Until then the old version runs and the new one lies on disk. For the C library, the kernel and the NVIDIA driver the two
    meet in programs that start now.

    ## Fix
    Reboot when it suits.

    ## Proof
    None of its own: `provision doctor --select ROL054` looks again.
    """
    names = f" for {listed(reboot.packages)}" if reboot.packages else ""
    yield Finding(
        f"a reboot is due{names}",
        measured={"packages": list(reboot.packages)},
        needed={"packages": []},
        fix=("reboot   # when it suits",),
    )


@check("ROL055", NOTE, cause="version-not-named")
def container_from_a_moving_tag(containers: Containers) -> Iterator[Finding]:
    """A container that serves or uses GPUs was started from the tag "latest".

    The tag says nothing about what runs: the next pull may bring another version, and there is no name to go back to.

    ## Fix
    Name a version, better a digest (`image@sha256:…`).

    ## Proof
    DEP-P1: what is installed in the image is the lock, no more and no less.
    """
    for one in containers.running:
        name = one.image.rpartition("/")[2]
        moving = name.endswith(":latest") or (":" not in name and "@" not in name and not name.startswith("sha256"))
        if moving and (one.open_ports or one.gpus):
            yield Finding(
                f"the container {one.name} runs {one.image}, a tag that moves",
                measured={"container": one.name, "image": one.image},
                needed={"image": "a version or a digest"},
                fix=(f"docker inspect {one.name} --format '{{{{.Image}}}}'",),
            )
