"""One Jinja pass: the same plan gives the same bytes, and hostile values come out as data."""

from __future__ import annotations

import dataclasses
import importlib.util
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from provision import plan, render, spec
from provision.errors import Refused
from provision.spec_storage import PlacedModel, StorageSpec

SPEC = importlib.util.spec_from_file_location("planning", Path(__file__).parents[1] / "test_plan.py")
assert SPEC and SPEC.loader
planning: Any = importlib.util.module_from_spec(SPEC)
sys.modules["planning"] = planning
SPEC.loader.exec_module(planning)

BUNDLED = Path(plan.__file__).parents[1] / "payload/smoke/model"
HOSTILE = [
    'it\'s "quoted"',
    "{{ 7 * 7 }}",
    "{{ lookup('pipe', 'touch /tmp/provision-was-here') }}",
    "{% for x in y %}",
    "$(touch /tmp/provision-was-here)",
    "`id`",
    "!unsafe x",
    "a: b # c",
    "- [x, {y: z}]",
    '\\n \\ \\" \\$HOME',
    "日本語 \U0001f600",
    "%(asctime)s %s",
]


def tree(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def made(**changes: Any) -> plan.Plan:
    return plan.make(planning.machine(), spec.Spec(**changes))


def test_the_same_plan_gives_the_same_bytes(tmp_path: Path) -> None:
    render.render(made(), tmp_path / "a")
    render.render(made(), tmp_path / "b")
    assert tree(tmp_path / "a") == tree(tmp_path / "b")


def test_a_machine_that_is_right_renders_the_same_files_as_one_that_is_not(tmp_path: Path) -> None:
    bare = made()
    render.render(bare, tmp_path / "bare")
    right = plan.make(planning.applied(bare, planning.machine()), spec.Spec(), previous=bare)
    render.render(right, tmp_path / "right")
    assert tree(tmp_path / "bare") == tree(tmp_path / "right")


def test_every_file_of_the_manifest_is_there_and_names_its_section(tmp_path: Path) -> None:
    manifest = render.render(made(), tmp_path)
    assert manifest.files
    for entry in manifest.files:
        text = (tmp_path / entry.source).read_text()
        if not entry.destination.endswith(".json"):  # JSON has no comments: its section stands in the manifest
            assert f"plan section {entry.section}" in text


def test_a_volume_brings_its_files_and_none_does_not(tmp_path: Path) -> None:
    with_it = made(storage=planning.VOLUME)
    files = {f.destination: f for f in render.render(with_it, tmp_path / "a").files}
    volume = with_it.storage.volume
    assert volume is not None
    rules = "/etc/udev/rules.d/65-provision-read-ahead.rules"
    conf = "/etc/mdadm/mdadm.conf.d/provision.conf"
    assert {"/etc/fstab", rules, conf} <= files.keys()
    assert files["/etc/fstab"].shared and not files[conf].shared
    for file in ("/etc/fstab", rules, conf):
        assert "plan section storage" in (tmp_path / "a" / files[file].source).read_text()
    assert f"UUID={volume.mdadm_uuid}\n" in (tmp_path / "a/files" / conf[1:]).read_text()
    rule = (tmp_path / "a/files" / rules[1:]).read_text().splitlines()[-1]
    assert f'ENV{{ID_FS_UUID}}=="{volume.filesystem_uuid}"' in rule and rule.endswith(
        'ATTR{queue/read_ahead_kb}="4096"'
    )
    alone = made(storage=StorageSpec(disks=("S1",), level="single"))
    without = {f.destination for f in render.render(alone, tmp_path / "b").files}
    assert "/etc/fstab" in without and not {rules, conf} & without
    assert not {"/etc/fstab", rules, conf} & {f.destination for f in render.render(made(), tmp_path / "c").files}


@pytest.mark.parametrize("value", HOSTILE)
def test_a_hostile_file_name_of_a_model_comes_out_as_data(tmp_path: Path, value: str) -> None:
    import yaml

    model = PlacedModel(source=f"/m/{value}", sha256={value: "0" * 64}, folder="m")
    render.render(made(storage=dataclasses.replace(planning.VOLUME, model=model)), tmp_path)

    class Loader(yaml.SafeLoader):
        pass

    Loader.add_constructor("!unsafe", lambda loader, node: ("unsafe", loader.construct_scalar(node)))
    read = yaml.load((tmp_path / "vars.yml").read_text(), Loader=Loader)["storage_volume"]["model"]
    assert read["source"] == ("unsafe", f"/m/{value}") and list(read["sha256"]) == [value]


@pytest.mark.parametrize("value", HOSTILE)
def test_a_hostile_name_or_label_comes_out_as_data(tmp_path: Path, value: str) -> None:
    import yaml

    folder = tmp_path / "models" / value  # a model that is neither published nor there is refused
    shutil.copytree(BUNDLED, folder)
    hostile = made(
        machine=spec.MachineSpec(name=value),
        model=spec.ModelSpec(name=str(folder)),
        image=spec.ImageSpec(labels={"team": value}),
    )
    render.render(hostile, tmp_path)

    class Loader(yaml.SafeLoader):
        pass

    Loader.add_constructor("!unsafe", lambda loader, node: ("unsafe", loader.construct_scalar(node)))
    variables = yaml.load((tmp_path / "vars.yml").read_text(), Loader=Loader)
    assert variables["provision_machine"] == ("unsafe", value)
    assert json.loads((tmp_path / "manifest.json").read_text())["machine"] == value


@pytest.mark.parametrize("value", HOSTILE)
def test_ansible_itself_prints_the_value_and_runs_nothing(tmp_path: Path, value: str) -> None:
    hostile = made(machine=spec.MachineSpec(name=value))
    render.render(hostile, tmp_path)
    (tmp_path / "play.yml").write_text(
        "- hosts: all\n  gather_facts: false\n  tasks:\n"
        "    - ansible.builtin.copy: {content: '{{ provision_machine }}', dest: '{{ playbook_dir }}/out', mode: '0600'}\n"
    )
    command = [
        str(Path(sys.executable).with_name("ansible-playbook")),
        "-i",
        "inventory.yml",
        "-e",
        "@vars.yml",
        "play.yml",
    ]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert (tmp_path / "out").read_text() == value
    assert not Path("/tmp/provision-was-here").exists()


def test_every_string_that_is_not_empty_is_unsafe(tmp_path: Path) -> None:
    import yaml

    render.render(made(), tmp_path)
    document = yaml.compose((tmp_path / "vars.yml").read_text())
    tags = {node.value: node.tag for node in scalars(document) if node.tag.endswith(("str", "unsafe"))}
    assert "/etc/docker/daemon.json" in tags
    assert {value for value, tag in tags.items() if tag != "!unsafe"} == {""}


def scalars(node: Any) -> list[Any]:
    """Every scalar below a YAML node that is a value; keys are ours."""
    if hasattr(node.value, "lower"):
        return [node]
    below = [pair[1] if isinstance(pair, tuple) else pair for pair in node.value]
    return [found for one in below for found in scalars(one)]


@pytest.mark.parametrize("value", ["a\nb", "a\x00b", "a\rb"])
def test_what_a_dockerfile_cannot_carry_is_refused(value: str) -> None:
    with pytest.raises(Refused):
        render.dockerfile_string(value)


def test_a_dockerfile_string_is_no_variable_and_no_escape() -> None:
    assert render.dockerfile_string('a"b\\c$HOME') == '"a\\"b\\\\c\\$HOME"'


def test_an_environment_file_carries_plain_characters_only() -> None:
    assert render.env_value("expandable_segments:True") == "expandable_segments:True"
    with pytest.raises(Refused):
        render.env_value("$(id)")


def test_a_template_that_names_an_unknown_value_fails(tmp_path: Path) -> None:
    import jinja2

    with pytest.raises(jinja2.UndefinedError):
        render._environment().from_string("{{ nowhere }}").render()


def test_the_plan_decides_the_tag(tmp_path: Path) -> None:
    one = made()
    other = dataclasses.replace(one, rollout=dataclasses.replace(one.rollout, tag="cpu-ffffffffffff"))
    assert one.digest != other.digest


def test_an_empty_string_stays_an_empty_string_in_ansible(tmp_path: Path) -> None:
    (tmp_path / "vars.yml").write_text(f"value: {render.unsafe_yaml({'a': ''})}\n")
    (tmp_path / "play.yml").write_text(
        "- hosts: localhost\n  gather_facts: false\n  tasks:\n"
        '    - ansible.builtin.assert: {that: ["value.a is string", "value.a == \'\'"]}\n'
    )
    command = [str(Path(sys.executable).with_name("ansible-playbook")), "-e", "@vars.yml", "play.yml"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
