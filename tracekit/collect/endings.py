"""How processes ended, and the CPU that they used in all: the account that closes what polls leave open.

A poll a second never sees a task of 50 ms. The kernel tells of each task at its end; this module adds the
threads of a process up, and says whose it was: a process in sight, or one that the target takes by its
name, or else one whose nearest known ancestor the target takes.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from tracekit.collect import procfs
from tracekit.collect.target import Target
from tracekit.collect.taskstats import TaskExit

_DEEPEST = 64  # ancestors looked at; a loop in a changing /proc must end


class Ending(NamedTuple):
    """A process that ended. cpu_ms: of the threads that ended while the listener was on.

    user_share: of it in user mode, 0 to 1, by clock ticks; 1 where no tick fell into it."""

    pid: int
    ppid: int
    comm: str
    cpu_ms: float
    user_share: float
    peak_rss_kb: int | None
    exit_code: int | None
    signal: int | None
    elapsed_ms: int

    def known(self, dead_ms: float, clk_tck: int) -> dict[str, object]:
        """What the inventory says of the end; dead_ms: CPU of threads that ended before anybody listened."""
        cpu_ms = round(self.cpu_ms + dead_ms, 3)
        ticks = int(cpu_ms * clk_tck / 1000)
        user_ticks = round(ticks * self.user_share)
        return {
            "exit_code": self.exit_code,
            "signal": self.signal,
            "utime": user_ticks,
            "stime": ticks - user_ticks,
            "maxrss_kb": self.peak_rss_kb,
            "cpu_ms": cpu_ms,
        }


@dataclass
class _Group:
    """The threads of one process that have ended so far."""

    cpu_us: float = 0.0
    user_us: int = 0
    system_us: int = 0
    peak_rss_kb: int = 0
    wait_status: int | None = None
    comm: bytes = b""


class Endings:
    """Adds task exits up to processes; knows which of them are the target's."""

    def __init__(
        self, target: Target, is_in_sight: Callable[[int], bool], by_name: bool, root: str = procfs.PROC
    ) -> None:
        """is_in_sight(pid): it is being sampled. by_name: new processes count by their own name too."""
        self._target = target
        self._is_in_sight = is_in_sight
        self._by_name = by_name
        self._root = root
        self._groups: dict[int, _Group] = {}

    def add(self, task: TaskExit) -> Ending | None:
        """Count a task; the process's ending where this was the last of its tasks."""
        group = self._groups.setdefault(task.tgid, _Group())
        group.cpu_us += task.cpu_us
        group.user_us += task.user_us
        group.system_us += task.system_us
        group.peak_rss_kb = max(group.peak_rss_kb, task.peak_rss_kb)
        if task.pid == task.tgid or not group.comm:
            group.comm, group.wait_status = task.comm, task.wait_status
        if not task.is_last:
            return None
        del self._groups[task.tgid]
        status = group.wait_status or 0
        signum = status & 0x7F
        counted_us = group.user_us + group.system_us
        return Ending(
            pid=task.tgid,
            ppid=task.ppid,
            comm=procfs.as_text(group.comm),
            cpu_ms=round(group.cpu_us / 1000, 3),
            user_share=group.user_us / counted_us if counted_us else 1.0,
            peak_rss_kb=group.peak_rss_kb or None,
            exit_code=None if signum else status >> 8 & 0xFF,
            signal=signum or None,
            elapsed_ms=task.process_elapsed_us // 1000,
        )

    def belongs(self, ending: Ending) -> bool:
        """Whether a process that was never sampled is the target's."""
        if self._target.is_nothing or self._target.is_ours(ending.pid, ending.ppid):
            return False
        if self._by_name and not self._target.container and self._target.matches(ending.comm, ""):
            return True
        return self._has_taken_ancestor(ending.ppid)

    def _has_taken_ancestor(self, pid: int) -> bool:
        for _ in range(_DEEPEST):
            if pid <= 1:
                return False
            if self._is_in_sight(pid):
                return True
            try:
                stat = procfs.read_stat(pid, self._root)
                ppid = int(stat.fields[procfs.PPID])
                if self._target.is_ours(pid, ppid):
                    return False
                if self._by_name and self._target.takes(pid, stat.comm, procfs.read_cmdline(pid, self._root)):
                    return True
            except (OSError, ValueError):
                return False
            pid = ppid
        return False
