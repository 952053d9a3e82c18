"""CUD020-045: both sides of every threshold, on two healthy GPUs with one thing changed."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import pytest

from provision.fact import Absent, Missing
from provision.facts.driver import DriverLibraries, NvidiaDriver
from provision.facts.gpu_links import GpuLinks, LinkedGpu
from provision.facts.gpu_nodes import CdiDevices, CdiNode, DeviceNode, DeviceNodes, FabricManager, GpuModules
from provision.facts.gpu_state import GpuError, GpuErrors, GpuMode, GpuModes, MigDevice
from provision.facts.gpus import Gpu, Gpus, LostGpu
from provision.facts.kernel_events import KernelEvent
from provision.facts.log import KernelLog
from provision.facts.pci import NvidiaCards, PciCard
from provision.facts.pci_paths import NvSwitches
from provision.facts.system import System
from provision.facts.units import Units
from provision.spec import Expect, Spec


def gpus(a: Any, *changes: dict[str, Any]) -> Gpus:
    cards = tuple(a(Gpu, index=n, pci_address=f"0000:0{n + 1}:00.0", **one) for n, one in enumerate(changes))
    return a(Gpus, gpus=cards)  # type: ignore[no-any-return]


def log(a: Any, kind: str, **changes: Any) -> KernelLog:
    return a(KernelLog, events=(a(KernelEvent, kind=kind, **changes),))  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    ("loaded", "helper", "found"),
    [(("nvidia",), False, 1), (("nvidia",), True, 0), (("nvidia", "nvidia_uvm"), False, 0)],
)
def test_cud020_wants_unified_memory(a: Any, messages: Any, loaded: tuple[str, ...], helper: bool, found: int) -> None:
    said = messages("CUD020", a(GpuModules, loaded=loaded, modprobe_helper=helper))
    assert (
        said
        == ["the NVIDIA driver 580.82.07 is loaded without nvidia-uvm, and nvidia-modprobe is not installed"] * found
    )


def test_cud021_names_the_missing_nodes(a: Any, messages: Any, run_check: Any) -> None:
    nodes = a(DeviceNodes, nodes=tuple(n for n in a(DeviceNodes).nodes if n.path in ("/dev/nvidia0", "/dev/nvidiactl")))
    assert messages("CUD021", nodes) == ["/dev/nvidia-uvm and /dev/nvidia1 are not there"]
    assert messages("CUD021", a(DeviceNodes, gpu_minors=(0, 1, 2))) == ["/dev/nvidia2 is not there"]
    assert messages("CUD021", nodes, a(GpuModules, modprobe_helper=True), a(System, container="docker"))
    assert run_check("CUD021", nodes, a(GpuModules, modprobe_helper=True)).outcome == "skipped"
    assert run_check("CUD021", a(DeviceNodes, gpu_minors=None)).outcome == "unknown"


@pytest.mark.parametrize(
    ("may_use", "mode", "closed", "taken"),
    [(True, 0o666, 0, 0), (True, 0o660, 0, 0), (False, 0o660, 1, 0), (False, 0o664, 1, 0), (False, 0o666, 0, 1)],
)
def test_cud022_and_cud023_tell_permissions_from_the_control_group(
    a: Any, messages: Any, may_use: bool, mode: int, closed: int, taken: int
) -> None:
    nodes = a(DeviceNodes, nodes=(a(DeviceNode, may_use=may_use, mode=mode, gid=44),))
    assert messages("CUD022", nodes) == [f"/dev/nvidia0: closed to this user (mode {mode:o}, group 44)"] * closed
    assert (
        messages("CUD023", nodes) == ["/dev/nvidia0: open to all by mode, and the kernel refuses this process"] * taken
    )


@pytest.mark.parametrize(
    ("mode", "gid", "begins"), [(0o660, 44, "getent group 44"), (0o600, 44, "grep -rn"), (0o660, 0, "grep -rn")]
)
def test_cud022_names_a_group_only_where_that_helps(a: Any, run_check: Any, mode: int, gid: int, begins: str) -> None:
    nodes = a(DeviceNodes, nodes=(a(DeviceNode, may_use=False, mode=mode, gid=gid),))
    (finding,) = run_check("CUD022", nodes).findings
    assert finding.fix[0].startswith(begins)


def test_cud023_names_every_node(a: Any, run_check: Any) -> None:
    nodes = tuple(a(DeviceNode, path=f"/dev/nvidia{n}", minor=n, may_use=False) for n in (0, 1))
    (finding,) = run_check("CUD023", a(DeviceNodes, nodes=nodes)).findings
    assert finding.measured["refused"] == ["/dev/nvidia0", "/dev/nvidia1"]


@pytest.mark.parametrize(
    ("path", "major", "said"),
    [
        ("/dev/nvidia-uvm", 510, []),
        ("/dev/nvidia-uvm", 509, ["/dev/nvidia-uvm has the major number 509; the driver's is 510"]),
        ("/dev/nvidia3", 195, []),
        ("/dev/nvidia3", 194, ["/dev/nvidia3 has the major number 194; the driver's is 195"]),
        ("/dev/nvidia-nvswitch0", 509, []),
    ],
)
def test_cud024_compares_with_the_drivers_number(a: Any, messages: Any, path: str, major: int, said: list[str]) -> None:
    assert messages("CUD024", a(DeviceNodes, nodes=(a(DeviceNode, path=path, major=major),))) == said


def test_cud024_knows_the_older_name_of_the_driver(a: Any, messages: Any) -> None:
    older = a(DeviceNodes, majors=(("nvidia-frontend", 195),), nodes=(a(DeviceNode, major=190),))
    assert len(messages("CUD024", older)) == 1


@pytest.mark.parametrize(
    ("node", "cdi", "said"),
    [
        ({}, {}, []),
        ({"major": 195, "minor": 0}, {}, []),
        ({"found_major": None, "found_minor": None}, {}, ["it names /dev/nvidia0, which is not there"]),
        ({"major": 190, "minor": 0}, {}, ["it gives /dev/nvidia0 the number 190:0, which is 195:0"]),
        ({}, {"driver_versions": ("570.124.06",)}, ["it mounts libraries of driver 570.124.06; 580.82.07 is loaded"]),
        ({}, {"lost_files": ("/usr/bin/nvidia-smi",)}, ["it mounts /usr/bin/nvidia-smi, which is gone"]),
    ],
)
def test_cud025_compares_with_the_host(
    a: Any, messages: Any, node: dict[str, Any], cdi: dict[str, Any], said: list[str]
) -> None:
    found = messages("CUD025", a(CdiDevices, nodes=(a(CdiNode, **node),), **cdi))
    assert found == [f"/var/run/cdi/nvidia.yaml: {one}" for one in said]


@pytest.mark.parametrize(
    ("mode", "prohibited", "exclusive"), [("default", 0, 0), ("prohibited", 1, 0), ("exclusive process", 0, 1)]
)
def test_cud026_and_cud027_read_the_compute_mode(
    a: Any, messages: Any, mode: str, prohibited: int, exclusive: int
) -> None:
    modes = a(GpuModes, gpus=(a(GpuMode, index=3, compute_mode=mode),))
    assert (
        messages("CUD026", modes) == ["GPU 3 is in the compute mode prohibited, which lets no program in"] * prohibited
    )
    assert (
        messages("CUD027", modes)
        == ["GPU 3 is in the compute mode exclusive process, which lets one process in"] * exclusive
    )


def test_cud027_that_cannot_be_read_is_not_ok(a: Any, run_check: Any) -> None:
    closed = a(
        GpuModes,
        gpus=(a(GpuMode), a(GpuMode, index=1, compute_mode=None, unread=(("compute_mode", "permission denied"),))),
    )
    result = run_check("CUD027", closed)
    assert (result.outcome, result.reason) == ("unknown", "GPU 1, compute_mode: permission denied")
    none = a(GpuModes, gpus=(a(GpuMode, compute_mode=None),))
    assert run_check("CUD027", none).outcome == "skipped"


@pytest.mark.parametrize(("mode", "devices", "outcome"), [(False, 0, "skipped"), (True, 0, "found"), (True, 1, "ok")])
def test_cud028_wants_devices_in_mig_mode(a: Any, run_check: Any, mode: bool, devices: int, outcome: str) -> None:
    modes = a(GpuModes, gpus=(a(GpuMode, mig_devices=(a(MigDevice),) * devices),))
    result = run_check("CUD028", gpus(a, {"mig_mode": mode}), modes)
    assert result.outcome == outcome
    assert [f.message for f in result.findings] == ["GPU 0 (0000:01:00.0) is in MIG mode and has no MIG device"] * (
        outcome == "found"
    )


def test_cud028_says_why_it_does_not_apply(a: Any, run_check: Any) -> None:
    without = run_check("CUD028", gpus(a, {"mig_mode": None}))
    assert (without.outcome, without.reason) == ("skipped", "no GPU here has MIG")
    silent = run_check("CUD028", gpus(a, {"mig_mode": True}), a(GpuModes, gpus=(a(GpuMode, mig_devices=None),)))
    assert (silent.outcome, silent.reason) == ("skipped", "no GPU here tells its MIG devices")


def test_cud029_sees_a_change_that_waits(a: Any, messages: Any, run_check: Any) -> None:
    assert messages("CUD029", gpus(a, {"mig_mode": True, "mig_mode_pending": False})) == [
        "GPU 0: MIG is on and will be off after a reset"
    ]
    assert messages("CUD029", gpus(a, {"mig_mode": True, "mig_mode_pending": True})) == []
    assert run_check("CUD029", gpus(a, {"mig_mode": None, "mig_mode_pending": None})).outcome == "skipped"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({}, []),
        ({"active": False, "state": "failed"}, ["1 NVSwitch is on the bus and the fabric manager is failed"]),
        (None, ["1 NVSwitch is on the bus and the fabric manager is not installed"]),
    ],
)
def test_cud030_wants_the_fabric_manager(
    a: Any, messages: Any, run_check: Any, change: dict[str, Any] | None, said: list[str]
) -> None:
    *rest, fabric = a(Units).units
    units = a(Units, units=tuple(rest) if change is None else (*rest, dataclasses.replace(fabric, **change)))
    assert messages("CUD030", units) == said
    assert run_check("CUD030", units, a(System, container="docker")).outcome == "skipped"


@pytest.mark.parametrize(("version", "found"), [("580.82.07", 0), ("580.82.08", 1)])
def test_cud031_wants_the_drivers_own_version(a: Any, messages: Any, version: str, found: int) -> None:
    said = messages("CUD031", a(FabricManager, version=version))
    assert said == ["the fabric manager is 580.82.08, the driver 580.82.07"] * found


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"fabric_state": "completed"}, []),
        ({"fabric_state": "in progress"}, ["its state is in progress"]),
        ({"fabric_state": "completed", "fabric_error": "unknown error"}, ["unknown error"]),
        ({"fabric_state": "completed", "fabric_faults": ("degraded bandwidth", "route unhealthy")},
         ["degraded bandwidth, route unhealthy"]),
    ],
)  # fmt: skip
def test_cud032_reads_the_fabrics_state(a: Any, messages: Any, change: dict[str, Any], said: list[str]) -> None:
    links = a(GpuLinks, gpus=(a(LinkedGpu, index=2, **change),), pairs=())
    assert messages("CUD032", links) == [f"the NVLink fabric of GPU 2: {one}" for one in said]


def test_cud032_that_cannot_be_read_is_unknown(a: Any, run_check: Any) -> None:
    why = (("fabric_state", "the installed libnvidia-ml is older than this query"),)
    links = a(GpuLinks, gpus=(a(LinkedGpu, fabric_state=None, fabric_faults=None, unread=why),), pairs=())
    assert run_check("CUD032", links).outcome == "unknown"
    assert run_check("CUD032", links, {NvSwitches: Absent("no NVSwitch on the PCI bus")}).outcome == "skipped"
    assert run_check("CUD032").outcome == "skipped"


def test_cud033_sees_unlike_cards(a: Any, messages: Any, run_check: Any) -> None:
    assert messages("CUD033", gpus(a, {"name": "A"}, {"name": "A"}, {"name": "B"})) == ["2 of A and 1 of B"]
    assert messages("CUD033", gpus(a, {"name": "A"}, {"name": "A"})) == []
    assert run_check("CUD033", gpus(a, {})).outcome == "skipped"


@pytest.mark.parametrize(("wanted", "outcome"), [(None, "skipped"), ("h100", "ok"), ("H200", "found")])
def test_cud034_wants_the_expected_model(a: Any, run_check: Any, wanted: str | None, outcome: str) -> None:
    result = run_check("CUD034", gpus(a, {}), a(Spec, expect=Expect(gpu_model=wanted)))
    assert result.outcome == outcome
    if outcome == "found":
        assert result.findings[0].message == (
            "GPU 0 (0000:01:00.0) is NVIDIA H100 80GB HBM3; provision.toml expects H200"
        )


@pytest.mark.parametrize(("advice", "found"), [("none", 0), ("reset the GPU", 1), ("reboot the node", 1)])
def test_cud035_passes_the_drivers_advice_on(a: Any, messages: Any, advice: str, found: int) -> None:
    said = messages("CUD035", a(GpuErrors, gpus=(a(GpuError, recovery=advice),)))
    assert said == [f"the driver's advice for GPU 0: {advice}"] * found


@pytest.mark.parametrize(("device", "found"), [("0000:01:00.0", 0), ("0000:09:00.0", 1), (None, 1)])
def test_cud036_forgets_cards_that_answer_now(a: Any, messages: Any, device: str | None, found: int) -> None:
    said = messages("CUD036", log(a, "gpu-init-failed", device=device, times=3, text="RmInitAdapter failed!"))
    assert said == [f"the driver failed to start {device or 'a GPU'} 3 times: RmInitAdapter failed!"] * found


def test_cud037_counts_only_without_a_driver(a: Any, messages: Any, run_check: Any) -> None:
    refused = log(a, "module-refused", device=None, text="Loading of unsigned module is rejected")
    without = {NvidiaDriver: Absent("not loaded")}
    assert messages("CUD037", refused, without) == [
        "2 NVIDIA cards without a driver, and the kernel says: Loading of unsigned module is rejected"
    ]
    assert messages("CUD037", a(KernelLog), without) == []
    assert run_check("CUD037", refused).outcome == "skipped"


def test_cud038_passes_the_drivers_refusal_on(a: Any, messages: Any) -> None:
    said = "NVRM: The NVIDIA GPU 0000:af:00.0 installed in this system is not supported by open nvidia.ko"
    assert messages("CUD038", log(a, "gpu-not-supported", device="0000:af:00.0", text=said)) == [
        f"the driver refuses 0000:af:00.0: {said}"
    ]
    assert messages("CUD038", log(a, "gpu-not-supported", device="0000:01:00.0", text=said)) == []


@pytest.mark.parametrize(("flavour", "outcome"), [("open", "skipped"), ("proprietary", "found"), (None, "found")])
def test_cud039_wants_the_open_modules(a: Any, run_check: Any, flavour: Any, outcome: str) -> None:
    result = run_check("CUD039", log(a, "gpu-needs-open-modules"), a(NvidiaDriver, flavour=flavour))
    assert result.outcome == outcome
    assert run_check("CUD039", a(NvidiaDriver, flavour=None)).outcome == "ok"


def test_cud040_counts_while_a_card_does_not_answer(a: Any, messages: Any, run_check: Any) -> None:
    firmware = log(a, "gsp-failed", device=None, times=4, text="Cannot initialize GSP firmware RM")
    said = ["the driver: Cannot initialize GSP firmware RM (4 times)"]
    assert messages("CUD040", firmware, gpus(a, {})) == said  # two cards on the bus
    assert messages("CUD040", firmware, {Gpus: Missing("no answer")}) == said
    assert messages("CUD040", gpus(a, {})) == []
    assert run_check("CUD040", firmware).outcome == "skipped"


@pytest.mark.parametrize(
    ("device", "alive", "found"),
    [
        ("0000:01:00.0", True, 0),
        ("0000:09:00.0", True, 1),
        (None, True, 0),
        (None, False, 1),
        ("0000:01:00.0", False, 1),
    ],
)
def test_cud041_forgets_cards_that_answer_now(
    a: Any, messages: Any, device: str | None, alive: bool, found: int
) -> None:
    region = log(a, "gpu-region-invalid", device=device, text="BAR1 is 0M @ 0x0")
    said = messages("CUD041", region, {} if alive else {Gpus: Missing("no answer")})
    assert said == [f"the driver found {device or 'a GPU'} without its memory window: BAR1 is 0M @ 0x0"] * found


@pytest.mark.parametrize(
    ("driver", "passed", "nova"),
    [("nvidia", 0, 0), ("nouveau", 0, 0), ("vfio-pci", 1, 0), ("nova_core", 0, 1), ("NovaCore", 0, 1)],
)
def test_cud042_and_cud043_name_who_holds_the_card(a: Any, messages: Any, driver: str, passed: int, nova: int) -> None:
    cards = a(NvidiaCards, cards=(a(PciCard, kernel_driver=driver),))
    assert messages("CUD042", cards) == ["vfio-pci holds 0000:01:00.0"] * passed
    assert messages("CUD043", cards) == [f"{driver} holds 0000:01:00.0"] * nova


def test_cud042_is_fine_where_the_cpu_is_meant(a: Any, run_check: Any) -> None:
    cards = a(NvidiaCards, cards=(a(PciCard, kernel_driver="vfio-pci"),))
    assert run_check("CUD042", cards, a(Spec, accelerator="cpu")).outcome == "skipped"


def test_cud043_holds_without_the_list_of_modules(a: Any, messages: Any) -> None:
    cards = a(NvidiaCards, cards=(a(PciCard, kernel_driver="nova_core"),))
    assert messages("CUD043", cards, {GpuModules: Missing("closed")}) == ["nova_core holds 0000:01:00.0"]


def test_cud044_compares_firmware_inside_one_model(a: Any, messages: Any, run_check: Any) -> None:
    modes = a(GpuModes, gpus=(a(GpuMode), a(GpuMode, index=1, vbios="96.00.89.00.01")))
    assert messages("CUD044", modes) == [
        "NVIDIA H100 80GB HBM3: 1 with firmware 96.00.74.00.01 and 1 with firmware 96.00.89.00.01"
    ]
    assert messages("CUD044") == []
    assert run_check("CUD044", modes, gpus(a, {"name": "A"}, {"name": "B"})).outcome == "skipped"
    assert run_check("CUD044", {GpuModes: Missing("no answer in 2 s")}).outcome == "unknown"


@pytest.mark.parametrize(("library", "certainty"), [("580.82.07", "likely"), ("570.124.06", "certain")])
def test_cud045_is_certain_where_the_hosts_own_library_differs(
    a: Any, run_check: Callable[..., Any], library: str, certainty: str
) -> None:
    said = "NVRM: API mismatch: the client has the version 570.124.06, but this kernel module has the version 580.82.07"
    (finding,) = run_check(
        "CUD045", log(a, "nvrm-api-mismatch", times=2, text=said), a(DriverLibraries, version=library)
    ).findings
    assert (finding.message, finding.certainty) == (f"2 times since this machine started: {said}", certainty)
    assert run_check("CUD045").outcome == "ok"


def test_a_log_recorded_before_events_were_kept_is_unknown(a: Any, run_check: Any) -> None:
    old = a(KernelLog, events=None)
    lost = a(Gpus, lost=(a(LostGpu),))
    for code in ("CUD036", "CUD038", "CUD040", "CUD041", "CUD045", "MON032", "MON035", "LAT037"):
        assert run_check(code, old, lost).outcome == "unknown", code
