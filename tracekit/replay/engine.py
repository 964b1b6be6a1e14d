"""The event loop: requests come, wait for a slot and a core, run, wait elsewhere, call the next hop, and end.

One heap of events; arrivals are drawn one by one from an iterator in the order of their times, so nothing
is held but what is in the system. Equal times: in the order in which they were planned.
"""

from collections import deque
from collections.abc import Callable, Iterable
from heapq import heappop, heappush
from typing import Any, Protocol

from tracekit.records import Invocation
from tracekit.replay.model import PS, Model, Visit
from tracekit.replay.network import Network
from tracekit.replay.stations import Cores, FifoCores, SharedCores


class Log(Protocol):
    """Who is told: of each request that comes to a node, and of its end there."""

    def entered(self, visit: Visit) -> None:
        """visit.enqueue is now."""

    def ended(self, visit: Visit) -> None:
        """visit.end is now; start, used and all are final."""


class Call:
    """A call of a stage: to another visit, or (target None) for delay ns to what is not in the trace."""

    __slots__ = ("back", "delay", "out", "target")

    def __init__(self, target: Any, out: int = 0, back: int = 0, delay: int = 0) -> None:
        """target: what plan makes a visit of; out, back: bytes there and back."""
        self.target, self.out, self.back, self.delay = target, out, back, delay


class _Node:
    """A station and its slots."""

    __slots__ = ("cores", "free", "waiting")

    def __init__(self, cores: Cores, slots: int | None) -> None:
        self.cores, self.free = cores, slots
        self.waiting: deque[Visit] = deque()


class Engine:
    """One simulation. plan(call, parent) makes the visit that a call leads to, when it is made."""

    def __init__(
        self, model: Model, network: Network, plan: Callable[[Call, Visit | None], Visit], log: Log
    ) -> None:
        self._events: list[tuple[int, int, Callable[[int, Any], None], Any]] = []
        self._planned = 0
        kind = SharedCores if model.policy == PS else FifoCores
        self.nodes = {
            name: _Node(kind(node, self._at, self._worked), node.slots) for name, node in model.nodes.items()
        }
        self._network, self._plan, self._log = network, plan, log

    def run(self, arrivals: Iterable[tuple[int, Call]]) -> None:
        """All arrivals (time in ns, never decreasing) to their ends."""
        events = self._events
        for time, call in arrivals:
            while events and events[0][0] <= time:
                at, _, act, what = heappop(events)
                act(at, what)
            self._enter(time, self._plan(call, None))
        while events:
            at, _, act, what = heappop(events)
            act(at, what)

    def _at(self, time: int, act: Callable[[int, Any], None], what: Any) -> None:
        self._planned += 1
        heappush(self._events, (time, self._planned, act, what))

    def _enter(self, now: int, visit: Visit) -> None:
        visit.enqueue = now
        self._log.entered(visit)
        node = visit.station = self.nodes[visit.node] if isinstance(visit.told, Invocation) else None
        if node is not None and node.free is not None:
            if not node.free:
                node.waiting.append(visit)
                return
            node.free -= 1
        self._serve(now, visit)

    def _serve(self, now: int, visit: Visit) -> None:
        """The part of its own that comes next."""
        work = visit.work[visit.stage]
        if work:
            visit.station.cores.submit(now, visit, work)
        else:
            if visit.start < 0:
                visit.start = now
            self._worked(now, visit)

    def _worked(self, now: int, visit: Visit) -> None:
        delay = visit.delays[visit.stage]
        if delay:
            self._at(now + delay, self._go_on, visit)
        else:
            self._go_on(now, visit)

    def _go_on(self, now: int, visit: Visit) -> None:
        """Its part is done: make the calls that follow it, or end."""
        if visit.stage == len(visit.stages):
            self._end(now, visit)
            return
        calls = visit.stages[visit.stage]
        visit.pending = len(calls)
        for call in calls:
            if call.target is None:
                self._at(now + call.delay, self._returned, visit)
                continue
            child = self._plan(call, visit)
            arrival = self._network.deliver(now, visit.node, child.node, call.out)
            self._at(arrival, self._enter, child)

    def _end(self, now: int, visit: Visit) -> None:
        visit.end = now
        self._log.ended(visit)
        if visit.parent is not None:
            back = self._network.deliver(now, visit.node, visit.parent.node, visit.call.back)
            self._at(back, self._returned, visit.parent)
        node = visit.station
        if node is not None and node.free is not None:
            if node.waiting:
                self._at(now, self._serve, node.waiting.popleft())
            else:
                node.free += 1

    def _returned(self, now: int, visit: Visit) -> None:
        visit.pending -= 1
        if not visit.pending:
            visit.stage += 1
            self._serve(now, visit)
