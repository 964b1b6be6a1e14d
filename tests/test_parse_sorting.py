"""Input that is out of order or large: sorted through files, the same bytes, in memory that does not grow."""

import json
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.runs import T0, Row, line, make_run, parsed, proc, quality_of, rows_of, snapshot
from tracekit import ROOT
from tracekit.files import reading, sorting
from tracekit.files.sorting import Sorter
from tracekit.parse import slices
from tracekit.parse.build import build


@pytest.fixture
def little_memory(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Blocks of 1 KiB, slices of 4 KiB, 3 runs at a time; gets a number for each run that went to a file."""
    written: list[int] = []
    write = Sorter._written

    def counted(self: Sorter, chunks: Any) -> Any:
        written.append(len(written))
        return write(self, chunks)

    monkeypatch.setattr(reading, "BLOCK", 1 << 10)
    monkeypatch.setattr(slices, "SLICE", 1 << 12)
    monkeypatch.setattr(slices, "_STEP", 1 << 9)
    monkeypatch.setattr(slices, "GRAIN", 1 << 7)
    monkeypatch.setattr(sorting, "MEMORY", 1 << 12)
    monkeypatch.setattr(sorting, "_CHUNK", 1 << 9)
    monkeypatch.setattr(sorting, "FAN_IN", 3)
    monkeypatch.setattr(Sorter, "_written", counted)
    return written


def event(number: int, **more: Any) -> Row:
    """The event of that number, 5 ms after the one before; two follow each other at the same time."""
    names = {"trace_id": "t", "span_id": f"s{number}", "node": "vm1", "stage": "edge"}
    return {"ts_enqueue": T0 + number // 2 * 5, **names, **more}


# --- events


@pytest.mark.parametrize("doubled", [0, 400])
def test_shuffled_and_doubled_events_come_out_in_order_once_each(
    tmp_path: Path, little_memory: list[int], doubled: int
) -> None:
    rows = [event(number) for number in range(2000)]
    mixed = rows + rows[:doubled]
    random.Random(3).shuffle(mixed)
    files = {f"events.{one}.jsonl": mixed[one::4] for one in range(4)}
    run_dir = parsed(tmp_path, files)
    times = [row["ts_enqueue"] for row in rows_of(run_dir, "invocations.jsonl")]
    assert times == [T0 + number // 2 * 5 for number in range(2000)]
    assert {row["span_id"] for row in rows_of(run_dir, "invocations.jsonl")} == {f"s{n}" for n in range(2000)}
    inputs = quality_of(run_dir)["inputs"]
    assert sum(one["lines"] for one in inputs.values()) == 2000 + doubled
    assert sum(one["duplicates"] for one in inputs.values()) == doubled
    assert (run_dir / "events.jsonl").read_bytes() == (run_dir / "cctf" / "invocations.jsonl").read_bytes()
    assert len(little_memory) > 9  # of about 100 bytes each, so that runs were merged to longer runs


def test_nearly_ordered_events_need_no_file(tmp_path: Path, little_memory: list[int]) -> None:
    rows = [event(number) for number in range(2000)]
    for at in range(0, 2000, 5):  # each fifth is written three lines late
        rows[at : at + 4] = [*rows[at + 1 : at + 4], rows[at]]
    run_dir = parsed(tmp_path, {"events.1.jsonl": rows})
    spans = [int(row["span_id"][1:]) for row in rows_of(run_dir, "invocations.jsonl")]
    assert [number // 2 for number in spans] == [number // 2 for number in range(2000)]
    assert little_memory == []


def test_more_files_than_are_merged_at_a_time_come_out_in_order(
    tmp_path: Path, little_memory: list[int]
) -> None:
    files = {f"events.{one}.jsonl": [event(number) for number in range(one, 400, 40)] for one in range(40)}
    run_dir = parsed(tmp_path, files)
    assert [row["ts_enqueue"] for row in rows_of(run_dir, "invocations.jsonl")] == [
        T0 + number // 2 * 5 for number in range(400)
    ]


def test_ties_and_nulls_keep_their_order_in_files_too(tmp_path: Path, little_memory: list[int]) -> None:
    def row(key: int | None, end: int, node: str, number: int) -> Row:
        return {"ts_enqueue": key, "ts_end": end, "node": node, "stage": None, "n": number}

    ties = [row(T0 + 5, T0, f"n{number % 3}", number) for number in range(300)]
    nulls = [row(None, T0 + number % 7, "n0", 300 + number) for number in range(300)]
    mixed = [one for pair in zip(nulls, ties, strict=True) for one in pair]
    run_dir = parsed(tmp_path, {"events.1.jsonl": mixed[:400], "events.2.jsonl": mixed[400:]})
    wanted = sorted(ties, key=lambda one: (one["node"], one["n"]))
    wanted += sorted(nulls, key=lambda one: (one["ts_end"], one["n"]))
    assert [one["n"] for one in rows_of(run_dir, "invocations.jsonl")] == [one["n"] for one in wanted]
    assert little_memory


def test_bad_lines_are_accounted_for_once_although_the_file_is_read_twice(
    tmp_path: Path, little_memory: list[int]
) -> None:
    rows = [line(event(number)) for number in range(500, 0, -1)]
    rows[100:100], rows[400:400] = [b"bad\n"], [b"{}\n"]
    run_dir = parsed(tmp_path, {"events.1.jsonl": b"".join(rows) + b'{"torn'})
    account = quality_of(run_dir)["inputs"]["events.1.jsonl"]
    assert account == {
        "lines": 503,
        "accepted": 500,
        "rejected": {"json": 1, "no_stamp": 1, "torn": 1},
        "duplicates": 0,
    }
    assert [row["line"] for row in rows_of(run_dir, "rejected.jsonl")] == [101, 401, 503]
    assert little_memory


def test_the_derived_events_hold_no_line_of_an_adapter(tmp_path: Path) -> None:
    same = event(1)
    files: dict[str, list[Row] | bytes] = {
        "events.1.jsonl": [event(0), same, same],
        "invocations.x.jsonl": [{**same, "node": "alpha"}, event(2)],
    }
    run_dir = parsed(tmp_path, files)
    view = [json.loads(one) for one in (run_dir / "events.jsonl").read_bytes().splitlines()]
    assert [(row["span_id"], row["node"]) for row in view] == [("s0", "vm1"), ("s1", "vm1")]
    # the adapter's line of s1 comes first there, for its node sorts before
    found = [(row["span_id"], row["node"]) for row in rows_of(run_dir, "invocations.jsonl")]
    assert found == [("s1", "alpha"), ("s0", "vm1"), ("s2", "vm1")]


# --- samples


def test_shuffled_process_rows_give_the_bytes_of_ordered_ones(
    tmp_path: Path, little_memory: list[int]
) -> None:
    rows = [proc(1000 * second, 3 * second, pid=pid) for second in range(2, 200) for pid in (7, 8)]
    ordered = parsed(tmp_path / "ordered", {"proc_metrics.jsonl": rows}, stopped_ms=200_000)
    assert little_memory == []
    late = rows[1::2] + rows[::2]  # pid 8 from the first second to the last, then pid 7
    mixed = parsed(tmp_path / "late", {"proc_metrics.jsonl": late}, stopped_ms=200_000)
    assert little_memory
    for name in ("proc_cpu.jsonl", "proc_rss.jsonl", "proc_metrics.jsonl"):
        by_pid = [sorted(rows_of(one, name), key=lambda row: row["pid"]) for one in (ordered, mixed)]
        assert by_pid[0] == by_pid[1]
        assert [row["ts_ms"] for row in rows_of(mixed, name)] == sorted(
            row["ts_ms"] for row in rows_of(ordered, name)
        )
    assert quality_of(mixed) == quality_of(ordered)


def test_a_closing_row_stands_at_its_time_and_is_written_once(tmp_path: Path) -> None:
    start = proc(0, 0)["starttime"]
    end = {"ts_ms": T0 + 2500, "event": "end", "pid": 7, "starttime": start, "utime": 25, "stime": 0}
    other = [proc(1000 * second, second, pid=8) for second in range(2, 6)]
    reused = [proc(2000, 20), proc(4000, 5, born_ms=3000)]
    files: dict[str, list[Row] | bytes] = {
        "proc_metrics.jsonl": sorted([*other, *reused], key=lambda row: row["ts_ms"]),
        "proc_inventory.jsonl": [end, end],
    }
    found = rows_of(parsed(tmp_path, files), "proc_cpu.jsonl")
    closing = [(row["ts_ms"] - T0, row["cpu_ms"], row["dt_ms"]) for row in found if row["source"] == "exit"]
    assert closing == [(2500, 50, 500)]  # 25 ticks of 10 ms in all, 20 of them seen at 2000
    assert [row["ts_ms"] for row in found] == sorted(row["ts_ms"] for row in found)
    # born at 3000, 5 ticks by 4000: the pid's second process
    assert [(row["cpu_ms"], row["dt_ms"]) for row in found if row["ts_ms"] == T0 + 4000][-1] == (50, 1000)


def test_an_end_that_is_told_after_its_pid_was_used_again_closes_the_first(tmp_path: Path) -> None:
    end = {"ts_ms": T0 + 3500, "event": "end", "pid": 7, "starttime": proc(0, 0)["starttime"]}
    files: dict[str, list[Row] | bytes] = {
        "proc_metrics.jsonl": [proc(2000, 20), proc(3000, 4, born_ms=2500), proc(4000, 5, born_ms=2500)],
        "proc_inventory.jsonl": [{**end, "utime": 23, "stime": 0}],
    }
    rows = rows_of(parsed(tmp_path, files), "proc_cpu.jsonl")
    assert [(row["ts_ms"] - T0, row["cpu_ms"], row["source"]) for row in rows] == [
        (2000, 200, "poll"),
        (3000, 40, "poll"),
        (3500, 30, "exit"),
        (4000, 10, "poll"),
    ]


# --- the parts


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 50), st.text("ab", max_size=2))), st.integers(1, 7))
def test_any_entries_come_out_of_the_sorter_as_sorted_does_it(
    tmp_path_factory: pytest.TempPathFactory, keyed: list[tuple[int, str]], size: int
) -> None:
    entries = [(*one, number) for number, one in enumerate(keyed)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sorting, "MEMORY", size * 10)
        patch.setattr(sorting, "FAN_IN", 2)
        sorter = Sorter(tmp_path_factory.getbasetemp())
        for one in entries:
            sorter.add([one], 10)
        assert [one for block in sorter.sorted() for one in block] == sorted(entries)


# --- memory

RUN = """
import sys; sys.path.insert(0, sys.argv[1])
from pathlib import Path
from tracekit.parse.build import build
build(Path(sys.argv[2]))
status = Path("/proc/self/status").read_text()  # ru_maxrss may be that of the parent before exec
print(next(line.split()[1] for line in status.splitlines() if line.startswith("VmHWM")))
"""


def peak_kb(run_dir: Path) -> int:
    command = [sys.executable, "-I", "-c", RUN, str(ROOT), str(run_dir)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=True)
    return int(done.stdout)


@pytest.mark.parametrize("is_shuffled", [False, True])
def test_ten_times_the_data_take_no_more_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_shuffled: bool
) -> None:
    monkeypatch.syspath_prepend(ROOT / "bench")
    from generate import Size, make_run  # noqa: PLC0415 - needs the path above

    peaks = []
    for times in (1, 10):
        size = Size(0.4 * times, 20, 40_000 * times, bad=8 * times)
        run_dir = make_run(tmp_path / str(times) / "r1", size)
        if is_shuffled:
            for path in run_dir.glob("*.jsonl"):
                rows = path.read_bytes().splitlines(keepends=True)
                random.Random(1).shuffle(rows)
                path.write_bytes(b"".join(rows))
        peaks.append(peak_kb(run_dir))
    assert peaks[1] <= 1.2 * peaks[0]


def test_the_order_in_which_files_were_made_changes_no_byte(tmp_path: Path) -> None:
    files: dict[str, list[Row] | bytes] = {
        f"events.{one}.jsonl": [event(number, node=f"n{number % 2}") for number in range(one, 100, 7)]
        for one in range(7)
    }
    first, second = make_run(tmp_path / "a" / "r1", files), tmp_path / "b" / "r1"
    make_run(second, dict(reversed(files.items())))
    build(first)
    build(second)
    assert snapshot(first / "cctf") == snapshot(second / "cctf")


def test_line_bytes_stay_through_files(tmp_path: Path, little_memory: list[int]) -> None:
    kept = '{"ts_enqueue":%d,"node":"n","stage":"s","rt_ms":1.50,"x":{"é":[1e3,"\\u00e9"]}}'
    texts = [(kept % (T0 + number)).encode() for number in range(300, 0, -1)]
    run_dir = parsed(tmp_path, {"events.1.jsonl": b"\n".join(texts) + b"\n"})
    assert (run_dir / "cctf" / "invocations.jsonl").read_bytes().splitlines() == texts[::-1]
    assert little_memory
