"""A volume for weights on a server with systemd: two NVMe disks and a rotating one. The tests stand in this order.

Alone: ``make test-vm VM_TESTS=tests/vm/test_volume.py``.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from .conftest import Drive, booted

pytestmark = [pytest.mark.vm, pytest.mark.vm_long]
DISKS = (Drive("nvme", "stripe0"), Drive("nvme", "stripe1"), Drive("rotating", "turning", label="mine"))
VOLUME = "/opt/tool/checkout/playbooks/roles/storage/files/volume.py"
# Large enough that its copy can be broken off in the middle: 96 MiB took seconds under emulation (2026-11-24).
WEIGHTS_BYTES = 96 << 20
NAME = "tiny"
FILES = "find /etc /srv /var/lib/provision -xdev -printf '%p %y %m %u\\n' 2>/dev/null | sort"
PACKAGES = "dpkg-query -W -f '${Package} ${db:Status-Status}\\n'"
YES = "apply --only storage --allow disks --yes"
# Ansible's caches and backups, as any installation leaves them.
CHANGED_BY_ANY_INSTALLATION = ("/etc/ld.so.cache", "/etc/group-", "/etc/gshadow-", "/etc/passwd-")


@pytest.fixture(scope="module")
def vm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    with booted(tmp_path_factory.mktemp("volume"), DISKS) as machine:
        machine.run(
            f"mkdir -p /root/{NAME}/sub && head -c {WEIGHTS_BYTES} /dev/urandom > /root/{NAME}/model.safetensors"
        )
        machine.run(f"echo '{{}}' > /root/{NAME}/sub/config.json")
        machine.sums = dict(
            reversed(line.split("  "))
            for line in machine.run(
                f"cd /root/{NAME} && sha256sum model.safetensors sub/config.json"
            ).stdout.splitlines()
        )
        machine.run("mkswap -L old /dev/nvme1n1")
        machine.before = {
            "files": machine.run(FILES).stdout.splitlines(),
            "packages": machine.run(PACKAGES).stdout.splitlines(),
        }
        machine.fstab = machine.run("cat /etc/fstab").stdout
        yield machine


def wish(vm: Any, *disks: str, wipe: tuple[str, ...] = (), level: str = "raid0") -> None:
    """provision.toml in the machine."""
    sums = ", ".join(f'"{name}" = "{digest}"' for name, digest in vm.sums.items())
    text = f"""[storage]
disks = {json.dumps(disks)}
level = "{level}"
read_ahead_kib = 4096
wipe = {json.dumps(wipe)}
[storage.model]
source = "/root/{NAME}"
sha256 = {{ {sums} }}
"""
    vm.run(f"cat > /root/provision.toml <<'END'\n{text}END")


def changed(vm: Any) -> list[str]:
    return [result["task"] for result in vm.results() if result["changed"]]


def outcomes(vm: Any) -> dict[str, tuple[str, list[str]]]:
    """The volume's checks, and every error that was found."""
    judged = json.loads(vm.provision("doctor --format json", check=False).stdout)
    return {
        r["code"]: (r["outcome"], [f["message"] for f in r["findings"]])
        for r in judged["results"]
        if r["code"].startswith("STO11")
        or r["outcome"] == "crashed"
        or (r["outcome"] == "found" and r["severity"] == "error")
    }


def is_there(vm: Any) -> None:
    """The array, its mount by UUID, its read-ahead, the model."""
    (array,) = (line for line in vm.run("cat /proc/mdstat").stdout.splitlines() if line.startswith("md"))
    assert "active raid0" in array and "nvme0n1" in array and "nvme1n1" in array
    device = f"/dev/{array.split()[0]}"
    source, filesystem, options = vm.run(
        "findmnt --noheadings --output SOURCE,FSTYPE,OPTIONS /srv/models"
    ).stdout.split()
    assert (source, filesystem) == (device, "xfs") and "noatime" in options.split(",")
    assert "sunit=" in options, "xfs knows the array's stripes"
    (line,) = (line for line in vm.run("cat /etc/fstab").stdout.splitlines() if "/srv/models" in line)
    assert line.split()[0] == "UUID=" + vm.run(f"blkid --output value --match-tag UUID {device}").stdout.strip()
    assert vm.run(f"cat /sys/block/{Path(device).name}/queue/read_ahead_kb").stdout == "4096\n"
    for name, digest in vm.sums.items():
        assert vm.run(f"sha256sum < /srv/models/{NAME}/{name}").stdout.split()[0] == digest


