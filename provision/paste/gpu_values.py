"""What nvidia-smi printed of every GPU, value by value, as it stands: from its table, -q and -q -x.

A value's name is the path of headings over it in lower case ("ecc_mode/current"); the table's are those of -q -x.
``provision.paste.gpu_facts`` reads them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from provision.facts.nvml_child import sysfs_address
from provision.paste.draft import Draft

ADDRESS = r"[0-9A-Fa-f]{4,8}:[0-9A-Fa-f]{2}:[0-9A-Fa-f]{2}\.[0-9A-Fa-f]"
GPU_ID = re.compile(rf'id="({ADDRESS})"')
TAG = re.compile(r"<(/?\w+)([^>]*)>([^<]*)")
_ROW = re.compile(rf"\|\s*(\d{{1,3}})\s+(\S.*?)\s+(On|Off|N/A)\s*\|\s*({ADDRESS})\s+(?:On|Off|N/A)\s*\|\s*(\S+)\s*\|")
_SECOND = re.compile(
    r"\|\s*\S+\s+(\S+?)C?\s+\S+\s+(\S+)\s*/\s*(\S+)\s*\|\s*(\d+MiB)\s*/\s*(\d+MiB)\s*\|\s*\S+\s+(\S.*?)\s*\|"
)
_THIRD = re.compile(r"\|\s+\|\s+\|\s*(Enabled|Disabled|N/A)(\*?)\s*\|")
_COMPUTE = {"E. Process": "Exclusive_Process", "E. Thread": "Exclusive_Thread"}
_MIG_ROW = re.compile(r"\|\s*(\d{1,3})(?:\s+(?:\d{1,3}|N/A)){3}\s*\|\s*\d+MiB\s*/\s*(\d+MiB)")
_PROCESS = re.compile(
    r"\|\s*(\d{1,3})\s+(?:(?:\d+|N/A)\s+(?:\d+|N/A)\s+)?(\d+)\s+(M?[CG](?:\+[CG])?)\s.*?(\d+MiB|N/A)\s*\|"
)
_INFOROM = re.compile(rf"WARNING: infoROM is corrupted at gpu ({ADDRESS})", re.IGNORECASE)
_REPEATED = ("mig_device", "process_info")
_DEEPEST = 16  # headings over a value; nvidia-smi has five


def _unit(printed: str) -> str:
    """ "312MiB" as -q prints it, "312 MiB"."""
    return re.sub(r"(?<=\d)(?=[A-Z])", " ", printed)


def table(lines: list[str], draft: Draft) -> None:
    """The table: three rows a GPU (two before driver 450), then MIG devices, then processes."""
    at: dict[int, str] = {}  # this table's GPUs, by number
    here, processes = "", False
    for number, line in enumerate(lines):
        if re.match(r"\|\s*Processes:", line):
            processes = True
        elif processes:
            processes = _process(line, number, at, draft)
        elif found := _ROW.match(line):
            here = at[int(found[1])] = sysfs_address(found[4])
            draft.card(here, int(found[1]), product_name=found[2], persistence_mode=found[3])
            draft.card(here, **{"table/ecc": found[5]})
        elif here and (found := _SECOND.match(line)):
            draft.card(here, **_second(found))
        elif here and (found := _THIRD.match(line)):
            other = {"Enabled": "Disabled", "Disabled": "Enabled"}
            pending = other[found[1]] if found[2] and found[1] in other else found[1]
            draft.card(here, **{"mig_mode/current_mig": found[1], "mig_mode/pending_mig": pending})
        elif (found := _MIG_ROW.match(line)) and int(found[1]) in at:
            draft.card(at[int(found[1])], **{f"mig_device#{number}/fb_memory_usage/total": _unit(found[2])})
        elif "No MIG devices found" in line:
            for address in at.values():
                draft.card(address, mig_devices="None")
    _warnings(lines, draft)


def _second(row: re.Match[str]) -> dict[str, str]:
    return {
        "temperature/gpu_temp": row[1],
        "power_readings/power_draw": _unit(row[2]),
        "power_readings/enforced_power_limit": _unit(row[3]),
        "fb_memory_usage/used": _unit(row[4]),
        "fb_memory_usage/total": _unit(row[5]),
        "compute_mode": _COMPUTE.get(row[6], row[6]),
    }


def _process(line: str, number: int, at: dict[int, str], draft: Draft) -> bool:
    """A line of the processes' list; False after its last."""
    if "No running processes found" in line or line.startswith("+--"):
        for address in at.values():  # the list is whole: a GPU without a row has no process
            draft.card(address, processes="None")
        return False
    if (found := _PROCESS.match(line)) and int(found[1]) in at:
        said = {"pid": found[2], "type": found[3], "used_memory": _unit(found[4])}
        draft.card(
            at[int(found[1])], **{f"processes/process_info#{number}/{name}": value for name, value in said.items()}
        )
    return True


def _warnings(lines: Iterable[str], draft: Draft) -> None:
    """Printed under the table and under -q."""
    for line in lines:
        if found := _INFOROM.search(line):
            draft.card(sysfs_address(found[1]), inforom_checksum_validation="Invalid")


def listing(lines: list[str], draft: Draft) -> None:
    """-q: "key : value" under headings that are told apart by their indentation."""
    here = ""
    above: list[tuple[int, str]] = []  # headings over this line, with their indentation
    for number, line in enumerate(lines):
        key, colon, value = (part.strip() for part in line.partition(" : "))
        indent = len(line) - len(line.lstrip())
        while above and above[-1][0] >= indent:
            above.pop()
        del above[:-_DEEPEST]
        if found := re.match(rf"\s*GPU ({ADDRESS})", line):
            here, above = sysfs_address(found[1]), []
        elif key and not colon:
            above.append((indent, _name(key, number)))
        elif colon and here:
            if key == "Process ID":  # its type, name and memory stand under it
                above.append((indent, f"process_info#{number}"))
            draft.card(here, **{"/".join([*(name for _, name in above), _name(key, number)]): value})
    _warnings(lines, draft)


def _name(key: str, number: int) -> str:
    name = re.sub(r"\W+", "_", key.lower()).strip("_")
    return f"{name}#{number}" if name in _REPEATED else name


def xml(tags: Iterable[tuple[str, str, str]], draft: Draft) -> None:
    """-q -x, as (tag, attributes, text behind it)."""
    here = ""
    above: list[str] = []
    for number, (tag, attributes, content) in enumerate(tags):
        if tag == "gpu":
            found = GPU_ID.search(attributes)
            here, above = sysfs_address(found[1]) if found else "", []
        elif tag.startswith("/"):
            place = next((n for n in reversed(range(len(above))) if above[n].partition("#")[0] == tag[1:]), len(above))
            del above[place:]
            if here and tag in ("/processes", "/mig_devices"):  # nothing of the list was cut off
                draft.card(here, **{tag[1:]: "None"})
        elif here and not attributes.endswith("/"):
            above = [*above[-_DEEPEST:], f"{tag}#{number}" if tag in _REPEATED else tag]
            if value := content.strip():
                draft.card(here, **{"/".join(above): value})
