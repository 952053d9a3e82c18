"""A base image made from the Debian archive that this host itself uses, for where no registry can be reached.

mmdebstrap installs the essential packages and Python into a folder, security updates included, and gives one tar
whose bytes depend on the packages alone. (Measured 2026-11-24 on 2 cores: 28 s and 102 MB; debootstrap took 65 s,
cannot read the security archive, and left mounts behind when killed.) It runs in its own mount and process
namespace, bound to the life of this process: killed at any moment, even with ``kill -9``, no mount and no process
of it survives. Only its folder does, and the next run removes that.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

from provision import apt, archive
from provision.errors import ChangeError
from provision.progress import say

REPOSITORY = "provision/base"
SECONDS = 900
ROOM_BYTES = 384 << 20  # the folder, its package lists and the archive peaked at 235 MiB (2026-11-24, bookworm, amd64)

# What a wheel's own libraries expect of the system. libgomp is not among them: torch's wheel carries it and
# loads it first (readelf over torch 2.13.0, bitsandbytes 0.50.2, numpy, tokenizers, hf_xet: 2026-11-24).
# usr-is-merged spares usrmerge, which would bring the whole of perl (50 MB).
PACKAGES = ("libstdc++6", "python3", "usr-is-merged")
_LEFT_OUT = ("doc", "info", "locale", "man", "lintian", "bash-completion", "pixmaps", "menu")
_KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
# Traces of this host and leftovers of the making; mmdebstrap copies the host's name and resolver.
_WIPED = ("etc/hostname", "etc/resolv.conf", "etc/dpkg/dpkg.cfg.d/99mmdebstrap", "var/lib/apt", "var/cache/apt")
_UNREACHABLE = (
    r"Could not (resolve|connect)|failure resolving|Unable to connect|Connection (refused|timed out)|is unreachable"
)
_WORK_PREFIX = "bootstrap-"


def reference(suite: str, architecture: str) -> str:
    """The tag of the base image: the same inputs give the same tag, so nothing is made twice."""
    recipe = {
        "architecture": architecture,
        "left out": _LEFT_OUT,
        "packages": PACKAGES,
        "recipe": 1,  # raised when the steps below change what comes out
        "suite": suite,
    }
    return f"{REPOSITORY}:{suite}-{hashlib.sha256(json.dumps(recipe, sort_keys=True).encode()).hexdigest()[:16]}"


def kept(suite: str, architecture: str, cache: Path) -> Path:
    """Where in ``cache`` the base image is kept as an archive, or will be."""
    return cache / (reference(suite, architecture).replace("/", "-").replace(":", "-") + ".tar")


def make(suite: str, architecture: str, cache: Path) -> Path:
    """The base image as an archive that an engine can load, from ``cache`` or made anew.

    Raises ``ChangeError``: not root, no mmdebstrap, no archive known, no network, no room. Nothing half-made stays.
    """
    tag = reference(suite, architecture)
    archive_path = kept(suite, architecture, cache)
    if archive_path.is_file():
        return archive_path
    if os.geteuid() != 0:
        raise ChangeError("making the base image from the Debian archive needs root", "sudo provision up")
    if shutil.which("mmdebstrap") is None:
        raise ChangeError(
            "making the base image needs mmdebstrap, which is not installed",
            "sudo apt-get install --no-install-recommends mmdebstrap",
        )
    sources = apt.debian_sources(suite)
    cache.mkdir(parents=True, exist_ok=True, mode=0o700)
    with _alone(cache):
        if archive_path.is_file():
            return archive_path
        for leftover in sorted(cache.glob(f"{_WORK_PREFIX}*")):  # of a run that was killed
            _remove(leftover)
        _need_room(cache)
        say(f"making the base image {tag} from this host's Debian archive (about half a minute)")
        with _work_folder(cache) as work:
            image = _image(tag, suite, architecture, sources, work)
            image.replace(archive_path)
    return archive_path


def _need_room(cache: Path) -> None:
    free_bytes = shutil.disk_usage(cache).free
    if free_bytes < ROOM_BYTES:
        raise ChangeError(
            f"{cache} has {free_bytes >> 20} MiB free; making the base image needs {ROOM_BYTES >> 20} MiB",
            f"df -h {cache}",
        )


def _image(tag: str, suite: str, architecture: str, sources: tuple[apt.Source, ...], work: Path) -> Path:
    tree = _install(suite, architecture, sources, work)
    image = work / "image.tar"
    try:
        _pack(tag, architecture, sources[0].published, tree, image)
    except OSError as error:
        raise ChangeError(
            f"{work.parent}: {error.strerror} while the base image was written", f"df -h {work.parent}"
        ) from error
    return image


def _install(suite: str, architecture: str, sources: tuple[apt.Source, ...], work: Path) -> Path:
    tree = work / "tree.tar"
    listing = work / "sources.list"
    listing.write_text("".join(f"deb [signed-by={_KEYRING}] {s.uri} {s.suite} {s.component}\n" for s in sources))
    options = work / "apt.conf"
    options.write_text(apt.reach())
    command = [
        "setpriv", "--pdeathsig", "KILL",
        "unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc",
        "mmdebstrap", "--mode=root", "--variant=essential", f"--architectures={architecture}",
        f"--include={','.join(PACKAGES)}", "--hook-dir=/usr/share/mmdebstrap/hooks/merged-usr", f"--aptopt={options}",
        *(f"--dpkgopt=path-exclude=/usr/share/{name}/*" for name in _LEFT_OUT),
        "--dpkgopt=path-include=/usr/share/doc/*/copyright",
        f"--customize-hook={_wipe()}",
        suite, str(tree), str(listing),
    ]  # fmt: skip
    # /etc/apt/proxy scripts and http_proxy work as they do for the host's own apt: the environment goes along.
    environment = {**os.environ, "TMPDIR": str(work), "LC_ALL": "C.UTF-8",
                   "SOURCE_DATE_EPOCH": str(int(sources[0].published.timestamp()))}  # fmt: skip
    _run(command, environment, work)
    return tree


def _run(command: list[str], environment: Mapping[str, str], work: Path) -> None:
    log = work / "log"
    with log.open("wb") as out:
        process = subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL, stdout=out, stderr=out)
        try:
            status = process.wait(SECONDS)
        except subprocess.TimeoutExpired as error:
            raise ChangeError(f"mmdebstrap did not finish within {SECONDS:.0f} s", "sudo apt-get update") from error
        finally:
            if process.poll() is None:  # deadline or Ctrl-C: its namespaces die with it
                process.send_signal(signal.SIGKILL)
                process.wait()
    if status:
        raise _failure(log.read_text(errors="replace"), status, work)


def _failure(log: str, status: int, work: Path) -> ChangeError:
    log = re.sub(r"//[^/@\s]+@", "//", log)  # a mirror's address may carry a password
    lines = [line.strip() for line in log.splitlines() if re.match(r"\s*(E:|Err:|dpkg: error)", line)]
    last = lines[0] if lines else (log.strip().splitlines() or [f"exit status {status}"])[-1]
    doing = "making the base image from the Debian archive failed"
    if "No space left on device" in log:
        return ChangeError(f"{doing}: the disk under {work.parent} is full", f"df -h {work.parent}")
    if re.search(_UNREACHABLE, log):
        return ChangeError(f"{doing}: the archive cannot be reached ({last})", "sudo apt-get update")
    if re.search(r"NO_PUBKEY|is not signed|GPG error|EXPKEYSIG", log):
        return ChangeError(f"{doing}: the archive is not signed by Debian ({last})", "sudo apt-get update")
    return ChangeError(f"{doing}: {last}", "sudo apt-get update")


def _wipe() -> str:
    # The one shell line here. Everything in it is a constant of this module; "$1" is mmdebstrap's.
    gone = " ".join(f'"$1"/{path}' for path in _WIPED)
    shares = " ".join(f'"$1"/usr/share/{name}' for name in _LEFT_OUT if name != "doc")
    configured = 'find "$1"/etc/apt -type f ! -name 00mmdebstrap -delete'  # that one mmdebstrap removes itself
    return f'{configured} && rm -rf {gone} {shares} && find "$1"/var/log -type f -delete && : > "$1"/etc/machine-id'


def _pack(tag: str, architecture: str, published: datetime, tree: Path, image: Path) -> None:
    """Write what ``docker load`` takes. The same tree gives the same image id on every machine."""
    with tree.open("rb") as file:
        layer = hashlib.file_digest(file, "sha256").hexdigest()
    made = published.strftime("%Y-%m-%dT%H:%M:%SZ")
    config = json.dumps(
        {
            "architecture": architecture,
            "config": {
                "Cmd": ["python3"],
                "Env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LANG=C.UTF-8"],
                "Labels": {"io.provision.base": tag.partition(":")[2]},
            },
            "created": made,
            "history": [{"created": made, "created_by": f"provision: bootstrap {tag.partition(':')[2]}"}],
            "os": "linux",
            "rootfs": {"diff_ids": [f"sha256:{layer}"], "type": "layers"},
        },
        sort_keys=True,
    ).encode()
    name = hashlib.sha256(config).hexdigest() + ".json"
    manifest = json.dumps([{"Config": name, "Layers": ["layer.tar"], "RepoTags": [tag]}]).encode()
    members = (
        archive.literal(name, config),
        archive.from_file("layer.tar", tree),
        archive.literal("manifest.json", manifest),
    )
    with image.open("wb") as out:
        for chunk in archive.stream(members):
            out.write(chunk)
        out.flush()
        os.fsync(out.fileno())


@contextmanager
def _alone(cache: Path) -> Iterator[None]:
    """One bootstrap at a time in ``cache``; the second waits and then finds what the first made. Death unlocks."""
    handle = os.open(cache, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


@contextmanager
def _work_folder(cache: Path) -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix=_WORK_PREFIX, dir=cache))
    try:
        yield folder
    finally:
        _remove(folder)


def _remove(folder: Path) -> None:
    """Remove a work folder, but never through a mount: a bind of the host's /dev under it would be emptied."""
    mounts = [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    inside = [mount for mount in mounts if Path(mount).is_relative_to(folder)]
    if inside:
        raise ChangeError(
            f"{inside[-1]} is still mounted inside {folder}, which is to be removed", f"sudo umount {inside[-1]}"
        )
    shutil.rmtree(folder)
