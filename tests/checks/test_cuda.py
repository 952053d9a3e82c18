"""CUD: both sides of every threshold."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from provision.check import CHECKS
from provision.fact import Absent, Missing
from provision.facts.cuda import CudaLibraries, LibraryCopy
from provision.facts.driver import DriverLibraries, Nouveau, NvidiaDriver
from provision.facts.environment import Environment
from provision.facts.gpus import Gpu, Gpus, LostGpu
from provision.facts.packages import PackageEnvironment, Packages, TorchBuild
from provision.facts.pci import NvidiaCards, PciCard
from provision.facts.system import System
from provision.plan import Cuda
from provision.spec import Expect, Spec

NO_DRIVER = {NvidiaDriver: Absent("the NVIDIA kernel module is not loaded")}


def cards(a: Any, *drivers: str | None) -> NvidiaCards:
    made = (a(PciCard, address=f"0000:0{i + 1}:00.0", kernel_driver=d) for i, d in enumerate(drivers))
    return a(NvidiaCards, cards=tuple(made))


def torch(a: Any, version: str, cuda: str | None, hip: str | None = None, prefix: str = "/opt/venv") -> Packages:
    build = a(TorchBuild, version=version, cuda=cuda, hip=hip)
    environment = a(PackageEnvironment, prefix=prefix, packages=(("torch", version),), torch=build)
    return a(Packages, environments=(environment,))


def test_cud001_sees_a_card_without_any_driver(a: Any, messages: Any) -> None:
    assert messages("CUD001", cards(a, None), NO_DRIVER) == [
        "1 NVIDIA card on the PCI bus, 0000:01:00.0 (10de:2330), and no NVIDIA driver is loaded"
    ]
    assert messages("CUD001", cards(a, "nvidia")) == []


def test_cud001_sees_a_card_that_the_driver_did_not_take(a: Any, messages: Any) -> None:
    assert messages("CUD001", cards(a, "nvidia", None)) == [
        "the NVIDIA driver 580.82.07 is loaded and did not take 0000:02:00.0 (10de:2330)"
    ]


def test_cud001_lets_a_card_be_that_is_not_wanted(a: Any, run_check: Any) -> None:
    assert run_check("CUD001", cards(a, None), NO_DRIVER, a(Spec, accelerator="cpu")).outcome == "skipped"
    assert run_check("CUD001", cards(a, "vfio-pci"), NO_DRIVER).outcome == "ok"


def test_cud002_sees_nouveau_with_a_card(a: Any, run_check: Any, messages: Any) -> None:
    assert messages("CUD002", Nouveau(cards=("0000:01:00.0",), blacklisted_in=())) == ["nouveau holds 0000:01:00.0"]
    assert messages("CUD002", Nouveau(cards=(), blacklisted_in=())) == []
    again = run_check("CUD002", Nouveau(cards=("0000:01:00.0",), blacklisted_in=("/etc/modprobe.d/x.conf",)))
    assert again.findings[0].fix == ("reboot",)


@pytest.mark.parametrize(("library", "found"), [("580.82.07", 0), ("580.95.05", 1), ("580.82.7", 1)])
def test_cud003_compares_module_and_library_by_file_name(a: Any, messages: Any, library: str, found: int) -> None:
    nvml = {Gpus: Missing("the driver's library and the loaded kernel module are of different versions")}
    libraries = a(DriverLibraries, version=library)
    assert len(messages("CUD003", libraries)) == found
    assert len(messages("CUD003", libraries, {Gpus: Absent("not asked")})) == found
    if found:
        assert messages("CUD003", libraries, nvml) == messages("CUD003", libraries)


def test_cud003_takes_nvmls_word_where_file_names_say_nothing(a: Any, messages: Any) -> None:
    nvml = {Gpus: Missing("the driver's library and the loaded kernel module are of different versions")}
    nameless = a(DriverLibraries, version=None)
    assert messages("CUD003", nameless, nvml) == [
        "the loaded kernel module is 580.82.07, and its library is of another version"
    ]
    assert messages("CUD003", nameless) == []  # NVML answered


def test_cud003_cannot_tell_without_either(a: Any) -> None:
    for libraries, why in (
        (a(DriverLibraries, version=None), "no version"),
        (Missing("permission denied"), "permission denied"),
        (Absent("not installed"), "not installed"),
    ):
        with pytest.raises(Missing, match=why):
            list(CHECKS["CUD003"].function(a(NvidiaDriver), libraries, Missing("no answer in 5 s")))


def test_cud004_sees_a_driver_that_does_not_answer(messages: Any) -> None:
    assert messages("CUD004", {Gpus: Missing("NVML gave no answer in 5 s")}) == [
        "the NVIDIA driver 580.82.07 is loaded, but NVML gave no answer: NVML gave no answer in 5 s"
    ]
    assert messages("CUD004", {Gpus: Absent("libnvidia-ml.so.1 is not installed")}) != []
    assert messages("CUD004") == []


def one_version(a: Any, version: str) -> tuple[NvidiaDriver, DriverLibraries]:
    """A driver whose module and library are of one version."""
    return a(NvidiaDriver, version=version), a(DriverLibraries, version=version)


# (loaded module, installed library) of a driver that was upgraded and not loaded yet; torch and plan need 580.65.06.
UPGRADED = [
    ("535.183.01", "580.82.07", "skipped"),  # a reboot is enough
    ("535.183.01", "580.65.05", "found"),  # a reboot is not enough
    ("535.183.01", None, "found"),
    ("580.82.07", "535.183.01", "ok"),  # a container with a stale library: the host's module is new enough
]


@pytest.mark.parametrize(("module", "library", "outcome"), UPGRADED)
@pytest.mark.parametrize("code", ["CUD005", "CUD006", "CUD010"])
def test_a_new_driver_that_only_waits_for_a_reboot_is_not_called_too_old(
    a: Any, run_check: Any, code: str, module: str, library: str | None, outcome: str
) -> None:
    spec = a(Spec, expect=Expect(driver="580.65.06"))
    both = (a(NvidiaDriver, version=module), a(DriverLibraries, version=library))
    result = run_check(code, torch(a, "2.13.0", "13.0"), spec, *both)
    assert result.outcome == outcome
    if outcome == "skipped":
        assert result.reason == (
            "driver 580.82.07 is installed and new enough; the loaded module is still 535.183.01 (see CUD003)"
        )


def test_cud010_a_torch_that_no_driver_here_runs_is_not_hidden_by_one_that_waits(a: Any, messages: Any) -> None:
    old, new = torch(a, "2.6.0", "12.4").environments[0], torch(a, "2.13.0", "13.0").environments[0]
    both = a(Packages, environments=(old, new)), a(Packages, environments=(new, old))
    for packages in both:
        said = messages("CUD010", packages, a(NvidiaDriver, version="470.10"), a(DriverLibraries, version="535.183.01"))
        assert len(said) == 1 and "CUDA 13.0" in said[0]


@pytest.mark.parametrize(
    ("driver", "found"),
    [("580.65.06", 0), ("580.65.05", 1), ("580", 1), ("575.99", 1), ("595.45.04", 0), ("1000.1", 0)],
)
def test_cud005_needs_the_planned_cudas_driver(a: Any, messages: Any, driver: str, found: int) -> None:
    assert len(messages("CUD005", *one_version(a, driver))) == found


def test_cud005_says_both_versions(a: Any, messages: Any) -> None:
    said = messages("CUD005", *one_version(a, "535.104.05"))
    assert said == ["the loaded driver is 535.104.05; cu130 needs 580.65.06 or newer"]


def test_cud005_finds_the_driver_that_is_too_old_for_every_lock(a: Any, run_check: Any) -> None:
    """The plan is for the CPU then, and knows what it wants."""
    waits = a(
        Cuda, accelerator="cpu", device="cpu", wanted="cu128", minimum_driver="525.60.13", way_out=("install it",)
    )
    (finding,) = run_check("CUD005", waits, *one_version(a, "470.256.02")).findings
    assert finding.message == "the loaded driver is 470.256.02; cu128 needs 525.60.13 or newer"
    assert "install it" in finding.fix


NO_MODULE = Absent("no NVIDIA kernel module is loaded")


@pytest.mark.parametrize(
    ("module", "library", "answering", "found"),
    [
        (NO_MODULE, None, "525.60.12", ["the driver that answers is 525.60.12; cu128 needs 525.60.13 or newer"]),
        (NO_MODULE, None, "525.60.13", []),
        (
            Missing("no answer"),
            None,
            "525.60.12",
            ["the driver that answers is 525.60.12; cu128 needs 525.60.13 or newer"],
        ),
        (NO_MODULE, "525.60.11", "525.60.10", ["the driver that answers is 525.60.10; cu128 needs 525.60.13 or newer"]),
        (NO_MODULE, "525.60.12", None, ["the installed driver is 525.60.12; cu128 needs 525.60.13 or newer"]),
        (NO_MODULE, "525.60.13", "525.60.12", []),  # the plan counts the newer one too
    ],
)
def test_cud005_judges_a_driver_whose_module_is_not_visible(
    a: Any, run_check: Any, module: Any, library: str | None, answering: str | None, found: list[str]
) -> None:
    """WSL2: the driver is Windows's, and no Linux kernel module shows it; NVML answers for it all the same."""
    waits = a(Cuda, accelerator="cpu", device="cpu", wanted="cu128", minimum_driver="525.60.13", way_out=("do it",))
    gpus = Missing("no answer") if answering is None else a(Gpus, driver_version=answering)
    here = {NvidiaDriver: module, Gpus: gpus, DriverLibraries: a(DriverLibraries, version=library)}
    result = run_check("CUD005", waits, here)
    assert result.outcome == ("found" if found else "ok"), result.reason
    assert [finding.message for finding in result.findings] == found
    for finding in result.findings:
        assert finding.fix[1] == "do it"
        assert ("Windows" in finding.fix[0], "apt-cache" in finding.fix[0]) == (bool(answering), not answering)


