"""The process sampler: CPU ticks and resident memory of the target's processes at each grid point.

For each process /proc/<pid>/stat and statm stay open and are read with pread: that costs a quarter of
opening them anew. RSS comes from statm (field 24 of stat lags behind by up to a batch of pages for each
CPU). One stamp serves all rows of a tick: reading a thousand processes takes some ten ms.

Lines on the output, a tick at a time: the rows of proc_metrics.jsonl, "@file {...}" for the inventory
and marks, and an empty line that says the tick is done.
"""

import os
import resource
from collections.abc import Callable, Iterable, Iterator

from tracekit import jsonl, units
from tracekit.collect import clock, procfs
from tracekit.collect.clock import STEP_MS, Stamp
from tracekit.collect.finder import Finder, Found
from tracekit.collect.process import Process
from tracekit.collect.rows import mark_row
from tracekit.collect.target import Target

LOOK_MS = 1000
SUMMARY_MS = 60_000


class Sampler:
    """Finds, reads and follows the target's processes; write takes the lines of each tick."""

    def __init__(
        self,
        target: Target,
        interval_ms: int,
        refresh: bool,
        write: Callable[[bytes], object],
        say: Callable[[str], None],
        root: str = procfs.PROC,
    ) -> None:
        """say: one message for people; root: where /proc is."""
        self._target = target
        self._interval_ms = interval_ms
        self._write = write
        self._say = say
        self._said: set[str] = set()
        self._finder = Finder(target, refresh, os.sysconf("SC_CLK_TCK"), self._say_once, root)
        self._page_kb = units.pages_to_kb(1, os.sysconf("SC_PAGE_SIZE"))
        self._processes: dict[int, Process] = {}
        self._next_look_ms = 0
        self._last: Stamp | None = None
        self._summary_from: Stamp | None = None
        self._ticks = 0
        self._rows = 0

    def run(self, wait: Callable[[float], bool]) -> None:
        """Tick at each grid point of the wall clock; wait(seconds) is true when it is time to end."""
        allow_many_files()
        if self._target.is_nothing:
            self._say_once("neither PROC_MATCH nor CONTAINER is given: no process is sampled")
        while not wait(clock.seconds_to_grid(self._interval_ms)):
            self.tick(clock.now())
        self._write(b"".join(self._summary(self._last)))

    def tick(self, stamp: Stamp) -> None:
        """Sample every process in sight; look for new ones where it is time to."""
        lines = list(self._discontinuities(stamp))
        lines += self._sample(stamp, list(self._processes.values()))
        if stamp.mono_ms >= self._next_look_ms:
            lines += self._look(stamp)
            self._next_look_ms = stamp.mono_ms + LOOK_MS - STEP_MS  # ticks come a little early or late
        self._ticks += 1
        self._last = stamp
        self._summary_from = self._summary_from or stamp
        if stamp.mono_ms - self._summary_from.mono_ms >= SUMMARY_MS:
            lines += self._summary(stamp)
        lines.append(b"\n")
        self._write(b"".join(lines))

    def _look(self, stamp: Stamp) -> Iterator[bytes]:
        new = list(self._finder.look(self._processes, bool(self._processes), stamp.mono_ms))
        for found in new:
            self._processes[found.process.pid] = found.process
            yield _seen(stamp, found)
        yield from self._sample(clock.now(), [found.process for found in new])

    def _sample(self, stamp: Stamp, processes: Iterable[Process]) -> Iterator[bytes]:
        when = b'{"ts_ms":%d' % stamp.ts_ms
        page_kb = self._page_kb
        for process in processes:
            try:
                stat, statm = process.read()
            except OSError:
                yield self._forget(process, stamp)
                continue
            fields = stat[stat.rindex(b")") + 2 :].split(b" ", 13)
            rss_kb = int(statm.split(b" ", 2)[1]) * page_kb
            yield b'%b%b%d,"utime":%b,"stime":%b%b' % (
                when, process.head, rss_kb, fields[procfs.UTIME], fields[procfs.STIME], process.tail
            )  # fmt: skip
            self._rows += 1

    def _forget(self, process: Process, stamp: Stamp) -> bytes:
        del self._processes[process.pid]
        process.close()
        if not self._processes:
            self._finder.start_over()
        row = {"ts_ms": stamp.ts_ms, "event": "end", "pid": process.pid, "starttime": process.starttime}
        return b"@proc_inventory.jsonl " + jsonl.encode(row)

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
            yield _mark(stamp, "clock_step", **span, detail=detail, step_ms=step_ms)
        late_ms = stamp.mono_ms - before.mono_ms - self._interval_ms
        if late_ms >= self._interval_ms and abs(step_ms) <= STEP_MS:
            yield _mark(stamp, "missed", **span, reason="late", detail=f"{late_ms} ms late")

    def _summary(self, stamp: Stamp | None) -> Iterator[bytes]:
        """Says that the ticks were made, also those that matched no process."""
        if stamp is None or self._summary_from is None:
            return
        unreadable = self._finder.unreadable
        reason = f"unreadable: {unreadable}" if unreadable else None
        span = {"from_ms": self._summary_from.ts_ms, "to_ms": stamp.ts_ms}
        yield _mark(stamp, "ticks", **span, reason=reason, ticks=self._ticks, rows=self._rows)
        self._summary_from, self._ticks, self._rows = stamp, 0, 0

    def _say_once(self, message: str) -> None:
        if message not in self._said:
            self._said.add(message)
            self._say(message)


def _seen(stamp: Stamp, found: Found) -> bytes:
    row = {
        "ts_ms": stamp.ts_ms,
        "event": "seen",
        "pid": found.process.pid,
        "starttime": found.process.starttime,
        "ppid": found.ppid,
        "comm": found.comm,
        "cmdline": found.cmdline,
        "container": found.container,
    }
    return b"@proc_inventory.jsonl " + jsonl.encode(row)


def _mark(stamp: Stamp, kind: str, **more: object) -> bytes:
    return b"@marks.jsonl " + mark_row(stamp, "proc", kind, **more)


def allow_many_files() -> None:
    """Raise the soft limit on open files to the hard one: two are kept open for each process."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
