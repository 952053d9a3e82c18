"""Where the machine's own record goes: the journal, the audit log, and this tool's evidence."""

from __future__ import annotations

import re

from provision.fact import Absent, fact, probe
from provision.facts.daemons import Daemons
from provision.facts.reading import text
from provision.host import Host, or_none


@fact
class Journal:
    """systemd's journal. Absent where journald does not run."""

    storage: str  # "auto" (the default), "persistent", "volatile", "none"
    on_disk: bool  # /var/log/journal is there
    forwarded: bool  # a syslog service that writes to disk runs beside it


@fact
class Recorders:
    """Programs that record or report on this machine, as the kernel names them."""

    auditing: tuple[str, ...]  # "auditd"; sorted
    metrics: tuple[str, ...]  # "node_exporter", "dcgm-exporter", "telegraf" …; sorted


@fact
class EvidenceFolder:
    """This tool's own folder. Absent where no run has been made."""

    path: str
    mode: int


_AUDIT = frozenset({"auditd", "falco", "osqueryd", "tetragon"})
_METRICS = frozenset(
    """
    alloy cadvisor collectd datadog-agent dcgm-exporter dynatrace grafana-agent netdata node_exporter nv-hostengine
    otelcol otelcol-contrib prometheus prometheus-node telegraf vector victoria-metric vmagent zabbix_agentd zabbix_agent2
    nvidia_gpu_expo amazon-cloudwat fluent-bit
    """.split()  # noqa: SIM905 (a list to be read)
)
_SYSLOG = frozenset({"rsyslogd", "syslog-ng"})


@probe
def journal(host: Host, daemons: Daemons) -> Journal:
    """Whether the journal survives a reboot.

    Sources: ``/etc/systemd/journald.conf`` and its drop-ins (journald.conf(5), Storage=), ``/var/log/journal``.
    """
    names = {one.name for one in daemons.running}
    if "systemd-journal" not in names:
        raise Absent("systemd's journal does not run here")
    storage = "auto"
    folders = ("/usr/lib/systemd/journald.conf.d", "/run/systemd/journald.conf.d", "/etc/systemd/journald.conf.d")
    files = ["/etc/systemd/journald.conf", *(path for folder in folders for path in host.glob(f"{folder}/*.conf"))]
    for path in files:
        for said in re.findall(r"^\s*Storage\s*=\s*(\w+)", text(host, path) or "", re.MULTILINE):
            storage = said.lower()
    return Journal(storage=storage, on_disk=host.exists("/var/log/journal"), forwarded=bool(names & _SYSLOG))


@probe
def recorders(host: Host, daemons: Daemons) -> Recorders:  # noqa: ARG001 (its one fact says everything)
    """Audit and metrics programs that run.

    Source: ``/proc/*/comm``, which ``Daemons`` has read.
    """
    names = {one.name for one in daemons.running}
    return Recorders(auditing=tuple(sorted(names & _AUDIT)), metrics=tuple(sorted(names & _METRICS)))


@probe
def evidence_folder(host: Host) -> EvidenceFolder:
    """Who may read what earlier runs left behind.

    Source: ``stat`` of /var/lib/provision.
    """
    state = or_none(host.status, "/var/lib/provision", reasons=Absent)
    if state is None:
        raise Absent("no run has been made here")
    return EvidenceFolder(path="/var/lib/provision", mode=state["mode"])
