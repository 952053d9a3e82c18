"""Which dump a text is, from the text alone. Several dumps in one text are told apart line by line.

A kind has a mark: an expression that only its lines begin with. A section runs from a mark to the next mark of
another kind; lines before the first mark are passed by.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

from provision.paste import collected, nvidia_smi, packages, pci, system
from provision.paste.draft import Draft


class Kind(NamedTuple):
    """A dump that is understood: its name for people, its mark, and what reads its lines into a draft."""

    name: str
    mark: str
    parse: Callable[[list[str], Draft], None]


# In order of trust where two marks fit one line: the more exact first.
KINDS: tuple[Kind, ...] = (
    Kind("nvidia-smi -q -x", nvidia_smi.XML_MARK, nvidia_smi.xml),
    Kind("nvidia-smi -q", nvidia_smi.LISTING_MARK, nvidia_smi.listing),
    Kind("nvidia-smi", nvidia_smi.TABLE_MARK, nvidia_smi.table),
    Kind("nvidia-smi topo -m", nvidia_smi.TOPO_MARK, nvidia_smi.topology),
    Kind("nvcc --version", nvidia_smi.NVCC_MARK, nvidia_smi.nvcc),
    Kind("collect_env (PyTorch, vLLM, SGLang)", collected.MARK, collected.parse),
    Kind("conda list", packages.CONDA_MARK, packages.conda),
    Kind("pip list --format json", packages.JSON_MARK, packages.as_json),
    Kind("pip list", packages.COLUMNS_MARK, packages.columns),
    Kind("pip freeze", packages.FREEZE_MARK, packages.freeze),
    Kind("/proc/driver/nvidia/version", system.DRIVER_MARK, system.driver_version),
    Kind("dmesg", system.DMESG_MARK, system.dmesg),
    Kind("lspci -nn", pci.MARK, pci.parse),
    Kind("ldconfig -p", system.LDCONFIG_MARK, system.ldconfig),
    Kind("/proc/meminfo", system.MEMINFO_MARK, system.meminfo),
    Kind("/proc/cpuinfo", system.CPUINFO_MARK, system.cpuinfo),
    Kind("lscpu", system.LSCPU_MARK, system.lscpu),
    Kind("df", system.DF_MARK, system.df),
    Kind("/proc/mounts", system.MOUNTS_MARK, system.mounts),
    Kind("free", system.FREE_MARK, system.free),
    Kind("uname -a", system.UNAME_MARK, system.uname),
    Kind("/proc/PID/limits", system.LIMITS_MARK, system.process_limits),
    Kind("ulimit -a", system.ULIMIT_MARK, system.ulimit),
    Kind("/proc/cmdline", system.CMDLINE_MARK, system.command_line),
    Kind("/etc/os-release", system.RELEASE_MARK, system.release),
    Kind("env", system.ENV_MARK, system.environment),
)


class Section(NamedTuple):
    """Lines of one dump."""

    kind: Kind
    lines: list[str]


@functools.cache
def _marks() -> re.Pattern[str]:
    return re.compile("|".join(f"(?P<k{number}>{kind.mark})" for number, kind in enumerate(KINDS)))


def sections(texts: Iterable[str]) -> Iterator[Section]:
    """The dumps in cleaned lines, in order."""
    match = _marks().match
    here: Section | None = None
    for text in texts:
        found = match(text)
        if found is not None and found.lastgroup is not None:
            kind = KINDS[int(found.lastgroup[1:])]
            if here is None or here.kind is not kind:
                if here is not None:
                    yield here
                here = Section(kind, [])
        if here is not None:
            here.lines.append(text)
    if here is not None:
        yield here


def kind(text: str) -> str | None:
    """The name of the first dump in a text; None where nothing is recognised."""
    from provision.paste.clean import lines

    first = next(sections(line.text for line in lines(text)), None)
    return first.kind.name if first else None


def known() -> str:
    """Every kind's name, for people."""
    return ", ".join(one.name for one in KINDS)
