"""``lock --check`` over every lock in git: against the user's indexes, and against a mirror nearby whose pages have validators.

Run with ``make bench``. The user's own index may name no validator (a plain mirror does not): then each page is sent
again and only the reading of it is saved.
"""

from __future__ import annotations

import datetime
import hashlib
import os
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from provision import index
from provision.lock import offered, transport, variants
from provision.lock.pages import Pages
from provision.lock.text import parse
from tests.bench import measure

ROUNDS = 5
SECONDS = 2.0
WARM = "provision lock --check"


@pytest.fixture
def mirror() -> Iterator[tuple[str, int]]:
    """The pages of the user's index, from this machine's memory, each with an ETag; and how many bytes they are."""
    settings = Pages(index.read()).settings
    opener = transport.opener(settings)
    locks = (measure.ROOT / "lockfiles" / f"{variant.name}.txt" for variant in variants.load())
    names = {pin.name for lock in locks for pin in parse(lock.read_text()).pins}
    pages: dict[str, bytes] = {}
    for name in sorted(names):
        asked = transport.request(f"{settings.index_url.rstrip('/')}/{name}/", Accept=offered.ACCEPT)
        with opener.open(asked, timeout=60) as answer:
            pages[f"/simple/{name}/"] = answer.read()
    tags = {path: f'"{hashlib.sha256(page).hexdigest()}"' for path, page in pages.items()}

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, format: str, *args: object) -> None:
            pass

        def do_GET(self) -> None:
            page, tag = pages.get(self.path, b""), tags.get(self.path, "")
            status = 404 if not page else 304 if self.headers.get("If-None-Match") == tag else 200
            body = page if status == 200 else b""
            self.send_response(status)
            self.send_header("Content-Type", "application/vnd.pypi.simple.v1+json")
            self.send_header("Content-Length", str(len(body)))
            self.send_header("ETag", tag)
            self.end_headers()
            self.wfile.write(body)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}/simple", sum(map(len, pages.values()))
    server.shutdown()
    server.server_close()


def test_every_lock_in_git(tmp_path: Path, mirror: tuple[str, int]) -> None:
    provision = str(Path(sys.executable).with_name("provision"))
    address, size = mirror

    def check(cache: str, *, cold: bool = False, **settings: str) -> list[str]:
        folder = tmp_path / cache
        given = {"PROVISION_CACHE": str(folder), **settings}
        forget = f"rm -rf '{folder}'; " if cold else ""
        return ["env", *(f"{n}={v}" for n, v in given.items()), "sh", "-c", f"{forget}exec '{provision}' lock --check"]

    commands = {
        WARM: check("warm"),
        "the same, nothing kept": check("cold", cold=True),
        "the same, a mirror with ETags": check("tags", PIP_INDEX_URL=address),
        "provision lock --check --offline": [provision, "lock", "--check", "--offline"],
    }
    timings = measure.side_by_side(commands, ROUNDS)
    locks = len(variants.load())
    text = (
        f"{datetime.date.today().isoformat()}, {measure.machine()}, load {os.getloadavg()[1]:.1f}; `make bench`; median of "
        f"{ROUNDS} rounds, one command after the other in every round. {locks} locks, pages of {size / 1e6:.0f} MB, from a "
        f"mirror nearby.\n\n{measure.table(timings, WARM)}"
    )
    measure.record("lock-check", text)
    assert {one.statuses for one in timings.values()} <= {(0,), (1,)}
    assert timings["the same, a mirror with ETags"].fastest <= SECONDS
