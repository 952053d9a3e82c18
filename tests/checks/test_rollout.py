"""ROL: both sides of every threshold."""

from __future__ import annotations

from typing import Any

import pytest

from provision import image
from provision.checks.rollout import image as rollout
from provision.facts.docker import Docker, Image, Images

LOCK = "1" * 64


def test_the_label_is_the_one_that_the_build_writes() -> None:
    assert rollout.LOCK_LABEL == image.LOCK_LABEL


def labelled(a: Any, **labels: str) -> Images:
    return a(Images, images=(a(Image, labels=tuple(labels.items())),))


@pytest.mark.parametrize(("lock", "found"), [(LOCK, 0), ("2" * 64, 1)])
def test_rol001_wants_the_plans_lock(a: Any, messages: Any, lock: str, found: int) -> None:
    assert len(messages("ROL001", labelled(a, **{image.LOCK_LABEL: lock}))) == found


def test_rol001_says_which_locks(a: Any, messages: Any) -> None:
    said = "provision/smoke:cu130-111111111111 was built from {}; the plan's is smoke-cu130-py311 (111111111111)"
    assert messages("ROL001", labelled(a, **{image.LOCK_LABEL: "2" * 64})) == [said.format("lock 222222222222")]
    assert messages("ROL001", labelled(a)) == [said.format("no lock that it names")]


def test_rol001_leaves_an_image_that_is_not_there_to_rol002(a: Any, run_check: Any) -> None:
    assert run_check("ROL001", a(Images, images=())).outcome == "skipped"


@pytest.mark.parametrize(("tag", "found"), [("cu130-111111111111", 0), ("cu130-222222222222", 1)])
def test_rol002_wants_the_planned_image(a: Any, messages: Any, tag: str, found: int) -> None:
    images = a(Images, images=(a(Image, tags=(f"provision/smoke:{tag}",)),))
    assert len(messages("ROL002", images)) == found


@pytest.mark.parametrize(("restore", "running", "found"), [(True, 3, 0), (False, 0, 0), (False, 1, 1)])
def test_rol003_wants_containers_to_survive(a: Any, messages: Any, restore: bool, running: int, found: int) -> None:
    assert len(messages("ROL003", a(Docker, live_restore=restore, running_containers=running))) == found


def test_rol003_says_how_many(a: Any, messages: Any) -> None:
    said = "live-restore is off: the next restart of the engine stops {}"
    one, two = (messages("ROL003", a(Docker, live_restore=False, running_containers=n)) for n in (1, 2))
    assert one == [said.format("1 running container")]
    assert two == [said.format("2 running containers")]