def test_a_disk_that_holds_something_is_left_as_it_is(vm: Any) -> None:
    first = vm.run("sha256sum < /dev/sda").stdout
    wish(vm, "stripe0", "turning")
    vm.provision("plan")
    refused = vm.provision(YES, check=False)
    assert refused.returncode == 4
    assert 'turning (QEMU HARDDISK, 1.1 GB, /dev/sda) holds ext4 "mine" on sda' in refused.stderr
    assert 'wipe = ["turning"]' in refused.stderr
    assert vm.run("sha256sum < /dev/sda").stdout == first
    found = outcomes(vm)
    assert found["STO111"] == ("found", ['turning (sda) holds ext4 "mine" on sda'])
    assert found["STO110"][0] == "ok" and found["STO112"][0] == found["STO113"][0] == "found"


def test_the_last_look_refuses_it_too(vm: Any) -> None:
    """What the role runs, without the preview before it: also where the disk is in use, named or not."""
    newest = vm.run("ls -d /root/.provision/fresh/runs/* | tail -1").stdout.strip()
    volume = json.loads(vm.run(f"cat {newest}/plan.json").stdout)["storage"]["volume"]
    make = "python3 {} make '{}'"
    refused = vm.run(make.format(VOLUME, json.dumps(volume)), check=False)
    assert refused.returncode == 1 and "holds ext4" in refused.stderr and 'storage.wipe = ["turning"]' in refused.stderr
    vm.run("mount /dev/sda /mnt")
    refused = vm.run(make.format(VOLUME, json.dumps({**volume, "wipe": ["turning"]})), check=False)
    assert refused.returncode == 1 and "is in use" in refused.stderr
    assert vm.run("cat /mnt/precious; umount /mnt").stdout == "precious\n"
    assert vm.run("wipefs --no-act /dev/nvme0n1").stdout == ""


def test_what_would_be_destroyed_is_shown_and_needs_a_yes(vm: Any) -> None:
    wish(vm, "stripe0", "stripe1", wipe=("stripe1",))
    vm.provision("plan")
    asked = vm.provision("apply --only storage --yes", check=False)
    assert asked.returncode == 4 and "next: provision apply --only storage --allow disks" in asked.stderr
    assert (
        "stripe0 (QEMU NVMe Ctrl, 1.1 GB, /dev/nvme0n1)  make it part of a RAID 0 of 2 disks; nothing is on it"
        in asked.stdout
    )
    assert 'DESTROY what it holds (swap "old" on nvme1n1) and make it part of a RAID 0' in asked.stdout
    assert vm.run("blkid --output value --match-tag LABEL /dev/nvme1n1").stdout == "old\n"


def test_a_copy_that_was_broken_off_leaves_its_part(vm: Any) -> None:
    wish(vm, "stripe0", "stripe1", wipe=("stripe1",))
    vm.provision("plan")
    part = f"/srv/models/{NAME}/.model.safetensors.part"
    watch = f"while ! [ -s {part} ]; do sleep 0.3; done; pkill -KILL -f 'place_model.py /root/{NAME}'"
    vm.run(f'(timeout 1400 sh -c "{watch}" >/dev/null 2>&1 &)')
    broken = vm.provision(YES, check=False)
    assert broken.returncode == 4, broken.stdout + broken.stderr
    assert "Make the array and the file system" in broken.stderr, "it says what was done until then"
    vm.kept = int(vm.run(f"stat --format=%s {part}").stdout)
    assert 0 < vm.kept < WEIGHTS_BYTES
    assert vm.run(f"test -e /srv/models/{NAME}/model.safetensors", check=False).returncode == 1


