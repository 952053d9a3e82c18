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
    assert told(text, Stated(gpus=linked))[0] == ("nvlink-p2p-broken", "likely")
    assert told(f"{text}, NVLink retrains", Stated(gpus=linked))[0] == ("nvlink-p2p-broken", "certain")


@pytest.mark.parametrize(
    ("text", "certainty"),
    [
        ("NCCL hangs with tensor parallel 2", "certain"),
        ("regression since v0.9.1\nNCCL hangs with tensor parallel 2", "possible"),
        ("[feature] a watchdog\nNCCL hangs with tensor parallel 2", "possible"),
        ("No available shared memory broadcast block found in 60 seconds", "possible"),
        ("NCCL hangs with tensor parallel 2\nOSError: [Errno 98] Address already in use", "possible"),
    ],
)
def test_a_hang_is_of_the_links_where_nothing_else_explains_it(text: str, certainty: str) -> None:
    assert dict(told(text)).get("iommu-acs-hang") == certainty


@pytest.mark.parametrize("name", ["NVIDIA H100 80GB HBM3", "NVIDIA GH200 480GB", "NVIDIA H20", "NVIDIA B200"])
def test_cards_that_are_linked_throughout_do_not_cross_the_iommu(name: str) -> None:
    linked = tuple(StatedGpu(index=i, name=name) for i in range(8))
    assert told("NCCL hangs with tensor parallel 8", Stated(gpus=linked))[0] == ("nvlink-p2p-broken", "likely")


def test_a_row_of_another_version_is_passed_over() -> None:
    assert weigh(Symptoms(found=(Symptom(rule="of-tomorrow", line=1, text="x"),), lines=1), Stated()) == []


def test_two_rows_that_heard_one_line_are_one_message() -> None:
    line = "No devices were found; RmInitAdapter failed! (0x22:0x56:884)"
    assert told(line) == [("driver-not-loaded", "likely")] * 2


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


@pytest.mark.parametrize(
    ("code", "found"),
    [
        (18, [("nvml-driver-library-mismatch", "certain")]),
        (9, [("driver-not-loaded", "certain")]),
        (15, [("xid-hardware", "certain")]),
        (999, [("container-lost-gpu-cgroup", "likely")]),
        (3, []),
    ],
)
def test_nvml_by_the_number_it_answers_with(code: int, found: list[tuple[str, str]]) -> None:
    assert told(f"nvmlInit_v2 err: {code}") == found


@pytest.mark.parametrize(
    ("text", "first"),
    [
        ("cuInit err: 100", ("cuda-visible-devices-or-mig", "likely")),
        (
            "no nvidia devices detected by library /usr/lib64/libcuda.so.575.64.05",
            ("cuda-visible-devices-or-mig", "likely"),
        ),
        ("cuInit err: 803", ("compat-package-shadow", "certain")),
        ("cuInit err: 803\nnvmlInit_v2 err: 18", ("nvml-driver-library-mismatch", "certain")),
        ("cuInit err: 804", ("compat-package-shadow", "certain")),
        ("cuInit err: 999", ("driver-not-loaded", "likely")),
    ],
)
def test_cuinit_by_the_number_it_answers_with(text: str, first: tuple[str, str]) -> None:
    assert told(text)[0] == first


def test_a_number_of_cuinit_that_is_not_in_the_list_says_nothing() -> None:
    assert told("cuInit err: 1") == []


def test_a_card_that_left_the_bus_is_why_the_driver_did_not_take_it() -> None:
    probe = "NVRM: The NVIDIA probe routine failed for 1 device(s)."
    assert told(probe) == [("driver-not-loaded", "certain")]
    assert told(f"NVRM: fallen off the bus and is not responding to commands.\n{probe}") == [
        ("xid-hardware", "certain"),
        ("driver-not-loaded", "possible"),
    ]


@pytest.mark.parametrize(("capability", "certainty"), [("12.0", "certain"), ("9.0", "likely"), ("3.7", "certain")])
def test_no_kernel_on_a_card_that_most_wheels_lack(capability: str, certainty: str) -> None:
    assert told(NO_KERNEL, Stated(gpus=(card("A", capability),))) == [("torch-arch-unsupported", certainty)]


def test_an_import_that_fails_is_a_conflict_unless_the_log_says_of_what() -> None:
    failed = "RuntimeError: Failed to import transformers.models.clip.modeling_clip because of the following error"
    assert told(failed) == [("dependency-conflict", "certain")]
    assert told(f"{failed}\nversion `GLIBC_2.32' not found") == [("glibc-or-manylinux-too-old", "certain")]


@pytest.mark.parametrize(("part", "certainty"), [(192, "certain"), (64, "likely")])
def test_a_shard_smaller_than_a_block_is_for_the_engine_to_pad(part: int, certainty: str) -> None:
    text = f"ValueError: Weight output_partition_size = {part} is not divisible by weight quantization block_n = 128."
    assert told(text) == [("tensor-parallel-not-divisible", certainty)]


