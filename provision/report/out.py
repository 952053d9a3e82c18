"""The only place that writes to standard output."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

from provision.errors import ProvisionError, UsageError
from provision.files import write_whole
from provision.report.layout import Style


def style() -> Style:
    """How standard output wants its text: colour and wrapping on a terminal only; NO_COLOR and TERM=dumb are obeyed."""
    if sys.stdout is None or not sys.stdout.isatty():
        return Style()
    color = not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
    return Style(color=color, width=min(shutil.get_terminal_size().columns, 120))


def emit(text: str, path: str | os.PathLike[str] | None = None) -> None:
    """Write a document to standard output (no path, or ``-``) or to a file, whole.

    A link is followed and a device or pipe written to, never replaced by a file: ``-o /dev/null`` as root must leave
    /dev/null what it is. Raises UsageError where the path cannot be written, ProvisionError where the disk cannot.
    """
    document = text if text.endswith("\n") else text + "\n"
    if path is None or os.fspath(path) == "-":
        _print(document)
        return
    target = Path(path)
    try:
        target = target.resolve()
        content = document.encode("utf-8", "backslashreplace")
        if target.exists() and not target.is_file():
            with target.open("wb") as device:
                device.write(content)
        else:
            write_whole(target, content)
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError, PermissionError) as error:
        raise UsageError(
            f"{path}: cannot be written: {error.strerror}; give -o a file in a folder you can write to"
        ) from None
    except OSError as error:
        raise ProvisionError(f"{path}: cannot be written: {error.strerror}; nothing was left there") from None


def _print(document: str) -> None:
    if sys.stdout is None:  # `>&-`, or a service without one
        raise ProvisionError("standard output cannot be written: it is closed", "give -o FILE")
    encoding = sys.stdout.encoding or "utf-8"
    try:
        sys.stdout.write(document.encode(encoding, "backslashreplace").decode(encoding))
        sys.stdout.flush()
    except BrokenPipeError:
        return  # the reader has seen enough (`| head`); what was not written is dropped, and the exit code stands
    except OSError as error:
        raise ProvisionError(f"standard output cannot be written: {error.strerror}") from None
