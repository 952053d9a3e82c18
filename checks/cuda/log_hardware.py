"""What a log says of the cards, their links and the machine under them."""

from __future__ import annotations

from collections.abc import Iterator

from provision.check import ERROR, Finding, check
from provision.checks._log import said
from provision.checks._pasted import MaybeStated
from provision.facts.symptoms import Symptoms


@check("CUD105", ERROR, cause="xid-hardware")
def log_says_gpu_fault(symptoms: Symptoms, stated: MaybeStated) -> Iterator[Finding]:
    """A log reports a fault of a GPU.

    The driver numbers GPU faults (Xid). Those that NVIDIA's catalogue counts as hardware ask for a reset, a reboot
    or a new card.

    ## Fix
    Drain the machine, reset or reboot, check power, cooling and seating; return the card if it comes back.

    ## Proof
    CUD-P2; `provision doctor --select CUD105` reads a new log.
    """
    yield from said(
        symptoms,
        stated,
        "xid-hardware",
        (
            "dmesg | grep -i xid",
            "nvidia-smi --gpu-reset, or power the machine off and on",
        ),
        (
            "dmesg | grep -i -e xid -e 'fallen off'",
            "nvidia-smi -q -d ECC,PAGE_RETIREMENT,ROW_REMAPPER",
        ),
    )


@check("CUD106", ERROR, cause="ecc-error")
def log_says_ecc_error(symptoms: Symptoms, stated: MaybeStated) -> Iterator[Finding]:
    """A log reports errors of GPU memory.

    Uncorrectable errors end every program on the card; rows that cannot be remapped any more ask for a new card.

    ## Fix
    Reset the GPU so that pending rows are remapped; where remapping failed, return the card.

    ## Proof
    CUD-P4; `provision doctor --select CUD106` reads a new log.
    """
    yield from said(
        symptoms,
        stated,
        "ecc-error",
        (
            "nvidia-smi -q -d ECC,ROW_REMAPPER",
            "nvidia-smi --gpu-reset -i INDEX",
        ),
    )


@check("CUD107", ERROR, cause="nvlink-p2p-broken")
def log_says_peer_access_broken(symptoms: Symptoms, stated: MaybeStated) -> Iterator[Finding]:
    """A log says that GPUs do not reach each other.

    Peer access may be missing (GeForce), half there (bridged pairs), or broken (a bridge, a patched driver).
    Programs that count on it fail, hang or compute wrongly.

    ## Fix
    Do without it, or repair the bridge.

    ## Proof
    CUD-P2; `provision doctor --select CUD107` reads a new log.
    """
    yield from said(
        symptoms,
        stated,
        "nvlink-p2p-broken",
        (
            "nvidia-smi topo -m; nvidia-smi nvlink --status",
            "NCCL_P2P_DISABLE=1 and --disable-custom-all-reduce",
        ),
        (
            "NCCL_P2P_DISABLE=1 PROGRAM   # runs now: the peer path is at fault",
            "lspci -vvv | grep ACSCtl   # plus signs: the IOMMU or ACS is in the way",
        ),
    )


@check("CUD108", ERROR, cause="iommu-acs-hang")
def log_says_peer_traffic_redirected(symptoms: Symptoms, stated: MaybeStated) -> Iterator[Finding]:
    """A log fits peer traffic that the IOMMU or ACS redirects.

    With the IOMMU translating, or ACS set on the switches, what one PCIe card writes to another takes a detour on
    which it may get lost: collectives hang without an error.

    ## Fix
    Turn ACS and IOMMU translation off in the BIOS (or iommu=pt), or do without peer access.

    ## Proof
    CUD-P2; `provision doctor --select CUD108` reads a new log.
    """
    yield from said(
        symptoms,
        stated,
        "iommu-acs-hang",
        (
            "NCCL_P2P_DISABLE=1 PROGRAM",
            "lspci -vvv | grep ACSCtl; cat /proc/cmdline   # then: iommu=pt, or ACS off in the BIOS",
        ),
        (
            "NCCL_P2P_DISABLE=1 PROGRAM   # runs now: peer traffic is at fault",
            "lspci -vvv | grep ACSCtl; dmesg | grep -i -e iommu -e amd-vi -e dmar",
        ),
    )


@check("CUD109", ERROR, cause="pcie-link-degraded")
def log_says_pcie_link_degraded(symptoms: Symptoms, stated: MaybeStated) -> Iterator[Finding]:
    """A log says that a card's PCIe link is degraded.

    Fewer lanes or a slower rate under load come from a riser, a slot, or the BIOS. A low rate on an idle card is
    power saving.

    ## Fix
    Reseat the card, replace the riser, set the slot's rate in the BIOS.

    ## Proof
    CUD-P2; `provision doctor --select CUD109` reads a new log.
    """
    yield from said(
        symptoms,
        stated,
        "pcie-link-degraded",
        (
            "nvidia-smi --query-gpu=pcie.link.gen.current,pcie.link.width.current --format=csv   # under load",
            "lspci -vv | grep -e LnkCap -e LnkSta",
        ),
    )


@check("CUD110", ERROR, cause="wsl2-specific")
def log_says_wsl_limit(symptoms: Symptoms, stated: MaybeStated) -> Iterator[Finding]:
    """A log shows a limit of WSL.

    In WSL the driver is Windows's, and its libcuda lies in /usr/lib/wsl/lib; a Linux driver installed beside it
    hides it.

    ## Fix
    Remove Linux driver packages, put /usr/lib/wsl/lib first, update WSL and the Windows driver.

    ## Proof
    CUD-P2; `provision doctor --select CUD110` reads a new log.
    """
    yield from said(
        symptoms,
        stated,
        "wsl2-specific",
        (
            "export LD_LIBRARY_PATH=/usr/lib/wsl/lib",
            "wsl --update   # in Windows",
        ),
    )
