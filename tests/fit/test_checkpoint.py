"""A model's folder: which files are the model, what must agree, and what is no file at all."""

from __future__ import annotations

import os
import socket
import stat
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from provision.errors import UsageError
from provision.fit import checkpoint
from tests.fit import build

Folder = Callable[..., Path]
Wrong = Callable[[Path], str]
INDEX = "model.safetensors.index.json"
ONE, TWO = "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"
SHARDS = {ONE: build.shard("a", "c"), TWO: build.shard("b")}
GGUF = build.gguf({"general.architecture": (8, "llama")}, [("a", "F32", (3, 2))])


def index(weight_map: Any, **more: Any) -> dict[str, Any]:
    return {"metadata": {"total_size": 1, "nested": {"deep": [1.5, None]}}, "weight_map": weight_map, **more}


def names(path: Path) -> list[str]:
    return [one.name for one in checkpoint.read_checkpoint(path).tensors]


@pytest.mark.parametrize("more", [{}, {INDEX: index({"a": ONE, "b": TWO, "c": ONE})}], ids=["no index", "an index"])
def test_shards_with_and_without_an_index(folder: Folder, more: dict[str, Any]) -> None:
    top = folder({**SHARDS, **more}, config={"model_type": "llama", "hidden_size": 4})
    found = checkpoint.read_checkpoint(top)
    assert names(top) == ["a", "b", "c"]
    assert (found.files, found.bytes) == ((ONE, TWO), 72)
    assert found.file_bytes == sum(map(len, SHARDS.values()))
    assert found.config == {"model_type": "llama", "hidden_size": 4}


def test_one_file_without_a_configuration_and_with_one(tmp_path: Path, folder: Folder) -> None:
    (tmp_path / "alone.safetensors").write_bytes(build.shard("a"))
    assert checkpoint.read_checkpoint(tmp_path / "alone.safetensors").config == {}
    top = folder(SHARDS)
    found = checkpoint.read_checkpoint(top / ONE)
    assert ([one.name for one in found.tensors], found.files, found.config) == (
        ["a", "c"],
        (ONE,),
        {"model_type": "llama"},
    )


def test_a_path_relative_to_here(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder(SHARDS))
    assert names(Path()) == ["a", "b", "c"]
    assert names(Path(ONE)) == ["a", "c"]


def test_consolidated_weights_are_counted_once(folder: Folder) -> None:
    top = folder({**SHARDS, "consolidated.safetensors": build.shard("x"), "params.json": {}})
    assert checkpoint.read_checkpoint(top).files == (ONE, TWO)
    (top / ONE).unlink()
    (top / TWO).unlink()
    assert checkpoint.read_checkpoint(top).files == ("consolidated.safetensors",)


def test_what_an_index_does_not_name_is_no_part_of_the_model(folder: Folder) -> None:
    top = folder({**SHARDS, "other.safetensors": b"broken", INDEX: index({"a": ONE, "c": ONE, "b": TWO})})
    assert checkpoint.read_checkpoint(top).files == (ONE, TWO)


def test_pickles_beside_safetensors_are_the_same_weights_again(folder: Folder) -> None:
    top = folder({"model.safetensors": build.shard("a"), "pytorch_model.bin": b"x" * 99, "model.gguf": GGUF})
    assert checkpoint.read_checkpoint(top).files == ("model.safetensors",)


def test_a_hidden_file_is_none_of_the_models(folder: Folder) -> None:
    top = folder({"model.safetensors": build.shard("a"), "._model.safetensors": b"AppleDouble"})
    assert checkpoint.read_checkpoint(top).files == ("model.safetensors",)


def test_pickles_alone_give_the_files_sizes_and_say_so(folder: Folder) -> None:
    weights = {"pytorch_model-00001-of-00002.bin": bytes(100), "pytorch_model-00002-of-00002.bin": bytes(50)}
    found = checkpoint.read_checkpoint(folder({**weights, "training_args.bin": bytes(7), "optimizer.pt": bytes(9)}))
    assert (found.format, found.tensors, found.bytes, found.file_bytes) == ("pickle", (), 150, 150)
    assert found.files == tuple(weights)


def test_links_as_in_the_hugging_face_cache(tmp_path: Path, folder: Folder) -> None:
    (tmp_path / "blobs").mkdir()
    (tmp_path / "blobs/0a1b").write_bytes(build.shard("a"))
    top = folder({})
    (top / "model.safetensors").symlink_to("../blobs/0a1b")
    assert names(top) == ["a"]


