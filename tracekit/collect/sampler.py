"""The process sampler: CPU ticks and resident memory of the target's processes at each grid point.

For each process /proc/<pid>/stat and statm stay open and are read with pread: that costs a quarter of
opening them anew, and a descriptor stays bound to its process, so a reused pid cannot mix two. RSS
comes from statm (field 24 of stat lags behind by up to a batch of pages for each CPU).

Lines on the output, a tick at a time: the rows of proc_metrics.jsonl, "@file {...}" for the inventory
and marks, and an empty line that says the tick is done.
"""

import os
import resource
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from tracekit import jsonl, units
from tracekit.collect import clock, procfs
from tracekit.collect.clock import STEP_MS, Stamp
from tracekit.collect.target import Target

SCAN_MS = 1000
YOUNG_MS = 3000  # a process is matched again while it is this young: fork comes before exec
SUMMARY_MS = 60_000


@dataclass
class Process:
    """One process in sight. descriptors are None where there were none left: it is opened each tick."""

    pid: int
    starttime: int
    path: str
    descriptors: tuple[int, int] | None
    head: bytes  # the constant parts of its row
    tail: bytes

    def close(self) -> None:
        """Let go of the descriptors."""
        for descriptor in self.descriptors or ():
            os.close(descriptor)

    def read(self) -> tuple[bytes, bytes]:
        """(stat, statm) now. Raises OSError where the process is gone."""
        if self.descriptors:
            return os.pread(self.descriptors[0], 1024, 0), os.pread(self.descriptors[1], 256, 0)
        stat = procfs.read(self.pid, "stat", self.path)
        if int(procfs.parse_stat(stat).fields[procfs.STARTTIME]) != self.starttime:
            raise ProcessLookupError(self.pid)
        return stat, procfs.read(self.pid, "statm", self.path)


