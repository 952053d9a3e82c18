"""Keys, a right bundle, and two ways to make wrong ones of it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from provision.bundle import signing, writing
from tests.bundle.build import FILES, Keys, make_key, raw_members, write


@pytest.fixture(scope="session")
def keys(tmp_path_factory: pytest.TempPathFactory, can_install: Callable[[str, str, str], None]) -> Keys:
    can_install("ssh-keygen", "openssh-client", "no OpenSSH")
    folder = tmp_path_factory.mktemp("keys")
    for name in ("me", "stranger"):
        make_key(folder / name)
    (folder / "allowed").write_text(f"me@site {(folder / 'me.pub').read_text()}")
    return Keys(folder)


@pytest.fixture(scope="session")
def good(tmp_path_factory: pytest.TempPathFactory, keys: Keys) -> Path:
    """A right bundle of ``FILES``, never to be changed."""
    return write(tmp_path_factory.mktemp("good") / "site.bundle", keys.me, FILES)


@pytest.fixture
def rebuilt(good: Path, tmp_path: Path) -> Callable[..., Path]:
    """``rebuilt(change)``: the good bundle with its raw members, by path and in order, changed by ``change``."""

    def make(change: Callable[[dict[str, bytes]], object]) -> Path:
        members = raw_members(good)
        change(members)
        path = tmp_path / "rebuilt.bundle"
        path.write_bytes(b"".join(members.values()) + bytes(1024))
        return path

    return make


@pytest.fixture
def resigned(tmp_path: Path, keys: Keys) -> Callable[..., Path]:
    """``resigned(manifest bytes, raw members)``: a bundle whose trusted maker signed that manifest."""

    def make(data: bytes, members: bytes = b"") -> Path:
        path = tmp_path / "resigned.bundle"
        writing.write(path, data, signing.sign(keys.me, data), [])
        path.write_bytes(path.read_bytes()[:-1024] + members + bytes(1024))
        return path

    return make