# --- GGUF folders ---


def part(number: int, count: int, *tensors: str) -> bytes:
    keys: dict[str, tuple[int, Any]] = {"split.no": (2, number), "split.count": (2, count)}
    if number == 0:
        keys |= {"general.architecture": (8, "llama"), "llama.block_count": (4, 7)}
    return build.gguf(keys, [(name, "F32", (3, 2)) for name in tensors])


SPLIT = {f"m-Q4-0000{n}-of-00003.gguf": part(n - 1, 3, *"abc"[n - 1 : n]) for n in (1, 2, 3)}


def test_a_split_gguf_is_joined_from_its_folder_and_from_any_part(folder: Folder) -> None:
    top = folder({**SPLIT, "config.json": None})
    for path in (top, *(top / name for name in SPLIT)):
        found = checkpoint.read_checkpoint(path)
        assert ([one.name for one in found.tensors], found.files) == (["a", "b", "c"], tuple(SPLIT))
        assert found.config == {"model_type": "llama", "num_hidden_layers": 7}
        assert found.bytes == 72


def test_several_quantisations_are_listed(folder: Folder, wrong: Wrong) -> None:
    top = folder({**SPLIT, "m-Q8.gguf": GGUF})
    assert wrong(top) == "2 GGUF models: m-Q4.gguf, m-Q8.gguf; expected one, or the path of one file"
    assert names(top / "m-Q8.gguf") == ["a"]
    assert names(top / "m-Q4-00002-of-00003.gguf") == ["a", "b", "c"]


@pytest.mark.parametrize(
    ("files", "said"),
    [
        (
            {"m-Q4-00002-of-00003.gguf": None},
            "m-Q4-00002-of-00003.gguf is missing: the names say that there are 3 parts",
        ),
        (
            {"m-Q4-00002-of-00003.gguf": part(2, 3, "b")},
            "m-Q4-00002-of-00003.gguf: says split.no 2 and split.count 3, counted from 0; its name says that it is part 2 of 3",
        ),
        ({"m-Q4-00002-of-00003.gguf": GGUF}, "m-Q4-00002-of-00003.gguf: a is in m-Q4-00001-of-00003.gguf too"),
        (
            {"m-Q4-00003-of-00003.gguf": build.gguf({}, [("c", "F32", (1,))])},
            "m-Q4-00003-of-00003.gguf: says split.no 0 and split.count 0, counted from 0; its name says that it is part 3 of 3",
        ),
        (
            {"m-Q4-00003-of-00003.gguf": build.gguf({"split.no": (8, "2")})},
            "m-Q4-00003-of-00003.gguf: says split.no 2 and split.count 0, counted from 0",
        ),
    ],
    ids=["missing", "another number", "a tensor twice", "not split", "a number in words"],
)
def test_parts_that_do_not_fit(folder: Folder, wrong: Wrong, files: dict[str, Any], said: str) -> None:
    top = folder({name: content for name, content in {**SPLIT, **files}.items() if content is not None})
    assert wrong(top).startswith(said)


def test_a_split_gguf_under_another_name(folder: Folder, wrong: Wrong) -> None:
    top = folder({"m.gguf": part(0, 3, "a")})
    assert (
        wrong(top) == "m.gguf: says split.no 0 and split.count 3, counted from 0; its name says that it is part 1 of 1"
    )


# --- what does not agree ---

