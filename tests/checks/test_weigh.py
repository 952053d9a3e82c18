"""What beside a message settles which cause it speaks for."""

from __future__ import annotations

import pytest

from provision.checks._log import weigh
from provision.facts.stated import Stated, StatedGpu
from provision.facts.symptoms import Symptom, Symptoms
from provision.paste.clean import lines
from provision.paste.symptoms import find

RUNTIME = "ImportError: libcudart.so.12: cannot open shared object file: No such file or directory"
NO_KERNEL = "RuntimeError: CUDA error: no kernel image is available for execution on the device"
NO_DEVICE = "Call to cuInit results in CUDA_ERROR_NO_DEVICE"
MISMATCH = "Error 803: system has unsupported display driver / cuda driver combination"


def told(text: str, stated: Stated | None = None) -> list[tuple[str, str]]:
    return [(one.cause, one.certainty) for one in weigh(find(lines(text)), stated or Stated())]


def card(name: str, capability: str | None = None, memory: int | None = None) -> StatedGpu:
    return StatedGpu(index=0, name=name, compute_capability=capability, memory_bytes=memory)


def test_803_is_a_copy_in_the_way_unless_nvml_complains_too() -> None:
    assert told(MISMATCH)[0] == ("compat-package-shadow", "certain")
    both = told(f"{MISMATCH}\nFailed to initialize NVML: Driver/library version mismatch")
    assert {cause for cause, _ in both} == {"nvml-driver-library-mismatch"}


@pytest.mark.parametrize(
    ("stated", "first"),
    [
        (Stated(), ("cuda-visible-devices-or-mig", "likely")),
        (Stated(os_name="Windows 11 WSL2"), ("wsl2-specific", "certain")),
        (Stated(kernel="5.15.90.1-microsoft-standard"), ("wsl2-specific", "certain")),
        (Stated(env=(("CUDA_VISIBLE_DEVICES", "7"),)), ("cuda-visible-devices-or-mig", "certain")),
        (Stated(driver_version="580.65.06"), ("cuda-visible-devices-or-mig", "certain")),
    ],
)
def test_no_device_by_what_is_stated(stated: Stated, first: tuple[str, str]) -> None:
    assert told(NO_DEVICE, stated)[0] == first


def test_torch_counts_gpus_only_where_a_driver_answers() -> None:
    assert told("RuntimeError: No CUDA GPUs are available")[0] == ("cuda-visible-devices-or-mig", "certain")


def test_a_driver_that_nvidia_smi_named_is_missing_only_in_the_container() -> None:
    text = "RuntimeError: Found no NVIDIA driver on your system."
    assert told(text) == [("driver-not-loaded", "certain")]
    assert told(text, Stated(driver_version="580.65.06")) == [("container-gpu-runtime-missing", "certain")]


@pytest.mark.parametrize(
    ("code", "found"),
    [
        (79, [("xid-hardware", "certain")]),
        (48, [("ecc-error", "certain")]),
        (31, [("gpu-program-fault", "possible")]),
        (38, []),
        (999, [("xid-hardware", "possible")]),
    ],
)
def test_xid_by_the_vendors_table(code: int, found: list[tuple[str, str]]) -> None:
    assert told(f"NVRM: Xid (PCI:0000:01:00): {code}, pid=1") == found


def test_no_kernel_by_torchs_own_list() -> None:
    built = {"torch_version": "2.6.0+cu126", "torch_cuda": "12.6"}
    assert told(NO_KERNEL) == [("torch-arch-unsupported", "likely")]
    outside = Stated(gpus=(card("NVIDIA GeForce RTX 5090", "12.0"),), **built)
    inside = Stated(gpus=(card("NVIDIA H100 80GB HBM3", "9.0"),), **built)
    assert told(NO_KERNEL, outside) == [("torch-arch-unsupported", "certain")]
    assert told(NO_KERNEL, inside) == [("torch-arch-unsupported", "possible")]
    newer = Stated(gpus=(card("NVIDIA GeForce RTX 4090", "8.9"),), **built)  # code for 8.6 serves 8.9
    assert told(NO_KERNEL, newer) == [("torch-arch-unsupported", "possible")]