OOM = "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 896.00 MiB."


@pytest.mark.parametrize(
    ("frame", "first"),
    [
        ("", ("insufficient-vram-weights", "possible")),
        ('File "model_runner.py", line 162, in load_model', ("insufficient-vram-weights", "certain")),
        ('File "model_runner.py", line 1, in profile_run', ("insufficient-kv-cache", "certain")),
        (
            'in load_model\nFile "gpu_worker.py", line 1, in determine_available_memory',
            ("insufficient-kv-cache", "certain"),
        ),
        ('first bad commit\nFile "a.py", line 1, in profile_run', ("insufficient-vram-weights", "possible")),
    ],
)
def test_out_of_memory_by_where_the_program_was(frame: str, first: tuple[str, str]) -> None:
    assert told(f"{frame}\n{OOM}")[0] == first


def test_out_of_memory_on_wsl_may_be_what_may_be_pinned() -> None:
    wsl = Stated(os_name="Windows 11 WSL2")
    assert told("RuntimeError: CUDA error: out of memory", wsl)[0] == ("wsl2-specific", "likely")
    assert told(OOM, wsl) == [("insufficient-vram-weights", "possible")]


@pytest.mark.parametrize(("asked", "found"), [("4.50", ["fragmentation-oom"]), ("4.51", [])])
def test_memory_in_pieces_is_the_cause_only_where_the_pieces_would_do(asked: str, found: list[str]) -> None:
    text = (
        f"Tried to allocate {asked} GiB. GPU 0 has a total capacity of 80.00 GiB of which 0.50 GiB is free. "
        "30.00 GiB is allocated by PyTorch, and 4.00 GiB is reserved by PyTorch but unallocated"
    )
    assert [cause for cause, _ in told(text) if cause == "fragmentation-oom"] == found


def test_a_cache_is_short_only_in_what_serves() -> None:
    assert told("OOM during CUDA graph capture")[0] == ("insufficient-kv-cache", "certain")
    assert told("I can train this model, but it will OOM with CUDA graph capture")[0][1] == "possible"


def test_a_slow_start_yields_to_what_ended_the_program() -> None:
    slow = "Loading safetensors checkpoint shards: 100% Completed | 3/3 [01:49<00:00, 36.52s/it]"
    assert told(slow) == [("slow-storage", "certain")]
    ended = f"{slow}\nerror while attempting to bind on address ('0.0.0.0', 8000): address already in use"
    assert told(ended) == [("port-in-use", "certain"), ("slow-storage", "possible")]


def test_a_slow_start_since_another_version_is_the_programs() -> None:
    slow = "loading the model is slow"
    assert told(slow) == [("slow-storage", "certain")]
    assert told(f"{slow}\nin 0.1.48 0.4 s, but in 0.2.0 4 s") == [("slow-storage", "possible")]


def test_storage_that_is_only_named_is_not_yet_slow() -> None:
    assert told("the weights are on NFS") == [("slow-storage", "likely")]
    assert told("reads from Lustre stall") == [("slow-storage", "certain")]
    assert told("[feature] reads from Lustre stall") == [("slow-storage", "likely")]
    assert told("loading from NFS is slow") == [("slow-storage", "certain")]


def test_an_interface_set_by_hand_is_wrong_where_nodes_name_two() -> None:
    assert told("NCCL_SOCKET_IFNAME=eth0") == [("nccl-network-interface", "likely")]
    assert told("NCCL_SOCKET_IFNAME=eth0 fixed it") == [("nccl-network-interface", "certain")]
    assert told("NCCL_SOCKET_IFNAME=eth0\nNCCL_SOCKET_IFNAME=eth1") == [("nccl-network-interface", "certain")] * 2


def test_direct_traffic_that_is_set_by_hand_is_not_yet_broken() -> None:
    assert told("NCCL_P2P_DISABLE=1") == [("nvlink-p2p-broken", "likely")]
    assert told("NCCL_P2P_DISABLE=1 fixed it") == [("nvlink-p2p-broken", "certain")]


def test_numa_that_is_only_named_is_nothing() -> None:
    assert told("found 2 NUMA nodes") == []
    assert told("memory on the wrong NUMA node") == [("numa-or-cpu-governor", "certain")]


@pytest.mark.parametrize(
    ("link", "certainty"),
    [
        ("Speed 2.5GT/s (downgraded), Width x16 (ok)", "likely"),
        ("Speed 2.5GT/s (downgraded), Width x8 (downgraded)", "certain"),
        ("Speed 16GT/s (ok), Width x8 (downgraded)", "certain"),
    ],
)
def test_a_link_at_rest_is_slower_and_not_narrower(link: str, certainty: str) -> None:
    assert told(f"LnkSta: {link}") == [("pcie-link-degraded", certainty)]
