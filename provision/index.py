"""The user's package index settings, as pip sees them, in one record; and the same settings as pip and uv take them.

pip reads ``PIP_*`` variables and pip.conf (global, user, site, ``PIP_CONFIG_FILE``); uv reads none of these. So
the settings are read once, through pip itself, joined with what the user set for uv, and handed to every client
in full. The rules:

- pip's own order: a variable beats the section ``[install]``, which beats ``[global]``. Nearer files beat
  farther ones (pip does that before we see them).
- ``UV_*`` variables and uv.toml add their indexes and folders to pip's; where both name *the* index, pip's stands.
- Settings travel to the clients in environment variables, not in arguments: an address may carry a password, and
  arguments can be read by every user of the machine.
- An address leaves this module only through ``redact`` when it is meant for a person.
- ``PROVISION_OFFLINE`` (1, true, yes) says that there is nobody to ask: then there is no index, whatever else is set.
"""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import tomllib

from provision.errors import ChangeError, UsageError

_CONFIG_SECONDS = 60  # `pip config list` took 0.4 s (2026-11-24, 2 cores); a home directory on a network may be slow
_URL = re.compile(r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*://)(?:(?P<user>[^\s/?#'\"<>]*)@)?(?P<rest>[^\s'\"<>]*)")
_QUERY = re.compile(r"\?[^#]*")
# All that is let through of what the user set for uv: the rest names indexes (given in full below) or changes the
# answer (UV_RESOLUTION, UV_TORCH_BACKEND, UV_OVERRIDE …), and a lock must be the same whoever makes it.
_UV_KEPT = frozenset(
    {"UV_CACHE_DIR", "UV_CONCURRENT_DOWNLOADS", "UV_KEYRING_PROVIDER", "UV_NO_CACHE", "UV_SYSTEM_CERTS"}
)
_BUNDLES = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE")  # the first two as pip's HTTP client has it


def offline(environment: Mapping[str, str] | None = None) -> bool:
    """Whether the user said that neither an index nor a registry is to be asked (``PROVISION_OFFLINE``).

    What a bundle brings sets it. Without it a machine without a network waits for names and addresses that never answer.
    """
    return _truth((os.environ if environment is None else environment).get("PROVISION_OFFLINE", ""))


def redact(text: str) -> str:
    """``text`` with the user part and the query of every address in it replaced by ``****``."""

    def hide(match: re.Match[str]) -> str:
        user = "****@" if match["user"] is not None else ""
        return match["scheme"] + user + _QUERY.sub("?****", match["rest"])

    return _URL.sub(hide, text)


@dataclass(frozen=True, kw_only=True, slots=True, repr=False)
class IndexSettings:
    """Where packages come from.

    ``index_url`` is empty where the user names none: then each client's own default holds. Addresses are kept
    with their credentials, so ``repr`` shows them redacted.
    """

    index_url: str = ""
    extra_index_urls: tuple[str, ...] = ()
    find_links: tuple[str, ...] = ()
    no_index: bool = False
    constraints: tuple[str, ...] = ()
    certificate: str = ""
    client_certificate: str = ""
    trusted_hosts: tuple[str, ...] = ()
    proxy: str = ""
    timeout_seconds: int = 15  # pip's own default

    def __repr__(self) -> str:
        shown = ((name, getattr(self, name)) for name in sorted(self.__slots__))
        return redact(f"IndexSettings({', '.join(f'{name}={value!r}' for name, value in shown if value)})")

    def redact(self, text: str) -> str:
        """``redact``, and every password of these settings hidden wherever it stands, decoded or not."""
        text = redact(text)
        for address in (self.index_url, *self.extra_index_urls, *self.find_links, self.proxy):
            password = urlsplit(address).password or ""
            for secret in (password, unquote(password)):
                if secret:
                    text = text.replace(secret, "****")
        return text

    def with_find_links(self, *addresses: str) -> IndexSettings:
        """These settings and ``addresses`` as further find-links, asked last."""
        return replace(self, find_links=_unique((*self.find_links, *addresses)))


def read(environment: Mapping[str, str] | None = None, python: str = sys.executable) -> IndexSettings:
    """The settings in force for the pip of the interpreter ``python``.

    Raises ``ChangeError`` where that interpreter has no pip or a configuration file cannot be read, ``UsageError`` where an
    address is none.
    """
    environment = os.environ if environment is None else environment
    pip = _pip_settings(environment, python)
    uv = _uv_settings(environment)
    bundles = (pip.get("cert", ""), *(environment.get(name, "") for name in _BUNDLES))
    proxy_settings = pip.get("proxy", "")
    settings = IndexSettings(
        index_url=pip.get("index-url", "") or uv.index_url,
        extra_index_urls=_unique((*_words(pip.get("extra-index-url", "")), *uv.extra_index_urls)),
        find_links=_unique((*map(_absolute, _words(pip.get("find-links", ""))), *uv.find_links)),
        no_index=_truth(pip.get("no-index", "")) or uv.no_index or offline(environment),
        constraints=_unique((*map(_absolute, _words(pip.get("constraint", ""))), *uv.constraints)),
        certificate=next((bundle for bundle in bundles if bundle), ""),
        client_certificate=pip.get("client-cert", ""),
        trusted_hosts=_unique((*_words(pip.get("trusted-host", "")), *uv.trusted_hosts)),
        proxy=proxy_settings,
        timeout_seconds=_seconds(pip.get("timeout", "") or pip.get("default-timeout", "")),
    )
    for address in (settings.index_url, *settings.extra_index_urls, *settings.find_links):
        try:
            urlsplit(address)
        except ValueError as error:
            raise UsageError(f"{redact(address)}: no address of a package index: {error}", "pip config list") from None
    return settings


def pip_environment(settings: IndexSettings, environment: Mapping[str, str]) -> dict[str, str]:
    """``environment`` for pip and pip-compile.

    pip's own files stay in force for what is not here (a keyring, a retry count); a variable beats them, and one
    that holds a blank says "none", where an empty one would let pip.conf through. Constraints are left out:
    pip-compile takes them as arguments, and a download of locked hashes refuses constraints without hashes.
    """
    lists = {
        "PIP_EXTRA_INDEX_URL": settings.extra_index_urls,
        "PIP_FIND_LINKS": settings.find_links,
        "PIP_TRUSTED_HOST": settings.trusted_hosts,
    }
    given = {
        "PIP_INDEX_URL": settings.index_url,
        "PIP_NO_INDEX": str(int(settings.no_index)),
        "PIP_CONSTRAINT": os.devnull,
        "PIP_CERT": settings.certificate,
        "PIP_CLIENT_CERT": settings.client_certificate,
        "PIP_PROXY": settings.proxy,
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
        "PIP_NO_INPUT": "1",
        "PIP_NO_COLOR": "1",
    }
    return {
        **environment,
        **{name: " ".join(values) or " " for name, values in lists.items()},
        **{name: value for name, value in given.items() if value},
    }


def uv_environment(settings: IndexSettings, environment: Mapping[str, str]) -> dict[str, str]:
    """``environment`` for uv, which then knows exactly these settings and no file of its own.

    ``unsafe-best-match`` is pip's own way of joining several indexes; with uv's default (the first index that
    knows a name wins) the two resolvers would disagree.
    """
    kept = {name: value for name, value in environment.items() if not name.startswith("UV_") or name in _UV_KEPT}
    given = {
        "UV_NO_CONFIG": "1",
        "UV_PYTHON_DOWNLOADS": "never",
        "UV_INDEX_STRATEGY": "unsafe-best-match",
        "UV_DEFAULT_INDEX": settings.index_url,
        "UV_INDEX": " ".join(settings.extra_index_urls),
        "UV_FIND_LINKS": ",".join(settings.find_links),
        "UV_CONSTRAINT": " ".join(settings.constraints),
        "UV_INSECURE_HOST": " ".join(settings.trusted_hosts),
        "UV_HTTP_TIMEOUT": str(settings.timeout_seconds),
        "SSL_CERT_FILE": settings.certificate,
        "SSL_CLIENT_CERT": settings.client_certificate,
        "HTTP_PROXY": settings.proxy,
        "HTTPS_PROXY": settings.proxy,
        "NO_COLOR": "1",
    }
    return {**kept, **{name: value for name, value in given.items() if value}}


def uv_arguments(settings: IndexSettings) -> tuple[str, ...]:
    """What uv takes as an argument only (0.13 knows no variable for it: with one it asked the default index)."""
    return ("--no-index",) if settings.no_index else ()


def default_index_url(python: str = sys.executable) -> str:
    """The index that pip asks where the user names none: read from pip's own help, so it is written nowhere here."""
    bare = {name: value for name, value in os.environ.items() if not name.startswith("PIP_")}
    output = _run_pip(("download", "--help"), {**bare, "PIP_CONFIG_FILE": os.devnull, "COLUMNS": "200"}, python)
    found = re.search(r"\(default\s+(https?://\S+?)\)", output)
    if found is None:
        raise ChangeError("pip's help names no default index", "set PIP_INDEX_URL to the index to use")
    return found[1]


def _pip_settings(environment: Mapping[str, str], python: str) -> dict[str, str]:
    """pip's settings by option name, from ``pip config list`` (lines ``section.option='value'``)."""
    sections: dict[str, dict[str, str]] = {}
    for line in _run_pip(("config", "list"), environment, python).splitlines():
        key, _, value = line.partition("=")
        section, _, option = key.rpartition(".")
        try:
            sections.setdefault(section, {})[option] = str(ast.literal_eval(value))
        except (SyntaxError, ValueError):
            raise ChangeError(f"pip config list printed a line that cannot be read: {redact(line)}") from None
    joined: dict[str, str] = {}
    for section in ("global", "install", ":env:"):
        joined.update({option: value for option, value in sections.get(section, {}).items() if value})
    return joined


def _run_pip(arguments: tuple[str, ...], environment: Mapping[str, str], python: str) -> str:
    command = (python, "-m", "pip", *arguments)
    try:
        done = subprocess.run(
            command, env=dict(environment), capture_output=True, text=True, timeout=_CONFIG_SECONDS, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ChangeError(redact(f"{' '.join(command)} did not run: {error}")) from None
    if done.returncode != 0:
        said = redact(done.stderr.strip() or done.stdout.strip())
        raise ChangeError(f"{' '.join(command)} failed: {said}", f"{python} -m ensurepip")
    return done.stdout


def _uv_settings(environment: Mapping[str, str]) -> IndexSettings:
    """What the user set for uv: its variables, then the first of its own files that exists."""
    table = _uv_file(environment)
    table = {**table, **table.get("pip", {})}
    named = [entry for entry in table.get("index", ()) if isinstance(entry, dict) and not entry.get("explicit")]
    default = next((str(entry["url"]) for entry in named if entry.get("default")), str(table.get("index-url", "")))
    further = [str(entry["url"]) for entry in named if not entry.get("default")]
    variables = (*_words(environment.get("UV_INDEX", "")), *_words(environment.get("UV_EXTRA_INDEX_URL", "")))
    folders = [folder for folder in environment.get("UV_FIND_LINKS", "").split(",") if folder]
    return IndexSettings(
        index_url=environment.get("UV_DEFAULT_INDEX", "") or environment.get("UV_INDEX_URL", "") or default,
        extra_index_urls=(*map(_unnamed, variables), *further, *map(str, table.get("extra-index-url", ()))),
        find_links=tuple(_absolute(str(folder)) for folder in (*folders, *table.get("find-links", ()))),
        no_index=table.get("no-index") is True,  # uv has no variable for it
        constraints=tuple(map(_absolute, _words(environment.get("UV_CONSTRAINT", "")))),
        trusted_hosts=_words(environment.get("UV_INSECURE_HOST", "")),
    )


def _uv_file(environment: Mapping[str, str]) -> dict[str, Any]:
    if _truth(environment.get("UV_NO_CONFIG", "")):
        return {}
    home = Path(environment.get("HOME", "/"))
    user = Path(environment.get("XDG_CONFIG_HOME", "") or home / ".config") / "uv" / "uv.toml"
    named = environment.get("UV_CONFIG_FILE", "")
    for path in (Path(named),) if named else (user, Path("/etc/uv/uv.toml")):
        if path.is_file():
            try:
                return tomllib.loads(path.read_text())
            except (OSError, ValueError) as error:
                raise UsageError(f"{path}: uv's settings cannot be read: {redact(str(error))}") from None
    return {}


def _unnamed(index: str) -> str:
    """uv allows ``name=address``; an address may hold ``=`` only after its scheme."""
    name, equals, address = index.partition("=")
    return address if equals and "://" not in name else index


def _absolute(place: str) -> str:
    """A local path made absolute, as the clients run in another folder; an address as it is."""
    if "://" in place:
        return place
    return str(Path(place).expanduser().absolute())


def _words(value: str) -> tuple[str, ...]:
    return tuple(value.split())


def _unique(values: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(values))


def _truth(value: str) -> bool:
    return value.strip().lower() in {"1", "true", "yes", "on", "y", "t"}


def _seconds(value: str) -> int:
    try:
        return max(1, round(float(value)))
    except ValueError:
        return IndexSettings().timeout_seconds
