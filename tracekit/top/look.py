"""One look at a run: everything that the view shows, as of one moment."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from tracekit.collect.status import collector_states, last_row_ms
from tracekit.errors import TracekitError
from tracekit.jsonl import read_document
from tracekit.runs import Run
from tracekit.top.processes import Busy, ProcRow, busiest
from tracekit.top.requests import Served, served
from tracekit.top.tails import rows, tail

WINDOW_MS = 5000  # what "now" means for processes and requests
_SERIES_LIMIT = 1 << 14  # of host files: more than the minute that is drawn
_PROC_LIMIT = 1 << 20  # some 10,000 rows of processes
_ROUTINE = ("ticks", "clock", "cost", "unattributed")  # marks that come all the time


class HostRow(msgspec.Struct):
    """A line of resources.jsonl: one of the two figures."""

    ts_ms: int
    cpu_util: float | None = None
    mem_free_mb: int | None = None


class _LinkRow(msgspec.Struct):
    ts_ms: int
    link: str
    rx_Bps: int
    tx_Bps: int


class MarkRow(msgspec.Struct):
    """A line of marks.jsonl."""

    ts_ms: int
    collector: str
    kind: str
    reason: str | None = None
    detail: str | None = None


@dataclass(frozen=True)
class Lag:
    """A collector's state, and how long ago its last row came; None where it gave none of late."""

    name: str
    how: str
    since_ms: int | None


@dataclass(frozen=True)
class Look:
    """now_ms: of a live run the moment itself, else that of the last host row (0: there is none)."""

    run_id: str
    node: Mapping[str, Any]
    started_ms: int | None
    now_ms: int
    is_live: bool
    cpu: Sequence[float]
    mem_free_mb: Sequence[int]
    rx_Bps: Sequence[int]
    tx_Bps: Sequence[int]
    processes: Sequence[Busy]
    requests: Served | None
    lags: Sequence[Lag]
    marks: Sequence[MarkRow]
    trouble: Sequence[str]


def look(run: Run, now_ms: int) -> Look:
    """Look at the run's raw files and its recorder. now_ms: this moment, for a live run."""
    pid, told = run.holder(), run.told()
    node, meta = _document(run.dir / "node_meta.json"), _document(run.dir / "run_meta.json")
    host = rows(tail(run.dir / "resources.jsonl", _SERIES_LIMIT)[0], HostRow)
    links = rows(tail(run.dir / "links.jsonl", _SERIES_LIMIT)[0], _LinkRow)
    nic = [row for row in links if row.link.endswith(".nic")]
    samples = rows(tail(run.dir / "proc_metrics.jsonl", _PROC_LIMIT)[0], ProcRow)
    if pid is None:
        now_ms = max((series[-1].ts_ms for series in (host, nic, samples) if series), default=0)
    interval_ms = meta.get("interval_ms") or 1000
    is_silent = pid is not None and samples and now_ms - samples[-1].ts_ms > 2 * interval_ms + WINDOW_MS
    return Look(
        run_id=run.run_id,
        node=node,
        started_ms=meta.get("started_ms"),
        now_ms=now_ms,
        is_live=pid is not None,
        cpu=[row.cpu_util for row in host if row.cpu_util is not None],
        mem_free_mb=[row.mem_free_mb for row in host if row.mem_free_mb is not None],
        rx_Bps=[row.rx_Bps for row in nic],
        tx_Bps=[row.tx_Bps for row in nic],
        processes=[] if is_silent else busiest(samples, node.get("clk_tck"), interval_ms, WINDOW_MS),
        requests=served(run.dir, now_ms, WINDOW_MS, (now_ms - 2 * WINDOW_MS) / 1000 if pid else 0),
        lags=_lags(run, pid, told, now_ms),
        marks=_marks(run.dir / "marks.jsonl"),
        trouble=[f"{file} cannot be written: {why}" for file, why in told.get("failing", {}).items()],
    )


def _document(path: Path) -> dict[str, Any]:
    try:
        return read_document(path)
    except TracekitError:
        return {}


def _lags(run: Run, pid: int | None, told: Mapping[str, Any], now_ms: int) -> list[Lag]:
    lags = []
    for one in collector_states(run, pid, told):
        last_ms = last_row_ms(tail(one.file, _SERIES_LIMIT)[0], one.series)
        lags.append(Lag(one.name, one.how, None if last_ms is None else max(now_ms - last_ms, 0)))
    return lags


def _marks(path: Path) -> list[MarkRow]:
    found = rows(tail(path, _SERIES_LIMIT)[0], MarkRow)
    return [mark for mark in found if mark.kind not in _ROUTINE]
