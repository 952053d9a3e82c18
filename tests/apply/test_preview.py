"""What is foreseen, one difference at a time."""

from __future__ import annotations

import pytest

from provision import roles
from provision.evidence import Ours
from provision.fact import Absent, Missing
from provision.facts.docker import Images
from provision.facts.units import Unit, Units
from provision.preview import preview, unified

from .conftest import WANTED, docker

DAEMON, OFFLINE = WANTED


@pytest.fixture
def foresee(a_plan, manifest, snapshot, present):
    def make(facts=None, ours=Ours(), wanted=None, only=None, **differences):  # noqa: B008 (frozen)
        seen = present(**differences)
        return preview(a_plan, snapshot(**(facts or {})), manifest, wanted or WANTED, seen, ours, roles.tags(only))

    return make


def test_a_machine_that_is_right_has_nothing_to_change(foresee) -> None:
    assert foresee() == ()


def test_a_missing_package_is_named(foresee) -> None:
    (change,) = foresee(packages=("docker.io",))
    assert (change.kind, change.what, change.additive) == ("package", "python3-apt", True)


def test_one_role_alone_is_asked_for_its_own_changes_only(foresee) -> None:
    different = {
        "files": {DAEMON: "{}\n", OFFLINE: None},
        "packages": ("docker.io",),
        "facts": {"images": Absent("none")},
    }
    assert [c.what for c in foresee(**different, only="isolation")] == [OFFLINE]
    assert [c.what for c in foresee(**different, only="dependencies")][-3:] == [DAEMON, "python3-apt", "docker"]


def test_a_new_file_is_an_addition(foresee) -> None:
    (change,) = foresee(files={OFFLINE: None})
    assert change.detail == f"--- /dev/null\n+++ {OFFLINE}\n@@ -0,0 +1 @@\n+HF_HUB_OFFLINE=1\n"
    assert change.additive and change.needs is None


def test_a_file_of_ours_that_was_altered_is_put_right(foresee) -> None:
    (change,) = foresee(files={OFFLINE: "HF_HUB_OFFLINE=0"})
    assert change.detail.splitlines()[3:] == ["-HF_HUB_OFFLINE=0", "\\ No newline at end of file", "+HF_HUB_OFFLINE=1"]
    assert change.additive and change.needs is None


def test_a_mode_is_a_change_too(foresee) -> None:
    (change,) = foresee(modes={OFFLINE: "0600"})
    assert change.detail == "mode 0600 -> 0644"


def test_somebody_elses_settings_need_a_name(foresee) -> None:
    changes = foresee(files={DAEMON: "{}\n"})
    assert [(c.what, c.needs, c.additive) for c in changes] == [(DAEMON, "config", False), ("docker", None, True)]
    assert changes[1].detail == f"restart it: {DAEMON} changes"


def test_settings_that_an_earlier_run_made_are_ours(foresee) -> None:
    changes = foresee(files={DAEMON: "{}\n"}, ours=Ours(files=frozenset({DAEMON})))
    assert [c.needs for c in changes] == [None, None]


@pytest.mark.parametrize(
    ("containers", "live_restore", "needs"), [(0, False, None), (1, False, "config"), (1, True, None)]
)
def test_a_restart_that_stops_containers_needs_a_name(foresee, containers, live_restore, needs) -> None:
    facts = {"Docker": docker(running_containers=containers, live_restore=live_restore)}
    unit = foresee(facts, ours=Ours(files=frozenset({DAEMON})), files={DAEMON: None})[-1]
    assert (unit.kind, unit.needs) == ("unit", needs)


def test_a_stopped_engine_is_started(foresee) -> None:
    (change,) = foresee({"Docker": Absent("/run/docker.sock is not there")})
    assert (change.kind, change.detail, change.previewable) == ("unit", "start it under systemd", True)


@pytest.mark.parametrize(
    ("enabled", "details"), [("enabled", []), ("disabled", ["enable it, so that it starts with the machine"])]
)
def test_an_engine_that_will_not_come_back_is_enabled(foresee, enabled, details) -> None:
    unit = Unit(name="docker.service", active=True, state="active", enabled=enabled, reload_needed=False)
    changes = foresee({"Units": Units(manager="systemd", units=(unit,))})
    assert [(c.kind, c.detail, c.additive) for c in changes] == [("unit", detail, True) for detail in details]


def test_an_engine_that_cannot_be_asked_is_not_called_running(foresee) -> None:
    (change,) = foresee({"Docker": Missing("permission denied")})
    assert (change.previewable, change.reason) == (False, "permission denied")


def test_what_stands_on_a_missing_engine_says_so(foresee) -> None:
    gone = {"Docker": Absent("x"), "Images": Absent("x")}
    package, unit, image = foresee(gone, packages=("python3-apt",))
    assert package.what == "docker.io" and package.previewable
    assert unit.reason == "it stands on a package that is not installed yet"
    assert image.reason == "no engine is installed yet"


def test_an_image_that_is_not_there_is_built(foresee) -> None:
    (change,) = foresee({"Images": Images(images=())})
    assert (change.kind, change.what, change.previewable) == ("image", "provision/smoke:cpu-0", False)


def test_missing_folders_come_first(foresee) -> None:
    folders = ("/etc/provision", "/var/lib/provision", "/var/lib/provision/runs", "/var/lib/docker")
    changes = foresee(missing_folders=folders)
    assert [c.what for c in changes] == ["/etc/provision", "/var/lib/provision", "/var/lib/provision/runs"]


def test_a_diff_against_nothing_is_a_new_file() -> None:
    assert unified("/x", None, "a\n").startswith("--- /dev/null\n+++ /x\n")
    assert unified("/x", "a\n", "a\n") == ""
