"""Everybody who asks an index, through what users have: HTTPS with a private authority, passwords, ~/.netrc, a proxy."""

from __future__ import annotations

import base64
import select
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from provision import wheelhouse
from provision.errors import ChangeError
from provision.index import IndexSettings
from provision.lock import make, text
from provision.lock.page_cache import PageCache
from provision.lock.pages import Pages
from provision.lock.target import Target
from provision.lock.text import Pin
from provision.lock.variants import Requirement, Variant
from provision.lock.withdrawn import look

PYTHON = f"{sys.version_info[0]}.{sys.version_info[1]}"
VARIANT = Variant(
    name="small",
    purpose="tool",
    accelerator="none",
    target=Target(python=PYTHON, glibc="2.36", machine="x86_64"),
    origin="",
    requirements=(Requirement(name="app", bound="", because="", source="here", date="2026-11-24"),),
    agree_with=(),
    forbidden=(),
    forbidden_because="",
)
SECRETS = ("s3cr3t-word", "pr0xy-word", *(base64.b64encode(s).decode() for s in (b"me:s3cr3t-word", b"us:pr0xy-word")))
HOST = "index.test"  # known to the proxy alone


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """A private authority, and a certificate of it for 127.0.0.1 and index.test."""
    folder = tmp_path_factory.mktemp("authority")
    key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2")

    def openssl(*words: str) -> None:
        subprocess.run(("openssl", *words), cwd=folder, check=True, capture_output=True)

    openssl("req", "-x509", *key, "-keyout", "ca.key", "-out", "ca.pem", "-subj", "/CN=Private authority")
    openssl("req", *key, "-keyout", "server.key", "-out", "server.csr", "-subj", "/CN=index")
    (folder / "names.cnf").write_text(f"subjectAltName=IP:127.0.0.1,DNS:{HOST}\n")
    signed = ("-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-days", "2", "-extfile", "names.cnf")
    openssl("x509", "-req", "-in", "server.csr", "-out", "server.pem", *signed)
    (folder / "client.pem").write_text((folder / "server.key").read_text() + (folder / "server.pem").read_text())
    files = {"ca": "ca.pem", "certificate": "server.pem", "key": "server.key", "client": "client.pem"}
    return {name: str(folder / file) for name, file in files.items()}


@dataclass
class Proxy:
    """A proxy that wants a password. ``tunnels`` and ``fetched`` are what it was asked for; it alone knows index.test."""

    port: int = 0
    tunnels: list[str] = field(default_factory=list)
    fetched: list[str] = field(default_factory=list)
    refused: int = 0

    @property
    def url(self) -> str:
        return f"http://us:pr0xy-word@127.0.0.1:{self.port}"


@pytest.fixture
def proxy() -> Iterator[Proxy]:
    state = Proxy()

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, format: str, *args: object) -> None:
            pass

        def allowed(self) -> bool:
            wanted = "Basic " + base64.b64encode(b"us:pr0xy-word").decode()
            if self.headers.get("Proxy-Authorization") == wanted:
                return True
            state.refused += 1
            self.send_response(407)
            self.send_header("Proxy-Authenticate", 'Basic realm="proxy"')
            self.send_header("Content-Length", "0")
            self.end_headers()
            return False

        def do_CONNECT(self) -> None:
            if not self.allowed():
                return
            state.tunnels.append(self.path)
            with socket.create_connection(("127.0.0.1", int(self.path.rpartition(":")[2]))) as there:
                self.send_response(200)
                self.end_headers()
                ends = {self.connection: there, there: self.connection}
                while True:
                    for end in select.select(list(ends), [], [], 20)[0]:
                        if not (data := end.recv(1 << 16)):
                            return
                        ends[end].sendall(data)

        def do_GET(self) -> None:
            if not self.allowed():
                return
            state.fetched.append(self.path)
            parts = urlsplit(self.path)
            with socket.create_connection(("127.0.0.1", parts.port or 80)) as there:
                kept = {n: v for n, v in self.headers.items() if not n.lower().startswith(("proxy-", "connection"))}
                lines = [f"GET {parts.path} HTTP/1.0", *(f"{n}: {v}" for n, v in kept.items()), "", ""]
                there.sendall("\r\n".join(lines).encode())
                while data := there.recv(1 << 16):
                    self.wfile.write(data)

        do_HEAD = do_GET

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    state.port = server.server_address[1]
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    yield state
    server.shutdown()
    server.server_close()


