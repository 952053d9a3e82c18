"""Makes the machines again: ``.venv/bin/python tests/machines/record.py`` (``make pages`` runs it). Review what it changes.

Two kinds of snapshot lie here. Those in ``LAYERS`` are collected from recorded hosts: the probes run over the answers
that stand in ``tests/facts``, joined to one machine. The others were collected on real machines and are never made
again; README.md says where. ``expected/`` holds, for both, what the doctor, the plan and the renderer make of them.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

from provision import __version__, check, codec, fact, facts, render, road, spec
from provision.fact import Snapshot
from provision.plan import Plan
from provision.recorded import RecordedHost

HERE = Path(__file__).parent
RECORDINGS = HERE.parent / "facts"
EXPECTED = HERE / "expected"

# What every one of the recorded machines has: a file system with room, Debian's Python, nothing in the kernel's log.
SERVER = (
    *("Mounts/nvme-lvm-nfs", "Disks/nvme-hdd-raid-dvd", "Memory/bare-debian12", "SharedMemory/bare-debian12"),
    *("Limits/unlimited", "KernelLog/quiet", "CudaToolkits/none", "CudaLibraries/none"),
    *("Units/systemd-docker-running", "System/vm-ubuntu2204-systemd", "Cpu/amd-epyc-vm"),
)
# A later layer's answer to the same question wins. ``Fact/case nvml`` takes that one question from a recording.
LAYERS: dict[str, tuple[str, ...]] = {
    "gpu-h100": (
        *(*SERVER, "Packages/venv-with-cuda-torch", "Docker/docker-28-nvidia", "DaemonJson/nvidia-runtime"),
        *("CdiSpecs/nvidia-ctk", "ContainerEngines/docker-io", "DebianPackages/docker", "DriverLibraries/driver-580"),
        *("NvidiaDriver/sys-only", "Gpus/h100", "NvidiaCards/h100"),
    ),
    "gpu-driver-mismatch": (
        *(
            *SERVER,
            "Docker/docker-28-nvidia",
            "ContainerEngines/docker-io",
            "DebianPackages/docker",
            "DriverLibraries/driver-580",
        ),
        *("NvidiaDriver/proprietary-535", "Gpus/library-mismatch", "NvidiaCards/h100"),
    ),
    "kubernetes-node": (*SERVER, "ContainerEngines/kubernetes-node"),
    "wsl2": (*SERVER, "System/wsl2", "Cpu/amd-epyc-vm", "Gpus/geforce-without-mig nvml"),
}


GPU = "gpu-h100"  # its plan and rendered files are kept whole, in a folder of its name


def machines() -> list[str]:
    """Every machine's name, sorted."""
    return sorted(path.stem for path in HERE.glob("*.json"))


def answers(layers: tuple[str, ...]) -> dict[str, Any]:
    """One machine's answers, joined from recordings."""
    joined: dict[str, Any] = {}
    for layer in layers:
        name, _, only = layer.partition(" ")
        recorded = json.loads((RECORDINGS / f"{name}.json").read_text())["answers"]
        joined |= {only: recorded[only]} if only else recorded
    return joined


def collected(name: str) -> Snapshot:
    """The snapshot that the probes make of a recorded machine."""
    facts.load()
    return fact.collect(RecordedHost(answers(LAYERS[name])), name, __version__)


def judged(snapshot: Snapshot) -> dict[str, Any]:
    """What the tool makes of a snapshot: what is not well, why, and the files that would be rendered."""
    seen = road.diagnose(snapshot, spec.Spec())
    # What is ok or does not apply is left out: a new check that finds nothing here changes no file.
    outcomes = {r.code: r.outcome for r in seen.results if r.outcome not in ("ok", "skipped")}
    result: dict[str, Any] = {
        "causes": [c.cause for c in seen.causes],
        "exit": check.exit_code(seen.results),
        "outcomes": outcomes,
    }
    if isinstance(seen.plan, Plan):
        result |= {"accelerator": seen.plan.cuda.accelerator, "plan": seen.plan.digest, "rendered": files(seen.plan)}
    else:
        result["no_plan"] = seen.plan.reason
    return result


def rendered(name: str) -> dict[str, str]:
    """The plan and every rendered file of a machine, whole: what ``GPU`` keeps for reading."""
    made = road.plan_of(road.diagnose(road.read_snapshot(str(HERE / f"{name}.json")), spec.Spec()))
    with tempfile.TemporaryDirectory() as folder:
        render.render(made, Path(folder))
        texts = {str(p.relative_to(folder)): p.read_text() for p in sorted(Path(folder).rglob("*")) if p.is_file()}
    return {"plan.json": codec.dumps(made), **{f"rendered/{path}": text for path, text in texts.items()}}


def files(plan: Plan) -> dict[str, str]:
    """Every rendered file's path and SHA-256."""
    with tempfile.TemporaryDirectory() as folder:
        render.render(plan, Path(folder))
        return {
            str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in sorted(Path(folder).rglob("*"))
            if path.is_file()
        }


def main() -> None:
    EXPECTED.mkdir(exist_ok=True)
    for name in LAYERS:
        (HERE / f"{name}.json").write_text(codec.dumps(collected(name).to_json()))
    for name in machines():
        snapshot = road.read_snapshot(str(HERE / f"{name}.json"))
        (EXPECTED / f"{name}.json").write_text(codec.dumps(judged(snapshot)))
        sys.stderr.write(f"{name}\n")
    shutil.rmtree(HERE / GPU, ignore_errors=True)
    for path, text in rendered(GPU).items():
        (HERE / GPU / path).parent.mkdir(parents=True, exist_ok=True)
        (HERE / GPU / path).write_text(text)


if __name__ == "__main__":
    main()
