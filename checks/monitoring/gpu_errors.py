"""Memory errors of GPUs and what was done about them. The words and limits are NVIDIA's guide to GPU memory errors."""

from __future__ import annotations

from collections.abc import Iterator

from provision.catalog import tables
from provision.check import ERROR, NOTE, WARNING, Finding, check
from provision.checks._gpus import readable
from provision.checks._words import counted
from provision.facts.gpu_state import GpuError, GpuErrors

_NO_ECC = "no GPU here has ECC"
_NO_ROWS = "no GPU here remaps rows"


def _look(gpu: GpuError, what: str) -> str:
    return f"nvidia-smi -q -i {gpu.index} -d {what}"


@check("MON020", ERROR, cause="ecc-error")
def uncorrected_memory_errors(errors: GpuErrors) -> Iterator[Finding]:
    """A GPU has had memory errors that could not be corrected since the driver was loaded.

    The program that met one was stopped (Xid 48, 94 or 95, "uncorrectable ECC error encountered"). The driver takes the
    place out of use, mostly at the next reset; until then it may be met again.

    ## Fix
    Stop what uses the GPU and reset it, or reboot. If errors come back after that, have the card replaced.

    ## Proof
    CUD-P4: a matrix product and a convolution on the GPU agree with the CPU.
    """
    for gpu in readable(errors.gpus, "uncorrected_since_load", _NO_ECC):
        if gpu.uncorrected_since_load:
            ever = "" if gpu.uncorrected_ever is None else f", {gpu.uncorrected_ever} in the card's life"
            yield Finding(
                f"GPU {gpu.index}: {counted(gpu.uncorrected_since_load, 'uncorrected memory error')} since the driver was "
                f"loaded{ever}",
                measured={"index": gpu.index, "uncorrected_since_load": gpu.uncorrected_since_load},
                needed={"uncorrected_since_load": 0},
                fix=(_look(gpu, "ECC,ROW_REMAPPER"), f"nvidia-smi --gpu-reset -i {gpu.index}"),
            )


@check("MON021", ERROR, cause="ecc-error")
def row_remapping_failed(errors: GpuErrors) -> Iterator[Finding]:
    """A GPU could not replace a bad row of its memory.

    Each bank has a few spare rows. When they are used up the driver can no longer hide bad memory, and NVIDIA takes the
    card back for that. Jobs on it fail again and again, in ways that look like software.

    ## Fix
    Take the card out of service, run NVIDIA's field diagnostic, and have it replaced.

    ## Proof
    CUD-P4: a matrix product and a convolution on the GPU agree with the CPU.
    """
    for gpu in readable(errors.gpus, "row_remap_failed", _NO_ROWS):
        if gpu.row_remap_failed:
            yield Finding(
                f"GPU {gpu.index} failed to remap a bad row of its memory; NVIDIA's advice is to replace the card",
                measured={"index": gpu.index, "row_remap_failed": True},
                needed={"row_remap_failed": False},
                fix=(_look(gpu, "ROW_REMAPPER"), "nvidia-bug-report.sh   # the maker asks for it"),
            )


@check("MON022", WARNING, cause="ecc-error")
def row_remapping_pending(errors: GpuErrors) -> Iterator[Finding]:
    """A GPU has found a bad row of memory and replaces it only at the next reset.

    Until then the row stays in use, or its page is kept aside. One remapped row is no reason to replace a card.

    ## Fix
    Stop what uses the GPU and reset it, or reboot.

    ## Proof
    CUD-P4: a matrix product and a convolution on the GPU agree with the CPU.
    """
    for gpu in readable(errors.gpus, "row_remap_pending", _NO_ROWS):
        if gpu.row_remap_pending:
            yield Finding(
                f"GPU {gpu.index} replaces a bad row of its memory at the next reset",
                measured={"index": gpu.index, "row_remap_pending": True},
                needed={"row_remap_pending": False},
                fix=(f"nvidia-smi --gpu-reset -i {gpu.index}",),
            )


