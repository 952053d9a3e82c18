"""A stack of folders as an overlay file system shows it, read without mounting it. Standard library only, Python 3.10.

A container image is such a stack: each layer's files hide those below, a character device 0/0 ("whiteout") hides a name,
and a folder marked opaque hides what lies below it (Linux, Documentation/filesystems/overlayfs.rst). Links are never
followed: an image's links lead into the image, not into this machine.
"""

from __future__ import annotations

import errno
import os
import posixpath
import stat

_KINDS = ("trusted", "user")  # the second without root (mount option userxattr)


class Stack:
    """Layers, the topmost first. Paths are those that a container would see."""

    def __init__(self, layers: tuple[str, ...]) -> None:
        self._layers = layers
        self._folders: dict[str, dict[str, str]] = {}
        self._places: dict[str, tuple[str, ...]] = {}

    def names(self, folder: str) -> dict[str, str]:
        """Name to where it really lies, for what is in a folder; empty where there is no such folder.

        Raises ``OSError`` where a layer cannot be read.
        """
        if folder not in self._folders:
            found: dict[str, str] = {}
            hidden: set[str] = set()
            for place in self._beneath(folder):
                for entry in os.scandir(place):
                    if entry.name in found or entry.name in hidden:
                        continue
                    if _is_whiteout(entry):
                        hidden.add(entry.name)
                    else:
                        found[entry.name] = entry.path
            self._folders[folder] = found
        return self._folders[folder]

    def find(self, path: str) -> str | None:
        """Where a file of the image really lies; None where the image has no such file."""
        folder, name = posixpath.split(path)
        return self.names(folder).get(name)

    def _beneath(self, folder: str) -> tuple[str, ...]:
        """The layers' folders that together are one folder, the topmost first."""
        if folder == "/":
            return self._all()
        if folder not in self._places:
            parent, name = posixpath.split(folder)
            places = []
            for above in self._beneath(parent):
                place = os.path.join(above, name)
                try:
                    found = os.lstat(place)
                except (FileNotFoundError, NotADirectoryError):
                    continue
                if not stat.S_ISDIR(found.st_mode):  # a whiteout, a link or a file hides what lies below
                    break
                places.append(place)
                if _attribute(place, "redirect"):
                    raise OSError(errno.ENOTSUP, f"the layer's folder {place} was renamed (redirect_dir)")
                if _attribute(place, "opaque") == b"y":
                    break
            self._places[folder] = tuple(places)
        return self._places[folder]

    def _all(self) -> tuple[str, ...]:
        """Every layer. One that is not there is no empty one: the engine keeps it where it cannot be seen from here."""
        if "/" not in self._places:
            for layer in self._layers:
                try:
                    os.stat(f"{layer}/.")
                except (FileNotFoundError, NotADirectoryError):
                    raise OSError(errno.ENXIO, f"the layer {layer} is not to be seen from here") from None
            self._places["/"] = self._layers
        return self._places["/"]


def _is_whiteout(entry: os.DirEntry[str]) -> bool:
    if entry.is_file(follow_symlinks=False) or entry.is_dir(follow_symlinks=False) or entry.is_symlink():
        return False
    found = entry.stat(follow_symlinks=False)
    return stat.S_ISCHR(found.st_mode) and found.st_rdev == 0


def _attribute(place: str, name: str) -> bytes:
    for kind in _KINDS:
        try:
            return os.getxattr(place, f"{kind}.overlay.{name}", follow_symlinks=False)
        except OSError:  # not set, or a file system without such attributes
            continue
    return b""
