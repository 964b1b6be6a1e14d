"""A look as lines of text, no wider and no more than the terminal has room for."""

import string
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime, timezone

from tracekit.summary import BARS, rate, sparkline
from tracekit.top.look import WINDOW_MS, Look, MarkRow
from tracekit.top.processes import Names
from tracekit.top.requests import Served

_SAFE = frozenset(BARS + string.printable[:95])
_DRAWN = 60  # values of a series
_BEFORE_BARS = 25  # columns
_MARKS = 4
_LEAST_PROCESSES = 3


def lines(look: Look, names: Names, width: int, height: int) -> list[str]:
    """At most height lines of at most width columns; of the processes, as many as there is room for."""
    above = [_head(look), "", *_series(look, width - _BEFORE_BARS), *_requests(look.requests)]
    below = ["", *_collectors(look), *_marks(look.marks), *look.trouble]
    room = max(height - len(above) - len(below) - 2, _LEAST_PROCESSES)
    text = [*above, "", *_processes(look, names, room), *below]
    return [_plain(line)[:width].rstrip() for line in text[:height]]


def _plain(text: str) -> str:
    """The text with all that could move the cursor, or take more than one column, escaped."""
    return "".join(one if one in _SAFE else ascii(one)[1:-1] for one in text)


def _head(look: Look) -> str:
    where = f"{look.node.get('node', '?')} ({look.node.get('stage', '?')})"
    if not look.now_ms:
        return f"run {look.run_id}   {where}   nothing was sampled"
    how = "live" if look.is_live else "ENDED; this is how it ended"
    lasted_s = (look.now_ms - look.started_ms) // 1000 if look.started_ms else 0
    lasted = f"{lasted_s // 3600}:{lasted_s // 60 % 60:02}:{lasted_s % 60:02}"
    return f"run {look.run_id}   {where}   {_clock(look.now_ms)} UTC   {lasted}   {how}"


def _series(look: Look, room: int) -> Iterator[str]:
    drawn = max(1, min(room, _DRAWN))
    total_mb = look.node.get("mem_mb")
    yield _line("CPU", look.cpu[-drawn:], "{:.0f} %".format, 100.0)
    yield _line("free memory", look.mem_free_mb[-drawn:], "{:.0f} MB".format, total_mb)
    yield _line("NIC in", look.rx_Bps[-drawn:], rate)
    yield _line("NIC out", look.tx_Bps[-drawn:], rate)


def _line(name: str, values: Sequence[float], style: Callable[[float], str], top: float | None = None) -> str:
    if not values:
        return f"{name:<12} {'-':>10}"
    return f"{name:<12} {style(values[-1]):>10}  {sparkline(values, top)}"


def _requests(served: Served | None) -> Iterator[str]:
    if served is None:
        return
    yield (
        f"{'requests':<12} {f'{served.per_s:.1f}/s':>10}  p50 {_ms(served.p50_ms)}  p95 {_ms(served.p95_ms)}"
        f"  errors {served.errors}  in flight {'-' if served.in_flight is None else f'{served.in_flight:g}'}"
        f"  (last {WINDOW_MS // 1000} s)"
    )


def _ms(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f} ms"


def _processes(look: Look, names: Names, room: int) -> Iterator[str]:
    shown = look.processes[:room]
    yield f"{'PID':>8}  {'CPU %':>6}  {'RSS MB':>8}  {'command':<20}  ({len(look.processes)} processes)"
    for one, name in zip(shown, names.of(shown), strict=True):
        cpu = "-" if one.cpu_pct is None else f"{one.cpu_pct:.1f}"
        yield f"{one.pid:>8}  {cpu:>6}  {one.rss_kb * 1024 / 1e6:>8.1f}  {name}"


def _collectors(look: Look) -> Iterator[str]:
    for one in look.lags:
        since = "no row yet" if one.since_ms is None else f"last row {one.since_ms / 1000:.1f} s ago"
        yield f"{one.name:<12} {one.how:<10}  {since}"


def _marks(marks: Sequence[MarkRow]) -> Iterator[str]:
    for mark in marks[-_MARKS:]:
        why = ": ".join(part for part in (mark.reason, mark.detail) if part)
        yield f"{_clock(mark.ts_ms)} mark  {mark.collector} {mark.kind}  {why}"


def _clock(ts_ms: int) -> str:
    return datetime.fromtimestamp(ts_ms / 1000, timezone.utc).strftime("%H:%M:%S")
