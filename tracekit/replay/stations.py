"""The cores of a node: FIFO (each runs one request to its end) or processor sharing (all run at once).

Times are whole ns; work is CPU ns as recorded, which a core of speed 1 does in that time. A station asks to
be called at a time by at(time, act, what), as act(time, what), and gives each request back by done(time,
visit).
"""

from collections import defaultdict, deque
from collections.abc import Callable
from heapq import heappop, heappush
from math import ceil
from typing import Any, Protocol

from tracekit.replay.model import NodeModel, Visit, ns

SECOND = 1_000_000_000
At = Callable[[int, Callable[[int, Any], None], Any], None]
Done = Callable[[int, Visit], None]


class Busy:
    """Core time in use, ns, by second of the simulated clock and in all."""

    def __init__(self) -> None:
        self.by_second: defaultdict[int, float] = defaultdict(float)
        self.total: float = 0

    def add(self, begin: int, end: int, cores: float = 1) -> None:
        """cores were in use from begin to end."""
        self.total += (end - begin) * cores
        first, last = begin // SECOND, end // SECOND
        if first == last:
            self.by_second[first] += (end - begin) * cores
            return
        for second in range(first, last + 1):
            within = min(end, (second + 1) * SECOND) - max(begin, second * SECOND)
            self.by_second[second] += within * cores


class Cores(Protocol):
    """What the engine needs of a station. found_idle: times that work came to idle cores."""

    busy: Busy
    found_idle: int

    def submit(self, now: int, visit: Visit, work: int) -> None:
        """visit wants so much work done."""


class FifoCores:
    """c cores, one queue: whoever came first runs first, to the end of its work."""

    def __init__(self, node: NodeModel, at: At, done: Done) -> None:
        self.busy, self.found_idle = Busy(), 0
        self._count = self._free = int(node.cores)
        self._first, self._speed = ns(node.first_cpu_ms), node.speed
        self._waiting: deque[tuple[Visit, int]] = deque()
        self._at, self._done = at, done

    def submit(self, now: int, visit: Visit, work: int) -> None:
        """Run it now where a core is free, else in its turn."""
        if not self._free:
            self._waiting.append((visit, work))
            return
        if self._free == self._count:
            self.found_idle += 1
            work += self._first
        self._free -= 1
        self._run(now, visit, work)

    def _run(self, now: int, visit: Visit, work: int) -> None:
        if visit.start < 0:
            visit.start = now
        visit.used += work
        until = now + (work if self._speed == 1 else round(work / self._speed))
        self.busy.add(now, until)
        self._at(until, self._end, visit)

    def _end(self, now: int, visit: Visit) -> None:
        if self._waiting:
            self._run(now, *self._waiting.popleft())
        else:
            self._free += 1
        self._done(now, visit)


class SharedCores:
    """c cores, shared evenly: of n requests each advances at min(1, c/n) of a core.

    All advance alike, so one clock of work done tells who ends next: a request that came when it stood at v
    ends when it stands at v plus its work (virtual time, as in generalised processor sharing)."""

    def __init__(self, node: NodeModel, at: At, done: Done) -> None:
        self.busy, self.found_idle = Busy(), 0
        self._cores, self._speed, self._first = node.cores, node.speed, ns(node.first_cpu_ms)
        self._running: list[tuple[float, int, Visit]] = []
        self._clock, self._read_at = 0.0, 0
        self._turn = 0  # only the event that was planned last counts
        self._at, self._done = at, done

    def submit(self, now: int, visit: Visit, work: int) -> None:
        """Share the cores with it from now on."""
        self._advance(now)
        if not self._running:
            self._clock = 0.0
            self.found_idle += 1
            work += self._first
        visit.start = now if visit.start < 0 else visit.start
        visit.used += work
        heappush(self._running, (self._clock + work / self._speed, self._turn, visit))
        self._plan(now)

    def _advance(self, now: int) -> None:
        if self._running:
            self._clock += (now - self._read_at) * self._rate()
            self.busy.add(self._read_at, now, min(self._cores, len(self._running)))
        self._read_at = now

    def _rate(self) -> float:
        return min(1.0, self._cores / len(self._running))

    def _plan(self, now: int) -> None:
        self._turn += 1
        if self._running:
            left = max(self._running[0][0] - self._clock, 0.0)
            self._at(now + ceil(left / self._rate()), self._due, self._turn)

    def _due(self, now: int, turn: int) -> None:
        if turn != self._turn:
            return
        self._advance(now)
        ended = []
        while self._running and self._running[0][0] <= self._clock + 0.5:  # ns: floats are not exact
            ended.append(heappop(self._running)[2])
        self._plan(now + (not ended))
        for visit in ended:
            self._done(now, visit)
