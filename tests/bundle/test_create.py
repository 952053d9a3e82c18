"""Whole creations from the user's own indexes and this host's Debian archive, looked at with other people's programs."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from provision import apt, bootstrap
from provision.bundle import debian, target, tool_wheel
from provision.errors import Busy, ChangeError, UsageError
from provision.payload.bundle.unpack import unpack
from tests.bundle.build import Keys

pytestmark = pytest.mark.network
ROOT = Path(__file__).parents[2]
BARE = ROOT / "tests/machines/debian12-bare.json"
# The same folder as in tests/image and tests/road, so that wheels and the base image are fetched once.
CACHE = Path(os.environ.get("PROVISION_CACHE", Path.home() / ".cache/provision"))
Create = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="session")
def create(
    keys: Keys, tmp_path_factory: pytest.TempPathFactory, can_install: Callable[[str, str, str], None]
) -> Create:
    """``create(file, *options)``: the command, in a folder without a provision.toml."""
    if shutil.which("apt-get") is None:
        pytest.skip("no Debian archive: needs apt")
    if not list(Path("/var/lib/apt/lists").glob("*Release")):
        if os.environ.get("CI") != "true" or os.geteuid() != 0:
            pytest.skip("no Debian archive: apt has no lists")
        subprocess.run(["apt-get", "update", "-qq"], check=True, stdout=subprocess.DEVNULL)
    archive = f"{bootstrap.reference('bookworm', 'amd64').replace('/', '-').replace(':', '-')}.tar"
    if not (CACHE / archive).is_file():
        can_install("mmdebstrap", "mmdebstrap", "no Debian archive")
        if os.geteuid() != 0:
            pytest.skip("no Debian archive: making the base image needs root")
    folder = tmp_path_factory.mktemp("create")

    def run(path: Path, *options: object) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "provision", "bundle", "create", str(path), "--key", str(keys.me)]
        environment = {**os.environ, "PROVISION_CACHE": str(CACHE)}
        return subprocess.run(
            [*command, *map(str, options)], capture_output=True, text=True, cwd=folder, env=environment, check=False
        )

    return run


@pytest.fixture(scope="session")
def given(tmp_path_factory: pytest.TempPathFactory) -> tuple[object, ...]:
    """The options of a site: a specification, a recorded machine, a model of which one file is a link."""
    folder = tmp_path_factory.mktemp("given")
    (folder / "wanted.toml").write_text('[image]\nbase = "bootstrap"\n')
    model = folder / "tiny-model"
    (model / "sub").mkdir(parents=True)
    (model / "model.safetensors").write_bytes(b"weights")
    (model / "sub/config.json").symlink_to(model / "model.safetensors")
    return ("--spec", folder / "wanted.toml", "--facts", BARE, "--model", model, "--package", "jq")


@pytest.fixture(scope="session")
def site(create: Create, given: tuple[object, ...], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The bundle of that site; half a gigabyte, so it is not kept for later."""
    path = tmp_path_factory.mktemp("site") / "site.bundle"
    done = create(path, *given, "--json")
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert (said["size_bytes"], said["sha256"]) == (path.stat().st_size, sum_of(path))
    assert said["program_sha256"] == sum_of(Path(f"{path}.pyz"))
    assert (said["lock"], said["repeatable"]) == ("smoke-cpu-py311", True)
    yield path
    path.unlink()


