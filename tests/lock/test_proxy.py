"""An index behind TLS and a proxy: who is trusted without a certificate, and which password goes to whom."""

from __future__ import annotations

import base64
import datetime
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from provision.errors import ChangeError
from provision.index import IndexSettings
from provision.lock.pages import Pages

PAGE = b'<!DOCTYPE html><a href="lib-1.0-py3-none-any.whl">lib</a>'
PROXY_WORD, INDEX_WORD = (f"Basic {base64.b64encode(each).decode()}" for each in (b"me:proxy-word", b"me:index-word"))


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    """A certificate that h.test signed for itself, with its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "h.test")])
    now = datetime.datetime.now(datetime.timezone.utc)
    made = (
        x509.CertificateBuilder(issuer_name=name, subject_name=name, public_key=key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("h.test")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    path = tmp_path / "h.pem"
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path.write_bytes(made.public_bytes(serialization.Encoding.PEM) + private)
    return path


@pytest.fixture
def behind(certificate: Path) -> Iterator[tuple[str, list[tuple[str, str, dict[str, str]]]]]:
    """A proxy's address and what it and the index behind it, https://h.test, were asked: who, for what, headers."""
    asked: list[tuple[str, str, dict[str, str]]] = []

    class Index(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, format: str, *args: object) -> None:
            pass

        def do_GET(self) -> None:
            asked.append(("index", self.path, dict(self.headers)))
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.send_header("Content-Length", str(len(PAGE)))
            self.end_headers()
            self.wfile.write(PAGE)

    class Proxy(BaseHTTPRequestHandler):
        def log_message(self, format: str, *args: object) -> None:
            pass

        def do_CONNECT(self) -> None:
            asked.append(("proxy", self.path, dict(self.headers)))
            with socket.create_connection(("127.0.0.1", index.server_address[1])) as there:
                self.send_response(200)
                self.end_headers()
                back = threading.Thread(target=_pass_on, args=(there, self.connection), daemon=True)
                back.start()
                _pass_on(self.connection, there)
                back.join(5)

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    index, proxy = (ThreadingHTTPServer(("127.0.0.1", 0), each) for each in (Index, Proxy))
    index.handle_error = lambda *_: None  # type: ignore[method-assign]  # a client that refuses the certificate
    index.socket = context.wrap_socket(index.socket, server_side=True)
    for each in (index, proxy):
        each.daemon_threads = True
        threading.Thread(target=each.serve_forever, args=(0.05,), daemon=True).start()
    yield f"http://me:proxy-word@127.0.0.1:{proxy.server_address[1]}", asked
    for each in (index, proxy):
        each.shutdown()
        each.server_close()


def _pass_on(one: Any, other: Any) -> None:
    try:
        while data := one.recv(65536):
            other.sendall(data)
        other.shutdown(socket.SHUT_WR)
    except OSError:
        return


@pytest.fixture
def read(behind: Any, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    monkeypatch.setenv("no_proxy", "")
    monkeypatch.setenv("NO_PROXY", "")

    def run(*packages: str, **how: Any) -> tuple[str, ...]:
        pages = Pages(IndexSettings(index_url="https://me:index-word@h.test/simple", proxy=behind[0], **how))
        return tuple(file.filename for each in packages for file in pages.files(pages.places(each)[0]))

    return run


@pytest.mark.parametrize("how", ["its certificate", "trusted"])
def test_each_password_goes_to_its_own_host(how: str, read: Callable[..., Any], behind: Any, certificate: Path) -> None:
    settings: dict[str, dict[str, Any]] = {
        "its certificate": {"certificate": str(certificate)},
        "trusted": {"trusted_hosts": ("h.test",)},
    }
    assert read("lib", "app", **settings[how]) == ("lib-1.0-py3-none-any.whl",) * 2
    assert [(who, what) for who, what, _ in behind[1]] == [
        ("proxy", "h.test:443"),
        ("index", "/simple/lib/"),
        ("index", "/simple/app/"),
    ]
    proxy, *index = (headers for _, _, headers in behind[1])
    assert (proxy.get("Proxy-Authorization"), proxy.get("Authorization")) == (PROXY_WORD, None)
    for headers in index:
        assert (headers.get("Proxy-Authorization"), headers.get("Authorization")) == (None, INDEX_WORD)


@pytest.mark.parametrize("trusted", [(), ("127.0.0.1",), ("other.test",)])
def test_a_host_that_nobody_vouches_for_is_refused(trusted: tuple[str, ...], read: Callable[..., Any]) -> None:
    """Nor does trust in the proxy make its neighbour trusted."""
    with pytest.raises(ChangeError, match="certificate verify failed"):
        read("lib", trusted_hosts=trusted)
