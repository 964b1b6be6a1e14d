"""Readers of the tools' text: fixture pairs found by name, and the traps by hand."""

import json
from fractions import Fraction
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


# --- any figures come back, whatever stands between the rows

figure = st.integers(0, 10_000).map(lambda number: number / 100)  # 0.00 to 100.00, as the tools print
junk = st.lists(
    st.sampled_from(
        ["", "Linux 6.1.0 (vm)  01/02/26  _x86_64_  (2 CPU)", "Average:  all  1.00  2.00", "all", "-"]
    ),
    max_size=2,
)


@given(
    st.lists(st.tuples(figure, figure, junk), max_size=8),
    st.permutations(["CPU", "%usr", "%iowait", "%steal", "%idle"]),
    st.sampled_from(["12:00:05", "12:00:05 AM", "11:59:59 PM", "23:59:60"]),
)
def test_mpstat_gives_every_row_by_its_header_whatever_its_columns_and_clock(
    rows: list[tuple[float, float, list[str]]], columns: list[str], clock: str
) -> None:
    text = [f"{clock}  " + "  ".join(columns)]
    for idle, iowait, between in rows:
        values = {"CPU": "all", "%usr": "77.77", "%steal": "0.00"}
        values |= {"%idle": f"{idle:.2f}", "%iowait": f"{iowait:.2f}"}
        text += [*between, f"{clock}  " + "  ".join(values[name] for name in columns)]
    wanted = [max(0.0, (10_000 - round(100 * idle) - round(100 * iowait)) / 100) for idle, iowait, _ in rows]
    assert [sample.cpu_util for sample in mpstat.parse(text)] == wanted


@given(st.lists(st.tuples(st.integers(0, 10**7), st.booleans()), min_size=1, max_size=8), st.integers(0, 5))
def test_vmstat_gives_every_row_but_the_first_with_headers_anywhere(
    rows: list[tuple[int, bool]], before: int
) -> None:
    header = "  ".join(["r"] * before + ["swpd", "free", "buff"])
    text = ["procs ---memory---", header]
    for free, has_header in rows:
        text += ["procs ---memory---", header] * has_header + [
            "  ".join(["1"] * before + ["0", str(free), "2"])
        ]
    assert [sample.mem_free_mb for sample in vmstat.parse(text)] == [free for free, _ in rows[1:]]


@given(st.lists(st.tuples(*[st.none() | st.integers(0, 10**9)] * 2), max_size=8))
def test_ifstat_gives_every_row_in_bytes_and_none_for_what_it_does_not_know(
    rows: list[tuple[int | None, int | None]],
) -> None:
    def shown(hundredths: int | None) -> str:
        return "n/a" if hundredths is None else f"{hundredths // 100}.{hundredths % 100:02}"

    def in_bytes(hundredths: int | None) -> int | None:
        return None if hundredths is None else round(Fraction(hundredths, 100) * 1024)

    header = ["       eth0", " KB/s in  KB/s out"]
    text = [line for one in rows for line in [*header, f"  {shown(one[0])}  {shown(one[1])}"]]
    found = [(sample.rx_Bps, sample.tx_Bps) for sample in ifstat.parse(text)]
    assert found == [(in_bytes(received), in_bytes(sent)) for received, sent in rows]


@pytest.mark.parametrize("reader", [mpstat, vmstat, ifstat])
@given(lines=st.lists(st.text(st.sampled_from("CPU%idlealn/.0123456789 \t:-AM\u00e9"))))
def test_no_text_breaks_a_reader_unless_a_figure_is_no_number(reader: object, lines: list[str]) -> None:
    try:
        samples = list(reader.parse(lines))  # type: ignore[attr-defined]
    except (ValueError, LookupError):  # the recorder tells these as the collector's trouble
        return
    assert len(samples) <= len(lines)