@pytest.fixture(scope="session")
def unpacked(site: Path, keys: Keys, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("unpacked") / "site"
    unpack(site, folder, keys.allowed)
    yield folder
    shutil.rmtree(folder)


def sum_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def test_it_is_verified_by_the_program_beside_it(site: Path, keys: Keys) -> None:
    command = [sys.executable, "-I", f"{site}.pyz", "verify", site, "--allowed-signers", keys.allowed, "--json"]
    said = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    assert said["made_for"] == {
        **{"architecture": "x86_64", "debian": "bookworm", "glibc": "2.36"},
        **{"python": "3.11", "lock": "smoke-cpu-py311"},
    }
    assert said["asked"] == {
        **{"model": "tiny-model", "spec": True, "facts": True},
        **{"packages": ["docker.io", "iptables", "jq", "mmdebstrap", "python3-apt"]},
    }


def test_twice_created_it_is_the_same_file(
    site: Path, create: Create, given: tuple[object, ...], tmp_path: Path
) -> None:
    again = tmp_path / "other.bundle"
    done = create(again, *given)
    assert done.returncode == 0, done.stderr
    assert sum_of(again) in done.stdout and sum_of(Path(f"{again}.pyz")) in done.stdout
    assert sum_of(again) == sum_of(site)
    assert sum_of(Path(f"{again}.pyz")) == sum_of(Path(f"{site}.pyz"))
    again.unlink()


# --- the Debian packages ----------------------------------------------------------------------------------------------


def apt_of(root: Path, unpacked: Path, status: str) -> Callable[..., subprocess.CompletedProcess[str]]:
    """An apt that knows the bundle's packages alone, on a machine with this dpkg status."""
    for folder in ("etc/apt/apt.conf.d", "etc/apt/preferences.d", "lists/partial", "archives/partial"):
        (root / folder).mkdir(parents=True)
    (root / "status").write_text(status)
    (root / "etc/apt/sources.list").write_text(f"deb [trusted=yes] file:{unpacked}/debs ./\n")
    configuration = root / "apt.conf"
    configuration.write_text(
        f'Dir "{root}/";\nDir::State::status "{root}/status";\nDir::State::lists "{root}/lists/";\n'
        f'Dir::Cache::archives "{root}/archives/";\nAPT::Architecture "amd64";\nAPT::Install-Recommends "0";\n'
        'APT::Sandbox::User "root";\n'
    )

    def run(*words: str) -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, "APT_CONFIG": str(configuration), "LC_ALL": "C.UTF-8"}
        command = ["apt-get", "--yes", "-qq", *words]
        return subprocess.run(command, capture_output=True, text=True, env=environment, check=False)

    return run


def base_status() -> str:
    """dpkg's list in the base image: the smallest Debian there is, with nothing of the roles."""
    import tarfile

    name = bootstrap.reference("bookworm", "amd64").replace("/", "-").replace(":", "-")
    with tarfile.open(CACHE / f"{name}.tar") as outer, tarfile.open(fileobj=outer.extractfile("layer.tar")) as layer:
        status = layer.extractfile("./var/lib/dpkg/status")
        assert status
        return status.read().decode()


@pytest.mark.parametrize("machine", ["nothing installed", "the smallest Debian"])
def test_apt_installs_the_roles_packages_from_the_bundle_alone(unpacked: Path, tmp_path: Path, machine: str) -> None:
    ask = apt_of(tmp_path, unpacked, "" if machine == "nothing installed" else base_status())
    done = ask("update")
    assert (done.returncode, done.stderr) == (0, "")
    wanted = ["docker.io", "iptables", "jq", "mmdebstrap", "python3-apt"]
    done = ask("--simulate", "install", *wanted)
    assert done.returncode == 0, done.stderr
    installed = {line.split()[1] for line in done.stdout.splitlines() if line.startswith("Inst ")}
    assert set(wanted) <= installed and "containerd" in installed
    done = ask("--download-only", "install", *wanted)
    assert done.returncode == 0, done.stderr


