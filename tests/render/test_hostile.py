"""A hostile provision.toml through the commands themselves: data in every rendered file, or refused at load with exit 2."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from .test_render import BUNDLED, HOSTILE

# Where the machine's name is carried, each read back below; nothing else of a spec's free text is rendered.
CARRIERS = {"manifest.json", "vars.yml"}
MARK = "provision-hostile"


@pytest.fixture(scope="module")
def facts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("facts") / "facts.json"
    done = provision(path.parent, "facts", "-o", str(path))
    assert done.returncode == 0, done.stderr
    return path


def provision(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "provision", *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


def write_spec(folder: Path, name: str, model: str, label: str) -> None:
    words = {"machine": name, "model": model, "label": label}
    machine, model, label = (json.dumps(words[key], ensure_ascii=False) for key in ("machine", "model", "label"))
    labels = f"[image.labels]\nteam = {label}\n{label} = {label}\n"
    (folder / "provision.toml").write_text(f"[machine]\nname = {machine}\n[model]\nname = {model}\n{labels}")


@pytest.mark.parametrize("value", HOSTILE)
def test_plan_and_render_carry_it_as_data(tmp_path: Path, facts: Path, value: str) -> None:
    hostile = f"{MARK} {value}"
    shutil.copytree(BUNDLED, tmp_path / hostile)  # a model that is neither published nor there is refused
    write_spec(tmp_path, hostile, hostile, hostile)
    planned = provision(tmp_path, "plan", "--json", "--facts", str(facts))
    assert planned.returncode == 0, planned.stderr
    plan: dict[str, Any] = json.loads(planned.stdout)
    assert plan["machine"] == plan["model"] == hostile
    assert plan["rollout"]["labels"] == plan["rollout"]["labels"] | {"team": hostile, hostile: hostile}
    rendered = provision(tmp_path, "render")
    assert rendered.returncode == 0, rendered.stderr
    (run,) = (tmp_path / ".provision").glob("*/runs/0001")
    assert run.parents[2] == tmp_path / ".provision", "the name stays one folder"
    files = [path for path in (run / "rendered").rglob("*") if path.is_file()]
    assert {path.name for path in files if MARK in path.read_text()} == CARRIERS
    assert json.loads((run / "rendered/manifest.json").read_text())["machine"] == hostile
    assert variables(run / "rendered/vars.yml")["provision_machine"] == ("unsafe", hostile)


def variables(path: Path) -> dict[str, Any]:
    class Loader(yaml.SafeLoader):
        pass

    Loader.add_constructor("!unsafe", lambda loader, node: ("unsafe", loader.construct_scalar(node)))
    found: dict[str, Any] = yaml.load(path.read_text(), Loader=Loader)
    return found


@pytest.mark.parametrize("field", ["name", "model", "label"])
@pytest.mark.parametrize("value", ["a\nUSER root", "a\rb", "a\x00b", "a\x1b[2Jb", "a\u2028b"])
def test_what_no_line_can_carry_is_refused_at_load(tmp_path: Path, facts: Path, field: str, value: str) -> None:
    write_spec(tmp_path, **{"name": "gpu-07", "model": "bundled", "label": "ml", field: value})
    done = provision(tmp_path, "plan", "--facts", str(facts))
    assert done.returncode == 2, done.stderr
    assert done.stdout == "" and done.stderr.startswith("provision: provision.toml: ")
    assert "expected one line without control characters" in done.stderr
    assert not (tmp_path / ".provision").exists()
