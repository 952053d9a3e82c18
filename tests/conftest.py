"""What every suite shares: the container engine, permitted skips, and the time per suite."""

from __future__ import annotations

import collections
import fnmatch
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import tomllib

HERE = Path(__file__).parent
ROOT = HERE.parent
IN_CI = os.environ.get("CI") == "true"
MAY_INSTALL = IN_CI or os.environ.get("PROVISION_TEST_INSTALL") == "1"
ENGINE_SECONDS = 60
_seconds: collections.Counter[str] = collections.Counter()
_skips: list[tuple[str, str]] = []


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--run-bench", action="store_true", help="run tests/bench: timings against named peers")
    parser.addoption(
        "--run-offline", action="store_true", help="run tests/offline: the road without a network (minutes)"
    )
    parser.addoption("--run-vm", action="store_true", help="run all of tests/vm, not only what a boot shows (minutes)")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """What takes many minutes under emulation runs with ``make test-vm``."""
    if not config.getoption("--run-vm"):
        long = [item for item in items if item.get_closest_marker("vm_long")]
        config.hook.pytest_deselected(items=long)
        items[:] = [item for item in items if item not in long]


def pytest_configure() -> None:
    # A run in the background of a script (`bash .ci/run &`) inherits an ignored Ctrl-C and hands it down to every child;
    # the tests that press it then wait for nothing.
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    places = (collection_path, *collection_path.parents)
    asked = {HERE / name: config.getoption(f"--run-{name}") for name in ("bench", "offline")}
    return True if any(folder in places and not wanted for folder, wanted in asked.items()) else None


# --- the engine -------------------------------------------------------------------------------------------------------