def test_apt_refuses_a_package_that_was_changed_after_unpacking(unpacked: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(unpacked / "debs", copy / "debs")
    (deb,) = (copy / "debs").glob("tini_*.deb")
    deb.write_bytes(deb.read_bytes()[:-1] + b"x")
    ask = apt_of(tmp_path / "root", copy, "")
    assert ask("update").returncode == 0
    done = ask("--download-only", "--reinstall", "install", "tini")
    assert done.returncode != 0 and "Hash Sum mismatch" in done.stderr, done.stderr


def test_debian_packages_are_the_archives_own(unpacked: Path) -> None:
    """Every package's sum stands in the lists that this host's apt has verified."""
    known = subprocess.run(["apt-cache", "dumpavail"], capture_output=True, text=True, check=True).stdout
    sums = {line.removeprefix("SHA256: ") for line in known.splitlines() if line.startswith("SHA256: ")}
    debs = list((unpacked / "debs").glob("*.deb"))
    found = [deb.name for deb in debs if hashlib.sha256(deb.read_bytes()).hexdigest() in sums]
    # The archive may have moved on since the host last fetched its lists: a few are newer than those.
    assert len(debs) > 80 and len(found) > 0.8 * len(debs)


def test_no_release_file_has_this_clock(unpacked: Path) -> None:
    published = apt.debian_sources("bookworm")[0].published
    assert f"Date: {published.strftime('%a, %d %b %Y %H:%M:%S UTC')}" in (unpacked / "debs/Release").read_text()


# --- the tool ---------------------------------------------------------------------------------------------------------


def test_the_tool_installs_from_the_bundle_alone_and_is_the_same_tool(unpacked: Path, tmp_path: Path) -> None:
    """pip without an index, as an installation does it; and what is installed packs the same wheel again."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", tmp_path / "venv"], check=True)
    python = tmp_path / "venv/bin/python"
    (pip,) = (unpacked / "tool").glob("pip-*.whl")
    install = [python, f"{pip}/pip", "install", "-qq", "--disable-pip-version-check", "--no-compile", "--no-index"]
    where = ["--find-links", unpacked / "tool"]
    subprocess.run([*install, *where, "--require-hashes", "-r", unpacked / "tool/tool-py311.txt"], check=True)
    subprocess.run([*install, "--no-deps", unpacked / "tool" / tool_wheel.FILENAME], check=True)
    said = subprocess.run([python.with_name("provision"), "--version"], capture_output=True, text=True, check=True)
    assert said.stdout.startswith("provision, version")
    pack = "import sys; from provision.bundle import tool_wheel; sys.stdout.buffer.write(tool_wheel.build())"
    again = subprocess.run([python, "-c", pack], capture_output=True, check=True, cwd=tmp_path).stdout
    assert again == (unpacked / "tool" / tool_wheel.FILENAME).read_bytes()


# --- the list of materials --------------------------------------------------------------------------------------------


def materials(folder: Path) -> dict[str, Any]:
    """The list, once the official schema has accepted it."""
    from cyclonedx.schema import SchemaVersion
    from cyclonedx.validation.json import JsonStrictValidator

    text = (folder / "sbom.cdx.json").read_text()
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(text) is None
    content: dict[str, Any] = json.loads(text)
    return content


def test_the_list_of_materials_is_valid_and_has_every_member(unpacked: Path) -> None:
    listed = materials(unpacked)
    components = [*listed["components"], listed["metadata"]["component"]]
    sums = {c["bom-ref"]: c["hashes"][0]["content"] for c in components if c["type"] != "machine-learning-model"}
    here = {
        str(path.relative_to(unpacked)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in unpacked.rglob("*")
        if path.suffix in (".whl", ".deb") or path.name.startswith("provision-base")
    }
    assert sums == here
    (base,) = (c for c in listed["components"] if c["type"] == "container")
    inside = {c["name"]: c["version"] for c in base["components"]}
    assert {"python3", "libc6", "dpkg", "libstdc++6"} <= inside.keys()
    assert "Package: libc6\nStatus: install ok installed\n" in base_status() and inside["libc6"] in base_status()
    wheels = [c for c in listed["components"] if c.get("purl", "").startswith("pkg:pypi/")]
    licences = {c["name"]: c.get("licenses") for c in wheels}
    assert licences["pip"] == [{"expression": "MIT"}] and all(licences.values())


# --- a machine, a specification, a model ------------------------------------------------------------------------------


def test_what_was_given_goes_along(unpacked: Path, given: tuple[object, ...]) -> None:
    assert (unpacked / "run/provision.toml").read_text() == Path(str(given[1])).read_text()
    assert json.loads((unpacked / "run/facts.json").read_text())["machine"] == "debian12"
    assert json.loads((unpacked / "run/plan.json").read_text())["dependencies"]["base"] == "bootstrap"
    assert (unpacked / "run/rendered/manifest.json").is_file() and (unpacked / "run/playbooks/site.yml").is_file()
    assert (unpacked / "model/sub/config.json").read_bytes() == b"weights"
    (listed,) = (c for c in materials(unpacked)["components"] if c["type"] == "machine-learning-model")
    assert [c["name"] for c in listed["components"]] == ["model.safetensors", "sub/config.json"]


def test_the_cache_is_what_a_build_looks_for(unpacked: Path) -> None:
    """The build's own code finds every wheel, pip and the base image in the unpacked folder, and asks no index."""
    script = (
        "from pathlib import Path\nfrom importlib import resources\n"
        "from provision import bootstrap, building, cache as kept, wheelhouse\n"
        "cache = kept.folder()\nlocks = Path(str(resources.files('provision.lockfiles')))\n"
        "def none(): raise SystemExit('an index was asked')\n"
        "print(len(wheelhouse.fill(locks / 'smoke-cpu-py311.txt', cache / 'wheels', '3.11', none).wheels))\n"
        "print(building.installer(locks / 'tool-py311.txt', cache, '3.11').downloaded)\n"
        "print(bootstrap.make('bookworm', 'amd64', cache))\n"
    )
    environment = {**os.environ, "PROVISION_CACHE": str(unpacked / "cache"), "PIP_NO_INDEX": "1"}
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    wheels, downloaded, base = done.stdout.splitlines()
    assert (int(wheels) > 30, downloaded) == (True, "()") and base.startswith(str(unpacked / "cache"))


# --- wrong calls ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "status", "words"),
    [
        (["--lock", "smoke-cpu-py39"], 2, "no variant is called"),
        (["--package", "--option=Dir=/"], 2, "no Debian package has such a name"),
        (["--lock", "tool-py311"], 2, "tool-py311 is not for an image"),
        (
            ["--lock", "serve-cu128-py312"],
            2,
            "is for Python 3.12; the base made from this host's Debian (bookworm) has 3.11",
        ),
        (["--facts", BARE, "--lock", "smoke-cu128-py311"], 2, "takes smoke-cpu-py311"),
        (["--facts", ROOT / "tests/machines/gpu-h100.json"], 2, "a bundle is for Debian; gpu-h100 has Ubuntu"),
        (["--facts", "nothing.json"], 2, "nothing.json"),
        (["--spec", "nothing.toml"], 2, "nothing.toml"),
        (["--model", "nothing"], 2, "--model nothing: it is no folder"),
    ],
    ids=str,
)
def test_a_wrong_call_says_so_and_writes_nothing(
    create: Create, tmp_path: Path, options: list[object], status: int, words: str
) -> None:
    path = tmp_path / "site.bundle"
    path.write_text("earlier")
    done = create(path, *options)
    assert (done.returncode, words in done.stderr, done.stdout) == (status, True, ""), done.stderr
    assert {p.name: p.read_text() for p in tmp_path.iterdir()} == {"site.bundle": "earlier"}


