"""Service processes that run right now, by name."""

from __future__ import annotations

from provision.fact import Missing, NotKnown, fact, probe
from provision.host import Host, or_none
from provision.record import record


@record
class Daemon:
    name: str  # the kernel's name for it (/proc/PID/comm): "dockerd", "kubelet"
    pid: int


@fact
class Daemons:
    running: tuple[Daemon, ...]  # of the ones looked for, sorted by name and pid; may be empty


_NAMES = frozenset(
    """
    containerd crio cri-dockerd dockerd k3s-agent k3s-server kubelet microk8s nv-fabricmanager nv-hostengine
    nvidia-persistenced podman rke2 conmon
    chronyd ntpd ntpd-rs openntpd phc2sys ptp4l systemd-timesyncd
    auditd falco osqueryd tetragon
    alloy amazon-cloudwatch-agent cadvisor collectd datadog-agent dcgm-exporter dynatrace fluent-bit grafana-agent netdata
    node_exporter nvidia_gpu_exporter otelcol otelcol-contrib prometheus prometheus-node-exporter telegraf vector
    victoria-metrics vmagent zabbix_agent2 zabbix_agentd
    firewalld rsyslogd syslog-ng systemd-journald
    gcs_server raylet
    """.split()  # noqa: SIM905 (a list to be read)
)
_LENGTH = 15  # the kernel keeps no more of a process's name (TASK_COMM_LEN)


@probe
def daemons(host: Host) -> Daemons:
    """Which of the service processes that matter here run, as the kernel names them.

    Source: ``/proc/*/comm``. In a container only the container's own processes are seen.
    """
    if not host.exists("/proc/self/comm"):
        raise Missing("/proc is not mounted")
    names = {name[:_LENGTH] for name in _NAMES}
    found = []
    for path in host.glob("/proc/[0-9]*/comm"):
        name = (or_none(host.read, path, reasons=NotKnown) or "").strip()  # it may have ended since
        if name in names:
            found.append(Daemon(name=name, pid=int(path.split("/")[2])))
    return Daemons(running=tuple(sorted(found, key=lambda one: (one.name, one.pid))))
