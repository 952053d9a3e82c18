"""Whether a run may go on: what needs a name, what needs a yes, and what is safe without anybody watching. Pure."""

from __future__ import annotations

import shlex
from collections.abc import Iterable

from provision import codec
from provision.errors import ConsentNeeded, UsageError
from provision.evidence import Ours
from provision.fact import Absent, Missing, Snapshot
from provision.facts.docker import Docker
from provision.facts.engines import ContainerEngines
from provision.facts.gpus import Gpus
from provision.preview import Change
from provision.record import record

# What ``--allow`` can name, and what each covers.
ALLOW = {
    "config": "changing configuration files that were here before",
    "driver": "installing, changing or removing a driver",
    "disks": "partitions, arrays, file systems and mounts",
    "firewall": "what is reachable from where",
    "reboot": "restarting the machine",
}
# Of these, the first two are the Docker engine itself; containerd comes with it as its own package.
DOCKER = ("docker.io", "docker-ce")


@record
class Consent:
    """``go``: apply. Otherwise ``ask`` is a question for the terminal, or ``refused`` says what stands in the way.

    ``flags`` are what must be added to the command line for the same changes to go on.
    """

    go: bool
    ask: str = ""
    refused: tuple[str, ...] = ()
    flags: tuple[str, ...] = ()

    def error(self, command: str) -> ConsentNeeded:
        """The refusal as the error that ends the run: nothing was changed, and the command that would go on."""
        reasons = "\n".join(f"  {line}" for line in self.refused)
        return ConsentNeeded(
            f"Nothing was changed. This needs your consent:\n{reasons}",
            shlex.join([*shlex.split(command), *self.flags]),
        )


def allowed(names: Iterable[str]) -> frozenset[str]:
    """What ``--allow`` named. Raises ``UsageError`` for a word that allows nothing: a slip must not read as a yes."""
    for name in names:
        if name not in ALLOW:
            raise UsageError(
                f"--allow {name}: expected one of {', '.join(sorted(ALLOW))}{codec.nearest(name, ALLOW)}",
                "provision up --help",
            )
    return frozenset(names)


def decide(
    changes: tuple[Change, ...],
    snapshot: Snapshot,
    *,
    terminal: bool,
    yes: bool,
    allow: frozenset[str],
    ours: Ours = Ours(),  # noqa: B008 (frozen)
) -> Consent:
    """Whether ``changes`` may be made.

    A name that is needed and not allowed refuses, whatever else was said. Without changes there is no question. With
    ``yes`` the rest goes on; on a terminal it is asked; without one it goes on only with what is additive, on a machine
    where nothing else is at work.
    """
    if not changes:
        return Consent(go=True)
    missing = sorted({c.needs for c in changes if c.needs is not None} - allow)
    if missing:
        refused = [f"--allow {name}: {c.what}: {_first(c)}" for name in missing for c in changes if c.needs == name]
        flags = [word for name in missing for word in ("--allow", name)]
        reasons = () if terminal or yes else _unwatched(changes, snapshot, ours)
        return Consent(go=False, refused=(*refused, *reasons), flags=(*flags, *(("--yes",) if reasons else ())))
    if yes:
        return Consent(go=True)
    if terminal:
        return Consent(
            go=False, ask=f"Make {len(changes)} change{'s' if len(changes) > 1 else ''} on {snapshot.machine}?"
        )
    reasons = _unwatched(changes, snapshot, ours)
    return Consent(go=not reasons, refused=reasons, flags=("--yes",) if reasons else ())


def in_use(snapshot: Snapshot, ours: Ours = Ours()) -> tuple[str, ...]:  # noqa: B008 (frozen)
    """What else is at work on the machine, and what could not be looked at (which is never "nothing")."""
    return (*_engines(snapshot, ours), *_containers(snapshot), *_gpu_processes(snapshot))


def _unwatched(changes: tuple[Change, ...], snapshot: Snapshot, ours: Ours) -> tuple[str, ...]:
    """Why nobody watching means not going on."""
    lasting = (c for c in changes if not c.additive and c.needs is None)
    return (
        *(f"--yes: {c.what}: {_first(c)}" for c in lasting),
        *(f"--yes: {line}" for line in in_use(snapshot, ours)),
    )


def _first(change: Change) -> str:
    if change.kind == "file":
        return "an existing configuration file would be changed"
    return change.detail


def _engines(snapshot: Snapshot, ours: Ours) -> tuple[str, ...]:
    engines = snapshot.get(ContainerEngines)
    if isinstance(engines, Missing):
        return (f"which container engines are here is not known: {engines.reason}",)
    if isinstance(engines, Absent):
        return ()
    kinds = {e.kind for e in engines.found}
    covered = {"containerd"} if kinds & set(DOCKER) else set()
    return tuple(
        f"{e.kind} is here already ({', '.join(e.evidence)})"
        for e in engines.found
        if e.kind not in covered and e.kind not in ours.packages
    )


def _containers(snapshot: Snapshot) -> tuple[str, ...]:
    docker = snapshot.get(Docker)
    if isinstance(docker, Missing):
        engines = snapshot.known(ContainerEngines)
        running = engines is not None and any(e.running and e.kind.startswith("docker") for e in engines.found)
        # A stopped engine runs no container; one that runs and cannot be asked may run any number.
        return (f"whether containers run is not known: {docker.reason}",) if running else ()
    if isinstance(docker, Absent) or docker.running_containers == 0:
        return ()
    return (f"{docker.running_containers} containers are running",)


def _gpu_processes(snapshot: Snapshot) -> tuple[str, ...]:
    gpus = snapshot.get(Gpus)
    if isinstance(gpus, Missing):
        return (f"whether a GPU is in use is not known: {gpus.reason}",)
    if isinstance(gpus, Absent):
        return ()
    said = []
    for gpu in gpus.gpus:
        if gpu.process_count is None:
            said.append(f"whether GPU {gpu.index} is in use is not known")
        elif gpu.process_count > 0:
            said.append(f"GPU {gpu.index} is used by {gpu.process_count} processes")
    return tuple(said)
