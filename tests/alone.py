"""Runs a command from a small process and writes what it took: ``alone.py REPORT COMMAND...``.

The kernel counts the memory of the process that forks into the peak of the child it makes, so a command started by a test
run of 400 MiB is said to have taken 400 MiB, whatever it takes. Here the parent is a bare Python of some 10 MiB.
"""

import json
import os
import resource
import subprocess
import sys
import time

report, *command = sys.argv[1:]
started = time.monotonic()
done = subprocess.run(command, check=False)
seconds = time.monotonic() - started
used = resource.getrusage(resource.RUSAGE_CHILDREN)
with os.fdopen(os.open(report, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
    json.dump(
        {
            "status": done.returncode,
            "seconds": seconds,
            "processor_seconds": used.ru_utime + used.ru_stime,
            "peak_bytes": used.ru_maxrss * 1024,
        },
        file,
    )
