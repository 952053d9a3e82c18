"""The container engine: missing, doubled, down, out of reach, or not set as the plan says."""

from __future__ import annotations

import json
from collections.abc import Iterator

from provision.catalog import tables
from provision.catalog.version import older
from provision.check import ERROR, WARNING, Finding, NotApplicable, check
from provision.checks._words import listed, settings
from provision.fact import Absent, Missing
from provision.facts.docker import CdiSpecs, DaemonJson, Docker
from provision.facts.engines import ContainerEngines, EngineFound
from provision.facts.pci import NvidiaCards
from provision.facts.units import Units
from provision.plan import Cuda, Dependencies

_DOCKER = ("docker-ce", "docker.io", "docker", "snap-docker")
_NODE_AGENTS = ("kubelet", "k3s", "crio")
_UP = ("provision up",)


def _engines(engines: ContainerEngines) -> list[EngineFound]:
    return [one for one in engines.found if one.kind in _DOCKER]


@check("DEP001", ERROR, cause="container-engine-missing")
def no_container_engine(engines: ContainerEngines | Absent) -> Iterator[Finding]:
    """No Docker engine is installed.

    The container is what keeps the model's packages apart from the machine's: nothing is built, run or proved without
    an engine. A client program alone, or podman, is not one: the build goes through the Docker engine's API.

    ## Fix
    `provision up` installs Debian's docker.io, after showing what it will do.

    ## Proof
    DEP-P1: the image is built and what is installed in it is the lock.
    """
    found = () if isinstance(engines, Absent) else engines.found
    if not any(one.kind in _DOCKER for one in found):
        others = f"; {listed(one.kind for one in found)} is here, which the build cannot use" if found else ""
        yield Finding(
            f"no Docker engine is installed{others}",
            measured={"engines": [one.kind for one in found]},
            needed={"engine": "docker.io"},
            fix=_UP,
        )


@check("DEP002", ERROR, cause="container-engine-conflict")
def two_docker_engines(engines: ContainerEngines) -> Iterator[Finding]:
    """Two Docker engines are installed.

    docker.io, docker-ce and the snap share the socket, the settings file or the data folder. Which one answers changes
    with every start and upgrade, and images that one has built are gone for the other.

    ## Fix
    Decide for one and remove the other. Containers and images of the removed one stay in its data folder until purged.

    ## Proof
    DEP-P1: the image is built and what is installed in it is the lock.
    """
    here = _engines(engines)
    if len(here) > 1:
        kinds = [one.kind for one in here]
        idle = [one.kind for one in here if not one.running] or kinds[1:]
        yield Finding(
            f"{listed(kinds)} are installed side by side",
            measured={"engines": kinds},
            needed={"engines": 1},
            fix=("snap remove docker" if idle[0] == "snap-docker" else f"apt-get remove {idle[0]}",),
        )


@check("DEP003", WARNING, cause="machine-managed-by-kubernetes")
def machine_runs_kubernetes(engines: ContainerEngines) -> Iterator[Finding]:
    """A Kubernetes node agent manages this machine's containers.

    What this tool would install or restart belongs to the cluster: restarting the engine stops the pods, and the agent
    removes containers and images that it does not know when the disk fills.

    ## Fix
    Use a machine outside the cluster, or drain the node first and take it out.

    ## Proof
    None: it is a decision about the machine. `provision up` stops on such a machine and names the flag that lets it go on.
    """
    agents = [one for one in engines.found if one.kind in _NODE_AGENTS]
    if agents:
        yield Finding(
            f"{listed(one.kind for one in agents)} is here ({listed(e for one in agents for e in one.evidence)})",
            measured={"engines": [one.kind for one in agents]},
            needed={"engines": []},
            fix=("kubectl drain $(hostname) --ignore-daemonsets",),
        )


