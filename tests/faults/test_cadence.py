"""Ticks on a machine that is busy, and at an interval of 50 ms."""

import json
import os
import signal
import statistics
import time
from pathlib import Path

from conftest import Checkout
from live import assert_law, cpu_rows, quality_of, raw_rows, start, stop
from workload import FULL, TICK_MS, children, cpu_of


def test_fifty_milliseconds_between_two_samples_are_kept_and_told_as_they_were(
    checkout: Checkout, tmp_path: Path
) -> None:
    with children(tmp_path, "tk-fast", [b"tk-fast"], is_busy=True) as (busy,):
        start(checkout, "fast", PROC_MATCH="^tk-fast$", PROC_INTERVAL_MS="50")
        time.sleep(4)
        os.kill(busy, signal.SIGSTOP)
        time.sleep(0.2)
        truth = cpu_of(busy)
        stop(checkout, "fast")
    quality = quality_of(checkout, "fast")
    assert_law(quality)
    proc = quality["collectors"]["proc"]
    assert proc["expected"] >= 75
    assert proc["got"] >= 0.9 * proc["expected"]
    raw = raw_rows(checkout, "fast", busy)
    rows = [row for row in cpu_rows(checkout, "fast", busy) if row["source"] == "poll"]
    assert len(rows) == len(raw) - 1  # it is older than the run
    assert all(row["dt_ms"] > 0 for row in rows)
    assert sum(row["dt_ms"] for row in rows) == raw[-1]["ts_ms"] - raw[0]["ts_ms"]
    used_ms = (truth.ticks - raw[0]["utime"] - raw[0]["stime"]) * TICK_MS
    assert used_ms > 2000
    assert abs(sum(row["cpu_ms"] for row in rows) - used_ms) <= 2 * TICK_MS


def test_under_six_busy_loops_each_missed_tick_is_told_and_the_sampler_does_not_drift(
    checkout: Checkout, tmp_path: Path
) -> None:
    seconds = 600 if FULL else 15
    with children(tmp_path, "tk-loops", [b"tk-loops"] * 6, is_busy=True) as pids:
        start(checkout, "loaded", PROC_MATCH="^tk-loops$")
        time.sleep(seconds)
        stop(checkout, "loaded")
    quality = quality_of(checkout, "loaded")
    assert_law(quality)
    meta = json.loads((checkout.logs("loaded") / "run_meta.json").read_text())
    lasted_s = (meta["stopped_ms"] - meta["started_ms"]) / 1000  # start and stop take their time too
    assert seconds <= lasted_s <= seconds + 15
    for account in quality["collectors"].values():
        assert abs(account["expected"] - lasted_s) <= 2
    raw = raw_rows(checkout, "loaded", pids[0])
    # Tick k is at the first tick's second plus k, but for those that are told as missing.
    ticks = [row["ts_ms"] for row in raw]
    late = [ts_ms % 1000 for ts_ms in ticks]
    assert all(one < 500 for one in late), late
    points = [ts_ms // 1000 for ts_ms in ticks]
    if FULL:  # over a few seconds one late tick would be a slope
        slope, _ = statistics.linear_regression(points, late)  # ms a second
        assert abs(slope) < 1e-4 * 1000
    assert len(set(points)) == len(points)
    skipped = points[-1] - points[0] + 1 - len(points)
    assert skipped <= quality["collectors"]["proc"]["missing"] + 1  # one may lie before the run
    assert skipped <= 0.1 * seconds
    assert abs(len(points) + skipped - lasted_s) <= 3
