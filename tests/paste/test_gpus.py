"""GPUs from what nvidia-smi prints: every wide fact, and what is not printed stays unknown with its reason."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from provision import check
from provision.fact import NOT_PASTED, Missing, Snapshot
from provision.facts.gpu_links import GpuLinks
from provision.facts.gpu_state import GpuClocks, GpuErrors, GpuModes, GpuProcess, MigDevice
from provision.facts.gpus import Gpus, LostGpu

Pasted = Callable[..., Snapshot]
Judge = Callable[..., dict[str, check.Result]]
MIB = 1 << 20

HEAD = """==============NVSMI LOG==============

Driver Version                            : 560.35.03
CUDA Version                              : 12.6

Attached GPUs                             : 1
"""
# leptonai/gpud, nvidia-query/testdata/nvidia-smi-query.560.35.03.out.0.valid: a TITAN V in a desktop. What no fact holds is
# left out, the number shortened, and one process made to compute too.
TITAN = (
    HEAD
    + """GPU 00000000:01:00.0
    Product Name                          : NVIDIA TITAN V
    Persistence Mode                      : Disabled
    MIG Mode
        Current                           : N/A
        Pending                           : N/A
    Accounting Mode                       : Disabled
    GPU UUID                              : GPU-f4c353ff-0000-0000-0000-000000000000
    VBIOS Version                         : 88.00.36.00.01
    Inforom Version
        Image Version                     : G001.0000.01.04
    GPU Virtualization Mode
        Virtualization Mode               : None
    GSP Firmware Version                  : N/A
    PCI
        GPU Link Info
            PCIe Generation
                Max                       : 3
                Current                   : 1
                Device Current            : 1
            Link Width
                Max                       : 16x
                Current                   : 16x
        Replays Since Reset               : 0
    Clocks Event Reasons
        Idle                              : Active
        Applications Clocks Setting       : Not Active
        SW Power Cap                      : Not Active
        HW Slowdown                       : Not Active
            HW Thermal Slowdown           : Not Active
            HW Power Brake Slowdown       : Not Active
        Sync Boost                        : Not Active
        SW Thermal Slowdown               : Not Active
    FB Memory Usage
        Total                             : 12288 MiB
        Reserved                          : 239 MiB
        Used                              : 290 MiB
        Free                              : 11760 MiB
    BAR1 Memory Usage
        Total                             : 256 MiB
        Used                              : 5 MiB
        Free                              : 251 MiB
    Compute Mode                          : Default
    ECC Mode
        Current                           : N/A
        Pending                           : N/A
    ECC Errors
        Volatile
            Single Bit
                Total                     : N/A
            Double Bit
                Total                     : N/A
        Aggregate
            Single Bit
                Total                     : N/A
            Double Bit
                Total                     : N/A
    Retired Pages
        Single Bit ECC                    : N/A
        Double Bit ECC                    : N/A
        Pending Page Blacklist            : N/A
    Remapped Rows                         : N/A
    Temperature
        GPU Current Temp                  : 44 C
        GPU Shutdown Temp                 : 100 C
        GPU Slowdown Temp                 : 97 C
        GPU Max Operating Temp            : 91 C
        Memory Current Temp               : 41 C
        Memory Max Operating Temp         : 95 C
    GPU Power Readings
        Power Draw                        : 29.02 W
        Current Power Limit               : 250.00 W
        Default Power Limit               : 250.00 W
    Module Power Readings
        Power Draw                        : N/A
        Current Power Limit               : N/A
    Clocks
        SM                                : 135 MHz
        Memory                            : 850 MHz
    Applications Clocks
        Memory                            : 850 MHz
    Max Clocks
        SM                                : 1912 MHz
        Memory                            : 850 MHz
    Processes
        Process ID                        : 100607
            Type                          : G
            Name                          : /usr/lib/xorg/Xorg
            Used GPU Memory               : 142 MiB
        Process ID                        : 101815
            Type                          : C+G
            Name                          : /opt/test
            Used GPU Memory               : N/A
