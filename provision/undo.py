"""Taking a run back: files, the packages it added, the engine it started, its folders, its images.

Nothing that somebody changed since is overwritten, and nothing that somebody else needs by now is removed: what is
kept is said.
"""

from __future__ import annotations

import datetime
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from provision import codec, evidence, playbook, undo_volume
from provision.apply import need_root, read_manifest
from provision.errors import ChangeError, ConsentNeeded, UsageError
from provision.evidence import After, Evidence
from provision.fact import Absent, Missing
from provision.files import write_whole
from provision.host import Host, LocalHost
from provision.playbook import TaskResult
from provision.record import record

SLOW_SECONDS = 30.0
# Left by the engine or its packages and owned by no package; taken back with the engine itself.
ENGINE_LEFTOVERS = ("/etc/docker/key.json",)


@record
class Undone:
    """``undone.json``: when, what was taken back, and what was kept with the reason."""

    schema: int = 1
    run: str
    when: str
    taken_back: tuple[str, ...]
    kept: tuple[str, ...]


@record
class Steps:
    """What undoing a run comes down to on the machine as it is now."""

    restore: tuple[evidence.FileState, ...]
    remove_files: tuple[str, ...]
    packages: tuple[str, ...]
    residual: tuple[str, ...]
    stop_engine: bool
    disable_engine: bool
    restart_engine: bool
    trees: tuple[str, ...]
    folders: tuple[str, ...]
    docker_group: bool
    volume: dict[str, Any]  # what files/volume.py takes back; empty: nothing of it
    model: tuple[str, ...]  # of the placed files, those that go
    kept: tuple[str, ...]


def undo(run: Path, remove_image: Callable[[str], None] | None = None, host: Host | None = None) -> Undone:
    """Take ``run`` back through ``undo.yml``. ``remove_image`` removes one image of ours from the engine.

    Raises ``UsageError`` where there is nothing to take back or it was taken back already, ``ConsentNeeded`` where
    containers still run on the engine that would go, ``ChangeError`` where a step fails.
    """
    host, run = host or LocalHost(), run.resolve()
    need_root(host)
    already = run / "replaced/undone.json"
    if already.exists():
        raise UsageError(
            f"run {run.name} was taken back already, {json.loads(already.read_text())['when']}", "provision up"
        )
    before, after = evidence.read(run), evidence.read_after(run)
    _refuse_while_in_use(host, run, before)
    images = _remove_images(after, remove_image)
    steps = plan_steps(host, run, before, after)
    variables: dict[str, Any] = {
        "undo_restore": [
            {"destination": f.destination, "mode": f.mode, "owner": f.owner, "group": f.group} for f in steps.restore
        ],
        "undo_record": str(run / "replaced"),
        "undo_files": steps.remove_files,
        "undo_packages": tuple(p for p in steps.packages if p not in steps.residual),
        "undo_residual_packages": steps.residual,
        "undo_disable_engine": steps.disable_engine,
        "undo_stop_engine": steps.stop_engine,
        "undo_restart_engine": steps.restart_engine,
        "undo_trees": steps.trees,
        "undo_folders": steps.folders,
        "undo_docker_group": steps.docker_group,
        "undo_volume": steps.volume,
        "undo_model": steps.model,
    }
    played = playbook.play("undo.yml", run / "rendered", run / "ansible", variables, results=run / "undo.jsonl")
    if played.failure:
        raise ChangeError(
            f"{played.failure}\n{_done(played.results)}", f"correct that, then: provision apply --undo {run.name}"
        )
    undone = Undone(
        run=run.name,
        when=datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        taken_back=(
            *images,
            *steps.packages,
            *dict.fromkeys(r.what for r in played.results if r.changed and r.kind != "package"),
        ),
        kept=steps.kept,
    )
    write_whole(already, codec.dumps(undone), 0o600)
    return undone


def plan_steps(host: Host, run: Path, before: Evidence, after: After | None) -> Steps:
    """Compare the evidence with the machine as it is now. Changes nothing."""
    kept: list[str] = []
    restore, remove = _files(host, run, before, after, kept)
    packages = _packages(host, before, after, kept)
    engine = tuple(p for p in packages if _plain(p) in ("docker.io", "docker-ce"))
    engine_goes, purge = bool(engine), True
    storage, model = undo_volume.steps(host, before.volume, kept)
    answers = evidence.engine_answers(host)
    stop = answers and not before.engine_answered
    restarting = {f.destination for f in read_manifest(run / "rendered").files if f.restart}
    trees: tuple[str, ...] = (evidence.on_the_machine(before),)
    if engine_goes:
        more, purge = _engine_trees(host, before, answers, kept)
        trees += more
    state = before.state_folder
    trees += (f"{state}/restart-docker", *((f"{state}/engine",) if stop or engine_goes else ()))
    trees += (f"{state}/array-in-initramfs",) if storage.get("stop") else ()
    parents = {str(p) for d in before.managed for p in Path(d).parents} | {
        state,
        f"{state}/runs",
        *map(str, Path(state).parents),
        *undo_volume.folders(before.volume),
    }
    return Steps(
        restore=restore,
        remove_files=remove,
        packages=packages,
        residual=tuple(p for p in packages if p in before.residual_packages or (p in engine and not purge)),
        stop_engine=stop,
        disable_engine=stop and not before.engine_enabled and not engine_goes,
        restart_engine=answers
        and before.engine_answered
        and bool(restarting & {*remove, *(f.destination for f in restore)}),
        trees=trees,
        folders=tuple(sorted(parents & set(before.missing_folders), key=lambda p: (-p.count("/"), p))),
        volume=storage,
        model=model,
        docker_group=engine_goes and not before.docker_group,
        kept=tuple(kept),
    )


