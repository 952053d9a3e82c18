"""What the documents show is what the tree holds."""

from __future__ import annotations

import dataclasses
import re
import shlex
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
import tomllib

from provision import check, codec
from provision.cli import main
from provision.reading import FORMATS
from provision.spec import ModelSpec, Spec, check_values

ROOT = Path(__file__).parents[1]


def blocks(document: str) -> list[str]:
    """The Python blocks of a document, without their indentation."""
    found = re.findall(r"^ *```python\n(.*?)^ *```$", (ROOT / document).read_text(), re.MULTILINE | re.DOTALL)
    return [textwrap.dedent(block).strip() for block in found]


def test_contributing_shows_code_that_is_there() -> None:
    shown = blocks("CONTRIBUTING.md")
    sources = [path.read_text() for folder in ("checks", "tests/checks") for path in (ROOT / folder).rglob("*.py")]
    assert len(shown) == 2
    assert [block for block in shown if not any(block in source for source in sources)] == []


@pytest.mark.parametrize("document", ["README.md", "CONTRIBUTING.md", "docs/architecture.md"])
def test_every_file_and_target_named_is_there(document: str) -> None:
    text = (ROOT / document).read_text()
    named = set(re.findall(r"`((?:checks|tests|provision|lockfiles|playbooks|templates|docs|\.ci)/[\w./-]+)`", text))
    targets = set(re.findall(r"`(?:sudo )?make ([a-z-]+)`", text))
    makefile = (ROOT / "Makefile").read_text()
    assert named and targets
    assert [name for name in sorted(named) if not (ROOT / name).exists()] == []
    assert [target for target in sorted(targets) if not re.search(rf"^{target}:", makefile, re.MULTILINE)] == []


@pytest.mark.parametrize(
    ("document", "schema"),
    [("github.yml", ("github-workflows",)), ("gitlab.yml", ("gitlab-ci", "--data-transform=gitlab-ci"))],
)
def test_the_ci_examples_are_what_github_and_gitlab_take(document: str, schema: tuple[str, ...]) -> None:
    """Held to their own schemas, which check-jsonschema brings."""
    name, *more = schema
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", f"vendor.{name}", *more]
    done = subprocess.run([*command, str(ROOT / "docs/ci" / document)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("document", ["README.md", "docs/ci/github.yml", "docs/ci/gitlab.yml"])
def test_every_doctor_command_shown_is_one(document: str) -> None:
    """Each ``provision doctor …`` and ``provision facts …`` in the document has options that the command line knows."""
    text = (ROOT / document).read_text()
    shown = re.findall(r"provision (doctor|facts)((?: +(?:--?[a-z]+|[\w.]+\.(?:json|xml|sarif|toml)|[a-z]+))*)", text)
    assert shown
    for name, words in shown:
        command = main.commands[name]
        known = {option for parameter in command.params for option in parameter.opts}
        assert {word for word in words.split() if word.startswith("-")} <= known, words
        for form in re.findall(r"--format (\w+)", words):
            assert form in FORMATS


def test_the_readmes_provision_toml_is_one() -> None:
    """Its blocks together; [model] has every key that there is."""
    written = "".join(re.findall(r"^```toml\n(.*?)^```$", (ROOT / "README.md").read_text(), re.MULTILINE | re.DOTALL))
    written = written.replace("…64 hex digits…", "0" * 64)
    spec = codec.load(Spec, {**tomllib.loads(written), "accept": ()})
    check_values(spec)
    assert spec.expect.gpus == 8
    assert tomllib.loads(written)["model"].keys() == {field.name for field in dataclasses.fields(ModelSpec)}
    check.load()
    assert {entry["code"] for entry in tomllib.loads(written)["accept"]} <= set(check.CHECKS)


def test_every_rule_names_a_test_that_is_there() -> None:
    text = (ROOT / "docs/architecture.md").read_text()
    rows = re.findall(r"^\| (\d+) \|(.*)$", text, re.MULTILINE)
    assert [number for number, _ in rows] == [str(n) for n in range(1, 11)]
    assert [number for number, row in rows if not re.search(r"`tests/[\w/]+\.py", row)] == []
    named = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", text)
    assert [pair for pair in named if f"def {pair[1]}(" not in (ROOT / pair[0]).read_text()] == []


def test_the_readme_shows_what_the_commands_say() -> None:
    shown = re.findall(r"^\$ provision ([^\n]*)\n(.*?)^```$", (ROOT / "README.md").read_text(), re.M | re.S)
    assert [command.split()[0] for command, _ in shown] == ["doctor", "fit"]
    for command, said in shown:
        words = [sys.executable, "-m", "provision", *shlex.split(command)]
        done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False)
        assert (done.returncode, done.stderr) == (1, "")
        if command.startswith("doctor"):  # what follows counts checks, and a new check must not change the README
            assert said.endswith("\n…\n")
            assert done.stdout.startswith(said.removesuffix("…\n"))
        else:
            assert done.stdout == said
