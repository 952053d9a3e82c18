"""A shared snapshot names nobody, loads, and is judged as before."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

from provision import facts, road
from provision.cli import main
from provision.fact import PROBES, Absent, Missing, Snapshot
from provision.facts.cuda import CudaToolkit, CudaToolkits
from provision.facts.disks import Mount, Mounts
from provision.facts.environment import Environment
from provision.facts.gpus import Gpu, Gpus
from provision.facts.system import System
from provision.report import snapshots
from provision.share import share
from provision.spec import Spec

facts.load()
UUID = "8f3c1d2a-1111-2222-3333-444455556666"
SYSTEM = System(
    os_id="debian", os_version="12", os_codename="bookworm", os_name="Debian GNU/Linux 12 (bookworm)", kernel="6.1.0-28-amd64",
    architecture="x86_64", hostname="gpu-07.lab.acme.example.edu", init="systemd", container="none", virtualization="none",
    glibc="2.36",
)  # fmt: skip


def gpu(uuid: str) -> Gpu:
    return Gpu(
        index=0, name="NVIDIA H100 80GB HBM3", uuid=uuid, pci_address="0000:01:00.0", memory_bytes=1, memory_free_bytes=1,
        compute_capability="9.0", pcie_width=16, pcie_width_max=16, pcie_generation=5, pcie_generation_max=5, mig_mode=False,
        mig_mode_pending=False, persistence=True, process_count=0,
    )  # fmt: skip


def mount(point: str, source: str, **overrides: Any) -> Mount:
    values: dict[str, Any] = {
        "mount_point": point, "source": source, "filesystem": "nfs4", "options": ("rw",), "network": True, "disks": (),
        "total_bytes": 1, "free_bytes": 1, "inodes_total": 1, "inodes_free": 1, "unreachable": None,
    }  # fmt: skip
    return Mount(**(values | overrides))


def with_text(text: str, **more: Any) -> Snapshot:
    """A snapshot that carries a text where any text may stand: in a reason."""
    return Snapshot("gpu-07.lab.acme.example.edu", {"System": SYSTEM, "KernelLog": Missing(text), **more}, "0")


def shown(text: str) -> str:
    value = share(with_text(text))[0].facts["KernelLog"]
    assert isinstance(value, Missing)
    return value.reason


@pytest.mark.parametrize(
    ("text", "becomes"),
    [
        ("gpu-07 said no", "host-1 said no"),
        ("gpu-07.lab.acme.example.edu said no", "host-1 said no"),
        ("nas.lab.acme.example.edu does not answer", "host-2 does not answer"),
        ("http://proxy.acme.corp:3128 refused", "http://host-2:3128 refused"),
        ("https://huggingface.co/x refused", "https://huggingface.co/x refused"),
        ("permission denied: /home/alice/.cache", "permission denied: /home/user-1/.cache"),
        ("/home/alice/x and /scratch/alice/y", "/home/user-1/x and /scratch/user-1/y"),
        ("/root/.cache is closed", "/root/.cache is closed"),
        ("ssh: bob@build7: refused", "ssh: user-1@host-2: refused"),
        ("mail alice.b@acme.example.edu", "mail mail-1@example.org"),
        ("connect to 10.1.2.3:2375 and 10.1.2.4, 10.1.2.3", "connect to 192.0.2.1:2375 and 192.0.2.2, 192.0.2.1"),
        ("tcp://0.0.0.0:2375, 127.0.0.1 and [::1]:80", "tcp://0.0.0.0:2375, 127.0.0.1 and [::1]:80"),
        ("no route to fe80::1c2d:3", "no route to 2001:db8::1"),
        ("eth0 is 3c:ec:ef:01:02:03", "eth0 is 00:00:5e:00:53:01"),
        ("card 0000:01:00.0 at 12:30:45", "card 0000:01:00.0 at 12:30:45"),
        (f"GPU-{UUID} is lost", "GPU-00000001-0000-0000-0000-000000000000 is lost"),
        ("machine 0123456789abcdef0123456789abcdef", f"machine {1:032x}"),
        ("hf_abcdefghijklmnopqrstuv was refused", "token-1 was refused"),
        ("Authorization: Bearer abc.def-ghi123", "Authorization: Bearer token-1"),
        ("https://x:pass@huggingface.co/", "https://login-1@huggingface.co/"),
        ("user@1000.service and nvidia-persistenced@a.service", "user@1000.service and nvidia-persistenced@a.service"),
        ("libcudnn.so.9.1.0.70 and cublas-12.4.5.8", "libcudnn.so.9.1.0.70 and cublas-12.4.5.8"),
        ("/dev/disk/by-id/nvme-ACME_S5X is gone", "/dev/disk/by-id/disk-1 is gone"),
        ("image name@sha256:" + "a" * 64, "image name@sha256:" + "a" * 64),
        ("std::bad_alloc in torch::add", "std::bad_alloc in torch::add"),
    ],
)
def test_what_names_somebody_is_replaced_and_nothing_else(text: str, becomes: str) -> None:
    assert shown(text) == becomes


def test_the_same_is_replaced_by_the_same_everywhere() -> None:
    variables = (
        ("CUDA_VISIBLE_DEVICES", "GPU-8f3c1d2a"),
        ("HF_HOME", "/home/alice/hf"),
        ("MASTER_ADDR", "gpu-08"),
        ("NCCL_SOCKET_IFNAME", "eth0"),
    )
    given_facts = {
        "Environment": Environment(variables=variables),
        "Gpus": Gpus(driver_version="580.82.07", cuda_version="13.0", gpus=(gpu(f"GPU-{UUID}"),), lost=()),
        "Mounts": Mounts(mounts=(mount("/home/alice", "nas:/home/alice"), mount("/m", "nas:/models"))),
        "KernelLog": Missing("nas not responding; alice on gpu-08"),
    }
    shared, made = share(with_text("", **given_facts))
    assert shared.machine == "host-1"
    assert shared.facts["Environment"] == Environment(
        variables=(
            ("CUDA_VISIBLE_DEVICES", "GPU-00000001"),
            ("HF_HOME", "/home/user-1/hf"),
            ("MASTER_ADDR", "host-3"),
            ("NCCL_SOCKET_IFNAME", "eth0"),
        )
    )
    assert shared.facts["Gpus"].gpus == (gpu("GPU-00000001-0000-0000-0000-000000000000"),)
    assert [m.source for m in shared.facts["Mounts"].mounts] == ["host-2:/home/user-1", "host-2:/models"]
    assert shared.facts["KernelLog"] == Missing("host-2 not responding; user-1 on host-3")
    assert made["user"] == {"alice": "user-1"}
    assert made["host name"] == {"gpu-07": "host-1", "nas": "host-2", "gpu-08": "host-3"}


def test_an_everyday_name_is_only_replaced_where_a_name_must_stand() -> None:
    """A host called debian does not take the system's own name with it."""
    snapshot = Snapshot("debian", {"System": SYSTEM, "KernelLog": Missing("/etc/debian/x in debian 12")}, "0")
    shared, _ = share(snapshot)
    assert shared.machine == "host-1"
    assert shared.facts["System"].os_id == "debian"
    assert shared.facts["KernelLog"] == Missing("/etc/debian/x in debian 12")


