"""Whether a manifest was signed by somebody whom the user trusts. OpenSSH's own ``ssh-keygen`` decides.

Who is trusted stands in a file in the format ALLOWED SIGNERS of ssh-keygen(1): the one that is given, else the one that
the user's git names (``git config --global gpg.ssh.allowedSignersFile``), else ``~/.ssh/allowed_signers``. Never anything
from the bundle; and not from a repository's own configuration either, which may lie where the bundle came from.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import os
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from .errors import Misused, NotDone, Refused, shown
from .manifest import NAME, SIGNATURE_NAME

NAMESPACE = "provision-bundle"
_BEGIN, _END = "-----BEGIN SSH SIGNATURE-----", "-----END SSH SIGNATURE-----"
_COLUMNS = 70  # as ssh-keygen breaks its lines
_SECONDS = 60


@dataclass(frozen=True)
class Signer:
    """Who signed: the identity in the user's file, and the key (``ssh-ed25519``, ``SHA256:…`` as ssh-keygen -l says it)."""

    identity: str
    key_type: str
    fingerprint: str


def allowed_signers(given: Path | None) -> Path:
    """The file that says who is trusted. Raises ``Misused`` where there is none."""
    if given is not None:
        return _readable(given, "--allowed-signers")
    if named := _of_git():
        path = _at_home(named)
        if not path.is_absolute():  # it would be looked for in the current folder, which may be the bundle's
            raise Misused(
                f"git's gpg.ssh.allowedSignersFile is {named}: whom to trust must be said by an absolute path"
            )
        return _readable(path, "git's gpg.ssh.allowedSignersFile")
    usual = _at_home("~/.ssh/allowed_signers")
    if not usual.exists():
        raise Misused(
            f"nobody is trusted yet: {usual} is not there, git names no other file, and --allowed-signers was not given",
            'echo "NAME $(cat KEY.pub)" > allowed_signers, with a key that you have from its owner, not from the bundle',
        )
    return _readable(usual, "the usual file")


def check(data: bytes, armoured: bytes, signers: Path, identity: str | None = None) -> Signer:
    """Who signed ``data``. Raises ``Refused`` where it is nobody in ``signers`` (or not ``identity``), or not these bytes."""
    key_type, fingerprint = parse(armoured)
    with _file(armoured) as signature:
        common = ("-s", str(signature), "-f", str(signers))
        names = [identity] if identity is not None else _principals(keygen("-Y", "find-principals", *common)[1])
        for name in names:
            status, said = keygen("-Y", "verify", "-n", NAMESPACE, "-I", name, *common, data=data)
            if status == 0:
                return Signer(identity=name, key_type=key_type, fingerprint=fingerprint)
        # Only for the message: is it the key or the bytes?
        status, said = keygen("-Y", "check-novalidate", "-n", NAMESPACE, "-s", str(signature), data=data)
    if status != 0:
        raise Refused(f"{SIGNATURE_NAME}: it is no signature of this {NAME}: {shown(said)}")
    who = f"for {shown(identity) or repr(identity)}" if identity is not None else "for anybody"
    raise Refused(
        f"{SIGNATURE_NAME}: signed with the {key_type} key {fingerprint}, which {signers} does not list {who}"
    )


def parse(armoured: bytes) -> tuple[str, str]:
    """The key's type and fingerprint in a signature, which must be spelt as ssh-keygen spells it (PROTOCOL.sshsig)."""
    try:
        lines = armoured.decode("ascii").split("\n")
        blob = base64.b64decode("".join(lines[1:-2]), validate=True)
        text = base64.b64encode(blob).decode()
        body = [text[at : at + _COLUMNS] for at in range(0, len(text), _COLUMNS)]
        if lines != [_BEGIN, *body, _END, ""] or blob[:10] != b"SSHSIG\0\0\0\1":
            raise ValueError
        key, rest = _string(blob[10:])
        namespace, _ = _string(rest)
        key_type, _ = _string(key)
    except (ValueError, binascii.Error, UnicodeDecodeError):
        raise Refused(f"{SIGNATURE_NAME}: it is no signature that ssh-keygen -Y sign makes") from None
    if namespace != NAMESPACE.encode():
        raise Refused(f"{SIGNATURE_NAME}: a signature for {shown(namespace)}, not for {NAMESPACE}")
    fingerprint = base64.b64encode(hashlib.sha256(key).digest()).decode().rstrip("=")
    return shown(key_type), f"SHA256:{fingerprint}"


