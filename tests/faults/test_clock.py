"""Steps of the wall clock in the middle of a run, faked for every process of the run by libfaketime."""

import os
import statistics
import subprocess
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from conftest import Checkout
from fakeclock import FakeClock
from live import Clean, lines_of, marks_of, quality_of
from workload import FULL, datagrams


@pytest.mark.parametrize("step_s", [3600, -3600])
def test_a_step_of_the_clock_is_one_mark_a_series_and_no_false_rate(
    checkout: Checkout, tmp_path: Path, step_s: int
) -> None:
    clock = FakeClock(tmp_path)
    run_id = f"step{step_s}"
    mark = f"{run_id}-{os.getpid()}"  # another run of the tests has another
    code = f"while True: sum(range(1000))  # {mark}"
    busy = subprocess.Popen(["python3", "-c", code])
    try:
        with datagrams():
            words = (f"RUN_ID={run_id}", "IFACE=lo", f"PROC_MATCH={mark}$")
            started = checkout.make("start-collect", *words, **clock.env)
            assert started.returncode == 0, started.stderr
            time.sleep(4)
            clock.set(step_s)
            time.sleep(4)
            stopped = checkout.make("stop-collect", f"RUN_ID={run_id}", **clock.env)
            assert stopped.returncode == 0, stopped.stderr
    finally:
        busy.kill()
        busy.wait()
    steps = marks_of(checkout, run_id, "clock_step")
    assert sorted(mark["collector"] for mark in steps) == ["proc", "recorder"]
    assert all(abs(mark["step_ms"] - step_s * 1000) < 1000 for mark in steps)
    quality = quality_of(checkout, run_id)
    for name, account in quality["collectors"].items():
        assert 7 <= account["expected"] <= 9, name
        assert account["missing"] <= 1, name
    assert "outside_run" not in {mark["kind"] for mark in quality["marks"]}
    cctf = checkout.logs(run_id) / "cctf"
    rates = [row["rx_Bps"] for row in lines_of(cctf / "link_metrics.jsonl")][1:]
    middle = statistics.median(rates)
    assert max(abs(rate / middle - 1) for rate in rates) < 0.2
    assert_no_time_is_lost(checkout.logs(run_id), lines_of(cctf / "proc_cpu.jsonl"), step_s * 1000)


def test_a_time_service_that_hangs_holds_up_nothing(
    checkout: Checkout, finished_run: Clean, tmp_path: Path
) -> None:
    for name, script in (("chronyc", "sleep 1000 & wait"), ("timedatectl", "echo rubbish")):
        (tmp_path / name).write_text(f"#!/bin/sh\n{script}\n")
        (tmp_path / name).chmod(0o755)
    env = {"PATH": f"{tmp_path}:{os.environ['PATH']}"}
    started = checkout.make("start-collect", "RUN_ID=hangs", "IFACE=lo", **env)
    assert started.returncode == 0, started.stderr
    assert started.stdout.count("the error of the clock is not known") == 1
    time.sleep(70 if FULL else 3)
    stopped = checkout.make("stop-collect", "RUN_ID=hangs", **env)
    assert (stopped.returncode, stopped.stderr) == (0, "")
    finished_run("hangs")
    assert marks_of(checkout, "hangs", "stall") == []
    unknown = dict.fromkeys(("source", "synchronised", "offset_ms", "error_bound_ms"))
    assert quality_of(checkout, "hangs")["clock"] == unknown
    if FULL:
        (mark,) = marks_of(checkout, "hangs", "clock")
        assert {name: mark[name] for name in unknown} == unknown
        account = quality_of(checkout, "hangs")["collectors"]
        assert all(one["missing"] <= 1 for one in account.values()), account


def assert_no_time_is_lost(folder: Path, cpu: list[dict[str, Any]], step_ms: int) -> None:
    """The intervals of the busy process cover the run, whatever the wall clock said."""
    ticks = [row["ts_ms"] for row in lines_of(folder / "proc_metrics.jsonl")]
    cpu = [row for row in cpu if row["pid"] is not None]
    covered_ms = sum(row["dt_ms"] for row in cpu)
    steps_ms = [row["dt_ms"] for row in cpu]
    assert min(steps_ms) > 0
    assert max(steps_ms) < 2500, steps_ms  # at most one tick is missing, and one came late
    assert covered_ms > 6000
    assert abs(covered_ms - (ticks[-1] - ticks[0] - step_ms)) < 100
    rows = lines_of(folder / "resources.jsonl")
    assert all(before["mono_ms"] <= row["mono_ms"] for before, row in pairwise(rows))
