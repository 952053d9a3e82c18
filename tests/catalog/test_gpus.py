"""GPUs by the names that drivers and people write, and the memory that CUDA shows of them."""

from __future__ import annotations

import pytest
import tomllib

from provision import catalog
from provision.catalog import gpus

GIB = 2**30


@pytest.mark.parametrize(
    ("written", "row"),
    [
        ("NVIDIA GeForce RTX 4090", "RTX 4090"),
        ("RTX 4090", "RTX 4090"),
        ("4090", "RTX 4090"),
        ("4090D", "RTX 4090 D"),
        ("RTX 6000 Pro", "RTX PRO 6000"),
        ("3090ti", "RTX 3090 Ti"),
        ("RTX 3090 24G", "RTX 3090"),
        ("RTX A6000 48G", "RTX A6000"),
        ("A6000", "RTX A6000"),
        ("H100", "H100"),
        ("H100-80G", "H100 80GB HBM3"),
        ("H100 80 GB", "H100 80GB HBM3"),
        ("NVIDIA H100 PCIe", "H100 PCIe"),
        ("A100-80GB", "A100 SXM4 80GB"),
        ("A100 40GiB", "A100 SXM4 40GB"),
        ("NVIDIA A100-SXM4-80GB", "A100 SXM4 80GB"),
        ("NVIDIA A100 80GB PCIe", "A100 80GB PCIe"),
        ("A10", "A10"),
        ("L40S", "L40S"),
        ("H20", "H20"),
        ("H20-3e", "H20 3e"),
        ("B200", "B200"),
        ("RTX PRO 6000", "RTX PRO 6000"),
        ("RTX PRO 6000 Blackwell Max-Q (97887 MiB)", "RTX PRO 6000 Blackwell Max-Q"),
        ("NVIDIA RTX PRO 6000 Blackwell Server Edition", "RTX PRO 6000 Blackwell Server Edition"),
        ("RTX PRO 4500 Blackwell Server Edition", "RTX PRO 4500"),
        ("GB10 (DGX Spark)", "GB10"),
        ("DGX Spark", "GB10"),
        ("Tesla V100-SXM2-32GB", "V100 SXM2 32GB"),
        ("AMD MI308", "MI308X"),
        ("Intel Gaudi HPU (94.62 GiB usable)", "Gaudi HPU"),
        ("RTX 9999", None),
        ("Quadro RTX 6000", None),
        ("", None),
    ],
)
def test_a_card_is_found_by_the_names_that_people_write(written: str, row: str | None) -> None:
    found = gpus.find(written)
    assert (found.name if found else None) == row


@pytest.mark.parametrize(
    ("written", "gib"),
    [
        ("RTX 3090", 23.56),
        ("RTX 4090", 23.52),
        ("RTX 5090", 31.36),
        ("T4", 14.56),
        ("L4", 22.03),
        ("L40S", 44.39),
        ("RTX A6000", 47.54),
        ("A100-80GB", 79.25),
        ("H100", 79.19),
        ("H200", 139.80),
        ("B200", 178.35),
        ("B300", 267.69),
        ("RTX PRO 6000", 95.01),
        ("GB10", 121.69),
    ],
)
def test_usable_memory_is_what_cuda_printed(written: str, gib: float) -> None:
    usable = gpus.usable_bytes(written)
    assert usable is not None
    total, printed = usable
    assert (round(total / GIB, 2), printed) == (gib, True)


def test_the_h100_named_alone_is_the_80_gb_one() -> None:
    alone, sxm = gpus.find("H100"), gpus.find("H100 80GB HBM3")
    assert alone and sxm
    assert (alone.memory_bytes, alone.usable_bytes, alone.memory_bandwidth) == (
        sxm.memory_bytes,
        sxm.usable_bytes,
        sxm.memory_bandwidth,
    )


@pytest.mark.parametrize(
    ("written", "like"),
    [
        ("A10", "L4"),
        ("A800", "H100 PCIe"),
        ("L40", "A40"),
        ("RTX 5070 Ti", "RTX 5080"),
        ("H20-3e", "H200"),
        ("MI308X", "MI300X"),
    ],
)
def test_a_card_without_a_print_takes_the_least_ratio_of_its_kind_and_size(written: str, like: str) -> None:
    row, model = gpus.find(written), gpus.find(like)
    assert row and model and row.memory_bytes and model.memory_bytes and model.usable_bytes
    usable = gpus.usable_bytes(written)
    assert usable == (row.memory_bytes * model.usable_bytes // model.memory_bytes, False)


def test_a_size_that_no_other_card_has_takes_the_least_of_all_its_kind() -> None:
    usable = gpus.usable_bytes("RTX 4070")  # 12 GB as sold; no row with both has 12
    assert usable is not None
    assert not usable[1]
    assert usable[0] / 12e9 == pytest.approx(min(r.usable_bytes / r.memory_bytes for r in rtx()), rel=1e-9)


def rtx() -> list[gpus.GpuModel]:
    rows = {r.name: r for r in gpus.models().values() if r.name.startswith(("RTX", "GTX", "TITAN"))}
    return [r for r in rows.values() if r.memory_bytes and r.usable_bytes]


@pytest.mark.parametrize("written", ["A100", "RTX 9999", "", "banana"])
def test_a_card_without_a_size_or_a_row_has_no_usable_memory(written: str) -> None:
    assert gpus.usable_bytes(written) is None


def test_nearest_offers_names_that_have_a_memory() -> None:
    assert set(gpus.nearest("A100")) == {"A100 SXM4 80GB", "A100 SXM4 40GB", "A100 PCIE 40GB"}
    assert gpus.nearest("RTX 5099")[0] == "RTX 5090"
    assert set(gpus.nearest("RTX 6000")) >= {"RTX PRO 6000", "RTX 6000 Ada"}
    assert all(gpus.usable_bytes(name) for name in gpus.nearest("banana"))


def test_no_two_rows_claim_one_name() -> None:
    rows = catalog.read("gpus.toml")["gpu"]
    names = [name for row in rows for name in (row["name"], *row.get("aliases", ()))]
    assert len(gpus.models()) == len(names)


def test_every_usable_memory_says_where_it_was_printed_and_is_near_what_is_sold() -> None:
    for row in gpus.models().values():
        assert bool(row.usable_source) == (row.usable_bytes is not None), row.name
        if row.usable_bytes and row.memory_bytes:  # sold in GB or in GiB, with ECC in the memory or beside it
            assert 0.97 < row.usable_bytes / row.memory_bytes < 2**30 / 10**9, row.name


def test_the_table_is_read_whole() -> None:
    rows = tomllib.loads((catalog.FOLDER / "gpus.toml").read_text())["gpu"]
    assert {row["name"] for row in rows} == {row.name for row in gpus.models().values()}


@pytest.mark.parametrize(
    "name, gib",
    [
        ("RTX 4090 48G", 47.04),
        ("RTX 4090 24GB", 23.52),
        ("RTX 4060 Ti", 7.62),
        ("H100 80GB", 79.11),
        ("GH200 480GB", 94.5),
    ],
)
def test_a_size_in_the_name_that_is_not_the_cards_counts(name: str, gib: float) -> None:
    known = gpus.usable_bytes(name)
    assert known is not None
    assert known[0] / 2**30 == pytest.approx(gib, abs=0.1)