@pytest.mark.parametrize(("module", "outcome"), [(NO_MODULE, "skipped"), (Missing("permission denied"), "unknown")])
def test_cud005_says_why_no_driver_is_known(a: Any, run_check: Any, module: Any, outcome: str) -> None:
    here = {NvidiaDriver: module, Gpus: Absent("no GPU"), DriverLibraries: Absent("none")}
    result = run_check("CUD005", here)
    assert (result.outcome, result.reason) == (outcome, module.reason)


@pytest.mark.parametrize(
    ("way_out", "wanted", "said"),
    [
        ((), "", []),
        (("install driver 525.60.13 or newer",), "cu128", []),  # CUD005's
        (("another card",), "", ["no lock runs on the GPUs here: cu126 is out: too new; cu128 is out: no code"]),
    ],
)
def test_cud070_finds_cards_that_no_lock_runs_on(
    a: Any, messages: Any, way_out: tuple[str, ...], wanted: str, said: list[str]
) -> None:
    reasons = ("1 card", "cu126 is out: too new", "cu128 is out: no code")
    assert messages("CUD070", a(Cuda, way_out=way_out, wanted=wanted, reasons=reasons)) == said


def test_cud005_does_not_judge_a_plan_for_the_cpu(a: Any, run_check: Any) -> None:
    assert run_check("CUD005", a(Cuda, minimum_driver=None, device="cpu")).outcome == "skipped"


