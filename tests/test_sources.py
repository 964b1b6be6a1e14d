"""Readers of the tools' text: fixture pairs found by name, and the traps by hand."""

import json
from pathlib import Path

import msgspec
import pytest
from conftest import ROOT
from hypothesis import given
from hypothesis import strategies as st

from tracekit.sources import ifstat, mpstat, reader_for, vmstat

PAIRS = sorted((ROOT / "tests" / "fixtures").glob("*.in"))


@pytest.mark.parametrize("path", PAIRS, ids=lambda path: path.stem)
def test_fixture_gives_the_samples_beside_it(path: Path) -> None:
    reader = reader_for(path.name.split("--")[0])
    assert reader is not None
    got = [msgspec.structs.asdict(sample) for sample in reader.parse(path.read_text().splitlines())]
    wanted = [json.loads(line) for line in path.with_suffix(".jsonl").read_text().splitlines()]
    assert got == wanted


def test_every_text_reader_has_a_fixture() -> None:
    readers = {path.stem for path in (ROOT / "tracekit" / "sources").glob("*.py")} - {"__init__"}
    assert readers == {path.name.split("--")[0] for path in PAIRS}


def test_iowait_counts_as_idle() -> None:
    lines = ["00:00:01 CPU %usr %iowait %idle", "00:00:02 all 10.00 30.00 60.00"]
    assert [sample.cpu_util for sample in mpstat.parse(lines)] == [10.0]


def test_columns_rounded_to_more_than_a_hundred_are_no_negative_load() -> None:
    lines = ["00:00:01 CPU %usr %iowait %idle", "00:00:02 all 0.00 0.01 100.00"]
    assert [sample.cpu_util for sample in mpstat.parse(lines)] == [0.0]


def test_twelve_hour_clock_does_not_shift_the_columns() -> None:
    lines = ["12:00:04 AM  CPU  %usr %iowait %idle", "12:00:05 AM  all  25.00 0.00 75.00"]
    assert [sample.cpu_util for sample in mpstat.parse(lines)] == [25.0]


def test_rows_of_single_cores_and_averages_are_no_samples() -> None:
    lines = [
        "00:00:01 CPU %usr %iowait %idle",
        "00:00:02 all 10.00 0.00 90.00",
        "00:00:02 0 20.00 0.00 80.00",
        "Average: all 10.00 0.00 90.00",
    ]
    assert [sample.cpu_util for sample in mpstat.parse(lines)] == [10.0]


def test_first_row_of_vmstat_since_boot_is_dropped_and_later_headers_are_no_rows() -> None:
    header = " r  b   swpd   free   buff  cache"
    lines = [
        "procs ---memory---",
        header,
        " 1  0  0  111  1  2",
        " 1  0  0  222  1  2",
        header,
        " 1  0  0  333  1  2",
    ]
    assert [sample.mem_free_mb for sample in vmstat.parse(lines)] == [222, 333]


def test_ifstat_without_a_figure_is_unknown_and_not_zero() -> None:
    assert list(ifstat.parse(["  n/a   n/a"])) == [ifstat.NicSample(None, None)]


def test_ifstat_kilobytes_are_1024_bytes() -> None:
    assert list(ifstat.parse(["  1.00   2.50"])) == [ifstat.NicSample(1024, 2560)]


@pytest.mark.parametrize("reader", [mpstat, vmstat, ifstat])
@given(lines=st.lists(st.text(st.sampled_from("CPU%idlealn/.0123456789 \t:-AM\u00e9"))))
def test_no_text_breaks_a_reader_unless_a_figure_is_no_number(reader: object, lines: list[str]) -> None:
    try:
        samples = list(reader.parse(lines))  # type: ignore[attr-defined]
    except (ValueError, LookupError):  # the recorder tells these as the collector's trouble
        return
    assert len(samples) <= len(lines)
