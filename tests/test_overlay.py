"""A stack of layers read from outside shows what the kernel shows."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from provision.fact import Absent, Missing
from provision.host import LocalHost
from provision.overlay import Stack

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root: it mounts an overlay in a namespace of its own")
# Two layers that the kernel itself writes: what a container leaves behind when it installs, upgrades and removes packages.
SCRIPT = """
set -eu
mount -t tmpfs tmpfs "$1"; cd "$1"; mkdir low mid top w1 w2 merged
mkdir -p low/site/old-1.0.dist-info low/site/both low/site/gone low/other
touch low/site/old-1.0.dist-info/METADATA low/site/both/a low/site/both/b low/site/gone/x low/site/keep low/other/deep
mount -t overlay overlay -o lowerdir=low,upperdir=mid,workdir=w1 merged
rm -r merged/site/old-1.0.dist-info merged/site/gone
mkdir merged/site/new-2.0.dist-info; touch merged/site/new-2.0.dist-info/METADATA
rm -r merged/site/both; mkdir merged/site/both; touch merged/site/both/c   # the folder is opaque now
umount merged
mount -t overlay overlay -o lowerdir=mid:low,upperdir=top,workdir=w2 merged
touch merged/site/both/d merged/site/gone; rm merged/site/keep; rm -r merged/other; ln -s /etc merged/other
"$2" -c "$3" "$1"
"""
COMPARE = """
import json, os, sys
from provision.overlay import Stack
top = sys.argv[1]
stack = Stack(tuple(f"{top}/{layer}" for layer in ("top", "mid", "low")))
def kernel(folder):
    place = f"{top}/merged{folder}"
    return sorted(os.listdir(place)) if os.path.isdir(place) and not os.path.islink(place) else []
folders = ["/", "/site", "/site/both", "/site/gone", "/site/old-1.0.dist-info", "/site/new-2.0.dist-info", "/other", "/no"]
print(json.dumps({folder: [kernel(folder), sorted(stack.names(folder))] for folder in folders}))
"""


@needs_root
def test_it_shows_what_the_kernel_shows(tmp_path: Path) -> None:
    command = ["unshare", "-m", "bash", "-c", SCRIPT, "bash", str(tmp_path), sys.executable, COMPARE]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    shown = json.loads(done.stdout)
    assert {folder: ours for folder, (_, ours) in shown.items()} == {folder: its for folder, (its, _) in shown.items()}
    assert shown["/site"][1] == ["both", "gone", "new-2.0.dist-info"]
    assert shown["/site/both"][1] == ["c", "d"]
    assert shown["/other"][1] == []  # a link of the image's leads into the image: it is not followed


def test_a_file_is_the_topmost(tmp_path: Path) -> None:
    for layer in ("top", "low"):
        (tmp_path / layer / "opt").mkdir(parents=True)
        (tmp_path / layer / "opt/file").touch()
    (tmp_path / "empty").mkdir()
    stack = Stack((f"{tmp_path}/empty", f"{tmp_path}/top", f"{tmp_path}/low"))
    assert stack.find("/opt/file") == f"{tmp_path}/top/opt/file"
    assert stack.find("/opt/none") is None


def test_a_layer_that_cannot_be_seen_is_no_empty_one(tmp_path: Path) -> None:
    (tmp_path / "layer/opt").mkdir(parents=True)
    host = LocalHost()
    assert host.layered([f"{tmp_path}/layer"], "/opt") == ()
    for gone in (f"{tmp_path}/gone", f"{tmp_path}/folder/gone"):
        with pytest.raises((Missing, Absent)) as reason:
            host.layered([f"{tmp_path}/layer", gone], "/opt")
        assert reason.type is Missing


@needs_root
def test_a_folder_that_was_renamed_across_layers_is_not_guessed_at(tmp_path: Path) -> None:
    """With redirect_dir the kernel looks for such a folder's content under its old name; container engines leave it off."""
    script = """
        set -eu; mount -t tmpfs tmpfs "$1"; cd "$1"; mkdir -p low/old up w merged; touch low/old/x
        mount -t overlay overlay -o lowerdir=low,upperdir=up,workdir=w,redirect_dir=on merged
        mv merged/old merged/new; test -e merged/new/x
        "$2" -c 'import sys; from provision.overlay import Stack; Stack(tuple(sys.argv[1:])).names("/new")' "$1/up" "$1/low"
    """
    command = ["unshare", "-m", "bash", "-c", script, "bash", str(tmp_path), sys.executable]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.stderr.splitlines()[-1].endswith(f"the layer's folder {tmp_path}/up/new was renamed (redirect_dir)")
