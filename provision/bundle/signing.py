"""The signature of a manifest, made with the user's SSH key by OpenSSH's own ssh-keygen."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from provision.errors import ChangeError, UsageError
from provision.payload.bundle import signature
from provision.payload.bundle.errors import BundleError

_SECONDS = 600  # somebody may have to type a passphrase or touch a key
# Of these kinds a signature of the same bytes is the same each time. ECDSA draws a random number for each one, and a
# security key counts them.
_SAME_EACH_TIME = ("ssh-ed25519", "ssh-rsa")


def sign(key: Path, data: bytes) -> bytes:
    """The armoured signature of ``data``. ``key``: a private key, or a public one whose other half an agent has.

    Raises ``UsageError`` for a key that is not there or is none, ``ChangeError`` where it does not sign.
    """
    try:
        with key.open("rb") as file:
            file.read(1)
    except OSError as error:
        raise UsageError(f"--key {key}: it cannot be read: {error.strerror}", "ssh-keygen -t ed25519") from None
    with in_our_words():
        status, said = signature.keygen(
            "-Y", "sign", "-n", signature.NAMESPACE, "-f", str(key), data=data, seconds=_SECONDS
        )
        if status != 0:
            raise UsageError(f"--key {key}: ssh-keygen does not sign with it: {' '.join(said.split())}")
        armoured = said[said.index("-----BEGIN") :] + "\n"
        signature.parse(armoured.encode())
    return armoured.encode()


def repeatable(armoured: bytes) -> bool:
    """Whether the same key gives the same signature again."""
    return signature.parse(armoured)[0] in _SAME_EACH_TIME


@contextmanager
def in_our_words() -> Iterator[None]:
    """What the payload refuses, as an error of the tool with the same exit code."""
    try:
        yield
    except BundleError as error:
        raise (UsageError if error.exit_code == 2 else ChangeError)(error.message, error.next_command) from None
