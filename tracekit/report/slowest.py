"""The slowest traces of a run, told from any number of spans in memory for a few."""

import heapq

KEPT = 20


class Slowest:
    """The ids of the KEPT traces whose longest span is longest.

    A trace that is dropped was beaten by KEPT others, and comes back with a longer span of its own."""

    def __init__(self) -> None:
        self._longest: dict[str, float] = {}
        self._heap: list[tuple[float, str]] = []  # may hold shorter spans of kept traces too

    def add(self, trace_id: str | None, duration_ms: float) -> None:
        """Take one span; one without a trace cannot be followed."""
        if trace_id is None:
            return
        known = self._longest.get(trace_id)
        if known is not None:
            if duration_ms > known:
                self._longest[trace_id] = duration_ms
                heapq.heappush(self._heap, (duration_ms, trace_id))
            return
        if len(self._longest) == KEPT:
            self._settle()
            if duration_ms <= self._heap[0][0]:
                return
            del self._longest[heapq.heappop(self._heap)[1]]
        self._longest[trace_id] = duration_ms
        heapq.heappush(self._heap, (duration_ms, trace_id))

    def _settle(self) -> None:
        """Drop from the top what is no longer the longest span of its trace."""
        while self._longest.get(self._heap[0][1]) != self._heap[0][0]:
            heapq.heappop(self._heap)

    def ids(self) -> list[str]:
        """The slowest first; equal ones by id."""
        return [name for name, _ in sorted(self._longest.items(), key=lambda one: (-one[1], one[0]))]
