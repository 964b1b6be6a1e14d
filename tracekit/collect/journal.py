"""The raw files of a run while it is recorded: the rows of all collectors, and the marks.

Appended to by the reading threads and by the recorder's own; a file that cannot be written for a while
is told in a mark when that is over, and in `failing` until then.
"""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from tracekit.collect.appender import Appender, Failure
from tracekit.collect.catalog import Collector
from tracekit.collect.clock import Stamp, now
from tracekit.collect.rows import mark_row

MARKS = "marks.jsonl"
KEPT = (MARKS, "proc_inventory.jsonl")  # written late rather than lost: they tell what was lost
KEPT_BYTES = 1 << 20


def span(since: Stamp, until: Stamp) -> dict[str, int]:
    """The time that a mark speaks of."""
    return {"from_ms": since.ts_ms, "to_ms": until.ts_ms}


class Journal:
    """Every raw file that the collectors write, open for appending."""

    def __init__(self, folder: Path, collectors: Sequence[Collector]) -> None:
        """Open or create the files. Raises OSError where that cannot be done."""
        self._collectors = collectors
        names = {MARKS, *(file for collector in collectors for file in collector.writes)}
        self._files = {
            name: Appender(folder / name, KEPT_BYTES if name in KEPT else 0) for name in sorted(names)
        }
        self.notes: list[str] = []  # failures that are over, for people

    def append(self, file: str, lines: bytes, count: int) -> None:
        """Append count whole lines."""
        self._tell(self._files[file].append(lines, count))

    def mark(self, collector: str, kind: str, **more: object) -> None:
        """Append a mark; more as in mark_row."""
        self.append(MARKS, mark_row(now(), collector, kind, **more), 1)

    def retry(self) -> None:
        """Try again to write what is kept."""
        for file in self._files.values():
            self._tell(file.retry())

    def end(self) -> None:
        """A file that still cannot be written has its gap until now."""
        for file in self._files.values():
            self._tell(file.append(b"", 0))

    @property
    def failing(self) -> Mapping[str, str]:
        """The files that cannot be written just now, and why."""
        return {name: file.last_error for name, file in self._files.items() if file.last_error}

    def misplaced(self) -> str | None:
        """A file that was removed or renamed while it was written."""
        return next((name for name, file in self._files.items() if not file.is_in_place()), None)

    def _tell(self, failure: Failure | None) -> None:
        if failure is None:
            return
        detail = f"{failure.file}: {failure.lines} lines could not be written"
        lasted_s = (failure.ended.mono_ms - failure.began.mono_ms) / 1000
        self.notes.append(f"{detail} for {lasted_s:.0f} s ({failure.reason})")
        kind = "enospc" if failure.reason in ("ENOSPC", "EDQUOT") else "write_error"
        for series in self._series_of(failure.file):
            gap = span(failure.began, failure.ended)
            self.mark(series, kind, **gap, reason=failure.reason, detail=detail)

    def _series_of(self, file: str) -> Iterable[str]:
        return sorted({one.series for one in self._collectors if file in one.writes}) or ["recorder"]
