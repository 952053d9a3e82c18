"""FRG: torch's allocator setting, judged as torch's own parser judges it."""

from __future__ import annotations

import json
import os
import subprocess
from typing import Any

import pytest

from provision.check import CHECKS
from provision.checks.fragmentation.allocator import parse
from provision.fact import Absent, Missing
from provision.facts.environment import Environment
from provision.facts.packages import PackageEnvironment, Packages, TorchBuild
from provision.plan import Fragmentation

OLD, NEW = "PYTORCH_CUDA_ALLOC_CONF", "PYTORCH_ALLOC_CONF"


def setting(a: Any, text: str, name: str = OLD) -> Environment:
    return a(Environment, variables=((name, text),))


def torch(a: Any, version: str, prefix: str = "/opt/venv") -> Packages:
    build = a(TorchBuild, version=version)
    return a(Packages, environments=(a(PackageEnvironment, prefix=prefix, torch=build),))


def test_frg001_refuses_the_articles_own_setting(a: Any, run_check: Any) -> None:
    (finding,) = run_check("FRG001", setting(a, "garbage_collection_threshold=0.8")).findings
    assert finding.message == (
        'PYTORCH_CUDA_ALLOC_CONF holds "garbage_collection_threshold=0.8"; torch wants a colon between key and value: '
        '"garbage_collection_threshold:0.8"'
    )
    assert finding.fix == ("export PYTORCH_CUDA_ALLOC_CONF=garbage_collection_threshold:0.8",)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("garbage_collection_threshold:0.8", 0),
        ("expandable_segments:True, max_split_size_mb:128,", 0),
        ("roundup_power2_divisions:[256:1,512:2,>:8],expandable_segments:True", 0),
        ("expandable_segments", 1),
        ("a=b:c", 1),
        ("expandable_segments=True,max_split_size_mb=128", 2),
    ],
)
def test_frg001_wants_a_colon(a: Any, messages: Any, text: str, found: int) -> None:
    assert len(messages("FRG001", setting(a, text))) == found
    assert len(messages("FRG001", setting(a, text, NEW))) == found


@pytest.mark.parametrize(
    ("text", "version", "found"),
    [
        ("expandable_segments:True", "2.1.0", 0),
        ("expandable_segments:True", "2.0.1", 1),
        ("roundup_bypass_threshold_mb:64", "2.0.1", 0),
        ("roundup_bypass_threshold_mb:64", "2.1.0", 1),
        ("per_process_memory_fraction:0.5", "2.10.0+cu128", 0),
        ("per_process_memory_fraction:0.5", "2.9.1", 1),
        ("max_split_size:128", "2.13.0", 1),
        ("max_split_size_mb:128,nonsense:1", "2.13.0", 1),
    ],
)
def test_frg002_knows_each_torchs_keys(a: Any, messages: Any, text: str, version: str, found: int) -> None:
    assert len(messages("FRG002", setting(a, text), torch(a, version))) == found


def test_frg002_says_since_when(a: Any, run_check: Any, messages: Any) -> None:
    old = torch(a, "2.0.1")
    (finding,) = run_check("FRG002", setting(a, "expandable_segments:True"), old).findings
    assert finding.needed == {"torch": {"first": "2.1", "last": ""}}
    assert messages("FRG002", setting(a, "expandable_segments:True"), old) == [
        "PYTORCH_CUDA_ALLOC_CONF holds expandable_segments, which torch 2.0 does not know: it came with 2.1"
    ]
    assert messages("FRG002", setting(a, "roundup_bypass_threshold_mb:64"), torch(a, "2.13.0"))[0].endswith(
        "it was there from 1.13 to 2.0"
    )


def test_frg002_is_not_sure_about_a_torch_newer_than_the_table(a: Any, run_check: Any) -> None:
    (finding,) = run_check("FRG002", setting(a, "brand_new_key:1"), torch(a, "2.16.0")).findings
    assert finding.certainty == "possible"
    assert finding.tell_apart


@pytest.mark.parametrize(("prefix", "outcome"), [("/opt/venv", "found"), ("/opt/only", "found")])
def test_frg002_takes_the_torch_in_use_or_the_only_one(a: Any, run_check: Any, prefix: str, outcome: str) -> None:
    assert run_check("FRG002", setting(a, "nonsense:1"), torch(a, "2.13.0", prefix)).outcome == outcome


def test_frg002_needs_a_torch_to_judge(a: Any, run_check: Any) -> None:
    assert run_check("FRG002", setting(a, "nonsense:1"), {Packages: Absent("none")}).outcome == "skipped"
    with pytest.raises(Missing, match="permission denied"):
        list(CHECKS["FRG002"].function(setting(a, "nonsense:1"), Missing("permission denied"), Absent("none")))


