"""DEP: both sides of every threshold."""

from __future__ import annotations

from typing import Any

import pytest

from provision.fact import Absent, Missing
from provision.facts.debian import DebianPackages
from provision.facts.docker import CdiSpec, CdiSpecs, DaemonJson, Docker
from provision.facts.engines import ContainerEngines, EngineFound
from provision.facts.environment import Environment
from provision.facts.packages import PackageEnvironment, Packages
from provision.facts.units import Unit, Units
from provision.plan import Cuda, Dependencies, ServingLock


def engines(a: Any, *kinds: str, running: bool = True) -> ContainerEngines:
    made = (a(EngineFound, kind=kind, running=running, evidence=(f"package {kind}",)) for kind in kinds)
    return a(ContainerEngines, found=tuple(made))


def environment(a: Any, *packages: str, **overrides: Any) -> PackageEnvironment:
    named = tuple(sorted(tuple(p.split("==")) for p in packages))
    return a(PackageEnvironment, packages=named, **overrides)


def test_dep001_needs_an_engine(a: Any, messages: Any) -> None:
    assert messages("DEP001", {ContainerEngines: Absent("nothing")}) == ["no Docker engine is installed"]
    assert messages("DEP001", engines(a, "containerd", "podman")) == [
        "no Docker engine is installed; containerd and podman is here, which the build cannot use"
    ]
    for kind in ("docker.io", "docker-ce", "docker", "snap-docker"):
        assert messages("DEP001", engines(a, kind)) == []


@pytest.mark.parametrize(
    ("kinds", "found"), [(("docker.io",), 0), (("docker.io", "containerd"), 0), (("docker-ce", "docker.io"), 1)]
)
def test_dep002_wants_one_engine(a: Any, messages: Any, kinds: tuple[str, ...], found: int) -> None:
    assert len(messages("DEP002", engines(a, *kinds))) == found


def test_dep002_removes_the_one_that_does_not_run(a: Any, run_check: Any) -> None:
    both = a(
        ContainerEngines,
        found=(
            a(EngineFound, kind="docker-ce", running=False),
            a(EngineFound, kind="docker.io", running=True),
        ),
    )
    assert run_check("DEP002", both).findings[0].fix == ("apt-get remove docker-ce",)
    snap = engines(a, "docker.io", "snap-docker")
    assert run_check("DEP002", snap).findings[0].fix == ("snap remove docker",)


@pytest.mark.parametrize(("kind", "found"), [("kubelet", 1), ("k3s", 1), ("crio", 1), ("podman", 0), ("containerd", 0)])
def test_dep003_sees_a_node_agent(a: Any, messages: Any, kind: str, found: int) -> None:
    assert len(messages("DEP003", engines(a, "docker.io", kind))) == found


@pytest.mark.parametrize(("running", "found"), [(True, 0), (False, 1)])
def test_dep004_needs_a_running_engine(a: Any, messages: Any, running: bool, found: int) -> None:
    assert len(messages("DEP004", engines(a, "docker.io", running=running))) == found


def test_dep004_is_not_about_a_machine_without_docker(a: Any, run_check: Any) -> None:
    assert run_check("DEP004", engines(a, "podman", running=False)).outcome == "skipped"


@pytest.mark.parametrize("why", [Missing("docker.sock: permission denied"), Absent("docker.sock is not there")])
def test_dep005_needs_an_answer(messages: Any, why: Any) -> None:
    assert messages("DEP005", {Docker: why}) == [f"the Docker engine runs and cannot be asked: {why.reason}"]
    assert messages("DEP005") == []


def test_dep005_tells_permission_from_silence(run_check: Any) -> None:
    denied = run_check("DEP005", {Docker: Missing("docker.sock: permission denied")})
    silent = run_check("DEP005", {Docker: Missing("docker.sock gave no answer in 2 s")})
    assert denied.findings[0].fix == ("sudo provision up",)
    assert silent.findings[0].fix == ("systemctl restart docker   # without systemd: stop and start dockerd",)
    elsewhere = run_check("DEP005", {Docker: Absent("/var/run/docker.sock is not there")})
    assert elsewhere.findings[0].fix == (
        "ps -ww -C dockerd -o args=   # -H says where it listens",
        "export DOCKER_HOST=unix://PATH",
    )


