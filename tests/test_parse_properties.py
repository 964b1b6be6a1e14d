"""Properties of parse as a whole, from raw files to a valid cctf, whatever the files hold."""

import json
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.hostile.corpus import HAZARDS, KINDS, Kind, good
from tests.runs import T0, Row, line, lines, make_run, quality_of, snapshot, tool
from tracekit import ROOT
from tracekit.parse.build import build
from tracekit.records import FILES
from tracekit.validate import find_problems

EVENTS = next(kind for kind in KINDS if kind.raw == "events.11.jsonl")
RAW = {kind.raw: kind for kind in KINDS}


def parse(folder: str, files: dict[str, bytes]) -> Path:
    """The run, parsed; its cctf is valid."""
    run_dir = make_run(Path(folder) / "r1", dict(files))
    build(run_dir)
    assert list(find_problems(run_dir / "cctf")) == []
    return run_dir


def out_lines(run_dir: Path, kind: Kind) -> list[bytes]:
    return (run_dir / "cctf" / kind.out).read_bytes().split(b"\n")[:-1]


# --- good lines and anything else


def is_no_record(data: bytes) -> bool:
    """Whether no line of the data can be an object, so that none can be a record."""
    return b"{" not in data


garbage = st.one_of(
    st.binary(max_size=40).filter(is_no_record),
    st.text('{}[]",:\\ \t\r0123456789.eE-+truefalsn\u2028\ufeff', max_size=30)
    .map(str.encode)
    .filter(is_no_record),
    st.sampled_from(sorted(HAZARDS)),
)


@settings(max_examples=120, deadline=None)
@given(
    st.sampled_from(sorted(RAW)),
    st.lists(st.one_of(st.none(), garbage), max_size=25),
    st.sampled_from([b"", b"\n", b"\n{", b"\n\xff"]),
)
def test_good_lines_survive_any_garbage_between_them_and_every_line_is_in_the_account(
    raw: str, pieces: list[bytes | str | None], end: bytes
) -> None:
    kind = RAW[raw]
    made, count = [], 0
    for piece in pieces:
        if piece is None:
            made.append(good(kind, T0 + count))
            count += 1
        else:
            made.append(HAZARDS[piece][1](kind) if isinstance(piece, str) else piece)
    data = b"\n".join(made) + end
    with tempfile.TemporaryDirectory() as folder:
        run_dir = parse(folder, {raw: data})
        times = [json.loads(one)[kind.key] for one in out_lines(run_dir, kind)]
        account = quality_of(run_dir)["inputs"][raw]
        rejected = (run_dir / "cctf" / "rejected.jsonl").read_bytes().count(b"\n")
    assert times == list(range(T0, T0 + count))
    assert account["lines"] == data.count(b"\n") + (not data.endswith(b"\n") and data != b"")
    assert account["lines"] == account["accepted"] + rejected + account["duplicates"]
    assert account["accepted"] == count
    assert sum(account["rejected"].values()) == rejected


# --- order


@st.composite
def split_and_shuffled(draw: st.DrawFn) -> tuple[list[Row], list[list[Row]]]:
    """Requests with times that may be equal or unknown, and the same dealt to some workers, in any order."""
    times = draw(st.lists(st.none() | st.integers(T0, T0 + 8), max_size=20))
    rows: list[Row] = [
        {"ts_enqueue": at, "ts_end": T0 + 9, "trace_id": "t", "span_id": str(number)}
        for number, at in enumerate(times)
    ]
    workers: list[list[Row]] = [[] for _ in range(draw(st.integers(1, 5)))]
    for row in draw(st.permutations(rows)):
        workers[draw(st.integers(0, len(workers) - 1))].append(row)
    return rows, workers


