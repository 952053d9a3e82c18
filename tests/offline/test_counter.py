"""The counter is not blind: with no route at all it would stay at nothing whatever happens."""

from __future__ import annotations

import pytest

from .conftest import PLANTED, Bed
from .sink import ADDRESS, RESOLVER, Packet, read_packet


@pytest.mark.parametrize("kind", PLANTED)
def test_what_was_planted_raised_the_count(bed: Bed, kind: str) -> None:
    wanted = {
        "dns": Packet("dns", RESOLVER, 53, "planted.example"),
        "tcp": Packet("tcp", "198.51.100.7", 443),
        "tcp over IPv6": Packet("tcp", "2001:db8::7", 443),
        "udp": Packet("udp", "198.51.100.7", 4789),
    }[kind]
    assert bed.planted[kind] and set(bed.planted[kind]) == {wanted}


@pytest.mark.parametrize("address", ["127.0.0.1", ADDRESS, "::1"])
def test_what_stays_in_the_machine_is_not_counted(bed: Bed, address: str) -> None:
    family = "AF_INET6" if ":" in address else "AF_INET"
    script = (
        f"server = socket.create_server(('{address}', 0), family=socket.{family})\n"
        "line = socket.create_connection(server.getsockname()[:2], 1)\n"
        "line.sendall(b'here')\n"
        "assert server.accept()[0].recv(4) == b'here'"
    )
    mark = bed.sink.mark()
    done = bed.run("python3", "-c", f"import socket\n{script}")
    assert done.code == 0, done.err
    assert bed.sink.since(mark) == []


def test_a_packet_that_is_neither_tcp_nor_udp_counts_too() -> None:
    header = bytes([0x45, 0, 0, 28, 0, 0, 0, 0, 64, 1, 0, 0, 192, 0, 2, 1, 198, 51, 100, 7])
    assert read_packet(header + bytes(8)) == Packet("protocol 1", "198.51.100.7")
