"""The process sampler: CPU ticks and resident memory of the target's processes at each grid point.

For each process /proc/<pid>/stat and statm stay open and are read with pread: that costs a quarter of
opening them anew. RSS comes from statm (field 24 of stat lags behind by up to a batch of pages for each
CPU). One stamp serves all rows of a tick: reading a thousand processes takes some ten ms.

Lines on the output, a tick at a time: the rows of proc_metrics.jsonl, "@file {...}" for the inventory
and marks, and an empty line that says the tick is done.
"""

import os
import resource
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from typing import NamedTuple

from tracekit import units
from tracekit.collect import clock, lines, procfs
from tracekit.collect.children import Children
from tracekit.collect.clock import STEP_MS, Stamp
from tracekit.collect.endings import Ending, Endings
from tracekit.collect.execs import ExecListener
from tracekit.collect.finder import Finder, Found
from tracekit.collect.lines import Output
from tracekit.collect.process import Process
from tracekit.collect.target import Target
from tracekit.collect.taskstats import ExitListener

LOOK_MS = 1000
SUMMARY_MS = 60_000


class Listeners(NamedTuple):
    """Where the kernel tells of processes that end, and of programs that start; None where it does not."""

    exits: ExitListener | None = None
    execs: ExecListener | None = None


NOBODY = Listeners()