RANGES = [
    ("garbage_collection_threshold:0.8", True),
    ("garbage_collection_threshold:0.0", False),
    ("garbage_collection_threshold:1.0", False),
    ("garbage_collection_threshold:80", False),
    ("max_split_size_mb:20", True),
    ("max_split_size_mb:19", False),
    ("max_non_split_rounding_mb:20", True),
    ("max_non_split_rounding_mb:19", False),
    ("large_segment_size_mb:11", True),
    ("large_segment_size_mb:10", False),
    ("max_split_size_mb:15,large_segment_size_mb:11", True),
    ("large_segment_size_mb:11,max_split_size_mb:10", False),
    ("large_segment_size_mb:11,max_split_size_mb:11", True),
    ("max_non_split_rounding_mb:30,large_segment_size_mb:64", False),
    ("garbage_collection_threshold:80%", False),
    ("garbage_collection_threshold:5e-1", True),
    ("garbage_collection_threshold:.5x", True),
    ("garbage_collection_threshold:much", False),
    ("max_split_size_mb:many", False),
    ("max_split_size_mb:20.5", True),
    ("max_split_size_mb:19.9", False),
    ("max_split_size_mb:30x", True),
    ("max_split_size_mb:-5", True),
    ("roundup_power2_divisions:0", False),
    ("roundup_power2_divisions:4", True),
    ("roundup_power2_divisions:3", False),
    ("roundup_power2_divisions:[256:1,512:2,>:8]", True),
    ("expandable_segments:True", True),
    ("expandable_segments:true", False),
    ("expandable_segments: True , max_split_size_mb: 64", True),
]
GRAMMAR = [
    ("garbage_collection_threshold=0.8", False),
    ("garbage_collection_threshold", False),
    ("expandable_segments:True,", True),
]


ONLY_WITH_CUDA = [  # torch's CPU build lets these pass
    ("backend:native", True),
    ("backend:cuda", False),
    ("per_process_memory_fraction:1", True),
    ("per_process_memory_fraction:1.01", False),
]


@pytest.mark.parametrize(("text", "right"), [*RANGES, *ONLY_WITH_CUDA])
def test_frg003_knows_the_ranges(a: Any, messages: Any, text: str, right: bool) -> None:
    assert (messages("FRG003", setting(a, text)) == []) == right


def test_frg003_says_what_torch_wants(a: Any, messages: Any) -> None:
    assert messages("FRG003", setting(a, "garbage_collection_threshold:80,max_split_size_mb:8")) == [
        "PYTORCH_CUDA_ALLOC_CONF: garbage_collection_threshold is '80'; torch wants a number between 0 and 1, both excluded",
        "PYTORCH_CUDA_ALLOC_CONF: max_split_size_mb is '8'; torch wants at least 20",
    ]


@pytest.mark.parametrize(
    ("old", "new", "found"),
    [
        ("expandable_segments:True", "expandable_segments:True", 0),
        ("expandable_segments:True", " expandable_segments: True,", 0),
        ("expandable_segments:True", "max_split_size_mb:64", 1),
        ("expandable_segments:True", None, 0),
    ],
)
def test_frg004_wants_one_variable(a: Any, messages: Any, old: str, new: str | None, found: int) -> None:
    variables = ((NEW, new), (OLD, old)) if new is not None else ((OLD, old),)
    assert len(messages("FRG004", a(Environment, variables=variables))) == found


def test_the_planned_setting_has_nothing_wrong_with_it(a: Any, messages: Any) -> None:
    planned = setting(a, Fragmentation.desire().allocator_conf, NEW)
    assert [messages(code, planned) for code in ("FRG001", "FRG002", "FRG003", "FRG004")] == [[], [], [], []]


def test_parse_cuts_as_torch_does() -> None:
    cut = parse("V", "a: 1 ,b:[256:1,512:2],c")
    assert [(one.key, one.value) for one in cut] == [("a", "1"), ("b", "[256:1,512:2]"), ("c", None)]


@pytest.mark.parametrize("code", ["FRG001", "FRG002", "FRG003", "FRG004"])
def test_without_a_setting_there_is_nothing_to_judge(run_check: Any, code: str) -> None:
    result = run_check(code)
    assert (result.outcome, result.reason) == ("skipped", f"neither {OLD} nor {NEW} is set")


@pytest.mark.parametrize("code", ["FRG002", "FRG003"])
def test_frg002_and_frg003_leave_a_setting_without_colon_to_frg001(a: Any, messages: Any, code: str) -> None:
    assert messages(code, setting(a, "nonsense")) == []
    assert messages(code, setting(a, "max_split_size_mb")) == []
    assert messages(code, setting(a, "nonsense=1:2")) == []


def test_frg001_writes_the_setting_as_it_should_be(a: Any, run_check: Any) -> None:
    def needed(text: str) -> list[str]:
        return [f.needed["setting"] for f in run_check("FRG001", setting(a, text)).findings]

    assert needed("a=b:c") == ["a:b"]
    assert run_check("FRG001", setting(a, "a=b:c")).findings[0].measured["setting"] == "a=b:c"
    assert needed("expandable_segments") == ["expandable_segments:VALUE"]