WRONG_FOLDERS: dict[str, tuple[dict[str, Any], str]] = {
    "nothing": ({}, "no weights: expected *.safetensors, *.gguf or *.bin; it holds config.json"),
    "a shard is missing": ({ONE: SHARDS[ONE]}, f"{TWO} is missing: the names say that there are 2 parts"),
    "a shard too much": (
        {**SHARDS, "model-00003-of-00002.safetensors": SHARDS[TWO]},
        "model-…-of-00002.safetensors: one is",
    ),
    "a tensor twice": (
        {ONE: SHARDS[ONE], TWO: build.shard("c")},
        f"{TWO}: c is in {ONE} too; expected every tensor once",
    ),
    "no configuration": ({**SHARDS, "config.json": None}, "config.json: cannot be read: no such file or directory"),
    "garbage": ({**SHARDS, "config.json": b"\x80\x04model"}, "config.json: no JSON: "),
    "an empty configuration": ({**SHARDS, "config.json": b""}, "config.json: no JSON: "),
    "a list": (
        {**SHARDS, "config.json": b"[1]"},
        "config.json: a list; expected a JSON object, a model's configuration",
    ),
    "deep": ({**SHARDS, "config.json": b'{"a":' * 100_000}, "config.json: nested too deeply"),
    "a number without end": ({**SHARDS, "config.json": b'{"a":' + b"9" * 5000 + b"}"}, "config.json: no JSON: "),
    "an index of a list": ({**SHARDS, INDEX: [1]}, f"{INDEX}: no JSON object at byte 0"),
    "an index of garbage": ({**SHARDS, INDEX: b"\xff"}, f"{INDEX}: no JSON object at byte 0"),
    "an empty index": ({**SHARDS, INDEX: index({})}, f"{INDEX}: no weight_map with a tensor in it"),
    "no weight_map": ({**SHARDS, INDEX: {}}, f"{INDEX}: no weight_map with a tensor in it"),
    "two weight_maps": (
        {**SHARDS, INDEX: b'{"weight_map":{"a":"%b"},"weight_map":{}}' % ONE.encode()},
        f"{INDEX}: weight_map is there twice",
    ),
    "a tensor twice in the index": (
        {**SHARDS, INDEX: b'{"weight_map":{"a":"%b","a":"%b","c":"%b"}}' % ((ONE.encode(),) * 3)},
        f"{INDEX}: it names a tensor twice",
    ),
    "something behind the index": (
        {**SHARDS, INDEX: build.compact(index({"a": ONE})) + b"x"},
        f"{INDEX}: something follows",
    ),
    "a file that is a number": ({**SHARDS, INDEX: index({"a": 1})}, f"{INDEX}: no JSON: expected a string at byte"),
    "a file that is missing": (
        {**SHARDS, INDEX: index({"a": ONE, "c": "gone.safetensors"})},
        f"{INDEX}: names gone.safetensors; expected in the same folder, and not there",
    ),
    "outside the folder": (
        {**SHARDS, INDEX: index({"a": "../other/m.safetensors"})},
        f"{INDEX}: names the file ../other/m.safetensors; expected a .safetensors file of its own folder",
    ),
    "an absolute file": (
        {**SHARDS, INDEX: index({"a": ONE, "b": "/etc/x.safetensors"})},
        f"{INDEX}: names the file /etc/x",
    ),
    "above the folder": ({**SHARDS, INDEX: index({"a": "..", "b": ONE})}, f"{INDEX}: names the file ..; expected"),
    "no safetensors": (
        {**SHARDS, INDEX: index({"a": "config.json", "b": ONE})},
        f"{INDEX}: names the file config.json; expected",
    ),
    "a control character": (
        {**SHARDS, INDEX: index({"a": "x\n.safetensors"})},
        f"{INDEX}: the name x\\n.safetensors has characters that cannot be printed",
    ),
    "the index says another shard": (
        {**SHARDS, INDEX: index({"a": TWO, "b": TWO, "c": ONE})},
        f"{INDEX}: says that a is in {TWO}; it is in {ONE}",
    ),
    "the index names a tensor that no file has": (
        {**SHARDS, INDEX: index({"a": ONE, "b": TWO, "c": ONE, "d": TWO})},
        f"{INDEX}: says that d is in {TWO}; no file has it",
    ),
    "the index lacks a tensor": (
        {**SHARDS, INDEX: index({"a": ONE, "b": TWO})},
        f"{INDEX}: does not name c, which is in {ONE}",
    ),
    "a broken shard": (
        {ONE: SHARDS[ONE], TWO: SHARDS[TWO][:-1]},
        f"{TWO}: header: b ends at byte 24 of 23 bytes of data",
    ),
}


@pytest.mark.parametrize("case", WRONG_FOLDERS)
def test_a_folder_that_does_not_agree_is_one_line_that_says_what(folder: Folder, wrong: Wrong, case: str) -> None:
    files, said = WRONG_FOLDERS[case]
    top = folder({"config.json": {"model_type": "llama"}, **files})
    assert wrong(top).startswith(said)


@pytest.mark.parametrize(("size", "refused"), [(4 << 20, False), ((4 << 20) + 1, True)])
def test_the_limit_of_a_configuration(folder: Folder, wrong: Wrong, size: int, refused: bool) -> None:
    top = folder({"model.safetensors": build.shard("a"), "config.json": b"{}" + b" " * (size - 2)})
    if refused:
        assert wrong(top) == f"config.json: {size} bytes; expected at most {4 << 20}"
    else:
        assert checkpoint.read_here(str(top)).config == {}


