"""Real wheels, made here, and a real package index that serves them on the loopback interface."""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
import ssl
import threading
import time
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from html import escape
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote
from xml.sax.saxutils import quoteattr

import pytest

from provision.index import IndexSettings


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _make_wheel(
    folder: Path, name: str, version: str, *requires: str, tag: str = "py3-none-any", content: bytes = b""
) -> Path:
    """A wheel that pip and uv accept, the same bytes for the same arguments."""
    stem = f"{name.replace('-', '_')}-{version}"
    info = f"{stem}.dist-info"
    lines = [
        "Metadata-Version: 2.1",
        f"Name: {name}",
        f"Version: {version}",
        *(f"Requires-Dist: {r}" for r in requires),
    ]
    files = {
        f"{name.replace('-', '_')}.py": content,
        f"{info}/METADATA": "\n".join(lines).encode() + b"\n",
        f"{info}/WHEEL": f"Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: {tag}\n".encode(),
        f"{info}/RECORD": b"",
    }
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{stem}-{tag}.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for file, data in files.items():
            archive.writestr(zipfile.ZipInfo(file, (2020, 1, 1, 0, 0, 0)), data)
    return path


@pytest.fixture(name="make_wheel")
def _wheel_maker() -> Callable[..., Path]:
    """``make_wheel(folder, name, version, *requires, tag=…, content=…)``: a wheel that pip and uv accept."""
    return _make_wheel


@pytest.fixture(name="sha256")
def _file_hasher() -> Callable[[Path], str]:
    return _sha256


@dataclass
class Index:
    """A running index over one folder. ``asked`` are the paths of its requests, in order."""

    folder: Path
    address: str = ""
    port: int = 0
    asked: list[str] = field(default_factory=list)
    authorizations: list[str] = field(default_factory=list)
    user: str = ""  # "name:password" where it wants one
    json: bool = True
    hashes: bool = True
    failures: list[int] = field(default_factory=list)  # statuses to answer with first
    redirect: str = ""
    answer: bytes = b""  # instead of any page
    wheel_seconds: float = 0
    metadata: bool = False  # METADATA beside each wheel (PEP 658)
    ranges: bool = True
    yanked: tuple[str, ...] = ()  # file names
    uploaded: dict[str, str] = field(default_factory=dict)  # file name to time
    pythons: dict[str, str] = field(default_factory=dict)  # file name to what the page says of Python
    sent_bytes: int = 0  # of wheels
    protocol: str = "HTTP/1.0"  # 1.1 keeps connections
    connections: int = 0
    sizes: bool = False  # the size of each file (PEP 700)
    answer_kind: str = "application/vnd.pypi.simple.v1+json"  # of ``answer``
    etags: bool = False
    modified: str = ""  # Last-Modified of every page
    reasons: dict[str, str] = field(default_factory=dict)  # file name to why it was withdrawn
    page_seconds: float = 0
    drops: int = 0  # requests to hang up on
    slow: dict[str, float] = field(default_factory=dict)  # path to seconds
    broken_off: int = 0  # bytes that every page lacks at its end
    chunked: bool = False
    statuses: list[int] = field(default_factory=list)
    certificate: tuple[str, str] | None = None  # certificate and key: HTTPS
    client_authority: str = ""  # whose certificate a client must show
    host: str = "127.0.0.1"
    headers: list[dict[str, str]] = field(default_factory=list)

    @property
    def url(self) -> str:
        user = f"{self.user}@" if self.user else ""
        return f"{'https' if self.certificate else 'http'}://{user}{self.host}:{self.port}/simple"


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Callable[..., Index]]:
    """``serve(folder, **how)`` starts an index on a free port of the loopback interface."""
    servers: list[ThreadingHTTPServer] = []

    def start(folder: Path, **how: object) -> Index:
        index = Index(folder=folder, **how)  # type: ignore[arg-type]
        server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(index))
        if index.certificate:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(*index.certificate)
            if index.client_authority:
                context.load_verify_locations(index.client_authority)
                context.verify_mode = ssl.CERT_REQUIRED
            server.socket = context.wrap_socket(server.socket, server_side=True)
        server.handle_error = lambda *_: None  # type: ignore[method-assign]  # a client that went away
        servers.append(server)
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        index.port = server.server_address[1]
        return index

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def html(python: str) -> str:
    return f' data-requires-python="{escape(python)}"'


