"""What is installed is what was locked."""

from __future__ import annotations

import hashlib

from .. import lockfile
from ..proof import CannotRun, Promise, Verdict, proof
from ..session import Session


@proof("DEP-P1", "dependencies")
def packages_are_the_lock(session: Session, promised: Promise) -> Verdict:
    """The installed packages are exactly the lockfile's.

    ## What it proves
    Every distribution that Python finds, by its own metadata, is in the lock with that version, and every line of the
    lock is installed. The lock is the one the plan was made with, by its SHA-256. pip, setuptools and wheel are passed
    over only where the lock does not name them and they belong to the base Python, not to the environment.

    ## When it fails
    Each package is named: missing, extra, or of another version. Build the image again from the lock; do not install
    into it by hand.
    """
    if session.lock is None:
        raise CannotRun("the request names no lock")
    content = session.lock.read_bytes()
    digest = hashlib.sha256(content).hexdigest()
    try:
        locked = lockfile.pins(content.decode("utf-8"))
    except ValueError as error:
        raise CannotRun(f"{session.lock} is not a lock: {error}") from error
    present = lockfile.installed()
    found = lockfile.differences(locked, present)
    failures = [f"{kind.replace('_', ' ')}: {', '.join(names)}" for kind, names in found.items() if names]
    expected = promised.get("lock_sha256")
    if expected is not None and expected != digest:
        failures.insert(0, f"another lock: SHA-256 {digest}, promised {expected}")
    return Verdict(
        measured={"locked": len(locked), "installed": len(present), "lock_sha256": digest, **found},
        failures=tuple(failures),
    )
