"""Expected, got and missing ticks of each collector, gaps with their reasons, and rows outside of the run.

Every expected figure is worked out from tests/runs.py: T0 is the start, one grid point a second."""

from pathlib import Path
from typing import Any

import pytest

from tests.runs import STEP, T0, Row, cpu, kinds, mark, mem, nic, parsed, proc, quality_of, rows_of


def ticks_of(run_dir: Path, name: str) -> tuple[int, int, int]:
    one = quality_of(run_dir)["collectors"][name]
    return one["expected"], one["got"], one["missing"]


def gaps_of(run_dir: Path, name: str) -> list[tuple[int, int, str]]:
    gaps = quality_of(run_dir)["collectors"][name]["gaps"]
    return [(gap["from_ms"] - T0, gap["to_ms"] - T0, gap["reason"].lower()) for gap in gaps]


def test_each_collector_has_its_ticks(tmp_path: Path) -> None:
    files = {
        "resources.jsonl": [cpu(ms + 14) for ms in range(0, 5000, 1000)]
        + [mem(ms) for ms in (0, 1000, 4999)],
        "links.jsonl": [nic(0), nic(4000, link="vm1.nic.eth1")],  # only the primary NIC counts
        "proc_metrics.jsonl": [proc(1000, 0), proc(1000, 0, pid=8), proc(3003, 0)],
    }
    run_dir = parsed(tmp_path, files)
    found = {name: ticks_of(run_dir, name) for name in ("cpu", "mem", "nic", "proc")}
    assert found == {"cpu": (5, 5, 0), "mem": (5, 3, 2), "nic": (5, 1, 4), "proc": (5, 2, 3)}
    assert gaps_of(run_dir, "mem") == [(2000, 4000, "unknown")]


def test_a_mark_by_another_monotonic_clock_moves_no_tick(tmp_path: Path) -> None:
    """Where run_meta.json does not tell that of the start, the samples do: an app may write marks too."""
    known = {"run_id": "r1", "started_ms": T0, "stopped_ms": T0 + 5000, "interval_ms": 1000}
    other = {**mark("app", "restart", 0, 0), "mono_ms": 5}  # before any sample
    files = {"resources.jsonl": [cpu(ms + 14) for ms in range(0, 5000, 1000)], "marks.jsonl": [other]}
    run_dir = parsed(tmp_path, files, documents={"run_meta.json": known})
    assert ticks_of(run_dir, "cpu") == (5, 5, 0)


def test_a_collector_that_did_not_run_misses_every_tick(tmp_path: Path) -> None:
    run_dir = parsed(tmp_path, {"links.jsonl": []})
    assert ticks_of(run_dir, "cpu") == ticks_of(run_dir, "nic") == (5, 0, 5)
    assert rows_of(run_dir, "link_metrics.jsonl") == []
    assert not (run_dir / "cctf" / "host_metrics.jsonl").exists()


def test_a_live_run_ends_at_its_last_row(tmp_path: Path) -> None:
    files = {"resources.jsonl": [cpu(ms) for ms in (0, 1000, 2000, 3000)], "links.jsonl": [nic(0), nic(2000)]}
    run_dir = parsed(tmp_path, files, stopped_ms=None)
    # the points 0, 1 and 2 are over at 3000
    assert ticks_of(run_dir, "cpu") == (3, 3, 0)
    assert ticks_of(run_dir, "nic") == (3, 2, 1)


@pytest.mark.parametrize(
    ("kind", "to_ms"), [("enospc", 6000), ("restart", 6000), ("died", None), ("stall", None)]
)
def test_a_gap_has_the_reason_of_its_mark(tmp_path: Path, kind: str, to_ms: int | None) -> None:
    rows = [cpu(ms) for ms in range(0, 10_000, 1000) if ms not in (4000, 5000)]
    others = [mark("nic", "enospc", 0, 9000), mark("cpu", "enospc", 0, 1000)]  # not its own, and not then
    files = {"resources.jsonl": rows, "marks.jsonl": [mark("cpu", kind, 3000, to_ms), *others]}
    run_dir = parsed(tmp_path, files, stopped_ms=10_000)
    assert gaps_of(run_dir, "cpu") == [(4000, 6000, kind)]
    assert ticks_of(run_dir, "cpu") == (10, 8, 2)