def test_frg002_says_that_no_torch_knows_a_key(a: Any, messages: Any) -> None:
    (said,) = messages("FRG002", setting(a, "nonsense:1"), torch(a, "2.13.0"))
    assert said == "PYTORCH_CUDA_ALLOC_CONF holds nonsense, which torch 2.13 does not know: no torch release knows it"


def test_frg002_knows_the_keys_of_a_torch_newer_than_the_table(a: Any, run_check: Any) -> None:
    newer = torch(a, "2.16.0")
    assert run_check("FRG002", setting(a, "expandable_segments:True"), newer).outcome == "ok"
    (finding,) = run_check("FRG002", setting(a, "roundup_bypass_threshold_mb:64"), newer).findings
    assert finding.certainty == "certain"


def test_frg002_does_not_choose_between_torches(a: Any, run_check: Any) -> None:
    def judged(*prefixes_and_versions: tuple[str, str]) -> tuple[str, str]:
        made = tuple(
            a(PackageEnvironment, prefix=prefix, torch=a(TorchBuild, version=version))
            for prefix, version in prefixes_and_versions
        )
        result = run_check("FRG002", setting(a, "per_process_memory_fraction:0.5"), a(Packages, environments=made))
        return result.outcome, result.reason

    assert judged(("/a", "2.9.1"), ("/b", "2.13.0")) == ("skipped", "torch is not in the environment in use")
    assert judged() == ("skipped", "torch is in none of the environments here")
    assert judged(("/a", "2.9.1"), ("/opt/venv", "2.13.0"))[0] == "ok"


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("max_split_size_mb:many", "a whole number"),
        ("garbage_collection_threshold:much", "a number"),
        ("large_segment_size_mb:10", "more than 10"),
        ("max_split_size_mb:19", "at least 20"),
        ("per_process_memory_fraction:2", "a number between 0 and 1"),
        ("backend:cuda", "native or cudaMallocAsync"),
        ("expandable_segments:1", "True or False"),
        ("roundup_power2_divisions:0", "a power of two"),
    ],
)
def test_frg003_names_what_torch_wants(a: Any, run_check: Any, text: str, wanted: str) -> None:
    (finding,) = run_check("FRG003", setting(a, text)).findings
    assert finding.needed == {"value": wanted}


def test_frg003_lets_keys_pass_whose_values_are_not_known(a: Any, messages: Any) -> None:
    assert messages("FRG003", setting(a, "expandable_segments_reserve:anything,nonsense:x")) == []


# --- the same judgements, by torch itself ------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def torch_says() -> dict[str, str]:
    """What torch's own parser says to every setting above, and which variable it follows when both are set."""
    python = os.environ.get("PROVISION_SMOKE_PYTHON")
    if not python:
        pytest.fail(
            "PROVISION_SMOKE_PYTHON is not set: name an interpreter that has the packages of "
            "lockfiles/smoke-cpu-py311.txt, for example /path/to/venv/bin/python"
        )
    script = """
import json, os, sys, torch
print(json.dumps(["both", torch._C._accelerator_getAllocatorSettings()]), flush=True)
for text in json.loads(sys.argv[1]):
    if os.fork() == 0:  # what one setting leaves behind would change what torch says to the next
        try:
            torch._C._accelerator_setAllocatorSettings(text)
            said = ""
        except (RuntimeError, ValueError) as error:
            said = str(error)
        print(json.dumps([text, said]), flush=True)
        os._exit(0)
    os.wait()
"""
    texts = [text for text, _ in (*RANGES, *GRAMMAR)]
    done = subprocess.run(
        [python, "-W", "ignore", "-c", script, json.dumps(texts)],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, OLD: "max_split_size_mb:64", NEW: "garbage_collection_threshold:0.5"},
    )
    return dict(json.loads(line) for line in done.stdout.splitlines())


@pytest.mark.torch
@pytest.mark.parametrize(("text", "right"), [*RANGES, *GRAMMAR])
def test_torch_itself_agrees(a: Any, messages: Any, torch_says: dict[str, str], text: str, right: bool) -> None:
    found = [m for code in ("FRG001", "FRG003") for m in messages(code, setting(a, text))]
    assert (torch_says[text] == "") == right == (found == []), torch_says[text]


@pytest.mark.torch
def test_torch_names_neither_the_variable_nor_the_colon(torch_says: dict[str, str]) -> None:
    said = torch_says["garbage_collection_threshold=0.8"]
    assert "Index out of bounds in ConfigTokenizer" in said
    assert OLD not in said


@pytest.mark.torch
def test_torch_follows_the_old_name_when_both_are_set(torch_says: dict[str, str]) -> None:
    assert torch_says["both"] == "max_split_size_mb:64"


@pytest.mark.parametrize(("value", "found"), [(None, 0), ("1", 1)])
def test_frg053_wants_torchs_cache(a: Any, messages: Any, value: str | None, found: int) -> None:
    variables = () if value is None else (("PYTORCH_NO_CUDA_MEMORY_CACHING", value),)
    said = ["PYTORCH_NO_CUDA_MEMORY_CACHING is 1: torch asks the driver for every tensor"]
    assert messages("FRG053", a(Environment, variables=variables)) == said[:found]
