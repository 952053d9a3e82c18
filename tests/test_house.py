"""The house's rules, each as a test over the tree."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest
import tomllib

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "provision"
# Each folder of provision/ is walked once, under its own name (checks and the others are links).
MODULES = sorted(p for p in PACKAGE.rglob("*.py") if "__pycache__" not in p.parts)
MODULES += sorted(p for p in (ROOT / "checks").rglob("*.py") if "__pycache__" not in p.parts)
MAX_LINES = 320
TRAVELS = (
    *("child", "codec", "elf", "errors", "fact", "host", "facts", "files", "installed", "local", "overlay", "record"),
    "unix_http",
)
TRAVEL_ALLOWED = set(TRAVELS)


def name_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts if parts[0] == "provision" else ("provision", *parts)).removesuffix(".__init__")


def imports(path: Path) -> set[str]:
    """Every module a file imports, wherever in the file."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            found |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def at_top_level(path: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            found.add(node.module.split(".")[0])
    return found


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(ROOT)))
def test_module_is_small_and_says_what_it_is(path: Path) -> None:
    text = path.read_text()
    assert len(text.splitlines()) <= MAX_LINES, "split it"
    assert ast.get_docstring(ast.parse(text)), "a module says what it is in its first line"
    assert not {"utils", "helpers", "common", "misc"} & set(path.with_suffix("").parts)


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(ROOT)))
def test_only_report_and_payload_print(path: Path) -> None:
    name = name_of(path)
    if name.startswith(("provision.report", "provision.payload", "provision.facts.nvml_child")):
        return
    calls = [n for n in ast.walk(ast.parse(path.read_text())) if isinstance(n, ast.Call)]
    assert not [c.lineno for c in calls if isinstance(c.func, ast.Name) and c.func.id == "print"]


@pytest.mark.parametrize(
    "path", [p for p in MODULES if name_of(p).split(".")[1:2] and name_of(p).split(".")[1] in TRAVELS], ids=name_of
)
def test_the_collector_is_standard_library_only(path: Path) -> None:
    ours = {m.split(".")[1] for m in imports(path) if m.startswith("provision.") and m != "provision"}
    others = {m.split(".")[0] for m in imports(path)} - {"provision"} - set(sys.stdlib_module_names)
    assert ours <= TRAVEL_ALLOWED
    assert others <= ({"pynvml"} if path.name == "nvml_child.py" else set())


@pytest.mark.parametrize("path", [p for p in MODULES if name_of(p).startswith("provision.payload")], ids=name_of)
def test_payload_imports_nothing_of_ours(path: Path) -> None:
    assert not [m for m in imports(path) if m.startswith("provision") and not m.startswith("provision.payload")]


@pytest.mark.parametrize("path", [p for p in MODULES if name_of(p).startswith("provision.checks")], ids=name_of)
def test_checks_do_no_io_and_import_one_way(path: Path) -> None:
    allowed = {"check", "fact", "facts", "spec", "plan", "catalog", "roadblock", "checks", "record"}
    assert {m.split(".")[1] for m in imports(path) if m.startswith("provision.")} <= allowed
    assert not imports(path) & {"os", "subprocess", "socket", "shutil", "urllib", "tempfile"}
    opened = [
        n
        for n in ast.walk(ast.parse(path.read_text()))
        if isinstance(n, ast.Call) and getattr(n.func, "id", "") == "open"
    ]
    assert not opened


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(ROOT)))
def test_heavy_imports_stay_inside_functions(path: Path) -> None:
    assert not at_top_level(path) & {
        "torch",
        "docker",
        "jinja2",
        "ansible",
        "yaml",
        "packaging",
        "transformers",
        "requests",
        "pynvml",
    }


HEAVY = ("torch", "docker", "jinja2", "ansible", "yaml", "requests", "transformers", "packaging", "pynvml", "uv")


PASTED = str(ROOT / "tests/paste/dumps/collect_env_vllm.txt")


@pytest.mark.parametrize(
    "arguments", [["--help"], ["doctor"], ["doctor", "--from", PASTED]], ids=["--help", "doctor", "doctor --from"]
)
def test_start_up_imports_nothing_heavy(arguments: list[str], tmp_path: Path) -> None:
    script = (
        "import sys\nfrom provision.cli import main\n"
        "try:\n    main(sys.argv[1:])\nexcept SystemExit:\n    pass\n"
        f"print('HEAVY', sorted(set(m.split('.')[0] for m in sys.modules) & set({HEAVY!r})))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, *arguments], capture_output=True, text=True, cwd=tmp_path, check=True
    )
    assert done.stdout.splitlines()[-1] == "HEAVY []"


@pytest.mark.parametrize(("model", "used"), [("bundled", False), ("Qwen3-8B", True)])
def test_a_model_is_sized_only_for_who_plans_one(model: str, used: bool, tmp_path: Path) -> None:
    """The doctor's start-up budget: for the bundled model neither the arithmetic nor the folder of models is touched."""
    (tmp_path / "provision.toml").write_text(f'[model]\nname = "{model}"\n')
    script = (
        "import sys\nseen = []\n"
        "sys.addaudithook(lambda event, given: seen.append(str(given[0])) if event in ('open', 'os.scandir', 'os.listdir')"
        " else None)\n"
        "from provision.cli import main\n"
        "try:\n    main(sys.argv[1:])\nexcept SystemExit:\n    pass\n"
        "print('FIT', any(m.startswith('provision.fit') for m in sys.modules), any('catalog/models' in p for p in seen))"
    )
    facts = str(ROOT / "tests/machines/gpu-h100.json")
    command = [sys.executable, "-c", script, "doctor", "--facts", facts]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=True)
    assert done.stdout.splitlines()[-1] == f"FIT {used} {used}"


def test_the_permitted_skips_can_be_read() -> None:
    """It is read only when something is skipped: two entries that a merge ran into one would end that run, not this one."""
    rows = tomllib.loads((ROOT / "tests" / "permitted_skips.toml").read_text())["skip"]
    assert all({"test", "reason"} <= row.keys() <= {"test", "reason", "not_in_ci"} for row in rows)
