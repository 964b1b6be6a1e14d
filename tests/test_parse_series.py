"""Runs made by hand through build(): CPU of processes, ticks and gaps, clock steps, refusals, atomicity.

Every expected figure is worked out from tests/runs.py: a tick is 10 ms, T0 is the start."""

import random
from pathlib import Path

import pytest

from tests.runs import (
    MONO0,
    STEP,
    T0,
    clock_step,
    cpu,
    kinds,
    lines,
    mark,
    mem,
    nic,
    node_meta,
    parsed,
    proc,
    quality_of,
    rows_of,
)


def used(run_dir: Path) -> list[tuple[int, int, int, int]]:
    """(ms after the start, pid, cpu_ms, dt_ms) of each row of proc_cpu.jsonl."""
    rows = rows_of(run_dir, "proc_cpu.jsonl")
    return [(row["ts_ms"] - T0, row["pid"], row["cpu_ms"], row["dt_ms"]) for row in rows]


# --- CPU of processes


def test_a_process_born_in_the_run_counts_from_its_birth(tmp_path: Path) -> None:
    rows = [proc(1500, 3), proc(2500, 13), proc(3500, 13)]  # born at 1000
    run_dir = parsed(tmp_path, {"proc_metrics.jsonl": rows})
    # 3 ticks in the 500 ms since birth, 10 ticks in 1000 ms, none in 1000 ms
    assert used(run_dir) == [(1500, 7, 30, 500), (2500, 7, 100, 1000), (3500, 7, 0, 1000)]


def test_births_are_known_without_the_start_by_the_monotonic_clock(tmp_path: Path) -> None:
    """run_meta.json need not tell it: any row with both clocks does."""
    files = {"proc_metrics.jsonl": [proc(1500, 3), proc(2500, 13)], "resources.jsonl": [cpu(700), cpu(1700)]}
    known = {"run_id": "r1", "started_ms": T0, "stopped_ms": T0 + 5000, "interval_ms": 1000}
    run_dir = parsed(tmp_path, files, documents={"run_meta.json": known})
    assert used(run_dir) == [(1500, 7, 30, 500), (2500, 7, 100, 1000)]


def test_an_older_process_has_no_row_for_its_first_sample(tmp_path: Path) -> None:
    rows = [proc(1000, 900, born_ms=-10), proc(2000, 905, born_ms=-10)]
    assert used(parsed(tmp_path, {"proc_metrics.jsonl": rows})) == [(2000, 7, 50, 1000)]


def test_a_reused_pid_is_another_series(tmp_path: Path) -> None:
    rows = [proc(2000, 50), proc(3000, 60, born_ms=2500), proc(4000, 61, born_ms=2500)]
    run_dir = parsed(tmp_path, {"proc_metrics.jsonl": rows})
    assert used(run_dir) == [(2000, 7, 500, 1000), (3000, 7, 600, 500), (4000, 7, 10, 1000)]
    assert kinds(run_dir) == []


def test_a_counter_that_goes_back_is_a_mark_and_no_row(tmp_path: Path) -> None:
    rows = [proc(2000, 100), proc(3000, 40), proc(4000, 45)]
    run_dir = parsed(tmp_path, {"proc_metrics.jsonl": rows})
    assert used(run_dir) == [(2000, 7, 1000, 1000), (4000, 7, 50, 1000)]
    assert [(one["ts_ms"], one["kind"]) for one in quality_of(run_dir)["marks"]] == [(T0 + 3000, "reset")]


def test_an_end_has_a_closing_row_where_no_process_was_ever_sampled(tmp_path: Path) -> None:
    known = {"pid": 7, "starttime": proc(0, 0)["starttime"], "utime": 20, "stime": 5}  # born at 1000
    end = {"ts_ms": T0 + 2500, "event": "end", **known}
    run_dir = parsed(tmp_path, {"proc_inventory.jsonl": [end]})
    assert used(run_dir) == [(2500, 7, 250, 1500)]
    assert rows_of(run_dir, "proc_cpu.jsonl")[0]["source"] == "exit"
    assert quality_of(run_dir)["collectors"]["proc"]["expected"] == 5


def test_an_ended_process_has_a_closing_row(tmp_path: Path) -> None:
    end = {"ts_ms": T0 + 2500, "event": "end", "pid": 7, "starttime": proc(0, 0)["starttime"]}
    files = {
        "proc_metrics.jsonl": [proc(2000, 20)],
        "proc_inventory.jsonl": [{**end, "utime": 24, "stime": 1}],
    }
    rows = rows_of(parsed(tmp_path, files), "proc_cpu.jsonl")
    # final 25 ticks minus the 20 last sampled, in the 500 ms since
    assert [(row["cpu_ms"], row["dt_ms"]) for row in rows] == [(200, 1000), (50, 500)]