def test_a_bare_word_is_no_name_even_where_a_host_is_called_so() -> None:
    """A host named like the release: the codename stays, a sentence about the host does not."""
    snapshot = Snapshot("bookworm", {"System": SYSTEM, "KernelLog": Missing("bookworm said no")}, "0")
    shared, _ = share(snapshot)
    assert shared.facts["System"].os_codename == "bookworm"
    assert shared.facts["KernelLog"] == Missing("host-1 said no")


def test_a_version_of_four_numbers_is_no_address() -> None:
    toolkits = CudaToolkits(
        toolkits=(CudaToolkit(path="/usr/local/cuda", version="12.4.5.8", nvcc=True),), default=None
    )
    assert share(with_text("", CudaToolkits=toolkits))[0].facts["CudaToolkits"] == toolkits


@pytest.mark.parametrize(
    "snapshot", [with_text("alice@acme.example.edu 10.0.0.1 gpu-07 /home/bob/ hf_abcdefghijklmnopqrst")]
)
def test_sharing_twice_changes_nothing(snapshot: Snapshot) -> None:
    once, _ = share(snapshot)
    twice, made = share(once)
    assert twice.to_json() == once.to_json()
    assert not any(made.values())
    assert snapshots.replaced(made) == "Nothing had to be replaced.\n"


