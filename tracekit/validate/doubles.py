"""Records that are there twice, where the format knows what one of them is: a request by its ids, a sample by
its process or its link.

Lines of one time stand together, so that one time's are all that is kept; of more than _MANY, the last.
"""

from collections.abc import Callable
from typing import Any

from msgspec import UNSET

from tracekit.files.reading import Batch
from tracekit.validate.report import Report

_MANY = 20_000  # as many as parse compares with each other
Identity = tuple[Any, ...]


def _request(one: Any) -> tuple[Identity, Identity | None]:
    """Its place in the order; its ids, where both are known."""
    is_known = one.trace_id is not None and one.span_id is not None
    time = (one.ts_enqueue, one.ts_end if one.ts_enqueue is None else None)
    return time, (one.node, one.trace_id, one.span_id) if is_known else None


def _process(one: Any) -> tuple[Identity, Identity | None]:
    return (one.ts_ms,), (one.node, one.pid, one.starttime)


def _link(one: Any) -> tuple[Identity, Identity | None]:
    return (one.ts_ms,), (one.node, one.link)


_IDENTITIES: dict[str, Callable[[Any], tuple[Identity, Identity | None]]] = {
    "invocations.jsonl": _request,
    "calls.jsonl": _request,
    "events_client.jsonl": _request,
    "proc_metrics.jsonl": _process,
    "proc_rss.jsonl": _process,
    "link_metrics.jsonl": _link,
}


class Doubles:
    """Looks for them in the files that _IDENTITIES has, one file after the other."""

    def __init__(self, report: Report) -> None:
        self._report = report
        self._at: tuple[str, Identity] | None = None  # file and time
        self._stepped: set[str] = set()  # nodes whose clock went back: they may have a time twice
        self._seen: dict[Identity, None] = {}  # at that time, the oldest first

    def take_steps(self, _name: str, batch: Batch[Any]) -> None:
        """From marks.jsonl, before any sample."""
        told = [one for one in batch.records if one.step_ms is not UNSET and one.step_ms < 0]
        self._stepped.update(one.node for one in told)

    def check(self, name: str, batch: Batch[Any]) -> None:
        """The lines of a file, in its order."""
        identify = _IDENTITIES[name]
        for line, record in zip(batch.numbers, batch.records, strict=True):
            time, identity = identify(record)
            if (name, time) != self._at:
                self._at, self._seen = (name, time), {}
            if identity is None or (identify is not _request and record.node in self._stepped):
                continue
            if identity in self._seen:
                self._report.error("duplicate", name, "is there already, at the same time", line)
            self._seen[identity] = None
            if len(self._seen) > _MANY:
                del self._seen[next(iter(self._seen))]
