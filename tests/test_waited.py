"""CPU of children that no row holds: the accounts of parents and of launchers, on a made /proc."""

import os
import shutil
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest
from conftest import need
from test_sampler import Recording, fake_process, target, tick
from workload import can_listen

from tracekit.collect import procfs
from tracekit.collect.proc.children import Children
from tracekit.collect.proc.events import EndTimes, ExecListener
from tracekit.collect.proc.process import Process, open_process
from tracekit.collect.proc.tasks import Tasks
from tracekit.collect.proc.usage import Usage
from tracekit.collect.proc.waited import Waited

CLK_TCK = os.sysconf("SC_CLK_TCK")
MS = 1000 // CLK_TCK  # of a tick


def settle(waited: Waited) -> float:
    return waited.settle(lambda _pid: True)


def test_what_an_account_grows_by_beyond_what_was_told_is_open() -> None:
    waited = Waited(slack_ms=20)
    waited.read(10, 500.0)
    waited.tell(11, 10, 180.0)
    assert settle(waited) == 320.0
    assert settle(waited) == 0.0


def test_what_is_older_than_the_run_is_not_open() -> None:
    waited = Waited(slack_ms=20)
    waited.begin(10, 9000.0)
    waited.read(10, 9100.0)
    assert settle(waited) == 100.0


def test_a_child_told_before_it_is_waited_for_is_told_once() -> None:
    waited = Waited(slack_ms=20)
    waited.tell(11, 10, 400.0)
    waited.read(10, 0.0)
    assert settle(waited) == 0.0
    waited.read(10, 430.0)
    assert settle(waited) == 30.0


def test_rounding_is_kept_until_it_adds_up() -> None:
    waited = Waited(slack_ms=20)
    opened = []
    for waited_ms in (15.0, 30.0, 45.0):
        waited.read(10, waited_ms)
        opened.append(settle(waited))
    assert opened == [0.0, 30.0, 0.0]


def test_what_a_child_had_been_told_of_its_own_children_goes_up_with_it() -> None:
    waited = Waited(slack_ms=20)
    waited.tell(12, 11, 300.0)
    waited.tell(11, 10, 50.0)
    waited.read(10, 400.0)
    assert settle(waited) == 50.0


def test_an_account_that_does_not_count_is_followed() -> None:
    waited = Waited(slack_ms=20)
    waited.read(10, 500.0)
    assert waited.settle(lambda _pid: False) == 0.0
    waited.read(10, 600.0)
    assert settle(waited) == 100.0


def unattributed(recording: Recording) -> list[float]:
    marks = [mark for mark in recording.told("marks.jsonl") if mark["kind"] == "unattributed"]
    return [float(str(mark["cpu_ms"])) for mark in marks]


def test_children_that_lived_between_two_samples_are_unattributed(tmp_path: Path) -> None:
    fake_process(tmp_path, 10, "work", starttime=900, cutime=700)
    recording = Recording(target("work", root=tmp_path), refresh=True, root=str(tmp_path))
    tick(recording, 0)
    fake_process(tmp_path, 10, "work", starttime=900, cutime=720, cstime=5)
    tick(recording, 1)
    assert unattributed(recording) == [25.0 * MS]


def test_of_a_sampled_child_only_what_followed_its_last_sample_is(tmp_path: Path) -> None:
    fake_process(tmp_path, 10, "work", starttime=900)
    fake_process(tmp_path, 11, "work", starttime=900, ppid=10, utime=30, stime=10)
    recording = Recording(target("work", root=tmp_path), refresh=True, root=str(tmp_path))
    tick(recording, 0)
    end(tmp_path, 11)
    fake_process(tmp_path, 10, "work", starttime=900, cutime=45)
    tick(recording, 1)
    assert unattributed(recording) == [5.0 * MS]


def test_a_launcher_tells_of_what_it_waits_for_while_its_children_come_and_go(tmp_path: Path) -> None:
    fake_process(tmp_path, 10, "launcher", starttime=900, cutime=100)
    fake_process(tmp_path, 11, "work", starttime=900, ppid=10, utime=30)
    recording = Recording(target("work", root=tmp_path), refresh=True, root=str(tmp_path))
    tick(recording, 0)
    end(tmp_path, 11)
    fake_process(tmp_path, 10, "launcher", starttime=900, cutime=150)
    tick(recording, 1)
    assert unattributed(recording) == [20.0 * MS]
    fake_process(tmp_path, 10, "launcher", starttime=900, cutime=950)
    tick(recording, 9)  # none of the target's has ended for long: this was something else
    assert unattributed(recording) == [20.0 * MS]


@pytest.mark.parametrize(("left_out", "open_ticks"), [([21, 20], []), ([], [36])])
def test_the_command_that_starts_the_run_is_none_of_its_launchers_other_children(
    tmp_path: Path, left_out: list[int], open_ticks: list[int]
) -> None:
    fake_process(tmp_path, 10, "shell", starttime=900, cutime=500)
    fake_process(tmp_path, 11, "work", starttime=900, ppid=10)
    fake_process(tmp_path, 20, "make", starttime=900, ppid=10, utime=1, cutime=15)  # what it called before
    fake_process(tmp_path, 21, "python3", starttime=900, ppid=20, utime=20)
    recording = Recording(target("work", root=tmp_path), refresh=True, root=str(tmp_path))
    recording.sampler.leave_out(left_out)
    tick(recording, 0)
    end(tmp_path, 20)
    end(tmp_path, 21)
    fake_process(tmp_path, 10, "shell", starttime=900, cutime=500 + 1 + 15 + 20)
    tick(recording, 1)
    assert unattributed(recording) == [float(ticks * MS) for ticks in open_ticks]


