"""Tasks for simulators: each ms and each CPU ms of a task is where it was measured, and none is lost."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from runs import CLK_TCK, MONO0, T0, Row, parsed, proc

from tracekit.dataset import open_dataset
from tracekit.export.audit import Audit
from tracekit.export.curve import Piece, busiest, cut, spread
from tracekit.export.tasks import Task, read_tasks, waits

BORN = (MONO0 + 1000) * CLK_TCK // 1000  # starttime of runs.proc: born 1 s after the start


def seen(pid: int, ppid: int, born_ms: int = 1000, **more: Any) -> Row:
    """The inventory's row of a process."""
    starttime = (MONO0 + born_ms) * CLK_TCK // 1000
    row = {"ts_ms": T0 + born_ms, "event": "seen", "pid": pid, "starttime": starttime, "ppid": ppid}
    return {**row, "comm": f"c{pid}", "cmdline": "", "container": None, **more}


def job(
    pid: int | None, start_ms: int, end_ms: int, cpu_ms: float | None, span: str = "a", **more: Any
) -> Row:
    """What run_task writes of a job whose process was born with the job."""
    took_ms = end_ms - start_ms
    stamps = {"ts_enqueue": T0 + start_ms, "ts_start": T0 + start_ms, "ts_end": T0 + end_ms}
    durations = {"queue_time_ms": 0, "service_time_ms": took_ms, "rt_ms": took_ms}
    ids = {"trace_id": "t", "span_id": span, "parent_id": None, "module_id": f"m-{span}"}
    born = None if pid is None else (MONO0 + start_ms) * CLK_TCK // 1000
    known = {"pid": pid, "starttime": born, "cpu_time_ms": cpu_ms, "status": 0}
    row: Row = {**stamps, **durations, **ids, **known, "node": "vm1", "source": "run_task"}
    return row | more


def tasks_of(
    folder: Path, files: dict[str, list[Row] | bytes], kind: str = "jobs", is_imputing: bool = False
) -> tuple[list[Task], Audit]:
    documents = {"node_meta.json": node()}
    run_dir = parsed(folder, files, documents=documents)
    audit = Audit()
    return read_tasks(open_dataset(run_dir / "cctf"), kind, is_imputing, audit), audit


def node(**more: Any) -> Row:
    base: Row = {"run_id": "r1", "node": "vm1", "stage": "edge", "clk_tck": CLK_TCK, "cpu_cores": 4}
    return base | {"mem_mb": 1000, "cpu_freq_mhz": 2000} | more


def shape(pieces: Sequence[Piece]) -> list[tuple[int, float]]:
    return [(piece.length_ms, round(piece.cpu_ms, 6)) for piece in pieces]


def test_a_job_has_the_cpu_of_its_process_and_of_those_below_it(tmp_path: Path) -> None:
    """Process 7: 30 ticks to 2 s, 50 to 3 s; its child 8, born at 1.5 s: 20, then 40. wait4 told 1.4 s."""
    rows = [
        proc(2000, 30),
        proc(2000, 20, pid=8, born_ms=1500),
        proc(3000, 80),
        proc(3000, 60, pid=8, born_ms=1500),
    ]
    files: dict[str, list[Row] | bytes] = {
        "proc_metrics.jsonl": rows,
        "proc_inventory.jsonl": [seen(7, 1), seen(8, 7, 1500), seen(9, 1)],
        "invocations.run_task.jsonl": [job(7, 1000, 3000, 1400.0)],
    }
    (task,), audit = tasks_of(tmp_path, files)
    assert shape(task.pieces) == [(1000, 500.0), (1000, 900.0)]
    assert (task.cores, task.peak_rss_kb, task.name) == (1, 128, "m-a")
    assert audit.counted["CPU ms that wait4 told and no sample, spread"] == 0
    assert audit.refused == {}


