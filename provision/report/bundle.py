"""What ``provision bundle create`` says."""

from __future__ import annotations

from typing import TYPE_CHECKING

from provision.report.layout import clean

if TYPE_CHECKING:
    from provision.bundle.create import Created


def created(made: Created) -> str:
    """The two files with their sums, and what to do with them on the other side."""
    again = (
        "" if made.repeatable else "\nwith this kind of key the signature differs each time; all else is the same bytes"
    )
    file, program = clean(made.file), clean(made.program)
    return (
        f"{file}: {made.members} members, {made.size_bytes >> 20} MiB, for {made.lock}, "
        f"with {made.packages} Debian packages\n"
        f"  sha256  {made.sha256}\n"
        f"{program}: verifies and installs it with python3 and ssh-keygen alone\n"
        f"  sha256  {made.program_sha256}\n"
        f"signed with {made.key}{again}\n"
        f"next, on the other machine: compare the program's sha256, then: "
        f"python3 {program.rpartition('/')[2]} verify {file.rpartition('/')[2]} --allowed-signers FILE"
    )
