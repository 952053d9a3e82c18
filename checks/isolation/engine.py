"""The container engine and the session: who may reach in, and what goes out."""

from __future__ import annotations

from collections.abc import Iterator

from provision.catalog import tables
from provision.check import ERROR, NOTE, WARNING, Finding, NotApplicable, check
from provision.checks._words import listed
from provision.facts.docker import Docker
from provision.facts.environment import SET, Environment
from provision.facts.packages import Packages

_TRUE = ("1", "true", "yes", "on")
_FALSE = ("0", "false")


@check("ISO001", ERROR, cause="engine-api-exposed")
def engine_api_without_tls(docker: Docker) -> Iterator[Finding]:
    """The Docker engine's API listens on TCP without TLS.

    Who reaches that port is root on this machine: one call starts a container with the whole disk mounted. Weights,
    prompts and keys are theirs, and open ports of this kind are found by scanners within hours.

    ## Fix
    Take the tcp:// address out of the engine's options (`hosts` in daemon.json, `-H` in its unit). To reach an engine from
    afar use `DOCKER_HOST=ssh://user@machine`.

    ## Proof
    ISO-P1 covers the container; the engine's port is read again by `provision doctor --select ISO001`.
    """
    if docker.exposed_hosts:
        yield Finding(
            f"the engine's API listens on {listed(docker.exposed_hosts)} without TLS",
            measured={"exposed_hosts": list(docker.exposed_hosts)},
            needed={"exposed_hosts": []},
            fix=("grep -n -e hosts /etc/docker/daemon.json; systemctl cat docker.service | grep ExecStart",),
        )


@check("ISO002", WARNING, cause="secret-in-environment")
def secret_in_environment(environment: Environment) -> Iterator[Finding]:
    """A secret stands in this session's environment.

    Every process started from here inherits it: engines print their environment into bug reports, crash dumps carry it,
    and code that comes with a model (trust_remote_code) can read it. Its value is not read here, only that it is set.

    ## Fix
    Keep it in a file that only its reader may read (`hf auth login` does), and unset it.

    ## Proof
    ISO-P1: the container runs as nobody special and has no way out; nothing of the host's environment is passed in.
    """
    names = [name for name, value in environment.variables if value == SET]
    if names:
        yield Finding(
            f"{listed(names)} {'is' if len(names) == 1 else 'are'} set in this session",
            measured={"variables": names},
            needed={"variables": []},
            fix=(f"unset {' '.join(names)}",),
        )


@check("ISO003", NOTE, cause="telemetry-on")
def telemetry_not_switched_off(environment: Environment, packages: Packages) -> Iterator[Finding]:
    """An installed package reports home.

    What it sends is small (versions, card, model architecture), but a machine that holds private data should say nothing
    of itself to anyone. Inside the planned container every such switch is set.

    ## Fix
    Set the variable where the model runs.

    ## Proof
    ISO-P1: the container's environment switches hub and telemetry off, and it has no way out.
    """
    given = dict(environment.variables)
    installed = {name for one in packages.environments for name, _ in one.packages}
    rows = [row for row in tables.thresholds().telemetry if row.package in installed]
    if not rows:
        raise NotApplicable("no package that is known to report home is installed")
    for row in rows:
        off = [name for name in row.variables if given.get(name, "").lower() in _TRUE]
        off += [name for name in row.switches if given.get(name, "").lower() in _FALSE]
        if not off:
            ways = [*(f"{name}=1" for name in row.variables), *(f"{name}=0" for name in row.switches)]
            yield Finding(
                f"{row.package} sends {row.sends}; {listed(ways).replace(' and ', ' or ')} would stop it",
                measured={"package": row.package},
                needed={"any_of": ways},
                fix=(f"export {ways[0]}",),
                certainty="likely",
                tell_apart=(f"ls ~/.config/{row.package}/do_not_track   # a file that switches it off as well",),
            )


@check("ISO004", WARNING, cause="container-hardening-off")
def containers_without_seccomp(docker: Docker) -> Iterator[Finding]:
    """The engine runs containers without the kernel's system call filter.

    seccomp keeps a container from about forty system calls that a model never needs and that break out of containers.
    The engine switches it on by itself where the kernel has it.

    ## Fix
    Take `"seccomp-profile": "unconfined"` out of daemon.json; a kernel without seccomp needs to be replaced.

    ## Proof
    ISO-P1: the container runs as nobody special, cannot change itself, and has no way out.
    """
    options = [option for option in docker.security_options if option.startswith("name=seccomp")]
    if not options or any("profile=unconfined" in option for option in options):
        yield Finding(
            "the engine reports no seccomp profile" if not options else "the engine's seccomp profile is unconfined",
            measured={"security_options": list(docker.security_options)},
            needed={"security_options": ["name=seccomp,profile=builtin"]},
            fix=("docker info --format '{{.SecurityOptions}}'", "grep -n seccomp /etc/docker/daemon.json"),
        )
