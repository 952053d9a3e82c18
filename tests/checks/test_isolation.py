"""ISO: both sides of every threshold."""

from __future__ import annotations

from typing import Any

import pytest

from provision.facts.docker import Docker
from provision.facts.environment import SET, Environment
from provision.facts.packages import PackageEnvironment, Packages


@pytest.mark.parametrize(("hosts", "found"), [((), 0), (("tcp://0.0.0.0:2375",), 1)])
def test_iso001_wants_no_open_port(a: Any, messages: Any, hosts: tuple[str, ...], found: int) -> None:
    assert len(messages("ISO001", a(Docker, exposed_hosts=hosts))) == found


def test_iso002_names_secrets_and_never_their_values(a: Any, run_check: Any, messages: Any) -> None:
    result = run_check("ISO002", a(Environment, variables=(("HF_HOME", "/data"), ("HF_TOKEN", SET))))
    assert [f.message for f in result.findings] == ["HF_TOKEN is set in this session"]
    assert result.findings[0].fix == ("unset HF_TOKEN",)
    assert messages("ISO002", a(Environment, variables=(("HF_HOME", "/data"),))) == []


@pytest.mark.parametrize(
    ("package", "variables", "found"),
    [
        ("vllm", (), 1),
        ("vllm", (("VLLM_NO_USAGE_STATS", "1"),), 0),
        ("vllm", (("DO_NOT_TRACK", "true"),), 0),
        ("vllm", (("VLLM_NO_USAGE_STATS", "0"),), 1),
        ("huggingface-hub", (), 1),
        ("huggingface-hub", (("HF_HUB_DISABLE_TELEMETRY", "1"),), 0),
    ],
)
def test_iso003_wants_telemetry_off(
    a: Any, messages: Any, package: str, variables: tuple[tuple[str, str], ...], found: int
) -> None:
    packages = a(Packages, environments=(a(PackageEnvironment, packages=((package, "1.0"),)),))
    assert len(messages("ISO003", packages, a(Environment, variables=variables))) == found


@pytest.mark.parametrize(
    ("options", "found"),
    [
        (("name=apparmor", "name=seccomp,profile=builtin"), 0),
        (("name=seccomp,profile=default",), 0),
        (("name=seccomp,profile=unconfined",), 1),
        (("name=apparmor",), 1),
        ((), 1),
    ],
)
def test_iso004_wants_the_system_call_filter(a: Any, messages: Any, options: tuple[str, ...], found: int) -> None:
    assert len(messages("ISO004", a(Docker, security_options=options))) == found


def test_iso002_names_several(a: Any, messages: Any) -> None:
    variables = (("HF_TOKEN", SET), ("VLLM_API_KEY", SET))
    assert messages("ISO002", a(Environment, variables=variables)) == [
        "HF_TOKEN and VLLM_API_KEY are set in this session"
    ]


@pytest.mark.parametrize(("value", "found"), [("0", 0), ("False", 0), ("1", 1), (None, 1)])
def test_iso003_knows_switches_that_are_off_at_zero(a: Any, messages: Any, value: str | None, found: int) -> None:
    packages = a(Packages, environments=(a(PackageEnvironment, packages=(("ray", "2.50.0"),)),))
    variables = () if value is None else (("RAY_USAGE_STATS_ENABLED", value),)
    said = messages("ISO003", packages, a(Environment, variables=variables))
    text = "ray sends versions, the cluster's size and hardware once an hour; RAY_USAGE_STATS_ENABLED=0 would stop it"
    assert said == [text][:found]


def test_iso003_needs_a_package_that_reports(run_check: Any) -> None:
    result = run_check("ISO003")
    assert (result.outcome, result.reason) == ("skipped", "no package that is known to report home is installed")


def test_iso004_tells_none_from_unconfined(a: Any, messages: Any) -> None:
    assert messages("ISO004", a(Docker, security_options=())) == ["the engine reports no seccomp profile"]
    unconfined = a(Docker, security_options=("name=seccomp,profile=unconfined",))
    assert messages("ISO004", unconfined) == ["the engine's seccomp profile is unconfined"]
