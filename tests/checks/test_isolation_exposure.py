"""ISO050 to ISO062: both sides of every threshold, with the exact words."""

from __future__ import annotations

from typing import Any

import pytest

from provision.fact import Absent
from provision.facts.block import Encryption
from provision.facts.caches import CacheFolder, CacheFolders
from provision.facts.containers import Containers, RunningContainer
from provision.facts.counters import KernelCounters
from provision.facts.daemons import Daemon, Daemons
from provision.facts.disks import Mount, Mounts
from provision.facts.exposure import DockerAccess, Firewall, SecretFile, SecretFiles
from provision.facts.listeners import Listener, Listeners
from provision.facts.memory_settings import ProcessLimits
from provision.facts.models import ModelFiles, ModelFolder
from provision.facts.native import PipFile, PipSettings
from provision.facts.system import System

HUB = "/root/.cache/huggingface"


@pytest.mark.parametrize(
    ("pickles", "said"),
    [
        ((), []),
        (("a/pytorch_model.bin",), [f"1 checkpoint in pickle format in {HUB}: a/pytorch_model.bin"]),
        (
            ("a.bin", "b.bin", "c.bin", "d.bin", "e.bin"),
            [f"5 checkpoints in pickle format in {HUB}: a.bin, b.bin, c.bin and 2 more"],
        ),
    ],
)
def test_iso050_wants_safetensors(a: Any, messages: Any, pickles: tuple[str, ...], said: list[str]) -> None:
    assert messages("ISO050", a(ModelFiles, folders=(a(ModelFolder, pickles=pickles),))) == said


def test_iso050_never_takes_what_was_not_seen_for_safe(a: Any, run_check: Any) -> None:
    part = a(ModelFiles, folders=(a(ModelFolder, whole=False),))
    result = run_check("ISO050", part)
    assert (result.outcome, result.reason) == ("unknown", f"{HUB} holds more than the 9 files that were looked at")
    dead = a(ModelFiles, not_seen=("/mnt/models does not answer",))
    assert run_check("ISO050", dead).reason == "/mnt/models does not answer"
    both = a(ModelFiles, folders=(a(ModelFolder, pickles=("a.bin",)),), not_seen=("/mnt/models does not answer",))
    assert run_check("ISO050", both).outcome == "found"


@pytest.mark.parametrize(("configs", "found"), [((), 0), (("m/config.json",), 1)])
def test_iso051_says_which_models_bring_code(a: Any, messages: Any, configs: tuple[str, ...], found: int) -> None:
    said = messages("ISO051", a(ModelFiles, folders=(a(ModelFolder, remote_code=configs),)))
    assert said == [f"1 model in {HUB} name code to be run: m/config.json"][:found]


@pytest.mark.parametrize(
    ("port", "reach", "kinds", "said"),
    [
        (8000, "loopback", (), []),
        (8000, "some", (), []),
        (8001, "all", (), []),
        (8265, "all", (), []),
        (8000, "all", (), [("port 8000, vLLM's API unless told otherwise, is open on every address", "likely")]),
        (
            11434,
            "all",
            ("ufw",),
            [("port 11434, Ollama's API, is open on every address; ufw is set up and may filter it", "possible")],
        ),
    ],
)
def test_iso052_wants_engines_behind_something(
    a: Any, run_check: Any, port: int, reach: str, kinds: tuple[str, ...], said: list[tuple[str, str]]
) -> None:
    listeners = a(Listeners, listeners=(a(Listener, port=port, reach=reach),))
    result = run_check("ISO052", listeners, a(Firewall, kinds=kinds))
    assert [(f.message, f.certainty) for f in result.findings] == said


@pytest.mark.parametrize(
    ("port", "reach", "running", "certainty"),
    [
        (8265, "loopback", ("raylet",), None),
        (8000, "all", ("raylet",), None),
        (8265, "all", ("raylet",), "certain"),
        (8265, "all", (), "possible"),
        (29500, "all", ("raylet",), "possible"),
    ],
)
def test_iso053_wants_control_ports_closed(
    a: Any, run_check: Any, port: int, reach: str, running: tuple[str, ...], certainty: str | None
) -> None:
    listeners = a(Listeners, listeners=(a(Listener, port=port, reach=reach),))
    daemons = Daemons(running=tuple(Daemon(name=name, pid=1) for name in running))
    result = run_check("ISO053", listeners, daemons)
    assert [f.certainty for f in result.findings] == ([certainty] if certainty else [])
    assert all(f.message.startswith(f"port {port}, ") and f.message.endswith("every address") for f in result.findings)


@pytest.mark.parametrize(
    ("mode", "reachable", "found"), [(0o600, True, 0), (0o640, True, 0), (0o644, False, 0), (0o644, True, 1)]
)
def test_iso054_wants_tokens_for_their_owner(a: Any, messages: Any, mode: int, reachable: bool, found: int) -> None:
    said = messages("ISO054", a(SecretFiles, files=(a(SecretFile, mode=mode, reachable=reachable),)))
    assert said == ["/root/.netrc can be read by everybody (mode 0644)"][:found]


