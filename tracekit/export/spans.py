"""Which request called which: parent_id names the caller's span, or the span of the call that it made."""

from dataclasses import dataclass

from tracekit.dataset import Dataset
from tracekit.records import Call

Span = tuple[str, str]  # trace_id, span_id
WRAPPER = "run_task"  # the source whose cpu_time_ms, of wait4, holds that of the jobs that ran inside the job


@dataclass
class Callers:
    """calls: the calls to a next hop, as their caller stamped them."""

    invocations: set[Span]
    calls: dict[Span, Call]

    def caller(self, trace_id: str | None, parent_id: str | None) -> tuple[Span | None, Call | None]:
        """The invocation that called, and its call where that is recorded; None: it came from outside."""
        if trace_id is None or parent_id is None:
            return None, None
        call = self.calls.get((trace_id, parent_id))
        span = (trace_id, (call.parent_id or "") if call else parent_id)
        return (span if span in self.invocations else None), call


def read_callers(dataset: Dataset, trace_id: str | None = None) -> Callers:
    """All spans of the data set, or of one trace."""
    invocations = {
        (row.trace_id, row.span_id)
        for row in dataset.read("invocations.jsonl")
        if row.trace_id and row.span_id and trace_id in (None, row.trace_id)
    }
    calls = {
        (row.trace_id, row.span_id): row
        for row in dataset.read("calls.jsonl")
        if row.trace_id and row.span_id and trace_id in (None, row.trace_id)
    }
    return Callers(invocations, calls)


def own_cpu(dataset: Dataset) -> dict[Span, float]:
    """CPU in ms, less that of the jobs inside, of each wrapped job that had jobs inside it."""
    jobs = {
        (row.trace_id or "", row.span_id or ""): row
        for row in dataset.read("invocations.jsonl")
        if row.source == WRAPPER and row.cpu_time_ms is not None
    }
    own: dict[Span, float] = {}
    for (trace_id, _), job in jobs.items():
        span = trace_id, job.parent_id or ""
        outer = jobs.get(span)
        if outer and (job.ts_start or 0) < (outer.ts_end or 0):
            own[span] = max(own.get(span, outer.cpu_time_ms or 0.0) - (job.cpu_time_ms or 0.0), 0.0)
    return own
