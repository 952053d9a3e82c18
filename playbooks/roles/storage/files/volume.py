"""One volume on whole disks: ``volume.py look|make|read-ahead|remove PLAN`` with the plan's volume as JSON.

Every command looks anew before it acts, and prints one JSON object: what was done, in order. Status 1: the reason on
standard error, one line for each disk that stands in the way. A disk is touched where it holds nothing, or what this plan
itself put there (known by its UUIDs), or where ``wipe`` names its serial number; one that is in use never.

Standard library only: it runs on the machine, as root.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

SETTLE_SECONDS = 60  # udev has its rules run after every change; under an emulated processor that took 2 s (2026-11-24)
COLUMNS = "NAME,TYPE,SIZE,MODEL,SERIAL"
Plan = dict[str, Any]  # provision.plan.storage.Volume as JSON


class Refused(Exception):
    """Why nothing more is done."""


def run(*command: str) -> str:
    """Standard output. Raises ``Refused`` with what the program said."""
    done = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False)
    if done.returncode != 0:
        said = (done.stderr.strip() or done.stdout.strip() or "no message").splitlines()[-1]
        raise Refused(f"{' '.join(command[:2])}: {said}")
    return done.stdout


def settle() -> None:
    """Wait until udev has seen what was just changed; it holds devices open while it looks."""
    if shutil.which("udevadm") and Path("/run/udev/control").exists():
        run("udevadm", "settle", f"--timeout={SETTLE_SECONDS}")


class Disk:
    """A named disk as it is now."""

    def __init__(self, name: str, row: dict[str, Any]) -> None:
        self.name = name
        self.device = f"/dev/{row['name']}"
        self.serial = (row["serial"] or "").strip()
        self.parts = [f"/dev/{one['name']}" for one in row.get("children", ()) if one["type"] == "part"]
        self.signatures = signatures(self.device)
        self.busy = busy(self.device)

    @property
    def words(self) -> str:
        return f"{self.name} ({self.device})"

    @property
    def holds(self) -> str:
        """What is on it, as one line; "" where nothing is."""
        inside = [f"{kind} on {part}" for part in self.parts for kind, _ in signatures(part)]
        return ", ".join([kind for kind, _ in self.signatures] + (inside or [f"partition {p}" for p in self.parts]))

    def is_ours(self, plan: Plan) -> bool:
        """Whether all that is on it was put there by this plan."""
        wanted = (
            ("linux_raid_member", plan["array_uuid"])
            if plan["array_uuid"]
            else (plan["filesystem"], plan["filesystem_uuid"])
        )
        return bool(self.signatures) and not self.parts and set(self.signatures) == {wanted}


def signatures(device: str) -> list[tuple[str, str]]:
    """Every signature that wipefs knows on a device: (kind, UUID or "")."""
    said = run("wipefs", "--no-act", "--json", device)
    found = json.loads(said)["signatures"] if said.strip() else []
    return [(one["type"], one.get("uuid") or "") for one in found]


def busy(device: str) -> bool:
    """Whether the kernel has given it to somebody: a mount, swap, md, LVM or another mapping, of it or of a partition."""
    try:
        os.close(os.open(device, os.O_RDONLY | os.O_EXCL))
    except OSError as error:
        if error.errno == errno.EBUSY:
            return True
        raise Refused(f"{device}: {error.strerror}") from None
    return False


def find(plan: Plan, all_there: bool = True) -> list[Disk]:
    """The plan's disks, in its order. Raises ``Refused`` for one that is missing or not the only one of its name."""
    rows = json.loads(run("lsblk", "--json", "--bytes", "--output", COLUMNS))["blockdevices"]
    rows = [row for row in rows if row["type"] == "disk"]
    disks, refused = [], []
    for name in plan["disks"]:
        link = Path("/dev/disk/by-id", name)
        kernel = link.resolve().name if link.exists() else ""
        found = [row for row in rows if row["name"] == kernel or (row["serial"] or "").strip() == name]
        if len(found) == 1:
            disks.append(Disk(name, found[0]))
        elif found:
            several = ", ".join(f"/dev/{row['name']}" for row in found)
            refused.append(f"{name} is the serial number of {several}; name one of them as in /dev/disk/by-id")
        elif all_there:
            refused.append(f"{name}: no disk here has this serial number or name")
    devices = [disk.device for disk in disks]
    refused += [f"{d.words} is named twice" for i, d in enumerate(disks) if d.device in devices[:i]]
    if refused:
        raise Refused("\n".join(refused))
    return disks


