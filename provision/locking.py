"""``provision lock``: the command line of the lockfiles."""

from __future__ import annotations

import click


@click.command()
@click.argument("variants", nargs=-1)
@click.option("--check", "only_check", is_flag=True, help="Change nothing; say what is wrong with the locks.")
@click.option(
    "--audit", is_flag=True, help="Change nothing; name known vulnerabilities and what fixes them (pip-audit)."
)
@click.option("--offline", is_flag=True, help="With --check: look at the files alone and ask no index.")
@click.option("--strict", is_flag=True, help="With --audit: a known vulnerability is an error (exit code 1).")
@click.option("--crosscheck", is_flag=True, help="Ask both resolvers and compare every pin.")
@click.option("--resolver", type=click.Choice(["uv", "pip-tools"]), default="uv", show_default=True)
@click.option(
    "--upgrade",
    metavar="[PACKAGE]",
    is_flag=False,
    flag_value="*",
    multiple=True,
    help="Take the newest that fits of this package, or of all; may be repeated. Write it last, or with =.",
)
@click.option("--at", metavar="DATE", default="", help="Resolve as of the end of this day (UTC), such as 2026-11-24.")
@click.pass_context
def lock(
    ctx: click.Context,
    variants: tuple[str, ...],
    only_check: bool,
    audit: bool,
    offline: bool,
    strict: bool,
    crosscheck: bool,
    resolver: str,
    upgrade: tuple[str, ...],
    at: str,
) -> None:
    """Make lockfiles with a hash on every line. From provision/catalog/variants.toml and pyproject.toml.

    With --check, exit code 0: they stand; 1: something is wrong; 3: nothing is, but an index could not be looked at. With
    --audit a vulnerability is a warning, and 3 says that not every package could be looked at.

    Example:  provision lock smoke-cpu-py311
    """
    from provision.lock import command
    from provision.report import out

    text, code = command.run(
        variants,
        only_check=only_check,
        audit=audit,
        offline=offline,
        strict=strict,
        crosscheck=crosscheck,
        resolver=resolver,
        upgrade=upgrade,
        at=at,
    )
    out.emit(text)
    ctx.exit(code)
