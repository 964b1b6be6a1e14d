"""The sampler's account of its own ticks: summaries of those made, marks of those missed, clock steps."""

from collections.abc import Iterator

from tracekit.collect.clock import STEP_MS, Stamp
from tracekit.collect.proc import lines

SUMMARY_MS = 60_000


class Ticks:
    """Told of each tick; tells once a minute, so that "nothing matched" is not "nothing sampled"."""

    def __init__(self, interval_ms: int) -> None:
        self._interval_ms = interval_ms
        self._since: Stamp | None = None  # of the summary to come
        self._ticks = 0
        self._rows = 0
        self.last: Stamp | None = None
        self.unreadable = 0  # processes, so far

    def begin(self, stamp: Stamp) -> Iterator[bytes]:
        """Marks for ticks that did not come before this one, and for a step of the wall clock."""
        before = self.last
        if before is None:
            self._since = stamp
            return
        span = {"from_ms": before.ts_ms, "to_ms": stamp.ts_ms}
        step_ms = stamp.offset_ms - before.offset_ms
        if abs(step_ms) > STEP_MS:
            yield from self.summary()  # so that no summary spans the step
            self._since = stamp
            detail = f"the wall clock was stepped by {step_ms / 1000:+.3f} s"
            yield lines.mark(stamp, "clock_step", **span, detail=detail, step_ms=step_ms)
        late_ms = stamp.mono_ms - before.mono_ms - self._interval_ms
        if late_ms >= self._interval_ms and abs(step_ms) <= STEP_MS:
            yield lines.mark(stamp, "missed", **span, reason="late", detail=f"{late_ms} ms late")

    def end(self, stamp: Stamp, rows: int) -> Iterator[bytes]:
        """The tick of this stamp was made, and gave so many rows; a summary where it is time to."""
        self._ticks += 1
        self._rows += rows
        self.last = stamp
        if self._since and stamp.mono_ms - self._since.mono_ms >= SUMMARY_MS:
            yield from self.summary()

    def summary(self) -> Iterator[bytes]:
        """Says that the ticks up to the last were made, also those that matched no process."""
        stamp = self.last
        if stamp is None or self._since is None:
            return
        reason = f"unreadable: {self.unreadable}" if self.unreadable else None
        span = {"from_ms": self._since.ts_ms, "to_ms": stamp.ts_ms}
        yield lines.mark(stamp, "ticks", **span, reason=reason, ticks=self._ticks, rows=self._rows)
        self._since, self._ticks, self._rows = stamp, 0, 0
