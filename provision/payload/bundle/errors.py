"""What can be wrong with a bundle, and the exit code that says so: that of the tool (docs: provision/errors.py)."""

from __future__ import annotations


class BundleError(Exception):
    """One sentence for the user, and the command that comes next (empty where there is none)."""

    exit_code = 4

    def __init__(self, message: str, next_command: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.next_command = next_command


class Misused(BundleError):
    """A bad option or path, or a file that is no bundle at all."""

    exit_code = 2


class Refused(BundleError):
    """A bundle that is not what its maker signed, or whose maker is not trusted. Nothing was unpacked."""


class NotDone(BundleError):
    """The bundle may be right, but the machine did not do it: a full disk, a missing program."""


def shown(name: str | bytes) -> str:
    """A name from the file for a message: never more than 300 characters, and none that a terminal would obey."""
    text = name.decode("utf-8", "backslashreplace") if isinstance(name, bytes) else name
    text = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
    return text if len(text) <= 300 else text[:297] + "..."
