"""What the app served in the last seconds, from the ends of the files that its workers append to."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import msgspec

from tracekit.top.tails import rows, tail
from tracekit.traffic import percentile

_LIMIT = 1 << 20  # of each file: some 2,500 requests
_EVENTS = re.compile(r"events\.\d+\.jsonl|invocations(\.[^/]+)?\.jsonl")


class _Event(msgspec.Struct):
    ts_end: int | None = None
    rt_ms: float | None = None
    status: int | None = None


class _Stat(msgspec.Struct):
    ts_ms: int
    metric: str
    value: float


@dataclass(frozen=True)
class Served:
    """Requests that ended in the window: how many a second, their response times in ms, how many failed."""

    per_s: float
    p50_ms: float | None
    p95_ms: float | None
    errors: int
    in_flight: float | None


def served(folder: Path, now_ms: int, window_ms: int, fresh_s: float = 0) -> Served | None:
    """None where no app writes here. fresh_s: files not written since then (Unix time) are passed over."""
    found = [path for path in folder.glob("*.jsonl") if _EVENTS.fullmatch(path.name)]
    if not found:
        return None
    per_s, errors, times = 0.0, 0, list[float]()
    for path in _written_since(found, fresh_s):
        data, is_whole = tail(path, _LIMIT)
        ended = [row for row in rows(data, _Event) if row.ts_end is not None]
        since = now_ms - window_ms
        recent = [row for row in ended if row.ts_end is not None and since < row.ts_end <= now_ms]
        if not is_whole and len(recent) == len(ended) and recent:
            since = min(row.ts_end or 0 for row in recent)  # the tail is shorter than the window
        per_s += 1000 * len(recent) / max(now_ms - since, 1)
        errors += sum(row.status is not None and row.status >= 400 for row in recent)
        times += [row.rt_ms for row in recent if row.rt_ms is not None]
    times.sort()
    p50, p95 = (percentile(times, share) if times else None for share in (50, 95))
    return Served(per_s, p50, p95, errors, _in_flight(folder, now_ms, window_ms, fresh_s))


def _in_flight(folder: Path, now_ms: int, window_ms: int, fresh_s: float) -> float | None:
    """The sum of the workers' last figures; None where none is in the window."""
    last = list[float]()
    for path in _written_since(folder.glob("system_stats*.jsonl"), fresh_s):
        stats = [row for row in rows(tail(path, 1 << 14)[0], _Stat) if row.metric == "in_flight"]
        if stats and stats[-1].ts_ms > now_ms - window_ms:
            last.append(stats[-1].value)
    return sum(last) if last else None


def _written_since(paths: "Iterator[Path] | list[Path]", fresh_s: float) -> Iterator[Path]:
    for path in paths:
        try:
            if path.stat().st_mtime >= fresh_s:
                yield path
        except FileNotFoundError:
            continue
