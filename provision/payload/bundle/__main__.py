"""The program beside a bundle: ``python3 FILE.pyz verify FILE``. Everything it needs is in it."""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict
from pathlib import Path

from . import install, machine
from .errors import BundleError
from .verify import Verified, verify


def main(words: list[str] | None = None) -> int:
    """The exit code: 0, 2 for a bad call or file, 4 for a bundle that is refused or not brought up."""
    arguments = _parser().parse_args(words)
    try:
        return int(arguments.run(arguments))
    except BundleError as error:
        print(f"provision: {error.message}", file=sys.stderr)
        if error.next_command:
            print(f"next: {error.next_command}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("Interrupted; nothing is left half-written. The same command goes on.", file=sys.stderr)
        return 130


def add_trust(parser: argparse.ArgumentParser) -> None:
    """The options that every command has: whose signature counts."""
    parser.add_argument("file", metavar="FILE", type=Path, help="the bundle")
    parser.add_argument(
        *("--allowed-signers",), metavar="FILE", type=Path, dest="signers",
        help="who is trusted (ssh-keygen(1), ALLOWED SIGNERS); else git's file, else ~/.ssh/allowed_signers",
    )  # fmt: skip
    parser.add_argument("--identity", metavar="NAME", help="the signer must be this one of them")


def document(verified: Verified) -> dict[str, object]:
    """What ``verify --json`` prints."""
    return {
        "schema": 1,
        "file": str(verified.path),
        "size_bytes": verified.size_bytes,
        "manifest_sha256": verified.manifest_sha256,
        "members": len(verified.manifest.members),
        "tool_version": verified.manifest.tool_version,
        "made_for": asdict(verified.manifest.made_for),
        "asked": asdict(verified.manifest.asked),
        "signer": asdict(verified.signer),
    }


def sentences(verified: Verified) -> str:
    """The same for people."""
    made_for, signer = verified.manifest.made_for, verified.signer
    return (
        f"{verified.path}: every byte is as signed ({len(verified.manifest.members)} members, "
        f"{verified.size_bytes >> 20} MiB)\n"
        f"  signed by  {signer.identity}, {signer.key_type} {signer.fingerprint}\n"
        f"  made for   Debian {made_for.debian} {made_for.architecture}, Python {made_for.python}, {made_for.lock}\n"
        f"  made by    provision {verified.manifest.tool_version}; manifest sha256 {verified.manifest_sha256}\n"
    )


def _verify(arguments: argparse.Namespace) -> int:
    verified = verify(arguments.file, arguments.signers, arguments.identity, install.say)
    if arguments.here:
        machine.need_fit(verified.path, verified.manifest.made_for)
    if arguments.as_json:
        print(json.dumps(document(verified), indent=2, sort_keys=True))
    else:
        print(sentences(verified), end="")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog=Path(sys.argv[0]).name, description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    one = commands.add_parser("verify", help="check every byte and the signature; change nothing")
    add_trust(one)
    one.add_argument("--for-this-machine", action="store_true", dest="here", help="and that it fits this machine")
    one.add_argument("--json", action="store_true", dest="as_json", help="as JSON, for programs")
    one.set_defaults(run=_verify)
    two = commands.add_parser("install", help="check it, unpack it, and bring this machine up from it")
    add_trust(two)
    install.add_options(two)
    return parser


if __name__ == "__main__":
    sys.exit(main())