@pytest.mark.parametrize(("mode", "found"), [(0o660, 0), (0o664, 0), (0o666, 1)])
def test_iso055_wants_a_closed_socket(a: Any, messages: Any, mode: int, found: int) -> None:
    said = messages("ISO055", a(DockerAccess, mode=mode))
    assert said == ["/var/run/docker.sock can be written by everybody (mode 0666)"][:found]


@pytest.mark.parametrize(("members", "mode", "found"), [(0, 0o660, 0), (2, 0o660, 1), (2, 0o666, 0)])
def test_iso056_counts_accounts(a: Any, messages: Any, members: int, mode: int, found: int) -> None:
    said = messages("ISO056", a(DockerAccess, group_members=members, mode=mode))
    assert said == ["2 accounts beside root may talk to the Docker engine, which makes them root"][:found]


def test_iso056_does_not_know_without_the_groups(a: Any, run_check: Any) -> None:
    assert run_check("ISO056", a(DockerAccess, group_members=None)).outcome == "unknown"


@pytest.mark.parametrize(("privileged", "found"), [(False, 0), (True, 1)])
def test_iso057_wants_no_privileged_container(a: Any, messages: Any, privileged: bool, found: int) -> None:
    said = messages("ISO057", a(Containers, running=(a(RunningContainer, privileged=privileged),)))
    assert said == ["the container vllm (vllm/vllm-openai:v0.33.0) runs privileged"][:found]


@pytest.mark.parametrize(("socket", "found"), [(False, 0), (True, 1)])
def test_iso058_wants_no_socket_in_a_container(a: Any, messages: Any, socket: bool, found: int) -> None:
    said = messages("ISO058", a(Containers, running=(a(RunningContainer, engine_socket=socket),)))
    assert said == ["the container vllm (vllm/vllm-openai:v0.33.0) holds the engine's socket"][:found]


@pytest.mark.parametrize(
    ("mount", "encrypted", "virtualization", "certainty"),
    [
        ({}, ("vg-models",), "none", None),
        ({}, (), "none", "likely"),
        ({}, (), "kvm", "possible"),
        ({"network": True}, (), "none", None),
        ({"filesystem": "zfs"}, (), "none", None),
    ],
)
def test_iso059_wants_an_encrypted_disk(
    a: Any,
    run_check: Any,
    mount: dict[str, Any],
    encrypted: tuple[str, ...],
    virtualization: str,
    certainty: str | None,
) -> None:
    changes = (
        a(Mounts, mounts=(a(Mount, **mount),)),
        a(Encryption, encrypted=encrypted),
        a(System, virtualization=virtualization),
    )
    result = run_check("ISO059", *changes)
    assert [(f.message, f.certainty) for f in result.findings] == (
        [("/ (/dev/mapper/vg-models) is not encrypted", certainty)] if certainty else []
    )


def test_iso059_takes_no_mapper_for_no_encryption(run_check: Any) -> None:
    assert run_check("ISO059", {Encryption: Absent("no device-mapper device is here")}).outcome == "found"


@pytest.mark.parametrize(
    ("limit", "pattern", "said"),
    [
        (0, "core", []),
        (None, "|/usr/lib/systemd/systemd-coredump", []),
        (None, "core", ["core dumps are written to 'core', without a limit"]),
        (4096, "core", ["core dumps are written to 'core', up to 4096 bytes"]),
    ],
)
def test_iso060_wants_no_memory_in_files(
    a: Any, messages: Any, limit: int | None, pattern: str, said: list[str]
) -> None:
    assert messages("ISO060", a(ProcessLimits, core_bytes=limit), a(KernelCounters, core_pattern=pattern)) == said


@pytest.mark.parametrize(
    ("mode", "purpose", "found"),
    [(0o755, "models", 0), (0o1777, "models", 0), (0o777, "temporary", 0), (0o777, "models", 1)],
)
def test_iso061_wants_models_that_few_may_change(a: Any, messages: Any, mode: int, purpose: str, found: int) -> None:
    said = messages("ISO061", a(CacheFolders, folders=(a(CacheFolder, mode=mode, purpose=purpose),)))
    assert said == [f"{HUB} can be written by everybody (mode 0777)"][:found]


@pytest.mark.parametrize(
    ("indexes", "hosts", "said"),
    [
        (0, 0, []),
        (1, 0, ["pip's settings (/etc/pip.conf) name 1 further index"]),
        (2, 1, ["pip's settings (/etc/pip.conf) name 2 further indexes and 1 host without certificate check"]),
    ],
)
def test_iso062_wants_one_index(a: Any, messages: Any, indexes: int, hosts: int, said: list[str]) -> None:
    pip = a(PipSettings, files=(a(PipFile, extra_indexes=indexes, trusted_hosts=hosts),))
    assert messages("ISO062", pip) == said
