"""``provision bundle create``: from what was asked for to the signed file and the program beside it."""

from __future__ import annotations

from pathlib import Path

from provision import __version__
from provision.bundle import collect, content, program, sbom, signing, target, writing
from provision.errors import ChangeError, UsageError
from provision.files import write_whole
from provision.payload.bundle import manifest, signature
from provision.payload.bundle.manifest import Asked, Manifest
from provision.progress import say
from provision.record import record


@record
class Created:
    """The bundle's file and its program, and the key that signed. Sizes in bytes."""

    schema: int = 1
    file: str
    size_bytes: int
    sha256: str
    program: str
    program_sha256: str
    manifest_sha256: str
    members: int
    key: str
    repeatable: bool
    lock: str
    packages: int


def create(
    path: Path,
    key: Path,
    *,
    lock: str | None,
    spec_path: Path | None,
    facts_path: str | None,
    model: Path | None,
    more: tuple[str, ...] = (),
) -> Created:
    """Write ``path`` and ``path``.pyz; ``more``: Debian packages beside the roles'.

    Raises ``UsageError`` and ``ChangeError``; the earlier file stands then.
    """
    path = path.absolute()
    if path.exists() and not path.is_file():
        raise UsageError(f"{path}: it is there and no file")
    if not path.parent.is_dir():
        raise UsageError(f"{path}: {path.parent} is no folder")
    if spec_path is None and Path("provision.toml").exists():  # as for every other command
        spec_path = Path("provision.toml")
    signing.sign(key, b"")  # a key that does not sign is told before gigabytes are fetched
    chosen = target.choose(lock, spec_path, facts_path, more)
    with collect.gather(chosen, spec_path, model) as gathered:
        name = "" if model is None else model.resolve().name
        materials = content.literal(sbom.PATH, sbom.document(gathered, chosen.made_for.debian, name))
        contents = sorted((*gathered.contents, materials), key=lambda one: manifest.order(one.member.path))
        asked = Asked(
            packages=chosen.packages,
            model=name,
            spec=spec_path is not None,
            facts=facts_path is not None,
        )
        table = Manifest(
            tool_version=__version__,
            made_for=chosen.made_for,
            asked=asked,
            members=tuple(one.member for one in contents),
        )
        data = manifest.dumps(table)
        with signing.in_our_words():
            manifest.loads(data)  # whatever is not read back is not written
        if len(data) > manifest.MAX_BYTES:
            raise UsageError(
                f"{len(table.members)} files are more than a bundle's {manifest.NAME} may list: pack the model first"
            )
        armoured = signing.sign(key, data)
        size_bytes = manifest.total_bytes(table, len(data), len(armoured))
        writing.need_room(path, size_bytes)
        say(f"writing {path.name}: {len(contents)} members, {size_bytes >> 20} MiB")
        written = writing.write(path, data, armoured, contents)
        made = _program(path)
    return Created(
        file=str(path),
        size_bytes=written.size_bytes,
        sha256=written.sha256,
        program=f"{path}.pyz",
        program_sha256=made,
        manifest_sha256=writing.sha256(data),
        members=len(contents),
        key=" ".join(signature.parse(armoured)),
        repeatable=signing.repeatable(armoured),
        lock=chosen.made_for.lock,
        packages=len(gathered.debs),
    )


def _program(path: Path) -> str:
    data = program.build()
    try:
        write_whole(Path(f"{path}.pyz"), data, mode=0o755)
    except OSError as error:
        raise ChangeError(f"{path}.pyz: {error.strerror}; nothing was left there", f"df -h {path.parent}") from None
    return writing.sha256(data)
