"""provision.toml is read strictly: what, where, what was expected."""

from __future__ import annotations

from pathlib import Path

import pytest

from provision import spec
from provision.errors import Refused, UsageError


def load(folder: Path, text: str) -> spec.Spec:
    path = folder / "provision.toml"
    path.write_text(text, encoding="utf-8")
    return spec.load(path)


def test_nothing_given_gives_the_defaults(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert spec.load(None) == spec.Spec()


def test_every_key_is_read(tmp_path: Path) -> None:
    read = load(
        tmp_path,
        """
        accelerator = "cpu"
        state_folder = "/srv/provision"
        [machine]
        name = "gpu-07"
        [model]
        name = "deepseek-ai/DeepSeek-V3"
        [image]
        repository = "ours/smoke"
        base = "bootstrap"
        labels = { team = "ml" }
        [expect]
        gpus = 8
        driver = "580"
        [[accept]]
        code = "STO001"
        reason = "scratch machine"
        """,
    )
    assert read.machine.name == "gpu-07"
    assert read.image == spec.ImageSpec(repository="ours/smoke", base="bootstrap", labels={"team": "ml"})
    assert read.expect == spec.Expect(gpus=8, driver="580")
    assert read.accepted("2026-11-24") == {"STO001": "scratch machine"}


def test_how_a_model_is_to_be_served_is_read(tmp_path: Path) -> None:
    read = load(
        tmp_path,
        """
        [model]
        name = "deepseek-ai/DeepSeek-V3"
        quantization = "awq"
        context = 32768
        users = 8
        kv_cache_dtype = "fp8"
        engine = "vllm==0.33.0"
        gpu_memory_utilization = 1
        tp = 8
        pp = 1
        dp = 2
        """,
    )
    assert read.model == spec.ModelSpec(
        name="deepseek-ai/DeepSeek-V3",
        quantization="awq",
        context=32768,
        users=8,
        kv_cache_dtype="fp8",
        engine="vllm==0.33.0",
        gpu_memory_utilization=1,
        tp=8,
        pp=1,
        dp=2,
    )


@pytest.mark.parametrize("written", ["2027-05-31", '"2027-05-31"'])
def test_a_waiver_holds_through_its_last_day(tmp_path: Path, written: str) -> None:
    read = load(tmp_path, f'[[accept]]\ncode = "STO001"\nreason = "moving"\nexpires = {written}')
    assert read.accepted("2027-05-31") == {"STO001": "moving (until 2027-05-31)"}
    assert read.expired("2027-05-31") == {}
    assert read.accepted("2027-06-01") == {}
    assert read.expired("2027-06-01") == {"STO001": "the waiver ended on 2027-05-31: moving"}


def test_of_two_waivers_the_one_that_holds_counts() -> None:
    ended = spec.Accept(code="STO001", reason="old", expires="2026-01-01")
    holds = spec.Accept(code="STO001", reason="new")
    for both in ((ended, holds), (holds, ended)):
        read = spec.Spec(accept=both)
        assert (read.accepted("2026-11-24"), read.expired("2026-11-24")) == ({"STO001": "new"}, {})


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[modle]\nname = 'x'", 'modle: unknown key (did you mean "model"?)'),
        ("[expect]\ngpu = 8", 'expect.gpu: unknown key (did you mean "gpus"?)'),
        ("[expect]\ngpus = '8'", "expect.gpus: expected int or null, got str"),
        ("[expect]\ngpus = true", "expect.gpus: expected int or null, got bool"),
        ("[[accept]]\ncode = 'STO001'", "accept[0].reason: missing; expected str"),
        ("[model]\ntps = 2", 'model.tps: unknown key (did you mean "tp"?)'),
        ("[model]\nusers = 'eight'", "model.users: expected int or null, got str"),
        ("accelerator = 'cu999'", "accelerator: expected one of auto, cpu, cu126, cu128, cu130; got 'cu999'"),
        ("accelerator = 'cu13'", "got 'cu13' (did you mean \"cu130\"?)"),
        ("[image]\npython = '3'", "image.python: expected two numbers such as 3.11, got '3'"),
        ("[image]\nglibc = '2.36-9'", "image.glibc: expected two numbers such as 2.36, got '2.36-9'"),
        ("[image\n", "not TOML"),
    ],
)
def test_what_is_wrong_is_named_with_its_path(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(UsageError) as caught:
        load(tmp_path, text)
    assert caught.value.exit_code == 2
    assert says in caught.value.message
    assert str(tmp_path / "provision.toml") in caught.value.message


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('[model]\nname = "a\\nb"', "model.name: expected one line without control characters"),
        ('[image.labels]\nx = "a\\u0000b"', "image.labels.x: expected one line without control characters"),
        ('[machine]\nname = "a\\u2028b"', "machine.name: expected one line without control characters"),
        ('[image]\nrepository = "Up$(id)"', "image.repository: expected a lower-case image name"),
        ('[image]\nbase = "python:3.11"', "image.base: expected auto, bootstrap or NAME@sha256:"),
        ('[image.labels]\n"io.provision.lock" = "x"', "image.labels: expected a key outside io.provision."),
        ('state_folder = "/var/lib/x; rm -rf /"', "state_folder: expected an absolute path of plain characters"),
        ('state_folder = "/var/../etc"', "state_folder: expected an absolute path of plain characters"),
        ("[model]\nname = ' '", "model.name: expected bundled, a published model's name or its folder, got ' '"),
        ("[model]\nusers = 8", "model.users: goes with a published model or a folder; model.name is 'bundled'"),
        ("[model]\nname = 'x'\nusers = 0", "model.users: expected a whole number from 1 to 1000000, got 0"),
        ("[model]\nname = 'x'\ntp = 1025", "model.tp: expected a whole number from 1 to 1024, got 1025"),
        ("[model]\nname = 'x'\ncontext = -1", "model.context: expected a whole number from 1 to 100000000, got -1"),
        ("[model]\nname = 'x'\ngpu_memory_utilization = 1.01", "expected a share of the card from 0.01 to 1, got 1.01"),
        ("[model]\nname = 'x'\nengine = 'vlm==0.33.0'", "got 'vlm==0.33.0' (did you mean \"vllm\"?)"),
        (
            "[model]\nname = 'x'\nengine = 'vllm 0.33'",
            "model.engine: expected one of sglang, transformers, vllm, or vllm==",
        ),
        ("[model]\nname = 'x'\nkv_cache_dtype = 'fp9'", "got 'fp9' (did you mean \"fp8\"?)"),
        ("[model]\nname = 'x'\nquantization = 'awk'", "quantization 'awk' is not known"),
        ("[model]\nname = 'x'\nquantization = 'awk'", '(did you mean "awq"?)'),
        ("[[accept]]\ncode = 'STO001'\nreason = ' '", "accept[0].reason: expected a reason"),
        *(
            (f"[[accept]]\ncode = 'STO001'\nreason = 'x'\nexpires = {day}", "accept[0].expires: expected a day such as")
            for day in ("'soon'", "'2027-02-30'", "'20270531'", "2027-05-31T10:00:00Z")
        ),
    ],
)
def test_what_no_language_can_carry_is_refused_at_load(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(Refused) as caught:
        load(tmp_path, text)
    assert caught.value.exit_code == 2
    assert says in caught.value.message


DISKS = 'disks = ["S1", "S2"]'
DIGEST = "0" * 64


def test_the_storage_table_is_read(tmp_path: Path) -> None:
    read = load(
        tmp_path,
        f"""
        [storage]
        disks = ["S4EWNX0N123456", "/dev/disk/by-id/nvme-eui.0025385b11b2e2f0"]
        level = "raid0"
        filesystem = "ext4"
        mount_point = "/data/models"
        read_ahead_kib = 4096
        wipe = ["S4EWNX0N123456"]
        [storage.model]
        source = "/mnt/usb/DeepSeek-R1/"
        sha256 = {{ "config.json" = "{DIGEST}", "sub/model-00001-of-00002.safetensors" = "{DIGEST}" }}
        """,
    ).storage
    assert read.mount_point == "/data/models" and read.wipe == ("S4EWNX0N123456",)
    assert read.model is not None and read.model.name == "DeepSeek-R1"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('mount_point = "/srv/models"\nlevel = "single"', "storage.disks: missing; expected the serial numbers"),
        (
            'disks = ["/dev/sda", "S2"]',
            "storage.disks[0]: expected a serial number or a name below /dev/disk/by-id/, got '/dev/sda'",
        ),
        ('disks = ["S1", "nvme0n1"]', "lsblk --nodeps --output NAME,SERIAL /dev/nvme0n1"),
        ('disks = ["S1", "/dev/md0"]', "storage.disks[1]: expected a serial number"),
        (
            'disks = ["S1", "nvme-X_1-part2"]',
            "storage.disks[1]: expected the serial number or by-id name of a whole disk",
        ),
        ('disks = ["S1", "../sda"]', "storage.disks[1]: expected the serial number or by-id name"),
        ('disks = ["S1", "/dev/disk/by-id/S1"]', "storage.disks: expected each disk once"),
        ('disks = ["S1"]', 'storage.level: "raid0" needs two disks or more, got 1; expected "single" for one disk'),
        (f'{DISKS}\nlevel = "single"', 'storage.level: "single" is one disk, got 2; expected "raid0"'),
        (f'{DISKS}\nlevel = "raid5"', "storage.level: expected one of 'raid0', 'single', got 'raid5'"),
        (f'{DISKS}\nfilesystem = "btrfs"', "storage.filesystem: expected one of 'xfs', 'ext4', got 'btrfs'"),
        *(
            (f'{DISKS}\nmount_point = "{path}"', "storage.mount_point: expected")
            for path in (
                "/",
                "/etc/models",
                "/usr",
                "/var/lib",
                "/home",
                "/run/x",
                "models",
                "/srv/../etc",
                "/srv/a b",
                "/srv/models/",
            )
        ),
        (f'{DISKS}\nmount_point = "/var/lib/provision/x"', "lie within each other"),
        (f"{DISKS}\nread_ahead_kib = 0", "storage.read_ahead_kib: expected whole pages"),
        (f"{DISKS}\nread_ahead_kib = 4098", "storage.read_ahead_kib: expected whole pages"),
        (f'{DISKS}\nwipe = ["$(id)"]', "storage.wipe[0]: expected a serial number"),
        (
            f'{DISKS}\n[storage.model]\nsource = "here"\nsha256 = {{}}',
            "storage.model.source: expected the absolute path",
        ),
        (f'{DISKS}\n[storage.model]\nsource = "/m"\nsha256 = {{}}', "storage.model.sha256: expected each file"),
        (
            f'{DISKS}\n[storage.model]\nsource = "/m"\nsha256 = {{ "../x" = "{DIGEST}" }}',
            "storage.model.sha256: expected paths of files below source",
        ),
        (
            f'{DISKS}\n[storage.model]\nsource = "/m"\nsha256 = {{ "x" = "ABC" }}',
            "storage.model.sha256.x: expected 64 lower-case hex digits",
        ),
    ],
)
def test_a_volume_that_could_hit_the_wrong_place_is_refused(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(UsageError) as caught:
        load(tmp_path, f"[storage]\n{text}")
    assert caught.value.exit_code == 2
    assert says in caught.value.message
