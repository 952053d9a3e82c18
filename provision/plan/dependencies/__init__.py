"""The container engine, the Debian packages the road needs, and the lock the image is built from."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any, Literal

from provision.fact import Absent, Missing, Snapshot
from provision.facts.docker import DaemonJson
from provision.facts.engines import ContainerEngines
from provision.facts.system import System
from provision.plan.audit import Audit
from provision.plan.cuda import Cuda
from provision.plan.dependencies import serving
from provision.plan.dependencies.serving import ServingLock
from provision.plan.promise import Promise
from provision.record import record
from provision.spec import Spec

LOCKFILES = Path(__file__).parents[2] / "lockfiles"
# iptables: docker.io only recommends it, and its default bridge does not start without it.
# mmdebstrap: makes the base image where no registry answers. python3-apt: Ansible's package module stands on it.
DEBIAN_PACKAGES = ("iptables", "mmdebstrap", "python3-apt")


@record
class Dependencies:
    """``packages``: Debian packages that must be there; ``daemon_json``: the engine's whole configuration file.

    ``serving``: the lock that serves the model of provision.toml; None for the bundled one.
    """

    engine: str
    packages: tuple[str, ...]
    start: Literal["systemd", "sysvinit", "direct"]
    lock: str
    lock_sha256: str
    base: str
    daemon_json: str
    serving: ServingLock | None = None

    @classmethod
    def desire(
        cls, snapshot: Snapshot, spec: Spec, cuda: Cuda, audit: Audit, more: tuple[str, ...] = (), precision: str = ""
    ) -> Dependencies:
        """The engine that is here already where it is a Docker one, else Debian's own. ``more``: other sections' packages.

        ``precision``: what the model to be served runs in (``GpuMemory.runs_in``).
        """
        system = snapshot.get(System)
        if isinstance(system, (Absent, Missing)):
            raise Missing(system.reason)
        if system.os_id not in ("debian", "ubuntu"):
            raise Missing(f"the roles know Debian and Ubuntu; this is {system.os_name}")
        engines = snapshot.get(ContainerEngines)
        if isinstance(engines, Missing):
            raise Missing(f"which container engine is here: {engines.reason}")
        here = () if isinstance(engines, Absent) else tuple(e.kind for e in engines.found)
        engine = "docker-ce" if "docker-ce" in here else "docker.io"
        return cls(
            engine=engine,
            packages=tuple(sorted({*DEBIAN_PACKAGES, engine, *more})),
            start={"systemd": "systemd", "sysvinit": "sysvinit"}.get(system.init, "direct"),  # type: ignore[arg-type]
            lock=cuda.lock,
            lock_sha256=hashlib.sha256((LOCKFILES / f"{cuda.lock}.txt").read_bytes()).hexdigest(),
            base=spec.image.base,
            daemon_json=merged(snapshot.get(DaemonJson), audit),
            serving=serving.desire(snapshot, spec, precision, LOCKFILES),
        )

    def promises(self) -> tuple[Promise, ...]:
        """What is installed in the image is the lock, no more and no less."""
        return (Promise(code="DEP-P1", promised={"lock": self.lock, "lock_sha256": self.lock_sha256}),)


def merged(present: DaemonJson | Absent | Missing, audit: Audit) -> str:
    """The engine's configuration with our keys added where they are not set: the administrator's own choice stays.

    Sorted and indented, so that merging the result again gives the same bytes.
    """
    if isinstance(present, Missing):
        raise Missing(present.reason)
    text = "{}" if isinstance(present, Absent) else present.text
    try:
        content: dict[str, Any] = json.loads(text or "{}")
    except ValueError as error:
        raise Missing(f"/etc/docker/daemon.json is not JSON ({error}); correct it by hand first") from None
    if not isinstance(content, dict):
        raise Missing("/etc/docker/daemon.json is not a JSON object; correct it by hand first")
    if "log-driver" not in content and "log-opts" not in content:  # one choice: options belong to their driver
        content |= {"log-driver": audit.log_driver, "log-opts": dict(audit.log_options)}
    return json.dumps(content, indent=2, sort_keys=True) + "\n"
