"""Makes the disk of the tests' virtual machine: ``make_image.py FOLDER`` leaves root.img, vmlinuz and initrd.img there.

Debian as this host's own apt knows it, with systemd, an SSH server and Python: what an administrator finds on a fresh
server. Nothing of a test is in it: keys and the tool itself come on a second disk (conftest.py).
"""

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from provision import apt

SUITE = "bookworm"
PACKAGES = (
    *("systemd-sysv", "udev", "dbus", "libpam-systemd", "openssh-server", "python3", "python3-venv", "iproute2"),
    *("ca-certificates", "kmod", "procps", "linux-image-cloud-amd64", "initramfs-tools"),
)
# Sparse: the file takes what is in it. The engine and its packages need 500 MB more than the system's 900 MB.
ROOT_BYTES = 4 << 30
MODULES = ("virtio_pci", "virtio_blk", "virtio_net", "ext4")
FILES = {
    "etc/hostname": "fresh\n",
    "etc/hosts": "127.0.0.1 localhost fresh\n",
    "etc/fstab": (
        "LABEL=root / ext4 errors=remount-ro 0 1\nLABEL=tool /opt/tool ext4 ro,nofail,x-systemd.device-timeout=600 0 0\n"
    ),
    "etc/systemd/network/80-dhcp.network": "[Match]\nType=ether\n[Network]\nDHCP=ipv4\n",
    "etc/resolv.conf": "nameserver 10.0.2.3\n",  # QEMU's user-mode network: it asks whom the host asks
    "etc/ssh/sshd_config.d/test.conf": (
        "PermitRootLogin prohibit-password\nAuthorizedKeysFile /opt/tool/authorized_keys\nUseDNS no\n"
    ),
    # Made at the first start. Where the file says "uninitialized" or is missing, systemd asks questions on the console.
    "etc/machine-id": "",
}


def main() -> None:
    folder = Path(sys.argv[1])
    with tempfile.TemporaryDirectory(dir=folder) as temporary:
        work = Path(temporary)
        tree = work / "tree"
        install(tree, work)
        for name, content in FILES.items():
            (tree / name).parent.mkdir(parents=True, exist_ok=True)
            (tree / name).unlink(missing_ok=True)
            (tree / name).write_text(content)
        with (tree / "etc/initramfs-tools/modules").open("a") as file:
            file.writelines(f"{module}\n" for module in MODULES)
        run("chroot", tree, "update-initramfs", "-u", "-k", "all")
        run("chroot", tree, "systemctl", "enable", "systemd-networkd.service", "ssh.service")
        # Under emulation every second counts: no timer of Debian's own runs in the middle of a test.
        for timer in ("apt-daily", "apt-daily-upgrade", "dpkg-db-backup", "e2scrub_all", "fstrim"):
            run("chroot", tree, "systemctl", "mask", f"{timer}.timer")
        (tree / "opt/tool").mkdir()
        for name in ("vmlinuz", "initrd.img"):
            shutil.copy((tree / name).resolve(), folder / name)
        disk = work / "root.img"
        with disk.open("wb") as file:
            file.truncate(ROOT_BYTES)
        run("mke2fs", "-q", "-t", "ext4", "-L", "root", "-d", tree, disk)
        disk.rename(folder / "root.img")


def install(tree: Path, work: Path) -> None:
    """A Debian with ``PACKAGES``, and with this host's own way to the archive in its apt."""
    sources = apt.debian_sources(SUITE)
    keyring = "/usr/share/keyrings/debian-archive-keyring.gpg"
    listing, options = work / "sources.list", work / "apt.conf"
    listing.write_text("".join(f"deb [signed-by={keyring}] {s.uri} {s.suite} {s.component}\n" for s in sources))
    options.write_text(apt.reach() + 'Acquire::Languages "none";\n')  # mmdebstrap leaves both in the tree
    early = 'mkdir -p "$1/etc/initramfs-tools/conf.d" && echo MODULES=list > "$1/etc/initramfs-tools/conf.d/list"'
    run(
        *("mmdebstrap", "--mode=root", "--variant=essential", f"--include={','.join(PACKAGES)},apt"),
        *("--hook-dir=/usr/share/mmdebstrap/hooks/merged-usr", f"--aptopt={options}"),
        *("--dpkgopt=path-exclude=/usr/share/doc/*", "--dpkgopt=path-exclude=/usr/share/locale/*"),
        *("--dpkgopt=path-exclude=/usr/share/man/*", f"--essential-hook={early}"),
        *(SUITE, tree, listing),
    )


def run(*command: "str | Path") -> None:
    subprocess.run([str(word) for word in command], check=True, stdout=sys.stderr)


main()
