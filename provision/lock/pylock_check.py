"""Is the PEP 751 form of a lock a valid one, does it say what the .txt says, and does the target load its wheels?"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from provision.lock import pylock, text
from provision.lock.package import Wheel
from provision.lock.text import Pin
from provision.lock.variants import Variant

Found = tuple[Literal["drift", "wrong-tag"], int, str]  # kind, line (0: the file as a whole), what is wrong


def problems(variant: Variant, lock_text: str, pylock_text: str) -> Iterator[Found]:
    """Every problem, in the file's order."""
    try:
        there = pylock.parse(pylock_text)
    except pylock.NotPylock as error:
        yield "drift", error.line, error.message
        return
    lock = f"{variant.name}.txt"
    if there.lock_sha256 != text.digest(lock_text):
        yield "drift", 0, f"it was made with another {lock}"
    if there.requires_python != pylock.requires_python(variant.target):
        yield "drift", 0, f"requires-python is {there.requires_python!r}, the target has {variant.target.python}"
    if there.environments != pylock.environments(variant.target):
        yield "drift", 0, f"environments is {list(there.environments)}, which is not the target"
    pins = {pin.name: pin for pin in text.parse(lock_text).pins}
    for package in there.packages:
        pin = pins.pop(package.name, None)
        if pin is None:
            yield "drift", package.line, f"{package.name} {package.version} is not in {lock}"
        elif pin.version != package.version:
            yield "drift", package.line, f"{package.name} {package.version} here, {pin.version} in {lock}"
        else:
            yield from _wheels(variant, package.wheels, pin, package.line)
    for pin in pins.values():
        yield "drift", 0, f"{pin.name} {pin.version} of {lock} is not here"


def _wheels(variant: Variant, wheels: tuple[Wheel, ...], pin: Pin, line: int) -> Iterator[Found]:
    if not wheels:
        yield "drift", line, f"{pin.name} {pin.version} has no wheel"
    for wheel in wheels:
        if wheel.sha256 not in pin.sha256:
            yield "drift", wheel.line, f"{wheel.filename}: {variant.name}.txt has no such hash"
        if variant.target.rank(wheel.filename) is None:
            target = variant.target
            message = f"CPython {target.python} with glibc {target.glibc} on {target.machine} cannot load it"
            yield "wrong-tag", wheel.line, f"{wheel.filename}: {message}"