def test_a_launcher_that_ends_leaves_its_account_to_its_own(tmp_path: Path) -> None:
    fake_process(tmp_path, 9, "shell", starttime=900)
    fake_process(tmp_path, 10, "launcher", starttime=900, ppid=9, utime=7)
    fake_process(tmp_path, 11, "work", starttime=900, ppid=10, utime=30)
    recording = Recording(target("work", root=tmp_path), refresh=True, root=str(tmp_path))
    tick(recording, 0)
    end(tmp_path, 11)
    end(tmp_path, 10)
    fake_process(tmp_path, 9, "shell", starttime=900, cutime=7 + 30 + 50)
    tick(recording, 1)
    tick(recording, 2)
    assert unattributed(recording) == [50.0 * MS]


@pytest.mark.parametrize(("are_ends_told", "open_ms"), [(True, 0.0), (False, 50.0 * MS)])
def test_where_ends_are_told_a_launcher_tells_nothing_before_one_of_the_targets_has_ended(
    tmp_path: Path, are_ends_told: bool, open_ms: float
) -> None:
    fake_process(tmp_path, 10, "shell", starttime=900)
    fake_process(tmp_path, 11, "work", starttime=900, ppid=10)
    children = Children(CLK_TCK, lambda pid: pid == 11, 10_000, are_ends_told, str(tmp_path), Tasks())
    child = open_process(11, 900, str(tmp_path))
    child.fields = procfs.read_stat(11, str(tmp_path)).fields
    children.came(child, 10_000)
    fake_process(tmp_path, 10, "shell", starttime=900, cutime=50 + 7)  # of something else that it ran
    children.another_ended(12, 10, 7.0 * MS, 10_500)
    children.read_launchers(11_000)
    assert children.settle(11_000) == open_ms
    children.ended(11, 10, 300.0, 12_000)
    fake_process(tmp_path, 10, "shell", starttime=900, cutime=50 + 7 + 300 // MS + 40)
    children.read_launchers(12_000)
    assert children.settle(12_000) == 40.0 * MS


def end(root: Path, pid: int) -> None:
    """The process is gone: its kept descriptors can no longer be read, as with the real /proc."""
    folder = root / str(pid)
    unreadable = os.open(os.devnull, os.O_WRONLY)
    for descriptor in [int(one.name) for one in Path("/proc/self/fd").iterdir()]:
        with suppress(OSError):
            if Path(f"/proc/self/fd/{descriptor}").readlink().parent == folder:
                os.dup2(unreadable, descriptor, inheritable=False)
    os.close(unreadable)
    shutil.rmtree(folder)


def test_a_started_program_is_told_at_once() -> None:
    need(can_listen(), "exec events need root in the first pid namespace")
    execs = ExecListener()
    process = subprocess.Popen([sys.executable, "-c", "pass"])
    process.wait()
    time.sleep(0.05)
    assert process.pid in execs.read()
    assert execs.read().isdisjoint({process.pid})


def test_the_moment_of_an_end_is_told_also_to_who_asks_later() -> None:
    need(can_listen(), "exit events need root in the first pid namespace")
    ends = EndTimes()
    began_ms = boot_ms()
    process = subprocess.Popen(["sleep", "0.1"])
    process.wait()
    ended_ms = boot_ms()
    time.sleep(0.3)
    assert (
        max(began_ms + 100, ended_ms - 20) <= ends.read()[process.pid] <= ended_ms + 5
    )  # 5: of its teardown
    assert process.pid not in ends.read()


def boot_ms() -> int:
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1_000_000


def lives(ticks: int) -> Process:
    fields = [b"0"] * 16
    fields[procfs.UTIME] = b"%d" % ticks
    return Process(1, 1, "/proc", None, b"", b"", fields)


def test_a_cgroup_counts_from_the_first_reading_and_less_what_rows_hold() -> None:
    usage = Usage(CLK_TCK)
    assert usage.settle(1, 5000.0, [lives(100)]) == 0.0
    usage.ended(2000.0)
    grown_ms = 5000.0 + 2000.0 + 100 * MS + 300.0  # one more second of the living one, and 300 ms of nobody
    assert usage.settle(1, grown_ms, [lives(200)]) == 300.0
    assert usage.settle(1, grown_ms, [lives(200)]) == 0.0


def test_a_cgroup_made_anew_begins_with_what_lives_in_it() -> None:
    usage = Usage(CLK_TCK)
    usage.settle(1, 5000.0, [lives(100)])
    assert usage.settle(2, 400.0, [lives(10)]) == 400.0 - 10 * MS
    assert usage.settle(2, 430.0, [lives(10)]) == 0.0  # rounding of two processes may be as large


def test_a_child_told_after_its_parent_goes_to_the_account_that_the_parents_went_into() -> None:
    waited = Waited(slack_ms=20)
    waited.tell(10, 9, 100.0)
    waited.tell(11, 10, 300.0)
    waited.read(9, 430.0)
    assert settle(waited) == 30.0


def test_a_parent_and_its_child_that_end_together_are_counted_once(tmp_path: Path) -> None:
    fake_process(tmp_path, 9, "shell", starttime=900)
    fake_process(tmp_path, 10, "work", starttime=900, ppid=9, utime=10)
    fake_process(tmp_path, 11, "work", starttime=900, ppid=10, utime=300)
    recording = Recording(target("work", root=tmp_path), refresh=True, root=str(tmp_path))
    tick(recording, 0)
    end(tmp_path, 10)
    end(tmp_path, 11)
    fake_process(tmp_path, 9, "shell", starttime=900, cutime=310)
    tick(recording, 1)
    tick(recording, 2)
    assert unattributed(recording) == []