class Sampler:
    """Finds, reads and follows the target's processes, to their end and to the last of their CPU."""

    def __init__(
        self,
        target: Target,
        interval_ms: int,
        refresh: bool,
        output: Output,
        listeners: Listeners = NOBODY,
        root: str = procfs.PROC,
    ) -> None:
        """interval_ms: between two ticks; refresh: find processes that start later; root: where /proc is."""
        self._target = target
        self._interval_ms = interval_ms
        self._output = output
        self._exits, self._execs = listeners
        self._root = root
        self._clk_tck = os.sysconf("SC_CLK_TCK")
        self._finder = Finder(target, refresh, self._exits is None, self._clk_tck, output.say_once, root)
        self._endings = Endings(target, self._is_in_sight, refresh, root)
        self._began_ms = clock.now().mono_ms
        self._children = Children(self._clk_tck, self._is_in_sight, self._began_ms, root)
        self._page_kb = units.pages_to_kb(1, os.sysconf("SC_PAGE_SIZE"))
        self._processes: dict[int, Process] = {}
        self._next_look_ms = 0
        self._last: Stamp | None = None
        self._summary_from: Stamp | None = None
        self._ticks = 0
        self._rows = 0

    def run(self, wait: Callable[[float], str]) -> None:
        """Tick at each grid point of the wall clock.

        wait(seconds) returns "tick" when they are over (or none are left), "events" when a listener has
        something before, "end" when it is time to end."""
        allow_many_files()
        if self._target.is_nothing:
            self._output.say_once("neither PROC_MATCH nor CONTAINER is given: no process is sampled")
        if procfs.is_hiding():
            self._output.say_once(
                "/proc hides other users' processes (hidepid): only this user's are sampled"
            )
        self._target.find_container(is_any_sampled=False)  # an engine's answer may be there by the first tick
        deadline = time.monotonic() + clock.seconds_to_grid(self._interval_ms)
        while (what := wait(deadline - time.monotonic())) != "end":
            if what == "events":
                self._output.write(b"".join(self._take_events(clock.now())))
            else:
                self.tick(clock.now())
                deadline = time.monotonic() + clock.seconds_to_grid(self._interval_ms)
        self._output.write(b"".join(self._last_words(clock.now())))

    def tick(self, stamp: Stamp) -> None:
        """Sample every process in sight; look for new ones where it is time to."""
        told = [*self._discontinuities(stamp), *self._take_events(stamp)]
        told += self._sample_all(stamp)
        if stamp.mono_ms >= self._next_look_ms:
            told += self._look(stamp)
            self._next_look_ms = stamp.mono_ms + LOOK_MS - STEP_MS  # ticks come a little early or late
        if self._target.container:
            told += self._target.container.look(stamp, bool(self._processes), self._output.say_once)
        self._ticks += 1
        self._last = stamp
        self._summary_from = self._summary_from or stamp
        if stamp.mono_ms - self._summary_from.mono_ms >= SUMMARY_MS:
            told += self._summary(stamp)
        told.append(b"\n")
        self._output.write(b"".join(told))

    def _last_words(self, stamp: Stamp) -> Iterator[bytes]:
        """All that is known now, but no row: the end is on no grid point."""
        yield from self._take_events(stamp)
        if self._last:
            rows = self._rows
            yield from (line for line in self._sample_all(stamp) if line.startswith(b"@"))
            self._rows = rows
        yield from self._summary(self._last)
        if self._target.container:
            yield from self._target.container.end(stamp, self._output.say_once)

    def _look(self, stamp: Stamp) -> Iterator[bytes]:
        found = self._finder.look(self._processes, bool(self._processes), stamp.mono_ms)
        yield from self._add(list(found), stamp)

    def _add(self, new: list[Found], stamp: Stamp) -> Iterator[bytes]:
        for found in new:
            self._processes[found.process.pid] = found.process
            self._note_dead_threads(found.process)
            yield lines.seen(stamp, found)
        yield from self._sample(clock.now(), [found.process for found in new])
        for found in new:
            self._children.came(found.process, stamp.mono_ms)

    def _sample_all(self, stamp: Stamp) -> Iterator[bytes]:
        """Rows of the processes in sight, and a mark of the CPU that their children used and no row holds."""
        self._children.read_launchers()
        yield from self._sample(stamp, list(self._processes.values()))
        yield from self._take_exits(stamp)  # of the children that the accounts held by now
        cpu_ms, since = self._children.settle(stamp.mono_ms, self._exits is not None), self._last
        if cpu_ms and since:
            span = {"from_ms": since.ts_ms, "to_ms": stamp.ts_ms, "dt_ms": stamp.mono_ms - since.mono_ms}
            yield lines.mark(stamp, "unattributed", **span, reason="children", cpu_ms=round(cpu_ms, 3))

    def _sample(self, stamp: Stamp, processes: Iterable[Process]) -> Iterator[bytes]:
        when = b'{"ts_ms":%d' % stamp.ts_ms
        page_kb = self._page_kb
        gone: list[Process] = []
        for process in processes:
            try:
                stat, statm = process.read()
            except OSError:
                gone.append(process)
                continue
            before, fields = process.fields, stat[stat.rindex(b")") + 2 :].split(b" ", 15)
            process.fields = fields
            if fields[procfs.CUTIME : procfs.CSTIME + 1] != before[procfs.CUTIME : procfs.CSTIME + 1]:
                self._children.changed(process)
            rss_kb = int(statm.split(b" ", 2)[1]) * page_kb
            yield b'%b%b%d,"utime":%b,"stime":%b%b' % (
                when, process.head, rss_kb, fields[procfs.UTIME], fields[procfs.STIME], process.tail
            )  # fmt: skip
            self._rows += 1
        if gone:
            yield from self._take_exits(stamp)  # the record comes before the process is gone
            for process in gone:
                if self._processes.get(process.pid) is process:
                    self._forget(process)
                    parent = int(process.fields[procfs.PPID])
                    self._children.ended(process.pid, parent, self._sampled_ms(process), stamp.mono_ms)
                    yield lines.ended(stamp, process.pid, process.starttime)

    def _forget(self, process: Process) -> None:
        del self._processes[process.pid]
        process.close()
        if not self._processes:
            self._finder.start_over()

    def _is_in_sight(self, pid: int) -> bool:
        return pid in self._processes

    def _sampled_ms(self, process: Process) -> float:
        """CPU of its whole life at its last sample."""
        return units.ticks_to_ms(process.ticks(procfs.UTIME, procfs.STIME), self._clk_tck)

    def _note_dead_threads(self, process: Process) -> None:
        """What an older process's ended threads used is in no exit record."""
        if units.ticks_to_ms(process.starttime, self._clk_tck) <= self._began_ms:
            with suppress(OSError, ValueError):  # it has just ended, or this kernel has no schedstat
                process.dead_ms = procfs.dead_threads_ms(process.pid, self._clk_tck, self._root)

    def _take_events(self, stamp: Stamp) -> Iterator[bytes]:
        """What has started since the last time, then what has ended."""
        if self._execs:
            started = self._finder.look_at(self._execs.read(), self._processes, stamp.mono_ms)
            yield from self._add(list(started), stamp)
        yield from self._take_exits(stamp)

    def _take_exits(self, stamp: Stamp) -> Iterator[bytes]:
        """The endings of the target's processes since the last time."""
        if self._exits is None:
            return
        try:
            for task in self._exits.read():
                ending = self._endings.add(task)
                if ending:
                    yield from self._take_ending(stamp, ending)
        except OSError as error:  # ENOBUFS: the kernel dropped some
            yield lines.mark(stamp, "exits_lost", reason=str(error.strerror))

    def _take_ending(self, stamp: Stamp, ending: Ending) -> Iterator[bytes]:
        process = self._processes.get(ending.pid)
        if process:
            self._forget(process)
            starttime, dead_ms, known = process.starttime, process.dead_ms, {}
        elif self._endings.belongs(ending):
            starttime = max(stamp.mono_ms - ending.elapsed_ms, 0) * self._clk_tck // 1000
            dead_ms, known = 0.0, {"ppid": ending.ppid, "comm": ending.comm}
        else:
            if self._finder.has_refused(ending.pid) or self._children.is_launcher(ending.pid):
                self._children.another_ended(ending.pid, ending.ppid, ending.cpu_ms)
            return
        self._children.ended(ending.pid, ending.ppid, ending.cpu_ms + dead_ms, stamp.mono_ms)
        yield lines.ended(stamp, ending.pid, starttime, **known, **self._final(ending, dead_ms))

    def _final(self, ending: Ending, dead_ms: float) -> dict[str, object]:
        cpu_ms = round(ending.cpu_ms + dead_ms, 3)
        ticks = int(cpu_ms * self._clk_tck / 1000)
        user_ticks = round(ticks * ending.user_share)
        return {
            "exit_code": ending.exit_code,
            "signal": ending.signal,
            "utime": user_ticks,
            "stime": ticks - user_ticks,
            "maxrss_kb": ending.peak_rss_kb,
            "cpu_ms": cpu_ms,
        }

    def _discontinuities(self, stamp: Stamp) -> Iterator[bytes]:
        """Marks for ticks that did not come, and for a step of the wall clock."""
        before = self._last
        if before is None:
            return
        span = {"from_ms": before.ts_ms, "to_ms": stamp.ts_ms}
        step_ms = stamp.offset_ms - before.offset_ms
        if abs(step_ms) > STEP_MS:
            yield from self._summary(before)  # so that no summary spans the step
            self._summary_from = stamp
            detail = f"the wall clock was stepped by {step_ms / 1000:+.3f} s"
            yield lines.mark(stamp, "clock_step", **span, detail=detail, step_ms=step_ms)
        late_ms = stamp.mono_ms - before.mono_ms - self._interval_ms
        if late_ms >= self._interval_ms and abs(step_ms) <= STEP_MS:
            yield lines.mark(stamp, "missed", **span, reason="late", detail=f"{late_ms} ms late")

    def _summary(self, stamp: Stamp | None) -> Iterator[bytes]:
        """Says that the ticks were made, also those that matched no process."""
        if stamp is None or self._summary_from is None:
            return
        unreadable = self._finder.unreadable
        reason = f"unreadable: {unreadable}" if unreadable else None
        span = {"from_ms": self._summary_from.ts_ms, "to_ms": stamp.ts_ms}
        yield lines.mark(stamp, "ticks", **span, reason=reason, ticks=self._ticks, rows=self._rows)
        self._summary_from, self._ticks, self._rows = stamp, 0, 0


def allow_many_files() -> None:
    """Raise the soft limit on open files to the hard one: two are kept open for each process."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
