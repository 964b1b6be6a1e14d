"""How processes end: exit records added up, whose they are, and the CPU of short tasks, for real."""

import json
import os
import struct
import subprocess
import sys
import time
from pathlib import Path

import pytest
from conftest import Checkout, need
from test_sampler import fake_process
from workload import can_listen

from tracekit.collect.proc.endings import Ending, Endings
from tracekit.collect.proc.target import Target
from tracekit.collect.proc.taskstats import TaskExit, parse_message

TASKS, TASK_S = 40, 0.05


def task(pid: int, tgid: int, last: bool, **more: object) -> TaskExit:
    known: dict[str, object] = {
        "ppid": 1,
        "comm": b"work",
        "cpu_us": 1000.0,
        "user_us": 0,
        "system_us": 0,
        "peak_rss_kb": 100,
        "wait_status": 0,
        "process_elapsed_us": 5000,
    }
    return TaskExit(pid=pid, tgid=tgid, is_last=last, **{**known, **more})  # type: ignore[arg-type]


def endings(pattern: str, root: Path, sampled: set[int] | None = None, by_name: bool = True) -> Endings:
    target = Target(pattern, "", lambda _pid, _ppid: False, lambda _name: None, str(root))
    return Endings(target, (sampled or set()).__contains__, by_name, str(root))


def test_threads_of_a_process_are_added_up_and_told_with_the_last(tmp_path: Path) -> None:
    account = endings("work", tmp_path)
    assert account.add(task(11, 10, last=False, cpu_us=2500.5, peak_rss_kb=300, comm=b"pool-1"), 5000) is None
    assert account.add(task(10, 10, last=False, cpu_us=1000.0, wait_status=3 << 8), 5000) is None
    ending = account.add(
        task(12, 10, last=True, cpu_us=499.5, comm=b"pool-2", user_us=4000, system_us=12000), 5000
    )
    assert ending == Ending(
        pid=10,
        ppid=1,
        comm="work",
        cpu_ms=4.0,
        user_share=0.25,
        peak_rss_kb=300,
        exit_code=3,
        signal=None,
        elapsed_ms=5,
        ended_ms=5000,
    )


def test_a_signal_is_no_exit_code(tmp_path: Path) -> None:
    ending = endings("work", tmp_path).add(task(10, 10, last=True, wait_status=9), 5000)
    assert ending is not None
    assert (ending.exit_code, ending.signal) == (None, 9)


def ended(ppid: int, comm: str = "task") -> Ending:
    return Ending(99, ppid, comm, 1.0, 1.0, 1, 0, None, 1, 5000)


def test_a_process_that_was_never_sampled_belongs_by_its_name(tmp_path: Path) -> None:
    assert endings("work", tmp_path).belongs(ended(1, "worker"))
    assert not endings("work", tmp_path).belongs(ended(1, "task"))
    assert not endings("work", tmp_path, by_name=False).belongs(ended(1, "worker"))


def test_or_else_by_its_nearest_ancestor_that_is_sampled_or_meant(tmp_path: Path) -> None:
    fake_process(tmp_path, 20, "sh", ppid=10)
    fake_process(tmp_path, 30, "bash", ppid=20)
    assert endings("work", tmp_path, {10}).belongs(ended(30))
    assert not endings("work", tmp_path, {11}).belongs(ended(30))
    fake_process(tmp_path, 10, "worker", ppid=1)
    assert endings("work", tmp_path).belongs(ended(30))


def test_a_parent_that_has_ended_too_still_leads_to_the_ancestor(tmp_path: Path) -> None:
    account = endings("work", tmp_path, {10})
    account.start_batch(0)
    child = account.add(task(30, 30, last=True, ppid=20, comm=b"gzip"), 5000)
    account.add(task(20, 20, last=True, ppid=10, comm=b"sh"), 5000)  # nothing of it is left under /proc
    assert child is not None
    assert account.belongs(child)
    account.start_batch(100)  # another process may have its pid by now
    assert not account.belongs(child)


def test_what_an_old_process_is_holds_for_a_second_and_a_young_one_is_judged_anew(tmp_path: Path) -> None:
    fake_process(tmp_path, 20, "sh", ppid=1, starttime=0)
    fake_process(tmp_path, 30, "sh", ppid=1, starttime=900)
    account = endings("work", tmp_path)
    account.start_batch(10_000)
    assert not account.belongs(ended(20))
    assert not account.belongs(ended(30))
    fake_process(tmp_path, 20, "work", ppid=1, starttime=0)
    fake_process(tmp_path, 30, "work", ppid=1, starttime=900)
    account.start_batch(10_100)
    assert not account.belongs(ended(20))
    assert account.belongs(ended(30))
    account.start_batch(11_000)
    assert account.belongs(ended(20))


def test_a_loop_of_parents_ends(tmp_path: Path) -> None:
    fake_process(tmp_path, 20, "sh", ppid=30)
    fake_process(tmp_path, 30, "sh", ppid=20)
    assert not endings("work", tmp_path).belongs(ended(30))


