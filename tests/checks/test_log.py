"""What a log says: every check on a message of its kind and on one that only looks like it."""
# ruff: noqa: E501  messages stand as programs print them

from __future__ import annotations

from typing import Any

import pytest

from provision.fact import Absent
from provision.facts.symptoms import Symptoms
from provision.paste.clean import lines
from provision.paste.symptoms import find


@pytest.fixture
def told(run_check: Any) -> Any:
    """``told(code, text)``: the messages of one check on a log, with their certainty unless it is certain."""

    def run(code: str, text: str) -> list[str]:
        found = run_check(code, find(lines(text))).findings
        return [f.message if f.certainty == "certain" else f"{f.certainty}: {f.message}" for f in found]

    return run


def test_no_log_is_no_answer(run_check: Any) -> None:
    result = run_check("CUD100", {Symptoms: Absent("no log was pasted")})
    assert (result.outcome, result.reason) == ("skipped", "no log was pasted")


def test_cud100_driver_not_loaded(told: Any) -> None:
    text = "dkms autoinstall on 6.11.0-17-generic/x86_64 failed for nvidia(10)"
    assert told("CUD100", text) == [
        "line 1: the driver's module was not built for, or not loaded into, the running kernel"
    ]
    assert told("CUD100", "| NVIDIA-SMI 570.86.10   Driver Version: 570.86.10   CUDA Version: 12.8 |") == []


def test_cud101_nvml_driver_library_mismatch(told: Any) -> None:
    text = "Failed to initialize NVML: Driver/library version mismatch\nNVML library version: 550.120"
    assert told("CUD101", text) == [
        "line 1: the driver's library and its loaded kernel module are of different versions"
    ]
    assert told("CUD101", "NVRM: loading NVIDIA UNIX x86_64 Kernel Module  550.120") == []


def test_cud102_compat_package_shadow(told: Any) -> None:
    text = "Error 804: forward compatibility was attempted on non supported HW"
    assert told("CUD102", text) == [
        "line 1: CUDA error 804: a forward-compatibility libcuda was loaded on a card that does not support it"
    ]
    assert told("CUD102", "the driver is forward compatible") == []


def test_cud103_driver_too_old_for_cuda(told: Any) -> None:
    text = "CUDA error: the provided PTX was compiled with an unsupported toolchain."
    assert told("CUD103", text) == [
        "line 1: CUDA error 222: PTX newer than the driver's compiler; minor-version compatibility does not cover PTX"
    ]
    assert told("CUD103", "CUDA driver version 12.4, CUDA runtime version 12.4") == []


def test_cud104_fabric_manager_not_running(told: Any) -> None:
    text = "RuntimeError: CUDA error: system not yet initialized"
    assert told("CUD104", text) == [
        "line 1: the NVSwitch fabric is not set up: the fabric manager does not run or is not of the driver's version"
    ]
    assert told("CUD104", "the system is initialized") == []


def test_cud105_xid_hardware(told: Any) -> None:
    text = "nvidia-smi shows ERR! for one GPU; Xid 62 in dmesg"
    assert told("CUD105", text) == ["line 1: the driver reported Xid 62"]
    assert told("CUD105", "NVRM: Xid (PCI:0000:65:00): 43, pid=22112, name=python3, Ch 00000010") == []


def test_cud106_ecc_error(told: Any) -> None:
    text = "Remapped Rows: Pending : Yes"
    assert told("CUD106", text) == ["line 1: GPU memory reported errors that cannot be corrected"]
    assert told("CUD106", "Uncorrected ECC errors: 0") == []


def test_cud107_nvlink_p2p_broken(told: Any) -> None:
    text = "output is garbage with tensor parallel on 4090s unless NCCL_P2P_DISABLE=1"
    assert told("CUD107", text) == [
        "line 1: GPUs do not reach each other directly: output is garbage with tensor parallel on 4090s unless NCCL_P2P_DISABLE=1"
    ]
    assert told("CUD107", "GPU 0's NvLink link 0 is currently down") == [
        "likely: line 1: GPUs do not reach each other directly: GPU 0's NvLink link 0 is currently down"
    ]


def test_cud108_iommu_acs_hang(told: Any) -> None:
    text = "ACSCtl: SrcValid+ TransBlk- ReqRedir+ CmpltRedir+"
    assert told("CUD108", text) == [
        "line 1: the IOMMU or PCIe access control redirects GPU traffic: ACSCtl: SrcValid+ TransBlk- ReqRedir+ CmpltRedir+"
    ]
    assert told("CUD108", "ACSCap: SrcValid TransBlk") == []


