"""Public cases, as their authors pasted them (shortened to the lines that matter), judged by the doctor.

Each is "documented" evidence of its check in provision/catalog/fired.toml.
"""

from __future__ import annotations

from typing import NamedTuple

import pytest

from provision import check, facts, road
from provision.catalog.fired import fired
from provision.paste.snapshot import snapshot
from provision.spec import Expect, Spec

check.load()
facts.load()


class Case(NamedTuple):
    code: str
    source: str
    dumps: tuple[str, ...]
    messages: tuple[str, ...]  # what the doctor says of it, or its beginning where it ends in "…"
    expect: Expect = Expect()
    log: str | None = None


NCCL_667 = """
\tGPU0\tGPU1\tGPU2\tGPU3\tCPU Affinity\tNUMA Affinity
GPU0\t X \tPXB\tSYS\tSYS\t0-27,56-83\t0
GPU1\tPXB\t X \tSYS\tSYS\t0-27,56-83\t0
GPU2\tSYS\tSYS\t X \tPIX\t28-55,84-111\t1
GPU3\tSYS\tSYS\tPIX\t X \t28-55,84-111\t1
"""
# The whole listing is of eight GPUs; of one of them, and "Attached GPUs" set to what is shown.
GPUD = """==============NVSMI LOG==============

Timestamp                                 : Sat Jul  6 15:09:26 2024
Driver Version                            : 535.154.05
CUDA Version                              : 12.2

Attached GPUs                             : 1
GPU 00000000:01:00.0
    Product Name                          : NVIDIA GeForce RTX 4090
    FB Memory Usage
        Total                             : 24564 MiB
        Used                              : 20328 MiB
        Free                              : 3888 MiB
"""
PYTORCH_40618 = """Collecting environment information...
PyTorch version: 1.4.0
CUDA used to build PyTorch: 10.1
OS: CentOS Linux 7 (Core)
GPU models and configuration:
GPU 0: GeForce RTX 2080 Ti
GPU 1: GeForce RTX 2080 Ti
GPU 2: GeForce RTX 2080 Ti
GPU 3: GeForce RTX 2080 Ti
Nvidia driver version: 440.82
"""
CASES = (
    Case(
        "LAT028",
        "https://github.com/NVIDIA/nccl/issues/667",
        (NCCL_667,),
        (
            "what GPU 0 and GPU 2 say to each other crosses from processor to processor, and so it is with 3 further pairs",
        ),
    ),
    Case(
        "LAT037",
        "https://github.com/erpalma/throttled/issues/186",
        (
            "[76747.169397] mce: CPU2: Core temperature above threshold, cpu clock throttled (total events = 2675)\n"
            "[76747.169399] mce: CPU6: Package temperature above threshold, cpu clock throttled (total events = 3654)\n",
        ),
        ("2 times since this machine started: mce: CPU6: Package temperature above threshold…",),
    ),
    Case(
        "MON033",
        "https://github.com/andikleen/mcelog/issues/74",
        ("[ 261.273240] Memory failure: 0xe16677: already hardware poisoned\n",),
        ("main memory, 1 time since this machine started: Memory failure: 0xe16677: already hardware poisoned",),
    ),
    Case(
        "MON034",
        "https://github.com/openstreetmap/operations/issues/300",
        (
            "[21584690.529877] EDAC MC0: 4 CE error on CPU#0Channel#2_DIMM#0 (channel:2 slot:0 page:0x0)\n"
            "[21584691.723198] EDAC MC0: 2 CE error on CPU#0Channel#2_DIMM#0 (channel:2 slot:0 page:0x0)\n",
        ),
        ("MC0, 2 times since this machine started: EDAC MC0: 2 CE error on CPU#0Channel#2_DIMM#0…",),
    ),
    Case(
        "MON035",
        "https://github.com/oxidecomputer/crucible/issues/1844",
        (
            "[ 4700.639133] I/O error, dev nvme0n1, sector 131209936 op 0x0:(READ) flags 0x80700 phys_seg 25 prio class 0\n"
            "[ 4730.850358] I/O error, dev nvme0n1, sector 167431176 op 0x1:(WRITE) flags 0x4000 phys_seg 128 prio class 0\n",
        ),
        ("nvme0n1, 2 times since this machine started: I/O error, dev nvme0n1, sector 167431176…",),
    ),
    Case(
        "MON036",
        "https://github.com/NVIDIA/k8s-device-plugin/issues/77",
        ("[  721.028170] INFO: task nvc:[driver]:5403 blocked for more than 120 seconds.\n",),
        (
            "nvc:[driver], 1 time since this machine started: INFO: task nvc:[driver]:5403 blocked for more than 120 seconds.",
        ),
    ),
    Case(
        "MON037",
        "https://github.com/NVIDIA/open-gpu-kernel-modules/issues/446",
        (
            "NVRM: Xid (PCI:0000:48:00): 45, pid=22884, name=VLLM::Worker, channel 0x0000000a\n"
            "nvidia-nvswitch1: SXid (PCI:0000:aa:00.0): 24007, Severity 1 Engine instance 12 Sub-engine instance 00\n",
        ),
        ("NVSwitch 0000:aa:00.0, 1 time since this machine started: …",),
    ),
    Case(
        "MON038",
        "https://github.com/NVIDIA/nvtrust/issues/124",
        (
            "[   38.178720] nvidia-nvswitch3: SXid (PCI:0000:04:00.0): 22013, Non-fatal, Link 44 Minion Link DLREQ interrupt\n"
            "[   38.180708] nvidia-nvswitch3: SXid (PCI:0000:04:00.0): 22013, Severity 0 Engine instance 44\n",
        ),
        ("NVSwitch 0000:04:00.0, 2 times since this machine started: …",),
    ),
    Case(
        "CUD014",
        "https://github.com/pytorch/pytorch/issues/40618",
        (PYTORCH_40618, "CUDA_VISIBLE_DEVICES=\nHOME=/root\n"),
        ("CUDA_VISIBLE_DEVICES is '': none of 4 is visible",),
    ),
    Case(
        "CUD119",
        "https://github.com/vllm-project/vllm/issues/1518",
        ("vllm==0.2.0\n",),
        ("…",),
        log="RuntimeError: CUDA error: an illegal memory access was encountered\n",
    ),
    Case(
        "CUD006",
        "https://github.com/leptonai/gpud/tree/main/components/accelerator/nvidia/query/testdata",
        (GPUD,),
        ("…",),
        expect=Expect(driver="550.54"),
    ),
)


def judged(case: Case, spec: Spec) -> check.Result:
    read = snapshot([(f"dump{n}", text) for n, text in enumerate(case.dumps)], [("log", case.log)] if case.log else [])
    (result,) = road.diagnose_pasted(read, spec, [case.code], "2026-11-24").results
    return result


@pytest.mark.parametrize("case", CASES, ids=[case.code for case in CASES])
def test_a_public_case_is_found(case: Case) -> None:
    result = judged(case, Spec(expect=case.expect))
    assert result.outcome == "found", f"{result.outcome}: {result.reason}"
    for finding, wanted in zip(result.findings, case.messages, strict=True):
        start = wanted.removesuffix("…")
        assert finding.message == wanted or (wanted.endswith("…") and finding.message.startswith(start))


def test_each_is_the_evidence_of_its_check() -> None:
    assert {case.code: case.source for case in CASES} == {case.code: fired()[case.code].on for case in CASES}
    assert {fired()[case.code].kind for case in CASES} == {"documented"}