def test_dep005_leaves_an_engine_that_is_down_to_dep004(a: Any, run_check: Any) -> None:
    down = (engines(a, "docker.io", running=False), {Docker: Absent("docker.sock is not there")})
    assert run_check("DEP005", *down).outcome == "skipped"


def test_dep006_needs_a_json_object(a: Any, messages: Any) -> None:
    bad = a(DaemonJson, text='{"a": 1,}', keys=(), error="line 1: trailing comma")
    assert messages("DEP006", bad) == ["/etc/docker/daemon.json is not a JSON object: line 1: trailing comma"]
    assert messages("DEP006", a(DaemonJson)) == []


@pytest.mark.parametrize(
    ("text", "differing"),
    [
        ('{"log-opts": {"max-size": "20m", "max-file": "5"}, "log-driver": "local"}', ""),  # the order does not count
        ('{"log-driver": "local"}', "log-opts"),
        ("{}", "log-driver and log-opts"),
        ("", "log-driver and log-opts"),
    ],
)
def test_dep007_compares_settings_and_not_their_spelling(a: Any, messages: Any, text: str, differing: str) -> None:
    said = messages("DEP007", a(DaemonJson, text=text))
    assert said == ([f"the engine's settings lack or differ in {differing}"] if differing else [])


def test_dep007_counts_no_file_as_no_settings(messages: Any, run_check: Any, a: Any) -> None:
    assert len(messages("DEP007", {DaemonJson: Absent("no file")})) == 1
    assert run_check("DEP007", a(DaemonJson, text="{", keys=(), error="bad")).outcome == "skipped"


@pytest.mark.parametrize(
    ("version", "folders", "found"),
    [
        ("20.10.24+dfsg1", (), 1),
        ("24.0.9", (), 1),
        ("25.0.0", (), 1),  # knows CDI, is not told to
        ("25.0.0", ("/etc/cdi",), 0),
        ("28.1.1", (), 1),
        ("28.2.0", (), 0),
        ("29.2.0", ("/etc/cdi",), 0),
    ],
)
def test_dep008_needs_an_engine_with_cdi(
    a: Any, messages: Any, version: str, folders: tuple[str, ...], found: int
) -> None:
    assert len(messages("DEP008", a(Docker, server_version=version, cdi_spec_dirs=folders))) == found


@pytest.mark.parametrize(
    ("runtimes", "folders", "kind", "found"),
    [
        (("runc",), ("/etc/cdi",), "nvidia.com/gpu", 0),
        (("nvidia", "runc"), (), "example.com/nic", 0),
        (("runc",), ("/etc/cdi",), "example.com/nic", 1),
        (("runc",), (), "nvidia.com/gpu", 1),
    ],
)
def test_dep009_needs_one_way_into_a_container(
    a: Any, messages: Any, runtimes: tuple[str, ...], folders: tuple[str, ...], kind: str, found: int
) -> None:
    specs = a(CdiSpecs, specs=(CdiSpec(path="/etc/cdi/x.yaml", kind=kind, devices=("0",)),))
    assert len(messages("DEP009", a(Docker, runtimes=runtimes, cdi_spec_dirs=folders), specs)) == found


def test_dep009_needs_a_specification(messages: Any) -> None:
    (said,) = messages("DEP009", {CdiSpecs: Absent("none")})
    assert said.endswith(
        "the engine has the runtimes io.containerd.runc.v2 and runc, and no CDI specification names a GPU"
    )


@pytest.mark.parametrize("code", ["DEP008", "DEP009"])
def test_dep008_and_dep009_do_not_judge_a_plan_for_the_cpu(run_check: Any, code: str) -> None:
    assert run_check(code, gpu=False).outcome == "skipped"


