"""Processes by the thousand, short ones, ones with nasty names, and one pid twice."""

import json
import os
import shutil
import sys
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

from conftest import ROOT, Checkout, need
from live import assert_ticks_are_made, holder_of, lines_of, quality_of, start, state_of, stop
from workload import FULL, TICK_MS, children, cpu_of

MANY = 3000 if FULL else 400
NAMES = [b"py) R 1 (python", b"a b", b"x\nX", b'"', b"\\", "é".encode(), b"", b":(){"]


def samples(folder: Path) -> dict[int, list[dict[str, Any]]]:
    """Rows of proc_metrics.jsonl by process."""
    by_pid = defaultdict(list)
    for row in lines_of(folder / "proc_metrics.jsonl"):
        by_pid[row["pid"]].append(row)
    return by_pid


def cpu_sums(folder: Path) -> dict[tuple[int, int], float]:
    """What proc_cpu.jsonl gives each process in all, ms."""
    sums: dict[tuple[int, int], float] = defaultdict(float)
    for row in lines_of(folder / "cctf" / "proc_cpu.jsonl"):
        assert row["cpu_ms"] >= 0
        sums[row["pid"], row["starttime"]] += row["cpu_ms"]
    return sums


def test_hundreds_of_processes_are_all_sampled_at_every_tick(checkout: Checkout, tmp_path: Path) -> None:
    with children(tmp_path, "tk-many", [b"tk-many"] * MANY, is_busy=False) as pids:
        start(checkout, "many", PROC_MATCH="^tk-many$")
        time.sleep(20 if FULL else 4.5)
        stop(checkout, "many")
        truth = {(pid, cpu_of(pid).starttime) for pid in pids}
    assert len(truth) == MANY
    assert_ticks_are_made(quality_of(checkout, "many")["collectors"]["proc"])
    ticks = defaultdict(set)
    for row in lines_of(checkout.logs("many") / "proc_metrics.jsonl"):
        ticks[row["ts_ms"]].add((row["pid"], row["starttime"]))
    assert len(ticks) >= 4
    assert all(seen == truth for seen in ticks.values()), {ts: len(seen) for ts, seen in ticks.items()}


def test_thousands_of_processes_and_two_hundred_a_second_leave_three_quarters_of_a_core(
    checkout: Checkout, tmp_path: Path
) -> None:
    short = tmp_path / "tk-churning"
    shutil.copy("/bin/true", short)
    lasts_s = 60 if FULL else 6
    with children(tmp_path, "tk-crowd", [b"tk-crowd"] * MANY, is_busy=False):
        start(checkout, "crowd", PROC_MATCH="^tk-(crowd|churning)$", PROC_REFRESH="1")
        began, began_ms = time.monotonic(), collecting_ms(checkout, "crowd")
        churn(short, 200 * lasts_s)
        used_ms, took_ms = (
            collecting_ms(checkout, "crowd") - began_ms,
            (time.monotonic() - began) * 1000,
        )
        stop(checkout, "crowd")
    account = quality_of(checkout, "crowd")["collectors"]["proc"]
    assert_ticks_are_made(account)
    assert account["expected"] >= lasts_s - 1
    if FULL:
        assert used_ms / took_ms <= 0.25, used_ms / took_ms
    rows = lines_of(checkout.logs("crowd") / "proc_metrics.jsonl")
    assert len(rows) >= 0.95 * MANY * account["expected"]


def collecting_ms(checkout: Checkout, run_id: str) -> float:
    """CPU of all that collects into the run, and of what it has waited for, so far."""
    told = state_of(checkout, run_id)["collectors"].values()
    ticks = 0
    for pid in (holder_of(checkout, run_id), *(one["pid"] for one in told)):
        fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
        ticks += sum(int(field) for field in fields[11:15])
    return ticks * TICK_MS


def churn(program: Path, count: int) -> list[int]:
    """Start so many processes at 200 a second, each for a moment; their pids."""
    began, born = time.monotonic(), []
    for number in range(count):
        pid = os.posix_spawn(program, [program.name], {})
        os.waitpid(pid, 0)
        born.append(pid)
        time.sleep(max(began + (number + 1) / 200 - time.monotonic(), 0))
    return born


def test_two_hundred_short_processes_a_second_cost_no_tick_and_none_is_forgotten(
    checkout: Checkout, tmp_path: Path
) -> None:
    short = tmp_path / "tk-churn"
    shutil.copy("/bin/true", short)
    start(checkout, "churn", PROC_MATCH="^tk-churn$", PROC_REFRESH="1")
    began = time.monotonic()
    born = churn(short, 1000)
    lasted_s = time.monotonic() - began
    time.sleep(1.1)
    stop(checkout, "churn")
    assert lasted_s < 7  # it was near 200 a second
    assert_ticks_are_made(quality_of(checkout, "churn")["collectors"]["proc"])
    messages = (checkout.logs("churn") / "procmon.err").read_text()
    assert len(messages.splitlines()) <= 3  # not one a process
    if "no exit records" not in messages:
        inventory = lines_of(checkout.logs("churn") / "proc_inventory.jsonl")
        assert sorted(row["pid"] for row in inventory if row["event"] == "end") == sorted(born)