# --- what is no file ---


def fifo(path: Path) -> None:
    os.mkfifo(path)


def listening(path: Path) -> None:
    here = socket.socket(socket.AF_UNIX)
    here.bind(str(path))
    here.close()


def loop(path: Path) -> None:
    path.symlink_to(path.name)


NO_FILES: dict[str, tuple[Callable[[Path], Any], str]] = {
    "a FIFO": (fifo, "a FIFO; expected a regular file"),
    "a folder": (Path.mkdir, "a folder; expected a regular file"),
    "a socket": (listening, "a socket; expected a regular file"),
    "a device": (lambda path: path.symlink_to("/dev/zero"), "a device; expected a regular file"),
    "a dangling link": (lambda path: path.symlink_to("nowhere"), "cannot be read: no such file or directory"),
    "a link to itself": (loop, "cannot be read: too many levels of symbolic links"),
}


@pytest.mark.parametrize("name", ["model.safetensors", "m.gguf", "config.json", INDEX])
@pytest.mark.parametrize("kind", NO_FILES)
def test_what_is_no_file_is_said_and_waits_for_nobody(
    folder: Folder, wrong: Wrong, monkeypatch: pytest.MonkeyPatch, kind: str, name: str
) -> None:
    make, said = NO_FILES[kind]
    others = {"model.safetensors": build.shard("a")} if name in ("config.json", INDEX) else {}
    top = folder({"config.json": {"model_type": "llama"}, **others} | {name: None})
    monkeypatch.chdir(top)  # a socket's path may have 107 bytes
    make(Path(name))
    answer: list[str] = []
    asking = threading.Thread(target=lambda: answer.append(wrong(top)), daemon=True)
    asking.start()
    asking.join(5)
    assert answer == [f"{name}: {said}"]


@pytest.mark.parametrize("name", ["m.safetensors", "m.gguf"])
def test_one_path_that_is_no_file(tmp_path: Path, name: str) -> None:
    os.mkfifo(tmp_path / name)
    with pytest.raises(UsageError, match="a FIFO; expected a regular file"):
        checkpoint.read_here(str(tmp_path / name))
    with pytest.raises(UsageError, match="nowhere: cannot be read: no such file or directory"):
        checkpoint.read_here(str(tmp_path / "nowhere"))
    with pytest.raises(UsageError, match="embedded null byte"):
        checkpoint.read_here(str(tmp_path / "a\0b"))


def test_a_file_of_another_kind(tmp_path: Path, wrong: Wrong) -> None:
    (tmp_path / "a.onnx").write_bytes(b"x")
    with pytest.raises(UsageError) as caught:
        checkpoint.read_here(str(tmp_path / "a.onnx"))
    assert caught.value.message.endswith(
        "a.onnx: expected a folder or a file that ends in .safetensors, .gguf, .bin, .pt, .pth"
    )


def test_a_file_that_shrinks_between_opening_and_reading(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wrong: Wrong
) -> None:
    path = tmp_path / "m.safetensors"
    path.write_bytes(build.shard("a"))
    real = os.fstat

    def shrink(file: int) -> os.stat_result:
        found = real(file)
        if stat.S_ISREG(found.st_mode) and found.st_size == len(build.shard("a")):
            os.truncate(path, 20)
        return found

    monkeypatch.setattr(os, "fstat", shrink)
    assert wrong(path) == f"m.safetensors: ends at byte 20; it had {len(build.shard('a'))} bytes when it was opened"


def test_a_name_that_would_write_to_the_terminal(folder: Folder, wrong: Wrong) -> None:
    top = folder({"model-\x1b[31m\n.safetensors": b"broken"})
    assert wrong(top).startswith("model-\\x1b[31m\\n.safetensors: 6 bytes; a safetensors file begins with")


def test_a_folder_without_end(folder: Folder, wrong: Wrong, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkpoint, "_NAMES_LIMIT", 2)
    top = folder(SHARDS)
    assert wrong(top) == "more than 2 files; expected a model's folder"


def test_more_tensors_in_all_files_than_any_model_has(
    folder: Folder, wrong: Wrong, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkpoint, "TENSORS_LIMIT", 2)
    assert wrong(folder(SHARDS)) == f"{TWO}: more than 2 tensors in this model up to here"
