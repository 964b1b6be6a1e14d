"""The collector's own processes, which are never the target's, whatever PROC_MATCH says.

They are the recorder and its children, and the commands that start, stop or look at a run. Those come and go
while it is on: what called `start` is told by it, any other is known by its command line.
"""

import os
import time
from collections.abc import Iterable
from pathlib import PurePath

from tracekit import ROOT
from tracekit.collect import procfs

LASTS_S = 30  # later the pid of a command may be anybody's
_PROGRAMS = ("tools/collect_sys.sh", "tools/lib/collect_sys.py", "tools/settings.py")
_TARGETS = {"start-collect", "stop-collect", "status"}


class Own:
    """Knows them by their pid and that of their parent."""

    def __init__(self, collecting: Iterable[int], starters: Iterable[int]) -> None:
        """collecting: the pids of recorder and sampler. starters: of the commands that start the run."""
        self._collecting = set(collecting)
        self._commands = dict.fromkeys(starters, time.monotonic() + LASTS_S)  # pid: until when

    def __call__(self, pid: int, ppid: int) -> bool:
        """Whether process pid, a child of ppid, is the collector's own."""
        if pid in self._collecting or ppid in self._collecting:
            return True
        now = time.monotonic()
        if now < max(self._commands.get(pid, 0), self._commands.get(ppid, 0)):
            return True
        if not _is_command(pid):
            return False
        self._commands = {one: until for one, until in self._commands.items() if until > now}
        self._commands[pid] = now + LASTS_S
        return True


def _is_command(pid: int) -> bool:
    """Whether it is one of this project's commands for a run, or the make that calls it."""
    try:
        words = procfs.as_text(procfs.read(pid, "cmdline")).split("\0")
        if any(str(ROOT / program) in words for program in _PROGRAMS):
            return True
        is_make = PurePath(words[0]).name == "make" and not _TARGETS.isdisjoint(words)
        if not is_make and not any(program in words for program in _PROGRAMS):
            return False
        return str(ROOT) in words or os.readlink(f"/proc/{pid}/cwd") == str(ROOT)  # noqa: PTH115 - no path
    except OSError:  # it has ended, or is another user's
        return False