def test_cud109_pcie_link_degraded(told: Any) -> None:
    text = "GPU5 link width is x8, expected x16"
    assert told("CUD109", text) == [
        "line 1: a card runs on a narrower or slower PCIe link than it has: GPU5 link width is x8, expected x16"
    ]
    assert told("CUD109", "LnkSta: Speed 16GT/s, Width x16") == []


def test_cud110_wsl2_specific(told: Any) -> None:
    text = "WSL2: Failed to initialize NVML: GPU access blocked by the operating system"
    assert told("CUD110", text) == [
        "line 1: a limit of the Windows Subsystem for Linux: WSL2: Failed to initialize NVML: GPU access blocked by the operating system"
    ]
    assert (
        told("CUD110", "WARNING: Using 'pin_memory=False' as WSL is detected. This may slow down the performance.")
        == []
    )


def test_cud111_ld_library_path_shadow(told: Any) -> None:
    text = "RuntimeError: CUDA error: CUDA driver is a stub library"
    assert told("CUD111", text) == [
        "line 1: CUDA error 34: the toolkit's stub libcuda was loaded instead of the driver's"
    ]
    assert told("CUD111", "LD_LIBRARY_PATH is empty") == []


def test_cud112_cudnn_mismatch(told: Any) -> None:
    text = "RuntimeError: cuDNN error: CUDNN_STATUS_VERSION_MISMATCH"
    assert told("CUD112", text) == [
        "line 1: cuDNN is missing, or is not the one that the program was built with: RuntimeError: cuDNN error: CUDNN_STATUS_VERSION_MISMATCH"
    ]
    assert told("CUD112", "cuDNN 9.1.0 loaded") == []


def test_cud113_torch_arch_unsupported(told: Any) -> None:
    text = "RTX 5070 Ti: sm_120 not supported by installed PyTorch"
    assert told("CUD113", text) == [
        "line 1: the installed build has no code for this GPU: RTX 5070 Ti: sm_120 not supported by installed PyTorch"
    ]
    assert told("CUD113", "NVIDIA A100 has CUDA capability sm_80") == []


def test_cud114_torch_cpu_build(told: Any) -> None:
    text = "AttributeError: module 'torch._C' has no attribute '_cuda_setDevice'"
    assert told("CUD114", text) == [
        "line 1: the installed torch (or engine) was built without CUDA: AttributeError: module 'torch._C' has no attribute '_cuda_setDevice'"
    ]
    assert told("CUD114", "torch 2.6.0+cu124") == []


def test_cud115_cuda_toolkit_missing_or_mismatch(told: Any) -> None:
    text = "nvcc fatal   : Unsupported gpu architecture 'compute_89'"
    assert told("CUD115", text) == [
        "line 1: a CUDA toolkit or one of its libraries is missing, or is of another release: nvcc fatal   : Unsupported gpu architecture 'compute_89'"
    ]
    assert told("CUD115", "nvcc: NVIDIA (R) Cuda compiler driver") == []


def test_cud116_bitsandbytes_cuda_setup(told: Any) -> None:
    text = "AttributeError: 'NoneType' object has no attribute 'cget_managed_ptr'"
    assert told("CUD116", text) == [
        "line 1: bitsandbytes has no library that fits this CUDA: AttributeError: 'NoneType' object has no attribute 'cget_managed_ptr'"
    ]
    assert told("CUD116", "bitsandbytes 0.45.0") == []


def test_cud117_cuda_visible_devices_or_mig(told: Any) -> None:
    text = "AssertionError: Invalid device id"
    assert told("CUD117", text) == [
        "line 1: the program asks for a GPU that its settings hide, or that is a MIG slice: AssertionError: Invalid device id"
    ]
    assert told("CUD117", "visible devices: 0,1") == []


def test_cud118_compute_capability_feature(told: Any) -> None:
    text = "NotImplementedError: FlashMLA is only supported on Hopper GPUs"
    assert told("CUD118", text) == [
        "line 1: the GPU's generation lacks a feature that was asked for: NotImplementedError: FlashMLA is only supported on Hopper GPUs"
    ]
    assert told("CUD118", "Device 0: compute capability 8.6, VMM: yes") == []


def test_cud119_gpu_program_fault(told: Any) -> None:
    text = "RuntimeError: CUDA error: device-side assert triggered"
    assert told("CUD119", text) == [
        "possible: line 1: a kernel did what it must not: a defect of a program, wrong input, or, rarely, a sick GPU: RuntimeError: CUDA error: device-side assert triggered"
    ]
    assert told("CUD119", "AssertionError: expected 3, got 4") == []


def test_cud120_nccl_network_interface(told: Any) -> None:
    text = "NCCL WARN Bootstrap : no socket interface found"
    assert told("CUD120", text) == [
        "line 1: processes cannot reach each other over the network interface in use: NCCL WARN Bootstrap : no socket interface found"
    ]
    assert told("CUD120", "NCCL INFO Bootstrap : Using eth0:10.2.3.4<0>") == []


