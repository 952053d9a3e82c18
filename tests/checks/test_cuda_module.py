"""CUD050 to CUD057: both sides of every threshold, with the exact words."""

from __future__ import annotations

from typing import Any

import pytest

from provision.fact import Absent
from provision.facts.driver import NvidiaDriver
from provision.facts.kernels import DkmsModule, DkmsModules, DriverModule, InstalledKernel, Kernels, SecureBoot
from provision.facts.upgrades import AutomaticUpgrades, DriverInstallation, NouveauForbidden

NOT_LOADED = {NvidiaDriver: Absent("the NVIDIA kernel module is not loaded")}
RUNNING, COMING = "6.1.0-28-amd64", "6.1.0-31-amd64"
PATH = f"/lib/modules/{RUNNING}/updates/dkms/nvidia.ko"


@pytest.mark.parametrize(
    ("boot", "module", "said"),
    [
        ({}, {}, []),
        ({}, {"signer": None}, [(f"Secure Boot is on and {PATH} is not signed", "certain")]),
        (
            {},
            {"enrolled": False},
            [
                (
                    f'Secure Boot is on and "DKMS module signing key", which signed {PATH}, is not among the machine '
                    "owner's keys",
                    "likely",
                )
            ],
        ),
        ({}, {"enrolled": None}, []),
        ({}, {"signer": "Canonical Ltd. Kernel Module Signing", "enrolled": False}, []),
    ],
)
def test_cud050_wants_a_trusted_signature(
    a: Any, run_check: Any, boot: dict[str, Any], module: dict[str, Any], said: list[tuple[str, str]]
) -> None:
    result = run_check("CUD050", a(SecureBoot, **boot), a(DriverModule, **module), NOT_LOADED)
    assert [(f.message, f.certainty) for f in result.findings] == said


@pytest.mark.parametrize(
    ("boot", "changes"), [({"enabled": False}, NOT_LOADED), ({"enforced": False}, NOT_LOADED), ({}, {})]
)
def test_cud050_speaks_only_where_the_kernel_refuses(
    a: Any, run_check: Any, boot: dict[str, Any], changes: dict[type, Any]
) -> None:
    assert run_check("CUD050", a(SecureBoot, **boot), a(DriverModule, signer=None), changes).outcome == "skipped"


def test_cud050_explains_that_no_driver_is_loaded(a: Any, run_check: Any) -> None:
    from provision import cause

    assert "driver-not-loaded" in cause.explained_by("secure-boot-refuses-module")


@pytest.mark.parametrize(
    ("own", "other", "dkms", "said"),
    [
        ("nvidia.ko", None, ("nvidia", ()), []),
        (None, None, ("zfs", ()), []),
        (None, "nvidia.ko", ("nvidia", (COMING,)), f"nvidia 580.82.07 was built for {COMING}"),
        (None, "nvidia.ko", None, f"the NVIDIA module was built for {COMING}"),
        (None, None, ("nvidia-current", ()), "nvidia-current 580.82.07 was never built"),
    ],
)
def test_cud051_wants_a_module_for_the_running_kernel(
    a: Any, messages: Any, own: str | None, other: str | None, dkms: tuple[str, tuple[str, ...]] | None, said: Any
) -> None:
    kernels = a(Kernels, installed=(a(InstalledKernel, nvidia=own), a(InstalledKernel, release=COMING, nvidia=other)))
    modules: Any = {DkmsModules: Absent("DKMS is not used here")}
    if dkms:
        modules = a(DkmsModules, modules=(a(DkmsModule, name=dkms[0], kernels=dkms[1]),))
    found = messages("CUD051", kernels, modules, NOT_LOADED)
    assert found == ([f"{RUNNING} runs and has no NVIDIA module; {said}"] if said else [])


def test_cud051_has_nothing_to_say_while_the_driver_is_loaded(a: Any, run_check: Any) -> None:
    assert run_check("CUD051", a(Kernels, installed=(a(InstalledKernel, nvidia=None),))).outcome == "skipped"


@pytest.mark.parametrize(
    ("own", "coming", "said"),
    [
        (True, True, []),
        (False, True, RUNNING),
        (True, False, COMING),
        (False, False, f"{RUNNING} and {COMING}"),
    ],
)
def test_cud052_wants_headers_for_what_will_run(a: Any, messages: Any, own: bool, coming: bool, said: Any) -> None:
    old = a(InstalledKernel, release="6.1.0-9-amd64", headers=False)
    kernels = a(
        Kernels, installed=(old, a(InstalledKernel, headers=own), a(InstalledKernel, release=COMING, headers=coming))
    )
    found = messages("CUD052", kernels)
    text = f"the headers of {said} are not installed, so DKMS cannot build the NVIDIA module for it"
    assert found == ([text] if said else [])


def test_cud052_is_about_dkms(a: Any, run_check: Any) -> None:
    kernels = a(Kernels, installed=(a(InstalledKernel, headers=False),))
    dkms = a(DkmsModules, modules=(a(DkmsModule, name="zfs"),))
    assert run_check("CUD052", kernels, dkms).outcome == "skipped"