@pytest.mark.parametrize(("expected", "found"), [("580", 0), ("580.82.07", 0), ("580.82.08", 1), ("590", 1)])
def test_cud006_compares_with_the_expected_driver(a: Any, messages: Any, expected: str, found: int) -> None:
    assert len(messages("CUD006", a(Spec, expect=Expect(driver=expected)))) == found


def test_cud006_counts_no_driver_as_too_old(a: Any, messages: Any) -> None:
    said = messages("CUD006", a(Spec, expect=Expect(driver="580")), gpu=False)
    assert said == ["provision.toml expects driver 580 or newer; none is loaded"]


@pytest.mark.parametrize(("expected", "found"), [(0, 0), (1, 0), (2, 0), (3, 1)])
def test_cud007_counts_the_expected_gpus(a: Any, messages: Any, expected: int, found: int) -> None:
    assert len(messages("CUD007", a(Spec, expect=Expect(gpus=expected)))) == found


def test_cud007_fails_on_a_machine_that_lost_every_card(a: Any, messages: Any) -> None:
    said = messages("CUD007", a(Spec, expect=Expect(gpus=8)), gpu=False)
    assert said == ["provision.toml expects 8 GPUs; 0 answer, 0 are on the PCI bus"]


def test_cud007_counts_the_bus_where_the_driver_does_not_answer(a: Any, messages: Any) -> None:
    silent = {Gpus: Missing("no answer in 5 s")}
    assert len(messages("CUD007", a(Spec, expect=Expect(gpus=3)), silent)) == 1
    with pytest.raises(Missing, match="no answer in 5 s"):  # enough cards on the bus; whether they work is not known
        list(CHECKS["CUD007"].function(silent[Gpus], a(NvidiaCards), a(Spec, expect=Expect(gpus=2))))