class Engine:
    """A Docker engine of the tests' own: its own socket, data root and processes, so that nobody else's is touched."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.url = f"unix://{folder}/docker.sock"
        self.data_root = folder / "data"
        self._child: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        command = (
            *("dockerd", "--data-root", str(self.data_root), "--exec-root", str(self.folder / "exec")),
            *("-H", self.url, "-p", str(self.folder / "docker.pid"), "--bridge=none", "--iptables=false"),
        )
        with (self.folder / "log").open("ab") as log:
            self._child = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
        deadline = time.monotonic() + ENGINE_SECONDS
        while time.monotonic() < deadline and self._child.poll() is None:
            if subprocess.run(["docker", "-H", self.url, "version"], capture_output=True, check=False).returncode == 0:
                return
            time.sleep(0.2)
        raise RuntimeError(
            f"the tests' engine did not start; its log ends:\n{(self.folder / 'log').read_text()[-2000:]}"
        )

    def stop(self) -> None:
        if self._child is None:
            return
        self._child.send_signal(signal.SIGTERM)
        try:
            self._child.wait(30)
        except subprocess.TimeoutExpired:
            os.killpg(self._child.pid, signal.SIGKILL)
            self._child.wait(10)
        self._child = None

    def remove(self) -> None:
        """Remove the folder of an engine that has ended, with the mounts that a killed one left in it."""
        _unmount_what_is_left(self.folder)
        shutil.rmtree(self.folder, ignore_errors=True)


def _dockerd() -> str | None:
    """dockerd, installed from Debian where that is allowed (CI, or PROVISION_TEST_INSTALL=1)."""
    path = shutil.which("dockerd")
    if path is None and MAY_INSTALL and os.geteuid() == 0 and shutil.which("apt-get"):
        quiet = {**os.environ, "DEBIAN_FRONTEND": "noninteractive", "RUNLEVEL": "1"}
        subprocess.run(["apt-get", "update", "-qq"], check=True, env=quiet, stdout=subprocess.DEVNULL)
        wanted = ["docker.io", "iptables", "debootstrap"]
        subprocess.run(["apt-get", "install", "-y", "-qq", *wanted], check=True, env=quiet, stdout=subprocess.DEVNULL)
        path = shutil.which("dockerd")
    return path


@pytest.fixture(scope="session")
def can_install() -> Callable[[str, str, str], None]:
    """``can_install(program, package, what)``: installs a package of Debian where that is allowed, or skips with ``what``."""

    def need(program: str, package: str, what: str) -> None:
        if shutil.which(program) is None and MAY_INSTALL and os.geteuid() == 0 and shutil.which("apt-get"):
            # RUNLEVEL: the package's own service is not started
            quiet = {**os.environ, "DEBIAN_FRONTEND": "noninteractive", "RUNLEVEL": "1"}
            for words in (["update", "-qq"], ["install", "-y", "-qq", "--no-install-recommends", package]):
                subprocess.run(["apt-get", *words], check=True, env=quiet, stdout=subprocess.DEVNULL)
        if shutil.which(program) is None:
            reason = f"{what}: needs {package} (CI=true or PROVISION_TEST_INSTALL=1 installs it)"
            if IN_CI:
                pytest.fail(reason)
            pytest.skip(reason)

    return need


@pytest.fixture(scope="session")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    """A running engine. Without one the test is skipped, and with CI=true it fails: there it must be real."""
    if os.geteuid() != 0 or _dockerd() is None:
        reason = "no container engine: needs root and dockerd (CI=true or PROVISION_TEST_INSTALL=1 installs it)"
        if IN_CI:
            pytest.fail(reason)
        pytest.skip(reason)
    own = Engine(tmp_path_factory.mktemp("engine"))
    own.start()
    try:
        yield own
    finally:
        own.stop()
        own.remove()


# --- other Pythons ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def pythons() -> dict[tuple[int, int], str]:
    """Every Python of this machine that really starts, by its version: on PATH, and in pyenv's and uv's folders.

    pyenv's shims on PATH fail for a version that is not chosen, so each is asked.
    """
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    folders = [Path(folder) for folder in os.environ.get("PATH", "").split(os.pathsep) if folder]
    folders += sorted((pyenv / "versions").glob("*/bin"))
    folders += sorted((Path.home() / ".local/share/uv/python").glob("*/bin"))
    found: dict[tuple[int, int], str] = {}
    for path in [Path(sys.executable), *(p for folder in folders for p in sorted(folder.glob("python[23].*")))]:
        if not re.fullmatch(r"python(\d\.\d+)?", path.name):
            continue
        ask = [str(path), "-c", "import sys; print(sys.version_info[0]); print(sys.version_info[1])"]
        done = subprocess.run(ask, capture_output=True, text=True, check=False)
        if done.returncode == 0:
            major, minor = map(int, done.stdout.split())
            found.setdefault((major, minor), str(path))
    return found


# --- skips and times --------------------------------------------------------------------------------------------------


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    suite = report.nodeid.split("::")[0].removeprefix("tests/")
    _seconds[suite.split("/")[0]] += report.duration
    if report.skipped and not hasattr(report, "wasxfail"):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        _skips.append((report.nodeid, reason.removeprefix("Skipped: ")))


def _permitted(nodeid: str, reason: str) -> bool:
    table = tomllib.loads((HERE / "permitted_skips.toml").read_text())
    return any(
        fnmatch.fnmatch(nodeid, row["test"])
        and reason.startswith(row["reason"])
        and not (IN_CI and row.get("not_in_ci"))
        for row in table["skip"]
    )


def _unmount_what_is_left(folder: Path) -> None:
    """An engine that a test killed leaves its mounts; they would keep the temporary folder from being removed."""
    mounts = [line.split(" ")[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    for mount in sorted((m for m in mounts if m.startswith(f"{folder}/")), reverse=True):
        subprocess.run(["umount", "--lazy", mount], check=False)


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    factory = getattr(session.config, "_tmp_path_factory", None)
    if os.geteuid() == 0 and factory is not None and getattr(factory, "_basetemp", None):
        _unmount_what_is_left(factory.getbasetemp())
    if exitstatus == 0 and any(not _permitted(*skip) for skip in _skips):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    write = terminalreporter.write_line
    write("")
    write("seconds per suite: " + ", ".join(f"{name} {took:.1f}" for name, took in _seconds.most_common()))
    for nodeid, reason in _skips:
        if not _permitted(nodeid, reason):
            write(f"skip that tests/permitted_skips.toml does not name: {nodeid}: {reason}", red=True)
