"""Runs inside a fresh machine: ``drive.py COMMAND RUN [OPTIONS]`` calls the tool's functions and prints one JSON answer.

Options (JSON): ``dependencies``, fields of that plan section to set; ``machine``, its name; ``edit``, a file to write
between the facts and the change; ``only``; ``storage``, that table of provision.toml.
"""

import dataclasses
import json
import sys
import time
from pathlib import Path
from typing import Any

from provision import apply, codec, errors, evidence, fact, facts, plan, preview, render, spec, undo
from provision.host import LocalHost

# A machine of the tests shares the network, so its engine must leave it alone.
DAEMON_JSON = '{\n  "bridge": "none",\n  "iptables": false\n}\n'


def prepare(run: Path, options: dict[str, Any]) -> tuple[fact.Snapshot, plan.Plan]:
    """Facts, plan and rendered files of this machine in ``run``.

    The sections that stand on the bundled model are made by hand: no role reads them.
    """
    facts.load()
    seen, wish = (
        fact.collect(LocalHost(), "bare", "test"),
        codec.load(spec.Spec, {"storage": options.get("storage", {})}),
    )
    cuda, audit = plan.Cuda.desire(seen, wish), plan.Audit.desire()
    storage = plan.Storage.desire(seen, wish, cuda)
    more = storage.volume.packages if storage.volume else ()
    dependencies = plan.Dependencies.desire(seen, wish, cuda, audit, more)
    fields = {"daemon_json": DAEMON_JSON, "start": "direct", **options.get("dependencies", {})}
    fields = {key: tuple(value) if isinstance(value, list) else value for key, value in fields.items()}
    dependencies = dataclasses.replace(dependencies, **fields)
    wanted = plan.Plan(
        machine=options.get("machine", seen.machine),
        model="bundled",
        gpu_memory=plan.GpuMemory(device="cpu", weight_bytes={}, tolerance=0.0, limit_bytes=0),
        storage=storage,
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
    render.render(wanted, run / "rendered")
    (run / "plan.json").write_text(codec.dumps(wanted))
    return seen, wanted


def main() -> dict[str, Any]:
    command, run, *rest = sys.argv[1:]
    folder, options = Path(run), json.loads(rest[0]) if rest else {}
    started = time.monotonic()
    if command == "undo":
        return dict(codec.dump(undo.undo(folder)))
    seen, wanted = prepare(folder, options)
    rendered = folder / "rendered"
    if command == "check":
        return {"results": codec.dump(apply.check_mode(rendered, wanted, seen))}
    if command == "preview":
        manifest = apply.read_manifest(rendered)
        present = evidence.look(LocalHost(), manifest, wanted)
        ours = evidence.ours(folder.parent)
        changes = preview.preview(wanted, seen, manifest, apply.wanted(rendered, manifest), present, ours)
        return {"changes": codec.dump(changes)}
    if edit := options.get("edit"):
        Path(edit["path"]).parent.mkdir(exist_ok=True)
        Path(edit["path"]).write_text(edit["text"])
    done = apply.apply(rendered, folder, wanted, seen, only=options.get("only"))
    return {
        "changed": [r.what for r in done.changed],
        "stats": done.stats,
        "added": sorted(done.added),
        "seconds": time.monotonic() - started,
    }


try:
    answer = main()
except errors.ProvisionError as error:
    answer = {"error": type(error).__name__, "message": error.message, "next": error.next_command}
except KeyboardInterrupt:
    answer = {"error": "KeyboardInterrupt"}
sys.stdout.write(json.dumps(answer) + "\n")
