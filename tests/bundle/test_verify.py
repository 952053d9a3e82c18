"""A bundle is refused for a single wrong bit, and the message names the member."""

from __future__ import annotations

import gzip
import io
import os
import random
import subprocess
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from provision.bundle import program
from provision.payload.bundle import layout, manifest, walk
from provision.payload.bundle.errors import BundleError, Misused, Refused
from provision.payload.bundle.verify import verify
from tests.bundle.build import FILES, LONG, Keys, forged, ordered, raw_members, table, write

PATHS = list(ordered(FILES))
Change = Callable[[dict[str, bytes]], object]
Rebuilt = Callable[[Change], Path]


def refused(path: Path, keys: Keys) -> str:
    with pytest.raises(Refused) as caught:
        verify(path, keys.allowed)
    assert caught.value.exit_code == 4
    return caught.value.message.removeprefix(f"{path}: ")


def test_a_right_bundle_says_what_it_is_and_who_signed(good: Path, keys: Keys) -> None:
    verified = verify(good, keys.allowed)
    assert [member.path for member in verified.manifest.members] == PATHS
    assert verified.size_bytes == good.stat().st_size
    said = subprocess.run(["ssh-keygen", "-l", "-f", keys.me], capture_output=True, text=True, check=True).stdout
    assert (verified.signer.identity, verified.signer.fingerprint) == ("me@site", said.split()[1])


def test_ordinary_tools_read_it(good: Path, tmp_path: Path, keys: Keys) -> None:
    """GNU tar, Python's tarfile, and ssh-keygen by hand: nothing of ours is needed to look into a bundle."""
    subprocess.run(["tar", "--extract", "--file", good, "--directory", tmp_path], check=True)
    assert {path: (tmp_path / path).read_bytes() for path in FILES} == FILES
    command = ["ssh-keygen", "-Y", "verify", "-n", "provision-bundle", "-I", "me@site", "-f", keys.allowed, "-s"]
    with (tmp_path / manifest.NAME).open("rb") as data:
        subprocess.run([*command, tmp_path / manifest.SIGNATURE_NAME], stdin=data, capture_output=True, check=True)
    with tarfile.open(good) as archive:
        assert [member.name for member in archive] == [manifest.NAME, manifest.SIGNATURE_NAME, *PATHS]


# --- a byte anywhere --------------------------------------------------------------------------------------------------


def owner(good: Path) -> list[tuple[int, int, str]]:
    """Which bytes belong to which member; those of the archive's end to the last one, after which it must stand."""
    found, at = [], 0
    for name, raw in raw_members(good).items():
        found.append((at, at + len(raw), name))
        at += len(raw)
    return [*found, (at, at + 1024, PATHS[-1])]


def positions(good: Path) -> list[tuple[int, int]]:
    """Every byte of the headers' first fields, both ends of every content, and random others; with the bit to turn."""
    chosen = random.Random(5)
    size_bytes = good.stat().st_size
    wanted = {chosen.randrange(size_bytes) for _ in range(150)}
    for start, end, _ in owner(good):
        wanted |= {start, start + 100, start + 124, start + 135, start + 148, start + 155, start + 156, start + 257}
        wanted |= {start + 345, start + 511, start + 512, end - 1}
    return [(at, 1 << chosen.randrange(8)) for at in sorted(wanted) if at < size_bytes]


def test_one_turned_bit_anywhere_is_refused_with_its_member(good: Path, keys: Keys, tmp_path: Path) -> None:
    data = good.read_bytes()
    owners = owner(good)
    path = tmp_path / "turned.bundle"
    for at, bit in positions(good):
        path.write_bytes(data[:at] + bytes([data[at] ^ bit]) + data[at + 1 :])
        (name,) = (name for start, end, name in owners if start <= at < end)
        assert name in refused(path, keys), at


