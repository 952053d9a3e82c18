"""A snapshot that can be shown to strangers: names, addresses and secrets replaced by stand-ins, the same for the same.

Stand-ins keep the shape of what they replace, so that the result loads and is judged alike: addresses come from the blocks
that are set aside for documentation (RFC 5737, RFC 3849, RFC 7042), UUIDs are counted. Sharing twice changes nothing.
What names nobody stays: loopback and wildcard addresses, public hubs and registries, versions, PCI addresses.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Iterator
from typing import Any

from provision.fact import Snapshot

Words = Callable[[str], str]

_TOKENS = re.compile(
    r"\b(?:hf_[A-Za-z0-9]{16,}|gh[pousr]_[A-Za-z0-9]{20,}|github_pat_\w{20,}|glpat-[\w-]{16,}|sk-[\w-]{16,}|nvapi-[\w-]{16,}"
    r"|AKIA[A-Z0-9]{16}|xox[abprs]-[\w-]{10,}|eyJ[\w-]{8,}\.[\w-]{8,}\.[\w-]*)"
    r"|(?<=[Bb]earer )[\w.~+/-]{8,}=*"
    r"|(?i:(?<=token=)|(?<=password=)|(?<=passwd=)|(?<=secret=)|(?<=api_key=)|(?<=apikey=))[^\s&;,'\"]{4,}"
)
_LOGIN = re.compile(r"(?<=://)[^/@\s]+(?=@)")
_MAIL = re.compile(
    r"(?<![\w.+-])(?!login-\d+@)[\w.+-]+@(?:[A-Za-z0-9-]+\.)+(?!(?:service|slice|socket|timer|mount|target|scope)\b)[A-Za-z]{2,}\b"
)
_URL_HOST = re.compile(r"(?<=://)(?:[^/@\s]+@)?(\[[^\]]+\]|[A-Za-z0-9][A-Za-z0-9._-]*)")
_INSIDE = re.compile(r"(?<![\w.-])(?:[A-Za-z0-9-]+\.)+(?:corp|internal|intra|lan|local|localdomain)(?![\w-]|\.\w)")
_SSH = re.compile(r"(?<![\w.+@/-])([a-z_][\w-]*)@(?!sha\d+:)([A-Za-z][\w-]*)(?![\w.@-]|/\w)")
_HOME = re.compile(r"(?<=/home/)([^/\s:;,'\"]+)|(?<=/Users/)([^/\s:;,'\"]+)|(?<=/run/user/)(\d+)")
_UUID = re.compile(
    r"(?i)(?<![0-9a-f])(?<![0-9a-f]-)(?:[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}|[0-9a-f]{32})(?![0-9a-f-])"
)
_GPU_PREFIX = re.compile(r"(?<=GPU-)[0-9a-f]{2,8}(?:-[0-9a-f-]*)?(?![\w-])")
_MAC = re.compile(r"(?i)(?<![\w:])(?:[0-9a-f]{2}:){5}[0-9a-f]{2}(?![\w:])")
_IPV4 = re.compile(r"(?<![\w.-])\d{1,3}(?:\.\d{1,3}){3}(?![\w-]|\.\w)")
_IPV6 = re.compile(r"(?i)(?<![\w:.])(?:[0-9a-f]{0,4}:){2,7}[0-9a-f]{0,4}(?![\w:])")
_DISK_ID = re.compile(r"(?<=/disk/by-id/)[^\s/,]+")
_STAND_IN = re.compile(
    r"(?:host|user|serial|token|disk|login)-\d+|mail-\d+@example\.org|[0-9a-f]{8}-0000-0000-0000-000000000000|0{24}[0-9a-f]{8}"
    r"|00:00:5e:00:53:[0-9a-f]{2}"
)
_DOCUMENTATION = [
    ipaddress.ip_network(n) for n in ("192.0.2.0/24", "198.51.100.0/24", "203.0.113.0/24", "2001:db8::/32")
]
# Everybody's: which of them a machine talks to is a diagnosis, not a name.
_PUBLIC = re.compile(
    r"(?i)localhost(?:\.localdomain)?|(?:[\w-]+\.)*(?:huggingface\.co|hf\.co|hf-mirror\.com|github\.com|githubusercontent\.com"
    r"|pytorch\.org|docker\.(?:io|com)|nvcr\.io|nvidia\.com|ubuntu\.com|quay\.io|ghcr\.io"
    r"|modelscope\.(?:cn|com)|wandb\.ai|example\.(?:com|org|net))"
)
# Names that stand for things everywhere; only where a host or a user must stand are they taken for one.
_EVERYDAY = frozenset(
    """
    admin cache conda containerd cuda data debian default docker gpu home host kubernetes kvm lib linux local localhost
    machine models none node nvidia python root scratch server share srv system torch ubuntu user usr vm work
    """.split()  # noqa: SIM905 (a list to be read)
)
_VERSIONS = re.compile(r"version|^packages$|^libraries$|^kernel$|^flags$")  # 9.1.0.70 is a cuDNN there, no address
_HOST_VARIABLES = re.compile(r"_(?:ADDR|HOST|HOSTNAME|ENDPOINT|IP)$")


class StandIns:
    """What has been replaced so far: for each kind, the real value and its stand-in, in the order of their coming."""

    def __init__(self) -> None:
        self.made: dict[str, dict[str, str]] = {}

    def of(self, kind: str, real: str, shape: Callable[[int], str]) -> str:
        """The stand-in for ``real``; one that is a stand-in already stays."""
        if _STAND_IN.fullmatch(real):
            return real
        known = self.made.setdefault(kind, {})
        if real not in known:
            known[real] = shape(len(known) + 1)
        return known[real]

    def host(self, real: str) -> str:
        """A host's name, short or with its domain; public ones stay, addresses are addresses."""
        if _PUBLIC.fullmatch(real) or not re.search("[A-Za-z]", real):
            return real
        short = real.split(".", maxsplit=1)[0].lower()
        return self.of("host name", short if not _STAND_IN.fullmatch(short) else real, lambda n: f"host-{n}")

    def user(self, real: str) -> str:
        """A login name; root is everybody's."""
        return real if real == "root" else self.of("user", real, lambda n: f"user-{n}")

    def uuid(self, real: str) -> str:
        """Counted in the first digits, so that a prefix still names one."""
        if "-" in real:
            return self.of("UUID", real.lower(), lambda n: f"{n:08x}-0000-0000-0000-000000000000")
        return self.of("machine or object id", real.lower(), lambda n: f"{n:032x}")

    def address(self, real: str) -> str:
        """An IP address, unless it names nobody (loopback, any, link-local service) or is set aside for documentation."""
        try:
            value = ipaddress.ip_address(real.strip("[]"))
        except ValueError:
            return real
        if value.is_loopback or value.is_unspecified or value.is_multicast or real == "169.254.169.254":
            return real
        if any(value in block for block in _DOCUMENTATION):
            return real
        if value.version == 6:
            return self.of("IP address", real, lambda n: f"2001:db8::{n:x}")
        blocks = ("192.0.2", "198.51.100", "203.0.113")
        return self.of("IP address", real, lambda n: f"{blocks[(n - 1) // 254 % 3]}.{(n - 1) % 254 + 1}")


