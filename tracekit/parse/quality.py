"""The account of a run: ticks of each collector, gaps with their reasons, marks."""

from collections.abc import Sequence

from tracekit.parse.reading import Account
from tracekit.parse.timeline import Grid, Timeline
from tracekit.records import Clock, CollectorQuality, Gap, InputQuality, Mark, Quality, QualityMark

# What a mark says about a gap that it overlaps, the most telling first.
_REASONS = (
    ("enospc", "ENOSPC"),
    ("write_error", "write_error"),
    ("restart", "restart"),
    ("died", "died"),
    ("stall", "stall"),
    ("missed", "late"),
    ("clock_step", "clock_step"),
)
_NOT_REPEATED = {"ticks", "cost"}


def cover_proc_ticks(grid: Grid, marks: Sequence[Mark], timeline: Timeline) -> None:
    """Count the sampler's ticks that matched no process: its tick summaries say that they were made."""
    for mark in marks:
        if mark.collector != "proc" or mark.from_ms is None or mark.to_ms is None:
            continue
        shift = mark.ts_ms - timeline.place(mark.ts_ms, mark.mono_ms)
        if mark.kind == "ticks":
            grid.add_span(mark.from_ms - shift, mark.to_ms - shift)
        elif mark.kind == "missed":
            grid.remove_between(mark.from_ms - shift, mark.to_ms - shift)


def collector_quality(
    name: str, grid: Grid, stopped_ms: int, timeline: Timeline, marks: Sequence[Mark]
) -> CollectorQuality:
    """The law for one collector: expected = got + missing."""
    expected = grid.expected(stopped_ms)
    got = grid.got(expected)
    own = [mark for mark in marks if mark.collector in (name, "run", "recorder")]
    gaps = [_with_reason(gap, own) for gap in grid.gaps(expected, timeline)]
    return CollectorQuality(expected=expected, got=got, missing=expected - got, gaps=gaps)


def _with_reason(gap: Gap, marks: Sequence[Mark]) -> Gap:
    if gap.reason:
        return gap
    kinds = {mark.kind for mark in marks if _overlaps(mark, gap)}
    reason = next((reason for kind, reason in _REASONS if kind in kinds), "unknown")
    return Gap(from_ms=gap.from_ms, to_ms=gap.to_ms, reason=reason)


def _overlaps(mark: Mark, gap: Gap) -> bool:
    """A mark without an end lasts until the gap's; one without a beginning began at the gap's."""
    begins = gap.from_ms if mark.from_ms is None else mark.from_ms
    ends = mark.to_ms if mark.to_ms is not None else max(mark.ts_ms, gap.to_ms)
    return begins <= gap.to_ms and ends >= gap.from_ms


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
        if mark.kind not in _NOT_REPEATED
    ]
    clock = clock or Clock()
    return Quality(
        collectors=collectors,
        inputs=inputs,
        marks=sorted([*told, *added], key=lambda mark: mark.ts_ms),
        clock=Clock(
            source=clock.source,
            synchronised=clock.synchronised,
            offset_ms=clock.offset_ms,
            error_bound_ms=clock.error_bound_ms,
        ),
        balanced=is_balanced(collectors, inputs),
    )


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
