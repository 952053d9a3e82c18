"""The facts about GPUs from what nvidia-smi printed of them: the table, -q and -q -x.

"N/A" is NVML's NOT_SUPPORTED: the field is None, as in a probe's record. What is not printed, or printed as an error
("Unknown Error", "GPU is lost"), is None too and stands in ``unread`` with that reason.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial
from typing import Any

from provision.fact import NOT_PASTED, Missing
from provision.facts.gpu_state import (
    GpuClock,
    GpuClocks,
    GpuError,
    GpuErrors,
    GpuMode,
    GpuModes,
    GpuProcess,
    MigDevice,
)
from provision.facts.gpus import Gpu, Gpus, LostGpu
from provision.paste.draft import MOST_CARDS, Draft
from provision.paste.printed import Printed, Unprinted, decimal, ecc, mebibytes, number, on, yes

_MIB = 1 << 20
_LOST = "GPU is lost"
_DRAWN = ("power_draw", "average_power_draw", "current_power_draw", "instantaneous_power_draw", "instant_power_draw")
# How -q and -q -x print each reason; the words are those of provision.facts.nvml_sections.REASONS.
_REASONS = (
    ("idle", "idle", "gpu_idle"),
    ("applications clocks setting", "applications_clocks_setting", ""),
    ("software power cap", "sw_power_cap", ""),
    ("hardware slowdown", "hw_slowdown", ""),
    ("sync boost", "sync_boost", ""),
    ("software thermal slowdown", "sw_thermal_slowdown", ""),
    ("hardware thermal slowdown", "hw_thermal_slowdown", ""),
    ("hardware power brake", "hw_power_brake_slowdown", "hw_power_brake"),
    ("display clock setting", "display_clock_setting", "display_clocks_setting"),
)
_VIRTUALIZATION = {"none": "none", "pass-through": "passthrough", "vgpu": "vgpu", "host vgpu": "vgpu host"}
_RECOVERY = {
    "reset": "reset the GPU",
    "reboot": "reboot the node",
    "drain p2p": "drain peer-to-peer traffic",
    "drain and reset": "drain and reset the GPU",
}
_MODES = {
    "default": "default",
    "exclusive_thread": "exclusive thread",
    "prohibited": "prohibited",
    "exclusive_process": "exclusive process",
}


def facts(draft: Draft) -> dict[str, Any]:
    """``Gpus``, ``GpuClocks``, ``GpuErrors`` and ``GpuModes``; one of which nothing is printed is left out."""
    if not draft.cards:
        return {}
    order = sorted(draft.cards, key=lambda address: draft.indices[address])
    lost = [a for a in order if any(value.strip() == _LOST for value in draft.cards[a].values())]
    shown = [(draft.indices[a], draft.cards[a]) for a in order if a not in lost]
    # The text was cut, or one card of several was asked for: of the others nothing is known.
    unseen = range(len(order), min(draft.attached_gpus or 0, MOST_CARDS))
    made: dict[str, Any] = {"Gpus": _gpus(draft, order, lost, len(unseen))}
    kinds: tuple[tuple[Any, Callable[[Printed], Any]], ...] = (
        (GpuClocks, _clock),
        (GpuErrors, _error),
        (GpuModes, _mode),
    )
    for whole, one in kinds:
        records = [one(Printed(index, values)) for index, values in [*shown, *((n, {}) for n in unseen)]]
        if any(map(_says, records)):
            made[whole.__name__] = whole(gpus=tuple(records))
    return made


def _says(one: GpuClock | GpuError | GpuMode) -> bool:
    """Whether anything of the record is printed ("N/A" is)."""
    return sum(why == NOT_PASTED for _, why in one.unread) < len(one.__dataclass_fields__) - len(("index", "unread"))


def _gpus(draft: Draft, order: list[str], lost: list[str], unseen: int) -> Gpus | Missing:
    version = draft.fields.get("driver_version")
    if unseen:
        return Missing(f"nvidia-smi counts {draft.attached_gpus} GPUs and the text shows {len(order)}")
    if version is None or any("product_name" not in draft.cards[a] for a in order if a not in lost):
        return Missing(NOT_PASTED)
    return Gpus(
        driver_version=version,
        cuda_version=draft.fields.get("cuda_api"),
        gpus=tuple(_gpu(a, Printed(draft.indices[a], draft.cards[a])) for a in order if a not in lost),
        lost=tuple(LostGpu(index=draft.indices[a], reason=f"nvidia-smi says {_LOST!r}") for a in lost),
    )


def _gpu(address: str, ask: Printed) -> Gpu:
    from provision.catalog import gpus as catalog

    name = ask.values["product_name"]
    link = "gpu_link_info/"
    found: dict[str, Any] = {
        "uuid": ask("uuid", str, "gpu_uuid", "uuid"),
        "memory_bytes": ask("memory_bytes", mebibytes, "fb_memory_usage/total"),
        "memory_free_bytes": ask.attempt("memory_free_bytes", partial(_free, ask)),
        "pcie_width": ask("pcie_width", number, f"{link}link_width/current", "link_widths/current_link_width"),
        "pcie_width_max": ask("pcie_width_max", number, f"{link}link_width/max", "link_widths/max_link_width"),
        "pcie_generation": ask(
            "pcie_generation", number, f"{link}pcie_generation/current", "pcie_gen/current_link_gen"
        ),
        "pcie_generation_max": ask(
            "pcie_generation_max", number, f"{link}pcie_generation/max", "pcie_gen/max_link_gen"
        ),
        "mig_mode": ask("mig_mode", on, "mig_mode/current", "mig_mode/current_mig"),
        "mig_mode_pending": ask("mig_mode_pending", on, "mig_mode/pending", "mig_mode/pending_mig"),
        "persistence": ask("persistence", on, "persistence_mode"),
    }
    running = ask.attempt("process_count", partial(_processes, ask))
    return Gpu(
        index=ask.index,
        name=name,
        pci_address=address,
        compute_capability=catalog.compute_capability(name),
        process_count=None if running is None else sum(one.kind == "compute" for one in running),
        **found,
        unread=tuple(ask.unread),
    )


def _free(ask: Printed) -> int | None:
    try:
        said = ask.find("fb_memory_usage/free")
        return None if said is None else mebibytes(said)
    except Unprinted:
        total, used = ask.find("fb_memory_usage/total"), ask.find("fb_memory_usage/used")
        return None if total is None or used is None else mebibytes(total) - mebibytes(used)


def _clock(ask: Printed) -> GpuClock:
    power = ("gpu_power_readings/", "power_readings/")

    def watts(field: str, *names: str) -> int | None:
        paths = [over + name for name in names for over in power]
        return ask(field, lambda said: round(decimal(said) * 1000), *paths)

    found: dict[str, Any] = {
        "sm_mhz": ask("sm_mhz", number, "clocks/sm", "clocks/sm_clock"),
        "sm_max_mhz": ask("sm_max_mhz", number, "max_clocks/sm", "max_clocks/sm_clock"),
        "memory_mhz": ask("memory_mhz", number, "clocks/memory", "clocks/mem_clock"),
        "memory_max_mhz": ask("memory_max_mhz", number, "max_clocks/memory", "max_clocks/mem_clock"),
        "reasons": ask.attempt("reasons", partial(_reasons, ask)),
        "celsius": ask("celsius", number, "gpu_current_temp", "temperature/gpu_temp"),
        "memory_celsius": ask("memory_celsius", number, "memory_current_temp", "temperature/memory_temp"),
        "shutdown_celsius": ask("shutdown_celsius", number, "gpu_shutdown_temp", "gpu_temp_max_threshold"),
        "slowdown_celsius": ask("slowdown_celsius", number, "gpu_slowdown_temp", "gpu_temp_slow_threshold"),
        "memory_limit_celsius": ask(
            "memory_limit_celsius", number, "memory_max_operating_temp", "gpu_temp_max_mem_threshold"
        ),
        "limit_celsius": ask("limit_celsius", number, "gpu_max_operating_temp", "gpu_temp_max_gpu_threshold"),
        "power_mw": watts("power_mw", *_DRAWN),
        "power_limit_mw": watts("power_limit_mw", "enforced_power_limit", "current_power_limit", "power_limit"),
        "power_default_mw": watts("power_default_mw", "default_power_limit"),
    }
    return GpuClock(index=ask.index, **found, unread=tuple(ask.unread))


def _reasons(ask: Printed) -> tuple[str, ...] | None:
    """Those that are active. A paste that was cut inside the list says nothing of the rest, so the first five must be there."""
    heads = ("clocks_throttle_reasons/", "clocks_event_reasons/")
    found: dict[str, str | None] = {}
    for word, name, other in _REASONS:
        names = [name, *([other] if other else [])]
        tags = [f"clocks_{kind}_reason_{one}" for kind in ("throttle", "event") for one in names]
        try:
            found[word] = ask.find(*(over + one for over in heads for one in [*names, *tags]))
        except Unprinted:
            if word == "sync boost":  # what nvidia-smi has printed since it prints reasons at all ends there
                raise
    if all(said is None for said in found.values()):
        return None
    return tuple(word for word, said in found.items() if said == "Active")


def _count(ask: Printed, kind: str, span: str) -> int | None:
    """Memory errors that could ("corrected") or could not ("uncorrected") be put right, "volatile" or "aggregate"."""
    word, bits = {"corrected": ("correctable", "single"), "uncorrected": ("uncorrectable", "double")}[kind]
    last = f"{span}/dram_{word}"  # printed last: the list is whole
    if f"{span}/{bits}_bit/total" in ask:
        said = ask.find(f"{span}/{bits}_bit/total")
        return None if said is None else number(said)
    if last not in ask and (kind, span) == ("uncorrected", "volatile"):
        said = ask.find("table/ecc")
        return number(said) if said and said.isdecimal() else None
    # Drivers have printed the uncorrected errors of the SRAM in one line or in two.
    others = (f"{span}/sram_{word}{end}" for end in ("", "_parity", "_sec_ded", "_secded"))
    counts = [ask.find(one) for one in (last, *(other for other in others if other in ask))]
    known = [number(one) for one in counts if one is not None]
    return sum(known) if known else None


def _error(ask: Printed) -> GpuError:
    def retired() -> int | None:
        both = [
            ask.find("retired_pages/single_bit_ecc", "multiple_single_bit_retirement/retired_count"),
            ask.find("retired_pages/double_bit_ecc", "double_bit_retirement/retired_count"),
        ]
        return None if None in both else sum(number(said) for said in both if said)

    rows = "remapped_rows/"
    spans = (("since_load", "volatile"), ("ever", "aggregate"))
    found: dict[str, Any] = {
        "ecc": ask("ecc", ecc, "ecc_mode/current", "ecc_mode/current_ecc", "table/ecc"),
        "ecc_pending": ask("ecc_pending", on, "ecc_mode/pending", "ecc_mode/pending_ecc"),
        **{
            f"{kind}_{field}": ask.attempt(f"{kind}_{field}", partial(_count, ask, kind, span))
            for kind in ("corrected", "uncorrected")
            for field, span in spans
        },
        "sram_threshold_exceeded": ask("sram_threshold_exceeded", yes, "sram_threshold_exceeded"),
        "remapped_corrected": ask("remapped_corrected", number, f"{rows}correctable_error", f"{rows}remapped_row_corr"),
        "remapped_uncorrected": ask(
            "remapped_uncorrected", number, f"{rows}uncorrectable_error", f"{rows}remapped_row_unc"
        ),
        "row_remap_pending": ask("row_remap_pending", yes, f"{rows}pending", f"{rows}remapped_row_pending"),
        "row_remap_failed": ask(
            "row_remap_failed", yes, f"{rows}remapping_failure_occurred", f"{rows}remapped_row_failure"
        ),
        "banks_without_spare_rows": ask(
            "banks_without_spare_rows",
            number,
            f"{rows}bank_remap_availability_histogram/none",
            f"{rows}none",  # in a listing without the histogram, where the rows are "N/A" altogether
            "row_remapper_histogram_none",
        ),
        "retired_pages": ask.attempt("retired_pages", retired),
        "retired_pending": ask(
            "retired_pending",
            yes,
            *(
                f"retired_pages/{name}"
                for name in ("pending_page_blacklist", "pending_blacklist", "pending_retirement")
            ),
            "retired_pages/pending",
        ),
        "pcie_replays": ask("pcie_replays", number, "replays_since_reset", "replay_counter"),
        "inforom_valid": ask("inforom_valid", yes, "inforom_checksum_validation"),
        "recovery": ask("recovery", lambda said: _RECOVERY.get(said.lower(), said.lower()), "gpu_recovery_action"),
    }
    return GpuError(index=ask.index, **found, unread=tuple(ask.unread))


def _licensed(ask: Printed) -> bool | None:
    if (ask.find("virtualization_mode") or "").lower() != "vgpu":
        return None  # only a vGPU has a licence
    products = ("vgpu_software_licensed_product", "grid_software_licensed_product", "grid_licensed_product")
    said = ask.find(*(f"{product}/license_status" for product in products))
    return None if said is None else said.lower().startswith("licensed")


def _mode(ask: Printed) -> GpuMode:
    found: dict[str, Any] = {
        "compute_mode": ask("compute_mode", lambda said: _MODES.get(said.lower(), said.lower()), "compute_mode"),
        "virtualization": ask(
            "virtualization",
            lambda said: _VIRTUALIZATION.get(said.lower(), said.lower()),
            "virtualization_mode",
        ),
        "licensed": ask.attempt("licensed", partial(_licensed, ask)),
        "bar1_bytes": ask("bar1_bytes", mebibytes, "bar1_memory_usage/total"),
        "used_bytes": ask("used_bytes", mebibytes, "fb_memory_usage/used"),
        "reserved_bytes": ask("reserved_bytes", mebibytes, "fb_memory_usage/reserved"),
        "mig_devices": ask.attempt("mig_devices", partial(_mig_devices, ask)),
        "processes": ask.attempt("processes", partial(_processes, ask)),
        "vbios": ask("vbios", str, "vbios_version"),
        "inforom": ask("inforom", str, "inforom_version/image_version", "inforom_version/img_version"),
        "gsp_firmware": ask("gsp_firmware", str, "gsp_firmware_version"),
    }
    return GpuMode(index=ask.index, **found, unread=tuple(ask.unread))


def _mig_devices(ask: Printed) -> tuple[MigDevice, ...] | None:
    if ask.find("mig_mode/current", "mig_mode/current_mig") is None:
        return None
    sizes: dict[str, str] = {}
    for path, value in ask.values.items():
        if (found := re.search(r"mig_device#\d+", path)) and path.endswith("fb_memory_usage/total"):
            sizes[found[0]] = value
    if not sizes:
        ask.find(
            "mig_devices", "accounting_mode", "gpu_uuid", "uuid"
        )  # behind the devices: the text was not cut before
    return tuple(
        MigDevice(number=number, slices=None, memory_bytes=mebibytes(value))
        for number, value in enumerate(sizes.values())
    )


def _processes(ask: Printed) -> tuple[GpuProcess, ...] | None:
    running: dict[str, dict[str, str]] = {}
    for path, value in ask.values.items():
        if found := re.search(r"(process_info#\d+)/(\w+)$", path):
            running.setdefault(found[1], {})[found[2]] = value
    if not running:
        return None if ask.find("processes") is None else ()
    made = []
    for one in running.values():
        pid, kinds = one.get("process_id", one.get("pid", "")), one.get("type", "")
        if not pid.isdecimal():
            continue
        memory = re.match(r"(\d+) MiB", one.get("used_gpu_memory", one.get("used_memory", "")))
        held = int(memory[1]) * _MIB if memory else None
        made += [
            GpuProcess(pid=int(pid), kind=kind, memory_bytes=held)
            for letter, kind in (("C", "compute"), ("G", "graphics"))
            if letter in kinds
        ]
    return tuple(made)
