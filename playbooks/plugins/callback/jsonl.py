"""One JSON object per task result, and one line per task that starts: the only output of a run.

The results go to the file that PROVISION_JSONL names, each as

    {"schema", "role", "task", "item", "kind", "changed", "failed", "skipped", "diff", "message"}

where ``kind`` (one of KINDS, or "") is what the task manages, by its tags. Standard output carries
``{"start": "role : task"}`` and, at the end, ``{"stats": {...}}`` for the process that started the run. Between two
tasks the run ends where that process is gone, or asked for it through the file that PROVISION_STOP names: a task that
has begun (a package being installed) is never broken off.
"""

from __future__ import annotations

import difflib
import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

from ansible.plugins.callback import CallbackBase

DOCUMENTATION = """
    name: jsonl
    type: stdout
    short_description: one JSON object per task result
    description: Writes results as lines of JSON to the file named by the environment variable PROVISION_JSONL.
    options: {}
"""

SCHEMA = 1
KINDS = {
    **{"packages": "package", "files": "file", "folders": "folder", "engine": "unit"},
    **{"volume": "disk", "mounts": "mount", "model": "model"},
}


class CallbackModule(CallbackBase):  # type: ignore[misc]
    """See the module's docstring."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "stdout"
    CALLBACK_NAME = "jsonl"

    def __init__(self) -> None:
        super().__init__()
        # Open for the whole run: a line is written as its task ends.
        self._results = Path(os.environ["PROVISION_JSONL"]).open("a", encoding="utf-8")  # noqa: SIM115
        self._stop = Path(os.environ["PROVISION_STOP"])
        self._parent = int(os.environ["PROVISION_PARENT"])

    def v2_playbook_on_task_start(self, task: Any, is_conditional: bool) -> None:  # noqa: ARG002
        if os.getppid() != self._parent:
            # Nobody waits for us, and between two tasks nothing of ours runs. Ansible's own way to end an interrupted run can
            # hang in a thread for ever (seen with 2.19, 2026-11-24), and would keep the machine's lock with it.
            os._exit(1)
        if self._stop.exists():
            os.kill(os.getpid(), signal.SIGINT)
            return
        _tell({"start": task.get_name().strip()})

    def v2_playbook_on_stats(self, stats: Any) -> None:
        total: dict[str, int] = {}
        for host in stats.processed:
            for key, count in stats.summarize(host).items():
                total[key] = total.get(key, 0) + count
        _tell({"stats": total})
        self._results.close()

    def v2_runner_on_ok(self, result: Any) -> None:
        self._whole(result)

    def v2_runner_on_failed(self, result: Any, ignore_errors: bool = False) -> None:
        if not ignore_errors:
            self._whole(result, failed=True)

    def v2_runner_on_unreachable(self, result: Any) -> None:
        self._whole(result, failed=True)

    def v2_runner_on_skipped(self, result: Any) -> None:
        self._whole(result, skipped=True)

    def v2_runner_item_on_ok(self, result: Any) -> None:
        self._write(result)

    def v2_runner_item_on_failed(self, result: Any) -> None:
        self._write(result, failed=True)

    def v2_runner_item_on_skipped(self, result: Any) -> None:
        self._write(result, skipped=True)

    def _whole(self, result: Any, **state: bool) -> None:
        """A task without a loop, or an empty loop; the items of a loop have spoken for themselves."""
        if not result._result.get("results"):
            self._write(result, **state)

    def _write(self, result: Any, failed: bool = False, skipped: bool = False) -> None:
        task, values = result._task, result._result
        hidden = bool(values.get("_ansible_no_log"))
        item = values.get("_ansible_item_label", values.get("item", ""))
        names = values.get("invocation", {}).get("module_args", {}).get("name")
        if not item and isinstance(names, list):  # one call of the package module for all of them
            item = ", ".join(names)
        line = {
            "schema": SCHEMA,
            "role": task._role.get_name() if task._role else "",
            "task": task.name or task.action,
            "item": item if isinstance(item, str) else json.dumps(item, sort_keys=True, default=str),
            "kind": next((kind for tag, kind in KINDS.items() if tag in task.tags), ""),
            "changed": bool(values.get("changed")),
            "failed": failed,
            "skipped": skipped,
            "diff": "" if hidden else _diff(values.get("diff")),
            "message": "" if hidden else _message(values),
        }
        self._results.write(json.dumps(line, sort_keys=True, ensure_ascii=False) + "\n")
        self._results.flush()


def _tell(what: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(what) + "\n")
    sys.stdout.flush()


def _message(values: dict[str, Any]) -> str:
    """What the module said, and for a command that failed what it wrote to its standard error."""
    parts = [str(values[key]).strip() for key in ("msg", "stderr") if values.get(key)]
    return "\n".join(dict.fromkeys(parts))


def _diff(found: Any) -> str:
    """Ansible's before and after as a unified diff."""
    text = []
    for one in found if isinstance(found, list) else [found]:
        if not isinstance(one, dict):
            continue
        if "prepared" in one:
            text.append(str(one["prepared"]))
            continue
        before, after = (_lines(one.get(key)) for key in ("before", "after"))
        names = str(one.get("before_header", "before")), str(one.get("after_header", "after"))
        text += difflib.unified_diff(before, after, *names)
    return "".join(text)


def _lines(value: Any) -> list[str]:
    content = value if isinstance(value, str) else json.dumps(value, indent=1, sort_keys=True, default=str) + "\n"
    return content.splitlines(keepends=True) if value else []
