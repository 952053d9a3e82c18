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
        ("accelerator = 'cu999'", "accelerator: expected one of 'auto', 'cpu', 'cu130', got 'cu999'"),
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