"""
)
TITAN_XML = """<?xml version="1.0" ?>
<nvidia_smi_log>
<driver_version>560.35.03</driver_version><cuda_version>12.6</cuda_version><attached_gpus>1</attached_gpus>
<gpu id="00000000:01:00.0"><product_name>NVIDIA TITAN V</product_name>
<persistence_mode>Disabled</persistence_mode>
<mig_mode><current_mig>N/A</current_mig><pending_mig>N/A</pending_mig></mig_mode><mig_devices>
None
</mig_devices>
<uuid>GPU-f4c353ff-0000-0000-0000-000000000000</uuid><vbios_version>88.00.36.00.01</vbios_version>
<inforom_version><img_version>G001.0000.01.04</img_version></inforom_version>
<gpu_virtualization_mode><virtualization_mode>None</virtualization_mode></gpu_virtualization_mode>
<gsp_firmware_version>N/A</gsp_firmware_version>
<pci><pci_gpu_link_info><pcie_gen><max_link_gen>3</max_link_gen><current_link_gen>1</current_link_gen></pcie_gen>
<link_widths><max_link_width>16x</max_link_width><current_link_width>16x</current_link_width></link_widths>
</pci_gpu_link_info><replay_counter>0</replay_counter></pci>
<clocks_event_reasons><clocks_event_reason_gpu_idle>Active</clocks_event_reason_gpu_idle>
<clocks_event_reason_applications_clocks_setting>Not Active</clocks_event_reason_applications_clocks_setting>
<clocks_event_reason_sw_power_cap>Not Active</clocks_event_reason_sw_power_cap>
<clocks_event_reason_hw_slowdown>Not Active</clocks_event_reason_hw_slowdown>
<clocks_event_reason_sync_boost>Not Active</clocks_event_reason_sync_boost></clocks_event_reasons>
<fb_memory_usage><total>12288 MiB</total><reserved>239 MiB</reserved><used>290 MiB</used><free>11760 MiB</free>
</fb_memory_usage><bar1_memory_usage><total>256 MiB</total></bar1_memory_usage><compute_mode>Default</compute_mode>
<ecc_mode><current_ecc>N/A</current_ecc><pending_ecc>N/A</pending_ecc></ecc_mode>
<ecc_errors><volatile><single_bit><total>N/A</total></single_bit><double_bit><total>N/A</total></double_bit></volatile>
<aggregate><single_bit><total>N/A</total></single_bit><double_bit><total>N/A</total></double_bit></aggregate></ecc_errors>
<retired_pages><multiple_single_bit_retirement><retired_count>N/A</retired_count></multiple_single_bit_retirement>
<double_bit_retirement><retired_count>N/A</retired_count></double_bit_retirement>
<pending_blacklist>N/A</pending_blacklist></retired_pages><remapped_rows>N/A</remapped_rows>
<temperature><gpu_temp>44 C</gpu_temp><gpu_temp_max_threshold>100 C</gpu_temp_max_threshold>
<gpu_temp_slow_threshold>97 C</gpu_temp_slow_threshold><gpu_temp_max_gpu_threshold>91 C</gpu_temp_max_gpu_threshold>
<memory_temp>41 C</memory_temp><gpu_temp_max_mem_threshold>95 C</gpu_temp_max_mem_threshold></temperature>
<gpu_power_readings><power_draw>29.02 W</power_draw><current_power_limit>250.00 W</current_power_limit>
<default_power_limit>250.00 W</default_power_limit></gpu_power_readings>
<module_power_readings><power_draw>N/A</power_draw></module_power_readings>
<clocks><sm_clock>135 MHz</sm_clock><mem_clock>850 MHz</mem_clock></clocks>
<max_clocks><sm_clock>1912 MHz</sm_clock><mem_clock>850 MHz</mem_clock></max_clocks>
<processes><process_info><pid>100607</pid><type>G</type><used_memory>142 MiB</used_memory></process_info>
<process_info><pid>101815</pid><type>C+G</type><used_memory>N/A</used_memory></process_info></processes>
</gpu></nvidia_smi_log>
"""


def wide(read: Snapshot) -> list[Any]:
    return [read.get(kind) for kind in (Gpus, GpuClocks, GpuErrors, GpuModes)]


def test_a_listing_fills_every_wide_fact(pasted: Pasted) -> None:
    gpus, clocks, errors, modes = wide(pasted(TITAN))
    (gpu,), (clock,), (error,), (mode,) = gpus.gpus, clocks.gpus, errors.gpus, modes.gpus
    assert (gpu.index, gpu.pci_address, gpu.persistence, gpu.mig_mode, gpu.unread) == (
        0,
        "0000:01:00.0",
        False,
        None,
        (),
    )
    assert (gpu.pcie_width, gpu.pcie_width_max, gpu.pcie_generation, gpu.pcie_generation_max) == (16, 16, 1, 3)
    assert (gpu.memory_bytes, gpu.memory_free_bytes, gpu.process_count) == (12288 * MIB, 11760 * MIB, 1)
    assert (clock.reasons, clock.sm_mhz, clock.sm_max_mhz, clock.memory_max_mhz) == (("idle",), 135, 1912, 850)
    assert (clock.celsius, clock.slowdown_celsius, clock.limit_celsius, clock.memory_celsius) == (44, 97, 91, 41)
    assert (clock.power_mw, clock.power_limit_mw, clock.power_default_mw, clock.unread) == (29020, 250000, 250000, ())
    assert (error.ecc, error.uncorrected_since_load, error.retired_pages, error.row_remap_failed) == (None,) * 4
    assert dict(error.unread) == dict.fromkeys(("sram_threshold_exceeded", "inforom_valid", "recovery"), NOT_PASTED)
    assert (mode.compute_mode, mode.virtualization, mode.licensed, mode.bar1_bytes) == (
        "default",
        "none",
        None,
        256 * MIB,
    )
    assert mode.processes == (
        GpuProcess(pid=100607, kind="graphics", memory_bytes=142 * MIB),
        GpuProcess(pid=101815, kind="compute", memory_bytes=None),
        GpuProcess(pid=101815, kind="graphics", memory_bytes=None),
    )


def test_xml_says_the_same_as_the_listing(pasted: Pasted) -> None:
    assert wide(pasted(TITAN_XML)) == wide(pasted(TITAN))


def test_checks_judge_a_pasted_card(judge: Judge) -> None:
    results = judge(TITAN)
    found = {code for code, result in results.items() if result.outcome == "found"}
    assert found == {"LAT003", "MEM020", "MEM022"}
    assert results["LAT002"].outcome == "ok"
    assert results["MON025"].outcome == results["CUD029"].outcome == "skipped"


# check, the heading over the lines, the lines
FAULTS: list[tuple[str, str, dict[str, str]]] = [
    ("MON022", "Remapped Rows", {"Pending": "Yes"}),
    ("MON021", "Remapped Rows", {"Remapping Failure Occurred": "Yes"}),
    ("MON028", "Remapped Rows", {"Uncorrectable Error": "512"}),
    ("MON020", "ECC Errors/Volatile", {"SRAM Uncorrectable": "0", "DRAM Uncorrectable": "3"}),
    ("MON020", "ECC Errors/Volatile/Double Bit", {"Total": "2"}),
    ("MON025", "ECC Mode", {"Current": "Disabled"}),
    ("MON023", "Retired Pages", {"Pending Page Blacklist": "Yes"}),
    ("MON024", "Retired Pages", {"Single Bit ECC": "60", "Double Bit ECC": "3"}),
    ("MON029", "ECC Errors/Aggregate", {"SRAM Threshold Exceeded": "Yes"}),
    ("MON027", "Remapped Rows/Bank Remap Availability Histogram", {"None": "4 bank(s)"}),
    ("MON039", "", {"Inforom Checksum Validation": "Invalid"}),
    ("CUD035", "", {"GPU Recovery Action": "Reset"}),
    ("CUD026", "", {"Compute Mode": "Prohibited"}),
    ("CUD027", "", {"Compute Mode": "Exclusive_Process"}),
    ("LAT022", "Power Readings", {"Enforced Power Limit": "300.00 W", "Default Power Limit": "700.00 W"}),
    ("LAT024", "Temperature", {"GPU Current Temp": "91 C", "GPU Max Operating Temp": "91 C"}),
    ("LAT002", "PCI/GPU Link Info/Link Width", {"Max": "16x", "Current": "4x"}),
    ("CUD029", "MIG Mode", {"Current": "Disabled", "Pending": "Enabled"}),
    ("CUD028", "MIG Mode", {"Current": "Enabled", "Pending": "Enabled"}),
    ("CUD032", "Fabric", {"State": "In Progress"}),
]
REASONS = """    Clocks Throttle Reasons
        Idle                              : Not Active
        Applications Clocks Setting       : Not Active
        SW Power Cap                      : Not Active
        HW Slowdown                       : Active
            HW Thermal Slowdown           : {}
            HW Power Brake Slowdown       : {}
        Sync Boost                        : Not Active"""


def listed(heading: str, values: dict[str, str]) -> str:
    """The lines as -q indents them, and a value that it prints behind every card's modes."""
    names = heading.split("/") if heading else []
    lines = [f"{'    ' * (n + 1)}{name}" for n, name in enumerate(names)]
    lines += [f"{'    ' * (len(names) + 1)}{name:<26} : {value}" for name, value in values.items()]
    return "\n".join([*lines, "    Accounting Mode : Disabled", ""])


