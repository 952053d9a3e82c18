"""``provision lock --check`` as a command: what it prints and its exit code, with and without indexes."""

from __future__ import annotations

import importlib.metadata
import os
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from provision.cli import main
from provision.lock import checking, variants
from provision.lock.text import parse

ROOT = Path(__file__).parents[2]
(ATHERIS,) = parse((ROOT / "lockfiles" / "fuzz-py311.txt").read_text()).pins


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    """``lock --check fuzz-py311`` for a user who has set only what is given here."""
    for name in [each for each in os.environ if each.startswith(("PIP_", "UV_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("UV_NO_CONFIG", "1")
    monkeypatch.setenv("PROVISION_CACHE", str(tmp_path / "cache"))

    def check(*words: str, **settings: str) -> Result:
        for name, value in settings.items():
            monkeypatch.setenv(name, value)
        return CliRunner().invoke(main, ["lock", "--check", "fuzz-py311", *words])

    return check


@pytest.fixture
def has_atheris(serve: Callable):
    """An index whose page of atheris has a wheel with a hash of the lock."""
    page = (
        f'{{"files": [{{"filename": "atheris-{ATHERIS.version}-cp311-cp311-manylinux_2_17_x86_64.whl", "url": "/a", '
        f'"hashes": {{"sha256": "{ATHERIS.sha256[0]}"}}, "yanked": YANKED}}]}}'
    )

    def start(yanked: str = "false"):
        return serve(Path("/nowhere"), answer=page.replace("YANKED", yanked).encode())

    return start


def test_it_stands(run: Callable, has_atheris: Callable) -> None:
    index = has_atheris()
    done = run(PIP_INDEX_URL=index.url)
    assert (done.exit_code, done.output) == (0, "fuzz-py311: stands\n")
    assert index.asked == ["/simple/atheris/"]


def test_a_withdrawn_version_is_a_finding(run: Callable, has_atheris: Callable) -> None:
    index = has_atheris('"breaks on 3.11"')
    done = run(PIP_INDEX_URL=index.url)
    assert done.exit_code == 1
    assert done.output == (
        f"fuzz-py311.txt:{ATHERIS.line}: atheris {ATHERIS.version} was withdrawn (yanked) by {index.url}/atheris/: "
        "breaks on 3.11; provision lock fuzz-py311 --upgrade atheris\n"
    )


def test_a_silent_index_is_neither_fine_nor_a_finding(run: Callable) -> None:
    done = run(PIP_INDEX_URL="http://me:s3cr3t-word@127.0.0.1:9/simple")
    assert (done.exit_code, done.output.splitlines()) == (
        3,
        [
            "fuzz-py311: its files stand",
            "not looked at: whether a locked wheel was withdrawn, replaced or is gone: "
            "http://****@127.0.0.1:9/simple/: did not answer: [Errno 111] Connection refused",
        ],
    )


def test_what_is_wrong_with_the_files_is_said_without_an_index(run: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    """A finding beats what could not be looked at, and both are said."""
    fuzz = variants.find("fuzz-py311")
    wrong = variants.Variant(**{**{n: getattr(fuzz, n) for n in fuzz.__dataclass_fields__}, "forbidden": ("atheris",)})
    monkeypatch.setattr(variants, "find", lambda _: wrong)
    done = run(PIP_INDEX_URL="http://127.0.0.1:9/simple")
    assert done.exit_code == 1
    assert "does not belong here" in done.output
    assert "not looked at: " in done.output


@pytest.mark.parametrize(
    ("words", "settings", "why"),
    [
        (["--offline"], {}, "--offline"),
        ([], {"PIP_NO_INDEX": "1"}, "no-index is set"),
        ([], {"PROVISION_OFFLINE": "1"}, "PROVISION_OFFLINE is set"),
    ],
)
def test_who_wants_no_index_gets_the_files(
    words: list[str], settings: dict[str, str], why: str, run: Callable, has_atheris: Callable
) -> None:
    index = has_atheris()
    done = run(*words, PIP_INDEX_URL=index.url, **settings)
    assert (done.exit_code, done.output.splitlines()) == (
        0,
        [
            "fuzz-py311: its files stand",
            f"not looked at: whether a locked wheel was withdrawn, replaced or is gone ({why})",
        ],
    )
    assert index.asked == []


def test_the_default_index_is_kept_for_one_pip_alone(
    run: Callable, has_atheris: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A pip in another place may name another index in its help, though it is of the same release."""
    index, asked = has_atheris(), []
    monkeypatch.setattr("provision.index.default_index_url", lambda *_: asked.append(1) or index.url)
    for place, times in (("/one", 1), ("/one", 1), ("/other", 2)):
        monkeypatch.setattr(importlib.metadata.PathDistribution, "locate_file", lambda *_, place=place: Path(place))
        assert run().exit_code == 0
        assert len(asked) == times


def test_an_audit_says_who_wanted_no_index(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PROVISION_OFFLINE", "1")
    done = CliRunner().invoke(main, ["lock", "--audit", "fuzz-py311"])
    assert (done.exit_code, done.output) == (0, "not looked at: known vulnerabilities (PROVISION_OFFLINE is set)\n")


@pytest.mark.parametrize(("also_wrong", "code"), [(False, 3), (True, 1)])
def test_an_input_whose_source_cannot_be_read_was_not_looked_at(also_wrong: bool, code: int, tmp_path: Path) -> None:
    """Neither a finding nor fine: nobody knows whether the input changed."""
    tool = variants.find("tool-py311")
    for name in ("tool-py311.in", "tool-py311.txt", "pylock.tool-py311.toml"):
        (tmp_path / name).write_bytes((ROOT / "lockfiles" / name).read_bytes())
    if also_wrong:
        (tmp_path / "tool-py311.txt").write_text((tmp_path / "tool-py311.txt").read_text() + "app>=1\n")
    said, found = checking.check((tool,), lockfiles=tmp_path, pyproject=tmp_path / "none.toml", offline=True)
    assert "whether the input changed is not known" in said
    assert found == code


def test_pip_settings_that_cannot_be_read(run: Callable, tmp_path: Path) -> None:
    (tmp_path / "pip.conf").write_text("no section\n")
    done = run(PIP_CONFIG_FILE=str(tmp_path / "pip.conf"))
    assert done.exit_code == 3
    assert "fuzz-py311: its files stand" in done.output
    assert "pip config list failed" in done.output


def test_a_cache_that_cannot_be_written_is_said(run: Callable, has_atheris: Callable, tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file where the folder should be")
    done = run(PIP_INDEX_URL=has_atheris().url)
    assert done.exit_code == 0
    assert re.search(r"cache/pages\.json: not written \(.*\); the next check reads every page again", done.stderr)


@pytest.mark.network
def test_the_locks_in_git_are_looked_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the user's own indexes. That something was withdrawn today is no fault of this code; not to have looked is."""
    monkeypatch.setenv("PROVISION_CACHE", str(tmp_path))
    for _ in ("cold", "warm"):
        done = CliRunner().invoke(main, ["lock", "--check"])
        assert "not looked at" not in done.output
        assert done.exit_code in {0, 1}
        for variant in variants.load():
            assert f"{variant.name}: stands" in done.output or f"{variant.name}.txt:" in done.output
