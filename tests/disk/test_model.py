"""Which files are the model, and what is said of a name or folder that is none."""

from __future__ import annotations

from pathlib import Path

import pytest

from provision.disk import model
from provision.errors import UsageError
from provision.host import LocalHost

MIB = 1 << 20


@pytest.mark.parametrize(
    ("sizes", "expected"),
    [
        ({"a-2.safetensors": 2, "a-1.safetensors": 1, "config.json": 9}, ["a-1.safetensors", "a-2.safetensors"]),
        ({"m.safetensors": 5, "pytorch_model.bin": 5 * MIB}, ["m.safetensors"]),
        ({"pytorch_model.bin": 5 * MIB, "training_args.bin": 5 * MIB, "tokenizer.bin": 9}, ["pytorch_model.bin"]),
        ({"x/m.safetensors": 5, "y/consolidated.00.pth": 5 * MIB}, ["x/m.safetensors", "y/consolidated.00.pth"]),
        ({"m.safetensors": 5, "consolidated.safetensors": 5}, ["m.safetensors"]),
        ({"consolidated.safetensors": 5}, ["consolidated.safetensors"]),
        ({"m-Q4.gguf": 3}, ["m-Q4.gguf"]),
        ({"readme.md": 3}, []),
    ],
)
def test_the_files_that_a_loader_would_read(sizes: dict[str, int], expected: list[str]) -> None:
    assert [name for name, _ in model.weights(sizes)] == expected


def test_a_folder_a_file_and_a_folder_without_weights(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub/m.safetensors").write_bytes(b"x" * 10)
    (tmp_path / "blob").write_bytes(b"x" * 7)
    (tmp_path / "link.safetensors").symlink_to("blob")  # as a hub's cache has them
    found = model.of_path(LocalHost(), str(tmp_path), False)
    assert found and (found.bytes, [Path(f.path).name for f in found.files]) == (
        17,
        ["link.safetensors", "m.safetensors"],
    )
    alone = model.of_path(LocalHost(), str(tmp_path / "blob"), False)
    assert alone and alone.bytes == 7
    (tmp_path / "none").mkdir()
    assert model.of_path(LocalHost(), str(tmp_path / "none"), False) is None
    with pytest.raises(UsageError, match="no weights are in it"):
        model.named(LocalHost(), str(tmp_path / "none"), False)


def test_a_name_is_asked_of_the_catalogue(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match="no such folder; expected"):
        model.named(LocalHost(), "./not/there", False)
    with pytest.raises(UsageError, match="nobody/has-this"):
        model.named(LocalHost(), "nobody/has-this", False)
    made = model.named(LocalHost(), "deepseek-ai/DeepSeek-R1-Distill-Qwen-14B", False)
    assert made.files == ()
    assert made.bytes == pytest.approx(14.77e9 * 2, rel=0.01)  # 14.77 G parameters in 16 bit, as published
