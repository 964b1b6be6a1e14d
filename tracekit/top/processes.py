"""The processes of the last tick: what CPU each used over the last seconds, its memory and its name."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from tracekit.top.tails import rows, tail
from tracekit.units import ticks_to_ms

_NAMES_LIMIT = 8 << 20  # how far back a name is looked for


class _Seen(msgspec.Struct):
    pid: int
    starttime: int
    event: str = ""
    comm: str | None = None
    cmdline: str | None = None


class ProcRow(msgspec.Struct):
    """A line of proc_metrics.jsonl, as the sampler writes it."""

    ts_ms: int
    pid: int
    rss_kb: int
    utime: int
    stime: int
    starttime: int


@dataclass(frozen=True)
class Busy:
    """cpu_pct: percent of one core; None where two samples or clk_tck are not there. rss_kb: 1024 bytes."""

    pid: int
    starttime: int
    cpu_pct: float | None
    rss_kb: int


def busiest(samples: Sequence[ProcRow], clk_tck: int | None, interval_ms: int, window_ms: int) -> list[Busy]:
    """The processes that the newest tick saw, by CPU over the window or, if that is longer, two ticks."""
    if not samples:
        return []
    newest = samples[-1].ts_ms
    since = newest - max(window_ms, interval_ms * 3 // 2)
    first: dict[tuple[int, int], ProcRow] = {}
    last: dict[tuple[int, int], ProcRow] = {}
    for row in samples:
        if since <= row.ts_ms <= newest:
            first.setdefault((row.pid, row.starttime), row)
            last[row.pid, row.starttime] = row
    found = [
        Busy(row.pid, row.starttime, _percent(first[key], row, clk_tck), row.rss_kb)
        for key, row in last.items()
        if row.ts_ms > newest - max(interval_ms * 9 // 10, 1)  # a process new at a tick has a later stamp
    ]
    return sorted(found, key=lambda one: (-(one.cpu_pct or 0), -one.rss_kb, one.pid))


def _percent(first: ProcRow, last: ProcRow, clk_tck: int | None) -> float | None:
    if last.ts_ms <= first.ts_ms or not clk_tck:
        return None
    ticks = last.utime + last.stime - first.utime - first.stime
    return 100 * ticks_to_ms(ticks, clk_tck) / (last.ts_ms - first.ts_ms) if ticks >= 0 else None


@dataclass
class Names:
    """Command lines out of proc_inventory.jsonl, looked for once for each process that is shown."""

    file: Path
    _known: dict[tuple[int, int], str] = field(default_factory=dict)

    def of(self, shown: Sequence[Busy]) -> list[str]:
        """The command line of each, else its name, else "?"."""
        keys = [(one.pid, one.starttime) for one in shown]
        self._known = {key: self._known[key] for key in keys if key in self._known}
        missing = {key for key in keys if key not in self._known}
        if missing:
            self._known.update(dict.fromkeys(missing, "?"))
            for row in rows(tail(self.file, _NAMES_LIMIT)[0], _Seen):
                if row.event == "seen" and (row.pid, row.starttime) in missing:
                    self._known[row.pid, row.starttime] = row.cmdline or row.comm or "?"
        return [self._known[key] for key in keys]