CARD = f"{HEAD}GPU 00000000:3B:00.0\n    Product Name                          : NVIDIA A100-SXM4-80GB\n"


@pytest.mark.parametrize(("code", "heading", "values"), FAULTS, ids=[f"{n}-{row[0]}" for n, row in enumerate(FAULTS)])
def test_a_fault_in_a_listing_is_found_and_without_its_lines_unknown(
    judge: Judge, code: str, heading: str, values: dict[str, str]
) -> None:
    assert judge(CARD + listed(heading, values))[code].outcome == "found"
    assert judge(CARD)[code].outcome == "unknown"


@pytest.mark.parametrize(
    ("thermal", "brake", "code"), [("Active", "Not Active", "LAT020"), ("Not Active", "Active", "LAT021")]
)
def test_what_holds_the_clocks_is_read_in_its_order(judge: Judge, thermal: str, brake: str, code: str) -> None:
    results = judge(CARD + REASONS.format(thermal, brake))
    assert {c for c in ("LAT020", "LAT021") if results[c].outcome == "found"} == {code}
    cut = REASONS.format(thermal, brake).partition("        Sync Boost")[0]  # what was cut off may be another reason
    assert judge(CARD + cut)[code].outcome == "unknown"


TABLE = """
| NVIDIA-SMI 535.54.03              Driver Version: 535.54.03    CUDA Version: 12.2     |
|-----------------------------------------+----------------------+----------------------+
|   0  NVIDIA A100-SXM4-40GB          Off | 00000000:07:00.0 Off |                    7 |
| N/A   31C    P0              45W / 300W |   8123MiB / 40960MiB |      0%   E. Process |
|                                         |                      |             Enabled* |
+-----------------------------------------+----------------------+----------------------+
|   1  NVIDIA A100-SXM4-40GB          On  | 00000000:0F:00.0 Off |                  Off |
| N/A  ERR!    P0              45W / 400W |      4MiB / 40960MiB |      0%      Default |
|                                         |                      |             Disabled |
+-----------------------------------------+----------------------+----------------------+
| MIG devices:                                                                          |
+------------------+--------------------------------+-----------+-----------------------+
|  0    1   0   0  |             19MiB / 20096MiB   | 42      0 |  3   0    2    0    0 |
+------------------+--------------------------------+-----------+-----------------------+
| Processes:                                                                            |
|=======================================================================================|
|    0   N/A  N/A      2213      C   python3                                   8100MiB |
+---------------------------------------------------------------------------------------+
WARNING: infoROM is corrupted at gpu 0000:0F:00.0
"""


