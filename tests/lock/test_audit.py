"""``lock --audit``: the real pip-audit, asking a real server that speaks OSV's interface."""

from __future__ import annotations

import json
import os
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from provision.cli import main
from provision.index import IndexSettings
from provision.lock.audit import Vulnerability, audit
from provision.lock.text import Lock, Pin
from provision.lock.withdrawn import NotLooked

ROOT = Path(__file__).parents[2]


def vulnerability(name: str, identity: str, *fixed: str, **more: Any) -> dict[str, Any]:
    events = [{"introduced": "0"}, *({"fixed": version} for version in fixed)]
    affected = {"package": {"name": name, "ecosystem": "PyPI"}, "ranges": [{"type": "ECOSYSTEM", "events": events}]}
    return {"id": identity, "summary": "bad", "affected": [affected], "schema_version": "1.4.0", **more}


KNOWN: dict[tuple[str, str], list[dict[str, Any]]] = {
    ("lib", "1.0"): [
        vulnerability("lib", "PYSEC-1", "1.2", "1.1", aliases=["CVE-2026-1", "GHSA-x"]),
        vulnerability("lib", "PYSEC-2"),
        vulnerability("lib", "PYSEC-3", "1.1", withdrawn="2026-01-01T00:00:00Z"),
    ],
    ("torch", "2.13.0"): [vulnerability("torch", "PYSEC-9", "2.14.0", aliases=["CVE-2026-9\x1b[31m"])],
}