def may_be_taken(plan: Plan, disks: list[Disk]) -> list[Disk]:
    """Those whose content goes. Raises ``Refused`` with a line for each disk that is somebody's."""
    refused, goes = [], []
    for disk in disks:
        if disk.is_ours(plan):
            continue
        if disk.busy:
            refused.append(
                f"{disk.words} is in use ({disk.holds or 'nothing is on it'}); release it first, then it can be taken"
            )
        elif disk.holds and disk.serial not in plan["wipe"]:
            refused.append(
                f"{disk.words} holds {disk.holds}; it is left as it is. To destroy that, name its serial number: "
                f'storage.wipe = ["{disk.serial}"] in provision.toml'
            )
        elif disk.holds:
            goes.append(disk)
    if refused:
        raise Refused("\n".join(refused))
    return goes


def array_of(plan: Plan) -> str | None:
    """The device of the running array with the plan's UUID, or None."""
    for path in sorted(Path("/sys/block").glob("md*")):
        said = subprocess.run(
            ["mdadm", "--detail", "--export", f"/dev/{path.name}"], capture_output=True, text=True, check=False
        ).stdout
        if f"MD_UUID={mdadm_uuid(plan)}" in said.splitlines():
            return f"/dev/{path.name}"
    return None


def mdadm_uuid(plan: Plan) -> str:
    digits = plan["array_uuid"].replace("-", "")
    return ":".join(digits[i : i + 8] for i in range(0, 32, 8))


def whole_array(plan: Plan, disks: list[Disk]) -> tuple[str | None, list[str]]:
    """The array's device, running with every member. Assembles it where it does not run; None where there is none yet."""
    device = array_of(plan)
    ours = [disk for disk in disks if disk.is_ours(plan)]
    if device is None and not ours:
        return None, []
    if len(ours) < len(disks):
        others = ", ".join(disk.words for disk in disks if disk not in ours)
        raise Refused(
            f"the array is not whole: {others} is no member of it, and a RAID 0 without a member has lost its data"
        )
    if device is not None and Path(f"/sys/block/{Path(device).name}/md/array_state").read_text().strip() not in (
        "inactive",
        "clear",
    ):
        return device, []
    if device is not None:
        run("mdadm", "--stop", device)
    run("mdadm", "--assemble", f"--uuid={mdadm_uuid(plan)}", "/dev/md/provision", *(disk.device for disk in disks))
    settle()
    return array_of(plan), ["assembled the array"]


def mounted_on(mount_point: str) -> str | None:
    """The device numbers ("259:0") of what is mounted there, or None."""
    found = None
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        words = line.split(" ")
        if words[4] == mount_point:  # a later mount hides an earlier one
            found = words[2]
    return found


def numbers(device: str) -> str:
    return Path(f"/sys/class/block/{Path(device).name}/dev").read_text().strip()


def check_mount_point(plan: Plan, device: str | None) -> None:
    """Nothing else is there, and nothing would be hidden."""
    place = Path(plan["mount_point"])
    now = mounted_on(plan["mount_point"])
    if now is not None and (device is None or now != numbers(device)):
        raise Refused(f"something else ({now}) is mounted on {place}")
    if now is None and place.is_symlink():
        raise Refused(f"{place} is a link; a mount point is a folder")
    if now is None and place.exists() and (not place.is_dir() or any(place.iterdir())):
        raise Refused(f"{place} is not an empty folder: mounting there would hide what it holds")


def make(plan: Plan) -> list[str]:
    """Array and file system, each where it is not there yet."""
    disks = find(plan)
    goes = may_be_taken(plan, disks)
    done: list[str] = []
    if plan["array_uuid"]:
        device, done = whole_array(plan, disks)
    else:
        device = disks[0].device
    check_mount_point(plan, device)
    for disk in goes:
        for part in (*disk.parts, disk.device):
            run("wipefs", "--all", part)
        done.append(f"destroyed {disk.words}: {disk.holds or ', '.join(k for k, _ in disk.signatures)}")
        settle()
    if device is None:
        take_none_by_mistake(disks)
        command = ["mdadm", "--create", "/dev/md/provision", "--run", "--level=0", "--metadata=1.2", "--name=provision"]
        command += [f"--uuid={mdadm_uuid(plan)}", f"--raid-devices={len(disks)}", *(disk.device for disk in disks)]
        run(*command)
        settle()
        device = array_of(plan)
        if device is None:
            raise Refused("mdadm made the array and it does not run: cat /proc/mdstat")
        done.append(f"made a RAID 0 of {', '.join(disk.words for disk in disks)}")
    done += make_filesystem(plan, device, disks)
    check_mount_point(plan, device)
    return done