def test_the_next_run_goes_on_from_there(vm: Any) -> None:
    vm.provision("plan")
    vm.provision(YES)
    messages = [result["message"] for result in vm.results()]
    assert any(f"went on after {vm.kept} bytes" in message for message in messages), messages
    is_there(vm)


def test_it_comes_back_with_the_machine_and_the_doctor_is_quiet(vm: Any) -> None:
    vm.reboot()
    is_there(vm)
    found = outcomes(vm)
    assert {code: found[code][0] for code in ("STO110", "STO111", "STO112", "STO113", "STO114")} == dict.fromkeys(
        ("STO110", "STO111", "STO112", "STO113", "STO114"), "ok"
    )
    assert not [code for code, (outcome, _) in found.items() if outcome == "crashed"]


def test_planning_and_applying_again_changes_nothing(vm: Any) -> None:
    before = json.loads(vm.run("cat /root/.provision/fresh/latest/plan.json").stdout)
    vm.provision("plan")
    assert json.loads(vm.run("cat /root/.provision/fresh/latest/plan.json").stdout) == before
    done = vm.provision("apply --only storage --yes")
    assert changed(vm) == [] and "changed=0, failures=0" in done.stdout


def test_what_differs_from_the_plan_is_found(vm: Any) -> None:
    vm.run("echo 128 > /sys/block/md127/queue/read_ahead_kb; umount /srv/models")
    found = outcomes(vm)
    assert found["STO113"][0] == "found" and "nothing is mounted on /srv/models" in found["STO113"][1][0]
    assert found["STO114"] == ("found", ["md127 is read 128 KiB ahead; the plan is 4096 KiB"])
    vm.run("mdadm --stop /dev/md127")
    assert outcomes(vm)["STO112"] == ("found", ["no array of that UUID runs; the plan is a RAID 0 of 2 disks"])
    vm.run("mdadm --assemble --scan && udevadm settle && systemctl start srv-models.mount")
    is_there(vm)


def test_undoing_leaves_what_is_not_the_runs(vm: Any) -> None:
    vm.run("echo mine > /srv/models/notes")
    runs = [r for r in vm.run("ls /root/.provision/fresh/runs").stdout.split() if evidence(vm, r)]
    vm.first = runs[0]
    said = ""
    for run in reversed(runs[1:]):
        said += vm.provision(f"apply --undo {run}").stdout
    assert vm.run("cat /srv/models/notes").stdout == "mine\n", "later runs changed nothing of the volume"
    assert vm.run("ls -A /srv/models").stdout == "notes\n", "the model went with the run that placed it"
    vm.run("rm /srv/models/notes")


def test_undoing_the_run_that_made_it_gives_the_machine_back(vm: Any) -> None:
    said = vm.provision(f"apply --undo {vm.first}").stdout
    assert "mdadm" in said
    assert not [line for line in vm.run("cat /proc/mdstat").stdout.splitlines() if line.startswith("md")]
    assert vm.run("wipefs --no-act /dev/nvme0n1 /dev/nvme1n1").stdout == ""
    assert vm.run("cat /etc/fstab").stdout == vm.fstab
    assert vm.run("findmnt /srv/models", check=False).returncode == 1
    assert "precious" in vm.run("mount /dev/sda /mnt && cat /mnt/precious; umount /mnt").stdout
    assert vm.run(PACKAGES).stdout.splitlines() == vm.before["packages"]
    now = vm.run(FILES).stdout.splitlines()
    differ = set(now) ^ set(vm.before["files"])
    assert not [line for line in differ if line.split()[0] not in CHANGED_BY_ANY_INSTALLATION]


def evidence(vm: Any, run: str) -> bool:
    there = f"test -e /root/.provision/fresh/runs/{run}/replaced/evidence.json"
    return bool(vm.run(there, check=False).returncode == 0)
