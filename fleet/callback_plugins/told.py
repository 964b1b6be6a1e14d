"""What each host said, as one JSON object a line on stdout: for tracekit/fleet/plays.py.

{"state": "ok" | "failed" | "unreachable", "host", "play", "task", "rc", "stdout", "stderr", "msg"}, the last
four where the task has them. A task with the tag "quiet" is told without its output where it went well, and
so is a command that was not needed (creates, removes). Ansible itself warns on stderr.
"""

import json

from ansible.plugins.callback import CallbackBase

DOCUMENTATION = """
name: told
type: stdout
short_description: one JSON object a line
description: What each host said, for the program that started the play.
"""


class CallbackModule(CallbackBase):
    """Hosts that a task skips say nothing."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "stdout"
    CALLBACK_NAME = "told"

    def v2_playbook_on_play_start(self, play):
        self._play = play.get_name()

    def v2_runner_on_ok(self, result):
        self._tell("ok", result)

    def v2_runner_on_failed(self, result, ignore_errors=False):
        self._tell("ok" if ignore_errors else "failed", result)

    def v2_runner_on_unreachable(self, result):
        self._tell("unreachable", result)

    def _tell(self, state, result):
        said = result._result
        is_quiet = "quiet" in result._task.tags or str(said.get("stdout")).startswith("skipped, since")
        names = ("rc",) if state == "ok" and is_quiet else ("rc", "stdout", "stderr", "msg")
        told = {name: said[name] for name in names if said.get(name) is not None}
        where = {"host": result._host.get_name(), "play": self._play, "task": result._task.get_name()}
        self._display.display(json.dumps({"state": state, **where, **told}, default=str))
