"""What a container's cgroup counted and no row holds: its CPU beyond that of the processes in sight."""

from collections.abc import Iterable

from tracekit import units
from tracekit.collect import procfs
from tracekit.collect.proc.process import Process

SLACK_TICKS = 2  # for each process: utime and stime are rounded down


class Usage:
    """Holds the cgroup's counter against what rows tell, from the first reading on."""

    def __init__(self, clk_tck: int) -> None:
        self._clk_tck = clk_tck
        self._ended_ms = 0.0  # CPU of the processes that ended, as rows hold it
        self._began: tuple[int, float] | None = None  # which cgroup; its CPU then, not told
        self._unattributed_ms = 0.0

    def ended(self, cpu_ms: float) -> None:
        """A process of the container ended; rows hold cpu_ms of its life."""
        self._ended_ms += cpu_ms

    def settle(self, cgroup: int, usage_ms: float, processes: Iterable[Process]) -> float:
        """CPU in ms since the last time that no row holds.

        cgroup: tells one of the same container from another, made anew; usage_ms: its CPU, read before the
        processes; processes: those of it that live."""
        living = list(processes)
        ticks = sum(process.ticks(procfs.UTIME, procfs.STIME) for process in living)
        living_ms = units.ticks_to_ms(ticks, self._clk_tck)
        told_ms = self._ended_ms + living_ms + self._unattributed_ms
        if self._began is None:
            self._began = cgroup, usage_ms - told_ms
        elif self._began[0] != cgroup:  # all that lives was born in it
            self._began = cgroup, living_ms - told_ms
        open_ms = usage_ms - told_ms - self._began[1]
        if open_ms <= units.ticks_to_ms(SLACK_TICKS * (len(living) + 1), self._clk_tck):
            return 0.0
        self._unattributed_ms += open_ms
        return open_ms
