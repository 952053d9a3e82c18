"""The root of a Debian that has nothing yet: what every Debian has, Python and ssh-keygen, from this host's archive.

The machines of tests/hosts lie over this machine's own root, which has compilers, clients and libraries that a bundle might
silently stand on. Without a network that would be seen on the customer's machine, so here it must be seen before.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
from pathlib import Path

from provision import apt

KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"
# What a bundle asks for before it is opened: Python, and ssh-keygen for the signature. A standard installation has both.
INCLUDED = ("openssh-client", "python3")
SECONDS = 900


def root(suite: str, cache: Path) -> Path:
    """The folder with that root, made once and kept in ``cache``; nothing changes it, machines lie over it."""
    kept = cache / f"bare-{suite}-{'-'.join(INCLUDED)}"
    cache.mkdir(parents=True, exist_ok=True)
    with (cache / "bare.lock").open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        if not kept.is_dir():
            part = kept.with_name(f"{kept.name}.part")
            if part.exists():
                shutil.rmtree(part)
            _make(suite, part, cache)
            part.replace(kept)
    return kept


def _make(suite: str, folder: Path, cache: Path) -> None:
    listing, options = cache / "bare.list", cache / "bare.conf"
    sources = apt.debian_sources(suite)
    listing.write_text("".join(f"deb [signed-by={KEYRING}] {s.uri} {s.suite} {s.component}\n" for s in sources))
    options.write_text(apt.reach())
    command = (
        *("setpriv", "--pdeathsig", "KILL", "unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"),
        *("mmdebstrap", "--mode=root", "--variant=minbase", f"--include={','.join(INCLUDED)}", f"--aptopt={options}"),
        *("--hook-dir=/usr/share/mmdebstrap/hooks/merged-usr", suite, str(folder), str(listing)),
    )
    done = subprocess.run(
        command,
        env={**os.environ, "TMPDIR": str(cache), "LC_ALL": "C.UTF-8"},
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
