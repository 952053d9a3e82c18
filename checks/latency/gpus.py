"""GPUs that run below what they could: heat, power, clocks, licence."""

from __future__ import annotations

from collections.abc import Iterator

from provision.check import NOTE, WARNING, Finding, check
from provision.checks._gpus import events, readable, told
from provision.checks._words import counted
from provision.facts.gpu_state import GpuClock, GpuClocks, GpuModes
from provision.facts.log import KernelLog

_NO_REASONS = "no GPU here says what holds its clocks"


@check("LAT020", WARNING, cause="gpu-throttling")
def gpu_slowed_by_heat(clocks: GpuClocks) -> Iterator[Finding]:
    """A GPU is slowed down by heat right now.

    The hardware halves its clocks or worse, the driver lowers them step by step. Answers take twice as long, and no
    program reports anything.

    ## Fix
    Look at fans, filters and the room; give passively cooled cards a directed flow of air. A lower power limit is a way to
    live with it.

    ## Proof
    LAT-P1: tokens per second in every precision at or above the floor.
    """
    for gpu in readable(clocks.gpus, "reasons", _NO_REASONS):
        hot = [r for r in gpu.reasons or () if "thermal" in r]
        alone = "hardware slowdown" in (gpu.reasons or ()) and "hardware power brake" not in (gpu.reasons or ())
        if hot or alone:
            yield Finding(
                f"GPU {gpu.index} runs at {gpu.sm_mhz} of {gpu.sm_max_mhz} MHz for {(hot or ['hardware slowdown'])[-1]}, "
                f"at {gpu.celsius} °C (it slows down from {gpu.slowdown_celsius} °C on)",
                measured={
                    "index": gpu.index,
                    "celsius": gpu.celsius,
                    "sm_mhz": gpu.sm_mhz,
                    "reasons": list(gpu.reasons or ()),
                },
                needed={"reasons": []},
                fix=(f"nvidia-smi -q -i {gpu.index} -d TEMPERATURE,PERFORMANCE", "ipmitool sdr type Fan"),
            )


@check("LAT021", WARNING, cause="gpu-throttling")
def gpu_braked_by_its_power_supply(clocks: GpuClocks) -> Iterator[Finding]:
    """The machine's power supply holds a GPU back.

    The board asserts the power brake when a supply fails, a cable is missing or the chassis is over its budget. The GPU
    then runs at a fraction of its clocks until somebody clears the reason, which is outside the card.

    ## Fix
    Read the chassis's event log, check supplies and cables, and the power cap in its management controller.

    ## Proof
    LAT-P1: tokens per second in every precision at or above the floor.
    """
    for gpu in readable(clocks.gpus, "reasons", _NO_REASONS):
        if "hardware power brake" in (gpu.reasons or ()):
            yield Finding(
                f"GPU {gpu.index} runs at {gpu.sm_mhz} of {gpu.sm_max_mhz} MHz: the board's power brake is on",
                measured={"index": gpu.index, "sm_mhz": gpu.sm_mhz, "reasons": list(gpu.reasons or ())},
                needed={"reasons": []},
                fix=("ipmitool sel list | tail", "ipmitool sdr type 'Power Supply'"),
            )


@check("LAT022", WARNING, cause="gpu-throttling")
def power_limit_below_default(clocks: GpuClocks) -> Iterator[Finding]:
    """A GPU's power limit is below the card's own.

    Somebody lowered it (`nvidia-smi -pl`, a tool, the chassis). Reading a prompt, which is arithmetic, slows down with the
    power; writing the answer, which is memory, hardly does. Sometimes it is meant: waive it with a reason then.

    ## Fix
    Set it back.

    ## Proof
    LAT-P1: tokens per second in every precision at or above the floor.
    """
    for gpu in readable(clocks.gpus, "power_limit_mw power_default_mw", "no GPU here has a power limit"):
        limit, default = gpu.power_limit_mw or 0, gpu.power_default_mw or 0
        if limit < default:
            yield Finding(
                f"GPU {gpu.index} may draw {limit / 1000:g} W; the card's own limit is {default / 1000:g} W",
                measured={"index": gpu.index, "power_limit_mw": limit},
                needed={"power_limit_mw": default},
                fix=(f"nvidia-smi -i {gpu.index} -pl {default // 1000}",),
            )


