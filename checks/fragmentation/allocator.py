"""The settings of torch's allocator, which are easily written wrong."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator

from provision.catalog import tables
from provision.catalog.version import minor, older
from provision.check import ERROR, WARNING, Finding, NotApplicable, check
from provision.checks._pasted import MaybeStated, require_all, variables
from provision.checks._words import listed
from provision.fact import Absent, Missing
from provision.facts.environment import Environment
from provision.facts.packages import Packages
from provision.facts.stated import Stated
from provision.record import record


@record
class Setting:
    """One ``key:value`` of an allocator variable; ``value`` is None where there is no colon."""

    variable: str
    key: str
    value: str | None


def _settings(environment: Environment | Missing, stated: MaybeStated) -> list[Setting]:
    table = tables.allocator()
    given = variables(environment, stated)
    found = [s for name in (table.old_name, table.new_name) if name in given for s in parse(name, given[name])]
    if not found:
        require_all(environment)
        raise NotApplicable(f"neither {table.old_name} nor {table.new_name} is set")
    return found


def parse(variable: str, text: str) -> list[Setting]:
    """An allocator variable as torch cuts it: at commas that stand in no bracket; spaces do not count."""
    parts, depth = [""], 0
    for character in text.replace(" ", ""):
        depth += {"[": 1, "]": -1}.get(character, 0)
        if character == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += character
    return [_setting(variable, part) for part in parts if part]


def _setting(variable: str, part: str) -> Setting:
    key, colon, value = part.partition(":")
    return Setting(variable=variable, key=key, value=value if colon else None)


def _torch_in_use(packages: Packages | Absent | Missing, stated: MaybeStated) -> str:
    """The torch that a plain ``python3`` gets, else the only one there is."""
    if isinstance(packages, Missing) and isinstance(stated, Stated) and stated.torch_version:
        return stated.torch_version
    if not isinstance(packages, Packages):
        raise packages if isinstance(packages, Missing) else NotApplicable(packages.reason)
    found = {one.prefix: one.torch.version for one in packages.environments if one.torch is not None}
    if packages.in_use in found:
        return found[packages.in_use]
    if len(set(found.values())) == 1:
        return next(iter(found.values()))
    raise NotApplicable(
        "torch is not in the environment in use" if found else "torch is in none of the environments here"
    )


@check("FRG001", ERROR, cause="allocator-setting-invalid")
def allocator_setting_without_colon(environment: Environment | Missing, stated: MaybeStated) -> Iterator[Finding]:
    """An allocator setting is not written key:value.

    `PYTORCH_CUDA_ALLOC_CONF=garbage_collection_threshold=0.8`, as articles print it, is no setting: torch wants a colon.
    torch 2.13.0 stops at the first use of the allocator with "Index out of bounds in ConfigTokenizer" (tried 2026-11-24);
    the message names neither the variable nor the colon.

    ## Fix
    Write `garbage_collection_threshold:0.8`; several settings are separated by commas.

    ## Proof
    FRG-P1: loading, running and dropping a model again and again does not grow the process, with the planned setting.
    """
    for one in _settings(environment, stated):
        key, equals, value = one.key.partition("=")
        if equals or one.value is None:
            right = f"{key}:{value or one.value or 'VALUE'}"
            written = one.key if one.value is None else f"{one.key}:{one.value}"
            yield Finding(
                f'{one.variable} holds "{written}"; torch wants a colon between key and value: "{right}"',
                measured={"variable": one.variable, "setting": written},
                needed={"setting": right},
                fix=(f"export {one.variable}={right}",),
            )


@check("FRG002", ERROR, cause="allocator-setting-invalid")
def allocator_key_unknown_to_torch(
    environment: Environment | Missing, packages: Packages | Absent | Missing, stated: MaybeStated
) -> Iterator[Finding]:
    """An allocator setting has a key that the installed torch does not know.

    torch refuses a key it does not know ("Unrecognized key", before 2.10 "Unrecognized CachingAllocator option"), at
    import or at the first CUDA call. A setting copied from a newer release's documentation stops an older torch, and
    one of the oldest, roundup_bypass_threshold_mb, has stopped every torch since 2.1.

    ## Fix
    Take the setting out, or install a torch that knows it.

    ## Proof
    FRG-P1: loading, running and dropping a model again and again does not grow the process, with the planned setting.
    """
    settings, table = _settings(environment, stated), tables.allocator()
    torch = minor(_torch_in_use(packages, stated))
    rows = {row.key: row for row in table.key}
    for one in (s for s in settings if "=" not in s.key and s.value is not None):
        row = rows.get(one.key)
        if row is None and older(table.newest, torch):
            yield Finding(
                f"{one.variable} holds {one.key}, which torch {table.newest} does not know; {torch} is newer than that",
                measured={"key": one.key, "torch": torch},
                needed={"key": "one that torch knows"},
                certainty="possible",
                tell_apart=('python3 -c "import torch; torch.zeros(1).cuda()"',),
            )
        elif row is None or older(torch, row.first) or (row.last and older(row.last, torch)):
            when = "no torch release knows it" if row is None else _when(row)
            yield Finding(
                f"{one.variable} holds {one.key}, which torch {torch} does not know: {when}",
                measured={"key": one.key, "torch": torch},
                needed={"torch": None if row is None else {"first": row.first, "last": row.last}},
                fix=(f"take {one.key} out of {one.variable}",),
            )


def _when(row: tables.AllocatorKey) -> str:
    return f"it was there from {row.first} to {row.last}" if row.last else f"it came with {row.first}"


@check("FRG003", ERROR, cause="allocator-setting-invalid")
def allocator_value_out_of_range(environment: Environment | Missing, stated: MaybeStated) -> Iterator[Finding]:
    """An allocator setting has a value that torch refuses.

    A threshold is a fraction between 0 and 1, both excluded, not a percentage; max_split_size_mb is at least 20 (more
    than 20 before torch 2.10); switches are True or False with a capital letter. Each stops torch with a ValueError.

    ## Fix
    Correct the value.

    ## Proof
    FRG-P1: loading, running and dropping a model again and again does not grow the process, with the planned setting.
    """
    rows = {row.key: row for row in tables.allocator().key}
    settings = _settings(environment, stated)
    numbers = {(one.variable, one.key): _number(one.value, whole=True) for one in settings if one.value is not None}
    for one in settings:
        row = rows.get(one.key)
        if row is not None and one.value is not None:
            least = numbers.get((one.variable, row.least_from))
            wanted = _expected(row if least is None else dataclasses.replace(row, least=least), one.value)
            if wanted:
                yield Finding(
                    f"{one.variable}: {one.key} is {one.value!r}; torch wants {wanted}",
                    measured={"key": one.key, "value": one.value},
                    needed={"value": wanted},
                    fix=(f"correct {one.key} in {one.variable}",),
                )


def _expected(row: tables.AllocatorKey, value: str) -> str:
    """What torch wants instead; empty where the value is right."""
    if row.kind == "switch":
        return "" if value in ("True", "False") else "True or False"
    if row.kind == "choice":
        return "" if value in row.choices else listed(row.choices).replace(" and ", " or ")
    if row.kind == "power-of-two":
        return "" if value.startswith("[") or _power_of_two(value) else "a power of two"
    if row.kind == "free":
        return ""
    return _expected_number(row, value)


def _number(value: str, whole: bool) -> float | None:
    """As C's stoull and stod read it, which torch uses: what follows the digits is dropped, a minus sign wraps around."""
    digits = re.match(r"[+-]?\d+" if whole else r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?", value)
    if digits is None:
        return None
    return int(digits[0]) % (1 << 64) if whole else float(digits[0])


def _expected_number(row: tables.AllocatorKey, value: str) -> str:
    whole = row.kind == "integer"
    number = _number(value, whole)
    if number is None:
        return "a whole number" if whole else "a number"
    low, high = row.least, row.most
    inside = (low is None or number > low or (number == low and not row.open_interval)) and (
        high is None or number < high or (number == high and not row.open_interval)
    )
    if inside:
        return ""
    if high is None:
        return f"{'more than' if row.open_interval else 'at least'} {low:g}"
    return f"a number between {low:g} and {high:g}" + (", both excluded" if row.open_interval else "")


def _power_of_two(value: str) -> bool:
    return value.isdigit() and int(value).bit_count() == 1


@check("FRG004", WARNING, cause="allocator-setting-invalid")
def two_allocator_variables(environment: Environment | Missing, stated: MaybeStated) -> Iterator[Finding]:
    """Both names of the allocator variable are set, to different values.

    torch 2.9 gave PYTORCH_CUDA_ALLOC_CONF the new name PYTORCH_ALLOC_CONF. With both set one of them is ignored without a
    word: in torch 2.13.0 it is the new name (tried 2026-11-24), and a torch before 2.9 does not know the new name at all.

    ## Fix
    Keep one: the new name from torch 2.9 on.

    ## Proof
    FRG-P1: loading, running and dropping a model again and again does not grow the process, with the planned setting.
    """
    table, given = tables.allocator(), variables(environment, stated)
    old, new = given.get(table.old_name), given.get(table.new_name)
    if old is None or new is None:
        require_all(environment)
    if old is None and new is None:
        raise NotApplicable(f"neither {table.old_name} nor {table.new_name} is set")
    if old is not None and new is not None and parse("", old) != parse("", new):
        yield Finding(
            f"{table.old_name} is {old!r} and {table.new_name} is {new!r}; torch follows only one of them",
            measured={table.old_name: old, table.new_name: new},
            needed={"variables": 1},
            fix=(f"unset {table.old_name}   # before torch {table.renamed}: unset {table.new_name}",),
        )