def share(snapshot: Snapshot) -> tuple[Snapshot, dict[str, dict[str, str]]]:
    """The snapshot with stand-ins, and for each kind what was replaced by what."""
    made = StandIns()
    document = snapshot.to_json()
    names = _names(document, made)
    facts = {name: _walk(name, entry, made, names) for name, entry in document["facts"].items()}
    shared = {**document, "machine": made.host(document["machine"]), "facts": facts}
    return Snapshot.from_json(shared, "the shared snapshot"), made.made


def _names(document: dict[str, Any], made: StandIns) -> list[tuple[re.Pattern[str], str]]:
    """Hosts and users that stand where only a host or a user can, to be found as whole words elsewhere too."""
    hosts, users = [document["machine"]], []
    domains = {text.partition(".")[2] for key, text in _strings("", document["facts"]) if key == "hostname"}
    domains = {d for d in (*domains, document["machine"].partition(".")[2]) if d}
    within = (
        re.compile(rf"(?<![\w.-])[\w-]+\.(?:{'|'.join(map(re.escape, sorted(domains)))})(?![\w-])") if domains else None
    )
    for key, text in _strings("", document["facts"]):
        for found in _UUID.finditer(text):
            made.uuid(found[0])  # before any abbreviation of it is met
        if key == "hostname":
            hosts.append(text)
        hosts += within.findall(text) if within else ()
        hosts += [found[1] for found in _URL_HOST.finditer(text)] + _INSIDE.findall(text)
        users += [next(filter(None, found.groups())) for found in _HOME.finditer(text)]
        for found in _SSH.finditer(text):
            users.append(found[1])
            hosts.append(found[2])
        if key == "source" and (server := re.match(r"([A-Za-z0-9][\w.-]*):/", text)):
            hosts.append(server[1])
    hosts += [v for k, v in _variables(document["facts"]) if _HOST_VARIABLES.search(k) and re.fullmatch(r"[\w.-]+", v)]
    found_names: dict[str, str] = {}
    for real in hosts:
        if (stand_in := made.host(real)) != real:
            found_names[real] = found_names[real.split(".")[0]] = stand_in
    for real in users:
        if not real.isdigit() and (stand_in := made.user(real)) != real:
            found_names.setdefault(real, stand_in)
    words = sorted((n for n in found_names if n.lower() not in _EVERYDAY and len(n) > 1), key=lambda n: (-len(n), n))
    return [(re.compile(rf"(?<![\w.-]){re.escape(n)}(?![\w-])"), found_names[n]) for n in words]


