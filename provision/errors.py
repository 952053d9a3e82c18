"""What can go wrong, and the exit code that says so.

    ProvisionError            4   anything below, when nothing more exact fits
      UsageError              2   a bad input file or option: what, where, what was expected
        CodecError            2   a record in a file does not have the shape it should
        Refused               2   a value that no target language can carry as data
      NotProved               1   a promised proof does not hold
      ChangeError             4   a change could not be made: what was done, what was not, how to go on
        ConsentNeeded         4   nothing was changed; names the exact flag to give
        Busy                  4   another run holds the machine

Standard library only: the collector that travels to other machines carries this file.
"""

from __future__ import annotations


class ProvisionError(Exception):
    """One sentence for the user, and the command that comes next.

    ``next_command`` is printed on a line of its own; empty where there is none.
    """

    exit_code = 4

    def __init__(self, message: str, next_command: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.next_command = next_command


class UsageError(ProvisionError):
    """A bad option or input file."""

    exit_code = 2


class CodecError(UsageError):
    """A value at ``path`` that does not have the expected shape. The path grows as the error climbs."""

    def __init__(self, expected: str, path: str = "") -> None:
        super().__init__(f"{path}: {expected}" if path else expected)
        self.expected = expected
        self.path = path

    def under(self, step: str) -> CodecError:
        """The same error seen one level higher: ``step`` is a key or ``[index]``."""
        joint = "" if not self.path or self.path.startswith("[") else "."
        return CodecError(self.expected, f"{step}{joint}{self.path}")


class Refused(UsageError):
    """A value that a target language cannot carry as data, refused before anything is rendered."""


class NotProved(ProvisionError):
    """A promised proof did not hold or could not run."""

    exit_code = 1


class ChangeError(ProvisionError):
    """A change could not be made."""


class ConsentNeeded(ChangeError):
    """The change needs a yes that was not given. Nothing was changed."""


class Busy(ChangeError):
    """Another run holds this machine."""
