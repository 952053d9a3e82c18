"""The ways from one GPU to another: NVLink and direct access."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from provision.catalog import gpus as catalog
from provision.check import ERROR, NOTE, WARNING, Finding, NotApplicable, check
from provision.checks._gpus import named, readable, several
from provision.checks._pasted import MaybeStated
from provision.checks._words import counted, listed
from provision.fact import Missing
from provision.facts.gpu_links import GpuLinks
from provision.facts.gpus import Gpus
from provision.facts.stated import Stated
from provision.spec import Spec


@check("LAT029", WARNING, cause="nvlink-p2p-broken")
def nvlink_down(links: GpuLinks) -> Iterator[Finding]:
    """Some NVLinks of a GPU are down while others of it are up.

    A bridge that is not fully seated, a failed link, or a switch that gave it up. A card without a bridge has all of them
    down, which is no fault.

    ## Fix
    Reseat the bridge, reset the GPUs, and look for SXid and Xid 74 in the kernel log.

    ## Proof
    None yet: the smoke test uses one GPU. `provision doctor --select LAT029` asks again.
    """
    _some_nvlink(links)
    for gpu in readable(links.gpus, "nvlinks", "no GPU here has NVLink"):
        down = [x.link for x in gpu.nvlinks if not x.active]
        if down and len(down) < len(gpu.nvlinks):
            yield Finding(
                f"{len(down)} of {len(gpu.nvlinks)} NVLinks of GPU {gpu.index} are down (link {listed(down)})",
                measured={"index": gpu.index, "down": down},
                needed={"down": []},
                fix=(f"nvidia-smi nvlink -s -i {gpu.index}", "dmesg | grep -i -e sxid -e 'xid.*74'"),
            )


def _some_nvlink(links: GpuLinks) -> None:
    if not any(gpu.nvlinks or gpu.unread for gpu in links.gpus):
        raise NotApplicable("no GPU here has NVLink")


@check("LAT030", WARNING, cause="nvlink-p2p-broken")
def nvlinks_uneven(gpus: Gpus, links: GpuLinks) -> Iterator[Finding]:
    """GPUs of one model have different numbers of NVLinks up.

    The slowest member sets the pace of every all-reduce. One GPU of eight with fewer links, or with none, is a fault of
    that GPU, its bridge or its switch.

    ## Fix
    Compare the links, reset the GPU with fewer, and have it looked at if it stays.

    ## Proof
    None yet: the smoke test uses one GPU. `provision doctor --select LAT030` asks again.
    """
    _some_nvlink(links)
    up = {gpu.index: sum(link.active for link in gpu.nvlinks) for gpu in links.gpus if not gpu.unread}
    models: dict[str, dict[int, int]] = {}
    for gpu in gpus.gpus:
        if gpu.index in up:
            models.setdefault(gpu.name, {})[gpu.index] = up[gpu.index]
    if not any(len(own) > 1 for own in models.values()):
        raise NotApplicable("there are no two GPUs of one model to compare")
    for name, own in sorted(models.items()):
        most = max(own.values())
        fewer = {index: count for index, count in own.items() if count < most}
        if fewer:
            yield Finding(
                f"{name}: {listed(f'GPU {i} has {n}' for i, n in sorted(fewer.items()))} of {most} NVLinks up",
                measured={"active": {str(index): count for index, count in sorted(own.items())}},
                needed={"active": most},
                fix=("nvidia-smi nvlink -s", "nvidia-smi topo -m"),
            )


@check("LAT031", NOTE, cause="nvlink-p2p-broken")
def nvlink_joins_only_some(gpus: Gpus | Missing, links: GpuLinks, stated: MaybeStated) -> Iterator[Finding]:
    """NVLink bridges join some pairs of GPUs and not others.

    Tensor parallelism over all of them sends part of its traffic over the bus. Some engines looked only whether links are
    up, believed that all GPUs were joined, and hung.

    ## Fix
    Use tensor parallelism inside a pair and pipeline parallelism across pairs.

    ## Proof
    None yet: the smoke test uses one GPU. `provision doctor --select LAT031` asks again.
    """
    several(len(links.gpus))
    if isinstance(gpus, Missing) and not isinstance(stated, Stated):
        raise gpus
    address = {gpu.index: gpu.pci_address for gpu in gpus.gpus} if isinstance(gpus, Gpus) else {}
    ends = {gpu.index: {x.remote_address for x in gpu.nvlinks if x.active and x.remote == "gpu"} for gpu in links.gpus}
    told = {(pair.first, pair.second): pair.nvlinks for pair in links.pairs if pair.nvlinks is not None}
    if not any(ends.values()) and not any(told.values()):
        unread = next((reason for gpu in links.gpus for name, reason in gpu.unread if name == "nvlinks"), None)
        if unread and len(told) < len(links.pairs):
            raise Missing(unread)
        raise NotApplicable("no bridge joins two GPUs here")
    apart = [
        (pair.first, pair.second)
        for pair in links.pairs
        if not told.get((pair.first, pair.second)) and address.get(pair.second) not in ends.get(pair.first, set())
    ]
    if apart:
        yield Finding(
            f"no NVLink joins {listed(f'GPU {a} and GPU {b}' for a, b in apart[:3])}"
            + (f", nor {len(apart) - 3} further pairs" if len(apart) > 3 else ""),
            measured={"apart": [list(pair) for pair in apart]},
            needed={"apart": []},
            fix=("nvidia-smi topo -m", "vllm serve … --tensor-parallel-size 2 --pipeline-parallel-size N"),
        )


@check("LAT032", WARNING, cause="nvlink-p2p-broken")
def peer_access_impossible(gpus: Gpus, links: GpuLinks) -> Iterator[Finding]:
    """Two GPUs of one model cannot reach each other's memory.

    What one hands to the other then goes through main memory: all-reduce takes several times as long. Reasons: the
    chipset or a virtual machine between them, access controls on the bus, a driver setting. GeForce cards from the 40
    series on have no such access by the vendor's choice and are not reported.

    ## Fix
    Read the reason. Put both cards under one processor, switch ACS and the IOMMU's translation off, or accept it and set
    NCCL_P2P_DISABLE=1 so that nothing tries.

    ## Proof
    None yet: the smoke test uses one GPU. `provision doctor --select LAT032` asks again.
    """
    several(len(links.gpus))
    names = {gpu.index: gpu.name for gpu in gpus.gpus}
    divided = {gpu.index for gpu in gpus.gpus if gpu.mig_mode}
    judged = [
        pair
        for pair in links.pairs
        if names.get(pair.first) == names.get(pair.second)
        and not {pair.first, pair.second} & divided
        and not _never_peers(names.get(pair.first, ""))
    ]
    bad = [pair for pair in judged if pair.peer_to_peer not in ("ok", None)]
    if not bad:
        unread = next((pair.unread[0][1] for pair in judged if pair.unread), None)
        if unread:
            raise Missing(unread)
        if not any(pair.peer_to_peer for pair in judged):
            raise NotApplicable("there are no two GPUs here that could be peers")
    reasons = Counter(pair.peer_to_peer for pair in bad)
    for reason, count in sorted(reasons.items(), key=str):
        first = next(pair for pair in bad if pair.peer_to_peer == reason)
        yield Finding(
            f"{counted(count, 'pair')} of GPUs without direct access, as GPU {first.first} and GPU {first.second}: {reason}",
            measured={"pairs": count, "reason": reason, "topology": first.topology},
            needed={"peer_to_peer": "ok"},
            fix=("nvidia-smi topo -p2p r", "provision doctor --select LAT033,LAT034"),
        )


def _never_peers(name: str) -> bool:
    row = catalog.find(name)
    return row is not None and row.p2p is False


@check("LAT038", ERROR, cause="gpu-not-as-expected")
def fewer_nvlinks_than_expected(links: GpuLinks, gpus: Gpus, spec: Spec) -> Iterator[Finding]:
    """A GPU has fewer NVLinks up than provision.toml expects.

    `[expect] nvlinks` states what every GPU of the fleet must have: 18 on an HGX H100, 12 on an HGX A100.

    ## Fix
    Look at the GPU's links and at the fabric manager; correct provision.toml where the expectation is the mistake.

    ## Proof
    None yet: the smoke test uses one GPU. `provision doctor --select LAT038` asks again.
    """
    wanted = spec.expect.nvlinks
    if wanted is None:
        raise NotApplicable("provision.toml expects no particular number of NVLinks")
    for gpu in readable((gpu for gpu in links.gpus if not gpu.unread or gpu.nvlinks), "nvlinks", "no GPU answers"):
        up = sum(link.active for link in gpu.nvlinks)
        if up < wanted:
            yield Finding(
                f"{named(gpus, gpu.index)} has {counted(up, 'NVLink')} up; provision.toml expects {wanted}",
                measured={"index": gpu.index, "nvlinks": up},
                needed={"nvlinks": wanted},
                fix=(f"nvidia-smi nvlink -s -i {gpu.index}",),
            )
