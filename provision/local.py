"""How this machine is looked at beyond text files: states, folder trees, the kernel's clock. Standard library only, Python 3.10.

``provision.host.LocalHost`` is the only caller. Everything here only reads.
"""

from __future__ import annotations

import os
from typing import Any


def status(path: str) -> dict[str, int]:
    """mode (permission bits), uid, gid, size, folder (1 or 0), writable (1 or 0: by this process), links followed."""
    found = os.stat(path)
    folder = (found.st_mode & 0o170000) == 0o040000
    return {
        "mode": found.st_mode & 0o7777,
        "uid": found.st_uid,
        "gid": found.st_gid,
        "size": found.st_size,
        "folder": int(folder),
        "writable": int(os.access(path, os.W_OK | (os.X_OK if folder else 0), effective_ids=True)),
    }


def hexdump(path: str) -> str:
    """A small binary file's first 256 KiB, two hexadecimal digits a byte."""
    with open(path, "rb", buffering=0) as file:
        return file.read(1 << 18).hex()


def node(path: str) -> dict[str, int]:
    """major, minor (0 where it is no device), mode, uid, gid, and may_use: 1 where this process may read and write it.

    access(2) asks the device rules of the control group too, and opens nothing: to open a GPU's node would wake the GPU.
    """
    found = os.stat(path)
    return {
        "major": os.major(found.st_rdev),
        "minor": os.minor(found.st_rdev),
        "mode": found.st_mode & 0o7777,
        "uid": found.st_uid,
        "gid": found.st_gid,
        "may_use": int(os.access(path, os.R_OK | os.W_OK, effective_ids=True)),
    }


def tree(top: str, depth: int, most: int) -> dict[str, Any]:
    """Regular files (and links to them) below ``top``: {"files": {path below top: bytes}, "all": bool}.

    Looks at no more than ``most`` entries and ``depth`` folders deep, broadest first; "all" says whether that was
    everything. Links to folders are not followed. A folder that cannot be read counts as not seen.
    """
    files: dict[str, int] = {}
    level, seen, whole = [""], 0, True
    for _ in range(depth):
        below: list[str] = []
        for folder in level:
            try:
                entries = sorted(os.scandir(os.path.join(top, folder)), key=lambda entry: entry.name)
            except OSError:
                if not folder:
                    raise
                whole = False
                continue
            for entry in entries:
                seen += 1
                if seen > most:
                    return {"files": files, "all": False}
                name = os.path.join(folder, entry.name)
                try:
                    if entry.is_dir(follow_symlinks=False):
                        below.append(name)
                    elif entry.is_file():  # a name that is no UTF-8 can be in no snapshot: its bytes are replaced
                        files[os.fsencode(name).decode(errors="replace")] = entry.stat().st_size
                except OSError:
                    whole = False
        level = below
    return {"files": files, "all": whole and not level}


_NVME_ADMIN = 0xC0484E41  # NVME_IOCTL_ADMIN_CMD, linux/nvme_ioctl.h
_GET_LOG_PAGE, _HEALTH_PAGE, _HEALTH_BYTES, _ALL_NAMESPACES = 0x02, 0x02, 512, 0xFFFFFFFF


def nvme_log(device: str) -> str:
    """An NVMe controller's health log (page 2, 512 bytes), two hexadecimal digits a byte. Only root may ask."""
    import ctypes
    import fcntl
    import struct

    answer = ctypes.create_string_buffer(_HEALTH_BYTES)
    page = _HEALTH_PAGE | (_HEALTH_BYTES // 4 - 1) << 16
    # struct nvme_passthru_cmd: opcode, flags, reserved, nsid, cdw2, cdw3, metadata, address, lengths, cdw10 to 15, timeout,
    # result
    command = struct.pack(
        "<BBHIIIQQII6III",
        *(_GET_LOG_PAGE, 0, 0, _ALL_NAMESPACES, 0, 0, 0, ctypes.addressof(answer), 0, _HEALTH_BYTES),
        *(page, 0, 0, 0, 0, 0, 1000, 0),
    )
    file = os.open(device, os.O_RDONLY | os.O_CLOEXEC)
    try:
        status = fcntl.ioctl(file, _NVME_ADMIN, bytearray(command))
    finally:
        os.close(file)
    if status:
        raise OSError(5, f"the controller refused with status {status:#x}")
    return answer.raw.hex()


_STA_UNSYNC = 0x40  # linux/timex.h
_TIME_ERROR = 5


def clock() -> dict[str, int]:
    """synchronised (1 or 0) and error_us, as the kernel has them: adjtimex(2) with modes 0, which changes nothing."""
    import ctypes

    class _Timex(ctypes.Structure):
        _fields_ = (
            ("modes", ctypes.c_uint),
            ("offset", ctypes.c_long),
            ("freq", ctypes.c_long),
            ("maxerror", ctypes.c_long),
            ("esterror", ctypes.c_long),
            ("status", ctypes.c_int),
            ("rest", ctypes.c_char * 256),
        )

    said = _Timex()
    state = ctypes.CDLL(None, use_errno=True).adjtimex(ctypes.byref(said))
    if state < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    bad = state == _TIME_ERROR or said.status & _STA_UNSYNC
    return {"synchronised": 0 if bad else 1, "error_us": int(said.maxerror)}
