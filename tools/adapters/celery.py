#!/usr/bin/env python3
# Summary: events of Celery, a JSON object a line: one invocation for each try of a task.
# Usage: tools/adapters/celery.py [--run-id RUN] events.jsonl
#        make adapt SOURCE=celery IN=events.jsonl RUN_ID=run1   (docs/adapters.md: how to record them)
# In:  {"type":"task-started","uuid":"3ec5...","timestamp":1767225601.205,"hostname":"w1@vm1","pid":42}
# Out: {"ts_enqueue":...,"ts_start":1767225601205,...,"attempt":1,"task_id":"3ec5..."}
# Source: Celery, docs/userguide/monitoring.rst, "Event Reference".
"""A try is queued when it was sent (else received), and runs from started to its final event.

Events come in any order. status is 0 where the try succeeded and 1 where it failed or asked for another one.
A hard time limit gives two failures, of which the first counts. A task that never started is left out, and so
is one without an end. Where the final event tells the run time, a try began no later than that before it:
the worker may write of a start some ms after it. The CPU is not known.
"""

import sys
from argparse import Namespace
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tracekit import cli, cli_adapt
from tracekit.adapt import times
from tracekit.adapt.account import NotTakenError, SkippedError
from tracekit.adapt.adapter import Adapter
from tracekit.adapt.ids import hashed, padded
from tracekit.adapt.sink import Sink
from tracekit.adapt.values import json_object
from tracekit.settings import NAME

_FINAL = {"task-succeeded": 0, "task-failed": 1, "task-retried": 1, "task-revoked": None, "task-rejected": 1}
_KNOWN = {"task-sent", "task-received", "task-started", *_FINAL}


class Event(NamedTuple):
    """us: when."""

    us: int
    kind: str
    told: dict[str, Any]


class Celery(Adapter):
    """Collects the events of each task; its tries are told when all are read."""

    def __init__(self, options: Namespace, sink: Sink) -> None:
        super().__init__(options, sink)
        self._tasks: dict[str, list[Event]] = {}

    def line(self, line: bytes) -> None:
        told = json_object(line)
        kind, uuid, stamp = told.get("type"), told.get("uuid"), told.get("timestamp")
        if isinstance(kind, str) and kind.startswith("worker-"):
            raise SkippedError("worker events", "no task")
        if kind not in _KNOWN or not isinstance(uuid, str):
            raise NotTakenError("event", f"type {kind!a} is no event of a task")
        if not isinstance(stamp, (int, float)):
            raise NotTakenError("time", "the event has no timestamp")
        event = Event(times.check_us(round(stamp * 1_000_000)), str(kind), told)
        self._tasks.setdefault(uuid, []).append(event)

    def finish(self) -> None:
        for uuid in sorted(self._tasks):
            events = sorted(self._tasks[uuid], key=lambda event: event.us)
            starts = [event for event in events if event.kind == "task-started"]
            if not starts:
                self.sink.account.skipped["tasks that never started"] += 1
            for number, start in enumerate(starts):
                until = starts[number + 1].us if number + 1 < len(starts) else None
                take = partial(self._add, uuid, number, start, until, events)
                self.sink.attempt("task", number + 1, uuid.encode(), take)

    def _add(self, uuid: str, number: int, start: Event, until: int | None, events: list[Event]) -> None:
        self.sink.add(**_try(uuid, number, start, until, events))


def _try(uuid: str, number: int, start: Event, until: int | None, events: list[Event]) -> dict[str, Any]:
    """One try: of the events before the next one's start."""
    ends = [
        one
        for one in events
        if one.kind in _FINAL and start.us <= one.us and (until is None or one.us <= until)
    ]
    if not ends:
        raise SkippedError("tries without an end", uuid)
    end = ends[0]
    queued = _queued(number, start, events)
    known: dict[str, Any] = {}
    for event in events:
        known = {**known, **{key: value for key, value in event.told.items() if value is not None}}
    worker = str(start.told.get("hostname") or "")
    node = worker.rpartition("@")[2]
    root, parent = known.get("root_id"), known.get("parent_id")
    trace = str(root or uuid).replace("-", "")
    return {
        "trace_id": padded(trace, 32) or hashed(uuid, digits=32),
        "span_id": _span(uuid, number),
        "parent_id": _span(str(parent), 0) if parent and parent != uuid else None,
        **times.spans(_began_us(start, end, queued), end.us, queued.us if queued else None),
        **({"node": node} if NAME.fullmatch(node) else {}),
        "module_id": known.get("name"),
        "instance_id": worker or None,
        "status": _FINAL[end.kind],
        "signal": _signal(end.told.get("signum")),
        "attempt": number + 1,
        "task_id": uuid,
        "queue_source": queued.kind if queued else None,
    }


def _began_us(start: Event, end: Event, queued: Event | None) -> int:
    """When the try began, in us: the event tells a latest time for that, and so does the run time."""
    runtime = end.told.get("runtime")
    took_us = round(runtime * 1_000_000) if isinstance(runtime, (int, float)) else 0
    return max(min(start.us, end.us - took_us), queued.us if queued else 0)


def _queued(number: int, start: Event, events: list[Event]) -> Event | None:
    """When this try was sent, or else received; a clock that is ahead of the worker's tells nothing."""
    for kind in ("task-sent", "task-received"):
        for event in events:
            if event.kind == kind and event.told.get("retries", 0) == number and event.us <= start.us:
                return event
    return None


def _span(uuid: str, number: int) -> str:
    return hashed("celery", uuid, number)


def _signal(text: object) -> int | None:
    return text if isinstance(text, int) else None


def main(argv: Sequence[str] | None = None) -> int:
    """Write the invocations of some events."""
    return cli_adapt.main(__doc__ or "", Celery, argv)


if __name__ == "__main__":
    raise SystemExit(cli.run(main))
