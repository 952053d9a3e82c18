"""Process 1 of a fresh machine: ``first_process.py BELOW SHARED[:SHARED...] FOLDER...`` in new namespaces.

``BELOW`` is the root that the machine's own lies over and never changes.
"""

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path


def main() -> None:
    below, shares, *folders = sys.argv[1:]
    work = Path("/mnt")  # any folder: only this namespace sees what is mounted on it
    mount("-t", "tmpfs", "tmpfs", str(work))
    for name in ("upper", "work", "root"):
        (work / name).mkdir()
    root = work / "root"
    mount("-t", "overlay", "overlay", "-o", f"lowerdir={below},upperdir={work}/upper,workdir={work}/work", str(root))
    for folder in ("/dev", "/sys", *folders):
        if folder in ("/dev", "/sys") or os.stat(folder).st_dev != os.stat("/").st_dev:  # noqa: PTH116
            (root / folder.lstrip("/")).mkdir(parents=True, exist_ok=True)
            mount("--rbind", folder, str(root / folder.lstrip("/")))
    for shared in shares.split(os.pathsep):
        (root / shared.lstrip("/")).mkdir(parents=True, exist_ok=True)
        mount("--bind", shared, str(root / shared.lstrip("/")))
    mount("-t", "proc", "proc", str(root / "proc"))
    mount("-t", "tmpfs", "tmpfs", str(root / "run"))
    (root / "run/lock").mkdir()
    # The engine's data on a plain file system: overlay on overlay is refused by the kernel.
    mount("-t", "tmpfs", "tmpfs", str(root / "var/tmp"))
    os.chroot(root)
    os.chdir("/")
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    while True:
        with contextlib.suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        time.sleep(0.05)


def mount(*arguments: str) -> None:
    subprocess.run(["mount", *arguments], check=True)


main()
