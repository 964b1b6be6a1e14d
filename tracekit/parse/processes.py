"""CPU and memory of processes, from the sampler's rows to three files of the cctf.

CPU is the difference of the kernel's counters between two samples of one process, told by (pid, starttime).
A process born in the run counts from its birth; one that is older has no row for its first sample, for nobody
saw what it used before; one whose end is known has a closing row. What is kept in memory is one state for
each process that lives, and for the last ones that ended.
"""

from collections.abc import Iterable, Iterator, Sequence
from itertools import repeat
from operator import sub
from typing import Any

from msgspec import Struct

from tracekit import units
from tracekit.files.sorting import OutOfOrderError
from tracekit.files.writing import LinesFile
from tracekit.parse.endings import Ending, Remainder
from tracekit.parse.grid import Grid
from tracekit.parse.series import Seen
from tracekit.parse.ticks import Tick, Ticks, Who, positional
from tracekit.parse.timeline import Steps, Timeline
from tracekit.records import ProcCpu, QualityMark

_RECENT = 10_000  # ended processes whose state is kept, for a row or a second record that comes late
_FOREVER = 1 << 64
_NOT_SEEN = float("inf")  # CPU at the birth of a process that is older than the run

_CPU = positional(ProcCpu)


class _State(Struct, gc=False):
    """A process when it was last looked at: wall time of that sample (-1: none), own time, CPU so far, ms."""

    starttime: int
    sampled_ms: int
    own_ms: int
    cpu_ms: float
    is_closed: bool = False  # its closing row is written


class _Crowd(Struct, gc=False):
    """The last tick, while it stands for the states of its processes: when it was, CPU of each so far."""

    states: list[_State]
    sampled_ms: int
    own_ms: int
    cpu_ms: list[int]


