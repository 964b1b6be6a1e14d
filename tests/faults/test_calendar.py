"""Moments at which calendars and zones stumble, in the middle of a run: midnight, year end, summer time."""

import time
from datetime import datetime
from itertools import pairwise
from pathlib import Path

import pytest
from conftest import Checkout
from fakeclock import FakeClock
from live import assert_law, lines_of, quality_of, shadowed_path, start, stop
from workload import children

BEFORE_S, AFTER_S = 7.0, 2.5  # start takes some 3 s of these 7
MOMENTS = {
    "midnight": ("2026-05-14T00:00:00Z", "UTC"),
    "year-end": ("2028-01-01T00:00:00Z", "UTC"),
    "leap-day": ("2028-02-29T00:00:00Z", "UTC"),
    "midnight-in-Kolkata": ("2026-05-13T18:30:00Z", "Asia/Kolkata"),
    "New-York-to-summer": ("2026-03-08T07:00:00Z", "America/New_York"),
    "New-York-to-winter": ("2026-11-01T06:00:00Z", "America/New_York"),
    "Berlin-to-winter": ("2026-10-25T01:00:00Z", "Europe/Berlin"),
}


@pytest.mark.parametrize("name", MOMENTS)
def test_no_row_is_off_by_a_day_or_an_hour_and_another_zone_parses_the_same(
    checkout: Checkout, tmp_path: Path, name: str
) -> None:
    text, zone = MOMENTS[name]
    moment_s = datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp()
    clock = FakeClock(tmp_path)
    with children(tmp_path, "tk-calendar", [b"tk-calendar"], is_busy=True):
        began_s = moment_s - BEFORE_S
        clock.set(began_s - time.time())
        start(checkout, name, PROC_MATCH="^tk-calendar$", TZ=zone, **clock.env)
        time.sleep(moment_s - clock.now() + AFTER_S)
        stop(checkout, name, TZ=zone, **clock.env)
    folder = checkout.logs(name)
    for file, figure in (
        ("resources.jsonl", "cpu_util"),
        ("resources.jsonl", "mem_free_mb"),
        ("links.jsonl", "rx_Bps"),
        ("proc_metrics.jsonl", "utime"),
    ):
        times = [row["ts_ms"] for row in lines_of(folder / file) if figure in row]
        assert times[0] >= began_s * 1000
        assert times[0] < moment_s * 1000 < times[-1] < (began_s + 30) * 1000
        assert all(0 < after - before < 2500 for before, after in pairwise(times)), times
    assert not [mark for mark in lines_of(folder / "marks.jsonl") if mark["kind"] == "clock_step"]
    assert_law(quality_of(checkout, name))
    first = cctf_of(folder)
    other = "Asia/Kolkata" if zone == "UTC" else "UTC"
    for where in (other, zone):
        done = checkout.make("parse", f"RUN_ID={name}", TZ=where)
        assert done.returncode == 0, done.stderr
        assert cctf_of(folder) == first, where


def cctf_of(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (folder / "cctf").iterdir()}


# What mpstat and vmstat print besides their figures is a time of day, in whatever way they like.
TIMES = ["11:59:59 PM", "12:00:00 AM", "12:00:05 PM", "23:59:60", "00:00:00", "24:00:00"]
MPSTAT = """#!/bin/bash
echo 'Linux 6.1.0 (vm) 	02/29/28 	_x86_64_	(2 CPU)'
echo
while :; do for clock in {times}; do
  echo "$clock  CPU    %usr   %nice    %sys %iowait    %irq   %soft  %steal  %guest  %gnice   %idle"
  echo "$clock  all    9.00    0.00    3.00    1.00    0.00    0.00    0.00    0.00    0.00   87.00"
  sleep 1
done; done
"""


def test_a_time_of_day_in_a_tools_text_is_neither_a_figure_nor_a_time(
    checkout: Checkout, tmp_path: Path
) -> None:
    script = MPSTAT.format(times=" ".join(f"'{one}'" for one in TIMES))
    path = shadowed_path(tmp_path / "bin", "mpstat", script)
    began_ms = time.time() * 1000
    start(checkout, "hours", PATH=path)
    time.sleep(6)
    stop(checkout, "hours")
    rows = [row for row in lines_of(checkout.logs("hours") / "resources.jsonl") if "cpu_util" in row]
    assert len(rows) >= len(TIMES)
    assert {row["cpu_util"] for row in rows} == {12.0}  # 100 less idle and iowait
    assert all(began_ms <= row["ts_ms"] <= time.time() * 1000 for row in rows)
    gaps = [after["ts_ms"] - before["ts_ms"] for before, after in pairwise(rows)]
    assert all(500 < gap < 2000 for gap in gaps), gaps
