"""Where ``provision doctor`` takes its facts from: the options that name something else than this machine."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click


def sources(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add ``--facts`` (``facts_path``), ``--from`` (``dumps``) and ``--log`` (``logs``) to a command."""
    for option in (
        click.option("--log", "logs", multiple=True, metavar="FILE", help="The same for an error log or a traceback."),
        click.option(
            "--from",
            "dumps",
            multiple=True,
            metavar="DUMP",
            help="Judge pasted output (collect_env, nvidia-smi, pip list …) instead of this machine. May be repeated.",
        ),
        click.option(
            "--facts",
            "facts_path",
            metavar="FILE",
            help="Judge this snapshot (- for standard input) instead of this machine.",
        ),
    ):
        command = option(command)
    return command