def test_what_wait4_told_beyond_the_samples_goes_where_nobody_looked(tmp_path: Path) -> None:
    """From 1 s to 4 s; samples to 3 s have 0.8 s of CPU. 1.5 s were used: 0.7 s of them in the last s."""
    files: dict[str, list[Row] | bytes] = {
        "proc_metrics.jsonl": [proc(2000, 30), proc(3000, 80)],
        "proc_inventory.jsonl": [seen(7, 1)],
        "invocations.run_task.jsonl": [job(7, 1000, 4000, 1500.0)],
    }
    (task,), audit = tasks_of(tmp_path, files)
    assert shape(task.pieces) == [(1000, 300.0), (1000, 500.0), (1000, 700.0)]
    assert audit.counted["CPU ms that wait4 told and no sample, spread"] == 700


def test_a_job_inside_a_job_keeps_its_cpu_to_itself(tmp_path: Path) -> None:
    """Outer 1 s to 4 s used 2 s in all, of which inner, 2 s to 3 s, used 0.9 s."""
    rows = [proc(2000, 40), proc(3000, 40), proc(3000, 90, pid=8, born_ms=2000), proc(4000, 110)]
    files: dict[str, list[Row] | bytes] = {
        "proc_metrics.jsonl": rows,
        "proc_inventory.jsonl": [seen(7, 1), seen(8, 7, 2000)],
        "invocations.run_task.jsonl": [
            job(7, 1000, 4000, 2000.0, "a"),
            job(8, 2000, 3000, 900.0, "b", parent_id="a"),
        ],
    }
    tasks, audit = tasks_of(tmp_path, files)
    assert [round(task.cpu_ms, 6) for task in tasks] == [1100, 900]
    assert waits(tasks, audit) == {}
    assert sum(group.count for group in audit.left_out.values()) == 1


def test_only_a_job_that_started_after_its_parents_end_waited_for_it(tmp_path: Path) -> None:
    rows = [proc(2000, 40), proc(3000, 90, pid=8, born_ms=2000)]
    files: dict[str, list[Row] | bytes] = {
        "proc_metrics.jsonl": rows,
        "proc_inventory.jsonl": [seen(7, 1), seen(8, 1, 2000)],
        "invocations.run_task.jsonl": [
            job(7, 1000, 2000, 400.0, "a"),
            job(8, 2000, 3000, 900.0, "b", parent_id="a"),
        ],
    }
    tasks, audit = tasks_of(tmp_path, files)
    assert waits(tasks, audit) == {1: 0}
    assert audit.left_out == {}


@pytest.mark.parametrize("pids", [(None, None), (7, 7)], ids=["no-process", "one-process-for-two"])
def test_a_job_without_samples_of_its_own_is_refused_or_spread_evenly(
    tmp_path: Path, pids: tuple[int | None, int | None]
) -> None:
    files: dict[str, list[Row] | bytes] = {
        "proc_metrics.jsonl": [proc(2000, 40), proc(3000, 90)],
        "proc_inventory.jsonl": [seen(7, 1)],
        "invocations.celery.jsonl": [
            job(pids[0], 1000, 2000, 400.0, "a", source="celery", starttime=BORN if pids[0] else None),
            job(pids[1], 2000, 3000, 2500.0, "b", source="celery", starttime=BORN if pids[1] else None),
        ],
    }
    tasks, audit = tasks_of(tmp_path / "strict", files)
    assert tasks == [] and [one.count for one in audit.refused.values()] == [2]
    tasks, audit = tasks_of(tmp_path / "imputing", files, is_imputing=True)
    assert [shape(task.pieces) for task in tasks] == [[(1000, 400.0)], [(1000, 2500.0)]]
    assert [task.cores for task in tasks] == [1, 3]
    assert [one.count for one in audit.imputed.values()] == [2] and audit.refused == {}


def test_requests_of_a_service_are_no_jobs(tmp_path: Path) -> None:
    files: dict[str, list[Row] | bytes] = {
        "proc_metrics.jsonl": [proc(2000, 40)],
        "events.7.jsonl": [job(7, 1000, 2000, 400.0, source=None)],
    }
    tasks, audit = tasks_of(tmp_path, files)
    assert tasks == [] and audit.refused == {}
    assert audit.counted["CPU ms of processes of no job, left out"] == 400


