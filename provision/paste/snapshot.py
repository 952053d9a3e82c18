"""A snapshot from what somebody pasted: whole facts where a dump states all that a record needs, else single statements.

Nothing is filled in: what no text states is missing, with that reason.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any

from provision import __version__
from provision.catalog.version import minor
from provision.errors import UsageError
from provision.fact import FACTS, NOT_PASTED, Absent, Missing, Snapshot
from provision.facts.driver import NvidiaDriver
from provision.facts.environment import Environment
from provision.facts.log import KernelLog
from provision.facts.log import parse as kernel_log
from provision.facts.stated import Stated, StatedFileSystem, StatedGpu
from provision.paste import recognise, symptoms
from provision.paste.clean import Line, lines
from provision.paste.draft import Draft

MACHINE = "pasted"


def snapshot(dumps: Sequence[tuple[str, str]], logs: Sequence[tuple[str, str]]) -> Snapshot:
    """The facts in ``dumps`` and ``logs``, each a name for messages and its text.

    Facts must be registered (``facts.load()``). Raises ``UsageError`` for a dump in which nothing is recognised and for
    an empty log.
    """
    draft = Draft()
    for name, text in dumps:
        _read(name, [line.text for line in lines(text)], draft)
    facts: dict[str, Any] = dict.fromkeys(FACTS, Missing(NOT_PASTED))
    facts["Symptoms"] = Absent("no log was pasted")
    if logs:
        logged = [line for name, text in logs for line in _logged(name, text)]
        facts["Symptoms"] = symptoms.find(logged)
        seen = _kernel_lines(logged)
        if seen is not None:
            draft.facts.setdefault("KernelLog", seen)
    facts |= _gpus(draft) | _whole(draft)
    facts["Stated"] = _stated(draft)
    return Snapshot(MACHINE, facts, __version__)


def _read(name: str, texts: list[str], draft: Draft) -> None:
    recognised = []
    for section in recognise.sections(texts):
        section.kind.parse(section.lines, draft)
        recognised.append(section.kind.name)
        if section.kind.name == "env" and any(line.startswith("PATH=") for line in section.lines):
            draft.whole_environment = True
    if not recognised:
        what = "it is empty" if not texts else "nothing in it is recognised"
        raise UsageError(
            f"{name}: {what}; expected the output of one of: {recognise.known()}. An error message goes to --log"
        )
    draft.sources += [f"{kind} in {name}" for kind in dict.fromkeys(recognised)]


def _logged(name: str, text: str) -> list[Line]:
    read = list(lines(text))
    if not read:  # nothing was looked at, and that is not "nothing wrong"
        raise UsageError(f"{name}: it is empty; expected an error log or a traceback")
    return read


def _kernel_lines(logged: Iterable[Line]) -> KernelLog | None:
    """Kernel messages inside a log. None where there are none: a log without them says nothing about the kernel."""
    seen = kernel_log(
        "\n".join(line.text for line in logged if "NVRM: Xid" in line.text or "ut of memory:" in line.text)
    )
    return seen if seen.xids or seen.oom_kills else None


def _whole(draft: Draft) -> dict[str, Any]:
    facts = dict(draft.facts)
    version = draft.fields.get("driver_version")
    if version and "NvidiaDriver" not in facts:  # nvidia-smi asks the loaded module
        facts["NvidiaDriver"] = NvidiaDriver(version=version, flavour=None, source="pasted")
    if draft.whole_environment:
        facts["Environment"] = Environment(variables=tuple(sorted(draft.env.items())))
    return facts


def _gpus(draft: Draft) -> dict[str, Any]:
    from provision.paste import gpu_facts, gpu_pairs

    joined = gpu_pairs.links(draft)
    return gpu_facts.facts(draft) | ({"GpuLinks": joined} if joined else {})


_RUNTIME = re.compile(r"nvidia-cuda-runtime(?:-cu\d\d)?")


def _stated(draft: Draft) -> Stated:
    listed = draft.packages.get("torch")
    if listed is not None:
        draft.torch(listed)
    if "torch_version" in draft.fields and not {"torch_cuda", "torch_hip", "torch_without_cuda"} & draft.fields.keys():
        # Wheels from the ordinary index leave "+cu128" out of their name, and require one exact CUDA runtime.
        runtimes = {minor(version) for name, version in draft.packages.items() if _RUNTIME.fullmatch(name)}
        draft.say("torch_cuda", runtimes.pop() if len(runtimes) == 1 else None)
    return Stated(
        sources=tuple(draft.sources),
        gpus=tuple(_gpu(index, said) for index, said in sorted(draft.gpus.items()) if "name" in said),
        packages=tuple(sorted(draft.packages.items())),
        env=tuple(sorted(draft.env.items())),
        libraries=tuple(draft.libraries),
        file_systems=tuple(
            StatedFileSystem(mount_point=where, **said) for where, said in sorted(draft.file_systems.items())
        ),
        **draft.fields,
    )


def _gpu(index: int, said: dict[str, Any]) -> StatedGpu:
    capability = said.get("compute_capability")
    if capability is None:
        from provision.catalog import gpus

        capability = gpus.compute_capability(said["name"])
    return StatedGpu(
        index=index, name=said["name"], memory_bytes=said.get("memory_bytes"), compute_capability=capability
    )