def test_cut_off_anywhere_it_is_refused_with_the_member(good: Path, keys: Keys, tmp_path: Path) -> None:
    data = good.read_bytes()
    path = tmp_path / "cut.bundle"
    for start, end, name in owner(good):
        cuts = {start + 1, start + 511, start + 512, start + 513, (start + end) // 2, end - 1}
        for length in sorted(cut for cut in cuts if start < cut < end):
            path.write_bytes(data[:length])
            said = refused(path, keys)
            assert "cut off" in said and name in said, (length, said)
    for length in (0, len(data) - 1024, len(data) - 512):
        path.write_bytes(data[:length])
        assert "cut off" in refused(path, keys)


@pytest.mark.parametrize("more", [b"\0", b"\0" * 512, b"x", b"\0" * 9216])
def test_nothing_may_follow(good: Path, keys: Keys, tmp_path: Path, more: bytes) -> None:
    path = tmp_path / "longer.bundle"
    path.write_bytes(good.read_bytes() + more)
    assert "something more" in refused(path, keys)


# --- members that do not belong ---------------------------------------------------------------------------------------

EVIL = {
    "traversal": (forged("../../etc/cron.d/x", b"evil"), "it leads out of the folder"),
    "absolute": (forged("/etc/cron.d/x", b"evil"), "an absolute path"),
    "symbolic link": (forged("cache/link", kind=tarfile.SYMTYPE, link="/etc"), "a symbolic link"),
    "hard link": (forged("cache/link", kind=tarfile.LNKTYPE, link="/etc/shadow"), "a hard link"),
    "character device": (forged("cache/mem", kind=tarfile.CHRTYPE, devmajor=1, devminor=1), "a character device"),
    "block device": (forged("cache/disk", kind=tarfile.BLKTYPE, devmajor=8, devminor=0), "a block device"),
    "pipe": (forged("cache/pipe", kind=tarfile.FIFOTYPE), "a named pipe"),
    "folder": (forged("cache/folder", kind=tarfile.DIRTYPE), "a folder"),
    "sparse": (forged("cache/sparse", b"evil", kind=tarfile.GNUTYPE_SPARSE), "a sparse file"),
    "plain": (forged("cache/more", b"evil"), "a file that manifest.json does not list"),
    "terminal": (forged("cache/\x1b[2J", b"evil"), r"cache/\x1b[2J"),
}


@pytest.mark.parametrize("place", [2, 5, 99], ids=["first", "middle", "last"])
@pytest.mark.parametrize("kind", EVIL)
def test_a_member_that_is_not_listed_is_refused_by_name(rebuilt: Rebuilt, keys: Keys, kind: str, place: int) -> None:
    member, words = EVIL[kind]

    def insert(members: dict[str, bytes]) -> None:
        pairs = list(members.items())
        pairs.insert(place, ("evil", member))
        members.clear()
        members.update(pairs)

    said = refused(rebuilt(insert), keys)
    assert words in said
    assert "\x1b" not in said


@pytest.mark.parametrize("kind", [b"1", b"2", b"3", b"4", b"5", b"6", b"S", b"g", b"x", b"L", b"K", b"\0", b"Z"])
def test_a_listed_member_of_another_kind_is_refused(rebuilt: Rebuilt, keys: Keys, kind: bytes) -> None:
    """Name and size right, and a checksum that fits: only the kind is another."""
    path = "debs/Packages"

    def change(members: dict[str, bytes]) -> None:
        raw = members[path]
        block = raw[:156] + kind + raw[157:512]
        members[path] = block[:148] + layout.checksum(block) + block[156:] + raw[512:]

    assert refused(rebuilt(change), keys).startswith(f"{path}: it is ")


@pytest.mark.parametrize(
    "records",
    [
        {"path": "../../evil"},
        {"size": "7"},
        {"linkpath": "/etc"},
        {"mtime": "1"},
        {"GNU.sparse.major": "1", "GNU.sparse.minor": "0"},
    ],
    ids=lambda r: next(iter(r)),
)
@pytest.mark.parametrize("everywhere", [False, True], ids=["one", "global"])
def test_an_extended_header_that_the_manifest_does_not_ask_for_is_refused(
    rebuilt: Rebuilt, keys: Keys, records: dict[str, str], everywhere: bool
) -> None:
    path = "debs/Packages"
    make = tarfile.TarInfo.create_pax_global_header if everywhere else None
    block = make(records) if make else forged(path, FILES[path], pax_headers=records)[: -len(raw_of(path)) or None]

    def change(members: dict[str, bytes]) -> None:
        members[path] = block[: len(block) if everywhere else None] + members[path]

    assert path in refused(rebuilt(change), keys)


def raw_of(path: str) -> bytes:
    return layout.header(path, len(FILES[path])) + layout.padded(FILES[path])


def test_an_extended_header_with_another_name_is_refused(rebuilt: Rebuilt, keys: Keys) -> None:
    def change(members: dict[str, bytes]) -> None:
        members[LONG] = members[LONG].replace(b"path=cache/", b"path=../../")

    assert LONG[:100] in refused(rebuilt(change), keys)


def test_order_gaps_and_repeats_are_refused(rebuilt: Rebuilt, keys: Keys) -> None:
    first, second = PATHS[2:4]

    def swap(members: dict[str, bytes]) -> None:
        members[first], members[second] = members[second], members[first]

    def twice(members: dict[str, bytes]) -> None:
        members[second] = members[first] + members[second]

    def gone(members: dict[str, bytes]) -> None:
        del members[first]

    def emptied(members: dict[str, bytes]) -> None:
        for path in PATHS:
            del members[path]

    def gap(members: dict[str, bytes]) -> None:
        members[second] = bytes(512) + members[second]

    assert refused(rebuilt(swap), keys) == f"{first}: it is missing: {second} stands in its place"
    assert refused(rebuilt(twice), keys) == f"{first}: it is in the bundle twice, or not in its place"
    assert refused(rebuilt(gone), keys) == f"{first}: it is missing: {second} stands in its place"
    assert refused(rebuilt(emptied), keys) == f"{PATHS[0]}: it is missing: the archive ends before it"
    assert refused(rebuilt(gap), keys) == f"{second}: it is missing: the archive ends before it"


def test_another_content_of_the_same_size_is_refused(rebuilt: Rebuilt, keys: Keys) -> None:
    def change(members: dict[str, bytes]) -> None:
        path = "tool/tool.whl"
        members[path] = layout.header(path, 512) + b"T" * 512

    assert (
        refused(rebuilt(change), keys) == "tool/tool.whl: its content is not the one that was bundled (another sha256)"
    )


@pytest.mark.parametrize("size_bytes", [0, 511, 513, 1 << 33, 1 << 49])
def test_a_bomb_is_refused_before_it_is_read(rebuilt: Rebuilt, keys: Keys, size_bytes: int) -> None:
    """Sizes are the manifest's; a header that promises more is another header."""

    def change(members: dict[str, bytes]) -> None:
        path = "tool/tool.whl"
        members[path] = layout.header(path, size_bytes) + b"t" * 512

    assert "tool/tool.whl" in refused(rebuilt(change), keys)


def test_a_signed_bomb_needs_the_bytes_it_promises(resigned: Callable[..., Path], keys: Keys) -> None:
    """Even its trusted maker cannot promise what is not in the file."""
    members = table({"model/zeros": b""}).members
    huge = table({}, members=(type(members[0])(path="model/zeros", sha256="0" * 64, size_bytes=1 << 50),))
    assert "model/zeros" in refused(resigned(manifest.dumps(huge)), keys)


# --- no bundle at all -------------------------------------------------------------------------------------------------


def test_a_wrong_path_or_kind_of_file_is_a_wrong_call(tmp_path: Path, keys: Keys, good: Path) -> None:
    squeezed = tmp_path / "site.bundle.gz"
    squeezed.write_bytes(gzip.compress(good.read_bytes()))
    text = tmp_path / "text"
    text.write_text("hello\n")
    archive = io.BytesIO(b"PK\x03\x04" + bytes(5000))
    other = tmp_path / "other.zip"
    other.write_bytes(archive.getvalue())
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    for path in (tmp_path, tmp_path / "nothing", pipe, Path("/dev/null"), squeezed, text, other):
        with pytest.raises(Misused) as caught:
            verify(path, keys.allowed)
        assert caught.value.exit_code == 2
        assert str(path) in caught.value.message


def test_an_ordinary_tar_is_refused(tmp_path: Path, keys: Keys) -> None:
    path = tmp_path / "other.tar"
    path.write_bytes(forged("readme", b"hello") + bytes(1024))
    assert refused(path, keys) == "readme: a file that manifest.json does not list, where manifest.json should be"


@pytest.mark.parametrize("name", [manifest.NAME, manifest.SIGNATURE_NAME])
def test_a_huge_head_is_not_read(good: Path, tmp_path: Path, keys: Keys, name: str) -> None:
    """The file is sparse: a reader that took its word for it would read gigabytes of zeros."""
    path = tmp_path / "huge.bundle"
    raw = raw_members(good)
    with path.open("wb") as out:
        if name != manifest.NAME:
            out.write(raw[manifest.NAME])
        out.write(layout.header(name, 1 << 32))
        out.truncate(1 << 33)
    assert refused(path, keys).startswith(f"{name}: 4294967296 bytes; at most")


# --- the program and the command --------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def pyz(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("program") / "site.bundle.pyz"
    path.write_bytes(program.build())
    return path


def pythons_of_a_target(pythons: dict[tuple[int, int], str]) -> list[str]:
    return [pythons[version] for version in sorted({sys.version_info[:2], *({(3, 10)} & set(pythons))})]


def test_the_program_beside_a_bundle_needs_nothing_else(
    pyz: Path, pythons: dict[tuple[int, int], str], good: Path, keys: Keys, rebuilt: Rebuilt, tmp_path: Path
) -> None:
    wrong = rebuilt(lambda members: members.pop(PATHS[0]))
    for python in pythons_of_a_target(pythons):
        options = ["--allowed-signers", keys.allowed]
        bare = {"PATH": os.environ["PATH"], "HOME": str(tmp_path)}

        def run(*words: object, python: str = python, bare: dict[str, str] = bare) -> subprocess.CompletedProcess[str]:
            command = [python, "-I", pyz, *map(str, words)]
            return subprocess.run(command, capture_output=True, text=True, env=bare, cwd=tmp_path, check=False)

        done = run("verify", good, *options)
        assert (done.returncode, done.stderr) == (0, "")
        assert "every byte is as signed" in done.stdout and "me@site" in done.stdout
        done = run("verify", wrong, *options)
        assert (done.returncode, done.stdout) == (4, "")
        assert PATHS[0] in done.stderr and "Traceback" not in done.stderr
        assert run("verify", good).returncode == 2  # nobody is trusted by this HOME
        assert run("verify").returncode == 2


def test_the_same_tool_makes_the_same_program() -> None:
    assert program.build() == program.build()


@pytest.mark.parametrize(("change", "status"), [(None, 0), (lambda members: members.pop(PATHS[0]), 4)])
def test_the_command_says_the_same(
    good: Path, keys: Keys, rebuilt: Rebuilt, change: Change | None, status: int
) -> None:
    path = rebuilt(change) if change else good
    command = [sys.executable, "-m", "provision", "bundle", "verify", path, "--allowed-signers", keys.allowed, "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == status, done.stderr
    assert ('"members": 6' in done.stdout, PATHS[0] in done.stderr) == (status == 0, status == 4)


def test_any_bytes_at_all_are_refused_and_nothing_else_happens(good: Path, tmp_path: Path, keys: Keys) -> None:
    """Blocks of a right bundle cut, doubled, swapped and overwritten at random: never another exception."""
    chosen = random.Random(7)
    data = good.read_bytes()
    path = tmp_path / "any.bundle"
    for _ in range(120):
        blocks = [data[at : at + 512] for at in range(0, len(data), 512)]
        for _ in range(chosen.randint(1, 4)):
            at, other = chosen.randrange(len(blocks)), chosen.randrange(len(blocks))
            match chosen.randrange(4):
                case 0:
                    del blocks[at]
                case 1:
                    blocks.insert(at, blocks[other])
                case 2:
                    blocks[at], blocks[other] = blocks[other], blocks[at]
                case 3:
                    blocks[at] = chosen.randbytes(512)
        mutated = b"".join(blocks)
        path.write_bytes(mutated)
        if mutated == data:
            continue
        with pytest.raises(BundleError):
            verify(path, keys.allowed)


def test_a_wrong_end_of_a_bundle_without_members(tmp_path: Path, keys: Keys) -> None:
    path = write(tmp_path / "empty.bundle", keys.me, {})
    assert verify(path, keys.allowed).manifest.members == ()
    path.write_bytes(path.read_bytes()[:-1])
    assert manifest.SIGNATURE_NAME in refused(path, keys)


def test_a_member_of_many_chunks(tmp_path: Path, keys: Keys) -> None:
    content = random.Random(1).randbytes(2 * walk.CHUNK_BYTES + 1)
    path = write(tmp_path / "large.bundle", keys.me, {"model/a": content})
    assert verify(path, keys.allowed).manifest.members[0].size_bytes == len(content)
    data = bytearray(path.read_bytes())
    data[-1024 - 600] ^= 1
    path.write_bytes(data)
    assert "model/a" in refused(path, keys)
