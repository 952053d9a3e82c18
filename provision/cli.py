"""The command line. One short command per stage; each imports its stage inside itself (the start-up budget)."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from provision import __version__, locking, reading, sizing
from provision.bundle.command import bundle
from provision.disk.command import disk
from provision.errors import ProvisionError
from provision.paste import options

if TYPE_CHECKING:
    from provision.spec import Spec

_SPEC = click.option(
    "--spec", "spec_path", type=click.Path(path_type=Path), help="What you want; provision.toml here if left out."
)
_RUN = click.option("--run", "run_name", metavar="RUN", help="A run by number or path; the latest if left out.")
_JSON = click.option("--json", "as_json", is_flag=True, help="As JSON, for programs.")
_OUT = click.option("-o", "--output", type=click.Path(path_type=Path), help="Write there instead of standard output.")
_YES = click.option("--yes", is_flag=True, help="Go on without asking, on a busy machine too.")
_ALLOW = click.option(
    "--allow",
    "allowed",
    multiple=True,
    metavar="NAME",
    help="Allow one of: config, disks, driver, firewall, reboot. May be repeated.",
)


class _Group(click.Group):
    """Commands in the order of the road, and our errors as one message with the next command."""

    def list_commands(self, _ctx: click.Context) -> list[str]:
        return list(self.commands)

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except ProvisionError as error:
            from provision.report import text

            click.echo(text.error(error), err=True)
            ctx.exit(error.exit_code)
        except KeyboardInterrupt:
            click.echo("Interrupted; nothing is left half-written. The same command goes on.", err=True)
            ctx.exit(130)


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120})
@click.version_option(__version__, prog_name="provision")
def main() -> None:
    """The environment doctor and provisioning tool for large language models on your own machines.

    On a fresh machine:  sudo provision up        To look only:  provision doctor
    """


def _spec(path: Path | None) -> Spec:
    from provision import spec

    return spec.load(path)


def _allow(names: tuple[str, ...]) -> frozenset[str]:
    from provision import consent

    return consent.allowed(names)


def _emit(text: str, output: Path | None = None) -> None:
    from provision.report import out

    out.emit(text, output)


@main.command()
@_SPEC
@_YES
@_ALLOW
@click.pass_context
def up(ctx: click.Context, spec_path: Path | None, yes: bool, allowed: tuple[str, ...]) -> None:
    """Everything, in order. Diagnose, plan, render, preview, apply, build, prove; safe to repeat.

    Where another run holds the machine, this one waits 30 seconds, or as many as PROVISION_WAIT says.

    Example:  sudo provision up
    """
    from provision import up as road

    ctx.exit(road.up(_spec(spec_path), yes=yes, allow=_allow(allowed)))


@main.command()
@_OUT
@_JSON
@click.option("--facts", "facts_path", metavar="FILE", help="This snapshot (- for standard input), not this machine.")
@click.option(
    "--spec", "spec_path", type=click.Path(path_type=Path), help="Look at the environment it has a lock for, too."
)
@click.option("--share", is_flag=True, help="Replace names, addresses and secrets; standard error says which.")
@click.option(
    "--collector", metavar="FILE", type=click.Path(path_type=Path), help="Write a program that takes facts elsewhere."
)
def facts(
    output: Path | None,
    as_json: bool,
    facts_path: str | None,
    spec_path: Path | None,
    share: bool,
    collector: Path | None,
) -> None:
    """What this machine is.

    A screen for people; with --json or -o the snapshot that other commands take as --facts.

    Example:  provision facts -o facts.json
    """
    from provision import codec, road
    from provision.report import text

    if collector:
        from provision import collector as program

        return program.write(collector, alone=not (output or as_json))
    spec = _spec(spec_path) if spec_path else None
    snapshot = road.read_snapshot(facts_path) if facts_path else road.look(spec=spec)
    if share:
        from provision import share as sharing
        from provision.report import snapshots

        snapshot, made = sharing.share(snapshot)
        click.echo(snapshots.replaced(made), err=True, nl=False)
    _emit(codec.dumps(snapshot.to_json()) if as_json or output else text.facts(snapshot), output)


@main.command()
@_SPEC
@options.sources
@reading.judging
@_OUT
@click.pass_context
def doctor(
    ctx: click.Context,
    spec_path: Path | None,
    facts_path: str | None,
    dumps: tuple[str, ...],
    logs: tuple[str, ...],
    select: tuple[str, ...],
    ignore: tuple[str, ...],
    strict: bool,
    files: bool,
    baseline: Path | None,
    form: str,
    output: Path | None,
) -> None:
    """What is wrong with this machine, and why. Changes nothing.

    Exit code 0: nothing found; 1: errors found, with --strict warnings too; 2: a bad call or file; 3: nothing found, but
    a check that matters could not look.

    Example:  provision doctor --format json | jq .causes
    """
    from provision import check, road
    from provision.report import formats, layout, out

    spec = _spec(spec_path)
    before = reading.earlier(baseline)
    codes = road.choose(select, ignore) if select or ignore else None
    seen = road.judge(spec, codes, facts_path, dumps, logs, files)
    results = seen.results if before is None else before(seen.results)
    shown = formats.Shown(
        machine=spec.machine.name or seen.snapshot.machine,
        results=results,
        causes=seen.causes,
        snapshot=seen.snapshot,
        strict=strict,
        baseline=before is not None,
        spec_path=str(spec_path or "provision.toml"),
        serving=seen.serving,
    )
    _emit(formats.write(form, shown, layout.PLAIN if output else out.style()), output)
    ctx.exit(check.exit_code(results, strict))


for _command in (reading.diff, reading.explain, disk):
    main.add_command(_command)


for _command in (locking.lock, reading.catalog, sizing.fit, bundle, reading.plan):
    main.add_command(_command)


@main.command()
@_SPEC
@_RUN
def render(spec_path: Path | None, run_name: str | None) -> None:
    """The plan's files, into the run directory. Changes nothing on the machine.

    Example:  provision plan && provision render
    """
    from provision import up as road
    from provision.report import text

    _emit(text.manifest(*road.render_run(road.run_of(_spec(spec_path), run_name))))


@main.command()
@_SPEC
@_RUN
def build(spec_path: Path | None, run_name: str | None) -> None:
    """The container image, from the plan's lock. Builds nothing where it is there already.

    Example:  sudo provision build
    """
    from provision import up as road
    from provision.report import text

    _emit(text.built(road.build_run(road.run_of(_spec(spec_path), run_name))))


@main.command()
@_SPEC
@_RUN
@click.option("--only", metavar="NAME", help="Only what belongs to this obstacle, for example storage.")
@click.option("--undo", metavar="RUN", help="Take back what that run changed.")
@_YES
@_ALLOW
@click.pass_context
def apply(
    ctx: click.Context,
    spec_path: Path | None,
    run_name: str | None,
    only: str | None,
    undo: str | None,
    yes: bool,
    allowed: tuple[str, ...],
) -> None:
    """Make the machine what the plan says. Shows the changes first and asks on a terminal.

    Takes the plan that 'provision plan' left in a run, and refuses where the machine has changed since.

    Example:  sudo provision apply, and to take run 7 back: sudo provision apply --undo 0007
    """
    from provision import up as road

    spec = _spec(spec_path)
    if undo:
        ctx.exit(road.undo_run(road.run_of(spec, undo)))
    ctx.exit(road.apply_run(road.run_of(spec, run_name), spec, only=only, yes=yes, allow=_allow(allowed)))


@main.command()
@_SPEC
@_RUN
@click.option("--here", is_flag=True, help="Run the proofs with the torch of this environment, without a container.")
@click.pass_context
def verify(ctx: click.Context, spec_path: Path | None, run_name: str | None, here: bool) -> None:
    """Run the promised proofs in the container. Then look at the machine again.

    Example:  sudo provision verify
    """
    from provision import up as road

    spec = _spec(spec_path)
    ctx.exit(road.verify_here(spec) if here else road.verify_run(road.run_of(spec, run_name), spec))


if __name__ == "__main__":
    sys.exit(main())