def test_cud008_names_the_gpu_that_is_lost(a: Any, messages: Any) -> None:
    assert messages("CUD008", a(Gpus, lost=(a(LostGpu),))) == [
        "GPU 1 does not answer: the GPU fell off the bus or is otherwise out of reach"
    ]


@pytest.mark.parametrize(
    ("cuda", "hip", "prefix", "found"),
    [
        ("13.0", None, "/opt/venv", 0),
        (None, "6.2", "/opt/venv", 0),
        (None, None, "/opt/venv", 1),
        (None, None, "/x", 0),
    ],
)
def test_cud009_wants_cuda_in_the_torch_in_use(
    a: Any, messages: Any, cuda: str | None, hip: str | None, prefix: str, found: int
) -> None:
    assert len(messages("CUD009", torch(a, "2.13.0+cpu", cuda, hip, prefix))) == found


NO_CARD = {NvidiaCards: Absent("no NVIDIA card on the PCI bus")}


def test_cud009_a_cpu_build_is_right_where_no_gpu_is(a: Any, run_check: Any) -> None:
    here = torch(a, "2.13.0+cpu", None)
    assert run_check("CUD009", here, gpu=False).outcome == "skipped"
    assert run_check("CUD009", here, NO_CARD, {Gpus: Absent("no NVIDIA card")}).outcome == "skipped"
    assert run_check("CUD009", here, a(Spec, accelerator="cpu")).reason == "provision.toml asks for the CPU"


def test_cud009_a_gpu_that_no_bus_shows_is_a_gpu(a: Any, run_check: Any) -> None:
    """WSL2: NVML answers, and there is no PCI bus."""
    (finding,) = run_check("CUD009", torch(a, "2.13.0+cpu", None), NO_CARD).findings
    assert finding.message == ("torch 2.13.0+cpu in /opt/venv was built without CUDA; GPU 0 is NVIDIA H100 80GB HBM3")


@pytest.mark.parametrize(
    ("cuda", "driver", "found"),
    [
        ("13.0", "580.65.06", 0),
        ("13.0", "575.57.08", 1),
        ("12.8", "525.60.13", 0),  # inside one major an older driver is no error
        ("12.8", "525.60.12", 1),
        ("11.8", "450.80.02", 0),
        ("11.8", "450.80.01", 1),
        ("14.0", "580.65.06", 0),  # not in the table: no verdict
    ],
)
def test_cud010_judges_across_cuda_majors_only(a: Any, messages: Any, cuda: str, driver: str, found: int) -> None:
    assert len(messages("CUD010", torch(a, "2.13.0", cuda), *one_version(a, driver))) == found


def test_cud010_names_the_cuda_that_the_driver_runs(a: Any, run_check: Any) -> None:
    (finding,) = run_check("CUD010", torch(a, "2.13.0", "13.0"), *one_version(a, "535.54.03")).findings
    assert finding.fix == ("install driver 580.65.06 or newer", "or: a torch built for CUDA 12")