@pytest.mark.parametrize(
    ("service", "socket", "found"),
    [
        ("enabled", None, 0),
        ("disabled", "enabled", 0),  # started by the first question to its socket
        ("disabled", "disabled", 1),
        ("disabled", None, 1),
        ("masked", None, 1),
        (None, None, 0),  # nothing starts services here
    ],
)
def test_dep010_wants_the_engine_back_after_a_reboot(
    a: Any, messages: Any, service: str | None, socket: str | None, found: int
) -> None:
    units = [a(Unit, enabled=service)] + ([a(Unit, name="docker.socket", enabled=socket)] if socket else [])
    assert len(messages("DEP010", a(Units, units=tuple(units)))) == found


LACKING = (("docker-ce", "5:29.2.0"),)


def test_dep011_sees_a_package_manager_that_will_refuse(a: Any, messages: Any, run_check: Any) -> None:
    broken = a(DebianPackages, packages=LACKING, broken=("linux-image-6.1",))
    assert messages("DEP011", broken) == ["linux-image-6.1 is half installed, so apt will not install iptables"]
    assert messages("DEP011", a(DebianPackages, packages=LACKING)) == []
    nothing_to_install = a(DebianPackages, broken=("linux-image-6.1",))
    assert run_check("DEP011", nothing_to_install).outcome == "skipped"


def test_dep012_needs_every_planned_package(a: Any, messages: Any) -> None:
    assert messages("DEP012", a(DebianPackages, packages=LACKING)) == ["not installed: iptables"]
    assert messages("DEP012", a(DebianPackages)) == []


@pytest.mark.parametrize(
    ("packages", "said"),
    [
        (("nvidia-cudnn-cu13==9.1", "nvidia-nccl-cu13==2.3", "nvidia-cublas==13.1"), None),
        (("nvidia-cudnn-cu12==9.1", "nvidia-cudnn-cu13==9.1"), "for CUDA 12 and 13, nvidia-cudnn in both"),
        (("nvidia-cublas==13.1", "nvidia-nccl-cu12==2.3"), "for CUDA 12 and 13"),
        (("nvidia-ml-py==13.580", "nvidia-nccl-cu12==2.3"), None),
    ],
)
def test_dep013_wants_one_cuda_major(a: Any, messages: Any, packages: tuple[str, ...], said: str | None) -> None:
    found = messages("DEP013", a(Packages, environments=(environment(a, *packages),)))
    assert found == ([f"/opt/other holds NVIDIA packages {said}"] if said else [])


@pytest.mark.parametrize(
    ("kind", "python", "version", "found"),
    [
        ("system", "3.11", "1", 1),
        ("conda", "3.11", "1", 1),
        ("venv", "3.11", "1", 0),
        ("system", "3.12", "1", 0),
        ("system", "3.11", "2", 0),
    ],
)
def test_dep014_sees_user_packages_in_front(
    a: Any, messages: Any, kind: str, python: str, version: str, found: int
) -> None:
    user = environment(a, "numpy==2", "torch==2", prefix="/root/.local", kind="user")
    other = environment(a, f"numpy=={version}", prefix="/usr", kind=kind, python=python)
    said = messages("DEP014", a(Packages, environments=(other, user)))
    assert said == (["/root/.local comes before /usr: numpy 2 instead of 1"] if found else [])


@pytest.mark.parametrize(
    ("engine", "torch", "found"),
    [
        ("vllm==0.27.0", "2.13.0+cu130", 0),
        ("vllm==0.27.0", "2.13.1", 0),  # a patch release keeps the interface
        ("vllm==0.27.0", "2.12.0", 1),
        ("vllm==0.26.0", "2.11.0", 0),
        ("vllm==0.26.0", "2.13.0", 1),
        ("vllm==99.0", "2.13.0", 0),  # not in the table: no verdict
        ("sglang==0.4.5.post2", "2.5.1", 0),
        ("sglang==0.4.5.post3", "2.5.1", 1),
        ("sglang==0.4.5.post3", "2.6.0", 0),
    ],
)
def test_dep015_needs_the_torch_that_the_engine_was_built_for(
    a: Any, messages: Any, engine: str, torch: str, found: int
) -> None:
    assert len(messages("DEP015", a(Packages, environments=(environment(a, engine, f"torch=={torch}"),)))) == found


