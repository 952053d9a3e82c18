"""What apply and undo refuse before anything is touched."""

from __future__ import annotations

import json

import pytest

from provision import apply, codec, evidence
from provision.errors import ChangeError, UsageError
from provision.recorded import RecordedHost

NOBODY = RecordedHost({"user": {"known": {"uid": 1000, "gids": [1000], "limits": {}}}})
ROOT = RecordedHost({"user": {"known": {"uid": 0, "gids": [0], "limits": {}}}})


def test_without_root_the_way_on_is_sudo(a_plan, snapshot, tmp_path) -> None:
    with pytest.raises(ChangeError) as caught:
        apply.apply(tmp_path, tmp_path, a_plan, snapshot(), host=NOBODY)
    assert caught.value.message == "changing this machine needs root; nothing was changed"
    assert caught.value.next_command == "run with sudo: sudo provision up"
    assert not (tmp_path / "replaced").exists()


def test_another_plans_files_are_refused(a_plan, manifest, snapshot, tmp_path) -> None:
    other = codec.dump(manifest) | {"plan": "f" * 64}
    (tmp_path / "manifest.json").write_text(json.dumps(other))
    with pytest.raises(UsageError, match="was rendered from plan ffffffffffff, not from"):
        apply.apply(tmp_path, tmp_path, a_plan, snapshot(), host=ROOT)


def test_an_unknown_role_is_named_with_the_nearest(a_plan, snapshot, tmp_path) -> None:
    with pytest.raises(UsageError, match=r"storag: no role of that name .did you mean .storage"):
        apply.apply(tmp_path, tmp_path, a_plan, snapshot(), only="storag", host=ROOT)


def test_a_run_that_changed_nothing_has_nothing_to_take_back(tmp_path) -> None:
    with pytest.raises(UsageError, match="nothing was applied in this run"):
        evidence.read(tmp_path)


def test_a_link_in_the_place_of_a_file_is_not_replaced(a_plan, manifest) -> None:
    paths = "/etc /etc/cni /etc/docker /etc/docker/daemon.json /etc/provision /etc/provision/offline.env"
    more = "/opt/containerd /run/containerd /run/docker /var /var/lib /var/lib/containerd /var/lib/docker"
    ours = "/var/lib/provision /var/lib/provision/engine"
    asked = sorted([*paths.split(), *more.split(), *ours.split(), "/var/lib/provision/runs"])
    question = f"run stat --format=%F|%a|%U|%G|%n -- {' '.join(asked)}"
    host = RecordedHost({question: {"known": "symbolic link|777|root|root|/etc/docker/daemon.json\n"}})
    with pytest.raises(ChangeError, match=r"daemon\.json is a symbolic link, not a plain file; it is not replaced"):
        evidence.look(host, manifest, a_plan)
