"""How an index is spoken to: the user's certificates, proxy, trusted hosts and credentials, on the standard library."""

from __future__ import annotations

import base64
import http.client
import netrc
import ssl
import urllib.request
from pathlib import Path
from urllib.parse import unquote, urldefrag, urlsplit, urlunsplit

from provision.errors import ChangeError
from provision.index import IndexSettings
from provision.lock.kept import KeptConnections


def opener(settings: IndexSettings) -> urllib.request.OpenerDirector:
    """An opener for these settings. Raises ``ChangeError`` where a certificate file cannot be used."""
    kept = KeptConnections()
    handlers: list[urllib.request.BaseHandler] = [
        _Http(kept),
        _Https(kept, _context(settings), settings.trusted_hosts),
    ]
    if settings.proxy:  # otherwise urllib takes the proxy from the environment, as pip does
        handlers.append(urllib.request.ProxyHandler({"http": settings.proxy, "https": settings.proxy}))
    return urllib.request.build_opener(*handlers)


def request(address: str, **headers: str) -> urllib.request.Request:
    """A request for ``address``, its credentials (or those in ~/.netrc) in a header instead of the address."""
    bare, authorization = _credentials(address)
    made = urllib.request.Request(bare, headers=headers)  # noqa: S310 -- pages.py lets http and https through alone
    if authorization:
        # "unredirected": urllib would otherwise carry the password to whichever host a redirect names.
        made.add_unredirected_header("Authorization", authorization)
    return made


def with_credentials_of(asked: str, answered: str) -> str:
    """The address that answered, with the user part of the one that was asked where both are the same host."""
    found, given = urlsplit(answered), urlsplit(asked)
    if "@" in given.netloc and found.hostname == given.hostname and "@" not in found.netloc:
        return urlunsplit(found._replace(netloc=f"{given.netloc.rpartition('@')[0]}@{found.netloc}"))
    return answered


class _Http(urllib.request.HTTPHandler):
    def __init__(self, kept: KeptConnections) -> None:
        super().__init__()
        self._kept = kept

    def http_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
        host = str(req.host)
        return self._kept.ask(host, lambda: http.client.HTTPConnection(host, timeout=req.timeout), req)


class _Https(urllib.request.HTTPSHandler):
    """HTTPS with the user's certificates; a host that the user trusts without one is not verified, as in pip."""

    def __init__(self, kept: KeptConnections, context: ssl.SSLContext, trusted: tuple[str, ...]) -> None:
        super().__init__(context=context)
        self._kept = kept
        self._strict = context
        self._lenient = ssl.create_default_context()
        self._lenient.check_hostname = False
        self._lenient.verify_mode = ssl.CERT_NONE
        self._trusted = frozenset(trusted)

    def https_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
        named = str(req._tunnel_host or req.host)  # type: ignore[attr-defined]  # behind a proxy, host is the proxy's
        trusted = not self._trusted.isdisjoint({named, named.partition(":")[0]})
        context, host = self._lenient if trusted else self._strict, str(req.host)
        key = ("https", host, req._tunnel_host, trusted)  # type: ignore[attr-defined]
        return self._kept.ask(key, lambda: http.client.HTTPSConnection(host, timeout=req.timeout, context=context), req)


def _context(settings: IndexSettings) -> ssl.SSLContext:
    bundle = Path(settings.certificate) if settings.certificate else None
    try:
        context = ssl.create_default_context(
            cafile=str(bundle) if bundle and not bundle.is_dir() else None,
            capath=str(bundle) if bundle and bundle.is_dir() else None,
        )
        if settings.client_certificate:
            context.load_cert_chain(settings.client_certificate)
    except OSError as error:  # ssl.SSLError is one
        named = " or ".join(each for each in (settings.certificate, settings.client_certificate) if each)
        raise ChangeError(f"the certificate file {named} cannot be used: {error}", "correct PIP_CERT") from None
    return context


def _credentials(address: str) -> tuple[str, str]:
    """The address without its user part and fragment, and the value of the Authorization header (empty: none)."""
    parts = urlsplit(urldefrag(address)[0])
    user, password = unquote(parts.username or ""), unquote(parts.password or "")
    bare = urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))
    if not user and parts.hostname:
        try:
            known = netrc.netrc().authenticators(parts.hostname)
        except FileNotFoundError:
            known = None
        except (
            netrc.NetrcParseError
        ) as error:  # its own message quotes the word that it stumbled over: maybe a password
            raise ChangeError(f"~/.netrc cannot be read: line {error.lineno}", "correct or remove it") from None
        except OSError as error:
            raise ChangeError(f"~/.netrc cannot be read: {error.strerror}", "correct or remove it") from None
        user, password = (known[0], known[2] or "") if known else ("", "")
    if not user:
        return bare, ""
    return bare, "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()