def test_an_image_from_a_registry_is_not_carried_and_is_refused(create: Create, tmp_path: Path) -> None:
    wanted = tmp_path / "wanted.toml"
    wanted.write_text(f'[image]\nbase = "registry.example/python@sha256:{"0" * 64}"\n')
    done = create(tmp_path / "site.bundle", "--spec", wanted)
    assert (done.returncode, "image.base" in done.stderr) == (2, True)


def test_a_package_that_the_archive_has_not_is_named(tmp_path: Path) -> None:
    with pytest.raises(ChangeError, match="no-such-package"):
        debian.closure(("no-such-package",), "bookworm", "amd64", tmp_path)


def test_a_damaged_package_in_the_cache_is_named(unpacked: Path, tmp_path: Path) -> None:
    (tmp_path / "debs").mkdir()
    (deb,) = (unpacked / "debs").glob("tini_*.deb")
    kept = tmp_path / "debs" / deb.name
    kept.write_bytes(deb.read_bytes()[:-1] + b"x")  # apt takes a file of the right length for the right one
    with pytest.raises(ChangeError, match=r"tini_.*: it is not the package that the archive lists") as caught:
        debian.closure(("tini",), "bookworm", "amd64", tmp_path)
    assert caught.value.next_command == f"rm {kept}"


def test_another_release_of_debian_is_refused(tmp_path: Path) -> None:
    """Its Python cannot load the tool's wheels: better said here than on the other side."""
    facts = tmp_path / "facts.json"
    facts.write_text(BARE.read_text().replace("bookworm", "trixie"))
    with pytest.raises(UsageError, match=r"for Python 3\.11; Debian's release trixie has 3\.13"):
        target.choose(None, None, str(facts))


def test_a_volume_brings_the_programs_that_make_it(tmp_path: Path) -> None:
    wanted = tmp_path / "wanted.toml"
    wanted.write_text('[storage]\ndisks = ["A1", "A2"]\nmount_point = "/srv/models"\nfilesystem = "xfs"\n')
    assert target.choose(None, wanted, None).packages == (
        *("docker.io", "iptables", "mdadm", "mmdebstrap", "python3-apt", "xfsprogs"),
    )


def test_a_killed_runs_leftovers_go_and_a_running_one_is_not_disturbed(tmp_path: Path) -> None:
    (tmp_path / "debs/root-left").mkdir(parents=True)
    with debian._alone(tmp_path / "debs"):
        assert list((tmp_path / "debs").iterdir()) == []
        with pytest.raises(Busy, match="another run"), debian._alone(tmp_path / "debs"):
            pass