def keygen(*arguments: str, data: bytes = b"", seconds: float = _SECONDS) -> tuple[int, str]:
    """ssh-keygen's status and what it said, errors first. Raises ``NotDone`` where it is not there or does not end."""
    try:
        done = subprocess.run(
            ["ssh-keygen", *arguments],
            input=data,
            capture_output=True,
            timeout=seconds,
            env={**os.environ, **_asking(), "LC_ALL": "C"},
            check=False,
        )
    except (FileNotFoundError, PermissionError):  # PATH may name a folder that this user may not enter
        raise NotDone("ssh-keygen is not installed, and nothing else here checks a signature",
                      "apt-get install openssh-client") from None  # fmt: skip
    except OSError as error:
        raise NotDone(f"ssh-keygen did not run: {error.strerror}") from None
    except subprocess.TimeoutExpired:
        raise NotDone(f"ssh-keygen gave no answer in {seconds:.0f} s") from None
    return done.returncode, (done.stderr + done.stdout).decode(errors="replace").strip()


def _asking() -> dict[str, str]:
    """A passphrase is asked for on the terminal where there is one: with DISPLAY set and data on its standard input ssh-keygen
    looks for a window to ask in, finds no program for one and takes that for a wrong answer (OpenSSH 9.2, 2026-11-25)."""
    if "SSH_ASKPASS" in os.environ:
        return {}
    try:
        os.close(os.open("/dev/tty", os.O_RDWR | os.O_CLOEXEC | os.O_NOCTTY))
    except OSError:
        return {}
    return {"SSH_ASKPASS_REQUIRE": "never"}


def _principals(said: str) -> list[str]:
    return [line for line in said.splitlines() if line and not line.startswith("No principal matched")]


def _of_git() -> str:
    command = ["git", "config", "--global", "--get", "gpg.ssh.allowedSignersFile"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_SECONDS, check=False)
    except (FileNotFoundError, PermissionError):  # no git here: it names nobody
        return ""
    except (OSError, subprocess.TimeoutExpired) as error:
        raise NotDone(f"git did not say whom to trust: {error}", "--allowed-signers FILE says it, too") from None
    if done.returncode not in (0, 1):  # 1: it has no such setting. Else another list would decide than the user's
        raise Misused(
            f"git cannot say whom to trust: {shown(done.stderr.strip())}", "--allowed-signers FILE says it, too"
        )
    return done.stdout.strip()


def _at_home(path: str) -> Path:
    try:
        return Path(path).expanduser()
    except RuntimeError:  # neither HOME nor a row in passwd
        raise Misused(f"{path}: this user has no home folder", "--allowed-signers FILE says whom to trust") from None


@contextmanager
def _file(data: bytes) -> Iterator[Path]:
    """``data`` as a file that ssh-keygen can open by its name."""
    try:
        with tempfile.TemporaryDirectory(prefix="provision-signature-") as folder:
            path = Path(folder) / SIGNATURE_NAME
            path.write_bytes(data)
            yield path
    except OSError as error:
        raise NotDone(
            f"the signature needs a temporary folder to be checked: {error.strerror or error}", "df -h /tmp"
        ) from None


def _readable(path: Path, what: str) -> Path:
    try:
        with path.open("rb") as file:
            file.read(1)
    except OSError as error:
        raise Misused(f"{path} ({what}): it cannot be read: {error.strerror}") from None
    return path.absolute()


def _string(data: bytes) -> tuple[bytes, bytes]:
    length = int.from_bytes(data[:4], "big")
    if len(data) < 4 + length or not length:
        raise ValueError
    return data[4 : 4 + length], data[4 + length :]
