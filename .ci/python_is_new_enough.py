"""Refuse a Python that is too old in one line. Runs on anything from Python 2.7 up, so it uses no newer syntax."""

import sys

if sys.version_info < (3, 11):
    sys.exit(
        "provision needs Python 3.11 or newer; %s is %d.%d. On Debian 12 or Ubuntu 24.04: "
        "apt-get install python3 python3-venv   (elsewhere: make PYTHON=/path/to/python3.11 ...)"
        % (sys.executable, sys.version_info[0], sys.version_info[1])
    )
try:
    import ensurepip  # noqa: F401
    import venv  # noqa: F401
except ImportError:
    sys.exit("provision needs Python's venv module: apt-get install python3-venv")
