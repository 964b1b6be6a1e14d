"""How well the clock is set: asked of programs made here, first in PATH, and told once an interval."""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.runs import T0, Row, kinds, nic, node_meta, parsed, quality_of
from tracekit.collect import clock
from tracekit.collect.clockwatch import ClockWatch

# chronyc(1): field 5 is the correction in s, positive where the local clock is slow; 11 and 12 are the
# root delay and dispersion in s.
SET = "C0000201,192.0.2.1,3,1700000000.0,-0.000250000,0.0,0.0001,-3.5,0.001,0.05,0.004,0.001,64.2,Normal"
LOST = "00000000,,0,0.0,0.0,0.0,0.0,0.0,0.0,0.0,1.0,1.0,0.0,Not synchronised"
UNKNOWN = {"source": None, "synchronised": None, "offset_ms": None, "error_bound_ms": None}
# bound: offset 0.25 ms + dispersion 1 ms + half of the delay 4 ms
GOOD = {"source": "chrony", "synchronised": True, "offset_ms": 0.25, "error_bound_ms": 3.25}


class Service:
    """A folder that is first in PATH, with the chronyc and the timedatectl that a test puts there."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.program("timedatectl", "exit 1")

    def program(self, name: str, script: str) -> None:
        beside = self.folder / f".{name}"
        beside.write_text(f"#!/bin/sh\n{script}\n")
        beside.chmod(0o755)
        beside.replace(self.folder / name)

    def answers(self, csv: str) -> None:
        self.program("chronyc", f"echo '{csv}'")


@pytest.fixture
def service(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Service:
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    return Service(tmp_path)


class Marks(list[dict[str, Any]]):
    def add(self, collector: str, kind: str, **more: Any) -> None:
        self.append({"collector": collector, "kind": kind, **more})

    def wait_for(self, count: int) -> None:
        deadline = time.monotonic() + 10
        while len(self) < count and time.monotonic() < deadline:
            time.sleep(0.01)
        assert len(self) >= count


@contextmanager
def watching(at_start: dict[str, Any]) -> Iterator[Marks]:
    marks = Marks()
    watch = ClockWatch(marks.add, at_start, every_s=0.05)
    watch.start()
    try:
        yield marks
    finally:
        watch.end()


def test_each_reading_is_a_mark_with_offset_and_bound(service: Service) -> None:
    service.answers(SET)
    with watching(GOOD) as marks:
        marks.wait_for(2)
    assert marks[0] == marks[1] == {"collector": "recorder", "kind": "clock", **GOOD}


def test_a_clock_that_loses_its_reference_is_told_once(service: Service) -> None:
    service.answers(SET)
    with watching(GOOD) as marks:
        marks.wait_for(2)
        service.answers(LOST)
        marks.wait_for(len(marks) + 4)
    lost = [mark for mark in marks if mark["kind"] == "clock_lost"]
    assert len(lost) == 1
    assert lost[0]["from_ms"] <= lost[0]["to_ms"]
    before = marks[marks.index(lost[0]) - 1]
    assert (before["synchronised"], before["offset_ms"], before["error_bound_ms"]) == (False, None, None)
    assert marks[-1]["synchronised"] is False


def test_without_a_time_service_all_is_null(service: Service) -> None:
    service.program("chronyc", "exit 1")
    assert clock.read_quality() == UNKNOWN


def test_timedatectl_is_asked_where_chrony_gives_no_answer(service: Service) -> None:
    service.program("chronyc", "echo '506 Cannot talk to daemon'; exit 1")
    service.program("timedatectl", "echo Timezone=UTC; echo NTPSynchronized=yes")
    assert clock.read_quality() == {**UNKNOWN, "source": "timedatectl", "synchronised": True}


@pytest.mark.parametrize(
    "rubbish",
    [
        "506 Cannot talk to daemon",
        "a,b,c,d,e,f,g,h,i,j,k,l,m,n",
        ",,,,,,,,,,,,,",
        "1,2,3",
        SET.replace("-0.000250000", "nan"),
        SET.replace("0.004", "inf"),
        "\\0377\\0376",
    ],
)
def test_rubbish_is_no_answer(service: Service, rubbish: str) -> None:
    service.answers(rubbish)
    assert clock.read_quality() == UNKNOWN


def test_a_service_that_hangs_is_given_up_with_all_that_it_started(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clock, "ANSWER_S", 0.5)
    pids = service.folder / "pids"
    service.program("chronyc", f"sleep 100 & echo $$ $! >{pids}; wait")
    began = time.monotonic()
    assert clock.read_quality() == UNKNOWN
    assert 0.5 <= time.monotonic() - began < 3
    assert_gone(pids)


def test_the_end_does_not_wait_for_a_service_that_hangs(service: Service) -> None:
    pids = service.folder / "pids"
    service.program("chronyc", f"sleep 100 & echo $$ $! >{pids}.new; mv {pids}.new {pids}; wait")
    with watching(GOOD) as marks:
        deadline = time.monotonic() + 10
        while not pids.exists() and time.monotonic() < deadline:
            time.sleep(0.01)
        began = time.monotonic()
    assert time.monotonic() - began < 2
    assert marks == []
    assert_gone(pids)


def assert_gone(pids: Path) -> None:
    """The processes are dead; the one that no parent waits for may still stand there as a zombie."""
    deadline = time.monotonic() + 5
    numbers = pids.read_text().split()
    assert len(numbers) == 2
    while any(_lives(pid) for pid in numbers) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not any(_lives(pid) for pid in numbers)


def _lives(pid: str) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


# --- what parse makes of the readings


def reading(at_ms: int, bound_ms: float) -> Row:
    stamp = {"ts_ms": T0 + at_ms, "mono_ms": 50_000 + at_ms, "collector": "recorder", "kind": "clock"}
    return {**stamp, "source": "chrony", "synchronised": True, "offset_ms": 0.5, "error_bound_ms": bound_ms}


def parsed_clock(tmp_path: Path, at_stop: dict[str, Any] | None) -> tuple[Row, list[str]]:
    at_start = {**GOOD, "error_bound_ms": 1.0}
    clock_meta = {**(at_stop or at_start), "start": at_start, "stop": at_stop}
    marks = [reading(1000, 7.0), reading(3000, 5.0), reading(2000, 6.0)]
    files: dict[str, list[Row] | bytes] = {"links.jsonl": [nic(0)], "marks.jsonl": marks}
    run_dir = parsed(tmp_path, files, documents={"node_meta.json": node_meta("r1", clock=clock_meta)})
    return quality_of(run_dir)["clock"], kinds(run_dir)


def test_quality_has_the_clock_as_it_was_at_stop(tmp_path: Path) -> None:
    quality, told = parsed_clock(tmp_path, {**GOOD, "error_bound_ms": 2.0})
    assert quality == {**GOOD, "error_bound_ms": 2.0}
    assert told == []  # the readings are in marks.jsonl, and are not repeated


def test_without_a_reading_at_stop_quality_has_the_last_one(tmp_path: Path) -> None:
    quality, _ = parsed_clock(tmp_path, None)
    assert quality == {**GOOD, "offset_ms": 0.5, "error_bound_ms": 5.0}