def test_a_runtime_of_another_major_is_another_torchs_extension() -> None:
    assert told(RUNTIME, Stated(torch_cuda="13.0"))[0] == ("dependency-conflict", "certain")
    assert told(RUNTIME, Stated(torch_cuda="12.8"))[0] == ("cuda-toolkit-missing-or-mismatch", "certain")


def test_libstdcxx_by_whose_it_is() -> None:
    message = "ImportError: {}/libstdc++.so.6: version `GLIBCXX_3.4.30' not found"
    assert told(message.format("/lib64"))[0] == ("glibc-or-manylinux-too-old", "certain")
    assert told(message.format("/opt/conda/lib"))[0] == ("ld-library-path-shadow", "certain")


@pytest.mark.parametrize(("gib", "certainty"), [(109, "certain"), (110, "possible")])
def test_out_of_memory_is_the_weights_where_they_are_larger_than_the_cards(gib: int, certainty: str) -> None:
    """235 thousand million parameters of half a byte are 109.4 GiB."""
    room = gib << 30
    stated = Stated(gpus=(card("A", memory=room),))
    assert told("OOM serving Qwen3-235B-A22B-AWQ", stated)[0] == ("insufficient-vram-weights", certainty)


@pytest.mark.parametrize(("unused", "found"), [("2.42", ["fragmentation-oom"]), ("2.39", [])])
def test_reserved_memory_is_in_pieces_from_a_tenth_of_what_is_used(unused: str, found: list[str]) -> None:
    text = f"24.00 GiB is allocated by PyTorch, and {unused} GiB is reserved by PyTorch but unallocated"
    assert [cause for cause, _ in told(text)] == found


@pytest.mark.parametrize(("seconds", "found"), [("5.00", 1), ("4.99", 0)])
def test_shards_are_slow_from_five_seconds(seconds: str, found: int) -> None:
    text = f"Loading safetensors checkpoint shards: 18% Completed | 2/11 [00:17<01:20, {seconds}s/it]"
    assert len(told(text)) == found


def test_a_hang_by_what_the_cards_are() -> None:
    text = "the engine hangs"
    two = tuple(StatedGpu(index=i, name="NVIDIA RTX 6000 Ada Generation") for i in range(2))
    linked = tuple(StatedGpu(index=i, name="NVIDIA A100-SXM4-80GB") for i in range(2))
    assert told(text) == [("nvlink-p2p-broken", "possible"), ("iommu-acs-hang", "possible")]
    assert told(text, Stated(gpus=two))[0] == ("iommu-acs-hang", "certain")
    assert told(text, Stated(gpus=linked))[0] == ("nvlink-p2p-broken", "certain")


def test_a_row_of_another_version_is_passed_over() -> None:
    assert weigh(Symptoms(found=(Symptom(rule="of-tomorrow", line=1, text="x"),), lines=1), Stated()) == []


def test_two_messages_that_are_likely_settle_what_one_does_not() -> None:
    one = "No devices were found"
    other = "NVRM: GPU 0000:01:00.0: RmInitAdapter failed! (0x22:0x56:884)"
    assert told(one) == told(other) == [("driver-not-loaded", "likely")]
    assert told(f"{one}\n{other}") == [("driver-not-loaded", "certain")] * 2


def test_a_hang_that_goes_without_p2p_may_be_the_iommu_and_one_of_a_bridge_is_not() -> None:
    assert told("NCCL init hangs with tensor parallel 4, works with NCCL_P2P_DISABLE=1")[0] == (
        "iommu-acs-hang",
        "certain",
    )
    assert told("hangs with custom all-reduce on bridged pairs of NVLink")[0] == ("nvlink-p2p-broken", "certain")