class Sampler:
    """Finds, reads and follows the target's processes; write takes the lines of each tick."""

    def __init__(
        self,
        target: Target,
        interval_ms: int,
        refresh: bool,
        is_ours: Callable[[int, int], bool],
        write: Callable[[bytes], object],
        say: Callable[[str], None],
        root: str = procfs.PROC,
    ) -> None:
        """is_ours(pid, ppid): a process never sampled; say: one message for people; root: where /proc is."""
        self._target = target
        self._interval_ms = interval_ms
        self._refresh = refresh
        self._is_ours = is_ours
        self._write = write
        self._say = say
        self._root = root
        self._page_kb = units.pages_to_kb(1, os.sysconf("SC_PAGE_SIZE"))
        self._clk_tck = os.sysconf("SC_CLK_TCK")
        self._processes: dict[int, Process] = {}
        self._refused: dict[int, int] = {}  # pid: mono ms until which it is looked at again
        self._said: set[str] = set()
        self._next_scan_ms = 0
        self._scanned_once = False
        self._last: Stamp | None = None
        self._summary_from: Stamp | None = None
        self._ticks = 0
        self._rows = 0
        self._unreadable = 0

    # --- ticks

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
        if stamp.mono_ms >= self._next_scan_ms and not self._target.is_nothing:
            known = set(self._processes)
            lines += self._scan(stamp)
            new = [process for pid, process in self._processes.items() if pid not in known]
            lines += self._sample(clock.now(), new)
            self._next_scan_ms = stamp.mono_ms + SCAN_MS - STEP_MS  # ticks come a little early or late
        self._ticks += 1
        self._last = stamp
        self._summary_from = self._summary_from or stamp
        if stamp.mono_ms - self._summary_from.mono_ms >= SUMMARY_MS:
            lines += self._summary(stamp)
        lines.append(b"\n")
        self._write(b"".join(lines))

    def _sample(self, stamp: Stamp, processes: list[Process]) -> Iterator[bytes]:
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
        if not self._processes and self._target.container:
            self._scanned_once = False  # a restarted container is found again, also without PROC_REFRESH
        return self._inventory(stamp, "end", process.pid, process.starttime)

    def _discontinuities(self, stamp: Stamp) -> Iterator[bytes]:
        """Marks for ticks that did not come, and for a step of the wall clock."""
        before = self._last
        if before is None:
            return
        step_ms = stamp.offset_ms - before.offset_ms
        if abs(step_ms) > STEP_MS:
            yield from self._summary(before)  # so that no summary spans the step
            self._summary_from = stamp
            detail = f"the wall clock was stepped by {step_ms / 1000:+.3f} s"
            yield self._mark(stamp, "clock_step", before, stamp, detail=detail, step_ms=step_ms)
        late_ms = stamp.mono_ms - before.mono_ms - self._interval_ms
        if late_ms >= self._interval_ms and abs(step_ms) <= STEP_MS:
            yield self._mark(stamp, "missed", before, stamp, "late", f"{late_ms} ms late")

    def _summary(self, stamp: Stamp | None) -> Iterator[bytes]:
        if stamp is None or self._summary_from is None:
            return
        reason = f"unreadable: {self._unreadable}" if self._unreadable else None
        yield self._mark(stamp, "ticks", self._summary_from, stamp, reason, ticks=self._ticks, rows=self._rows)
        self._summary_from, self._ticks, self._rows = stamp, 0, 0

    # --- discovery

    def _scan(self, stamp: Stamp) -> Iterator[bytes]:
        """Take in the target's processes that are not in sight yet."""
        if self._scanned_once and not self._refresh and not self._refused:
            return
        if not self._processes and not self._target.find_container():
            self._say_once(f"container {self._target.container} is not there; looking for it each second")
            return
        present = procfs.list_pids(self._root)
        candidates = present - self._processes.keys()
        if self._scanned_once and not self._refresh:
            candidates &= self._refused.keys()
        self._refused = {pid: until for pid, until in self._refused.items() if pid in present}
        for pid in sorted(candidates):
            until = self._refused.get(pid, stamp.mono_ms)
            if stamp.mono_ms <= until:
                yield from self._consider(pid, stamp)
        if not self._refresh:
            self._refused = {pid: until for pid, until in self._refused.items() if until > stamp.mono_ms}
        self._scanned_once = bool(self._processes) or not self._target.container

    def _consider(self, pid: int, stamp: Stamp) -> Iterator[bytes]:
        try:
            stat = procfs.read_stat(pid, self._root)
            cmdline = procfs.read_cmdline(pid, self._root)
            starttime = int(stat.fields[procfs.STARTTIME])
            ppid = int(stat.fields[procfs.PPID])
            if not self._target.takes(pid, stat.comm, cmdline):
                born_ms = units.ticks_to_ms(starttime, self._clk_tck)
                self._refused.setdefault(pid, min(born_ms, stamp.mono_ms) + YOUNG_MS)
                return
            if self._is_ours(pid, ppid):
                self._refused[pid] = 0
                self._say_once("the collector's own processes match PROC_MATCH too; they are left out")
                return
            process = self._open(pid, starttime)
        except (FileNotFoundError, ProcessLookupError):
            return  # it ended between the listing and here
        except PermissionError:
            self._unreadable += 1
            self._refused[pid] = 0
            self._say_once("some processes may not be read by this user; `ticks` marks count them")
            return
        self._processes[pid] = process
        self._refused.pop(pid, None)
        container = self._target.container_id
        yield self._inventory(
            stamp, "seen", pid, starttime, ppid=ppid, comm=stat.comm, cmdline=cmdline, container=container
        )

    def _open(self, pid: int, starttime: int) -> Process:
        head, tail = b',"pid":%d,"rss_kb":' % pid, b',"starttime":%d}\n' % starttime
        process = Process(pid, starttime, self._root, None, head, tail)
        opened: list[int] = []
        try:
            for name in ("stat", "statm"):
                opened.append(os.open(f"{self._root}/{pid}/{name}", os.O_RDONLY | os.O_CLOEXEC))
        except OSError as error:
            for descriptor in opened:
                os.close(descriptor)
            if isinstance(error, (FileNotFoundError, ProcessLookupError, PermissionError)):
                raise
            self._say_once(f"no more open files ({error.strerror}): the rest are opened at each tick")
            return process
        process.descriptors = (opened[0], opened[1])
        if int(procfs.parse_stat(os.pread(opened[0], 1024, 0)).fields[procfs.STARTTIME]) != starttime:
            process.close()
            raise ProcessLookupError(pid)  # another process took the pid between the two readings
        return process

    # --- lines

    def _say_once(self, message: str) -> None:
        if message not in self._said:
            self._said.add(message)
            self._say(message)

    def _inventory(self, stamp: Stamp, event: str, pid: int, starttime: int, **known: object) -> bytes:
        row = {"ts_ms": stamp.ts_ms, "event": event, "pid": pid, "starttime": starttime, **known}
        return b"@proc_inventory.jsonl " + jsonl.encode(row)

    def _mark(
        self,
        stamp: Stamp,
        kind: str,
        since: Stamp,
        until: Stamp,
        reason: str | None = None,
        detail: str | None = None,
        **numbers: int,
    ) -> bytes:
        row: dict[str, Any] = {
            "ts_ms": stamp.ts_ms,
            "mono_ms": stamp.mono_ms,
            "collector": "proc",
            "kind": kind,
            "from_ms": since.ts_ms,
            "to_ms": until.ts_ms,
            "reason": reason,
            "detail": detail,
            **numbers,
        }
        return b"@marks.jsonl " + jsonl.encode(row)


def allow_many_files() -> None:
    """Raise the soft limit on open files to the hard one: two are kept open for each process."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
