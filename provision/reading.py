"""Commands that change nothing on the machine, and what the doctor's options mean. The others are in ``provision.cli``."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import click

if TYPE_CHECKING:
    from provision.check import Result

F = TypeVar("F", bound=Callable[..., object])
FORMATS = ("text", "json", "junit", "sarif", "github", "markdown", "html")
SPEC = click.option(
    "--spec", "spec_path", type=click.Path(path_type=Path), help="What you want; provision.toml here if left out."
)
JSON = click.option("--json", "as_json", is_flag=True, help="As JSON, for programs.")
JUDGING = (
    click.option(
        "--select",
        multiple=True,
        metavar="X",
        help="Only these: codes, prefixes, names of checks, obstacles or causes (A,B or repeated).",
    ),
    click.option("--ignore", multiple=True, metavar="X", help="All but these."),
    click.option("--strict", is_flag=True, help="Warnings and checks that could not look count too."),
    click.option("--files", is_flag=True, help="Also hash the files of installed packages (seconds to minutes)."),
    click.option(
        "--baseline", type=click.Path(path_type=Path), help="An earlier --format json: only new findings fail."
    ),
    click.option("--format", "form", type=click.Choice(FORMATS), default="text", show_default=True),
)


def judging(function: F) -> F:
    """Give a command the options that say which checks are run, what fails, and how it is written."""
    for option in reversed(JUDGING):
        function = option(function)
    return function


def earlier(path: Path | None) -> Callable[[Sequence[Result]], tuple[Result, ...]] | None:
    """What marks the findings that an earlier run had, or None without ``--baseline``."""
    if path is None:
        return None
    from provision import baseline

    known = baseline.read(path)
    return lambda results: baseline.mark(results, known)


@click.command()
@SPEC
@click.argument("a")
@click.argument("b")
@JSON
def diff(spec_path: Path | None, a: str, b: str, as_json: bool) -> None:
    """What differs between two snapshots. Give one of a machine that works: the likeliest reason comes first.

    Example:  provision diff works.json broken.json
    """
    from provision import codec, road, spec
    from provision import diff as comparing
    from provision.report import out, snapshots

    made = comparing.compare(road.read_snapshot(a), road.read_snapshot(b), spec.load(spec_path), road.now()[:10])
    out.emit(codec.dumps(comparing.as_json(made)) if as_json else snapshots.difference(made, out.style()))


@click.command()
@click.argument("word", required=False, metavar="[CODE|NAME|CAUSE]")
@click.option("--all", "everything", is_flag=True, help="Every page.")
@click.option("--readme", is_flag=True, hidden=True, help="checks/README.md, which is generated.")
@JSON
def explain(word: str | None, everything: bool, readme: bool, as_json: bool) -> None:
    """A check, a proof or a cause as prose. What it means, how to fix it, how the fix is proved.

    Example:  provision explain FRG001
    """
    from provision import page
    from provision.errors import UsageError
    from provision.report import out

    if readme:
        out.emit(page.readme())
    elif as_json:
        out.emit(page.as_json(word))
    elif everything:
        out.emit(page.all_pages())
    elif word:
        out.emit(page.page(word))
    else:
        raise UsageError("explain what? Expected a code, a name, a cause or --all", "provision explain --all")


@click.command()
@SPEC
@click.option("--facts", "facts_path", metavar="FILE", help="Plan for this snapshot instead of this machine.")
@JSON
@click.pass_context
def plan(ctx: click.Context, spec_path: Path | None, facts_path: str | None, as_json: bool) -> None:
    """What this machine should be, and why. Starts a run directory; changes nothing on the machine.

    Exit code 1: no lock can work for the GPUs or for serving; the plan says what would help.

    Example:  provision plan --json
    """
    from provision import codec, road
    from provision import spec as specs
    from provision.report import out, text

    spec = specs.load(spec_path)
    snapshot = road.read_snapshot(facts_path) if facts_path else road.look(spec=spec)
    seen = road.diagnose(snapshot, spec, road.previous_plan(snapshot, spec))
    made = road.plan_of(seen)
    run = road.start_run(seen, spec, "plan")
    out.emit(codec.dumps(made) if as_json else text.plan(made, run.path))
    ctx.exit(0 if made.has_locks else 1)


@click.group()
def catalog() -> None:
    """The tables behind the checks, with their sources. Which torch needs which driver, what an Xid means.

    Example:  provision catalog show torch_releases
    """


@catalog.command()
@click.argument("table", required=False)
@JSON
def show(table: str | None, as_json: bool) -> None:
    """A table with the source and date of each row. Without a name: which tables there are.

    Example:  provision catalog show torch_releases
    """
    from provision.catalog import command
    from provision.report import out

    out.emit(command.show(table, as_json))


@catalog.command()
def refresh() -> None:
    """Make the tables of package releases again. From the package index, in a checkout; says which rows moved.

    Example:  provision catalog refresh
    """
    from provision.catalog import command
    from provision.report import out

    out.emit(command.refresh())