def _variables(facts: dict[str, Any]) -> list[tuple[str, str]]:
    known = facts.get("Environment", {}).get("known", {})
    return [(name, value) for name, value in known.get("variables", ())]


def _strings(key: str, value: Any) -> Iterator[tuple[str, str]]:
    if isinstance(value, dict):
        for name, item in value.items():
            yield from _strings(name, item)
    elif isinstance(value, list):
        for item in value:
            yield from _strings(key, item)
    elif isinstance(value, str):
        yield key, value


def _walk(key: str, value: Any, made: StandIns, names: list[tuple[re.Pattern[str], str]]) -> Any:
    if isinstance(value, dict):
        return {name: _walk(name, item, made, names) for name, item in value.items()}
    if isinstance(value, list):
        return [_walk(key, item, made, names) for item in value]
    if not isinstance(value, str):
        return value
    if "serial" in key:
        return made.of("serial number", value, lambda n: f"serial-{n}") if value else value
    if key == "hostname":
        return made.host(value)
    return _text(key, value, made, names)


def _text(key: str, text: str, made: StandIns, names: list[tuple[re.Pattern[str], str]]) -> str:
    text = _TOKENS.sub(lambda f: made.of("token", f[0], lambda n: f"token-{n}"), text)
    text = _LOGIN.sub(lambda f: made.of("login", f[0], lambda n: f"login-{n}"), text)
    text = _MAIL.sub(lambda f: made.of("e-mail", f[0], lambda n: f"mail-{n}@example.org"), text)
    text = _URL_HOST.sub(lambda f: f[0].removesuffix(f[1]) + made.host(f[1]), text)
    text = _INSIDE.sub(lambda f: made.host(f[0]), text)
    text = _SSH.sub(lambda f: f"{made.user(f[1])}@{made.host(f[2])}", text)
    text = _HOME.sub(lambda f: f[0] if f[3] else made.user(f[0]), text)
    text = _DISK_ID.sub(lambda f: made.of("disk id", f[0], lambda n: f"disk-{n}"), text)
    text = _UUID.sub(lambda f: made.uuid(f[0]), text)
    text = _GPU_PREFIX.sub(lambda f: _abbreviated(f[0], made), text)
    text = _MAC.sub(lambda f: made.of("MAC address", f[0].lower(), lambda n: f"00:00:5e:00:53:{n % 256:02x}"), text)
    if not _VERSIONS.search(key):
        text = _IPV6.sub(lambda f: made.address(f[0]), _IPV4.sub(lambda f: made.address(f[0]), text))
    if re.search(r"[\s/.:@=,]", text) or key in (
        "source",
        "variables",
    ):  # a bare word is a kind or a package, not a name
        for pattern, stand_in in names:
            text = pattern.sub(stand_in, text)
    return text


def _abbreviated(prefix: str, made: StandIns) -> str:
    """``GPU-8f3c`` as CUDA_VISIBLE_DEVICES may name a card: the first digits of the one stand-in that it can mean."""
    meant = [stand_in for real, stand_in in made.made.get("UUID", {}).items() if real.startswith(prefix.lower())]
    return meant[0][:8] if len(meant) == 1 else prefix