def test_a_process_that_nobody_reaps_has_one_end_and_is_not_seen_after_it(
    checkout: Checkout, tmp_path: Path
) -> None:
    short = tmp_path / "tk-zombie"
    shutil.copy("/bin/true", short)
    start(checkout, "zombie", PROC_MATCH="^tk-zombie$", PROC_REFRESH="1")
    messages = checkout.logs("zombie") / "procmon.err"
    pid = os.posix_spawn(short, ["tk-zombie"], {})
    time.sleep(2.5)  # two looks at /proc, where it still stands
    os.waitpid(pid, 0)
    time.sleep(1.1)
    stop(checkout, "zombie")
    need("no exit records" not in messages.read_text(), "exit records (root, Linux 5.19) tell of its end")
    events = [row["event"] for row in lines_of(checkout.logs("zombie") / "proc_inventory.jsonl")]
    assert events in (["end"], ["seen", "end"])


def test_nasty_names_shift_no_field_and_come_back_from_json(checkout: Checkout, tmp_path: Path) -> None:
    with children(tmp_path, "tk-nasty", NAMES, is_busy=True) as pids:
        start(checkout, "nasty", PROC_MATCH="tk-nasty")
        time.sleep(2)
        for pid in pids:
            os.kill(pid, 19)  # their CPU stands still from here on
        time.sleep(1.2)
        truth = {pid: cpu_of(pid) for pid in pids}
        stop(checkout, "nasty")
    rows = samples(checkout.logs("nasty"))
    for pid in pids:
        last = rows[pid][-1]
        assert last["starttime"] == truth[pid].starttime
        assert truth[pid].ticks > 10
        assert abs(last["utime"] + last["stime"] - truth[pid].ticks) <= 2
    inventory = lines_of(checkout.logs("nasty") / "proc_inventory.jsonl")
    seen = {row["pid"]: row["comm"] for row in inventory if row["event"] == "seen"}
    assert [seen[pid].encode() for pid in pids] == NAMES
    assert quality_of(checkout, "nasty")["inputs"]["proc_inventory.jsonl"]["rejected"] == {}
    passed = lines_of(checkout.logs("nasty") / "cctf" / "proc_inventory.jsonl")
    assert {row["pid"]: row["comm"] for row in passed if row["event"] == "seen"} == seen


# --- one pid, two processes

REUSE = """
import json, os, signal, subprocess, sys, time
root, tests, target = sys.argv[1], sys.argv[2], 4000
sys.path[:0] = [tests, root]
from workload import cpu_of

def make(*words):
    done = subprocess.run(["make", "-s", "-C", root, *words], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr

def one(busy_s):
    for _ in range(20):
        with open("/proc/sys/kernel/ns_last_pid", "w") as last:
            last.write(str(target - 1))
        pid = os.fork()
        if pid == 0:
            while time.process_time() < busy_s:
                pass
            signal.pause()
        if pid == target:
            break
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    assert pid == target, pid
    while b") S " not in open(f"/proc/{pid}/stat", "rb").read():
        time.sleep(0.1)
    time.sleep(1.5)  # a tick has seen the last of its CPU
    cpu = cpu_of(pid)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    return [cpu.starttime, cpu.ticks]

make("start-collect", "RUN_ID=reused", "IFACE=lo", "PROC_MATCH=tk-reuse", "PROC_REFRESH=1")
found = [one(0.9), one(0.3)]
make("stop-collect", "RUN_ID=reused")
print(json.dumps(found))
"""


def test_a_pid_that_is_used_again_gives_two_series_each_with_its_own_cpu(
    checkout: Checkout, tmp_path: Path
) -> None:
    need(os.geteuid() == 0, "a pid namespace needs root")
    need(Path("/proc/sys/kernel/ns_last_pid").exists(), "ns_last_pid is not in this kernel")
    script = tmp_path / "tk-reuse.py"
    script.write_text(REUSE)
    space = ["unshare", "--pid", "--fork", "--kill-child", "--mount-proc"]
    can = checkout.run(*space, "true").returncode == 0
    need(can, "a pid namespace with a /proc of its own needs root, and a / that is a mount point")
    tests = str(ROOT / "tests")
    done = checkout.run(*space, sys.executable, "-I", str(script), str(checkout.root), tests)
    assert done.returncode == 0, done.stderr
    truth = {(4000, starttime): ticks * TICK_MS for starttime, ticks in json.loads(done.stdout)}
    assert len(truth) == 2
    quality = quality_of(checkout, "reused")
    assert "reset" not in {mark["kind"] for mark in quality["marks"]}
    sums = {key: used for key, used in cpu_sums(checkout.logs("reused")).items() if key[0] == 4000}
    assert sums.keys() == truth.keys()
    for identity, used_ms in truth.items():
        assert used_ms >= 250
        assert abs(sums[identity] - used_ms) <= 2 * TICK_MS
