"""Nothing leaks: the container is sealed. Standard library only."""

from __future__ import annotations

import errno
import os
import re
import shutil
import socket
from collections.abc import Iterator, Mapping
from pathlib import Path

from ..proof import Promise, Verdict, proof
from ..session import Session

OUTSIDE = ("192.0.2.1", 443)  # TEST-NET-1 (RFC 5737): documentation only, nobody answers there
NO_ROUTE = (errno.ENETUNREACH, errno.EHOSTUNREACH, errno.ENETDOWN)
CONNECT_SECONDS = 2
COMPILERS = ("gcc", "cc", "g++", "c++", "clang", "ld", "nvcc")
LIBRARY_FOLDERS = ("/lib", "/lib64", "/usr", "/opt")
DRIVER_LIBRARY = re.compile(r"(libcuda|libnvidia-ml)\.so(\..+)?")
SECRET_NAME = re.compile(r"(^|_)(TOKEN|SECRET|PASSWORD|PASSWD|KEY|CREDENTIALS?)(_|$)", re.IGNORECASE)


@proof("ISO-P1", "isolation")
def sealed(session: Session, promised: Promise) -> Verdict:
    """The container runs as nobody special, cannot change itself, and has no way out.

    ## What it proves
    The process has the promised user and is not root; the root file system is read-only; there is no route and a
    connection out fails at once; the model hubs and telemetry are switched off in the environment; there is no compiler,
    no variable that looks like a secret and, in a CPU image, no NVIDIA driver library.

    ## When it fails
    Each thing that is open is named. Start the container as the plan says (`--network none --read-only --user`), or
    build the image again.
    """
    root_is_read_only = bool(os.statvfs("/").f_flag & os.ST_RDONLY)
    routes = default_routes()
    connection = connect_outside()
    unset = [name for name in promised["environment"] if os.environ.get(name) != "1"]
    compilers = [name for name in COMPILERS if shutil.which(name)]
    secrets = secret_names(os.environ)
    drivers = sorted(driver_libraries(LIBRARY_FOLDERS)) if session.device == "cpu" else []
    open_things = (
        ("runs as root (uid 0)", os.getuid() == 0),
        (f"runs as uid {os.getuid()}, promised {promised['uid']}", os.getuid() not in (0, promised["uid"])),
        ("the root file system is writable", not root_is_read_only),
        (f"a default route through {', '.join(routes)}", routes),
        (f"a connection to {OUTSIDE[0]} did not fail at once: {connection}", connection),
        (f"not set to 1: {', '.join(unset)}", unset),
        (f"a compiler: {', '.join(compilers)}", compilers),
        (f"variables that look like secrets: {', '.join(secrets)}", secrets),
        (f"NVIDIA driver libraries in the image: {', '.join(drivers)}", drivers),
    )
    return Verdict(
        measured={
            "uid": os.getuid(),
            "root_read_only": root_is_read_only,
            "default_routes": routes,
            "connection": connection or "no route",
            "environment_unset": unset,
            "compilers": compilers,
            "secrets": secrets,
            "driver_libraries": drivers,
        },
        failures=tuple(text for text, is_open in open_things if is_open),
    )


def default_routes() -> list[str]:
    """Interfaces with a default route, IPv4 and IPv6, from /proc/net. A kernel without IPv6 has no second table."""
    found = set()
    for line in Path("/proc/net/route").read_text(encoding="ascii").splitlines()[1:]:
        fields = line.split()
        if fields[1] == "00000000" and fields[7] == "00000000":
            found.add(fields[0])
    six = Path("/proc/net/ipv6_route")
    for line in six.read_text(encoding="ascii").splitlines() if six.exists() else []:
        fields = line.split()
        if fields[0] == "0" * 32 and fields[1] == "00" and fields[9] != "lo":
            found.add(fields[9])
    return sorted(found)


def connect_outside() -> str:
    """What happened to a connection out: empty when the kernel knew of no way, which is what a sealed container has."""
    try:
        with socket.create_connection(OUTSIDE, timeout=CONNECT_SECONDS):
            return "connected"
    except OSError as error:
        return "" if error.errno in NO_ROUTE else str(error)


def secret_names(environment: Mapping[str, str]) -> list[str]:
    """Names, never values, of variables that look like secrets and are neither empty nor a switch.

    HF_HUB_DISABLE_IMPLICIT_TOKEN=1 carries the word and no secret.
    """
    switches = ("", "0", "1")
    return sorted(n for n, value in environment.items() if value not in switches and SECRET_NAME.search(n))


def driver_libraries(folders: tuple[str, ...]) -> Iterator[str]:
    """Driver libraries anywhere below the folders; a folder that is a link (merged /usr) is looked at once."""
    for folder in folders:
        if Path(folder).is_symlink():
            continue
        for parent, _, names in os.walk(folder):
            yield from (str(Path(parent) / name) for name in names if DRIVER_LIBRARY.fullmatch(name))
