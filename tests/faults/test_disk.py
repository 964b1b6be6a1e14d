"""A disk that fills up while a run is on, and one that is full already: a real file system of 1 MB."""

import json
import resource
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import suppress

import pytest
from conftest import Checkout
from live import (
    Clean,
    assert_law,
    holder_of,
    lines_of,
    marks_of,
    quality_of,
    start,
    state_of,
    wait_for,
)
from workload import fill


@pytest.fixture
def sleepers() -> Iterator[None]:
    """Enough processes that the rows of a tick never fit into what is left of a page."""
    processes = [subprocess.Popen(["sleep", "61.25"]) for _ in range(80)]
    yield
    for process in processes:
        process.kill()
        process.wait()


def test_a_full_disk_is_a_gap_that_ends_when_there_is_room_again(small: Checkout, sleepers: None) -> None:
    start(small, "full", PROC_MATCH="sleep 61.25")
    time.sleep(1.5)
    filled = fill(small)
    full_ms = time.time() * 1000
    assert wait_for(lambda: state_of(small, "full").get("failing"), 5)
    assert "cannot be written (ENOSPC)" in small.make("status").stdout
    time.sleep(4)
    filled.unlink()
    lasted_ms = time.time() * 1000 - full_ms
    assert wait_for(lambda: not state_of(small, "full").get("failing"), 3)
    time.sleep(2)
    done = small.make("stop-collect", "RUN_ID=full")
    assert done.returncode == 0, done.stderr
    assert "lines could not be written for" in done.stderr
    for name in ("resources.jsonl", "links.jsonl", "proc_metrics.jsonl", "marks.jsonl"):
        assert lines_of(small.logs("full") / name)  # whole lines of JSON, each of them
    assert {mark["reason"] for mark in marks_of(small, "full", "enospc")} == {"ENOSPC"}
    quality = quality_of(small, "full")
    for name in ("cpu", "mem", "nic", "proc"):
        account = quality["collectors"][name]
        assert account["expected"] == account["got"] + account["missing"]
        # A small row may still find room in the last page of its file.
        assert {gap["reason"] for gap in account["gaps"]} <= {"ENOSPC"}
    gaps = quality["collectors"]["proc"]["gaps"]
    assert abs(sum(gap["to_ms"] - gap["from_ms"] for gap in gaps) - lasted_ms) <= 2000


def use_up_inodes(checkout: Checkout) -> None:
    with suppress(OSError):
        for number in range(200):
            (checkout.root / "logs" / f"none-{number}").touch()


@pytest.mark.parametrize("use_up", [fill, use_up_inodes])
def test_a_disk_without_room_or_inodes_is_refused_before_anything_is_started(
    small: Checkout, finished_run: Clean, use_up: Callable[[Checkout], object]
) -> None:
    use_up(small)
    done = small.make("start-collect", "RUN_ID=none", "IFACE=lo")
    assert done.returncode == 2
    assert "No space left on device" in done.stderr
    assert not small.logs("none").exists()
    finished_run("none")


def test_a_disk_with_too_few_inodes_for_a_run_undoes_the_start(small: Checkout, finished_run: Clean) -> None:
    use_up_inodes(small)
    for number in range(4):  # the folder, and three of the twelve files
        (small.root / "logs" / f"none-{number}").unlink()
    done = small.make("start-collect", "RUN_ID=none", "IFACE=lo")
    assert done.returncode == 2
    assert "No space left on device" in done.stderr
    assert not small.logs("none").exists()
    finished_run("none")


def test_a_second_start_on_a_full_disk_leaves_the_live_run_alone(small: Checkout) -> None:
    start(small, "live")
    before = state_of(small, "live")["collectors"]
    filled = fill(small)
    assert small.make("start-collect", "RUN_ID=live", "IFACE=lo").returncode == 2
    assert state_of(small, "live")["collectors"] == before
    assert "live (recorder pid" in small.make("status", "RUN_ID=live").stdout
    filled.unlink()
    assert small.make("stop-collect", "RUN_ID=live").returncode == 0


def test_a_stop_that_finds_no_room_says_so_and_a_later_one_writes_the_true_end(small: Checkout) -> None:
    start(small, "late")
    filled = fill(small)
    done = small.make("stop-collect", "RUN_ID=late")
    stopped_ms = time.time() * 1000
    assert done.returncode == 2
    assert "No space left on device" in done.stderr
    filled.unlink()
    time.sleep(1.5)
    small.make("stop-collect", "RUN_ID=late")
    meta = json.loads((small.logs("late") / "run_meta.json").read_text())
    assert abs(meta["stopped_ms"] - stopped_ms) < 1200


def test_a_file_that_may_not_grow_is_a_write_error_until_it_may(
    checkout: Checkout, finished_run: Clean, sleepers: None
) -> None:
    start(checkout, "toolarge", PROC_MATCH="sleep 61.25")
    raw = checkout.logs("toolarge") / "proc_metrics.jsonl"
    assert wait_for(lambda: raw.stat().st_size > 20_000, 8)  # and no other file of the run is as large
    recorder = holder_of(checkout, "toolarge")
    assert recorder
    _, hard = resource.prlimit(recorder, resource.RLIMIT_FSIZE)
    resource.prlimit(recorder, resource.RLIMIT_FSIZE, (raw.stat().st_size, hard))
    assert wait_for(lambda: state_of(checkout, "toolarge").get("failing") == {raw.name: "EFBIG"}, 4)
    shown = checkout.make("status", "RUN_ID=toolarge").stdout
    assert "proc_metrics.jsonl: cannot be written (EFBIG)" in shown
    resource.prlimit(recorder, resource.RLIMIT_FSIZE, (hard, hard))
    assert wait_for(lambda: not state_of(checkout, "toolarge").get("failing"), 3)
    done = checkout.make("stop-collect", "RUN_ID=toolarge")
    assert done.returncode == 0, done.stderr
    assert "lines could not be written for" in done.stderr
    finished_run("toolarge")
    (mark,) = marks_of(checkout, "toolarge", "write_error")
    assert (mark["collector"], mark["reason"]) == ("proc", "EFBIG")
    quality = quality_of(checkout, "toolarge")
    assert_law(quality)
    assert {gap["reason"] for gap in quality["collectors"]["proc"]["gaps"]} == {"write_error"}
    assert all(quality["collectors"][name]["missing"] <= 1 for name in ("cpu", "mem", "nic"))
