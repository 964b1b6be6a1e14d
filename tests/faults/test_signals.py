"""Collectors that are stopped or killed, an interval of 50 ms, and a machine that is busy."""

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from conftest import Checkout
from test_life import lines_of, marks_of, pid_of, quality_of, start, wait_for
from workload import FULL, TICK_MS, children, cpu_of

Clean = Callable[[str], None]


def stop(checkout: Checkout, run_id: str) -> str:
    """Stop the run; what was said."""
    done = checkout.make("stop-collect", f"RUN_ID={run_id}")
    assert done.returncode == 0, done.stderr
    return done.stderr


def assert_law(quality: dict[str, Any]) -> None:
    assert quality["balanced"]
    assert quality["collectors"].keys() == {"cpu", "mem", "nic", "proc"}
    for account in quality["collectors"].values():
        assert account["expected"] == account["got"] + account["missing"]
        told_ms = sum(gap["to_ms"] - gap["from_ms"] for gap in account["gaps"])
        assert (told_ms > 0) == (account["missing"] > 0)


def cpu_rows(checkout: Checkout, run_id: str, pid: int) -> list[dict[str, Any]]:
    rows = lines_of(checkout.logs(run_id) / "cctf" / "proc_cpu.jsonl")
    return [row for row in rows if row["pid"] == pid]


def raw_rows(checkout: Checkout, run_id: str, pid: int) -> list[dict[str, Any]]:
    rows = lines_of(checkout.logs(run_id) / "proc_metrics.jsonl")
    return [row for row in rows if row["pid"] == pid]


def test_a_tool_that_hangs_is_a_stall_then_killed_and_started_again(
    checkout: Checkout, finished_run: Clean
) -> None:
    start(checkout, "hung")
    first = pid_of(checkout, "hung", "mpstat")
    began = time.monotonic()
    os.kill(first, signal.SIGSTOP)
    assert wait_for(lambda: marks_of(checkout, "hung", "stall"), 5)
    assert marks_of(checkout, "hung", "restart") == []  # it gets its time before it is killed
    assert wait_for(lambda: pid_of(checkout, "hung", "mpstat") != first, 13)
    assert 9 < time.monotonic() - began < 14
    assert not Path(f"/proc/{first}").exists()
    assert wait_for(lambda: marks_of(checkout, "hung", "restart"), 4)
    time.sleep(max(20 - (time.monotonic() - began), 1) if FULL else 1)
    assert "mpstat was started again (killed by signal 9)" in stop(checkout, "hung")
    finished_run("hung")
    (stall,), (died,) = marks_of(checkout, "hung", "stall"), marks_of(checkout, "hung", "died")
    assert stall["collector"] == died["collector"] == "cpu"
    assert died["reason"] == "killed by signal 9"
    quality = quality_of(checkout, "hung")
    assert_law(quality)
    cpu = quality["collectors"]["cpu"]
    assert 9 <= cpu["missing"] <= 15
    assert {gap["reason"] for gap in cpu["gaps"]} <= {"restart", "drift"}
    assert all(quality["collectors"][name]["missing"] <= 1 for name in ("mem", "nic", "proc"))


def test_a_killed_process_sampler_is_back_in_two_seconds_and_no_cpu_is_lost(
    checkout: Checkout, tmp_path: Path, finished_run: Clean
) -> None:
    with children(tmp_path, "tk-sampler", [b"tk-busy"], is_busy=True) as (busy,):
        start(checkout, "sampler", PROC_MATCH="^tk-busy$")
        time.sleep(1)
        first = pid_of(checkout, "sampler", "proc")
        os.kill(first, signal.SIGKILL)
        assert wait_for(lambda: pid_of(checkout, "sampler", "proc") != first, 2.0)
        assert wait_for(lambda: marks_of(checkout, "sampler", "restart"), 3.0)
        time.sleep(2.2)
        said = stop(checkout, "sampler")
    assert "proc was started again (killed by signal 9)" in said
    finished_run("sampler")
    (died,) = marks_of(checkout, "sampler", "died")
    assert (died["collector"], died["reason"]) == ("proc", "killed by signal 9")
    quality = quality_of(checkout, "sampler")
    assert_law(quality)
    proc = quality["collectors"]["proc"]
    assert proc["missing"] <= 3  # none where it was back before its next tick
    assert {gap["reason"] for gap in proc["gaps"]} <= {"restart"}
    raw, rows = raw_rows(checkout, "sampler", busy), cpu_rows(checkout, "sampler", busy)
    ticks = [row["utime"] + row["stime"] for row in raw]
    polled = [row for row in rows if row["source"] == "poll"]
    assert abs(sum(row["cpu_ms"] for row in polled) - (ticks[-1] - ticks[0]) * TICK_MS) < 1
    assert sum(row["dt_ms"] for row in polled) == raw[-1]["ts_ms"] - raw[0]["ts_ms"]


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
    for account in quality["collectors"].values():
        assert abs(account["expected"] - seconds) <= 2 + seconds // 100
    raw = raw_rows(checkout, "loaded", pids[0])
    # Tick k is at the first tick's second plus k, but for those that are told as missing.
    ticks = [row["ts_ms"] for row in raw]
    assert all(ts_ms % 1000 < 500 for ts_ms in ticks), [ts_ms % 1000 for ts_ms in ticks]
    points = [ts_ms // 1000 for ts_ms in ticks]
    assert len(set(points)) == len(points)
    skipped = points[-1] - points[0] + 1 - len(points)
    assert skipped <= quality["collectors"]["proc"]["missing"] + 1  # one may lie before the run
    assert skipped <= 0.1 * seconds
    assert abs(len(points) - seconds) <= 2 + skipped + seconds // 100
