"""Who may say yes to what."""

from __future__ import annotations

import pytest

from provision import cli, consent
from provision.consent import decide, in_use
from provision.errors import ConsentNeeded, UsageError
from provision.evidence import Ours
from provision.fact import Missing
from provision.facts.engines import ContainerEngines, EngineFound
from provision.facts.gpus import Gpu, Gpus
from provision.preview import Change

from .conftest import docker

ADDS = Change(kind="package", what="docker.io", detail="install it")
EDITS = Change(kind="file", what="/etc/docker/daemon.json", detail="diff", additive=False, needs="config")
LASTS = Change(kind="unit", what="docker", detail="restart it", additive=False)


def engines(*kinds: str, running: bool = False) -> ContainerEngines:
    return ContainerEngines(
        found=tuple(EngineFound(kind=k, version=None, running=running, evidence=(f"package {k}",)) for k in kinds)
    )


def gpus(processes: int | None) -> Gpus:
    rest = {f: None for f in Gpu.__dataclass_fields__}
    rest |= {"index": 0, "name": "H100", "uuid": "", "pci_address": "", "compute_capability": "9.0"}
    return Gpus(driver_version="", cuda_version="", gpus=(Gpu(**{**rest, "process_count": processes}),), lost=())


@pytest.fixture
def ask(snapshot):
    def make(*changes, terminal=False, yes=False, allow=(), ours=Ours(), **facts):  # noqa: B008 (frozen)
        return decide(changes, snapshot(**facts), terminal=terminal, yes=yes, allow=frozenset(allow), ours=ours)

    return make


@pytest.mark.parametrize("terminal", [True, False])
def test_without_changes_there_is_no_question(ask, terminal) -> None:
    busy = {"ContainerEngines": engines("podman"), "Gpus": gpus(3)}
    assert ask(terminal=terminal, **busy).go


def test_a_terminal_is_asked(ask) -> None:
    answer = ask(ADDS, LASTS, terminal=True)
    assert (answer.go, answer.ask, answer.refused) == (False, "Make 2 changes on gpu-07?", ())
    assert ask(ADDS, terminal=True).ask == "Make 1 change on gpu-07?"


def test_additions_on_an_idle_machine_go_on_by_themselves(ask) -> None:
    assert ask(ADDS).go


@pytest.mark.parametrize(
    ("facts", "reason"),
    [
        ({"ContainerEngines": engines("podman")}, "podman is here already (package podman)"),
        ({"ContainerEngines": engines("docker.io")}, "docker.io is here already (package docker.io)"),
        ({"ContainerEngines": engines("kubelet")}, "kubelet is here already (package kubelet)"),
        ({"ContainerEngines": Missing("closed")}, "which container engines are here is not known: closed"),
        ({"Docker": docker(running_containers=2)}, "2 containers are running"),
        ({"Gpus": gpus(1)}, "GPU 0 is used by 1 processes"),
        ({"Gpus": gpus(None)}, "whether GPU 0 is in use is not known"),
        ({"Gpus": Missing("no answer in 2 s")}, "whether a GPU is in use is not known: no answer in 2 s"),
    ],
)
def test_a_machine_in_use_needs_a_yes_when_nobody_watches(ask, facts, reason) -> None:
    answer = ask(ADDS, **facts)
    assert (answer.go, answer.refused, answer.flags) == (False, (f"--yes: {reason}",), ("--yes",))
    assert ask(ADDS, yes=True, **facts).go


def test_an_engine_that_runs_and_cannot_be_asked_may_run_anything(ask) -> None:
    closed = {"Docker": Missing("permission denied")}
    assert ask(ADDS, **closed).go
    ours = Ours(packages=frozenset({"docker.io"}))
    running = {**closed, "ContainerEngines": engines("docker.io", running=True)}
    assert ask(ADDS, ours=ours, **running).refused == ("--yes: whether containers run is not known: permission denied",)


def test_an_engine_of_ours_is_not_another_one(ask) -> None:
    ours = Ours(packages=frozenset({"docker.io"}))
    assert ask(ADDS, ours=ours, ContainerEngines=engines("docker.io", "containerd")).go
    assert not ask(ADDS, ours=ours, ContainerEngines=engines("docker.io", "containerd", "podman")).go


def test_a_free_gpu_is_no_obstacle(ask) -> None:
    assert ask(ADDS, Gpus=gpus(0)).go


def test_what_lasts_needs_a_yes_when_nobody_watches(ask) -> None:
    assert ask(LASTS).refused == ("--yes: docker: restart it",)
    assert ask(LASTS, yes=True).go


@pytest.mark.parametrize(("terminal", "yes"), [(True, False), (True, True), (False, True), (False, False)])
def test_a_yes_never_stands_in_for_a_name(ask, terminal, yes) -> None:
    answer = ask(ADDS, EDITS, terminal=terminal, yes=yes)
    assert not answer.go and not answer.ask
    assert answer.flags == ("--allow", "config")
    assert answer.refused == (
        "--allow config: /etc/docker/daemon.json: an existing configuration file would be changed",
    )
    assert not ask(EDITS, terminal=terminal, yes=yes, allow=("firewall",)).go


def test_the_name_lets_it_through(ask) -> None:
    assert ask(ADDS, EDITS, allow=("config",)).go
    assert ask(EDITS, terminal=True, allow=("config",)).ask
    assert not ask(EDITS, allow=("config",), ContainerEngines=engines("podman")).go


def test_the_refusal_gives_the_exact_command(ask) -> None:
    error = ask(EDITS, ContainerEngines=engines("podman")).error("provision up")
    assert isinstance(error, ConsentNeeded) and error.exit_code == 4
    assert error.next_command == "provision up --allow config --yes"
    assert error.message.startswith("Nothing was changed.") and "podman is here already" in error.message


def test_in_use_lists_everything(snapshot) -> None:
    seen = snapshot(ContainerEngines=engines("podman"), Docker=docker(running_containers=1), Gpus=gpus(1))
    assert len(in_use(seen)) == 3


def test_a_word_that_allows_nothing_is_refused() -> None:
    assert consent.allowed(("config", "disks", "config")) == {"config", "disks"}
    with pytest.raises(UsageError) as caught:
        consent.allowed(("config", "disk"))
    assert caught.value.message == (
        '--allow disk: expected one of config, disks, driver, firewall, reboot (did you mean "disks"?)'
    )
    assert caught.value.exit_code == 2


def test_the_help_names_what_can_be_allowed() -> None:
    (option,) = (o for o in cli.up.params if o.name == "allowed")
    assert option.help == f"Allow one of: {', '.join(sorted(consent.ALLOW))}. May be repeated."
