"""The smoke test's container, on a real engine."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest

from provision import container
from provision.errors import ChangeError, NotProved

if TYPE_CHECKING:
    from docker import DockerClient

    from provision.image import Built

pytestmark = pytest.mark.engine
LONG = 60.0


def ours(client: DockerClient) -> list[str]:
    return [found["Id"] for found in client.api.containers(all=True, filters={"label": container.OWNER_LABEL})]


@pytest.fixture(autouse=True)
def nothing_left(client: DockerClient) -> Iterator[None]:
    yield
    assert ours(client) == []


def test_the_container_has_no_network_no_privilege_and_nothing_to_write_to(client: DockerClient, built: Built) -> None:
    (seen,) = container.run_smoke(client, built.tag, {"do": "look"}, timeout=LONG)
    refused = "Read-only file system"
    assert seen["writable"].pop("/tmp") == "yes"
    assert seen["writable"].pop("/run/provision") in (refused, "Permission denied")
    assert set(seen["writable"].values()) <= {refused, "Permission denied"}
    assert (seen["uid"], seen["capabilities"], seen["no_new_privileges"]) == (10001, 0, 1)
    assert seen["interfaces"] == ["lo"]
    assert (seen["installed"], seen["value"], seen["name"], seen["offline"]) == (["tinydep"], 42, "provision", "1")


def test_every_line_comes_and_noise_is_progress(
    client: DockerClient, built: Built, capfd: pytest.CaptureFixture[str]
) -> None:
    lines = list(container.run_smoke(client, built.tag, {"do": "many"}, timeout=LONG))
    assert [line["code"] for line in lines] == [*(f"P{number}" for number in range(2000)), "no newline at the end"]
    out, err = capfd.readouterr()
    assert out == ""
    assert "a library says hello" in err


def test_too_little_memory_is_said(client: DockerClient, built: Built) -> None:
    running = container.run_smoke(client, built.tag, {"do": "eat"}, timeout=LONG, memory_bytes=96 << 20)
    assert next(running) == {"code": "FIRST"}
    with pytest.raises(NotProved, match="killed for want of memory: it needed more than its limit of 96 MiB"):
        next(running)


def test_a_word_about_memory_that_comes_after_the_end_is_heard(
    client: DockerClient, built: Built, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The engine's state then says OOMKilled false, which cannot be made to happen; its event is real."""
    inspect = client.api.inspect_container

    def late(container: str) -> Any:
        found = inspect(container)
        found["State"]["OOMKilled"] = False
        return found

    monkeypatch.setattr(client.api, "inspect_container", late)
    running = container.run_smoke(client, built.tag, {"do": "eat"}, timeout=LONG, memory_bytes=96 << 20)
    assert next(running) == {"code": "FIRST"}
    with pytest.raises(NotProved, match="killed for want of memory: it needed more than its limit of 96 MiB"):
        next(running)


def test_a_crash_gives_its_exit_code(client: DockerClient, built: Built) -> None:
    running = container.run_smoke(client, built.tag, {"do": "crash"}, timeout=LONG)
    with pytest.raises(NotProved, match="ended with exit code 139 after 1 proofs"):
        list(running)


def test_a_death_from_outside_is_said(client: DockerClient, built: Built) -> None:
    running = container.run_smoke(client, built.tag, {"do": "hang"}, timeout=LONG)
    next(running)
    client.api.kill(ours(client)[0])
    with pytest.raises(NotProved, match=r"killed from outside \(signal 9\) after 1 proofs"):
        list(running)


def test_silence_is_not_proof(client: DockerClient, built: Built) -> None:
    with pytest.raises(NotProved, match="exit code 0 after 0 proofs"):
        list(container.run_smoke(client, built.tag, {"do": "silent"}, timeout=LONG))


def test_the_deadline_stops_it(client: DockerClient, built: Built) -> None:
    with pytest.raises(NotProved, match="did not end within 3 s and was stopped; its last line was: still at it"):
        list(container.run_smoke(client, built.tag, {"do": "hang"}, timeout=3))


def test_a_reader_who_leaves_leaves_nothing_behind(client: DockerClient, built: Built) -> None:
    running = container.run_smoke(client, built.tag, {"do": "hang"}, timeout=LONG)
    next(running)
    assert len(ours(client)) == 1
    running.close()  # type: ignore[attr-defined]


def test_an_image_that_is_not_there(client: DockerClient) -> None:
    with pytest.raises(ChangeError, match=r"starting provision-test/none:x: the engine refused: .*No such image"):
        list(container.run_smoke(client, "provision-test/none:x", {}, timeout=LONG))


def _elsewhere(engine: Any, tag: str) -> subprocess.Popen[bytes]:
    program = (
        "import json, sys\nfrom provision import container, engine\n"
        "for line in container.run_smoke(engine.engine(sys.argv[1]), sys.argv[2], {'do': 'hang'}, timeout=60):\n"
        "    print(json.dumps(line), flush=True)\n"
    )
    return subprocess.Popen(
        [sys.executable, "-c", program, engine.url, tag], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )


def test_ctrl_c_removes_the_container(engine: Any, client: DockerClient, built: Built) -> None:
    child = _elsewhere(engine, built.tag)
    assert child.stdout and json.loads(child.stdout.readline()) == {"code": "FIRST"}
    child.send_signal(signal.SIGINT)
    child.wait(30)
    child.stdout.close()


def test_after_kill_9_the_next_run_removes_the_container_and_no_strangers(
    engine: Any, client: DockerClient, built: Built
) -> None:
    child = _elsewhere(engine, built.tag)
    assert child.stdout and child.stdout.readline()
    stranger = client.api.create_container(built.tag, command=["--request", "none"])["Id"]
    try:
        container.remove_orphans(client)
        assert len(ours(client)) == 1, "its owner lives"
        os.kill(child.pid, signal.SIGKILL)
        child.wait(10)
        child.stdout.close()
        container.remove_orphans(client)
        assert ours(client) == []
        assert client.api.inspect_container(stranger)["Id"] == stranger
    finally:
        client.api.remove_container(stranger, force=True)


def test_the_engine_stops_half_way(second_engine: Any, loaded: tuple[DockerClient, str], ingredients: Any) -> None:
    client, base_id = loaded
    tag = ingredients.build(client, base_id).tag
    running = container.run_smoke(client, tag, {"do": "hang"}, timeout=LONG)
    next(running)
    killer = threading.Timer(0.5, second_engine.kill)
    killer.start()
    with pytest.raises((ChangeError, NotProved)) as caught:
        list(running)
    killer.join()  # it waits for the dead engine; a new one before that would be forgotten by it
    assert "stopped" in caught.value.message and caught.value.next_command
    second_engine.start()
    time.sleep(0)