def test_processes_last_from_their_birth_or_first_sample_to_their_last(tmp_path: Path) -> None:
    """Born at 1 s with 30 ticks at 2 s; older than the run with a sample at 1 s and 10 ticks more at 2 s."""
    rows = [proc(1000, 500, pid=5, born_ms=-4000), proc(2000, 30), proc(2000, 510, pid=5, born_ms=-4000)]
    files: dict[str, list[Row] | bytes] = {
        "proc_metrics.jsonl": [*rows, proc(2000, 7, pid=6, born_ms=-4000)],
        "proc_inventory.jsonl": [seen(5, 1, -4000, ts_ms=T0), seen(6, 1, -4000, ts_ms=T0), seen(7, 1)],
    }
    tasks, audit = tasks_of(tmp_path, files, "processes")
    assert [(task.name, task.started_ms - T0, task.ended_ms - T0) for task in tasks] == [
        ("c5", 1000, 2000),
        ("c7", 1000, 2000),
    ]
    assert [shape(task.pieces) for task in tasks] == [[(1000, 100.0)], [(1000, 300.0)]]
    assert [one.first for one in audit.refused.values()] == [["vm1: pid 6 (c6)"]]


def test_a_piece_without_a_row_is_told() -> None:
    pieces = cut(0, 4000, [(1000, 1000.0, 500.0), (4000, 500.0, 250.0)])
    assert [(piece.length_ms, piece.cpu_ms, piece.unseen_ms) for piece in pieces] == [
        (1000, 500.0, 0.0),
        (3000, 250.0, 2500.0),
    ]
    filled = spread(pieces, 6000.0, 2)  # 2.5 s x 2 cores take 5 s, the last second is for all 4 s
    assert shape(filled) == [(1000, 750.0), (3000, 6000.0)]


def test_a_tick_more_makes_no_further_core() -> None:
    """A thread that is always busy shows 101 ticks in some seconds; two threads show 200."""
    assert busiest([Piece(1000, 1010.0, 0.0, 1)], 10.0, 4) == 1
    assert busiest([Piece(1000, 2000.0, 0.0, 1)], 10.0, 4) == 2
    assert busiest([Piece(3, 25.0, 0.0, 1)], 10.0, 4) == 2  # a closing row of some ms
    assert busiest([Piece(1000, 9000.0, 0.0, 1)], 10.0, 4) == 4


ROWS = st.lists(
    st.tuples(st.integers(-500, 5500), st.floats(0.001, 3000), st.floats(0, 4000)),
    max_size=20,
)


@given(st.integers(0, 2000), st.integers(1, 3000), ROWS, st.floats(0, 9000), st.integers(1, 8))
def test_no_time_and_no_cpu_is_lost(
    start: int, length: int, rows: list[tuple[int, float, float]], more: float, cores: int
) -> None:
    pieces = cut(start, start + length, rows)
    assert sum(piece.length_ms for piece in pieces) == length
    assert all(piece.length_ms > 0 and piece.cpu_ms >= 0 and piece.unseen_ms >= 0 for piece in pieces)
    cpu = sum(cpu_ms for _, _, cpu_ms in rows)
    assert sum(piece.cpu_ms for piece in pieces) == pytest.approx(cpu, abs=1e-6)
    inside = [one for one in range(start * 4, (start + length) * 4) if not _in_a_row(one / 4 + 0.125, rows)]
    assert sum(piece.unseen_ms for piece in pieces) == pytest.approx(
        len(inside) / 4, abs=0.5 * (len(rows) + 1)
    )
    filled = spread(pieces, more, cores)
    assert sum(piece.cpu_ms for piece in filled) == pytest.approx(cpu + more, abs=1e-6)


def _in_a_row(at: float, rows: list[tuple[int, float, float]]) -> bool:
    return any(end - length <= at <= end for end, length, _ in rows)
