"""Wait until the engine at SOCKET answers: ``wait_for_engine.py SOCKET SECONDS [PID_FILE]``.

Status 0: it answers. 1: the process in PID_FILE has ended, so it never will (dockerd opens its socket long before it is
ready, and may fail in between). 2: no answer in SECONDS. Standard library only: it runs on the machine.
"""

import socket
import sys
import time
from pathlib import Path

POLL_SECONDS = 0.2


def answers(path: str) -> bool:
    try:
        with socket.socket(socket.AF_UNIX) as line:
            line.settimeout(2)
            line.connect(path)
            line.sendall(b"GET /_ping HTTP/1.0\r\nHost: localhost\r\n\r\n")
            return b" 200 " in line.recv(64)
    except OSError:
        return False


def ended(pid_file: Path) -> bool:
    try:
        pid = int(pid_file.read_text())
    except (OSError, ValueError):
        return False  # not written yet
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return True
    return state == "Z"  # dead, and nobody has buried it


def main(path: str, seconds: str, pid_file: str = "") -> int:
    deadline = time.monotonic() + float(seconds)
    while not answers(path):
        if pid_file and ended(Path(pid_file)):
            return 1
        if time.monotonic() > deadline:
            return 2
        time.sleep(POLL_SECONDS)
    return 0


sys.exit(main(*sys.argv[1:]))