@check("DEP004", ERROR, cause="container-engine-down")
def engine_not_running(engines: ContainerEngines) -> Iterator[Finding]:
    """The Docker engine is installed and does not run.

    Nothing can be built or run. An engine that was stopped half-way keeps its images; one that cannot start says why in
    its log, most often a settings file it cannot read or a missing iptables.

    ## Fix
    `provision up` starts it, under systemd or directly. If it does not stay up, its log has the reason.

    ## Proof
    DEP-P1: the image is built and what is installed in it is the lock.
    """
    here = _engines(engines)
    if not here:
        raise NotApplicable("no Docker engine is installed (DEP001)")
    if not any(one.running for one in here):
        yield Finding(
            f"{listed(one.kind for one in here)} is installed and no dockerd runs",
            measured={"running": False},
            needed={"running": True},
            fix=(*_UP, "journalctl -u docker -n 50   # without systemd: the engine's own log"),
        )


@check("DEP005", ERROR, cause="container-engine-unreachable")
def engine_does_not_answer(engines: ContainerEngines, docker: Docker | Absent | Missing) -> Iterator[Finding]:
    """The Docker engine runs and this session cannot ask it.

    The engine is asked through its socket, which belongs to root and the group docker. "Permission denied" is a matter
    of the user; no answer in time is one of the engine, often a storage driver that hangs.

    ## Fix
    Permission: run with sudo. (Members of the group docker are root on this machine in effect: add with care.)
    No answer: restart the engine. No socket: the engine was told to listen elsewhere; set DOCKER_HOST to that.

    ## Proof
    DEP-P1: the image is built and what is installed in it is the lock.
    """
    if not any(one.running for one in _engines(engines)):
        raise NotApplicable("no Docker engine runs (DEP001, DEP004)")
    if not isinstance(docker, Docker):
        if "permission denied" in docker.reason:
            fix: tuple[str, ...] = ("sudo provision up",)
        elif isinstance(docker, Absent):
            fix = ("ps -ww -C dockerd -o args=   # -H says where it listens", "export DOCKER_HOST=unix://PATH")
        else:
            fix = ("systemctl restart docker   # without systemd: stop and start dockerd",)
        yield Finding(
            f"the Docker engine runs and cannot be asked: {docker.reason}",
            measured={"reason": docker.reason},
            needed={"answer": True},
            fix=fix,
        )


@check("DEP006", ERROR, cause="engine-settings-broken")
def engine_settings_unreadable(daemon_json: DaemonJson) -> Iterator[Finding]:
    """The engine's settings file is not a JSON object.

    The engine reads /etc/docker/daemon.json only when it starts, and does not start with a file it cannot read. A comma
    too many goes unnoticed until the next reboot, and then no container comes up.

    ## Fix
    Correct the file by hand: this tool adds to it and never replaces what it cannot read.

    ## Proof
    None of its own: `provision doctor --select DEP006` reads it again, `dockerd --validate` too.
    """
    if daemon_json.error is not None:
        yield Finding(
            f"{daemon_json.path} is not a JSON object: {daemon_json.error}",
            measured={"path": daemon_json.path},
            needed={"json": True},
            fix=(f"python3 -m json.tool {daemon_json.path}", f"dockerd --validate --config-file {daemon_json.path}"),
        )


@check("DEP007", WARNING, cause="engine-settings-differ")
def engine_settings_differ(daemon_json: DaemonJson | Absent, plan: Dependencies) -> Iterator[Finding]:
    """The engine's settings file is not what the plan says.

    The plan keeps every setting that the administrator made and adds what is missing, so a difference is something
    that was never applied or was taken out by hand afterwards.

    ## Fix
    `provision up` shows the difference and applies it.

    ## Proof
    None of its own: planning after applying gives the same file (tests/test_plan.py).
    """
    if isinstance(daemon_json, DaemonJson) and daemon_json.error is not None:
        raise NotApplicable("the file cannot be read (DEP006)")
    have = {} if isinstance(daemon_json, Absent) else settings(daemon_json)
    want = json.loads(plan.daemon_json)
    differing = sorted(key for key in {*have, *want} if have.get(key) != want.get(key))
    if differing:
        yield Finding(
            f"the engine's settings lack or differ in {listed(differing)}",
            measured={key: have.get(key) for key in differing},
            needed={key: want.get(key) for key in differing},
            fix=_UP,
        )


def _on_gpu(plan: Cuda) -> None:
    if plan.device != "cuda":
        raise NotApplicable("the plan runs on the CPU")


