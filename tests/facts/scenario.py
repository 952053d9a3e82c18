"""Scenarios for the stub management library: machines in words, line by line (tests/facts/nvml_stub.c).

The figures of the healthy cards are what nvidia-smi prints for them; UUIDs and firmware versions are made up.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

Card = Mapping[str, object]

_LOAD = {"corrected": 0, "corrected_ever": 0, "uncorrected": 0, "uncorrected_ever": 0}
H100: Card = {
    **{"name": "NVIDIA H100 80GB HBM3", "capability": "9 0", "memory": "85520809984 84930330624"},
    **{"width": 16, "width_max": 16, "generation": 5, "generation_max": 5, "replays": 0},
    **{"mig": "0 0", "persistence": 1, "compute_mode": 0, "virtualization": 0},
    **{"clock.1": 345, "clock_max.1": 1980, "clock.2": 2619, "clock_max.2": 2619, "reasons": 1},
    **{"celsius": 31, "threshold.0": 92, "threshold.1": 89, "threshold.2": 95, "threshold.3": 87},
    **{"power": 70250, "power_limit": 700000, "power_default": 700000, "field.82": 40, "field.230": 0},
    **{"ecc": "1 1", **_LOAD, "rows": "0 0 0 0", "banks": "5120 0 0 0 0", "sram_exceeded": 0, "inforom_check": 0},
    **{"memory2": "85520809984 540000000 50479360", "bar1": "137438953472 137400000000 38953472"},
    **{"vbios": "96.00.74.00.01", "inforom": "G520.0200.00.05", "gsp": "580.82.07", "fabric": "0 0 0"},
}
RTX4090: Card = {
    **{"name": "NVIDIA GeForce RTX 4090", "capability": "8 9", "memory": "25757220864 25249710080"},
    **{"width": 16, "width_max": 16, "generation": 4, "generation_max": 4, "replays": 0},
    **{"persistence": 0, "compute_mode": 0, "virtualization": 0},
    **{"clock.1": 210, "clock_max.1": 3105, "clock.2": 405, "clock_max.2": 10501, "reasons": 1},
    **{"celsius": 34, "threshold.0": 100, "threshold.1": 97, "threshold.3": 84},
    **{"power": 12700, "power_limit": 450000, "power_default": 450000, "inforom_check": 0},
    **{"memory2": "25757220864 423624704 83886080", "bar1": "34359738368 34300000000 59738368"},
    **{"vbios": "95.02.3C.80.01", "inforom": "G002.0000.00.03", "gsp": "580.82.07"},
}
GB10: Card = {
    **{"name": "NVIDIA GB10", "capability": "12 1", "width": 1, "width_max": 1, "generation": 5, "generation_max": 5},
    **{"persistence": 0, "compute_mode": 0, "clock.1": 208, "clock_max.1": 3003, "reasons": 1, "celsius": 41},
}
A100: Card = {**H100, "name": "NVIDIA A100-SXM4-80GB", "capability": "8 0", "generation": 4, "generation_max": 4}


def machine(cards: Sequence[Card], driver: str = "580.82.07", **lines: object) -> str:
    """A scenario: these cards at addresses 0000:01:00.0 and on, unless a card says its ``bus_id``."""
    text = [f"machine driver {driver}", "machine cuda 13000", f"machine count {len(cards)}"]
    text += [f"machine {what} {answer}" for what, answer in lines.items()]
    for index, card in enumerate(cards):
        own = {
            "bus_id": f"00000000:{index + 1:02X}:00.0",
            "uuid": f"GPU-00000000-0000-4000-8000-{index + 1:012d}",
            **card,
        }
        text += [f"{index} {what} {answer}" for what, answer in own.items()]
    return "\n".join(text) + "\n"


def board(count: int = 8, links: int = 18, card: Card = H100) -> list[Card]:
    """GPUs behind NVSwitches, every link up, every pair within reach: a board such as HGX H100."""
    there = {f"link.{n}": 1 for n in range(links)} | {f"link_bus_id.{n}": "00000000:07:00.0" for n in range(links)}
    there |= {f"link_errors.{n}.{c}": 0 for n in range(links) for c in range(3)}
    pairs = {f"{what}.{other}": value for other in range(count) for what, value in (("topology", 40), ("p2p", 0))}
    return [{**card, **there, **pairs, "link_version": 6, "link_end": 2, "fabric": "3 0 0xaa"} for _ in range(count)]


SCENARIOS = {
    "h100": machine([{**H100, "bus_id": "00000000:19:00.0"}]),
    "rtx4090": machine([{**RTX4090, "uuid": "GPU-00000000-0000-4000-8000-000000000002"}]),
    "gb10": machine([{**GB10, "bus_id": "0000000F:01:00.0", "uuid": "GPU-00000000-0000-4000-8000-000000000003"}]),
    "h100-lost": machine([{**H100, "bus_id": "00000000:19:00.0"}, {"handle": "error 15"}]),
    "h100-mig": machine([{**H100, "mig": "0 1"}]),
    "not-loaded": machine([], init="error 9"),
    "mismatch": machine([], init="error 18"),
    "permission": machine([], init="error 4"),
    "unknown": machine([], init="error 999"),
    "hang": machine([], init="hang"),
}
