"""nvidia-smi's table, its -q and -q -x listings, and topo -m; and what nvcc says of itself."""

from __future__ import annotations

import re

from provision.facts.nvml_child import sysfs_address
from provision.paste import gpu_values
from provision.paste.draft import Draft

TABLE_MARK = (
    r"\|?\s*NVIDIA-SMI (?:\d+\.|has failed)|\| +\d+ +\S.* (?:On|Off|N/A) +\| *[0-9A-Fa-f]{4,8}:|"
    r"Failed to initialize NVML|No devices were found"
)
LISTING_MARK = (
    r"=+ ?NVSMI LOG ?=+|(?:Driver|CUDA) Version {2,}: |GPU [0-9A-Fa-f]{4,8}:[0-9A-Fa-f]{2}:[0-9A-Fa-f]{2}\.\d"
)
XML_MARK = r"\s*(?:<\?xml|<!DOCTYPE nvidia_smi_log|<nvidia_smi_log>|<driver_version>|<gpu id=)"
TOPO_MARK = r"\s*GPU0\s+(?:GPU1|CPU Affinity|NIC0|mlx\d|X\s)"
NVCC_MARK = r"nvcc: NVIDIA|Cuda compilation tools, release "
_MIB = 1 << 20
_DRIVER = re.compile(r"(?:Driver|KMD) Version:\s*(\d[\d.]+)")
_API = re.compile(r"CUDA (?:UMD )?Version:\s*(\d+\.\d+)")
_ROW = re.compile(r"\|\s*(\d{1,3})\s+(\S.*?)\s+(?:On|Off|N/A)\s*\|\s*[0-9A-Fa-f]{4,8}:[0-9A-Fa-f]{2}")
_MEMORY = re.compile(r"(\d+)\s*MiB\s*/\s*(\d+)\s*MiB")


def table(lines: list[str], draft: Draft) -> None:
    """The table that plain ``nvidia-smi`` prints."""
    index: int | None = None
    for line in lines:
        if found := _DRIVER.search(line):
            draft.say("driver_version", found[1])
        if found := _API.search(line):
            draft.say("cuda_api", found[1])
        if found := _ROW.match(line):
            index = int(found[1])
            draft.gpu(index, name=found[2])
        elif index is not None and (found := _MEMORY.search(line)):
            draft.gpu(index, memory_bytes=int(found[2]) * _MIB)
            index = None
    gpu_values.table(lines, draft)


def listing(lines: list[str], draft: Draft) -> None:
    """``nvidia-smi -q``: "key : value" under headings that only their indentation tells apart."""
    index, heading = -1, ""
    for line in lines:
        key, colon, value = (part.strip() for part in line.partition(" : "))
        if not colon:
            if found := re.match(rf"\s*GPU ({gpu_values.ADDRESS})", line):
                index = draft.card(sysfs_address(found[1]))
            heading = key
        elif key == "Driver Version":
            draft.say("driver_version", value)
        elif key == "CUDA Version":
            draft.say("cuda_api", value)
        elif key == "Attached GPUs":
            draft.attached(value)
        elif key == "Product Name" and index >= 0:
            draft.gpu(index, name=value)
        elif key == "Total" and heading == "FB Memory Usage" and (found := re.match(r"(\d+) MiB", value)):
            draft.gpu(index, memory_bytes=int(found[1]) * _MIB)
    gpu_values.listing(lines, draft)


def xml(lines: list[str], draft: Draft) -> None:
    """``nvidia-smi -q -x``, whole or cut: read tag by tag."""
    index, heading = -1, ""
    for tag, attributes, content in (tags := gpu_values.TAG.findall("\n".join(lines))):
        value = content.strip()
        if tag == "gpu":
            found = gpu_values.GPU_ID.search(attributes)
            index = draft.card(sysfs_address(found[1])) if found else index + 1
        elif tag == "attached_gpus":
            draft.attached(value)
        elif tag == "driver_version":
            draft.say("driver_version", value)
        elif tag == "cuda_version":
            draft.say("cuda_api", value)
        elif tag == "product_name" and index >= 0:
            draft.gpu(index, name=value)
        elif tag.endswith("_memory_usage"):
            heading = tag
        elif tag == "total" and heading == "fb_memory_usage" and (found := re.match(r"(\d+) MiB", value)):
            draft.gpu(max(index, 0), memory_bytes=int(found[1]) * _MIB)
    gpu_values.xml(tags, draft)


def topology(lines: list[str], draft: Draft) -> None:
    """``nvidia-smi topo -m``: which link joins each pair."""
    heading = tuple(cell for cell in re.split(r"\t+|\s{2,}", lines[0].strip()) if cell)
    if not heading or not heading[0].startswith("GPU"):
        return
    rows = []
    for line in lines[1:]:
        cells = line.split()
        if not cells or not re.fullmatch(r"GPU\d+|NIC\d+|mlx\w+", cells[0]):
            break
        rows.append(tuple(cells))
    draft.matrix = draft.matrix or [heading, *rows]


def nvcc(lines: list[str], draft: Draft) -> None:
    """``nvcc --version``."""
    found = re.search(r"release (\d+\.\d+)", "\n".join(lines))
    draft.say("toolkit_version", found[1] if found else None)