def test_cud121_multi_node_ray(told: Any) -> None:
    text = "ray.exceptions.RaySystemError: System error: Failed to connect to GCS at address 10.0.0.4:6379 within 5 seconds"
    assert told("CUD121", text) == [
        "line 1: the nodes of the cluster do not find each other or offer no GPU: ray.exceptions.RaySystemError: System error: Failed to connect to GCS at address 10.0.0.4:6379 within 5 seconds"
    ]
    assert told("CUD121", "INFO worker.py:1821 -- Started a local Ray instance.") == []


def test_dep100_container_gpu_runtime_missing(told: Any) -> None:
    text = "Error: setting up CDI devices: unresolvable CDI devices nvidia.com/gpu=0"
    assert told("DEP100", text) == ["line 1: the CDI device asked for is in no specification"]
    assert told("DEP100", "docker: Error response from daemon: No such image: vllm/vllm-openai") == []


def test_dep101_container_lost_gpu_cgroup(told: Any) -> None:
    text = "GPU pods lose access to devices after systemctl daemon-reload, torch.cuda.is_available() becomes False in a running container"
    assert told("DEP101", text) == [
        "line 1: a running container lost access to its GPUs: its device control group was rewritten"
    ]
    assert told("DEP101", "NVML initialised") == []


def test_dep102_glibc_or_manylinux_too_old(told: Any) -> None:
    text = "ERROR: torch-2.8.0-cp311-cp311-manylinux_2_28_x86_64.whl is not a supported wheel on this platform."
    assert told("DEP102", text) == [
        "line 1: a binary needs a newer C library than this system's: ERROR: torch-2.8.0-cp311-cp311-manylinux_2_28_x86_64.whl is not a supported wheel on this platform."
    ]
    assert told("DEP102", "ldd (GNU libc) 2.36") == []


def test_dep103_dependency_conflict(told: Any) -> None:
    text = "AttributeError: module 'numpy' has no attribute 'bool'."
    assert told("DEP103", text) == [
        "line 1: packages built for another numpy: AttributeError: module 'numpy' has no attribute 'bool'."
    ]
    assert told("DEP103", "Successfully installed numpy-1.26.4 torch-2.5.1") == []


def test_dep104_python_version_or_abi(told: Any) -> None:
    text = "ModuleNotFoundError: No module named 'distutils'"
    assert told("DEP104", text) == [
        "line 1: this Python's version or binary interface does not fit the package: ModuleNotFoundError: No module named 'distutils'"
    ]
    assert told("DEP104", "Python 3.11.4 (main)") == []


def test_dep105_cpu_isa_missing(told: Any) -> None:
    text = "This CPU does not support AVX2, process exited with SIGILL"
    assert told("DEP105", text) == [
        "line 1: the processor lacks instructions that a binary uses: This CPU does not support AVX2, process exited with SIGILL"
    ]
    assert (
        told("DEP105", "To enable the following instructions: AVX2 FMA, in other operations, rebuild TensorFlow") == []
    )


def test_dep106_port_in_use(told: Any) -> None:
    text = "OSError: [Errno 98] Address already in use"
    assert told("DEP106", text) == ["line 1: the port is taken: OSError: [Errno 98] Address already in use"]
    assert told("DEP106", "Uvicorn running on http://0.0.0.0:8000") == []


def test_mem100_insufficient_vram_weights(told: Any) -> None:
    text = "ValueError: Some modules are dispatched on the CPU or the disk. Make sure you have enough GPU RAM to fit the quantized model."
    assert told("MEM100", text) == [
        "line 1: the weights do not fit into the GPUs: ValueError: Some modules are dispatched on the CPU or the disk. Make sure you have enough GPU RAM to fit the quantized model."
    ]
    assert told("MEM100", "torch.cuda.OutOfMemoryError: everything was freed") == [
        "possible: line 1: the GPU's memory is full: torch.cuda.OutOfMemoryError: everything was freed"
    ]


def test_mem101_insufficient_kv_cache(told: Any) -> None:
    text = "RuntimeError: Not enough memory. Please try to increase --mem-fraction-static."
    assert told("MEM101", text) == [
        "line 1: too little GPU memory is left for the key-value cache and the graphs: RuntimeError: Not enough memory. Please try to increase --mem-fraction-static."
    ]
    assert told("MEM101", "Available KV cache memory: 44.29 GiB") == []


def test_mem102_host_ram_oom_killed(told: Any) -> None:
    text = "Killed"
    assert told("MEM102", text) == ["line 1: the main memory ran out, or the kernel killed the process for it: Killed"]
    assert told("MEM102", "process exited with code 0") == []


