"""The machine's own record: the journal, the clock its lines carry, the audit log, this tool's evidence."""

from __future__ import annotations

from collections.abc import Iterator

from provision.check import NOTE, WARNING, Finding, NotApplicable, check
from provision.checks._words import counted
from provision.facts.clock import Clock
from provision.facts.journal import EvidenceFolder, Journal, Recorders
from provision.facts.pci import NvidiaCards
from provision.facts.system import System


@check("AUD050", WARNING, cause="journal-volatile")
def journal_lost_at_reboot(journal: Journal) -> Iterator[Finding]:
    """The machine's journal is kept in memory only.

    After a crash or a reboot nobody can say what happened before it: no Xid, no out-of-memory kill, no login. With
    Storage=auto journald writes to disk only where /var/log/journal exists.

    ## Fix
    Make the folder, or set Storage=persistent in /etc/systemd/journald.conf, and restart journald.

    ## Proof
    None of its own: `provision doctor --select AUD050` looks again.
    """
    lost = journal.storage in ("volatile", "none") or (journal.storage == "auto" and not journal.on_disk)
    if lost and not journal.forwarded:
        yield Finding(
            f"the journal is not kept on disk (Storage={journal.storage}"
            + (", and there is no /var/log/journal)" if journal.storage == "auto" else ")"),
            measured={"storage": journal.storage, "on_disk": journal.on_disk},
            needed={"storage": "persistent"},
            fix=(
                "mkdir -p /var/log/journal && systemd-tmpfiles --create --prefix /var/log/journal",
                "journalctl --flush",
            ),
        )


@check("AUD051", WARNING, cause="clock-not-synchronised")
def clock_not_kept_right(clock: Clock, system: System) -> Iterator[Finding]:
    """Nothing keeps the machine's clock right.

    Records of two machines can be laid side by side only when their clocks agree. A clock that is minutes off also fails
    certificates, tokens and licences. In a virtual machine the host may keep the clock without the kernel knowing.

    ## Fix
    Run a time service: `apt-get install systemd-timesyncd`, or chrony.

    ## Proof
    None of its own: `provision doctor --select AUD051` asks the kernel again.
    """
    if clock.synchronised:
        return
    started = f", though {clock.keepers[0]} runs" if clock.keepers else " and no time service runs"
    sure = not clock.keepers and system.virtualization == "none" and system.container == "none"
    yield Finding(
        f"the kernel's clock is not synchronised{started}",
        measured={"synchronised": False, "keepers": list(clock.keepers), "error_us": clock.error_us},
        needed={"synchronised": True},
        fix=("timedatectl set-ntp true", "or: apt-get install chrony"),
        certainty="certain" if sure else "possible",
        tell_apart=()
        if sure
        else ("date -u; curl -sI https://www.kernel.org | grep -i ^date   # the two should agree",),
    )


@check("AUD052", NOTE, cause="nothing-audits")
def nothing_records_who_did_what(recorders: Recorders, cards: NvidiaCards, system: System) -> Iterator[Finding]:
    """No program records who did what on this machine.

    Without auditd (or a like) there is no record of who became root, who changed a model file or who read a key. Where
    requests or answers are personal data, that record is usually asked for. In a container it is the machine's business.

    ## Fix
    `apt-get install auditd`, and a rule on the folder of the models: `auditctl -w /srv/models -p wa`.

    ## Proof
    None of its own: `provision doctor --select AUD052` looks again.
    """
    if system.container != "none":
        raise NotApplicable("in a container this is the machine's business")
    if not recorders.auditing:
        yield Finding(
            f"neither auditd nor a program like it runs on this machine with {counted(len(cards.cards), 'NVIDIA card')}",
            measured={"auditing": []},
            needed={"auditing": ["auditd"]},
            fix=("apt-get install auditd",),
        )


@check("AUD053", WARNING, cause="evidence-readable")
def evidence_readable_by_all(folder: EvidenceFolder) -> Iterator[Finding]:
    """Every account of the machine may change or read the evidence of earlier runs.

    It holds what the machine is, what was changed and the files that were replaced. Evidence that anybody may write proves
    nothing.

    ## Fix
    `chmod -R o-rwx` the folder.

    ## Proof
    None of its own: `provision doctor --select AUD053` looks again.
    """
    if folder.mode & 0o002:
        yield Finding(
            f"{folder.path} can be written by everybody (mode {folder.mode:04o})",
            measured={"mode": f"{folder.mode:04o}"},
            needed={"mode": "0755"},
            fix=(f"chmod -R o-w {folder.path}",),
        )