class ProcSeries:
    """proc_metrics.jsonl -> proc_metrics.jsonl, proc_cpu.jsonl and proc_rss.jsonl."""

    def __init__(
        self,
        names: tuple[str, int],
        outs: Sequence[LinesFile],
        timeline: Timeline,
        steps: Steps,
        grid: Grid,
        told: Iterator[Ending | Remainder],
    ) -> None:
        """names: the node; ticks a second. outs: for metrics, cpu and rss. told: in the order of ts_ms."""
        self._node, self._clk_tck = names
        self._metrics, self._cpu, self._rss = outs
        self._timeline, self._steps, self._grid = timeline, steps, grid
        self._told = told
        self._next_told = next(told, None)
        self._living: dict[int, _State] = {}
        self._who: Who = [], []  # of the last tick
        self._crowd: _Crowd | None = None  # the same processes
        self._ended: dict[tuple[int, int], _State] = {}  # the first to end first
        self._tick_ms = -1
        self._own_ms = 0
        self._seen = Seen(clock_goes_back=True) if steps.goes_back else None
        self._rows: list[Any] = []  # of proc_cpu.jsonl, to be written
        self.resets: list[QualityMark] = []
        self.duplicates = 0  # same ts_ms, pid and starttime
        self.unattributed_ms = 0.0

    def take(self, rows: Ticks) -> list[int]:
        """Write rows; their times. Raises OutOfOrderError where they are not in the order of time."""
        doubled = self._accounted(rows.ticks)
        kept = rows.without(doubled) if doubled else rows
        times = [ts_ms for ts_ms, _, _ in rows.ticks]
        count = sum(len(cpu_ms) for _, _, cpu_ms in rows.ticks) - len(doubled)
        self._metrics.write_text(kept.metrics, count, times)
        self._rss.write_text(kept.rss, count, times)
        self._flush()
        self.duplicates += len(doubled)
        return times

    def finish(self) -> None:
        """Write what comes behind the last sample."""
        self._close_before(_FOREVER)
        self._flush()

    def _flush(self) -> None:
        self._cpu.write(self._rows, [row.ts_ms for row in self._rows])
        self._rows.clear()

    # --- samples

    def _accounted(self, ticks: Iterable[Tick]) -> set[int]:
        """Which of the rows, counted from 0, are duplicates.

        What each process used since the row before is a row of proc_cpu.jsonl."""
        doubled: set[int] = set()
        begin = 0
        for ts_ms, who, cpu_ms in ticks:
            own_ms = self._own_ms if ts_ms == self._tick_ms else self._pass_tick(ts_ms)
            if who or not (self._crowd and self._used_by_all(self._crowd, ts_ms, own_ms, cpu_ms)):
                self._who = who or self._who
                doubled.update(begin + at for at in self._used_by_each(ts_ms, own_ms, cpu_ms))
            begin += len(cpu_ms)
        return doubled

    def _used_by_all(self, crowd: _Crowd, ts_ms: int, own_ms: int, cpu_ms: list[int]) -> bool:
        """The same as _used_by_each in a fifth of the time; False where this cannot, and nothing is done."""
        used_ms, dt_ms = list(map(sub, cpu_ms, crowd.cpu_ms)), own_ms - crowd.own_ms
        if dt_ms < 0 or min(used_ms) < 0:
            return False
        stamp, node = repeat(ts_ms), repeat(self._node)
        pids, starttimes = self._who
        self._rows += map(_CPU, stamp, node, pids, used_ms, repeat(dt_ms), starttimes, repeat("poll"))
        crowd.sampled_ms, crowd.own_ms, crowd.cpu_ms = ts_ms, own_ms, cpu_ms
        return True

    def _used_by_each(self, ts_ms: int, own_ms: int, cpus_ms: list[int]) -> list[int]:
        """Account for the rows of a tick one by one: which of them, from 0, are duplicates."""
        self._dissolve_crowd()
        states: list[_State] = []
        doubled: list[int] = []
        for at, (pid, starttime, cpu_ms) in enumerate(zip(*self._who, cpus_ms, strict=True)):
            state = self._living.get(pid)
            if state is None or state.starttime != starttime:
                state = self._enter(pid, starttime)
            if state.sampled_ms == ts_ms or (self._seen and not self._seen.is_new(ts_ms, (pid, starttime))):
                doubled.append(at)
                continue
            used_ms, dt_ms = cpu_ms - state.cpu_ms, own_ms - state.own_ms
            if used_ms >= 0 and dt_ms >= 0 and not state.is_closed:
                self._rows.append(_CPU(ts_ms, self._node, pid, used_ms, dt_ms, starttime, "poll"))
            elif state.cpu_ms is not _NOT_SEEN:
                self._used(pid, state, _State(starttime, ts_ms, own_ms, cpu_ms), "poll")
            state.sampled_ms, state.own_ms, state.cpu_ms = ts_ms, own_ms, cpu_ms
            states.append(state)
        if not (doubled or self._seen or any(state.is_closed for state in states)):
            self._crowd = _Crowd(states, ts_ms, own_ms, cpus_ms)
        return doubled

    def _dissolve_crowd(self) -> None:
        """Every process has a state of its own again."""
        if self._crowd:
            sampled_ms, own_ms = self._crowd.sampled_ms, self._crowd.own_ms
            for state, cpu_ms in zip(self._crowd.states, self._crowd.cpu_ms, strict=True):
                state.sampled_ms, state.own_ms, state.cpu_ms = sampled_ms, own_ms, cpu_ms
            self._crowd = None

    def _pass_tick(self, ts_ms: int) -> int:
        """A tick, and its own time."""
        if not self._steps.goes_back:
            if ts_ms < self._tick_ms:
                raise OutOfOrderError
            self._close_before(ts_ms)
        self._steps.pass_row(ts_ms)
        self._tick_ms, self._own_ms = ts_ms, ts_ms - self._steps.total
        self._grid.add(self._own_ms)
        return self._own_ms

    def _enter(self, pid: int, starttime: int) -> _State:
        """The state of a process that the pid has from now on."""
        older = self._living.get(pid)
        if older:
            self._retire(pid, older)
        state = self._ended.pop((pid, starttime), None) or self._birth(starttime)
        self._living[pid] = state or _State(starttime, -1, 0, _NOT_SEEN)
        return self._living[pid]

    def _retire(self, pid: int, state: _State) -> None:
        self._ended[pid, state.starttime] = state
        if len(self._ended) > _RECENT and not self._steps.goes_back:
            del self._ended[next(iter(self._ended))]

    def _birth(self, starttime: int) -> _State | None:
        """The state of a process at its birth, where it was born in the run."""
        started_mono_ms = self._timeline.started_mono_ms
        if started_mono_ms is None:
            return None
        age_ms = units.ticks_to_ms(starttime, self._clk_tck) - started_mono_ms
        return _State(starttime, -1, self._timeline.started_ms + age_ms, 0) if age_ms >= 0 else None

    # --- between samples

    def _close_before(self, ts_ms: int) -> None:
        """Write the rows of proc_cpu.jsonl whose time is before that of a tick, in the order of time.

        Where the clock went back there is no such order: then all are written at the end, and sorted."""
        while self._next_told is not None and self._next_told.ts_ms < ts_ms:
            if not self._steps.goes_back:
                self._steps.pass_row(self._next_told.ts_ms)
            if isinstance(self._next_told, Ending):
                self._close(self._next_told)
            else:
                self._add_remainder(self._next_told)
            self._next_told = next(self._told, None)

    def _add_remainder(self, told: Remainder) -> None:
        self.unattributed_ms += told.cpu_ms
        row = _CPU(told.ts_ms, self._node, None, _number(told.cpu_ms), told.dt_ms, None, told.source)
        self._rows.append(row)

    def _close(self, end: Ending) -> None:
        """Final minus last sampled; all of it for a process of this run that was never sampled."""
        self._dissolve_crowd()
        state = self._living.get(end.pid)
        if state and state.starttime == end.starttime:
            del self._living[end.pid]
            self._retire(end.pid, state)
        else:
            state = self._ended.get((end.pid, end.starttime)) or self._birth(end.starttime)
        if state is None or state.is_closed or state.cpu_ms is _NOT_SEEN or end.cpu_ms is None:
            return
        now = _State(end.starttime, end.ts_ms, end.ts_ms - self._steps.total, end.cpu_ms, is_closed=True)
        self._used(end.pid, state, now, "exit")
        now.sampled_ms = state.sampled_ms
        self._retire(end.pid, now)

    def _used(self, pid: int, before: _State, now: _State, source: str) -> None:
        used_ms = now.cpu_ms - before.cpu_ms
        # The final figure is counted in another way: it may be up to two ticks less than the last sample.
        tolerated_ms = 2000 / self._clk_tck if now.is_closed or before.is_closed else 0
        if used_ms < -tolerated_ms:
            detail = f"CPU of pid {pid} went back from {before.cpu_ms:.0f} to {now.cpu_ms:.0f} ms"
            self.resets.append(QualityMark(ts_ms=now.sampled_ms, kind="reset", detail=detail))
            return
        dt_ms = max(now.own_ms - before.own_ms, 0)
        cpu_ms = _number(max(used_ms, 0))
        self._rows.append(_CPU(now.sampled_ms, self._node, pid, cpu_ms, dt_ms, now.starttime, source))


def _number(value_ms: float) -> float:
    """Microseconds kept; a whole number without its ".0", as the kernel's ticks give it."""
    rounded = round(value_ms, 3)
    return int(rounded) if rounded == int(rounded) else rounded
