"""The base image by digest, from a real registry (Debian's docker-registry) on this machine."""

from __future__ import annotations

import hashlib
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from provision import base, spec
from provision.engine import engine as connect
from provision.errors import ChangeError

from .conftest import ARCHITECTURE, CACHE, SUITE

if TYPE_CHECKING:
    from docker import DockerClient

pytestmark = pytest.mark.engine
NOBODY = f"sha256:{hashlib.sha256(b'nobody pushed this').hexdigest()}"