@settings(max_examples=80, deadline=None)
@given(split_and_shuffled())
def test_any_split_among_workers_and_any_order_gives_the_same_sorted_lines(
    made: tuple[list[Row], list[list[Row]]],
) -> None:
    rows, workers = made
    files = {f"events.{number}.jsonl": lines(some) for number, some in enumerate(workers)}
    with tempfile.TemporaryDirectory() as folder:
        run_dir = parse(folder, files)
        found = out_lines(run_dir, EVENTS)
        derived = (run_dir / "events.jsonl").read_bytes()
    wanted = [{**row, "node": "vm1", "stage": "edge"} for row in rows]
    keys = [json.loads(one)["ts_enqueue"] for one in found]
    assert keys == sorted((row["ts_enqueue"] for row in rows), key=lambda at: (at is None, at))
    spans = {row["span_id"]: row for row in wanted}
    assert {json.loads(one)["span_id"]: json.loads(one) for one in found} == spans
    assert len(found) == len(rows)
    assert derived == b"".join(one + b"\n" for one in found)


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(sorted(RAW)), st.permutations(range(12)), st.lists(st.integers(0, 11), max_size=4))
def test_any_order_of_the_lines_of_a_file_gives_the_same_file(
    raw: str, order: list[int], again: list[int]
) -> None:
    kind = RAW[raw]
    has_identity = FILES[kind.out].sort_key == "ts_enqueue" or kind.record.__name__ in ("RawProc", "RawLink")
    numbers = [*order, *(again if has_identity else [])]
    with tempfile.TemporaryDirectory() as folder:
        in_order = parse(folder, {raw: b"".join(good(kind, T0 + n) + b"\n" for n in range(12))})
        wanted = out_lines(in_order, kind)
        mixed = parse(folder, {raw: b"".join(good(kind, T0 + n) + b"\n" for n in numbers)})
        assert out_lines(mixed, kind) == wanted
        assert quality_of(mixed)["inputs"][raw]["duplicates"] == (len(again) if has_identity else 0)


# --- dates that break readers of text, under other zones and locales

NIGHTS_S = {
    "midnight": 1_767_830_400,  # 2026-01-08 00:00 UTC
    "new year": 1_798_761_600,  # 2027-01-01 00:00 UTC
    "leap day": 1_835_395_200,  # 2028-02-29 00:00 UTC
    "the day after": 1_835_481_600,  # 2028-03-01 00:00 UTC
    "summer ends in Europe": 1_792_890_000,  # 2026-10-25 01:00 UTC
    "summer begins in Europe": 1_774_746_000,  # 2026-03-29 01:00 UTC
    "summer ends in New York": 1_793_512_800,  # 2026-11-01 06:00 UTC
}


def around(night_s: int) -> list[int]:
    """Each second of the minute around it, ms."""
    return [1000 * (night_s + second) for second in range(-30, 30)]


@pytest.fixture
def run_of_nights() -> Any:
    """A run directory of this checkout, with a row for each second of each of those minutes."""
    (ROOT / "logs").mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="test-nights-", dir=ROOT / "logs") as folder:
        times = sorted(at for night_s in NIGHTS_S.values() for at in around(night_s))
        rows = {kind.raw: b"".join(good(kind, at) + b"\n" for at in times) for kind in KINDS}
        started = {"run_id": Path(folder).name, "started_ms": times[0], "stopped_ms": times[-1]}
        yield make_run(Path(folder), dict(rows), documents={"run_meta.json": line(started)}), times


def test_no_night_zone_or_locale_moves_a_row(run_of_nights: tuple[Path, list[int]]) -> None:
    run_dir, times = run_of_nights
    made = []
    for zone, locale in (("UTC", "C"), ("America/New_York", "de_DE.UTF-8"), ("Asia/Kolkata", "C.UTF-8")):
        done = tool("parse_sys.py", run_dir.name, TZ=zone, LC_ALL=locale)
        assert done.returncode == 0, done.stderr
        made.append(snapshot(run_dir / "cctf"))
    assert made[0] == made[1] == made[2]
    for kind in KINDS:
        assert [json.loads(one)[kind.key] for one in out_lines(run_dir, kind)] == times, kind.raw