def test_dep008_says_what_lacks(a: Any, run_check: Any) -> None:
    old = run_check("DEP008", a(Docker, server_version="20.10.24+dfsg1")).findings[0]
    assert old.message == "the engine is 20.10.24+dfsg1; CDI devices need 25.0.0 or newer"
    untold = a(Docker, server_version="25.0.0", cdi_spec_dirs=())
    set_to = a(DaemonJson, text='{"features": {"cdi": false}}')
    assert run_check("DEP008", untold, set_to).findings[0].measured["features"] == {"cdi": False}
    assert run_check("DEP008", untold, {DaemonJson: Absent("no file")}).findings[0].measured["features"] is None


def test_dep009_says_that_the_engine_takes_no_devices(a: Any, messages: Any) -> None:
    (said,) = messages("DEP009", a(Docker, runtimes=("runc",), cdi_spec_dirs=()))
    assert said == (
        "2 NVIDIA card(s) and no way into a container: the engine has the runtimes runc, and it takes no CDI devices"
    )


def test_dep010_unmasks_what_is_masked(a: Any, run_check: Any) -> None:
    def fix(state: str) -> tuple[str, ...]:
        result = run_check("DEP010", a(Units, units=(a(Unit, enabled=state),)))
        return tuple(result.findings[0].fix)

    assert fix("disabled") == ("systemctl enable docker.service",)
    assert fix("masked") == ("systemctl unmask docker.service", "systemctl enable docker.service")
    assert run_check("DEP010", a(Units, units=())).reason == "there is no docker.service"


@pytest.mark.parametrize(
    ("variables", "outcome"),
    [((), "found"), ((("PYTHONPATH", "1"),), "found"), ((("PYTHONNOUSERSITE", "1"),), "skipped")],
)
def test_dep014_does_not_apply_where_the_users_packages_are_kept_out(
    a: Any, run_check: Any, variables: tuple[tuple[str, str], ...], outcome: str
) -> None:
    user = environment(a, "numpy==2", prefix="/root/.local", kind="user")
    other = environment(a, "numpy==1", prefix="/usr", kind="system")
    found = run_check("DEP014", a(Packages, environments=(other, user)), a(Environment, variables=variables))
    assert found.outcome == outcome


def test_dep014_counts_the_others(a: Any, messages: Any) -> None:
    user = environment(a, "numpy==2", "torch==2", prefix="/root/.local", kind="user")
    other = environment(a, "numpy==1", "torch==1", prefix="/usr", kind="system")
    said = messages("DEP014", a(Packages, environments=(other, user)))
    assert said == ["/root/.local comes before /usr: numpy 2 instead of 1, and 1 more"]


OUT = ("1 card", "serve-cu130-py312 is out: it holds vllm", "the image loads it")


@pytest.mark.parametrize(
    ("lock", "ways", "cards_ways", "outcome"),
    [
        ("serve-cu130-py312", (), (), "ok"),
        ("", ('engine = "vllm"',), (), "found"),
        ("", (), (), "found"),
        ("", ("install a driver",), ("install a driver", "or by hand"), "skipped"),  # CUD005's
        ("", ('engine = "vllm"', "install a driver"), ("install a driver",), "found"),
    ],
)
def test_dep080_wants_a_lock_that_serves_the_model(
    a: Any, run_check: Any, lock: str, ways: tuple[str, ...], cards_ways: tuple[str, ...], outcome: str
) -> None:
    serving = ServingLock(lock=lock, lock_sha256="", engine="sglang", precision="none", reasons=OUT, way_out=ways)
    result = run_check("DEP080", a(Dependencies, serving=serving), a(Cuda, way_out=cards_ways))
    assert result.outcome == outcome, result.reason
    if outcome == "found":
        (finding,) = result.findings
        assert finding.message == "no lock serves the model with sglang: serve-cu130-py312 is out: it holds vllm"
        assert finding.fix == ways


def test_dep080_does_not_ask_for_a_lock_for_the_bundled_model(a: Any, run_check: Any) -> None:
    assert run_check("DEP080", a(Dependencies, serving=None)).outcome == "skipped"