@check("MON023", WARNING, cause="ecc-error")
def page_retirement_pending(errors: GpuErrors) -> Iterator[Finding]:
    """A GPU has bad pages of memory that it takes out of use only at the next start of the driver.

    Until then programs may be given these pages and stop with "uncorrectable ECC error encountered".

    ## Fix
    Stop what uses the GPU and load the driver anew, or reboot.

    ## Proof
    CUD-P4: a matrix product and a convolution on the GPU agree with the CPU.
    """
    for gpu in readable(errors.gpus, "retired_pending", "no GPU here retires pages"):
        if gpu.retired_pending:
            yield Finding(
                f"GPU {gpu.index} has pages to retire at the next start of the driver",
                measured={"index": gpu.index, "retired_pending": True},
                needed={"retired_pending": False},
                fix=(_look(gpu, "PAGE_RETIREMENT"), "reboot"),
            )


@check("MON024", ERROR, cause="ecc-error")
def retired_pages_at_their_limit(errors: GpuErrors) -> Iterator[Finding]:
    """A GPU has retired as many pages of memory as it can.

    The list of bad pages has 64 places. With 63 of them taken NVIDIA's own diagnostic (DCGM) fails a card: it keeps failing,
    and NVIDIA takes it back.

    ## Fix
    Take the card out of service and have it replaced.

    ## Proof
    CUD-P4: a matrix product and a convolution on the GPU agree with the CPU.
    """
    limit = tables.thresholds().limit["retired_pages"].value
    for gpu in readable(errors.gpus, "retired_pages", "no GPU here retires pages"):
        if (gpu.retired_pages or 0) >= limit:
            yield Finding(
                f"GPU {gpu.index} has retired {gpu.retired_pages} pages of its memory; the limit is {limit}",
                measured={"index": gpu.index, "retired_pages": gpu.retired_pages},
                needed={"below": limit},
                fix=(_look(gpu, "PAGE_RETIREMENT"),),
            )


@check("MON025", WARNING, cause="ecc-error")
def error_correction_off(errors: GpuErrors) -> Iterator[Finding]:
    """Error correction (ECC) is off on a GPU that has it.

    A flipped bit in the weights then stays until they are loaded again, and nobody notices: wrong tokens instead of an
    error. Off, some cards have a few percent more memory, which is why somebody may have done it.

    ## Fix
    Switch it on and reboot.

    ## Proof
    CUD-P4: a matrix product and a convolution on the GPU agree with the CPU.
    """
    for gpu in readable(errors.gpus, "ecc", _NO_ECC):
        if not gpu.ecc:
            waits = " and will be on after the next reboot" if gpu.ecc_pending else ""
            yield Finding(
                f"ECC is off on GPU {gpu.index}{waits}",
                measured={"index": gpu.index, "ecc": False, "ecc_pending": gpu.ecc_pending},
                needed={"ecc": True},
                fix=("reboot",) if gpu.ecc_pending else (f"nvidia-smi -i {gpu.index} -e 1", "reboot"),
            )


@check("MON026", NOTE, cause="ecc-error")
def error_correction_will_be_off(errors: GpuErrors) -> Iterator[Finding]:
    """Error correction (ECC) will be off after the next reboot.

    Somebody asked for it, and it takes effect at a time when nobody remembers.

    ## Fix
    Take the order back, unless it is meant.

    ## Proof
    None of its own: `provision doctor --select MON026` reads both modes again.
    """
    for gpu in readable(errors.gpus, "ecc ecc_pending", _NO_ECC):
        if gpu.ecc and not gpu.ecc_pending:
            yield Finding(
                f"ECC is on and will be off on GPU {gpu.index} after the next reboot",
                measured={"index": gpu.index, "ecc": True, "ecc_pending": False},
                needed={"ecc_pending": True},
                fix=(f"nvidia-smi -i {gpu.index} -e 1",),
            )


