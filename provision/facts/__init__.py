"""What a machine is: one module per thing looked at. Standard library only, Python 3.10.

``load()`` imports every module here, which registers its facts and probes.
"""

from __future__ import annotations

import importlib
import pkgutil


def load() -> None:
    """Register every fact and probe of this folder."""
    for module in pkgutil.iter_modules(__path__):
        if not module.name.startswith("nvml_"):  # a program of its own: it runs in a child process
            importlib.import_module(f"{__name__}.{module.name}")