def test_a_table_states_what_it_prints(pasted: Pasted, judge: Judge) -> None:
    gpus, clocks, errors, modes = wide(pasted(TABLE))
    assert [(g.persistence, g.mig_mode, g.mig_mode_pending, g.uuid) for g in gpus.gpus] == [
        (False, True, False, None),
        (True, False, False, None),
    ]
    assert [(e.ecc, e.uncorrected_since_load, e.inforom_valid) for e in errors.gpus] == [
        (True, 7, None),
        (False, None, False),
    ]
    assert [m.compute_mode for m in modes.gpus] == ["exclusive process", "default"]
    assert modes.gpus[0].mig_devices == (MigDevice(number=0, slices=None, memory_bytes=20096 * MIB),)
    assert modes.gpus[0].processes == (GpuProcess(pid=2213, kind="compute", memory_bytes=8100 * MIB),)
    assert modes.gpus[1].processes == ()
    assert dict(clocks.gpus[1].unread)["celsius"] == "nvidia-smi printed 'ERR!'"
    found = {code for code, result in judge(TABLE).items() if result.outcome == "found"}
    assert {"CUD027", "CUD029", "LAT003", "MON020", "MON025", "MON039"} <= found
    assert "CUD028" not in found


def test_cards_that_are_not_shown_are_not_well(judge: Judge, pasted: Pasted) -> None:
    text = TITAN.replace(
        "Attached GPUs                             : 1", "Attached GPUs                             : 8"
    )
    assert pasted(text).get(Gpus) == Missing("nvidia-smi counts 8 GPUs and the text shows 1")
    assert judge(text)["CUD026"].outcome == "unknown"  # the first is well, and of seven nobody knows
    assert judge(TITAN)["CUD026"].outcome == "ok"