@pytest.mark.parametrize("clk_tck", [100, 300, 1024])
def test_the_rows_of_a_process_add_up_to_the_whole(tmp_path: Path, clk_tck: int) -> None:
    chance = random.Random(clk_tck)
    ticks, rows, starttime = 0, [], (MONO0 + 500) * clk_tck // 1000
    for second in range(1, 60):
        ticks += chance.randrange(clk_tck)
        rows.append(proc(second * 1000, ticks // 3, stime=ticks - ticks // 3, starttime=starttime))
    meta = {"node_meta.json": node_meta("r1", clk_tck=clk_tck)}
    run_dir = parsed(tmp_path, {"proc_metrics.jsonl": rows}, stopped_ms=60_000, documents=meta)
    assert sum(row[2] for row in used(run_dir)) == pytest.approx(ticks * 1000 / clk_tck, abs=1)


@pytest.mark.parametrize("step_ms", [STEP, -STEP])
@pytest.mark.parametrize("has_row_before", [True, False])
def test_a_clock_step_is_no_part_of_dt(tmp_path: Path, step_ms: int, has_row_before: bool) -> None:
    # without the row of 2000 (its line was lost), or with it, the others are the same
    rows = [proc(1900, 9)] + [proc(2000, 10)] * has_row_before
    rows += [proc(3000 + step_ms, 30), proc(4000 + step_ms, 40)]
    found = used(
        parsed(tmp_path, {"proc_metrics.jsonl": rows, "marks.jsonl": [clock_step(2000, 3000, step_ms)]})
    )
    by_time = {at_ms: (cpu_ms, dt_ms) for at_ms, _, cpu_ms, dt_ms in found}
    assert by_time[3000 + step_ms] == ((200, 1000) if has_row_before else (210, 1100))
    assert by_time[4000 + step_ms] == (100, 1000)


@pytest.mark.parametrize("step_ms", [STEP, -STEP])
def test_a_row_from_before_the_start_lies_before_a_clock_step(tmp_path: Path, step_ms: int) -> None:
    # where another collector's first row is late, the sampler's first tick comes before started_ms
    rows = [proc(-1000, 5, born_ms=-9000), proc(2000, 10, born_ms=-9000)]
    rows += [proc(second * 1000 + step_ms, second * 10, born_ms=-9000) for second in (3, 4)]
    files = {"proc_metrics.jsonl": rows, "marks.jsonl": [clock_step(2000, 3000, step_ms)]}
    by_time = {at_ms: (cpu_ms, dt_ms) for at_ms, _, cpu_ms, dt_ms in used(parsed(tmp_path, files))}
    assert by_time == {2000: (50, 3000), 3000 + step_ms: (200, 1000), 4000 + step_ms: (100, 1000)}


@pytest.mark.parametrize("step_ms", [STEP, -STEP])
def test_a_clock_step_while_nothing_matched_is_no_part_of_dt(tmp_path: Path, step_ms: int) -> None:
    rows = [proc(6000 + step_ms, 10, born_ms=5000)]  # 10 ticks in the second since its birth
    files = {"proc_metrics.jsonl": rows, "marks.jsonl": [clock_step(2000, 3000, step_ms)]}
    assert used(parsed(tmp_path, files)) == [(6000 + step_ms, 7, 100, 1000)]


# --- order and duplicates


@pytest.mark.parametrize("colon", [b":", b": ", b" :"])
def test_shuffled_and_doubled_rows_give_the_same_series(tmp_path: Path, colon: bytes) -> None:
    rows = [proc(1000 * second, 7 * second, pid=pid) for second in range(2, 30) for pid in (7, 8)]
    plain = parsed(tmp_path / "plain", {"proc_metrics.jsonl": rows}, stopped_ms=30_000)
    mixed = rows + rows[10:20]
    random.Random(1).shuffle(mixed)
    data = lines(mixed).replace(b":", colon)
    run_dir = parsed(tmp_path / "mixed", {"proc_metrics.jsonl": data}, stopped_ms=30_000)
    assert sorted(used(run_dir)) == sorted(used(plain))
    assert quality_of(run_dir)["inputs"]["proc_metrics.jsonl"]["duplicates"] == 10


def test_a_row_of_a_series_at_the_same_time_is_a_duplicate(tmp_path: Path) -> None:
    other_nic = nic(1000, link="vm1.nic.eth1")
    files = {
        "resources.jsonl": [cpu(1000), mem(1000), cpu(1000, cpu_util=99), mem(1000)],
        "links.jsonl": [nic(1000), other_nic, nic(1000)],
        "proc_metrics.jsonl": [proc(2000, 1), proc(2000, 1, pid=8), proc(2000, 1)],
    }
    run_dir = parsed(tmp_path, files)
    inputs = quality_of(run_dir)["inputs"]
    assert {name: (one["lines"], one["accepted"], one["duplicates"]) for name, one in inputs.items()} == {
        "resources.jsonl": (4, 2, 2),
        "links.jsonl": (3, 2, 1),
        "proc_metrics.jsonl": (3, 2, 1),
    }
    assert [row.get("cpu_util") for row in rows_of(run_dir, "host_metrics.jsonl")] == [12.5, None]


def test_a_doubled_part_is_a_duplicate_also_after_a_backward_step(tmp_path: Path) -> None:
    rows = [proc(2000, 10), proc(3000, 20), proc(2000, 10), proc(4000 - STEP, 30)]
    run_dir = parsed(tmp_path, {"proc_metrics.jsonl": rows, "marks.jsonl": [clock_step(3000, 4000, -STEP)]})
    assert quality_of(run_dir)["inputs"]["proc_metrics.jsonl"]["duplicates"] == 1
    assert "reset" not in kinds(run_dir)


def test_only_bad_process_lines_out_of_order_are_only_rejected(tmp_path: Path) -> None:
    rows = [{"ts_ms": T0 + 2000}, {"ts_ms": T0 + 1000}]
    run_dir = parsed(tmp_path, {"proc_metrics.jsonl": rows})
    assert quality_of(run_dir)["inputs"]["proc_metrics.jsonl"]["rejected"] == {"type": 2}


def test_unattributed_cpu_is_a_row_without_a_pid_and_one_mark_with_the_sum(tmp_path: Path) -> None:
    marks = [
        mark("proc", "unattributed", 1000, 2000, reason="children", cpu_ms=320.5, dt_ms=1001),
        mark("proc", "unattributed", 2000, 3000, reason="cgroup", cpu_ms=30, dt_ms=999),
    ]
    run_dir = parsed(tmp_path, {"proc_metrics.jsonl": [proc(2000, 20), proc(3000, 20)], "marks.jsonl": marks})
    rows = rows_of(run_dir, "proc_cpu.jsonl")
    assert [(row["ts_ms"] - T0, row["cpu_ms"], row["dt_ms"], row["source"]) for row in rows] == [
        (2000, 200, 1000, "poll"),
        (2000, 320.5, 1001, "poll"),
        (3000, 0, 1000, "poll"),
        (3000, 30, 999, "cgroup"),
    ]
    assert [(row["pid"], row["starttime"]) for row in rows[1::2]] == [(None, None)] * 2
    (told,) = quality_of(run_dir)["marks"]
    assert (told["kind"], told["detail"]) == (
        "unattributed",
        "proc: 350 ms of CPU can be given to no process",
    )


def test_unattributed_cpu_without_dt_ms_is_over_the_span_of_its_mark(tmp_path: Path) -> None:
    marks = [
        mark("proc", "unattributed", 1000, 2500, reason="children", cpu_ms=7),
        mark("proc", "unattributed", 2500, None, reason="children", cpu_ms=9),  # over an unknown time: no row
        mark("proc", "unattributed", 2500, 3000, reason="children"),
    ]
    run_dir = parsed(tmp_path, {"proc_metrics.jsonl": b"", "marks.jsonl": marks})
    rows = rows_of(run_dir, "proc_cpu.jsonl")
    assert [(row["ts_ms"] - T0, row["cpu_ms"], row["dt_ms"]) for row in rows] == [(2500, 7, 1500)]


def test_a_doubled_mark_or_end_counts_once(tmp_path: Path) -> None:
    told = mark("proc", "unattributed", 1000, 2000, reason="children", cpu_ms=12.5, dt_ms=1000)
    other = {**told, "cpu_ms": 1}  # at the same time, and not the same
    end = {"ts_ms": T0 + 2500, "event": "end", "pid": 7, "starttime": proc(0, 0)["starttime"], "utime": 30,
           "stime": 0}  # fmt: skip
    inventory, marks = [end, end], [told, other, told]
    run_dir = parsed(
        tmp_path,
        {"proc_metrics.jsonl": [proc(2000, 20)], "proc_inventory.jsonl": inventory, "marks.jsonl": marks},
    )
    rows = rows_of(run_dir, "proc_cpu.jsonl")
    assert [row["cpu_ms"] for row in rows if row["pid"] is None] == [12.5, 1]
    assert [row["cpu_ms"] for row in rows if row["pid"]] == [200, 100]
    inputs = quality_of(run_dir)["inputs"]
    assert (inputs["marks.jsonl"]["accepted"], inputs["marks.jsonl"]["duplicates"]) == (2, 1)
    assert inputs["proc_inventory.jsonl"]["duplicates"] == 1
