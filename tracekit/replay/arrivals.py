"""Requests in the order of their arrival, each with the calls that it made: one pass over the data set.

Who calls whom is told by parent_id: a request of the load generator (events_client) leads to the invocation
that has its span as parent, a call (calls) too, and an invocation without either may itself be the parent.
Records are held from when they are read until WINDOW_MS after the end of the one that came first: what was
in the system, and the time by which the clocks of nodes may differ.
"""

import heapq
from collections import deque
from collections.abc import Iterator
from typing import Any

from tracekit.dataset import Dataset
from tracekit.records import ClientEvent, Invocation
from tracekit.replay.model import Count

WINDOW_MS = 2000
_FILES = ("events_client.jsonl", "calls.jsonl", "invocations.jsonl")


class Held:
    """One record in the window, with its parent and its children, as far as these are known."""

    __slots__ = ("children", "is_gone", "is_taken", "over_ms", "parent", "told")

    def __init__(self, told: Any) -> None:
        """told: an Invocation, a Call or a ClientEvent with a ts_enqueue."""
        self.told = told
        self.parent: Held | None = None
        self.children: list[Held] = []
        self.is_taken = False  # part of a request that was handed out
        self.is_gone = False  # out of the window
        self.over_ms = max(told.ts_enqueue, told.ts_end or 0) + WINDOW_MS  # nothing of it follows later


class Window:
    """Records of the last moments, tied to each other by their spans."""

    def __init__(self, count: Count) -> None:
        self._queue: deque[Held] = deque()
        self._spans: dict[str, Held] = {}
        self._orphans: dict[str, list[Held]] = {}  # by the span that they wait for
        self._count = count

    def add(self, told: Any) -> Iterator[Held]:
        """Take one more record; gives the requests that are whole by then."""
        while self._queue and self._queue[0].over_ms < told.ts_enqueue:
            yield from self._release(self._queue.popleft())
        held = Held(told)
        self._queue.append(held)
        if told.span_id and self._spans.setdefault(told.span_id, held) is held:
            for child in self._orphans.pop(told.span_id, ()):
                self._tie(held, child)
        if not isinstance(told, ClientEvent) and told.parent_id:
            parent = self._spans.get(told.parent_id)
            if parent is not None:
                self._tie(parent, held)
            else:
                self._orphans.setdefault(told.parent_id, []).append(held)

    def rest(self) -> Iterator[Held]:
        """The requests that are left when all is read."""
        while self._queue:
            yield from self._release(self._queue.popleft())

    def _tie(self, parent: Held, child: Held) -> None:
        child.parent = parent
        parent.children.append(child)

    def _release(self, held: Held) -> Iterator[Held]:
        """The oldest leaves: within a request that went before, for a parent still to go, or as a request."""
        held.is_gone = True
        if held.is_taken or (held.parent is not None and not held.parent.is_gone):
            return
        self._forget_orphan(held)
        self._take(held)
        if held.children or isinstance(held.told, Invocation):
            yield held
        else:
            self._count.unserved += 1

    def _forget_orphan(self, held: Held) -> None:
        """Nobody shall adopt it any more."""
        if held.parent is None and not isinstance(held.told, ClientEvent) and held.told.parent_id:
            waiting = self._orphans[held.told.parent_id]
            waiting.remove(held)
            if not waiting:
                del self._orphans[held.told.parent_id]

    def _take(self, root: Held) -> None:
        """Mark the request; a circle of parents is cut, and what comes later is on its own."""
        root.is_taken = True
        found = [root]
        for held in found:
            if self._spans.get(held.told.span_id or "") is held:
                del self._spans[held.told.span_id]
            held.children = [child for child in held.children if not child.is_taken]
            for child in held.children:
                child.is_taken = True
            found += held.children


def read_requests(dataset: Dataset, count: Count) -> Iterator[Held]:
    """What came from outside, in the order of ts_enqueue, each with all that it led to.

    A request of the load generator that nobody served, and a record without ts_enqueue, are counted and
    left out."""
    files = (dataset.read(name) for name in _FILES)
    window = Window(count)
    # Of records of one ms those that lead to others come first; null comes last, as in the files.
    for told in heapq.merge(*files, key=lambda told: (told.ts_enqueue is None, told.ts_enqueue or 0)):
        count.read += isinstance(told, Invocation)
        if told.ts_enqueue is None:
            count.no_arrival += isinstance(told, Invocation)
        else:
            yield from window.add(told)
    yield from window.rest()
