"""The account of a run: ticks of each collector, gaps with their reasons, marks."""

from collections.abc import Iterable, Sequence
from typing import TypeVar

from msgspec import UnsetType

from tracekit.files.reading import Account
from tracekit.parse.grid import Grid
from tracekit.parse.timeline import Timeline
from tracekit.records import Clock, CollectorQuality, Gap, InputQuality, Mark, Quality, QualityMark

T = TypeVar("T")

# What a mark says about a gap that it overlaps, the most telling first.
_REASONS = (
    ("enospc", "ENOSPC"),
    ("write_error", "write_error"),
    ("gone", "link_gone"),
    ("renamed", "renamed"),
    ("restart", "restart"),
    ("died", "died"),
    ("stall", "stall"),
    ("missed", "late"),
    ("clock_step", "clock_step"),
    ("link_down", "link_down"),
)
# What such a mark began lasts until there is one of the other kind, or for good.
_OVER_WITH = {"died": "restart", "gone": "back", "renamed": "back", "link_down": "link_up"}
_LONGEST_STALL_MS = 12_000  # a silent collector is killed after ten seconds, and then there is a restart
NOT_REPEATED = {"ticks", "cost", "clock", "unattributed"}


def cover_proc_ticks(grid: Grid, marks: Iterable[Mark], timeline: Timeline, interval_ms: int) -> None:
    """Count the sampler's ticks that matched no process: its tick summaries say that they were made."""
    for mark in marks:
        if mark.collector != "proc" or mark.from_ms is None or mark.to_ms is None:
            continue
        shift = mark.ts_ms - timeline.place(mark.ts_ms, mark.mono_ms)
        if mark.kind == "ticks":
            grid.add_span(mark.from_ms - shift, mark.to_ms - shift)
        elif mark.kind == "missed":
            grid.miss_between(mark.from_ms - shift, mark.to_ms - shift)
        elif mark.kind in ("enospc", "write_error") and "proc_metrics.jsonl" in (mark.detail or ""):
            grid.miss_between(mark.from_ms - shift - interval_ms, mark.to_ms - shift)  # ticked, but not kept


def collector_quality(
    name: str, grid: Grid, stopped_ms: int, timeline: Timeline, marks: Sequence[Mark]
) -> CollectorQuality:
    """The law for one collector: expected = got + missing."""
    expected = grid.expected(stopped_ms)
    got = sum(end - first for first, end in grid.sampled(expected))
    told = [_Told(mark, marks) for mark in marks if mark.collector in (name, "run", "recorder")]
    gaps = []
    for from_ms, to_ms, is_drift in grid.gaps(expected):
        wall = timeline.wall(from_ms), timeline.wall(to_ms)
        reason = "drift" if is_drift else _reason(*wall, told)
        gaps.append(Gap(from_ms=wall[0], to_ms=wall[1], reason=reason))
    return CollectorQuality(expected=expected, got=got, missing=expected - got, gaps=gaps)


class _Told:
    """The time that a mark speaks of, in wall-clock ms."""

    def __init__(self, mark: Mark, marks: Sequence[Mark]) -> None:
        self.kind = mark.kind
        self.from_ms = mark.from_ms if mark.from_ms is not None else mark.ts_ms
        if mark.to_ms is not None:
            self.to_ms = mark.to_ms
        elif mark.kind in _OVER_WITH:
            ends = [one.ts_ms for one in marks if _is_end_of(mark, one)]
            self.to_ms = min(ends, default=1 << 62)
        else:
            self.to_ms = mark.ts_ms + _LONGEST_STALL_MS


def _is_end_of(began: Mark, mark: Mark) -> bool:
    """Whether mark ends what began; a run that is taken up again ends everything."""
    is_its_own = mark.collector == began.collector and mark.kind == _OVER_WITH[began.kind]
    is_run = mark.collector == "run" and mark.kind == "restart"
    return (is_its_own or is_run) and mark.ts_ms >= began.ts_ms


def _reason(from_ms: int, to_ms: int, told: Sequence[_Told]) -> str:
    kinds = {one.kind for one in told if one.from_ms <= to_ms and one.to_ms >= from_ms}
    return next((reason for kind, reason in _REASONS if kind in kinds), "unknown")


def quality(
    collectors: dict[str, CollectorQuality],
    accounts: dict[str, Account],
    marks: Sequence[Mark],
    added: Sequence[QualityMark],
    clock: Clock | None,
) -> Quality:
    """quality.json; added: marks that parse itself makes."""
    inputs = {
        name: InputQuality(
            lines=account.lines,
            accepted=account.accepted,
            rejected=dict(sorted(account.rejected.items())),
            duplicates=account.duplicates,
        )
        for name, account in sorted(accounts.items())
    }
    told = [
        QualityMark(ts_ms=mark.ts_ms, kind=mark.kind, detail=_detail(mark))
        for mark in marks
        if mark.kind not in NOT_REPEATED
    ]
    clock = _last_reading(clock or Clock(), marks)
    return Quality(
        collectors=collectors,
        inputs=inputs,
        marks=sorted([*told, *added], key=lambda mark: mark.ts_ms),
        clock=clock,
        balanced=is_balanced(collectors, inputs),
    )


def _last_reading(clock: Clock, marks: Sequence[Mark]) -> Clock:
    """How well the clock was set: at stop, else by the last mark that tells, else at start."""
    told = [] if clock.stop else [mark for mark in marks if mark.kind == "clock"]
    last = max(told, key=lambda mark: mark.ts_ms, default=clock)
    return Clock(
        source=_known(last.source),
        synchronised=_known(last.synchronised),
        offset_ms=_known(last.offset_ms),
        error_bound_ms=_known(last.error_bound_ms),
    )


def _known(value: T | UnsetType) -> T | None:
    return None if isinstance(value, UnsetType) else value


def _detail(mark: Mark) -> str:
    said = ": ".join(part for part in (mark.reason, mark.detail) if part)
    return f"{mark.collector}: {said}" if said else mark.collector


def is_balanced(collectors: dict[str, CollectorQuality], inputs: dict[str, InputQuality]) -> bool:
    """Both laws hold for every collector and every input."""
    ticks = all(one.expected == one.got + one.missing for one in collectors.values())
    lines = all(
        one.lines == one.accepted + sum(one.rejected.values()) + one.duplicates for one in inputs.values()
    )
    return ticks and lines
