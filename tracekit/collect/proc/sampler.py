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
from tracekit.collect import clock, procfs
from tracekit.collect.clock import STEP_MS, Stamp
from tracekit.collect.proc import lines
from tracekit.collect.proc.children import Children
from tracekit.collect.proc.endings import Ending, Endings
from tracekit.collect.proc.events import EndTimes, ExecListener
from tracekit.collect.proc.finder import LOOK_MS, Finder, Found, Watch
from tracekit.collect.proc.lines import Output
from tracekit.collect.proc.process import Process
from tracekit.collect.proc.target import Target
from tracekit.collect.proc.taskstats import ExitListener, TaskExit
from tracekit.collect.proc.ticks import Ticks
from tracekit.collect.proc.usage import Usage


class Listeners(NamedTuple):
    """Where the kernel tells of processes that end, of programs that start, and of the moment of each end.

    None where it does not."""

    exits: ExitListener | None = None
    execs: ExecListener | None = None
    ends: EndTimes | None = None


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
        self._exits, self._execs, self._ends = listeners
        self._root = root
        self._clk_tck = os.sysconf("SC_CLK_TCK")
        self._refresh = refresh
        watch = Watch(self._has_ended, self._pass_over)
        self._finder = Finder(target, refresh, watch, self._execs is not None, output.say_once, root)
        self._endings = Endings(target, self._is_in_sight, refresh, root)
        self._began_ms = clock.now().mono_ms
        are_ends_told = self._exits is not None
        self._children = Children(
            self._clk_tck, self._is_in_sight, self._began_ms, are_ends_told, root, target.tasks
        )
        self._usage = Usage(self._clk_tck)
        self._page_kb = units.pages_to_kb(1, os.sysconf("SC_PAGE_SIZE"))
        self._processes: dict[int, Process] = {}
        self._wrappers: list[Ending] = []  # of tasks, that have ended
        self._next_look_ms = 0
        self._ticks = Ticks(interval_ms)
        self._rows = 0  # of this tick

    def leave_out(self, pids: Iterable[int]) -> None:
        """Processes that live now and are none of the target's, though a parent of theirs may launch some."""
        self._children.leave_out(pids)

    def run(self, wait: Callable[[float], str]) -> None:
        """Tick at each grid point of the wall clock.

        wait(seconds) returns "tick" when they are over (or none are left), "events" when a listener has
        something before, "end" when it is time to end."""
        allow_many_files()
        if self._target.is_nothing:
            self._output.say_once(
                "neither PROC_MATCH nor CONTAINER is given: only tasks of run_task are sampled"
            )
        if procfs.is_hiding():
            self._output.say_once(
                "/proc hides other users' processes (hidepid): only this user's are sampled"
            )
        self._target.find_container(is_any_sampled=False)  # an engine's answer may be there by the first tick
        if self._interval_ms > LOOK_MS:
            self._output.write(b"\n")  # alive: the start does not wait for a tick that may be an hour away
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
        self._rows = 0
        told = [*self._ticks.begin(stamp), *self._take_events(stamp), *self._sample_all(stamp)]
        if stamp.mono_ms >= self._next_look_ms:
            told += self._look(stamp)
            self._next_look_ms = stamp.mono_ms + LOOK_MS - STEP_MS  # ticks come a little early or late
        told += self._look_at_container(stamp)
        self._ticks.unreadable = self._finder.unreadable
        told += [*self._ticks.end(stamp, self._rows), b"\n"]
        self._output.write(b"".join(told))

    def _last_words(self, stamp: Stamp) -> Iterator[bytes]:
        """All that is known now, but no row: the end is on no grid point."""
        yield from self._take_events(stamp)
        yield from (line for line in self._sample_all(stamp) if line.startswith(b"@"))
        yield from self._container_remainder(stamp)
        yield from self._ticks.summary()
        if self._target.container:
            yield from self._target.container.end(stamp, self._output.say_once)

    def _look(self, stamp: Stamp) -> Iterator[bytes]:
        found = self._finder.look(self._processes, bool(self._processes), stamp.mono_ms)
        yield from self._add(list(found), stamp)

    def _add(self, new: list[Found], stamp: Stamp) -> Iterator[bytes]:
        if not new:
            return
        for found in new:
            self._processes[found.process.pid] = found.process
            self._note_dead_threads(found.process)
            yield lines.seen(stamp, found)
        yield from self._sample(clock.now(), [found.process for found in new])
        for found in new:
            self._children.came(found.process, stamp.mono_ms)

    def _sample_all(self, stamp: Stamp) -> Iterator[bytes]:
        """Rows of the processes in sight, and a mark of the CPU that their children used and no row holds."""
        self._target.tasks.look(stamp.mono_ms)
        ended = self._target.tasks.take_ended()  # before the processes are read: then these are gone
        wrappers, self._wrappers = self._wrappers, []  # each told its task's end before its own
        self._children.read_launchers(stamp.mono_ms)
        yield from self._sample(stamp, list(self._processes.values()))
        yield from self._take_exits(stamp)  # of the children that the accounts held by now
        for task in ended:
            self._children.task_ended(task.wrapper, (task.cpu_us or 0) / 1000)
            if task.is_lost:
                yield lines.mark(stamp, "record_lost", reason="run_task", detail=f"pid {task.pid}")
        for wrapper in wrappers:
            self._children.another_ended(wrapper.pid, wrapper.ppid, wrapper.cpu_ms, stamp.mono_ms)
        cpu_ms = self._children.settle(stamp.mono_ms)
        if self._container_usage_ms() is None:
            yield from self._unattributed(stamp, cpu_ms, "children")

    def _look_at_container(self, stamp: Stamp) -> Iterator[bytes]:
        if self._target.container:
            yield from self._target.container.look(stamp, bool(self._processes), self._output.say_once)
            yield from self._container_remainder(stamp)

    def _container_remainder(self, stamp: Stamp) -> Iterator[bytes]:
        """A mark of the CPU that the container's cgroup counted and no row holds."""
        container, usage_ms = self._target.container, self._container_usage_ms()
        if container and usage_ms is not None:
            yield from self._take_exits(stamp)
            cpu_ms = self._usage.settle(container.number, usage_ms, self._processes.values())
            yield from self._unattributed(stamp, cpu_ms, "cgroup")

    def _container_usage_ms(self) -> float | None:
        """CPU of all of the container; None where not all of it is meant, or nobody tells."""
        if self._target.container is None or self._target.has_pattern:
            return None
        usage_us = self._target.container.usage_us()
        return usage_us / 1000 if usage_us is not None else None

    def _unattributed(self, stamp: Stamp, cpu_ms: float, reason: str) -> Iterator[bytes]:
        since = self._ticks.last
        if cpu_ms and since:
            span = {"from_ms": since.ts_ms, "to_ms": stamp.ts_ms, "dt_ms": stamp.mono_ms - since.mono_ms}
            yield lines.mark(stamp, "unattributed", **span, reason=reason, cpu_ms=round(cpu_ms, 3))

    def _sample(self, stamp: Stamp, processes: Iterable[Process]) -> Iterator[bytes]:
        when = b'{"ts_ms":%d' % stamp.ts_ms
        page_kb, utime, stime = self._page_kb, procfs.UTIME, procfs.STIME
        cutime, cstime = procfs.CUTIME, procfs.CSTIME
        gone: list[Process] = []
        for process in processes:
            try:
                stat, statm = process.read()
            except OSError:
                gone.append(process)
                continue
            before, fields = process.fields, stat[stat.rindex(b")") + 2 :].split(b" ", 15)
            process.fields = fields
            if fields[cstime] != before[cstime] or fields[cutime] != before[cutime]:
                self._children.changed(process)
            rss_kb = int(statm.split(b" ", 2)[1]) * page_kb
            yield b'%b%b%d,"utime":%b,"stime":%b%b' % (
                when, process.head, rss_kb, fields[utime], fields[stime], process.tail
            )  # fmt: skip
            self._rows += 1
        if gone:
            yield from self._take_exits(stamp)  # the record comes before the process is gone
            for process in gone:
                if self._processes.get(process.pid) is process:
                    self._forget(process)
                    self._end(process.pid, int(process.fields[procfs.PPID]), self._sampled_ms(process), stamp)
                    yield lines.ended(stamp, process.pid, process.starttime)

    def _end(self, pid: int, parent: int, cpu_ms: float, stamp: Stamp) -> None:
        """A process of the target's ended; rows hold cpu_ms of its life."""
        self._children.ended(pid, parent, cpu_ms, stamp.mono_ms)
        self._target.tasks.left(pid, stamp.mono_ms)
        self._usage.ended(cpu_ms)

    def _forget(self, process: Process) -> None:
        del self._processes[process.pid]
        process.close()
        self._finder.ended()
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
                dead_ms = procfs.dead_threads_ms(process.pid, self._clk_tck, self._root)
                process.dead_ms = max(dead_ms - self._endings.pending_ms(process.pid), 0.0)

    def _take_events(self, stamp: Stamp) -> Iterator[bytes]:
        """What has started since the last time, then what has ended."""
        started = self._execs.read() if self._execs and not self._execs.is_empty() else set()
        if started:
            found = self._finder.look_at(started, self._processes, stamp.mono_ms)
            yield from self._add(list(found), stamp)
        yield from self._take_exits(stamp)

    def _may_be_meant(self, ending: Ending, stamp: Stamp) -> bool:
        """Whether it is a launcher's child whose command line nobody has read while it lived."""
        if not self._refresh or self._finder.has_refused(ending.pid):
            return False
        return self._children.may_have_ended(ending.pid, ending.ppid, stamp.mono_ms)

    def _has_ended(self, pid: int, born_ms: float, fields: list[bytes]) -> bool:
        """Whether its end has been told, though it is still being torn down or nobody has waited for it."""
        if self._exits is None:
            return False
        return procfs.is_dead(fields) or self._endings.has_ended(pid, born_ms)

    def _pass_over(self, pid: int, fields: list[bytes]) -> None:
        self._children.pass_over(pid, fields)
        if self._exits is None and self._target.is_ours(pid, int(fields[procfs.PPID])):
            self._children.leave_out([pid])  # nobody else tells of its end

    def _take_exits(self, stamp: Stamp) -> Iterator[bytes]:
        """The endings of the target's processes since the last time."""
        if self._exits is None or self._exits.is_empty():
            return
        tasks: list[TaskExit] = []
        self._endings.start_batch(stamp.mono_ms)
        try:
            for task in self._exits.read():
                tasks.append(task)  # one by one: those before an error count
        except OSError as error:  # ENOBUFS: the kernel dropped some
            self._endings.forget()
            yield lines.mark(stamp, "exits_lost", reason=str(error.strerror))
        times = self._ends.read() if self._ends and tasks else {}
        endings = [self._endings.add(task, times.get(task.tgid, stamp.mono_ms)) for task in tasks]
        if tasks:
            self._target.tasks.look(stamp.mono_ms)  # a task is told before it starts
        for ending in filter(None, endings):  # all are known by now: one may be the parent of the one before
            yield from self._take_ending(stamp, ending)

    def _take_ending(self, stamp: Stamp, ending: Ending) -> Iterator[bytes]:
        process = self._processes.get(ending.pid)
        if process:
            self._forget(process)
            starttime, dead_ms, known = process.starttime, process.dead_ms, {}
        elif self._endings.belongs(ending):
            told = self._target.tasks.starttime(ending.pid)
            began = max(ending.ended_ms - ending.elapsed_ms, 0) * self._clk_tck // 1000
            starttime = began if told is None else told
            dead_ms, known = 0.0, {"ppid": ending.ppid, "comm": ending.comm}
        else:
            if self._target.tasks.is_wrapper(ending.pid):
                self._wrappers.append(ending)
            elif not self._may_be_meant(ending, stamp):
                self._children.another_ended(ending.pid, ending.ppid, ending.cpu_ms, stamp.mono_ms)
            return
        self._end(ending.pid, ending.ppid, ending.cpu_ms + dead_ms, stamp)
        when = Stamp(ending.ended_ms + stamp.offset_ms, ending.ended_ms)
        yield lines.ended(when, ending.pid, starttime, **known, **ending.known(dead_ms, self._clk_tck))


def allow_many_files() -> None:
    """Raise the soft limit on open files to the hard one: two are kept open for each process."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
