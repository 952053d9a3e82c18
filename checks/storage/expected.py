"""What provision.toml expects of the disks that models lie on."""

from __future__ import annotations

from collections.abc import Iterator

from provision.catalog import tables
from provision.check import WARNING, Finding, NotApplicable, check
from provision.checks._words import listed, mount_of
from provision.fact import Absent, Missing
from provision.facts.block import NvmeControllers
from provision.facts.caches import CacheFolders
from provision.facts.disks import Disks, Mounts
from provision.facts.system import System
from provision.spec import Spec


def _lane(mts: int) -> float:
    """MB/s of a PCIe lane: 10 bits a byte up to 5 GT/s, 130 bits for 16 bytes from 8 GT/s on (PCI Express 3.0, 4.2.2)."""
    return mts / 10 if mts <= 5000 else mts * 16 / 130


def _links(nvme: NvmeControllers | Absent) -> dict[str, float]:
    """MB/s that a disk's link carries at most, by its transport; without "nvme" where a controller's link is not known.

    Of NVMe the widest of this machine: with several paths a disk's number is not its controller's.
    """
    made = {"sata": float(tables.thresholds().limit["sata_mb_per_s"].value)}
    controllers = nvme.controllers if isinstance(nvme, NvmeControllers) else ()
    rates = [one.link_width * _lane(one.link_mts_max) for one in controllers if one.link_width and one.link_mts_max]
    return made | ({"nvme": max(rates)} if rates and len(rates) == len(controllers) else {})


@check("STO068", WARNING, cause="disk-slower-than-expected")
def disk_link_below_expected_rate(
    spec: Spec,
    folders: CacheFolders | Absent,
    mounts: Mounts,
    disks: Disks | Absent,
    nvme: NvmeControllers | Absent,
    system: System,
) -> Iterator[Finding]:
    """Models lie on disks whose links carry less than provision.toml expects.

    A SATA link carries 600 MB/s, an NVMe disk what its PCIe lanes do, several disks together no more than the sum. How
    fast a disk really is must be measured, which takes seconds and reads gigabytes: so this check never says that the
    rate is reached. It does not apply where `[expect] disk_mb_per_s` is not set, and knows nothing in a virtual machine.

    ## Fix
    Move the models to a faster disk, or give the disk the slot or the lanes that it lacks. `provision disk PATH` measures.

    ## Proof
    STO-P1: the weights load within the planned time.
    """
    wanted = spec.expect.disk_mb_per_s
    if wanted is None:
        raise NotApplicable("provision.toml expects no disk rate")
    unknown = Missing(f"whether {wanted} MB/s are reached is measured by 'provision disk PATH', not by the doctor")
    if system.virtualization != "none":  # what a virtual machine sees of a link is made up
        raise unknown
    transports = {disk.name: disk.transport for disk in disks.disks} if isinstance(disks, Disks) else {}
    links = _links(nvme)
    found = False
    for folder in folders.folders if isinstance(folders, CacheFolders) else ():
        names = mount_of(folder.path, mounts).disks if folder.purpose == "models" and folder.there else ()
        rates = [links.get(transports.get(name, "")) for name in names]
        known = [rate for rate in rates if rate is not None]
        if known and len(known) == len(rates) and sum(known) < wanted:
            found = True
            yield Finding(
                f"{folder.path} lies on {listed(names)}: the link carries at most {sum(known):.0f} MB/s, "
                f"and provision.toml expects {wanted}",
                measured={"mb_per_s_at_most": round(sum(known)), "disks": list(names)},
                needed={"mb_per_s": wanted},
                fix=(f"provision disk {folder.path}", "lsblk -o NAME,TRAN,ROTA,MODEL,MOUNTPOINTS   # a faster one?"),
            )
    if not found:
        raise unknown
