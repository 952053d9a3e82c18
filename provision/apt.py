"""Debian's archive as this host's own apt knows it: where it is, how it is reached, when it was published."""

from __future__ import annotations

import os
import subprocess
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path

from provision.errors import ChangeError
from provision.record import record

# Settings of the host's apt that say how to reach the archive. All others stay with the host.
_REACH = ("Acquire::http", "Acquire::https", "Acquire::ftp", "Acquire::Check-", "Acquire::ForceIPv")


@record
class Source:
    """One suite of the host's Debian archive, and when it was published."""

    uri: str
    suite: str
    component: str
    published: datetime


def debian_sources(suite: str, components: tuple[str, ...] = ("main",)) -> tuple[Source, ...]:
    """Debian's own entries for ``suite`` in the host's apt configuration, the main suite and the first component first.

    apt itself reads the configuration, one-line and deb822 alike. Entries of third parties (another ``Origin``),
    of other releases and of other components are passed over.
    """
    listing = _output("apt-get", "indextargets", "--format", "$(ORIGIN)|$(CODENAME)|$(COMPONENT)|$(REPO_URI)|$(FILENAME)",
                      "Created-By: Packages")  # fmt: skip
    wanted = {suite: 0, f"{suite}-updates": 1, f"{suite}-security": 2}
    found = {}
    for line in listing.splitlines():
        origin, codename, component, uri, filename = line.split("|", 4)
        if origin != "Debian" or component not in components or codename not in wanted:
            continue
        published = _published(Path(filename.partition(f"_{component}_binary-")[0]))
        if published is not None:
            found[components.index(component), wanted[codename], uri] = Source(
                uri=uri, suite=codename, component=component, published=published
            )
    sources = tuple(found[key] for key in sorted(found))
    if not sources or (sources[0].suite, sources[0].component) != (suite, components[0]):
        raise ChangeError(
            f"apt on this host knows no Debian archive with release {suite} (none is configured, or its lists were "
            "never fetched)",
            "sudo apt-get update",
        )
    return sources


def reach() -> str:
    """An apt.conf with the host's proxies and certificates, and the patience of somebody who waits."""
    dump = _output("apt-config", "dump")
    kept = [line for line in dump.splitlines() if line.startswith(_REACH) and not line.endswith(' "";')]
    # Short patience: a mirror that cannot be reached is said so in seconds, not in apt's many minutes.
    return "\n".join(
        [*kept, 'Acquire::http::Timeout "15";', 'Acquire::https::Timeout "15";', 'Acquire::Retries "1";', ""]
    )


def _published(prefix: Path) -> datetime | None:
    """The date in the host's own copy of the archive's Release file: what file times are cut down to."""
    for path in (Path(f"{prefix}_InRelease"), Path(f"{prefix}_Release")):
        if path.is_file():
            for line in path.read_text(errors="replace").splitlines():
                if line.startswith("Date:"):
                    return parsedate_to_datetime(line.removeprefix("Date:").strip()).astimezone(UTC)
    return None


def _output(*command: str) -> str:
    try:
        return subprocess.run(command, check=True, capture_output=True, text=True, timeout=60, stdin=subprocess.DEVNULL,
                              env={**os.environ, "LC_ALL": "C.UTF-8"}).stdout  # fmt: skip
    except FileNotFoundError as error:
        raise ChangeError(
            f"{command[0]} is not installed: only a Debian host can make the base image",
            'set image.base = "NAME@sha256:DIGEST" in provision.toml',
        ) from error
    except subprocess.CalledProcessError as error:
        raise ChangeError(f"{' '.join(command[:2])} failed: {error.stderr.strip()}", "sudo apt-get update") from error
    except subprocess.TimeoutExpired as error:
        raise ChangeError(f"{' '.join(command[:2])} gave no answer in 60 s", "sudo apt-get update") from error
