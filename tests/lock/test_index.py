"""The index settings, read from the real pip, and handed to the real pip and uv."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from provision import index
from provision.errors import ChangeError, UsageError
from provision.index import IndexSettings
from provision.lock.resolve import RESOLVERS, Resolver, resolve
from provision.lock.target import Target

TARGET = Target(python=f"{sys.version_info[0]}.{sys.version_info[1]}", glibc="2.36", machine="x86_64")


@pytest.fixture
def bare(tmp_path: Path) -> dict[str, str]:
    """An environment in which the user has configured nothing."""
    return {
        "PATH": os.environ["PATH"],
        "HOME": str(tmp_path),
        "XDG_CONFIG_DIRS": str(tmp_path),
        "PIP_CONFIG_FILE": os.devnull,
        "UV_NO_CONFIG": "1",
    }


def test_nothing_configured(bare: dict[str, str]) -> None:
    assert index.read(bare) == IndexSettings()


def test_variables_and_their_units(bare: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    given_variables = {
        "PIP_INDEX_URL": "https://u:p@mirror.test/simple",
        "PIP_EXTRA_INDEX_URL": "https://one.test/s https://two.test/s",
        "PIP_FIND_LINKS": "wheels https://links.test/page.html",
        "PIP_NO_INDEX": "true",
        "PIP_CERT": "/etc/ca.pem",
        "PIP_CLIENT_CERT": "/etc/me.pem",
        "PIP_TRUSTED_HOST": "mirror.test other.test:8443",
        "PIP_PROXY": "http://proxy.test:3128",
        "PIP_CONSTRAINT": "limits.txt",
        "PIP_DEFAULT_TIMEOUT": "180",
    }
    assert index.read(bare | given_variables) == IndexSettings(
        index_url="https://u:p@mirror.test/simple",
        extra_index_urls=("https://one.test/s", "https://two.test/s"),
        find_links=(str(tmp_path / "wheels"), "https://links.test/page.html"),
        no_index=True,
        constraints=(str(tmp_path / "limits.txt"),),
        certificate="/etc/ca.pem",
        client_certificate="/etc/me.pem",
        trusted_hosts=("mirror.test", "other.test:8443"),
        proxy="http://proxy.test:3128",
        timeout_seconds=180,
    )


@pytest.mark.parametrize(("said", "none"), [("1", True), ("yes", True), ("0", False), ("", False)])
def test_offline_means_no_index_whatever_else_is_set(bare: dict[str, str], said: str, none: bool) -> None:
    read = index.read(bare | {"PIP_INDEX_URL": "https://mirror.test/simple", "PROVISION_OFFLINE": said})
    assert (read.no_index, read.index_url) == (none, "https://mirror.test/simple")


@pytest.mark.parametrize("name", ["PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL", "PIP_FIND_LINKS"])
def test_an_address_that_is_none_is_named(bare: dict[str, str], name: str) -> None:
    with pytest.raises(UsageError, match=r"http://\[x/simple: no address of a package index"):
        index.read({**bare, name: "http://[x/simple"})


def test_a_variable_beats_install_which_beats_global(bare: dict[str, str], tmp_path: Path) -> None:
    file = tmp_path / "pip.conf"
    file.write_text(
        "[global]\nindex-url = https://global.test/s\ncert = /g.pem\nextra-index-url =\n    https://a.test/s\n"
        "    https://b.test/s\n[install]\nindex-url = https://install.test/s\ncert = /i.pem\n"
    )
    settings = index.read(bare | {"PIP_CONFIG_FILE": str(file), "PIP_CERT": "/v.pem"})
    assert settings.index_url == "https://install.test/s"
    assert settings.certificate == "/v.pem"
    assert settings.extra_index_urls == ("https://a.test/s", "https://b.test/s")


def test_what_is_set_for_uv_joins_what_is_set_for_pip(bare: dict[str, str], tmp_path: Path) -> None:
    file = tmp_path / "uv.toml"
    file.write_text(
        'find-links = ["/from-file"]\n[[index]]\nurl = "https://file.test/s"\ndefault = true\n'
        '[[index]]\nurl = "https://more.test/s"\n[[index]]\nurl = "https://named-only.test/s"\nexplicit = true\n'
    )
    variables = {
        "UV_NO_CONFIG": "",
        "UV_CONFIG_FILE": str(file),
        "UV_INDEX": "inner=https://uv.test/s?a=b",
        "UV_FIND_LINKS": "/one,/two",
        "PIP_EXTRA_INDEX_URL": "https://pip.test/s",
    }
    settings = index.read(bare | variables)
    assert settings.index_url == "https://file.test/s"
    assert settings.extra_index_urls == ("https://pip.test/s", "https://uv.test/s?a=b", "https://more.test/s")
    assert settings.find_links == ("/one", "/two", "/from-file")
    both = index.read(bare | variables | {"PIP_INDEX_URL": "https://pip-first.test/s"})
    assert both.index_url == "https://pip-first.test/s"


def test_a_broken_uv_file_is_named(bare: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "uv.toml").write_text("index-url = [")
    with pytest.raises(UsageError, match=r"uv\.toml: uv's settings cannot be read"):
        index.read(bare | {"UV_NO_CONFIG": "", "UV_CONFIG_FILE": str(tmp_path / "uv.toml")})


def test_an_interpreter_without_pip_is_named(bare: dict[str, str], tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(tmp_path / "venv")], check=True)
    python = str(tmp_path / "venv" / "bin" / "python")
    with pytest.raises(ChangeError, match="No module named pip") as caught:
        index.read(bare, python)
    assert caught.value.next_command == f"{python} -m ensurepip"


def test_pip_tells_its_default_index_whatever_the_user_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_INDEX_URL", "https://mirror.test/simple")
    address = index.default_index_url()
    assert address.startswith("https://")
    assert "mirror.test" not in address


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("https://u:p@h.test/simple/x", "https://****@h.test/simple/x"),
        ("see https://token@h.test:8443, then", "see https://****@h.test:8443, then"),
        ("https://u:p@ss@h.test/", "https://****@h.test/"),
        ("https://h.test/simple?sig=abc#sha256=1", "https://h.test/simple?****#sha256=1"),
        ("git+ssh://me:word@h.test/r", "git+ssh://****@h.test/r"),
        ("file:///a/b@c", "file:///a/b@c"),
        ("nobody@h.test wrote it", "nobody@h.test wrote it"),
        ("'http://a:b@c.test' and \"http://d:e@f.test\"", "'http://****@c.test' and \"http://****@f.test\""),
    ],
)
def test_redact(text: str, shown: str) -> None:
    assert index.redact(text) == shown


WORD = st.text(st.characters(codec="ascii", categories=["L", "N"]), min_size=12, max_size=24)


@given(user=WORD, password=WORD, host=WORD)
def test_a_password_never_survives_redaction(user: str, password: str, host: str) -> None:
    address = f"https://{user}:{password}%2F@{host}.test/simple"
    settings = IndexSettings(index_url=address, proxy=f"http://{password}:{user}@proxy.test")
    said = settings.redact(f"tried {address}, then {password}/ alone") + repr(settings) + index.redact(address)
    assert password not in said.replace(host, "")


@pytest.mark.parametrize("resolver", RESOLVERS)
def test_both_resolvers_go_where_the_settings_say_and_nowhere_else(
    resolver: Resolver,
    wheels: Path,
    serve: Callable,
    make_wheel: Callable,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    """An index with a password, an extra index, a folder, a constraint; and a pip.conf that must not leak in."""
    main, extra, stray = tmp_path / "main", tmp_path / "extra", tmp_path / "stray"
    make_wheel(main, "root", "1.0", "lib", "other")
    make_wheel(extra, "other", "3.0")
    make_wheel(stray, "lib", "9.0")
    conf = tmp_path / "pip.conf"
    conf.write_text(f"[global]\nfind-links = {stray}\n")
    monkeypatch.setenv("PIP_CONFIG_FILE", str(conf))
    monkeypatch.delenv("PIP_FIND_LINKS", raising=False)
    monkeypatch.setenv("UV_FIND_LINKS", str(stray))
    monkeypatch.setenv("UV_RESOLUTION", "lowest")
    make_wheel(wheels, "lib", "0.1")
    (tmp_path / "limits.txt").write_text("lib<1.1\n")
    settings = IndexSettings(
        index_url=serve(main, user="me:secret").url,
        extra_index_urls=(serve(extra).url,),
        find_links=(str(wheels),),
        constraints=(str(tmp_path / "limits.txt"),),
        certificate=os.environ.get("PIP_CERT", ""),
    )
    pins = resolve("root\n", target=TARGET, settings=settings, resolver=resolver)
    assert [(pin.name, pin.version, pin.via) for pin in pins] == [
        ("lib", "1.0", ("root",)),
        ("other", "3.0", ("root",)),
        ("root", "1.0", ("the input",)),
    ]


@pytest.mark.parametrize("resolver", RESOLVERS)
def test_what_the_settings_do_not_name_is_not_asked(
    resolver: Resolver,
    wheels: Path,
    serve: Callable,
    make_wheel: Callable,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    """A pip.conf with a folder and an index of its own; the settings in hand know neither."""
    make_wheel(tmp_path / "stray", "lib", "9.0")
    stray = serve(tmp_path / "stray")
    (tmp_path / "pip.conf").write_text(
        f"[global]\nfind-links = {tmp_path / 'stray'}\nextra-index-url = {stray.url}\nconstraint = /nowhere.txt\n"
    )
    monkeypatch.setenv("PIP_CONFIG_FILE", str(tmp_path / "pip.conf"))
    monkeypatch.delenv("PIP_FIND_LINKS", raising=False)
    pins = resolve("lib\n", target=TARGET, settings=IndexSettings(index_url=serve(wheels).url), resolver=resolver)
    assert [(pin.name, pin.version) for pin in pins] == [("lib", "1.1")]
    assert stray.asked == []


@pytest.mark.parametrize("resolver", RESOLVERS)
def test_a_resolver_that_fails_does_not_tell_the_password(
    resolver: Resolver, wheels: Path, serve: Callable, tmp_path: Path
) -> None:
    settings = IndexSettings(index_url=serve(wheels, user="me:s3cr3t-word").url)
    with pytest.raises(ChangeError) as caught:
        resolve("app==7\n", target=TARGET, settings=settings, resolver=resolver)
    assert "app==7" in caught.value.message
    assert "s3cr3t-word" not in caught.value.message
