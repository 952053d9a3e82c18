"""Who else could get at what is here: permissions, groups, the packet filter. Contents of secret files are never read."""

from __future__ import annotations

import re

from provision.fact import Absent, NotKnown, fact, probe
from provision.facts.daemons import Daemons
from provision.facts.reading import text
from provision.host import Host, or_none
from provision.record import record

_BELOW_HOME = (
    ".aws/credentials", ".cache/huggingface/token", ".cache/huggingface/stored_tokens", ".config/gcloud/credentials.db",
    ".config/pip/pip.conf", ".docker/config.json", ".env", ".git-credentials", ".huggingface/token", ".kaggle/kaggle.json",
    ".kube/config", ".netrc", ".pypirc", ".wandb/settings",
)  # fmt: skip
_ANYWHERE = ("/etc/vllm/env", "/etc/default/vllm", "/etc/default/ollama", "/etc/provision.env")
_BESIDE = (".env", "docker-compose.override.env", ".env.local", ".env.production")


@record
class SecretFile:
    path: str
    mode: int  # permission bits
    reachable: bool  # every folder above it lets others through, so that the mode of the file decides


@fact
class SecretFiles:
    """Files that hold tokens by their nature, looked at from outside. Absent where there is none."""

    files: tuple[SecretFile, ...]  # sorted by path


@fact
class DockerAccess:
    """Who may talk to the container engine's socket. Absent where there is no socket."""

    socket: str
    mode: int
    group_members: int | None  # accounts in the socket's group beside root; None: /etc/group could not be read


@fact
class Firewall:
    """Packet filters that somebody set up. Empty: none was seen, which a cloud's own filter before the machine may explain."""

    kinds: tuple[str, ...]  # "ufw", "firewalld", "nftables.service", "rules.v4", sorted


@probe
def secret_files(host: Host) -> SecretFiles:
    """Permissions of files that hold tokens: who besides their owner may read them.

    Source: ``stat`` of the usual places below ``HOME``, in ``HF_HOME``, in the working directory and in /etc. No content is read.
    """
    home = or_none(host.env, "HOME") or "/root"
    hub = or_none(host.env, "HF_HOME")
    here = host.real(".")
    paths = {f"{home}/{name}" for name in _BELOW_HOME} | {f"{here}/{name}" for name in _BESIDE} | set(_ANYWHERE)
    paths |= {f"{hub}/token"} if hub else set()
    found = []
    for path in sorted(paths):
        state = or_none(host.status, path, reasons=NotKnown)
        if state is not None and not state["folder"] and state["size"]:
            found.append(SecretFile(path=path, mode=state["mode"], reachable=_reachable(host, path)))
    if not found:
        raise Absent("no file that holds tokens is in the usual places")
    return SecretFiles(files=tuple(found))


def _reachable(host: Host, path: str) -> bool:
    while path not in ("/", ""):
        path = path.rsplit("/", 1)[0] or "/"
        state = or_none(host.status, path, reasons=NotKnown)
        if state is None or not state["mode"] & 0o001:
            return False
    return True


@probe
def docker_access(host: Host) -> DockerAccess:
    """The socket's permissions and how many accounts its group has. No account is named.

    Sources: ``stat`` of /var/run/docker.sock, ``/etc/group``.
    """
    state = host.status("/var/run/docker.sock")
    groups = text(host, "/etc/group")
    members = None
    if groups is not None:
        lines = re.findall(rf"^[^:\n]+:[^:\n]*:{state['gid']}:(.*)$", groups, re.MULTILINE)
        members = len({name for line in lines for name in line.split(",") if name and name != "root"})
    return DockerAccess(socket="/var/run/docker.sock", mode=state["mode"], group_members=members)


@probe
def firewall(host: Host, daemons: Daemons) -> Firewall:
    """Packet filters that are set up to start: ufw, firewalld, nftables, iptables-persistent.

    Sources: ``/etc/ufw/ufw.conf``, ``/proc/*/comm``, the links in ``/etc/systemd/system/sysinit.target.wants``,
    ``/etc/iptables/rules.v4``. The rules themselves are root's to read and are not judged.
    """
    kinds = set()
    if re.search(r"^ENABLED=yes\b", text(host, "/etc/ufw/ufw.conf") or "", re.MULTILINE):
        kinds.add("ufw")
    if any(one.name == "firewalld" for one in daemons.running):
        kinds.add("firewalld")
    wants = "/etc/systemd/system"
    for target in ("sysinit.target.wants", "multi-user.target.wants"):
        if or_none(host.link, f"{wants}/{target}/nftables.service", reasons=NotKnown):
            kinds.add("nftables.service")
    if or_none(host.status, "/etc/iptables/rules.v4", reasons=NotKnown):
        kinds.add("rules.v4")
    return Firewall(kinds=tuple(sorted(kinds)))
