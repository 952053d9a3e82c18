"""Stands in for the payload: does what the request says. Runs inside the container."""

import ctypes
import json
import os
import sys
import time
from importlib import metadata
from pathlib import Path

import tinydep


def tell(**line):
    print(json.dumps(line), flush=True)


def writable(path):
    try:
        Path(path, "probe").write_text("x")
    except OSError as error:
        return error.strerror
    return "yes"


def look():
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    tell(
        uid=os.getuid(),
        interfaces=sorted(os.listdir("/sys/class/net")),  # noqa: PTH208
        capabilities=int(status["CapEff"], 16) | int(status["CapBnd"], 16),
        no_new_privileges=int(status["NoNewPrivs"]),
        writable={path: writable(path) for path in ("/opt/provision", "/etc", "/var/tmp", "/tmp", "/run/provision")},
        installed=sorted(found.metadata["Name"] for found in metadata.distributions()),
        value=tinydep.VALUE,
        name=__import__("pwd").getpwuid(os.getuid()).pw_name,
        offline=os.environ["HF_HUB_OFFLINE"],
    )


def eat():
    tell(code="FIRST")
    held = []
    while True:
        held.append(b"x" * (16 << 20))


def crash():
    tell(code="FIRST")
    ctypes.string_at(0)


def hang():
    tell(code="FIRST")
    print("still at it", file=sys.stderr, flush=True)
    time.sleep(600)


def many():
    print("a library says hello on standard output")
    for number in range(2000):
        tell(code=f"P{number}", padding="x" * 200)
    sys.stdout.write(json.dumps({"code": "no newline at the end"}))
    sys.exit(1)


def silent():
    sys.exit(0)


request = json.loads(Path(sys.argv[sys.argv.index("--request") + 1]).read_text())
{"look": look, "eat": eat, "crash": crash, "hang": hang, "many": many, "silent": silent}[request["do"]]()
