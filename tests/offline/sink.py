"""A network that leads nowhere and counts: default routes for both protocols end in a file that this process reads.

The interface is a tun device: what the machine sends into it arrives here as one packet a read, and nothing ever answers.
The device lives in the machine's network and its file in this process (a file belongs to the network it was opened in,
whoever reads it), so that nothing of this machine's network is changed. A tun has neither ARP nor, with address generation
switched off, any word of its own: measured 2026-11-24, none in two seconds. So every packet is one that a program sent.
"""

from __future__ import annotations

import errno
import fcntl
import os
import select
import socket
import struct
import subprocess
import threading
import time
from dataclasses import dataclass
from pathlib import Path

from ..road.network import enter

TUNSETIFF = 0x400454CA  # linux/if_tun.h
IFF_TUN, IFF_NO_PI = 0x0001, 0x1000
INTERFACE = "sink"
# Addresses that are kept for documentation (RFC 5737, RFC 3849): nobody has them.
ADDRESS, ADDRESS_6 = "192.0.2.1", "2001:db8::1"
RESOLVER = "192.0.2.53"
RESOLV_CONF = f"nameserver {RESOLVER}\noptions timeout:1 attempts:1\n"
MAX_PACKET = 65536
TCP, UDP = 6, 17
DNS_PORT = 53
SETTLE_SECONDS = 0.3  # packets are read by a thread: those sent before a command ended have arrived by then


@dataclass(frozen=True)
class Packet:
    """One packet that left the machine. ``what``: tcp, udp, dns, or the protocol's number; ``name``: what DNS was asked."""

    what: str
    address: str
    port: int = 0
    name: str = ""


def read_packet(data: bytes) -> Packet:
    """A packet from its first byte of IP. Extension headers of IPv6 are not followed: they count as what they are."""
    version = data[0] >> 4
    if version == 4:
        header, protocol, address = (data[0] & 15) * 4, data[9], socket.inet_ntop(socket.AF_INET, data[16:20])
    elif version == 6:
        header, protocol, address = 40, data[6], socket.inet_ntop(socket.AF_INET6, data[24:40])
    else:
        return Packet(f"version {version}", "")
    body = data[header:]
    if protocol not in (TCP, UDP) or len(body) < 8:
        return Packet(f"protocol {protocol}", address)
    (port,) = struct.unpack("!H", body[2:4])
    if protocol == TCP:
        return Packet("tcp", address, port)
    if port != DNS_PORT:
        return Packet("udp", address, port)
    return Packet("dns", address, port, _question(body[8:]))


def _question(message: bytes) -> str:
    """The name that a DNS message asks for: labels with their lengths, after twelve bytes of header."""
    labels, at = [], 12
    while at < len(message) and (length := message[at]):
        labels.append(message[at + 1 : at + 1 + length].decode("ascii", "replace"))
        at += 1 + length
    return ".".join(labels)


class Sink:
    """The only way out of the network of ``process``. ``packets`` are those that left, oldest first."""

    def __init__(self, process: int) -> None:
        self.packets: list[Packet] = []
        self._process = process
        self._file = _device_in(process)
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()
        self._ip("link", "set", "lo", "up")
        # No address of the kernel's own making, which would bring router solicitations and multicast reports.
        self._inside("sh", "-c", f"echo 1 > /proc/sys/net/ipv6/conf/{INTERFACE}/addr_gen_mode")
        self._ip("address", "add", f"{ADDRESS}/32", "dev", INTERFACE)
        self._ip("address", "add", f"{ADDRESS_6}/128", "dev", INTERFACE, "nodad")
        self._ip("link", "set", INTERFACE, "up")
        self._ip("route", "add", "default", "dev", INTERFACE)
        self._ip("-6", "route", "add", "default", "dev", INTERFACE)

    def mark(self) -> int:
        """How many have left by now."""
        time.sleep(SETTLE_SECONDS)
        return len(self.packets)

    def since(self, mark: int) -> list[Packet]:
        """What has left since ``mark``."""
        return self.packets[mark : self.mark()]

    def close(self) -> None:
        self._end.set()
        self._thread.join()
        os.close(self._file)

    def _ip(self, *arguments: str) -> None:
        self._inside("ip", *arguments)

    def _inside(self, *command: str) -> None:
        """A program of this machine in that network: a bare machine has no ``ip``."""
        subprocess.run(["nsenter", "--target", str(self._process), "--net", *command], check=True)

    def _read(self) -> None:
        while not self._end.is_set():
            if not select.select([self._file], [], [], 0.1)[0]:
                continue
            try:
                self.packets.append(read_packet(os.read(self._file, MAX_PACKET)))
            except OSError as error:
                if error.errno != errno.EBADFD:  # the machine is gone, and the device with it
                    raise
                return


def _device_in(process: int) -> int:
    made: list[int | OSError] = []

    def work() -> None:  # setns() moves one thread, and this one ends
        try:
            enter(process)
            file = os.open("/dev/net/tun", os.O_RDWR | os.O_CLOEXEC)
            fcntl.ioctl(file, TUNSETIFF, struct.pack("16sH22x", INTERFACE.encode(), IFF_TUN | IFF_NO_PI))
            made.append(file)
        except OSError as error:
            made.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    if isinstance(made[0], OSError):
        raise made[0]
    return made[0]


def can_sink() -> bool:
    """Whether this machine lends a tun device."""
    return os.geteuid() == 0 and Path("/dev/net/tun").exists()