def message(version: int) -> bytes:
    """A netlink message with one record, laid out by linux/taskstats.h."""
    record = bytearray(420)
    struct.pack_into("=HxxI", record, 0, version, 9)
    struct.pack_into("=B", record, 8, 0x20)
    struct.pack_into("=Q", record, 72, 1_234_567)
    record[80:84] = b"name"
    struct.pack_into("=II", record, 128, 41, 7)
    struct.pack_into("=QQQ", record, 144, 1, 4000, 8000)
    struct.pack_into("=Q", record, 200, 555)
    struct.pack_into("=IIQ", record, 368, 40, 0, 77_000)
    stats = struct.pack("=HH", 4 + len(record), 3) + record
    inner = struct.pack("=HHI", 8, 1, 41) + stats
    body = struct.pack("=HH", 4 + len(inner), 4) + inner
    return struct.pack("=IHHIIBBH", 20 + len(body), 31, 0, 0, 0, 2, 1, 0) + body


def test_a_record_is_read_by_its_layout() -> None:
    (got,) = parse_message(message(12))
    assert got == TaskExit(41, 40, 7, b"name", 1234.567, 4000, 8000, 555, 9, True, 77_000)


def test_a_record_too_old_to_name_its_process_is_left() -> None:
    assert list(parse_message(message(11))) == []


@pytest.mark.parametrize("cut", range(0, 480, 7))
def test_a_cut_message_gives_no_record_or_an_error_but_no_endless_loop(cut: int) -> None:
    try:
        got = list(parse_message(message(12)[:cut]))
    except struct.error:
        return
    assert got == [] or cut >= 36 + 384  # all that is read of the record


SPAWN = """
import os, sys
for _ in range(int(sys.argv[1])):
    pid = os.posix_spawn(sys.executable, [sys.executable, "-I", "-S", "-c", sys.argv[2]], {})
    used = os.wait4(pid, 0)[2]
    print(pid, (used.ru_utime + used.ru_stime) * 1000, flush=True)
"""
BURN = f"import time\nwhile time.process_time() < {TASK_S}: pass"


def test_short_tasks_are_in_the_trace_with_all_their_cpu(checkout: Checkout) -> None:
    need(can_listen(), "exit records need root, the first pid namespace and Linux 5.19")
    words = ("RUN_ID=short", "IFACE=lo", "PROC_MATCH=short-task-of-the-test", "PROC_REFRESH=1")
    assert checkout.make("start-collect", *words).returncode == 0
    truth_ms = {}
    command = [sys.executable, "-c", SPAWN, str(TASKS), BURN, "short-task-of-the-test"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    for text in done.stdout.splitlines():
        pid, used_ms = text.split()
        truth_ms[int(pid)] = float(used_ms)
    time.sleep(1.1)
    assert checkout.make("stop-collect", "RUN_ID=short").returncode == 0
    assert checkout.make("parse", "RUN_ID=short").returncode == 0
    traced_ms: dict[int, float] = {}
    for text in (checkout.logs("short") / "cctf/proc_cpu.jsonl").read_text().splitlines():
        row = json.loads(text)
        traced_ms[row["pid"]] = traced_ms.get(row["pid"], 0) + row["cpu_ms"]
    assert set(truth_ms) <= set(traced_ms)
    got = sum(traced_ms[pid] for pid in truth_ms)
    # A record is made before the kernel tears the task's memory down, which for Python takes 1 to 2 ms.
    teardown = 3 * TASKS
    assert sum(truth_ms.values()) - teardown <= got <= sum(truth_ms.values()) + 1
    ends = [row for row in inventory(checkout.logs("short")) if row["event"] == "end"]
    ends = [row for row in ends if row["pid"] in truth_ms]
    assert len(ends) == TASKS
    assert {row["exit_code"] for row in ends} == {0}


def inventory(folder: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in (folder / "cctf/proc_inventory.jsonl").read_text().splitlines()]


THREADS = """
import os, threading, time
def burn(seconds):
    end = time.thread_time() + seconds
    while time.thread_time() < end: pass
early = threading.Thread(target=burn, args=(0.3,)); early.start(); early.join()
print("ready", flush=True); input()
several = [threading.Thread(target=burn, args=(0.1,)) for _ in range(4)]
[one.start() for one in several]; [one.join() for one in several]
"""


def test_a_threaded_process_older_than_the_run_closes_within_two_ticks_of_its_own_account(
    checkout: Checkout,
) -> None:
    need(can_listen(), "exit records need root, the first pid namespace and Linux 5.19")
    process = subprocess.Popen(
        [sys.executable, "-c", THREADS, "threads-of-the-test"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdout.readline()
    assert (
        checkout.make(
            "start-collect", "RUN_ID=threads", "IFACE=lo", "PROC_MATCH=threads-of-the-test"
        ).returncode
        == 0
    )
    process.stdin.write(b"\n")
    process.stdin.close()
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    time.sleep(0.3)
    assert checkout.make("stop-collect", "RUN_ID=threads").returncode == 0
    assert checkout.make("parse", "RUN_ID=threads").returncode == 0
    (end,) = [row for row in inventory(checkout.logs("threads")) if row["event"] == "end"]
    truth_ms = (used.ru_utime + used.ru_stime) * 1000
    assert end["cpu_ms"] == pytest.approx(truth_ms, abs=25)  # two ticks, and the thread that ended before
    assert 1000 < int(str(end["maxrss_kb"])) <= used.ru_maxrss  # which also holds what came before exec
