"""A collector that is killed, stopped, or does not end when it is told to."""

import os
import shutil
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from conftest import Checkout, copy_checkout
from live import (
    Clean,
    assert_law,
    cpu_rows,
    holder_of,
    lines_of,
    marks_of,
    pid_of,
    quality_of,
    raw_rows,
    shadowed_path,
    start,
    stop,
    wait_for,
)
from services import peak_kb
from workload import FULL, TICK_MS, children

from tracekit.runs import Run, state_home


def test_killed_tool_is_restarted_within_two_seconds_and_its_gap_is_told(checkout: Checkout) -> None:
    start(checkout, "killed")
    first = pid_of(checkout, "killed", "mpstat")
    os.kill(first, signal.SIGKILL)
    assert wait_for(lambda: pid_of(checkout, "killed", "mpstat") != first, 2.0)
    assert wait_for(lambda: marks_of(checkout, "killed", "restart"), 4.0)
    assert "down" not in checkout.make("status", "RUN_ID=killed").stdout
    time.sleep(1.2)
    done = checkout.make("stop-collect", "RUN_ID=killed")
    assert done.returncode == 0
    assert "mpstat was started again (killed by signal 9)" in done.stderr
    (died,), (restart,) = marks_of(checkout, "killed", "died"), marks_of(checkout, "killed", "restart")
    assert died["collector"] == restart["collector"] == "cpu"
    assert died["reason"] == "killed by signal 9"
    quality = quality_of(checkout, "killed")
    cpu = quality["collectors"]["cpu"]
    assert cpu["missing"] >= 1
    assert cpu["expected"] == cpu["got"] + cpu["missing"]
    assert {gap["reason"] for gap in cpu["gaps"]} == {"restart"}
    assert quality["collectors"]["mem"]["missing"] <= 1


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


STUBBORN = """#!/bin/bash
trap '' TERM
echo '00:00:01 CPU %usr %iowait %idle'
while :; do echo '00:00:02 all 1.00 0.00 99.00'; sleep 1; done
"""


def test_tool_that_ignores_term_is_killed_and_it_is_said(
    checkout: Checkout, tmp_path: Path, finished_run: Clean
) -> None:
    start(checkout, "stubborn", PATH=shadowed_path(tmp_path / "bin", "mpstat", STUBBORN))
    began = time.monotonic()
    done = checkout.make("stop-collect", "RUN_ID=stubborn")
    assert done.returncode == 0, done.stderr
    assert "mpstat did not end at SIGTERM and was killed" in done.stderr
    assert time.monotonic() - began < 10
    finished_run("stubborn")


WRONG = """#!/bin/bash
# Summary: rows for two files, one of which it does not declare.
# Series: wrong
# Writes: wrong.jsonl
# Errors: wrong.err
echo 'a word for people' >&2
while :; do
  printf '{"one":1}\\n@elsewhere.jsonl {"two":2}\\n'
  sleep 1
done
"""


@contextmanager
def with_collector(folder: Path, name: str, text: str) -> Iterator[Checkout]:
    """A checkout of its own with one collector more; nothing of it runs after the block."""
    copy = copy_checkout(folder / "kit")
    path = copy.root / "tools" / "collectors" / f"{name}.sh"
    path.write_text(text)
    path.chmod(0o755)
    try:
        yield copy
    finally:
        copy.make("stop-collect")
        shutil.rmtree(state_home(copy.root), ignore_errors=True)


def test_rows_for_a_file_that_the_header_does_not_declare_are_told_once(tmp_path: Path) -> None:
    with with_collector(tmp_path, "wrong", WRONG) as copy:
        start(copy, "wrong")
        folder = copy.logs("wrong")
        assert wait_for(lambda: len(lines_of(folder / "wrong.jsonl")) >= 3, 8)
        log = (Run("wrong", copy.root).state / "recorder.log").read_text()
        shown = copy.make("status", "RUN_ID=wrong").stdout
        stop(copy, "wrong")
        (mark,) = marks_of(copy, "wrong", "undeclared")
    assert (mark["collector"], mark["reason"]) == ("wrong", "elsewhere.jsonl")
    assert log.count("wrong: its header does not declare elsewhere.jsonl; rows for it are lost") == 1
    assert not (folder / "elsewhere.jsonl").exists()
    assert "\n  a word for people\n" in shown


ODD = r"""#!/usr/bin/env bash
# Summary: prints what is no row, in ways that stop other readers.
# Usage: tools/collectors/odd.sh
# Series: odd
# Writes: odd.jsonl

# shellcheck source=tools/lib/common.sh
source "$(dirname "${BASH_SOURCE[0]}")/../lib/common.sh"
no_arguments "$@"

printf '{"a":\n{"a":"\377"}\n[1]\n'
printf '[%.0s' {1..100000}
echo
while sleep 1; do echo '{"good":1}'; done
"""


def test_lines_that_are_no_rows_are_told_once_and_stop_no_collector(tmp_path: Path) -> None:
    with with_collector(tmp_path, "odd", ODD) as copy:
        start(copy, "odd")
        file = copy.logs("odd") / "odd.jsonl"
        assert wait_for(lambda: file.exists() and file.read_bytes().count(b'"good":1') >= 2, 8)
        stop(copy, "odd")
        (mark,) = marks_of(copy, "odd", "unreadable")
        assert marks_of(copy, "odd", "restart") == []
    assert (mark["collector"], mark["reason"]) == ("odd", "odd.jsonl")
    assert file.read_bytes().split(b"\n")[:3] == [b'{"a":', b'{"a":"\xff"}', b"[1]"]


ENDLESS = """#!/bin/bash
/usr/bin/vmstat "$@" &
sleep 1.5
kill $!
exec tr '\\0' x < /dev/zero
"""


def test_a_line_that_never_ends_costs_no_memory_and_the_tool_is_started_again(
    checkout: Checkout, tmp_path: Path, finished_run: Clean
) -> None:
    start(checkout, "endless", PATH=shadowed_path(tmp_path / "bin", "vmstat", ENDLESS))
    recorder = holder_of(checkout, "endless")
    assert recorder
    assert wait_for(lambda: marks_of(checkout, "endless", "died"), 8)
    assert peak_kb(recorder) < 128 << 10
    assert wait_for(lambda: marks_of(checkout, "endless", "restart"), 8)
    stop(checkout, "endless")
    finished_run("endless")
    died = marks_of(checkout, "endless", "died")[0]
    assert died["collector"] == "mem"
    assert "a line of more than 16 MiB" in died["reason"]
    assert_law(quality_of(checkout, "endless"))
