"""``provision disk``: the command. It measures inside; see ``provision.disk.looking``."""

from __future__ import annotations

from pathlib import Path

import click


@click.command()
@click.argument("path", type=click.Path(path_type=Path))
@click.option(
    "--model", "model_word", metavar="DIR|NAME", help="Forecast this model's loading; else what lies in PATH."
)
@click.option("--seconds", default=5.0, show_default=True, help="The measurement takes at most so long.")
@click.option("--gib", default=4.0, show_default=True, help="It reads and writes at most so much, in GiB.")
@click.option("--read-only", is_flag=True, help="Never write: measure only with weights that are there.")
@click.option("--spec", "spec_path", type=click.Path(path_type=Path), help="Compare with its [expect] disk_mb_per_s.")
@click.option("--json", "as_json", is_flag=True, help="As JSON, for programs.")
@click.pass_context
def disk(
    ctx: click.Context,
    path: Path,
    model_word: str | None,
    seconds: float,
    gib: float,
    read_only: bool,
    spec_path: Path | None,
    as_json: bool,
) -> None:
    """What PATH stands on, how fast it is read the way models are loaded, and how long a model takes from there.

    Reads weights that lie there; where there are none, writes one temporary file without a name and lets it go. Works
    without root.

    Exit status: 0 measured; 1 slower than provision.toml expects, or the disk fails; 3 could not be measured.

    Example:  provision disk /srv/models --model /srv/models/DeepSeek-R1-Distill-Qwen-14B
    """
    from provision import codec, spec
    from provision.disk import looking
    from provision.host import LocalHost
    from provision.report import disk as report
    from provision.report import out

    expected = spec.load(spec_path).expect.disk_mb_per_s
    seen = looking.look(LocalHost(), str(path.absolute()), model_word, seconds, gib, may_write=not read_only)
    out.emit(codec.dumps(report.as_json(seen, expected)) if as_json else report.text(seen, expected, out.style()))
    ctx.exit(report.exit_code(seen, expected))