@pytest.fixture(autouse=True)
def bare(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A user who has set nothing: no proxy, no certificates, an empty home."""
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    for name in (
        "SSL_CERT_FILE",
        "SSL_CERT_DIR",
        "REQUESTS_CA_BUNDLE",
        "CURL_CA_BUNDLE",
        "PIP_CERT",
        "PIP_CONFIG_FILE",
    ):
        monkeypatch.delenv(name, raising=False)
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path / "uv"))
    monkeypatch.setenv("PIP_NO_CACHE_DIR", "1")
    return home


# Everybody who speaks to an index, each as a function of the settings that raises where it got no answer.


def by_uv(settings: IndexSettings, folder: Path) -> None:
    make.lock_variant(VARIANT, lockfiles=folder / "locks", pyproject=folder / "none", settings=settings)


def by_pip_tools(settings: IndexSettings, folder: Path) -> None:
    made = {"lockfiles": folder / "locks", "pyproject": folder / "none"}
    make.lock_variant(VARIANT, settings=settings, resolver="pip-tools", **made)


def by_pip(settings: IndexSettings, folder: Path) -> None:
    filled = wheelhouse.fill(lock_of(folder), folder / "house", PYTHON, lambda: settings)
    assert len(filled.wheels) == 2


def by_check(settings: IndexSettings, folder: Path) -> None:
    lock_of(folder)
    cache = PageCache(folder / "pages.json")
    seen = look((VARIANT,), lockfiles=folder, pyproject=folder / "none", settings=settings, cache=cache)
    cache.save()
    if seen.not_looked:
        raise ChangeError(repr(seen.not_looked))
    assert (seen.problems, seen.packages) == ((), 2)


def by_pages(settings: IndexSettings, folder: Path) -> None:
    assert Pages(settings).wheels("lib", "1.1")


def lock_of(folder: Path) -> Path:
    """``small.txt``: app 1.0 and lib 1.1 with the hashes of the folder ``wheels`` beside it."""
    import hashlib

    pins = []
    for name, version in (("app", "1.0"), ("lib", "1.1")):
        wheel = folder / "wheels" / f"{name}-{version}-py3-none-any.whl"
        pins.append(Pin(name=name, version=version, sha256=(hashlib.sha256(wheel.read_bytes()).hexdigest(),)))
    (folder / "small.txt").write_text(text.render("small", "small", "", pins))
    return folder / "small.txt"


EVERYBODY = pytest.mark.parametrize(
    "ask", [by_uv, by_pip_tools, by_pip, by_check, by_pages], ids=lambda each: each.__name__.removeprefix("by_")
)


def told(folder: Path, capfd: pytest.CaptureFixture[str], *further: str) -> None:
    """No secret in any file that we wrote, nor in what was printed or raised."""
    written = [*folder.glob("locks/*"), *folder.glob("*.txt"), *folder.glob("*.json")]
    out, err = capfd.readouterr()
    everything = "".join([out, err, *further, *(file.read_text() for file in written)])
    assert not [secret for secret in SECRETS if secret in everything]


@pytest.fixture
def secure(serve: Callable, wheels: Path, authority: dict[str, str]) -> Callable[..., Any]:
    def start(**how: Any) -> Any:
        pair = (authority["certificate"], authority["key"])
        return serve(wheels, user="me:s3cr3t-word", certificate=pair, protocol="HTTP/1.1", **how)

    return start


@EVERYBODY
def test_a_private_authority_and_a_password(
    ask: Callable, secure: Callable, authority: dict[str, str], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    index = secure()
    ask(IndexSettings(index_url=index.url, certificate=authority["ca"]), tmp_path)
    assert index.authorizations[-1].startswith("Basic ")
    told(tmp_path, capfd)


@EVERYBODY
def test_who_does_not_know_the_authority_does_not_trust_it(
    ask: Callable, secure: Callable, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """And the password does not go to a server that nobody vouches for."""
    index = secure()
    with pytest.raises(ChangeError) as caught:
        ask(IndexSettings(index_url=index.url, timeout_seconds=5), tmp_path)
    assert index.asked == []
    told(tmp_path, capfd, caught.value.message)
    assert not (tmp_path / "locks").exists()


@EVERYBODY
def test_a_client_that_must_show_a_certificate(
    ask: Callable, secure: Callable, authority: dict[str, str], tmp_path: Path
) -> None:
    index = secure(client_authority=authority["ca"])
    settings = IndexSettings(index_url=index.url, certificate=authority["ca"], timeout_seconds=5)
    with pytest.raises(ChangeError):
        ask(settings, tmp_path)
    assert index.asked == []
    ask(replace(settings, client_certificate=authority["client"]), tmp_path)
    assert index.asked


@EVERYBODY
def test_a_host_that_the_user_trusts_without_one(ask: Callable, secure: Callable, tmp_path: Path) -> None:
    index = secure()
    ask(IndexSettings(index_url=index.url, trusted_hosts=("127.0.0.1",)), tmp_path)
    assert index.asked


@EVERYBODY
def test_a_password_from_netrc(
    ask: Callable,
    secure: Callable,
    authority: dict[str, str],
    bare: Path,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    (bare / ".netrc").write_text("machine 127.0.0.1 login me password s3cr3t-word\n")
    (bare / ".netrc").chmod(0o600)
    index = secure()
    ask(IndexSettings(index_url=index.url.replace("me:s3cr3t-word@", ""), certificate=authority["ca"]), tmp_path)
    assert index.authorizations[-1].startswith("Basic ")
    told(tmp_path, capfd)


@pytest.mark.parametrize("ask", [by_check, by_pages])
def test_a_netrc_that_cannot_be_read(
    ask: Callable, secure: Callable, bare: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """A password with a blank in it: the reader stumbles over its second half, which must not be told."""
    (bare / ".netrc").write_text("machine 127.0.0.1\nlogin me password half pr0xy-word\n")
    (bare / ".netrc").chmod(0o600)
    address = secure().url.replace("me:s3cr3t-word@", "")
    with pytest.raises(ChangeError, match=r"~/\.netrc cannot be read: line \d") as caught:
        ask(IndexSettings(index_url=address), tmp_path)
    told(tmp_path, capfd, caught.value.message)


@EVERYBODY
def test_a_wrong_password_is_refused_and_not_told(
    ask: Callable, secure: Callable, authority: dict[str, str], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    index = secure()
    index.user = "me:changed-since"
    with pytest.raises(ChangeError) as caught:
        ask(
            IndexSettings(
                index_url=f"https://me:s3cr3t-word@127.0.0.1:{index.port}/simple", certificate=authority["ca"]
            ),
            tmp_path,
        )
    told(tmp_path, capfd, caught.value.message)
    assert not (tmp_path / "locks").exists()


@EVERYBODY
@pytest.mark.parametrize("trusted", [False, True], ids=["authority", "trusted"])
def test_a_tunnel_through_a_proxy_with_a_password(
    trusted: bool,
    ask: Callable,
    secure: Callable,
    proxy: Proxy,
    authority: dict[str, str],
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """The index is known to the proxy alone; neither learns the other's password."""
    index = secure(host=HOST)
    way = {"trusted_hosts": (HOST,)} if trusted else {"certificate": authority["ca"]}
    ask(IndexSettings(index_url=index.url, proxy=proxy.url, **way), tmp_path)
    assert set(proxy.tunnels) == {f"{HOST}:{index.port}"}
    assert proxy.fetched == []
    assert not [each for each in index.headers if "Proxy-Authorization" in each]
    told(tmp_path, capfd)


@EVERYBODY
def test_an_unencrypted_index_through_a_proxy(
    ask: Callable, serve: Callable, wheels: Path, proxy: Proxy, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    index = serve(wheels, user="me:s3cr3t-word", host=HOST)
    ask(IndexSettings(index_url=index.url, proxy=proxy.url, trusted_hosts=(HOST,)), tmp_path)
    assert proxy.fetched
    assert all(address.startswith(f"http://{HOST}:{index.port}/") for address in proxy.fetched)
    told(tmp_path, capfd)


@EVERYBODY
def test_the_proxy_of_the_environment(
    ask: Callable,
    secure: Callable,
    proxy: Proxy,
    authority: dict[str, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """And no proxy for the hosts that the user takes out."""
    monkeypatch.setenv("HTTPS_PROXY", proxy.url)
    monkeypatch.setenv("https_proxy", proxy.url)
    index = secure(host=HOST)
    settings = IndexSettings(index_url=index.url, certificate=authority["ca"])
    ask(settings, tmp_path)
    assert proxy.tunnels
    proxy.tunnels.clear()
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    ask(replace(settings, index_url=index.url.replace(HOST, "127.0.0.1")), tmp_path)
    assert proxy.tunnels == []


@EVERYBODY
def test_a_proxy_that_refuses_the_password(
    ask: Callable,
    secure: Callable,
    proxy: Proxy,
    authority: dict[str, str],
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    index = secure(host=HOST)
    wrong = proxy.url.replace("us:pr0xy-word", "us:wr0ng-pr0xy-word")
    with pytest.raises(ChangeError) as caught:
        ask(IndexSettings(index_url=index.url, proxy=wrong, certificate=authority["ca"]), tmp_path)
    assert proxy.refused
    assert index.asked == []
    told(tmp_path, capfd, caught.value.message)


@EVERYBODY
def test_find_links_behind_a_password(
    ask: Callable, secure: Callable, authority: dict[str, str], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Pages of links beside no index at all."""
    index = secure(json=False)
    pages = tuple(f"{index.url}/{name}/" for name in ("app", "lib"))
    ask(IndexSettings(no_index=True, find_links=pages, certificate=authority["ca"]), tmp_path)
    assert {path for path in index.asked if path.startswith("/simple")} == {"/simple/app/", "/simple/lib/"}
    told(tmp_path, capfd)