def _refuse_while_in_use(host: Host, run: Path, before: Evidence) -> None:
    """Before anything is touched: an engine that the run started, and that runs containers by now, is not stopped."""
    if evidence.engine_answers(host) and not before.engine_answered and (running := _containers(host)):
        raise ConsentNeeded(
            f"Nothing was changed: {running} containers run on the engine that would be stopped",
            f"docker stop them, then: provision apply --undo {run.name}",
        )


def _files(
    host: Host, run: Path, before: Evidence, after: After | None, kept: list[str]
) -> tuple[tuple[evidence.FileState, ...], tuple[str, ...]]:
    """Files to put back and files to remove: those that are still as the run left them."""
    earlier = {f.destination: f for f in before.files}
    present = evidence.state_of(host, before.managed)
    restore, remove = [], []
    for destination in before.managed:
        now, old = present.get(destination), earlier.get(destination)
        if now == old:
            continue  # the run did not change it, or it was put back by hand
        # A run that was killed could not say what it left; then the file is taken as its own.
        digest = now.sha256 if now else None
        left = after.files.get(destination) if after else digest
        if digest != left:
            kept.append(f"{destination} was {'changed' if now else 'removed'} since the run; it stays as it is")
        elif old is None:
            remove.append(destination)
        elif (run / f"replaced/files{destination}").exists():
            restore.append(old)
    return tuple(restore), tuple(remove)


def _packages(host: Host, before: Evidence, after: After | None, kept: list[str]) -> tuple[str, ...]:
    """The packages that the run added and that are still here, unless something else stands on them by now."""
    now, _ = evidence.installed(host)
    added = set(now) - set(before.packages) if after is None else set(after.added_packages) & set(now)
    if not added:
        return ()
    try:
        said = host.run("apt-get", "--simulate", "purge", *sorted(added), timeout=SLOW_SECONDS)
    except (Absent, Missing) as reason:
        raise ChangeError(
            f"what removing packages would take along cannot be seen: {reason.reason}", "sudo apt-get check"
        ) from None
    goes = {line.split()[1] for line in said.splitlines() if line.startswith(("Purg ", "Remv "))}
    others = sorted(goes - {_plain(p) for p in added})
    if others:
        kept.append(
            f"{', '.join(sorted(added))} stay: {', '.join(others)}, installed since, would have to go with them"
        )
        return ()
    return tuple(sorted(added))


def _engine_trees(host: Host, before: Evidence, answers: bool, kept: list[str]) -> tuple[tuple[str, ...], bool]:
    """The engine's own folders, where they were not there before and hold nothing of anybody's; whether to purge it.

    Debian's docker.io deletes /var/lib/docker when it is purged (its postrm, read and seen 2026-11-24): where that folder
    was there before, or holds what is not ours, the package is removed and not purged.
    """
    fresh = [p for p in evidence.ENGINE_FOLDERS if p in before.missing_folders and p != "/etc/docker"]
    holds = _held(host) if answers else _held_on_disk(host)
    if any(holds.values()):
        said = ", ".join(f"{count} {name}" for name, count in holds.items() if count)
        kept.append(f"{', '.join(fresh)} stay: the engine holds {said} that are not of this run")
        return ENGINE_LEFTOVERS, False
    return (*fresh, *ENGINE_LEFTOVERS), "/var/lib/docker" in fresh


def _held(host: Host) -> dict[str, int]:
    return {
        "containers": len(_ask(host, "/containers/json?all=1")),
        "images": len(_ask(host, "/images/json")),
        "volumes": len(_ask(host, "/volumes").get("Volumes") or ()),
    }


def _held_on_disk(host: Host) -> dict[str, int]:
    """The same of an engine that is stopped (undoing the run that started it stops it): its folders, one for each."""
    patterns = {
        "containers": "/var/lib/docker/containers/*",
        "images": "/var/lib/docker/image/*/imagedb/content/sha256/*",
        "volumes": "/var/lib/docker/volumes/*/_data",
    }
    try:
        return {what: len(host.glob(pattern)) for what, pattern in patterns.items()}
    except (Absent, Missing) as reason:
        raise ChangeError(f"what the engine holds cannot be seen: {reason.reason}", "ls /var/lib/docker") from None


def _containers(host: Host) -> int:
    return len(_ask(host, "/containers/json"))


def _ask(host: Host, path: str) -> Any:
    try:
        return host.get(evidence.SOCKET, path)
    except (Absent, Missing) as reason:
        raise ChangeError(f"what the engine holds cannot be seen: {reason.reason}", "docker info") from None


def _remove_images(after: After | None, remove_image: Callable[[str], None] | None) -> tuple[str, ...]:
    images = after.images if after else ()
    if images and remove_image is None:
        raise UsageError(f"this run added images ({', '.join(images)}), and nobody here can remove them")
    for image in images:
        assert remove_image is not None
        remove_image(image)
    return images


def _plain(package: str) -> str:
    """Without the architecture that dpkg adds to some names."""
    return package.partition(":")[0]


def _done(results: tuple[TaskResult, ...]) -> str:
    changed = ", ".join(dict.fromkeys(r.what for r in results if r.changed))
    return f"Taken back until then: {changed}." if changed else "Nothing had been taken back until then."