def test_a_lost_card_is_named(pasted: Pasted, judge: Judge) -> None:
    lost = "GPU 00000000:41:00.0\n    Product Name                          : GPU is lost\n"
    text = (
        TITAN.replace("Attached GPUs                             : 1", "Attached GPUs                             : 2")
        + lost
    )
    assert pasted(text).get(Gpus).lost == (LostGpu(index=1, reason="nvidia-smi says 'GPU is lost'"),)
    assert judge(text)["CUD008"].outcome == "found"


BRIDGED = """\tGPU0\tGPU1\tGPU2\tGPU3\tCPU Affinity
GPU0\t X \tNV4\tPXB\tPXB\t0-31
GPU1\tNV4\t X \tPXB\tPXB\t0-31
GPU2\tPXB\tPXB\t X \tNV4\t0-31
GPU3\tPXB\tPXB\tNV4\t X \t0-31
"""


def test_a_matrix_gives_the_ways_and_the_bridges(pasted: Pasted, judge: Judge) -> None:
    links = pasted(BRIDGED).get(GpuLinks)
    assert [(p.first, p.second, p.nvlinks, p.topology) for p in links.pairs] == [
        (0, 1, 4, None),
        (0, 2, 0, "several switches"),
        (0, 3, 0, "several switches"),
        (1, 2, 0, "several switches"),
        (1, 3, 0, "several switches"),
        (2, 3, 4, None),
    ]
    results = judge(BRIDGED)
    assert results["LAT031"].outcome == "found"
    assert results["LAT028"].outcome == "skipped"  # every GPU has a bridge
    assert results["LAT029"].outcome == results["LAT032"].outcome == "unknown"
    whole = BRIDGED.replace("PXB", "NV4")
    assert judge(whole)["LAT031"].outcome == "ok"


def test_many_cards_cost_no_more_than_the_few_that_a_machine_has(pasted: Pasted) -> None:
    text = HEAD + "".join(
        f"GPU 0000{n:04X}:01:00.0\n    Persistence Mode                      : Disabled\n" for n in range(500)
    )
    assert len(pasted(text).get(GpuModes).gpus if not isinstance(pasted(text).get(GpuModes), Missing) else ()) <= 64


@pytest.mark.parametrize("printed", ["Unknown Error", "ERR!", "Insufficient Permissions"])
def test_an_error_in_place_of_a_value_is_the_reason(judge: Judge, printed: str) -> None:
    result = judge(CARD + f"    Compute Mode                          : {printed}\n")["CUD026"]
    assert (result.outcome, result.reason) == ("unknown", f"GPU 0, compute_mode: nvidia-smi printed {printed!r}")
