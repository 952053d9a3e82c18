"""``provision bundle``: the commands. Their work is imported inside them (the start-up budget)."""

from __future__ import annotations

from pathlib import Path

import click

_FILE = click.argument("file", type=click.Path(path_type=Path))
_SIGNERS = click.option(
    "--allowed-signers",
    "signers",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="Who is trusted (ssh-keygen(1), ALLOWED SIGNERS). Left out: git's file, else ~/.ssh/allowed_signers.",
)
_IDENTITY = click.option("--identity", metavar="NAME", help="The signer must be this one of them.")
_JSON = click.option("--json", "as_json", is_flag=True, help="As JSON, for programs.")


@click.group()
def bundle() -> None:
    """One signed file that carries a site without a network. Made here, verified and installed there."""


@bundle.command()
@_FILE
@click.option(
    "--key",
    required=True,
    metavar="KEY",
    type=click.Path(path_type=Path),
    help="The SSH key that signs. Without an agent a passphrase is asked for twice: before the downloads and after them.",
)
@click.option("--lock", metavar="VARIANT", help="The image's lock; the plan's with --facts, else smoke-cpu-py311.")
@click.option(
    "--spec",
    "spec_path",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="provision.toml to carry; the one here if left out.",
)
@click.option("--facts", "facts_path", metavar="FILE", help="The snapshot of the machine it is for.")
@click.option("--model", metavar="DIR", type=click.Path(path_type=Path), help="A model's folder to carry.")
@click.option(
    "--package", "more", multiple=True, metavar="NAME", help="A Debian package beside the roles'; may be repeated."
)
@_JSON
def create(
    file: Path,
    key: Path,
    lock: str | None,
    spec_path: Path | None,
    facts_path: str | None,
    model: Path | None,
    more: tuple[str, ...],
    as_json: bool,
) -> None:
    """Write FILE, and FILE.pyz beside it, which verifies and installs it.

    Needs Debian, this machine's package indexes and archive, and root for the base image unless that was made before.
    A driver goes along only where its package is named (--package) and this machine's apt has it; whether its licence
    lets you hand it on is yours to read.

    Example:  sudo provision bundle create site.bundle --key ~/.ssh/id_ed25519
    """
    from provision import codec
    from provision.bundle import create as creating
    from provision.report import bundle as report
    from provision.report import out

    made = creating.create(file, key, lock=lock, spec_path=spec_path, facts_path=facts_path, model=model, more=more)
    out.emit(codec.dumps(made) if as_json else report.created(made))


@bundle.command()
@_FILE
@_SIGNERS
@_IDENTITY
@click.option("--for-this-machine", "here", is_flag=True, help="Also that it fits this machine.")
@_JSON
def verify(file: Path, signers: Path | None, identity: str | None, here: bool, as_json: bool) -> None:
    """Check the signature and every byte of FILE. Changes nothing.

    Exit code 0: all as signed; 2: a bad call, or no bundle at all; 4: refused, with the member named.

    Example:  provision bundle verify site.bundle --allowed-signers trusted
    """
    from provision import codec
    from provision.bundle.signing import in_our_words
    from provision.payload.bundle import __main__ as program
    from provision.payload.bundle import machine
    from provision.payload.bundle.verify import verify as check
    from provision.progress import say
    from provision.report import out

    with in_our_words():
        verified = check(file, signers, identity, say)
        if here:
            machine.need_fit(file, verified.manifest.made_for)
    out.emit(codec.dumps(program.document(verified)) if as_json else program.sentences(verified))


@bundle.command()
@_FILE
@_SIGNERS
@_IDENTITY
@click.option("--yes", is_flag=True, help="Go on without asking, on a busy machine too.")
@click.option("--allow", "allowed", multiple=True, metavar="NAME", help="As 'provision up' takes it. May be repeated.")
@click.option(
    "--folder",
    metavar="DIR",
    type=click.Path(path_type=Path),
    help="Where provision.toml and the runs are; /var/lib/provision/site if left out.",
)
@click.option("--only-unpack", is_flag=True, help="Stop before 'provision up'.")
@click.pass_context
def install(
    ctx: click.Context,
    file: Path,
    signers: Path | None,
    identity: str | None,
    yes: bool,
    allowed: tuple[str, ...],
    folder: Path | None,
    only_unpack: bool,
) -> None:
    """Bring this machine up from FILE, without a network. Checks every byte first; safe to repeat.

    The same as 'python3 FILE.pyz install FILE', which needs no tool: it unpacks into /var/lib/provision/bundles, makes the
    bundle's own tool ready there, and runs its 'provision up'.

    Example:  sudo provision bundle install site.bundle --allowed-signers trusted
    """
    from provision import consent
    from provision.bundle.signing import in_our_words
    from provision.payload.bundle import install as installing

    consent.allowed(allowed)
    with in_our_words():
        command = installing.install(file, signers, identity)
        ctx.exit(
            installing.bring_up(command, folder or installing.SITE, yes=yes, allowed=allowed, only_unpack=only_unpack)
        )