@check("DEP008", WARNING, cause="engine-too-old")
def engine_too_old_for_cdi(docker: Docker, plan: Cuda, daemon_json: DaemonJson | Absent | Missing) -> Iterator[Finding]:
    """The Docker engine cannot take GPUs as CDI devices.

    With CDI the engine itself knows which devices a container has. The older way, a hook behind the runtime's back,
    loses them: after `systemctl daemon-reload`, which every package upgrade does, a running container's GPUs are gone
    ("Failed to initialize NVML: Unknown Error"). Debian 12's own engine, 20.10, has no CDI.

    ## Fix
    Install a newer engine; before 28.2 CDI is switched on in daemon.json.

    ## Proof
    CUD-P2: every parameter of the model is on the GPU, in the container.
    """
    _on_gpu(plan)
    first, by_default = (tables.thresholds().engine[name].version for name in ("cdi_by_setting", "cdi_by_default"))
    if older(docker.server_version, first):
        yield Finding(
            f"the engine is {docker.server_version}; CDI devices need {first} or newer",
            measured={"server_version": docker.server_version},
            needed={"server_version": first},
            fix=("install docker-ce from Docker's own repository, or a newer Debian",),
        )
    elif older(docker.server_version, by_default) and not docker.cdi_spec_dirs:
        features = settings(daemon_json).get("features") if isinstance(daemon_json, DaemonJson) else None
        yield Finding(
            f"the engine is {docker.server_version}, which takes CDI devices only when it is told to, and it is not",
            measured={"server_version": docker.server_version, "features": features},
            needed={"features": {"cdi": True}},
            fix=('add "features": {"cdi": true} to /etc/docker/daemon.json and restart the engine',),
        )


@check("DEP009", ERROR, cause="container-gpu-runtime-missing")
def containers_cannot_reach_the_gpu(
    docker: Docker, plan: Cuda, cards: NvidiaCards, specs: CdiSpecs | Absent
) -> Iterator[Finding]:
    """Containers have no way to the GPU.

    A driver on the host is not enough: its libraries and device nodes must be handed into the container, by CDI (a
    specification that names them) or by NVIDIA's runtime. Without either, `docker run --gpus all` says "could not select
    device driver", and torch in the container finds no GPU.

    ## Fix
    Install the NVIDIA container toolkit and write the specification.

    ## Proof
    CUD-P2: every parameter of the model is on the GPU, in the container.
    """
    _on_gpu(plan)
    named = isinstance(specs, CdiSpecs) and any(spec.kind == "nvidia.com/gpu" and spec.devices for spec in specs.specs)
    if "nvidia" not in docker.runtimes and not (named and docker.cdi_spec_dirs):
        yield Finding(
            f"{len(cards.cards)} NVIDIA card(s) and no way into a container: the engine has the runtimes "
            f"{listed(docker.runtimes)}, and "
            + ("no CDI specification names a GPU" if not named else "it takes no CDI devices"),
            measured={"runtimes": list(docker.runtimes), "cdi": named},
            needed={"runtime": "nvidia, or a CDI specification of nvidia.com/gpu"},
            fix=(
                "apt-get install nvidia-container-toolkit   # from NVIDIA's repository",
                "nvidia-ctk cdi generate --output=/var/run/cdi/nvidia.yaml",
                "nvidia-ctk runtime configure --runtime=docker",
            ),
        )


@check("DEP010", WARNING, cause="engine-not-started-at-boot")
def engine_not_started_at_boot(units: Units) -> Iterator[Finding]:
    """The Docker engine will not start with the machine.

    It runs now, and after the next reboot no container comes back.

    ## Fix
    Enable the service.

    ## Proof
    None of its own: only a reboot would prove it. `provision doctor --select DEP010` reads the state again.
    """
    states = {unit.name: unit.enabled for unit in units.units}
    if "docker.service" not in states:
        raise NotApplicable("there is no docker.service")
    if states["docker.service"] in ("disabled", "masked") and states.get("docker.socket") != "enabled":
        masked = states["docker.service"] == "masked"
        yield Finding(
            f"docker.service is {states['docker.service']}",
            measured={"enabled": states["docker.service"]},
            needed={"enabled": "enabled"},
            fix=(*(("systemctl unmask docker.service",) if masked else ()), "systemctl enable docker.service"),
        )