def test_a_restart_that_is_over_is_no_reason_for_a_later_gap(tmp_path: Path) -> None:
    rows = [cpu(ms) for ms in range(0, 30_000, 1000) if ms not in (3000, 20_000)]
    marks = [mark("cpu", "died", 2000, None, reason="exit 1"), mark("cpu", "restart", 2000, 4000)]
    run_dir = parsed(tmp_path, {"resources.jsonl": rows, "marks.jsonl": marks}, stopped_ms=30_000)
    assert gaps_of(run_dir, "cpu") == [(3000, 4000, "restart"), (20_000, 21_000, "unknown")]


@pytest.mark.parametrize(
    ("kind", "over", "reason"),
    [("gone", "back", "link_gone"), ("renamed", "back", "renamed"), ("link_down", "link_up", "link_down")],
)
def test_a_gap_of_the_nic_lasts_until_it_is_back(tmp_path: Path, kind: str, over: str, reason: str) -> None:
    away = [ms for ms in range(0, 40_000, 1000) if not 3000 <= ms < 23_000 and ms != 30_000]
    marks = [mark("nic", kind, 2000, None), mark("nic", over, 2000, 23_000), mark("cpu", "died", 0, None)]
    files = {"links.jsonl": [nic(ms) for ms in away], "marks.jsonl": marks}
    run_dir = parsed(tmp_path, files, stopped_ms=40_000)
    assert gaps_of(run_dir, "nic") == [(3000, 23_000, reason), (30_000, 31_000, "unknown")]


@pytest.mark.parametrize("times", [(0, 1001, 1999, 3000, 4000), (0, 1900, 3050, 4000)])
def test_rows_that_fell_on_other_points_are_drift(tmp_path: Path, times: tuple[int, ...]) -> None:
    # no two rows are 1.25 s apart, yet none stands in 2000..2999
    run_dir = parsed(tmp_path, {"resources.jsonl": [cpu(ms) for ms in times]})
    assert gaps_of(run_dir, "cpu") == [(2000, 3000, "drift")]


def test_a_process_tick_that_matched_nothing_is_got(tmp_path: Path) -> None:
    files = {
        "proc_metrics.jsonl": [proc(2000, 1)],
        "marks.jsonl": [mark("proc", "ticks", 0, 3000, ticks=4, rows=1)],
    }
    run_dir = parsed(tmp_path, files)
    assert ticks_of(run_dir, "proc") == (5, 4, 1)
    assert gaps_of(run_dir, "proc") == [(4000, 5000, "unknown")]


def test_a_late_process_tick_is_missing_although_a_summary_spans_it(tmp_path: Path) -> None:
    marks = [
        mark("proc", "missed", 3000, 6000, reason="late"),
        mark("proc", "ticks", 0, 9000, ticks=8, rows=0),
    ]
    run_dir = parsed(tmp_path, {"proc_metrics.jsonl": [], "marks.jsonl": marks}, stopped_ms=10_000)
    assert ticks_of(run_dir, "proc") == (10, 8, 2)
    assert gaps_of(run_dir, "proc") == [(4000, 6000, "late")]


@pytest.mark.parametrize("nic_until", [4000, 10_000])
def test_a_gap_after_a_clock_step_is_told_in_wall_clock_time(tmp_path: Path, nic_until: int) -> None:
    def at(make: Any, times: list[int]) -> list[Row]:
        return [make(ms, STEP if ms >= 5000 else 0) for ms in times]

    seconds = list(range(0, 10_000, 1000))
    files = {
        "resources.jsonl": at(cpu, [ms for ms in seconds if ms != 7000]),
        "links.jsonl": at(nic, [ms for ms in seconds if ms < nic_until]),
    }
    run_dir = parsed(tmp_path, files, stopped_ms=10_000)
    assert gaps_of(run_dir, "cpu") == [(7000 + STEP, 8000 + STEP, "unknown")]


FAR = 100_000


@pytest.mark.parametrize(
    ("name", "row"),
    [
        ("resources.jsonl", cpu(FAR)),
        ("links.jsonl", nic(FAR)),
        ("proc_metrics.jsonl", proc(FAR, 1)),
        ("invocations.x.jsonl", {"ts_enqueue": T0 + FAR}),
        ("events_client.jsonl", {"ts_enqueue": T0 - FAR}),
    ],
)
def test_a_row_outside_of_the_run_is_kept_and_marked(tmp_path: Path, name: str, row: Row) -> None:
    run_dir = parsed(tmp_path, {name: [row]})
    assert quality_of(run_dir)["inputs"][name]["accepted"] == 1
    assert kinds(run_dir) == ["outside_run"]