def _handler(index: Index) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = index.protocol

        def setup(self) -> None:
            index.connections += 1
            super().setup()

        def log_message(self, format: str, *args: object) -> None:
            pass

        def do_HEAD(self) -> None:
            self.do_GET()

        def do_GET(self) -> None:
            index.asked.append(self.path)
            index.authorizations.append(self.headers.get("Authorization", ""))
            index.headers.append(dict(self.headers.items()))
            if not self.path.startswith("/files/"):
                time.sleep(index.slow.get(self.path, index.page_seconds))
            if index.drops:
                index.drops -= 1
                self.close_connection = True
                return
            wanted = f"Basic {base64.b64encode(index.user.encode()).decode()}"
            if index.failures:
                self.send(index.failures.pop(0), b"", "text/plain")
            elif index.user and self.headers.get("Authorization") != wanted:
                self.send(401, b"", "text/plain")
            elif index.redirect:
                self.send(302, b"", "text/plain", Location=index.redirect + self.path)
            elif self.path.endswith(".whl.metadata"):
                wheel = index.folder / unquote(self.path.rpartition("/")[2]).removesuffix(".metadata")
                with zipfile.ZipFile(wheel) as archive:
                    (name,) = (n for n in archive.namelist() if n.endswith("/METADATA"))
                    self.send(200, archive.read(name), "application/zip")
            elif self.path.startswith("/files/") and index.ranges and "Range" in self.headers:
                content = (index.folder / unquote(self.path.rpartition("/")[2])).read_bytes()
                first, last = self.headers["Range"].removeprefix("bytes=").split("-")
                start = int(first) if first else max(0, len(content) - int(last))
                part = content[start : int(last) + 1 if first else None]
                index.sent_bytes += len(part)
                where = f"bytes {start}-{start + len(part) - 1}/{len(content)}"
                self.send(206, part, "application/zip", Content_Range=where)
            elif self.path.startswith("/files/"):
                time.sleep(index.wheel_seconds)
                file = index.folder / unquote(self.path.rpartition("/")[2])
                self.send(200, file.read_bytes(), "application/zip")
            elif index.answer:
                self.send(200, index.answer, index.answer_kind)
            else:
                self.listing(self.path.partition("?")[0].strip("/").rpartition("/")[2])

        def listing(self, package: str) -> None:
            files = sorted((*index.folder.glob("*.whl"), *index.folder.glob("*.tar.gz")))
            wheels = [file for file in files if file.name.split("-")[0].replace("_", "-") == package]
            if wheels:
                self.page(package, wheels)
            else:
                self.send(404, b"", "text/plain")

        def page(self, package: str, wheels: list[Path]) -> None:
            if index.json and "json" in self.headers.get("Accept", ""):
                entries = [
                    {
                        "filename": wheel.name,
                        "url": f"/files/{wheel.name}",
                        "hashes": {"sha256": _sha256(wheel)} if index.hashes else {},
                        "core-metadata": index.metadata,
                        "yanked": index.reasons.get(wheel.name, wheel.name in index.yanked),
                        **({"size": wheel.stat().st_size} if index.sizes else {}),
                        **({"upload-time": index.uploaded[wheel.name]} if wheel.name in index.uploaded else {}),
                        **({"requires-python": index.pythons[wheel.name]} if wheel.name in index.pythons else {}),
                    }
                    for wheel in wheels
                ]
                body = json.dumps({"meta": {"api-version": "1.0"}, "name": package, "files": entries}).encode()
                return self.send(200, body, "application/vnd.pypi.simple.v1+json")
            said = 'data-core-metadata="true"' if index.metadata else ""
            anchors = (
                f'<a href="/files/{w.name}{"#sha256=" + _sha256(w) if index.hashes else ""}" {said}'
                f"{' data-yanked=why' if w.name in index.yanked else ''}"
                f"{html(index.pythons[w.name]) if w.name in index.pythons else ''}"
                f"{' data-yanked=' + quoteattr(index.reasons[w.name]) if w.name in index.reasons else ''}>{w.name}</a>"
                for w in wheels
            )
            return self.send(200, "\n".join(("<!DOCTYPE html>", *anchors)).encode(), "text/html")

        def send(self, status: int, body: bytes, kind: str, **headers: str) -> None:
            if status == 200 and (index.etags or index.modified) and not self.path.startswith("/files/"):
                given = {"ETag": f'"{hashlib.sha256(body).hexdigest()}"'} if index.etags else {}
                given |= {"Last_Modified": index.modified} if index.modified else {}
                headers |= given
                same = self.headers.get("If-None-Match", "no") == given.get("ETag")
                if same or self.headers.get("If-Modified-Since", "no") == given.get("Last_Modified"):
                    status, body = 304, b""
            index.statuses.append(status)
            zipped = "gzip" in self.headers.get("Accept-Encoding", "") and kind != "application/zip"
            if zipped:
                body = gzip.compress(body)
                headers["Content-Encoding"] = "gzip"
            self.send_response(status)
            length = {"Transfer-Encoding": "chunked"} if index.chunked else {"Content-Length": str(len(body))}
            for name, value in {"Content-Type": kind, **length, **headers}.items():
                self.send_header(name.replace("_", "-"), value)
            self.end_headers()
            if index.chunked:
                body = b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body) if body else b"0\r\n\r\n"
            if self.command != "HEAD":
                self.wfile.write(body[: len(body) - index.broken_off])
            if index.broken_off:
                self.close_connection = True

    return Handler


@pytest.fixture
def wheels(tmp_path: Path) -> Path:
    """A find-links folder: app needs lib; lib comes in two versions."""
    folder = tmp_path / "wheels"
    _make_wheel(folder, "app", "1.0", "lib>=1")
    _make_wheel(folder, "lib", "1.0")
    _make_wheel(folder, "lib", "1.1")
    return folder


@pytest.fixture
def offline(wheels: Path) -> IndexSettings:
    """Settings that know the ``wheels`` folder and no index at all."""
    return IndexSettings(no_index=True, find_links=(str(wheels),))
