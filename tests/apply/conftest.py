"""Builders: a plan, a machine that already is as the plan wants it, and one override at a time."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable
from typing import Any

import pytest

from provision import plan
from provision.evidence import FileState, Present
from provision.fact import Absent, Snapshot
from provision.facts.docker import Docker, Image, Images
from provision.render import Manifest, ManifestFile

DAEMON_JSON = '{\n  "log-driver": "local"\n}\n'
WANTED = {"/etc/docker/daemon.json": DAEMON_JSON, "/etc/provision/offline.env": "HF_HUB_OFFLINE=1\n"}
PACKAGES = ("docker.io", "python3-apt")


@pytest.fixture
def a_plan() -> plan.Plan:
    return plan.Plan(
        machine="gpu-07",
        model="bundled",
        gpu_memory=plan.GpuMemory(device="cpu", weight_bytes={}, tolerance=0.0, limit_bytes=0),
        storage=plan.Storage(state_folder="/var/lib/provision", image_room_bytes=0, image_inodes=0, load_seconds=0.0),
        cuda=plan.Cuda(accelerator="cpu", device="cpu", minimum_driver=None, architectures=(), reasons=()),
        dependencies=plan.Dependencies(
            engine="docker.io",
            packages=PACKAGES,
            start="systemd",
            lock="smoke-cpu-py311",
            lock_sha256="0" * 64,
            base="auto",
            daemon_json=DAEMON_JSON,
        ),
        latency=plan.Latency(tokens_per_second={}, cpu_flags=()),
        fragmentation=plan.Fragmentation(allocator_conf="", growth_bytes=0),
        isolation=plan.Isolation.desire(),
        audit=plan.Audit.desire(),
        rollout=plan.Rollout(repository="provision/smoke", tag="cpu-0", previous_tag="", labels={}),
        proofs=(),
    )


@pytest.fixture
def manifest(a_plan: plan.Plan) -> Manifest:
    daemon, offline = WANTED
    return Manifest(
        plan=a_plan.digest,
        machine=a_plan.machine,
        files=(
            ManifestFile(
                source="d", destination=daemon, section="dependencies", checks=(), restart="docker", shared=True
            ),
            ManifestFile(source="o", destination=offline, section="isolation", checks=()),
        ),
    )


def docker(**changes: Any) -> Docker:
    fields: dict[str, Any] = {
        f.name: {"str": "", "bool": False, "int": 0}.get(str(f.type).split(" ")[0], ())
        for f in dataclasses.fields(Docker)
    }
    return Docker(**{**fields, **changes})


@pytest.fixture
def snapshot() -> Callable[..., Snapshot]:
    """A machine with our engine running, idle, and no GPU; ``Fact=value`` replaces one fact."""

    def make(**facts: Any) -> Snapshot:
        image = Image(id="sha256:0", tags=("provision/smoke:cpu-0",), labels=(), bytes=0)
        known = {
            "ContainerEngines": Absent("no container engine is installed"),
            "Docker": docker(),
            "Gpus": Absent("no driver"),
            "Images": Images(images=(image,)),
        }
        return Snapshot("gpu-07", {**known, **facts}, "test")

    return make


@pytest.fixture
def present() -> Callable[..., Present]:
    """Everything in place; ``files`` replaces contents (None: not there), ``modes`` a file's mode."""

    def make(
        files: dict[str, str | None] | None = None,
        modes: dict[str, str] | None = None,
        packages: tuple[str, ...] = PACKAGES,
        missing_folders: tuple[str, ...] = (),
    ) -> Present:
        texts = {**WANTED, **(files or {})}
        states = {
            path: (
                FileState(
                    destination=path,
                    sha256=hashlib.sha256(text.encode()).hexdigest(),
                    mode=(modes or {}).get(path, "0644"),
                    owner="root",
                    group="root",
                ),
                text.encode(),
            )
            for path, text in texts.items()
            if text is not None
        }
        return Present(
            files=states,
            missing_folders=missing_folders,
            packages={f"{p}:amd64": "1" for p in packages},
            residual_packages=(),
        )

    return make
