"""A server with systemd, from bare to applied and back: facts, roles, repair, reboot, undo. The tests stand in this order."""

from __future__ import annotations

import json
from typing import Any

import pytest

pytestmark = pytest.mark.vm
ENABLED = "systemctl is-active docker.service; systemctl is-enabled docker.service"
ENV = "/etc/provision/offline.env"


def facts(vm: Any) -> dict[str, Any]:
    """Every known fact by name, as ``provision facts`` writes them."""
    vm.provision("facts -o facts.json")
    return dict(json.loads(vm.run("cat /root/facts.json").stdout)["facts"])


def apply(vm: Any, run: str) -> list[str]:
    """Plan and apply, as a user does without a terminal; what was changed."""
    vm.provision("plan")
    done = vm.provision("apply")
    results = vm.results(run)
    changed = [result["item"] or result["task"] for result in results if result["changed"]]
    assert f"changed={len(changed)}, failures=0" in done.stdout
    return changed


def packages(vm: Any) -> list[str]:
    return vm.run("dpkg-query -W -f '${Package} ${Version} ${db:Status-Status}\\n'").stdout.splitlines()


@pytest.fixture(scope="module")
def bare(vm: Any) -> Any:
    """What the machine was like before the first change."""
    vm.before = packages(vm)
    return vm


def test_the_facts_of_a_server_with_systemd(bare: Any) -> None:
    seen = facts(bare)
    print(json.dumps(seen, indent=1))
    assert False