@settings(max_examples=200, deadline=None)
@given(
    st.text(alphabet="ab1.:/@- \n_=é", max_size=60),
    st.sampled_from(["", "/home/", "http://", "10.0.0.", "GPU-", "x@y.org "]),
)
def test_any_text_loads_and_sharing_it_twice_is_sharing_it_once(text: str, before: str) -> None:
    once, _ = share(with_text(before + text))
    assert share(once)[0].to_json() == once.to_json()


def test_what_was_replaced_is_told_but_no_secret() -> None:
    _, made = share(with_text("hf_abcdefghijklmnopqrstuv of alice in /home/alice at https://bob:secret@x.corp/"))
    said = snapshots.replaced(made)
    assert "alice" in said and "-> user-1" in said and "-> token-1" in said
    assert "hf_" not in said and "secret@" not in said and "bob:" not in said


def causes(snapshot: Snapshot) -> list[tuple[Any, ...]]:
    seen = road.diagnose(snapshot, Spec(), today="2026-11-24").causes
    return [(c.cause, c.codes, c.severity, c.also) for c in seen]


def test_this_machines_snapshot_shared_says_the_same(tmp_path: Path) -> None:
    """The real one: taken, shared, read again, judged."""
    run = CliRunner()
    assert run.invoke(main, ["facts", "-o", str(tmp_path / "own.json")]).exit_code == 0
    done = run.invoke(
        main, ["facts", "--facts", str(tmp_path / "own.json"), "--share", "-o", str(tmp_path / "shared.json")]
    )
    assert done.exit_code == 0
    assert (done.stdout, done.stderr[:8]) == ("", "Replaced")
    own, shared = (road.read_snapshot(str(tmp_path / name)) for name in ("own.json", "shared.json"))
    assert shared.machine == "host-1"
    assert causes(own) == causes(shared) != []
    assert {n: type(v) for n, v in own.facts.items()} == {n: type(v) for n, v in shared.facts.items()}


MACHINES = sorted((Path(__file__).parent / "machines").glob("*.json"))


@pytest.mark.parametrize("path", MACHINES, ids=lambda p: str(p.stem))
def test_whole_machines_are_judged_alike_and_named_no_more(path: Path) -> None:
    """The suite's machines: a bare Debian, one after ``up``, GPU servers, a Kubernetes node, WSL2."""
    own = road.read_snapshot(str(path))
    shared, made = share(own)
    assert causes(own) == causes(shared)
    text = json.dumps(shared.to_json())
    replaced = [real for kind, pairs in made.items() if kind in ("user", "UUID") for real in pairs]
    assert [
        real for real in (*replaced, own.machine) if re.search(rf"(?<![\w-]){re.escape(real)}(?![\w-])", text)
    ] == []


def test_every_recorded_fact_can_be_shared(tmp_path: Path) -> None:
    """Whatever a probe may give, absent and missing included, loads after it was shared."""
    for kind in (Absent, Missing):
        shared, _ = share(Snapshot("m-1", dict.fromkeys(PROBES, kind("on m-1")), "0"))
        assert {type(v) for v in shared.facts.values()} == {kind}
        assert {v.reason for v in shared.facts.values()} == {"on host-1"}
    assert json.dumps(shared.to_json())