class Service:
    """What was asked, and how to answer."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str]] = []
        self.status = 200
        self.body: bytes | None = None
        self.url = ""


@pytest.fixture
def service(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Service]:
    """A vulnerability service, which pip-audit is told of as any user would tell it."""
    state = Service()

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, format: str, *args: object) -> None:
            pass

        def do_POST(self) -> None:
            query = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            asked = (query["package"]["name"], query["version"])
            state.asked.append(asked)
            found = KNOWN.get(asked, [])
            body = json.dumps({"vulns": found} if found else {}).encode() if state.body is None else state.body
            self.send_response(state.status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    state.url = f"http://127.0.0.1:{server.server_address[1]}/v1/query"
    monkeypatch.setenv("PIP_AUDIT_VULNERABILITY_SERVICE", "osv")
    monkeypatch.setenv("PIP_AUDIT_OSV_URL", state.url)
    monkeypatch.setenv("PROVISION_CACHE", str(tmp_path / "cache"))
    yield state
    server.shutdown()
    server.server_close()


def lock(*pins: str) -> Lock:
    split = [pin.partition("==") for pin in pins]
    return Lock(pins=tuple(Pin(name=name, version=version) for name, _, version in split), input_sha256="")


def test_each_version_is_asked_for_once_and_named_with_what_fixes_it(service: Service) -> None:
    locks = {
        "one": lock("app==1.0", "lib==1.0", "torch==2.13.0+cpu"),
        "two": lock("lib==1.0"),
        "three": lock("lib==1.1"),
    }
    seen = audit(locks, IndexSettings())
    assert seen.vulnerabilities == (
        Vulnerability(
            package="lib",
            version="1.0",
            names=("PYSEC-1", "CVE-2026-1", "GHSA-x"),
            fixed_in=("1.1", "1.2"),
            locks=("one", "two"),
        ),
        Vulnerability(package="lib", version="1.0", names=("PYSEC-2",), fixed_in=(), locks=("one", "two")),
        Vulnerability(
            package="torch",
            version="2.13.0+cpu",
            names=("PYSEC-9", "CVE-2026-931m"),
            fixed_in=("2.14.0",),
            locks=("one",),
        ),
    )
    assert (seen.not_looked, seen.looked_at) == ((), 4)
    assert sorted(service.asked) == [("app", "1.0"), ("lib", "1.0"), ("lib", "1.1"), ("torch", "2.13.0")]


@pytest.mark.parametrize(("status", "body"), [(500, None), (200, b"<html>"), (403, b"")])
def test_a_service_that_gives_no_answer(status: int, body: bytes | None, service: Service) -> None:
    service.status, service.body = status, body
    seen = audit({"one": lock("lib==1.0", "app==1.0")}, IndexSettings())
    assert (seen.vulnerabilities, seen.looked_at) == ((), 0)
    (silent,) = seen.not_looked
    assert silent.packages == ("app 1.0", "lib 1.0")
    assert "PIP_AUDIT_OSV_URL" in silent.reason


def test_a_service_that_cannot_be_reached_and_no_password(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_AUDIT_OSV_URL", "http://me:s3cr3t-word@127.0.0.1:9/v1/query")
    (silent,) = audit({"one": lock("lib==1.0")}, IndexSettings()).not_looked
    assert "Connection refused" in silent.reason
    assert "s3cr3t-word" not in silent.reason


def test_a_service_that_hangs(service: Service) -> None:
    wait = (sys.executable, "-c", "import time; time.sleep(60)")
    seen = audit({"one": lock("lib==1.0")}, IndexSettings(), command=wait, seconds=0.5)
    assert seen.not_looked == (NotLooked(place="pip-audit", reason="no answer within 0.5 s", packages=("lib 1.0",)),)


@pytest.mark.parametrize("output", ["", "null", "[]", '{"dependencies": [{}]}', '{"dependencies": []}'])
def test_an_output_that_is_no_answer(output: str, service: Service) -> None:
    seen = audit({"one": lock("lib==1.0")}, IndexSettings(), command=(sys.executable, "-c", f"print({output!r})"))
    assert [each.packages for each in seen.not_looked] == [("lib 1.0",)]
    assert seen.looked_at == 0


def test_what_the_service_does_not_know_was_not_looked_at(service: Service) -> None:
    """pip-audit itself calls this fine: exit 0, "No known vulnerabilities found"."""
    rows = {"dependencies": [{"name": "lib", "skip_reason": "not found: lib (1.0)"}, {"name": "app", "vulns": []}]}
    say = (sys.executable, "-c", f"print({json.dumps(rows)!r})")
    seen = audit({"one": lock("lib==1.0+cpu", "app==1.0")}, IndexSettings(), command=say)
    assert seen.not_looked == (NotLooked(place="pip-audit", reason="not found", packages=("lib 1.0+cpu",)),)
    assert seen.looked_at == 1


def test_without_pip_audit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    monkeypatch.setenv("PATH", "/nowhere")
    (silent,) = audit({"one": lock("lib==1.0")}, IndexSettings()).not_looked
    assert "pip-audit is not installed: python -m pip install pip-audit" in silent.reason


def test_the_users_proxy_and_certificates_reach_it(service: Service, tmp_path: Path) -> None:
    names = ("REQUESTS_CA_BUNDLE", "HTTPS_PROXY")
    show = (sys.executable, "-c", f"import os, sys; sys.exit(' '.join(os.environ[n] for n in {names!r}))")
    settings = IndexSettings(certificate="/ca.pem", proxy="http://me:s3cr3t-word@proxy.test:3128")
    (silent,) = audit({"one": lock("lib==1.0")}, settings, command=show).not_looked
    assert silent.reason.startswith("/ca.pem http://****@proxy.test:3128; ")


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., Any]:
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.delenv("PIP_NO_INDEX", raising=False)
    monkeypatch.setattr("provision.lock.command.checkout", lambda: (tmp_path, ROOT / "pyproject.toml"))
    (tmp_path / "fuzz-py311.txt").write_text("lib==1.0\n")
    return lambda *words: CliRunner().invoke(main, ["lock", "--audit", "fuzz-py311", *words])


def test_the_command_warns(service: Service, run: Callable) -> None:
    """A warning, exit code 0; with --strict 1; beside --check that one's findings count."""
    done = run()
    assert (done.exit_code, done.stdout.splitlines()) == (
        0,
        [
            "warning: lib 1.0: PYSEC-1 (CVE-2026-1, GHSA-x), fixed in 1.1, 1.2; in fuzz-py311",
            "warning: lib 1.0: PYSEC-2, no version is named that fixes it; in fuzz-py311",
            "known vulnerabilities: 2, of 1 locked versions looked at",
        ],
    )
    assert run("--strict").exit_code == 1
    both = run("--check", "--offline")
    assert (both.exit_code, both.stdout.splitlines()[-1]) == (1, "not looked at: known vulnerabilities (--offline)")


def test_the_command_says_what_it_could_not_look_at(service: Service, run: Callable) -> None:
    service.status = 500
    done = run()
    assert done.exit_code == 3
    first, second = done.stdout.splitlines()
    assert first == "known vulnerabilities: 0, of 0 locked versions looked at"
    assert second.startswith("not looked at: known vulnerabilities of all: pip-audit: ")


def test_no_index_asks_no_service(service: Service, run: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    done = run()
    assert (done.exit_code, done.stdout) == (0, "not looked at: known vulnerabilities (no-index is set)\n")
    assert service.asked == []


@pytest.mark.network
def test_the_real_service(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """jinja2 2.4.1 is known to be vulnerable. Where no service answers, that is what must be said, and this is a skip."""
    monkeypatch.setenv("PROVISION_CACHE", str(tmp_path))
    seen = audit({"one": lock("jinja2==2.4.1")}, IndexSettings(certificate=os.environ.get("PIP_CERT", "")))
    if seen.not_looked:
        assert (seen.looked_at, seen.vulnerabilities) == (0, ())
        pytest.skip(f"no vulnerability service: {seen.not_looked[0].reason}")
    assert seen.looked_at == 1
    assert "CVE-2014-1402" in {name for each in seen.vulnerabilities for name in each.names}
    assert all(each.fixed_in for each in seen.vulnerabilities)