def take_none_by_mistake(disks: list[Disk]) -> None:
    """The last look before the first write: nothing has appeared on a disk, and nobody has taken it."""
    for disk in disks:
        if signatures(disk.device) or busy(disk.device):
            raise Refused(f"{disk.words} has changed while it was looked at; it is left as it is")


def make_filesystem(plan: Plan, device: str, disks: list[Disk]) -> list[str]:
    found = signatures(device)
    if (plan["filesystem"], plan["filesystem_uuid"]) in found:
        return []
    if found:
        # Only an array can come here: what an earlier array over the same disks held shows again inside the new one.
        kinds = ", ".join(kind for kind, _ in found)
        if {disk.serial for disk in disks} - set(plan["wipe"]):
            raise Refused(
                f"{device} holds {kinds}, from an earlier array over these disks; name each in storage.wipe to destroy it"
            )
        run("wipefs", "--all", device)
    options = {
        # xfs and ext4 read the stripes' size from the array themselves. -m 0: no blocks are kept back for root's log files.
        "xfs": ("mkfs.xfs", "-q", "-m", f"uuid={plan['filesystem_uuid']}"),
        "ext4": ("mkfs.ext4", "-q", "-m", "0", "-U", plan["filesystem_uuid"]),
    }
    run(*options[plan["filesystem"]], device)
    settle()
    return [f"made {plan['filesystem']} on {device}"]


def device_of(plan: Plan) -> str | None:
    """Where the file system lies, or None."""
    if plan["array_uuid"]:
        return array_of(plan)
    disks = [disk for disk in find(plan, all_there=False) if disk.is_ours(plan)]
    return disks[0].device if disks else None


def read_ahead(plan: Plan) -> list[str]:
    """For now; the udev rule sets it at every start."""
    device = device_of(plan)
    if device is None:
        raise Refused("the volume is not there")
    path = Path(f"/sys/class/block/{Path(device).name}/queue/read_ahead_kb")
    wanted = plan["read_ahead_kib"]
    if wanted is None or int(path.read_text()) == wanted:
        return []
    path.write_text(f"{wanted}\n")
    return [f"{device} is read {wanted} KiB ahead"]


def remove(plan: Plan) -> list[str]:
    """Unmount; where ``stop`` says so stop the array; where ``forget`` does take the superblocks away: only the plan's own."""
    done = []
    device = device_of(plan)
    if plan["forget"]:
        wanted = (plan["filesystem"], plan["filesystem_uuid"])
        if device is None and plan["array_uuid"] and any(disk.is_ours(plan) for disk in find(plan, all_there=False)):
            raise Refused("the array does not run, so that what it holds cannot be seen; its superblocks stay")
        if device is not None and set(signatures(device)) - {wanted}:
            raise Refused(f"{device} holds what this plan did not put there; it stays")
    if device is not None and mounted_on(plan["mount_point"]) == numbers(device):
        run("umount", plan["mount_point"])
        done.append(f"unmounted {plan['mount_point']}")
    if device is not None and plan["forget"]:
        if (plan["filesystem"], plan["filesystem_uuid"]) in signatures(device):
            run("wipefs", "--all", device)
            done.append(f"removed the file system on {device}")
        settle()
    if plan["array_uuid"]:
        if device is not None and plan["stop"]:
            run("mdadm", "--stop", device)
            done.append(f"stopped {device}")
            settle()
        for disk in find(plan, all_there=False) if plan["forget"] else ():
            if disk.is_ours(plan):
                run("mdadm", "--zero-superblock", disk.device)
                done.append(f"{disk.words} is no member any more")
    return done


def look(plan: Plan) -> list[str]:
    """Whether ``make`` would go on. Changes nothing."""
    disks = find(plan)
    may_be_taken(plan, disks)
    return []


COMMANDS = {"look": look, "make": make, "read-ahead": read_ahead, "remove": remove}


def main() -> int:
    try:
        done = COMMANDS[sys.argv[1]](json.loads(sys.argv[2]))
    except Refused as reason:
        sys.stderr.write(f"{reason}\n")
        return 1
    sys.stdout.write(json.dumps({"done": done}) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
