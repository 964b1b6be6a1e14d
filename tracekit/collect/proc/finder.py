"""Finding the target's processes: a look at /proc once a second, or once at the start.

A process that does not match is looked at again while it is young, for fork comes before exec; where the
kernel tells of each exec, once more at the end of its youth is enough, for what gives itself another name.
Listing /proc is half of the cost of a tick with a hundred processes, so it is left out where nothing was
forked since.
"""

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import NamedTuple

from tracekit import units
from tracekit.collect import procfs
from tracekit.collect.proc.process import Process, open_process
from tracekit.collect.proc.target import Target

LOOK_MS = 1000  # between two looks
YOUNG_MS = 3000
LISTED_MS = 5000  # so often /proc is listed in any case: lxcfs, for one, tells the newest pid with a delay


class Found(NamedTuple):
    """A process that has come into sight."""

    process: Process
    ppid: int
    comm: str
    cmdline: str
    container: str | None


class Watch(NamedTuple):
    """What the sampler knows of a process that is looked at, and is told of it."""

    has_ended: Callable[[int, float, list[bytes]], bool]  # pid, birth in ms of boot time, fields of its stat
    passed_over: Callable[[int, list[bytes]], object]  # pid, fields


class Finder:
    """Looks for the target's processes; refresh: also after the first look that found any."""

    def __init__(
        self,
        target: Target,
        refresh: bool,
        watch: Watch,
        are_execs_told: bool,
        say: Callable[[str], None],
        root: str = procfs.PROC,
    ) -> None:
        """are_execs_told: look_at is told of each. say: one message for people, at most once each."""
        self._target = target
        self._refresh = refresh
        self._watch = watch
        self._clk_tck = os.sysconf("SC_CLK_TCK")
        self._are_execs_told = are_execs_told
        self._say = say
        self._root = root
        self._refused: dict[int, int] = {}  # pid: ms of boot time until which it is looked at again
        self._young_until_ms = 0  # the last of these
        self._is_settled = False
        self._settles_ms: int | None = None  # a container that has just started is still starting processes
        self._container_id: str | None = None
        self._inodes: dict[int, int] = {}  # of /proc/<pid>, at the last listing
        self._newest_pid = procfs.NewestPid(root)
        self._newest: bytes | None = None
        self._is_listed_twice = False
        self._list_at_ms = 0
        self.unreadable = 0

    def start_over(self) -> None:
        """All processes are gone: a container that comes back is found also without refresh."""
        if self._target.container:
            self._is_settled, self._settles_ms = False, None

    def ended(self) -> None:
        """A process in sight ended: its pid may be another's by now, with no newer pid than before."""
        self._list_at_ms = 0

    def look(self, known: Mapping[int, object], is_any_known: bool, mono_ms: int) -> Iterator[Found]:
        """The target's processes that are not known yet."""
        tasks = self._target.tasks
        tasks.look(mono_ms)
        is_done = self._is_settled and not self._refresh and not self._refused and not tasks
        if self._target.is_nothing or is_done:
            return
        if not self._target.find_container(is_any_known):
            return
        container = self._target.container
        if container and container.id != self._container_id:
            self._container_id = container.id
            self._refused.clear()  # what was not in the one may be in the other
            self._list_at_ms = 0
        listed: Mapping[int, int] = {}
        if (self._refresh or tasks or not self._is_settled) and self._may_be_new(mono_ms):
            listed = self._list()
        by_name = self._refresh or not self._is_settled
        for pid in sorted(self._due(listed, known, mono_ms)):
            found = self._consider(pid, mono_ms, by_name)
            if found:
                born_ms = units.ticks_to_ms(found.process.starttime, self._clk_tck)
                settles_ms = min(born_ms, mono_ms) + YOUNG_MS
                self._settles_ms = min(self._settles_ms or settles_ms, settles_ms)
                yield found
        self._is_settled = not container or (self._settles_ms is not None and mono_ms >= self._settles_ms)
        if self._is_settled and not self._refresh and not tasks:
            self._refused = {pid: until for pid, until in self._refused.items() if until > mono_ms}

    def _due(self, listed: Mapping[int, int], known: Mapping[int, object], mono_ms: int) -> set[int]:
        """Who is to be looked at: those of the listed ones that are new, the young, and tasks.

        Most refused ones are old, and are passed over without a look at each."""
        due = listed.keys() - known.keys() - self._refused.keys()
        if mono_ms <= self._young_until_ms or self._target.tasks:
            due |= {pid for pid, until in self._refused.items() if self._is_due(pid, until, mono_ms)}
        return due - known.keys()

    def _is_due(self, pid: int, until_ms: int, mono_ms: int) -> bool:
        left_ms = until_ms - mono_ms
        is_young = left_ms >= 0 and not (self._are_execs_told and left_ms >= LOOK_MS)
        return is_young or pid in self._target.tasks

    def look_at(self, pids: Iterable[int], known: Mapping[int, object], mono_ms: int) -> Iterator[Found]:
        """The target's among the processes that have just started a program; without refresh, tasks only."""
        self._target.tasks.look(mono_ms)
        if self._refresh or self._target.tasks:
            for pid in pids:
                found = None if pid in known else self._consider(pid, mono_ms, self._refresh)
                if found:
                    yield found

    def has_refused(self, pid: int) -> bool:
        """Whether it was looked at, and is not the target's."""
        return pid in self._refused

    def _list(self) -> Mapping[int, int]:
        """Every process there is now; one that has the pid of a refused one that ended is not refused."""
        before, self._inodes = self._inodes, procfs.list_pids(self._root)
        self._refused = {
            pid: until
            for pid, until in self._refused.items()
            if pid in self._inodes and self._inodes[pid] == before.get(pid, self._inodes[pid])
        }
        return self._inodes

    def _may_be_new(self, mono_ms: int) -> bool:
        """Whether /proc must be listed: something was forked since it was, or that cannot be told."""
        newest = self._newest_pid.read()
        is_same = newest is not None and newest == self._newest
        if is_same and self._is_listed_twice and mono_ms < self._list_at_ms:
            return False
        self._is_listed_twice = is_same  # a process has its pid some time before it stands under /proc
        self._newest, self._list_at_ms = newest, mono_ms + LISTED_MS
        return True

    def _consider(self, pid: int, mono_ms: int, by_name: bool) -> Found | None:
        try:
            stat = procfs.read_stat(pid, self._root)
            starttime, ppid = int(stat.fields[procfs.STARTTIME]), int(stat.fields[procfs.PPID])
            born_ms = units.ticks_to_ms(starttime, self._clk_tck)
            if self._watch.has_ended(pid, born_ms, stat.fields):
                return None
            cmdline = procfs.read_cmdline(pid, self._root)
            may_match = by_name or pid in self._refused
            is_meant = may_match and self._target.takes(pid, stat.comm, cmdline)
            if not is_meant and not self._target.tasks.holds(pid, ppid):
                if pid not in self._refused:
                    self._watch.passed_over(pid, stat.fields)
                until_ms = self._refused.setdefault(pid, min(born_ms, mono_ms) + YOUNG_MS if may_match else 0)
                self._young_until_ms = max(self._young_until_ms, until_ms)
                return None
            if self._target.is_ours(pid, ppid):
                if pid not in self._refused:
                    self._watch.passed_over(pid, stat.fields)
                self._refused[pid] = 0
                if self._target.matches(stat.comm, ""):  # make's own command line holds the pattern itself
                    self._say("the collector's own processes match PROC_MATCH too; they are left out")
                return None
            process = open_process(pid, starttime, self._root)
        except (FileNotFoundError, ProcessLookupError):
            return None  # it ended between the listing and here
        except PermissionError:
            self.unreadable += 1
            self._refused[pid] = 0
            self._say("some processes may not be read by this user; `ticks` marks count them")
            return None
        self._refused.pop(pid, None)
        if process.descriptors is None:
            self._say("no more open files: further processes are opened anew at each tick")
        return Found(process, ppid, stat.comm, cmdline, self._container_id)