@pytest.mark.parametrize(
    ("version", "cuda", "capability", "found"),
    [
        ("2.7.1", "12.6", "9.0", 0),
        ("2.7.1", "12.6", "8.9", 0),  # code for 8.6 runs on 8.9
        ("2.7.1", "12.6", "10.0", 1),
        ("2.7.1", "12.8", "12.0", 0),  # that variant holds PTX
        ("2.8.0", "12.8", "7.0", 0),
        ("2.8.0", "12.8", "6.1", 1),
        ("2.11.0", "13.0", "7.0", 1),
        ("2.13.0", "13.0", "12.1", 0),
        ("2.13.0", "13.0", "11.0", 1),  # another major: code for 10.0 does not run there
    ],
)
def test_cud011_needs_code_for_the_gpu(
    a: Any, messages: Any, version: str, cuda: str, capability: str, found: int
) -> None:
    gpus = a(Gpus, gpus=(a(Gpu, compute_capability=capability),))
    assert len(messages("CUD011", torch(a, version, cuda), gpus)) == found


def test_cud011_names_a_build_that_covers_the_card(a: Any, run_check: Any) -> None:
    gpus = a(Gpus, gpus=(a(Gpu, compute_capability="12.0", name="NVIDIA RTX 5090"),))
    (finding,) = run_check("CUD011", torch(a, "2.6.0", "12.4"), gpus).findings
    assert finding.message == (
        "torch 2.6.0 (CUDA 12.4) in /opt/venv was compiled for 5.0, 6.0, 7.0, 7.5, 8.0, 8.6 and 9.0; NVIDIA RTX 5090 is 12.0"
    )
    pip = "/opt/venv/bin/python3 -m pip install --force-reinstall"
    assert finding.fix == (f"{pip} 'torch==2.15.*'   # built for CUDA 13.2, which driver 580.82.07 runs",)


PYTORCH = "https://download.pytorch.org/whl"


@pytest.mark.parametrize(
    ("capability", "driver", "torch_", "cuda"),
    [
        ("12.0", "580.65.06", "2.15.*'", "13.2"),
        ("12.0", "580.65.05", f"2.11.*' --index-url {PYTORCH}/cu128", "12.8"),  # CUDA 13 does not start there
        ("7.0", "580.82.07", f"2.14.*' --index-url {PYTORCH}/cu126", "12.6"),  # no build for CUDA 13 has code for Volta
        ("7.0", "525.60.13", f"2.14.*' --index-url {PYTORCH}/cu126", "12.6"),  # inside one major older drivers do
        ("7.0", "525.60.12", f"2.7.*' --index-url {PYTORCH}/cu118", "11.8"),
        ("9.0", "530.30.02", f"2.14.*' --index-url {PYTORCH}/cu126", "12.6"),
    ],
)
def test_cud011_names_a_build_that_the_driver_runs(
    a: Any, run_check: Any, capability: str, driver: str, torch_: str, cuda: str
) -> None:
    gpus = a(Gpus, gpus=(a(Gpu, compute_capability=capability),))
    old = torch(a, "1.13.0", "11.6") if capability != "7.0" else torch(a, "2.15.0", "13.2")
    (finding,) = run_check("CUD011", old, gpus, *one_version(a, driver)).findings
    (command,) = finding.fix
    assert command.endswith(f"'torch=={torch_}   # built for CUDA {cuda}, which driver {driver} runs")


def test_cud011_a_driver_that_waits_for_a_reboot_is_the_one_that_counts(a: Any, run_check: Any) -> None:
    gpus = a(Gpus, gpus=(a(Gpu, compute_capability="12.0"),))
    both = a(NvidiaDriver, version="570.10"), a(DriverLibraries, version="580.82.07")
    (finding,) = run_check("CUD011", torch(a, "2.6.0", "12.4"), gpus, *both).findings
    assert "CUDA 13.2, which driver 580.82.07 runs" in finding.fix[0]


