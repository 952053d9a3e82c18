"""What containers write, kept without a limit or not at all."""

from __future__ import annotations

import json
from collections.abc import Iterator

from provision.check import WARNING, Finding, NotApplicable, check
from provision.checks._words import settings
from provision.fact import Absent
from provision.facts.docker import DaemonJson, Docker
from provision.plan import Audit


@check("AUD001", WARNING, cause="container-log-off")
def container_output_is_thrown_away(docker: Docker, plan: Audit) -> Iterator[Finding]:
    """The engine throws away what containers write.

    With the log driver "none" nothing that an engine says is kept: no request line, no error, no reason why it stopped.

    ## Fix
    Set a log driver in /etc/docker/daemon.json and restart the engine. Containers that run keep the old one until they
    are made anew.

    ## Proof
    None on this road: the gateway that keeps requests on record is not part of it.
    """
    if docker.logging_driver == "none":
        yield Finding(
            f'the engine\'s log driver is "none"; the plan keeps logs with "{plan.log_driver}"',
            measured={"logging_driver": docker.logging_driver},
            needed={"logging_driver": plan.log_driver},
            fix=(f'set "log-driver": "{plan.log_driver}" in /etc/docker/daemon.json, then restart the engine',),
        )


@check("AUD002", WARNING, cause="container-log-unbounded")
def container_log_without_limit(docker: Docker, daemon_json: DaemonJson | Absent, plan: Audit) -> Iterator[Finding]:
    """What containers write is kept without a limit.

    The engine's default, json-file, never rotates. An inference server that logs each request fills the data root in
    weeks, and then neither a container nor a build can write.

    ## Fix
    `sudo provision up` sets the driver "local", which rotates by itself, where nobody has set a driver or its options;
    elsewhere give the options a limit. Containers that run keep the old setting until they are made anew.

    ## Proof
    None of its own: the setting is the engine's. `provision doctor --select AUD002` reads it again.
    """
    if docker.logging_driver != "json-file":
        raise NotApplicable(f"the log driver is {docker.logging_driver}, which this limit is not about")
    own = settings(daemon_json) if isinstance(daemon_json, DaemonJson) else {}
    options = own.get("log-opts")
    limit = options.get("max-size") if isinstance(options, dict) else None
    if limit in (None, "", "-1"):
        yield Finding(
            "the engine's log driver is json-file without max-size: a container's log grows until the disk is full",
            measured={"logging_driver": "json-file", "max-size": limit},
            needed={"log-driver": plan.log_driver, "log-opts": dict(plan.log_options)},
            fix=(_by_hand(plan) if {"log-driver", "log-opts"} & set(own) else _by_plan(daemon_json),),
        )


def _by_hand(plan: Audit) -> str:
    return f'set "log-opts": {json.dumps(dict(plan.log_options))} in /etc/docker/daemon.json, then restart the engine'


def _by_plan(daemon_json: DaemonJson | Absent) -> str:
    """The plan adds both keys where neither is there; a file that is there already is changed only when that is allowed."""
    return "sudo provision up" if isinstance(daemon_json, Absent) else "sudo provision up --allow config"
