"""How processes ended, and the CPU that they used in all: the account that closes what polls leave open.

A poll a second never sees a task of 50 ms. The kernel tells of each task at its end; this module adds the
threads of a process up, and says whose it was: a process in sight, or one that the target takes by its
name, or else one whose nearest known ancestor the target takes.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from tracekit import units
from tracekit.collect import procfs
from tracekit.collect.proc.finder import YOUNG_MS
from tracekit.collect.proc.target import Target
from tracekit.collect.proc.taskstats import TaskExit

_DEEPEST = 64  # ancestors looked at; a loop in a changing /proc must end
_REMEMBERED = 5000
_SETTLED_MS = 1000  # so long a verdict on an old process holds; the finder too takes it for past its exec


class Ending(NamedTuple):
    """A process that ended. cpu_ms: of the threads that ended while the listener was on.

    user_share: of it in user mode, 0 to 1, by ticks; 1 where none fell into it. ended_ms: of boot time."""

    pid: int
    ppid: int
    comm: str
    cpu_ms: float
    user_share: float
    peak_rss_kb: int | None
    exit_code: int | None
    signal: int | None
    elapsed_ms: int
    ended_ms: int

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
        self._lately: dict[int, int] = {}  # process: when it was born, or a little later
        self._clk_tck = os.sysconf("SC_CLK_TCK")
        self._now_ms = 0
        self._ended: dict[int, Ending] = {}  # of this batch, by pid: they may be each other's parents
        self._verdicts: dict[int, bool] = {}  # of this batch, by pid: whether its children are the target's
        self._settled: dict[int, bool] = {}  # the same, of old processes, for longer
        self._settled_since_ms = 0

    def start_batch(self, mono_ms: int) -> None:
        """Records that are read together follow. mono_ms: of boot time."""
        self._now_ms = mono_ms
        self._ended.clear()
        self._verdicts.clear()
        if mono_ms - self._settled_since_ms >= _SETTLED_MS:
            self._settled.clear()
            self._settled_since_ms = mono_ms

    def forget(self) -> None:
        """Records were lost, maybe of threads whose process waits for its last one here."""
        self._groups.clear()

    def add(self, task: TaskExit, ended_ms: int) -> Ending | None:
        """Count a task; the process's ending, where this was its last. ended_ms: boot time."""
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
        ending = Ending(
            pid=task.tgid,
            ppid=task.ppid,
            comm=procfs.as_text(group.comm),
            cpu_ms=round(group.cpu_us / 1000, 3),
            user_share=group.user_us / counted_us if counted_us else 1.0,
            peak_rss_kb=group.peak_rss_kb or None,
            exit_code=None if signum else status >> 8 & 0xFF,
            signal=signum or None,
            elapsed_ms=task.process_elapsed_us // 1000,
            ended_ms=ended_ms,
        )
        self._ended[ending.pid] = ending
        self._lately.pop(ending.pid, None)
        self._lately[ending.pid] = ended_ms - ending.elapsed_ms
        if len(self._lately) > _REMEMBERED:
            del self._lately[next(iter(self._lately))]
        return ending

    def has_ended(self, pid: int, born_ms: float) -> bool:
        """Whether this is no other than a process whose record has come: it is still being torn down."""
        return born_ms <= self._lately.get(pid, -1)

    def pending_ms(self, pid: int) -> float:
        """CPU of its threads that have ended since there are records."""
        group = self._groups.get(pid)
        return group.cpu_us / 1000 if group else 0.0

    def belongs(self, ending: Ending) -> bool:
        """Whether a process that was never sampled is the target's."""
        if self._target.is_nothing:
            return False
        if self._target.tasks.is_wrapper(ending.pid):
            return False
        if self._target.tasks.holds(ending.pid, ending.ppid):
            return True
        is_named = self._by_name and not self._target.container and self._target.matches(ending.comm, "")
        if not is_named and not self._is_taken(ending.ppid):
            return False
        return not self._target.is_ours(ending.pid, ending.ppid)

    def _is_taken(self, pid: int, depth: int = 0) -> bool:
        """Whether this process or else its nearest known ancestor is the target's."""
        if pid <= 1 or depth > _DEEPEST:
            return False
        if self._is_in_sight(pid) or pid in self._target.tasks:
            return True
        verdict = self._verdicts.get(pid, self._settled.get(pid))
        if verdict is None:
            try:
                comm, ppid, cmdline, is_old = self._look_up(pid)
                is_meant = self._by_name and self._target.takes(pid, comm, cmdline)
                verdict = (is_meant or self._is_taken(ppid, depth + 1)) and not self._target.is_ours(
                    pid, ppid
                )
            except (OSError, ValueError):
                return False
            (self._settled if is_old else self._verdicts)[pid] = verdict
        return verdict

    def _look_up(self, pid: int) -> tuple[str, int, str, bool]:
        """(comm, ppid, cmdline, whether it is old) of a process, or of one that has ended in this batch."""
        try:
            stat = procfs.read_stat(pid, self._root)
            cmdline = procfs.read_cmdline(pid, self._root)
        except (FileNotFoundError, ProcessLookupError):
            if pid not in self._ended:
                raise
            return self._ended[pid].comm, self._ended[pid].ppid, "", False
        born_ms = units.ticks_to_ms(int(stat.fields[procfs.STARTTIME]), self._clk_tck)
        return stat.comm, int(stat.fields[procfs.PPID]), cmdline, self._now_ms - born_ms > YOUNG_MS
