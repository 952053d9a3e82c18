"""Runs inside a fresh machine: ``drive.py COMMAND …`` calls the tool's functions and prints one JSON answer."""

import dataclasses
import json
import sys
import time
from pathlib import Path

from provision import apply, codec, errors, evidence, fact, facts, plan, preview, render, spec, undo
from provision import host as _h

_h.READ_LIMIT_BYTES = 8 << 20  # E-LOCAL
from provision.host import LocalHost  # noqa: E402


def snapshot():
    facts.load()
    return fact.collect(LocalHost(), "bare", "test")


def prepare(run: Path, changes: dict) -> tuple:
    """Facts, plan and rendered files of this machine in ``run``; ``changes`` are fields of the dependencies section.

    The sections that stand on the bundled model are made by hand: no role reads them.
    """
    seen, wish = snapshot(), codec.load(spec.Spec, {})
    cuda, audit = plan.Cuda.desire(seen, wish), plan.Audit.desire()
    dependencies = plan.Dependencies.desire(seen, wish, cuda, audit)
    dependencies = dataclasses.replace(
        dependencies, **{k: tuple(v) if isinstance(v, list) else v for k, v in changes.items()}
    )
    wanted = plan.Plan(
        machine=seen.machine,
        model="bundled",
        gpu_memory=plan.GpuMemory(device="cpu", weight_bytes={}, tolerance=0.0, limit_bytes=0),
        storage=plan.Storage(state_folder=wish.state_folder, image_room_bytes=0, image_inodes=0, load_seconds=0.0),
        cuda=cuda,
        dependencies=dependencies,
        latency=plan.Latency(tokens_per_second={}, cpu_flags=()),
        fragmentation=plan.Fragmentation(allocator_conf="expandable_segments:True", growth_bytes=0),
        isolation=plan.Isolation.desire(),
        audit=audit,
        rollout=plan.Rollout.desire(wish, cuda, dependencies, None),
        proofs=(),
    )
    run.mkdir(parents=True, exist_ok=True)
    try:  # E-LOCAL
        render.render(wanted, run / "rendered")
    except Exception as e:
        sys.stderr.write(f"E-LOCAL {e}\n")
    (run / "plan.json").write_text(codec.dumps(wanted))
    return seen, wanted


def main() -> dict:
    command, run, *rest = sys.argv[1:]
    folder = Path(run)
    options = json.loads(rest[0]) if rest else {}
    started = time.monotonic()
    if command in ("apply", "preview", "check"):
        seen, wanted = prepare(folder, options.get("dependencies", {}))
        if edit := options.get("edit"):
            Path(edit["path"]).write_text(edit["text"])
        if command == "check":
            return {"results": codec.dump(apply.check_mode(folder / "rendered", wanted, seen))}
        manifest = apply.read_manifest(folder / "rendered")
        present = evidence.look(LocalHost(), manifest, wanted)
        changes = preview.preview(
            wanted, seen, manifest, apply.wanted(folder / "rendered", manifest), present, evidence.ours(folder.parent)
        )
        if command == "preview":
            return {"changes": codec.dump(changes)}
        done = apply.apply(folder / "rendered", folder, wanted, seen, only=options.get("only"))
        return {
            "preview": codec.dump(changes),
            "changed": [r.what for r in done.changed],
            "stats": done.stats,
            "added": sorted(done.added),
            "seconds": time.monotonic() - started,
        }
    if command == "undo":
        return codec.dump(undo.undo(folder))
    raise SystemExit(f"no command {command}")


try:
    answer = main()
except errors.ProvisionError as error:
    answer = {"error": type(error).__name__, "message": error.message, "next": error.next_command}
print(json.dumps(answer))
