"""The processes of tasks that run_task has told of, and of everything that they started."""

import re
from collections.abc import Callable
from pathlib import Path

from tracekit.tasks import Task, read_spool

_KEPT_MS = 3000  # so long after its end a process still counts: its children's ends may be told later
_RUN_TASK = re.compile(r"(\S*/env )?(.*/)?python[\d.]* (-\S+ )*(.*/)?run_task\.py( .*)?", re.DOTALL)


class Tasks:
    """Which processes belong to a task. folder: the spool; None where nobody can tell of any."""

    def __init__(self, folder: Path | None = None, read: Callable[[Path], list[Task]] = read_spool) -> None:
        self._folder, self._read = folder, read
        self._members: dict[int, int | None] = {}  # pid: until when, in boot time; None while it lives
        self._wrappers: dict[int, int | None] = {}  # the same
        self._starttimes: dict[int, int] = {}  # of those that were told, in clock ticks
        self._ended: list[Task] = []

    def __bool__(self) -> bool:
        return bool(self._members)

    def look(self, mono_ms: int) -> None:
        """Take what has been told since the last time."""
        if self._folder is None:
            return
        for task in self._read(self._folder):
            until = None if task.cpu_us is None else mono_ms + _KEPT_MS
            self._members[task.pid] = self._wrappers[task.wrapper] = until
            self._starttimes[task.pid] = task.starttime
            if task.cpu_us is not None:
                self._ended.append(task)
        for known in (self._members, self._wrappers):
            for pid in [pid for pid, until in known.items() if until is not None and until < mono_ms]:
                del known[pid]
                self._starttimes.pop(pid, None)

    def __contains__(self, pid: int) -> bool:
        """Whether the process is known to belong to a task."""
        return pid in self._members

    def starttime(self, pid: int) -> int | None:
        """When a process that was told began, as the kernel has it; None for any other."""
        return self._starttimes.get(pid)

    def holds(self, pid: int, ppid: int) -> bool:
        """Whether the process belongs to a task: it was told, or its parent belongs to one."""
        if pid not in self._members and ppid in self._members:
            self._members[pid] = None
        return pid in self._members

    def is_wrapper(self, pid: int) -> bool:
        """Whether it is a run_task that has told of its task; it tells its account itself, and exactly."""
        return pid in self._wrappers

    def left(self, pid: int, mono_ms: int) -> None:
        """The process has ended."""
        if pid in self._members:
            self._members[pid] = mono_ms + _KEPT_MS

    def take_ended(self) -> list[Task]:
        """The tasks whose end has been told since the last time."""
        ended, self._ended = self._ended, []
        return ended


def is_run_task(cmdline: str) -> bool:
    """Whether a command line is that of a run_task: it holds the task's, and so what a pattern looks for."""
    return _RUN_TASK.fullmatch(cmdline) is not None