@check("MON027", WARNING, cause="ecc-error")
def banks_without_spare_rows(errors: GpuErrors) -> Iterator[Finding]:
    """A GPU has banks of memory that are out of spare rows.

    The next bad row in such a bank cannot be replaced: the card then counts as broken (MON021). It is the time to plan
    its replacement, not yet to stop it.

    ## Fix
    Plan the card's replacement.

    ## Proof
    CUD-P4: a matrix product and a convolution on the GPU agree with the CPU.
    """
    for gpu in readable(errors.gpus, "banks_without_spare_rows", _NO_ROWS):
        if gpu.banks_without_spare_rows:
            yield Finding(
                f"GPU {gpu.index}: {counted(gpu.banks_without_spare_rows, 'bank')} of its memory without a spare row",
                measured={"index": gpu.index, "banks": gpu.banks_without_spare_rows},
                needed={"banks": 0},
                fix=(_look(gpu, "ROW_REMAPPER"),),
            )


@check("MON028", ERROR, cause="ecc-error")
def remapped_rows_at_their_limit(errors: GpuErrors) -> Iterator[Finding]:
    """A GPU has remapped as many rows for uncorrected errors as it can.

    After 512 the driver remaps no more, and NVIDIA takes the card back.

    ## Fix
    Take the card out of service and have it replaced.

    ## Proof
    CUD-P4: a matrix product and a convolution on the GPU agree with the CPU.
    """
    limit = tables.thresholds().limit["remapped_rows"].value
    for gpu in readable(errors.gpus, "remapped_uncorrected", _NO_ROWS):
        if (gpu.remapped_uncorrected or 0) >= limit:
            yield Finding(
                f"GPU {gpu.index} has remapped {gpu.remapped_uncorrected} rows; the limit is {limit}",
                measured={"index": gpu.index, "remapped_uncorrected": gpu.remapped_uncorrected},
                needed={"below": limit},
                fix=(_look(gpu, "ROW_REMAPPER"),),
            )


@check("MON029", WARNING, cause="ecc-error")
def sram_errors_over_their_threshold(errors: GpuErrors) -> Iterator[Finding]:
    """The driver counts more errors in a GPU's inner memory (SRAM) than a healthy card has.

    These errors hit caches and registers and cannot be remapped away. The threshold is the driver's own.

    ## Fix
    Run NVIDIA's field diagnostic and have the card replaced if it agrees.

    ## Proof
    CUD-P4: a matrix product and a convolution on the GPU agree with the CPU.
    """
    for gpu in readable(errors.gpus, "sram_threshold_exceeded", "no GPU here judges its SRAM errors"):
        if gpu.sram_threshold_exceeded:
            yield Finding(
                f"GPU {gpu.index}: the driver says its SRAM errors are over the threshold",
                measured={"index": gpu.index, "sram_threshold_exceeded": True},
                needed={"sram_threshold_exceeded": False},
                fix=(_look(gpu, "ECC"),),
            )


@check("MON039", WARNING, cause="inforom-corrupt")
def configuration_store_damaged(errors: GpuErrors) -> Iterator[Finding]:
    """A GPU's configuration store (infoROM) is damaged.

    It holds the card's settings and the list of its bad memory. With a damaged one the driver warns at every start, and
    bad pages may come back into use. A reset repairs some; others must go to the maker.

    ## Fix
    Reset the GPU; if it stays, have the card repaired by its maker.

    ## Proof
    CUD-P4: a matrix product and a convolution on the GPU agree with the CPU.
    """
    for gpu in readable(errors.gpus, "inforom_valid", "no GPU here can check its infoROM"):
        if not gpu.inforom_valid:
            yield Finding(
                f"the infoROM of GPU {gpu.index} is damaged",
                measured={"index": gpu.index, "inforom_valid": False},
                needed={"inforom_valid": True},
                fix=(f"nvidia-smi --gpu-reset -i {gpu.index}", _look(gpu, "ECC")),
            )