def test_cud011_says_which_driver_it_takes_where_that_one_runs_no_build(a: Any, run_check: Any) -> None:
    gpus = a(Gpus, gpus=(a(Gpu, compute_capability="12.0"),))
    (finding,) = run_check("CUD011", torch(a, "2.6.0", "12.4"), gpus, *one_version(a, "470.82")).findings
    (command,) = finding.fix
    assert command.startswith("first install driver 525.60.13 or newer: 470.82 runs no build for this card; then ")
    assert f"'torch==2.11.*' --index-url {PYTORCH}/cu128" in command


def test_cud011_of_an_unknown_driver_says_what_each_build_needs(a: Any, run_check: Any) -> None:
    gpus = a(Gpus, gpus=(a(Gpu, compute_capability="12.0"),))
    for unknown in (NO_DRIVER, {NvidiaDriver: Missing("permission denied")}):
        (finding,) = run_check("CUD011", torch(a, "2.6.0", "12.4"), gpus, unknown).findings
        new, old = finding.fix
        assert "'torch==2.15.*'   # built for CUDA 13.2: needs driver 580.65.06 or newer" in new
        assert "cu128   # built for CUDA 12.8: needs driver 525.60.13 or newer" in old and old.startswith("or: ")


def test_cud011_does_not_invent_a_build_for_a_card_that_none_covers(a: Any, run_check: Any) -> None:
    gpus = a(Gpus, gpus=(a(Gpu, compute_capability="3.0"),))
    (finding,) = run_check("CUD011", torch(a, "2.6.0", "12.4"), gpus).findings
    assert finding.fix == ("no torch wheel in the table covers this card",)


def test_cud011_does_not_call_a_build_well_that_it_does_not_know(a: Any, run_check: Any) -> None:
    result = run_check("CUD011", torch(a, "9.9.0", "13.0"), a(Gpus, gpus=(a(Gpu, compute_capability="7.0"),)))
    reason = "the table does not know what torch 9.9.0 for CUDA 13.0 was compiled for"
    assert (result.outcome, result.reason) == ("unknown", reason)


def test_cud011_does_not_judge_arm(a: Any, run_check: Any) -> None:
    assert run_check("CUD011", a(System, architecture="aarch64")).outcome == "skipped"


def copies(a: Any, path: str, source: str, version: str | None = None) -> CudaLibraries:
    first = a(LibraryCopy, path=path, source=source, version=version)
    return dataclasses.replace(a(CudaLibraries), libcuda=(first, a(LibraryCopy)))


STUB = "/usr/local/cuda-12.4/lib64/stubs/libcuda.so"


@pytest.mark.parametrize(("source", "found"), [("LD_LIBRARY_PATH", 1), ("ldconfig", 1), ("folder", 0)])
def test_cud012_sees_a_stub_that_the_loader_takes(a: Any, messages: Any, source: str, found: int) -> None:
    assert len(messages("CUD012", copies(a, STUB, source))) == found


def test_cud012_lets_a_stub_be_that_comes_later(a: Any, messages: Any) -> None:
    later = a(CudaLibraries, libcuda=(a(LibraryCopy), a(LibraryCopy, path=STUB, source="LD_LIBRARY_PATH")))
    assert messages("CUD012", later) == []


@pytest.mark.parametrize(("version", "found"), [("580.82.07", 0), ("590.44.01", 0), ("575.57.08", 1)])
def test_cud013_compares_the_compat_library_with_the_driver(a: Any, messages: Any, version: str, found: int) -> None:
    path = f"/usr/local/cuda-12.9/compat/libcuda.so.{version}"
    assert len(messages("CUD013", copies(a, path, "LD_LIBRARY_PATH", version))) == found


def test_cud013_cannot_tell_a_library_without_a_version(a: Any) -> None:
    nameless = copies(a, "/usr/local/cuda/compat/libcuda.so.1", "LD_LIBRARY_PATH")
    with pytest.raises(Missing, match="no version in its name"):
        list(CHECKS["CUD013"].function(nameless, a(NvidiaDriver), Absent("nothing was pasted")))