@pytest.mark.parametrize(("nvidia", "found"), [("updates/dkms/nvidia.ko", 0), (None, 1)])
def test_cud053_looks_at_the_next_kernel(a: Any, messages: Any, nvidia: str | None, found: int) -> None:
    kernels = a(Kernels, installed=(a(InstalledKernel), a(InstalledKernel, release=COMING, nvidia=nvidia)))
    said = messages("CUD053", kernels)
    text = f"{COMING} starts at the next reboot and has no NVIDIA module; driver 580.82.07 runs on {RUNNING}"
    assert said == [text][:found]


@pytest.mark.parametrize(("version", "found"), [("580.82.07", 0), ("580.95.05", 1)])
def test_cud054_compares_disk_and_kernel(a: Any, messages: Any, version: str, found: int) -> None:
    said = messages("CUD054", a(DriverModule, version=version))
    assert said == [f"driver 580.82.07 is loaded; {PATH} is 580.95.05"][:found]


def test_cud054_does_not_know_a_module_without_a_version(a: Any, run_check: Any) -> None:
    assert run_check("CUD054", a(DriverModule, version=None)).outcome == "unknown"


@pytest.mark.parametrize(
    ("excluded", "held", "said"),
    [
        ((), ("libnvidia-compute-580", "nvidia-driver-580"), []),
        (("nvidia", "libnvidia"), (), []),
        (("nvidia-driver-580$",), (), "libnvidia-compute-580"),
        ((), (), "libnvidia-compute-580 and nvidia-driver-580"),
        (("[",), ("nvidia-driver-580",), "libnvidia-compute-580"),
    ],
)
def test_cud055_wants_the_driver_left_alone(
    a: Any, messages: Any, excluded: tuple[str, ...], held: tuple[str, ...], said: Any
) -> None:
    packages = (("libnvidia-compute-580", "580.82.07"), ("nvidia-driver-580", "580.82.07"))
    installed = a(DriverInstallation, packages=packages, held=held)
    found = messages("CUD055", installed, a(AutomaticUpgrades, excluded=excluded))
    assert found == ([f"unattended-upgrades is on and may upgrade {said}"] if said else [])


@pytest.mark.parametrize(("excluded", "found"), [(("*nvidia*",), 0), (("kernel*",), 1)])
def test_cud055_knows_dnfs_patterns(a: Any, messages: Any, excluded: tuple[str, ...], found: int) -> None:
    installed = a(DriverInstallation, packages=(("kmod-nvidia", "580.82.07"),), held=(), manager="rpm")
    upgrades = a(AutomaticUpgrades, tool="dnf-automatic", excluded=excluded)
    assert messages("CUD055", installed, upgrades) == ["dnf-automatic is on and may upgrade kmod-nvidia"][:found]


@pytest.mark.parametrize("change", [{"enabled": False}, {}])
def test_cud055_needs_both_halves(a: Any, run_check: Any, change: dict[str, Any]) -> None:
    installed = a(DriverInstallation, packages=() if not change else (("nvidia-driver", "1"),), held=())
    assert run_check("CUD055", installed, a(AutomaticUpgrades, **change)).outcome == "skipped"


@pytest.mark.parametrize(
    ("runfile", "packages", "said"),
    [
        (None, (("nvidia-driver-580", "580.82.07"), ("libnvidia-compute-580", "580.82.07")), []),
        ("/usr/bin/nvidia-uninstall", (("nvidia-settings", "510.47.03"),), []),
        (
            "/usr/bin/nvidia-uninstall",
            (("nvidia-driver-580", "580.82.07"),),
            ["/usr/bin/nvidia-uninstall was left by the vendor's installer, and nvidia-driver-580 is a package"],
        ),
        (
            None,
            (("libnvidia-compute-535", "535.183.01"), ("nvidia-driver-580", "580.82.07")),
            [
                "packages of driver branches 535 and 580 are installed side by side: libnvidia-compute-535 (535) and "
                "nvidia-driver-580 (580)"
            ],
        ),
    ],
)
def test_cud056_wants_one_source(
    a: Any, messages: Any, runfile: str | None, packages: tuple[tuple[str, str], ...], said: list[str]
) -> None:
    assert messages("CUD056", a(DriverInstallation, runfile=runfile, packages=packages)) == said


@pytest.mark.parametrize(("by", "found"), [(("/etc/modprobe.d/nvidia.conf",), 0), ((), 1)])
def test_cud057_wants_nouveau_forbidden(a: Any, messages: Any, by: tuple[str, ...], found: int) -> None:
    said = messages("CUD057", a(NouveauForbidden, by=by))
    assert said == [f"nothing forbids nouveau, and {PATH} is to drive the card"][:found]


def test_cud057_has_nothing_to_say_without_nouveau(a: Any, run_check: Any) -> None:
    assert run_check("CUD057", a(NouveauForbidden, available=False, by=())).outcome == "skipped"