@check("LAT023", NOTE, cause="gpu-throttling")
def clocks_held_by_a_setting(clocks: GpuClocks) -> Iterator[Finding]:
    """A setting holds a GPU's clocks below what it could reach.

    Applications clocks or locked clocks were set by hand and are what limits the GPU now.

    ## Fix
    Take the setting back.

    ## Proof
    LAT-P1: tokens per second in every precision at or above the floor.
    """
    for gpu in readable(clocks.gpus, "reasons", _NO_REASONS):
        if "applications clocks setting" in (gpu.reasons or ()):
            yield Finding(
                f"GPU {gpu.index} is held at {gpu.sm_mhz} of {gpu.sm_max_mhz} MHz by a clock setting",
                measured={"index": gpu.index, "sm_mhz": gpu.sm_mhz},
                needed={"sm_mhz": gpu.sm_max_mhz},
                fix=(f"nvidia-smi -i {gpu.index} -rac; nvidia-smi -i {gpu.index} -rgc",),
            )


@check("LAT024", WARNING, cause="gpu-throttling")
def gpu_at_its_temperature_limit(clocks: GpuClocks) -> Iterator[Finding]:
    """A GPU, or its memory, is as hot as the driver lets it become.

    From here on the driver takes clocks back, and some degrees later the hardware does. Memory is often the first:
    writing answers reads all weights for every token.

    ## Fix
    Look at fans, filters and the room before the next long load.

    ## Proof
    LAT-P1: tokens per second in every precision at or above the floor.
    """
    for gpu in readable(clocks.gpus, "celsius limit_celsius", "no GPU here tells its temperature and its limit"):
        yield from _hot(gpu, "the GPU", gpu.celsius or 0, gpu.limit_celsius or 0)
        if gpu.memory_celsius is not None and gpu.memory_limit_celsius is not None:
            yield from _hot(gpu, "its memory", gpu.memory_celsius, gpu.memory_limit_celsius)


def _hot(gpu: GpuClock, what: str, celsius: int, limit: int) -> Iterator[Finding]:
    if celsius >= limit > 0:
        yield Finding(
            f"GPU {gpu.index}: {what} is at {celsius} °C; the limit is {limit} °C",
            measured={"index": gpu.index, "celsius": celsius},
            needed={"below_celsius": limit},
            fix=(f"nvidia-smi -q -i {gpu.index} -d TEMPERATURE",),
        )


@check("LAT036", WARNING, cause="vgpu-unlicensed")
def virtual_gpu_without_a_licence(modes: GpuModes) -> Iterator[Finding]:
    """A virtual GPU has no licence.

    A vGPU works at first and is slowed down step by step when it gets no licence within minutes of its start; CUDA may be
    switched off altogether.

    ## Fix
    Give the guest its licence server's token and start the licence client.

    ## Proof
    LAT-P1: tokens per second in every precision at or above the floor.
    """
    for gpu in readable(modes.gpus, "licensed", "no GPU here is a vGPU"):
        if not gpu.licensed:
            yield Finding(
                f"GPU {gpu.index} is a vGPU without a licence",
                measured={"index": gpu.index, "licensed": False},
                needed={"licensed": True},
                fix=("systemctl status nvidia-gridd", "nvidia-smi -q | grep -A3 'Licensed Product'"),
            )


@check("LAT037", WARNING, cause="numa-or-cpu-governor")
def processor_slowed_by_heat(log: KernelLog) -> Iterator[Finding]:
    """The processor was slowed down by heat since this machine started.

    Tokenising, scheduling and every launch of a kernel run on the processor. At a fraction of its clock it starves the
    GPUs, and models on the CPU slow down with it.

    ## Fix
    Look at the processor's cooler, at fans and filters.

    ## Proof
    LAT-P1: tokens per second in every precision at or above the floor.
    """
    for event in events(log, "cpu-hot"):
        yield Finding(
            f"{counted(event.times, 'time')} since this machine started: {event.text}",
            measured=told(event),
            needed={"times": 0},
            fix=("cat /sys/class/thermal/thermal_zone*/temp", "ipmitool sdr type Fan"),
        )
