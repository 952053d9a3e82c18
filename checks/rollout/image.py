"""The image: which one there is, from which lock, and what a restart of the engine does."""

from __future__ import annotations

from collections.abc import Iterator

from provision.check import ERROR, NOTE, WARNING, Finding, NotApplicable, check
from provision.facts.docker import Docker, Image, Images
from provision.plan import Dependencies, Rollout

LOCK_LABEL = "io.provision.lock"  # provision/image.py writes it; tests/checks/test_rollout.py holds the two together


def _planned(images: Images, rollout: Rollout) -> Image | None:
    return next((image for image in images.images if rollout.image in image.tags), None)


@check("ROL001", ERROR, cause="image-from-another-lock")
def image_from_another_lock(images: Images, rollout: Rollout, plan: Dependencies) -> Iterator[Finding]:
    """The image with the planned name was built from another lock.

    The tag says which lock an image should hold, its label says which one it holds. An image that was tagged by hand,
    or built on another machine and loaded, runs other packages than the ones that were reviewed.

    ## Fix
    `provision up` builds it anew from the plan's lock.

    ## Proof
    DEP-P1: what is installed in the image is the lock, no more and no less.
    """
    image = _planned(images, rollout)
    if image is None:
        raise NotApplicable(f"{rollout.image} is not built (ROL002)")
    lock = dict(image.labels).get(LOCK_LABEL)
    if lock != plan.lock_sha256:
        said = f"lock {lock[:12]}" if lock else "no lock that it names"
        yield Finding(
            f"{rollout.image} was built from {said}; the plan's is {plan.lock} ({plan.lock_sha256[:12]})",
            measured={"lock_sha256": lock},
            needed={"lock_sha256": plan.lock_sha256},
            fix=("provision build",),
        )


@check("ROL002", WARNING, cause="image-not-built")
def planned_image_not_built(images: Images, rollout: Rollout) -> Iterator[Finding]:
    """The planned image is not there.

    Nothing can be proved, served or gone back to in a container whose image was never built or has been removed.

    ## Fix
    `provision up` builds it.

    ## Proof
    DEP-P1: what is installed in the image is the lock, no more and no less.
    """
    if _planned(images, rollout) is None:
        yield Finding(
            f"there is no image {rollout.image}",
            measured={"images": sorted(tag for image in images.images for tag in image.tags)},
            needed={"image": rollout.image},
            fix=("provision up",),
        )


@check("ROL003", NOTE, cause="restart-stops-containers")
def engine_restart_stops_containers(docker: Docker) -> Iterator[Finding]:
    """Restarting the engine stops every container.

    An upgrade of the engine's package restarts it. Without live-restore all containers go down with it, and requests in
    flight are lost.

    ## Fix
    `"live-restore": true` in /etc/docker/daemon.json, then `systemctl reload docker`; not together with swarm mode.

    ## Proof
    None on this road: nothing on it serves requests. `provision doctor --select ROL003` reads the setting again.
    """
    if not docker.live_restore and docker.running_containers:
        count = docker.running_containers
        yield Finding(
            f"live-restore is off: the next restart of the engine stops {count} running container{'s' if count > 1 else ''}",
            measured={"live_restore": False, "running_containers": count},
            needed={"live_restore": True},
            fix=('add "live-restore": true to /etc/docker/daemon.json', "systemctl reload docker"),
        )
