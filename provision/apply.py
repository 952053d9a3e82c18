"""Bringing the machine to what was rendered: evidence first, then ansible-playbook, then what was done."""

from __future__ import annotations

import hashlib
import json
import tempfile
from pathlib import Path
from typing import Any

from provision import codec, evidence, playbook, roles
from provision.errors import ChangeError, UsageError
from provision.evidence import FileState
from provision.fact import Absent, Missing, Snapshot
from provision.facts.docker import DaemonJson
from provision.facts.fstab import FileSystemTable
from provision.host import Host, LocalHost
from provision.leftovers import CHECK_PREFIX
from provision.plan import Plan
from provision.playbook import TaskResult
from provision.record import record
from provision.render import Manifest

SHARED = {"/etc/docker/daemon.json": DaemonJson, "/etc/fstab": FileSystemTable}


@record
class Applied:
    """What a run did. ``results`` is ``apply.jsonl``; ``stats`` are Ansible's totals; ``added`` are the new packages."""

    results: tuple[TaskResult, ...]
    stats: dict[str, int]
    added: dict[str, str]

    @property
    def changed(self) -> tuple[TaskResult, ...]:
        """The tasks that changed something. Empty on a machine that was right already."""
        return tuple(r for r in self.results if r.changed)


def read_manifest(rendered: Path) -> Manifest:
    """The manifest of a rendered folder. Raises ``UsageError`` where there is none."""
    path = rendered / "manifest.json"
    try:
        return codec.load(Manifest, json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError) as error:
        raise UsageError(f"{path}: cannot be read: {error}", "provision render") from None


def wanted(rendered: Path, manifest: Manifest) -> dict[str, str]:
    """Destination to the text that was rendered for it."""
    return {f.destination: (rendered / f.source).read_text(encoding="utf-8") for f in manifest.files}


def target_states(rendered: Path, manifest: Manifest) -> dict[str, FileState]:
    """Destination to the file as it will be."""
    return {
        f.destination: FileState(
            destination=f.destination,
            sha256=hashlib.sha256((rendered / f.source).read_bytes()).hexdigest(),
            mode=f.mode,
            owner=f.owner,
            group=f.group,
        )
        for f in manifest.files
    }


def apply(
    rendered: Path, run: Path, plan: Plan, snapshot: Snapshot, only: str | None = None, host: Host | None = None
) -> Applied:
    """Run ``site.yml`` over ``rendered``; keep the evidence and ``apply.jsonl`` in ``run``.

    ``only``: one obstacle's role (with the state folder and the evidence, which come before any change). Raises
    ``ChangeError`` with the failing task's own message, what was done until then and how to go on.
    """
    host = host or LocalHost()
    rendered, run = rendered.resolve(), run.resolve()
    need_root(host)
    tags = roles.tags(only)
    manifest = read_manifest(rendered)
    if manifest.plan != plan.digest:
        raise UsageError(
            f"{rendered} was rendered from plan {manifest.plan[:12]}, not from {plan.digest[:12]}", "provision render"
        )
    present = evidence.look(host, manifest, plan)
    before = evidence.take(host, run, plan, present, target_states(rendered, manifest))
    variables = _variables(rendered, run, before, manifest, snapshot, present)
    try:
        played = playbook.play(
            "site.yml", rendered, run / "ansible", variables, results=run / "apply.jsonl", tags=tags if only else ()
        )
    finally:
        after = evidence.finish(host, run, before)
    done = Applied(results=played.results, stats=played.stats, added=after.added_packages)
    if played.failure:
        raise ChangeError(f"{played.failure}\n{_so_far(done)}", _next(played.failure, run))
    return done


def check_mode(
    rendered: Path, plan: Plan, snapshot: Snapshot, host: Host | None = None, only: str | None = None
) -> tuple[TaskResult, ...]:
    """What Ansible itself says it would change (``--check --diff``), in one role with ``only``; nothing is changed.

    Steps that stand on a package that is not there yet are left out: check mode fails on them. The preview lists them
    from the plan.
    """
    host = host or LocalHost()
    manifest = read_manifest(rendered)
    present = evidence.look(host, manifest, plan)
    skip: tuple[str, ...] = ("evidence", "disks")  # disks are previewed from the plan and the disks themselves
    if not present.package_names.issuperset({"python3-apt", *plan.dependencies.packages}):
        skip += ("packages", "engine")
    with tempfile.TemporaryDirectory(prefix=CHECK_PREFIX, dir=rendered.parent) as folder:
        work = Path(folder)
        variables = _variables(rendered.resolve(), work, None, manifest, snapshot, present)
        played = playbook.play(
            "site.yml",
            rendered.resolve(),
            work / "ansible",
            variables,
            results=work / "check.jsonl",
            tags=() if only is None else roles.tags(only),
            skip_tags=skip,
            check=True,
        )
    if played.failure:
        raise ChangeError(f"Ansible's check mode failed: {played.failure}", "provision plan")
    return tuple(r for r in played.results if r.changed)


def need_root(host: Host) -> None:
    """Raises ``ChangeError`` unless this process may change the machine."""
    if host.user()["uid"] != 0:
        raise ChangeError("changing this machine needs root; nothing was changed", "run with sudo: sudo provision up")


def _variables(
    rendered: Path,
    run: Path,
    before: evidence.Evidence | None,
    manifest: Manifest,
    snapshot: Snapshot,
    present: evidence.Present,
) -> dict[str, Any]:
    """What the roles need beside the plan: where things are, and what was seen."""
    texts = wanted(rendered, manifest)
    restart = sorted(
        {f.restart for f in manifest.files if f.restart and present.text(f.destination) != texts[f.destination]}
    )
    return {
        "provision_rendered": str(rendered),
        "provision_run": before.run if before else "check",
        "provision_seen": {f.destination: _seen(f.destination, snapshot) for f in manifest.files if f.shared},
        "provision_missing_folders": present.missing_folders,
        "provision_restart": restart,
        "audit_record": str(run / "replaced"),
    }


def _seen(destination: str, snapshot: Snapshot) -> str:
    """SHA-256 of a shared file as the facts saw it; "absent" where they saw none (Ansible reads ``!unsafe ""`` as null)."""
    if destination not in SHARED:
        raise ChangeError(f"{destination} is shared and no fact saw it", "provision facts")
    fact: Any = snapshot.get(SHARED[destination])
    if isinstance(fact, Absent):
        return "absent"
    if isinstance(fact, Missing):
        raise ChangeError(f"{destination} could not be looked at: {fact.reason}", "sudo provision facts")
    if fact.path != destination:
        raise ChangeError(f"{destination} is shared and no fact saw it", "provision facts")
    return hashlib.sha256(fact.text.encode()).hexdigest()


def _so_far(done: Applied) -> str:
    if not done.changed:
        return "Nothing had been changed until then."
    what = ", ".join(dict.fromkeys(r.what for r in done.changed))
    return f"Changed until then: {what}."


def _next(failure: str, run: Path) -> str:
    offline = "package index cannot be reached" in failure
    first = "make `sudo apt-get update` succeed" if offline else "correct that"
    return f"{first}, then: provision up; to go back: provision apply --undo {run.name}"