@pytest.mark.parametrize(("value", "found"), [("0,1", 0), ("GPU-1", 0), ("", 1), ("-1", 1), ("-1,0", 1), ("0,-1", 0)])
def test_cud014_sees_that_no_gpu_is_visible(a: Any, messages: Any, value: str, found: int) -> None:
    assert len(messages("CUD014", a(Environment, variables=(("CUDA_VISIBLE_DEVICES", value),)))) == found


def test_cud002_says_when_only_a_reboot_lacks(run_check: Any) -> None:
    fresh = run_check("CUD002", Nouveau(cards=("0000:01:00.0",), blacklisted_in=())).findings[0]
    assert [command.split()[0] for command in fresh.fix] == ["printf", "update-initramfs", "reboot"]
    (again,) = run_check(
        "CUD002", Nouveau(cards=("0000:01:00.0",), blacklisted_in=("/etc/modprobe.d/x.conf",))
    ).findings
    assert again.message == "nouveau holds 0000:01:00.0; it is forbidden already, so a reboot is what lacks"


def test_cud003_says_both_versions(a: Any, messages: Any) -> None:
    said = messages("CUD003", a(DriverLibraries, version="580.95.05"))
    assert said == ["the loaded kernel module is 580.82.07, the library 580.95.05"]


def test_cud006_says_both_versions(a: Any, messages: Any) -> None:
    said = messages("CUD006", a(Spec, expect=Expect(driver="590")))
    assert said == ["provision.toml expects driver 590 or newer; 580.82.07 is loaded"]


def test_cud007_says_what_answers_and_what_is_on_the_bus(a: Any, messages: Any) -> None:
    three = a(Spec, expect=Expect(gpus=3))
    one = a(Gpus, gpus=(a(Gpu),))
    assert messages("CUD007", three, one) == ["provision.toml expects 3 GPUs; 1 answer, 2 are on the PCI bus"]
    unseen = {NvidiaCards: Missing("/sys is not mounted")}
    assert messages("CUD007", three, one, unseen) == ["provision.toml expects 3 GPUs; 1 answer"]
    silent = {Gpus: Missing("no answer in 5 s")}
    assert messages("CUD007", three, silent) == ["provision.toml expects 3 GPUs; 0 answer, 2 are on the PCI bus"]
    with pytest.raises(Missing, match="no answer in 5 s"):  # neither the driver nor the bus can be asked
        list(CHECKS["CUD007"].function(silent[Gpus], unseen[NvidiaCards], three))


def test_cud007_counts_a_card_that_answers_not_as_missing(a: Any, messages: Any) -> None:
    assert len(messages("CUD007", a(Spec, expect=Expect(gpus=2)), a(Gpus, gpus=(a(Gpu),)))) == 1


@pytest.mark.parametrize("code", ["CUD009", "CUD010", "CUD011"])
def test_cud009_to_cud011_need_a_torch(a: Any, run_check: Any, code: str) -> None:
    result = run_check(code, a(Packages, environments=(a(PackageEnvironment, torch=None),)))
    assert (result.outcome, result.reason) == ("skipped", "torch is in none of the environments here")


def test_cud010_does_not_judge_a_build_without_cuda(a: Any, messages: Any) -> None:
    assert messages("CUD010", torch(a, "2.13.0+cpu", None), a(NvidiaDriver, version="1.0")) == []


@pytest.mark.parametrize("code", ["CUD012", "CUD013"])
def test_cud012_and_cud013_need_a_libcuda(a: Any, run_check: Any, code: str) -> None:
    assert run_check(code, a(CudaLibraries, libcuda=())).reason == "no libcuda is here"


def test_cud012_says_where_to_look(a: Any, run_check: Any) -> None:
    by_variable, by_cache = (
        run_check("CUD012", copies(a, STUB, s)).findings[0].fix for s in ("LD_LIBRARY_PATH", "ldconfig")
    )
    assert by_variable[0].startswith('echo "$LD_LIBRARY_PATH"')
    assert by_cache[0].startswith("grep -r stubs /etc/ld.so.conf.d")


def test_cud013_does_not_judge_the_drivers_own_library(a: Any, messages: Any) -> None:
    assert messages("CUD013", copies(a, "/usr/lib/libcuda.so.575.57.08", "ldconfig", "575.57.08")) == []