def test_mem103_hugepage_or_swap(told: Any) -> None:
    text = "system starts thrashing swap while loading the model, kswapd0 at 100%"
    assert told("MEM103", text) == [
        "line 1: swap or huge pages get in the way: system starts thrashing swap while loading the model, kswapd0 at 100%"
    ]
    assert told("MEM103", "Running: 1 reqs, Swapped: 0 reqs, Pending: 0 reqs") == []


def test_mem104_shm_too_small(told: Any) -> None:
    text = "ncclInternalError with 8 GPUs in docker, solved by --shm-size=16g"
    assert told("MEM104", text) == [
        "line 1: shared memory (/dev/shm) ran out: ncclInternalError with 8 GPUs in docker, solved by --shm-size=16g"
    ]
    assert told("MEM104", "No available shared memory broadcast block found in 60 seconds.") == []


def test_mem105_ulimit_memlock_or_nofile(told: Any) -> None:
    text = "RuntimeError: can't start new thread"
    assert told("MEM105", text) == [
        "line 1: a limit of the process is too low (ulimit): RuntimeError: can't start new thread"
    ]
    assert told("MEM105", "opened 24 files") == []


def test_mem106_tensor_parallel_not_divisible(told: Any) -> None:
    text = "AssertionError: 29568 is not divisible by 128"
    assert told("MEM106", text) == [
        "line 1: the model cannot be divided among this number of GPUs: AssertionError: 29568 is not divisible by 128"
    ]
    assert told("MEM106", "batch size must be divisible by gradient accumulation steps") == []


def test_frg100_fragmentation_oom(told: Any) -> None:
    text = "24.10 GiB is allocated by PyTorch, and 13.55 GiB is reserved by PyTorch but unallocated"
    assert told("FRG100", text) == [
        "line 1: the allocator holds memory it does not use: 24.10 GiB is allocated by PyTorch, and 13.55 GiB is reserved by PyTorch but unallocated"
    ]
    assert (
        told("FRG100", "23.10 GiB is allocated by PyTorch, and 0.20 GiB is reserved by PyTorch but unallocated") == []
    )


def test_sto100_disk_full(told: Any) -> None:
    text = "OSError: [Errno 122] Disk quota exceeded"
    assert told("STO100", text) == ["line 1: a disk is full: OSError: [Errno 122] Disk quota exceeded"]
    assert told("STO100", "Filesystem /dev/nvme0n1p2 has 400G available") == []


def test_sto101_slow_storage(told: Any) -> None:
    text = "Loading weights took 812.44 seconds"
    assert told("STO101", text) == [
        "line 1: the weights come slowly from where they are stored: Loading weights took 812.44 seconds"
    ]
    assert told("STO101", "Loading safetensors checkpoint shards: 100% Completed | 4/4 [00:02<00:00,  1.52it/s]") == []


def test_sto102_permission_cache_dir(told: Any) -> None:
    text = "KeyError: 'getpwuid(): uid not found: 1000680000'"
    assert told("STO102", text) == [
        "line 1: a folder that must be written to is not writable for this user: KeyError: 'getpwuid(): uid not found: 1000680000'"
    ]
    assert told("STO102", "UserWarning: The given NumPy array is not writable") == []


def test_lat100_gpu_throttling(told: Any) -> None:
    text = "GPU 3 runs at 210 MHz under load, HW Slowdown active, temperature 88C"
    assert told("LAT100", text) == [
        "line 1: a GPU runs below its clocks for heat or power: GPU 3 runs at 210 MHz under load, HW Slowdown active, temperature 88C"
    ]
    assert told("LAT100", "SW Thermal Slowdown : Not Active") == []


def test_lat101_numa_or_cpu_governor(told: Any) -> None:
    text = "libnuma: Warning: set_mempolicy: Operation not permitted"
    assert told("LAT101", text) == [
        "line 1: memory or threads are on the wrong processor, or the processor saves power: libnuma: Warning: set_mempolicy: Operation not permitted"
    ]
    assert told("LAT101", "NUMA node(s): 2") == []


@pytest.mark.parametrize(
    ("code", "text"),
    [
        ("CUD108", "The current process just got forked. Disabling parallelism to avoid deadlocks...\n"),
        ("CUD107", "The current process just got forked. Disabling parallelism to avoid deadlocks...\n"),
        ("MEM100", "dockerd: OOM score adjustment of container 4f1c: 500\n"),
        ("MEM100", "kubelet: oom_score_adj 985; oom score adjust set\n"),
    ],
)
def test_what_is_done_against_a_fault_is_none(told: Any, code: str, text: str) -> None:
    assert told(code, text) == []
