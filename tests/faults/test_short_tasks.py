"""Tasks that live between two samples: their CPU against what their launcher is told by wait4."""

import json
import os
import shutil
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from conftest import Checkout, need
from live import LO, lines_of, marks_of, quality_of, start, stop
from workload import FULL, can_listen

TASKS, TASK_MS = (200 if FULL else 100), 50
LASTS_S = TASKS / 20  # one after the other

# Tasks at a steady pace; it prints what the kernel says each of them used.
LAUNCHER = """
import json, os, sys, time
command, count, lasts_s = json.loads(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])
sys.stdin.readline()
began, used_ms = time.monotonic(), {}
for number in range(count):
    time.sleep(max(began + number * lasts_s / count - time.monotonic(), 0))
    pid = os.posix_spawn(command[0], command[1:], {})
    used = os.wait4(pid, 0)[2]
    used_ms[pid] = (used.ru_utime + used.ru_stime) * 1000
print(json.dumps(used_ms), flush=True)
sys.stdin.readline()
"""
BURN = f"import time\nwhile time.process_time() < {TASK_MS / 1000}: pass"


@contextmanager
def launcher(tag: str, command: list[str]) -> Iterator["subprocess.Popen[str]"]:
    """It waits for a line, runs its tasks, prints their CPU by pid, and lives until it is told to end."""
    words = [sys.executable, "-I", "-c", LAUNCHER, json.dumps(command), str(TASKS), str(LASTS_S), tag]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def truth_of(process: "subprocess.Popen[str]") -> dict[int, float]:
    """Let the launcher run its tasks: pid -> CPU in ms."""
    assert process.stdin and process.stdout
    process.stdin.write("\n")
    process.stdin.flush()
    return {int(pid): used_ms for pid, used_ms in json.loads(process.stdout.readline()).items()}


def python_named(folder: Path, name: str) -> list[str]:
    """A Python of that name that uses 50 ms: what the kernel calls a process is its file's name."""
    program = folder / name
    program.symlink_to(Path(sys.executable).resolve())
    return [str(program), str(program), "-I", "-S", "-c", BURN]


def shell_named(folder: Path, name: str) -> list[str]:
    """A shell of that name that uses some 50 ms; unlike a Python it has little memory to give back."""
    program = folder / name
    shutil.copy("/bin/sh", program)

    def counting(to: int) -> list[str]:
        return [str(program), str(program), "-c", f"i=0; while [ $i -lt {to} ]; do i=$((i+1)); done"]

    command = counting(50_000)
    used = os.wait4(os.posix_spawn(command[0], command[1:], {}), 0)[2]
    return counting(round(50_000 * TASK_MS / 1000 / (used.ru_utime + used.ru_stime)))


@pytest.mark.parametrize("matched", ["name", "command line", "launcher"])
def test_of_the_cpu_of_short_tasks_99_percent_is_in_the_trace(
    checkout: Checkout, tmp_path: Path, matched: str
) -> None:
    need(can_listen(), "exit records need root, the first pid namespace and Linux 5.19")
    name, tag, run_id = f"tk-t{os.getpid()}", f"tk-{matched[:4]}-{os.getpid()}", f"short-{matched[:4]}"
    pattern = f"^{name}$" if matched == "name" else f"{tag}$"
    by_command = matched == "command line"
    command = [*python_named(tmp_path, name), tag] if by_command else shell_named(tmp_path, name)
    start(checkout, run_id, PROC_MATCH=pattern, PROC_REFRESH="1")
    with launcher(tag if matched == "launcher" else "not-meant", command) as process:
        truth = truth_of(process)
        time.sleep(1.2)
        stop(checkout, run_id)
    assert quality_of(checkout, run_id)["balanced"]
    traced: dict[int | None, float] = defaultdict(float)
    for row in lines_of(checkout.logs(run_id) / "cctf" / "proc_cpu.jsonl"):
        traced[row["pid"]] += row["cpu_ms"]
    used_ms = sum(truth.values())
    assert len(truth) == TASKS
    assert used_ms > 0.5 * TASKS * TASK_MS
    assert (process.pid in traced) == (matched == "launcher")
    # The kernel writes the record before it takes the memory back: the 1 or 2 ms of that are in the
    # launcher's account only, and the trace has them without a pid.
    got_ms = sum(traced[pid] for pid in [*truth, None])
    assert sum(traced[pid] for pid in truth) > 0.8 * used_ms
    assert 0.99 * used_ms <= got_ms <= 1.01 * used_ms, got_ms / used_ms


def without_net_admin(*command: str) -> list[str]:
    """The command as a user who is told of no process's end."""
    if os.geteuid() != 0:
        return list(command)
    return ["setpriv", "--bounding-set", "-net_admin", "--inh-caps", "-net_admin", *command]


@pytest.mark.parametrize("matched", ["name", "launcher"])
def test_without_exit_records_what_is_missing_is_stated_within_1_percent(
    checkout: Checkout, tmp_path: Path, matched: str
) -> None:
    need(shutil.which("setpriv"), "setpriv (package util-linux)")
    tag, run_id = f"tk-open-{matched}-{os.getpid()}", f"open-{matched}"
    command = python_named(tmp_path, f"tk-o{os.getpid()}")
    pattern = f"^tk-o{os.getpid()}$" if matched == "name" else f"{tag}$"
    make = ["make", "--no-print-directory", "-C", str(checkout.root)]
    words = [f"RUN_ID={run_id}", f"PROC_MATCH={pattern}", "PROC_REFRESH=1"]
    done = checkout.run(*without_net_admin(*make, "start-collect", *words), **LO)
    assert done.returncode == 0, done.stderr
    with launcher(tag, command) as process:
        truth = truth_of(process)
        time.sleep(1.2)
        launcher_ms = own_ms(process.pid) if matched == "launcher" else 0.0
        stop(checkout, run_id)
    folder = checkout.logs(run_id)
    assert "no exit records" in (folder / "procmon.err").read_text()
    assert quality_of(checkout, run_id)["balanced"]
    rows: list[dict[str, Any]] = lines_of(folder / "cctf" / "proc_cpu.jsonl")
    told_ms = sum(row["cpu_ms"] for row in rows)
    assert sum(row["cpu_ms"] for row in rows if row["pid"] is None) > 0.5 * sum(truth.values())
    assert told_ms == pytest.approx(sum(truth.values()) + launcher_ms, rel=0.01)


def own_ms(pid: int) -> float:
    """CPU of the process itself so far, as the scheduler counts it (schedstat, field 1, ns)."""
    return int(Path(f"/proc/{pid}/schedstat").read_text().split()[0]) / 1e6


def test_what_the_same_shell_starts_the_run_with_is_not_the_targets(
    checkout: Checkout, tmp_path: Path
) -> None:
    need(can_listen(), "exit records need root, the first pid namespace and Linux 5.19")
    program = tmp_path / "tk-idle"
    shutil.copy("/bin/sleep", program)
    script = '"$0" 60 & make -s start-collect RUN_ID=sameshell PROC_MATCH="^tk-idle$"; sleep 3; kill $!'
    done = checkout.run("bash", "-c", script, str(program), **LO)
    stop(checkout, "sameshell")
    assert "started" in done.stdout, done.stderr
    assert lines_of(checkout.logs("sameshell") / "proc_metrics.jsonl")
    open_ms = sum(mark["cpu_ms"] for mark in marks_of(checkout, "sameshell", "unattributed"))
    assert open_ms < 60  # of some 400: no more than the kernel needs to take their memory back
