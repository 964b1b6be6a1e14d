"""The batch wrapper: what it records and passes on, and what the sampler makes of its task."""

import json
import os
import random
import re
import resource
import shlex
import shutil
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from conftest import Checkout, clean_environment, need
from live import lines_of, quality_of, start, stop
from loopback import wait_for
from test_sampler import Recording, fake_process, tick
from workload import FULL, can_listen

from tracekit.collect.proc.target import Target
from tracekit.collect.proc.tasks import Tasks
from tracekit.tasks import Task

TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
BURN = "import time,sys\nend=time.process_time()+float(sys.argv[1])\nwhile time.process_time()<end: pass"


def command(checkout: Checkout, *words: str) -> list[str]:
    return [sys.executable, "-I", str(checkout.root / "tools" / "adapters" / "run_task.py"), *words]


def run_task(checkout: Checkout, run_id: str, *words: str, **env: str) -> "subprocess.CompletedProcess[str]":
    return checkout.run(*command(checkout, *words), RUN_ID=run_id, NODE_ID="n1", **env)


def rows(checkout: Checkout, run_id: str) -> list[dict[str, Any]]:
    file = checkout.logs(run_id) / "invocations.run_task.jsonl"
    return [json.loads(line) for line in file.read_bytes().splitlines()] if file.exists() else []


@pytest.mark.parametrize(
    ("script", "code", "status", "signum"),
    [
        ("exit 0", 0, 0, None),
        ("exit 3", 3, 3, None),
        ("kill -9 $$", 137, None, 9),
        ("kill -15 $$", 143, None, 15),
    ],
)
def test_the_exit_code_is_passed_on_and_recorded(
    checkout: Checkout, script: str, code: int, status: int | None, signum: int | None
) -> None:
    run_id = f"code-{code}"
    before_ms = time.time() * 1000
    done = run_task(checkout, run_id, "--module", "m", "--task-id", "t1", "--", "sh", "-c", script)
    after_ms = time.time() * 1000
    assert done.returncode == code
    (row,) = rows(checkout, run_id)
    assert (row["status"], row["signal"], row["module_id"], row["task_id"]) == (status, signum, "m", "t1")
    assert before_ms - 1 <= row["ts_start"] <= row["ts_end"] <= after_ms + 1
    assert row["queue_time_ms"] == 0 and row["rt_ms"] == row["service_time_ms"]


def test_a_command_that_cannot_run_has_the_shells_codes(checkout: Checkout) -> None:
    assert run_task(checkout, "none", "--", "no-such-program").returncode == 127
    assert run_task(checkout, "none", "--", "/etc").returncode == 126
    assert [row["status"] for row in rows(checkout, "none")] == [127, 126]
    assert run_task(checkout, "none").returncode == 2


def test_cpu_and_memory_are_those_of_the_whole_tree(checkout: Checkout) -> None:
    used_s = 0.3
    python = shlex.quote(sys.executable)
    script = f"{python} -c '{BURN}' {used_s} & {python} -c 'x=bytearray(80_000_000)'; wait"
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = run_task(checkout, "cpu", "--", "sh", "-c", script)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    (row,) = rows(checkout, "cpu")
    all_ms = (after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime) * 1000  # the wrapper too
    assert done.returncode == 0
    assert used_s * 1000 <= row["cpu_time_ms"] <= all_ms
    assert 78_000 <= row["maxrss_kb"] <= 120_000


def test_memory_of_who_started_the_wrapper_does_not_hide_that_of_the_task(checkout: Checkout) -> None:
    """A large process that starts it by vfork lends it its memory, and with that its peak, until exec."""
    starter = "import subprocess, sys; held = bytearray(300_000_000); sys.exit(subprocess.call(sys.argv[1:]))"
    words = command(checkout, "--", sys.executable, "-c", "x = bytearray(80_000_000)")
    environ = clean_environment(RUN_ID="lent", NODE_ID="n1")
    assert subprocess.run([sys.executable, "-c", starter, *words], env=environ, check=False).returncode == 0
    assert 78_000 <= rows(checkout, "lent")[0]["maxrss_kb"] <= 120_000


def test_less_memory_than_the_wrappers_own_is_not_known(checkout: Checkout) -> None:
    run_task(checkout, "small", "--", "true")
    assert "maxrss_kb" not in rows(checkout, "small")[0] or rows(checkout, "small")[0]["maxrss_kb"] is None


def test_bytes_of_named_files_and_a_known_time_of_queueing(checkout: Checkout, tmp_path: Path) -> None:
    (tmp_path / "in").write_bytes(b"x" * 1000)
    queued_ms = int(time.time() * 1000) - 5000
    words = ["--in", str(tmp_path / "in"), "--out", str(tmp_path / "out"), "--enqueued-ms", str(queued_ms)]
    run_task(checkout, "bytes", *words, "--", "sh", "-c", f"head -c 10 {tmp_path}/in >{tmp_path}/out")
    (row,) = rows(checkout, "bytes")
    assert (row["bytes_in"], row["bytes_out"], row["ts_enqueue"]) == (1000, 10, queued_ms)
    assert 5000 <= row["queue_time_ms"] == row["ts_start"] - queued_ms
    assert abs(row["rt_ms"] - row["queue_time_ms"] - row["service_time_ms"]) <= 0.01


def test_the_trace_is_taken_up_and_handed_on(checkout: Checkout) -> None:
    done = run_task(checkout, "trace", "--", "sh", "-c", "echo $TRACEPARENT", TRACEPARENT=TRACE)
    (row,) = rows(checkout, "trace")
    assert (row["trace_id"], row["parent_id"]) == (TRACE[3:35], TRACE[36:52])
    assert done.stdout.strip() == f"00-{TRACE[3:35]}-{row['span_id']}-01"
    run_task(checkout, "trace", "--", "true", TRACEPARENT=TRACE.replace("4bf9", "4BF9"))
    fresh = rows(checkout, "trace")[1]
    assert fresh["parent_id"] is None and re.fullmatch("[0-9a-f]{32}", fresh["trace_id"])


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT, signal.SIGUSR1])
def test_signals_are_passed_on_once(checkout: Checkout, tmp_path: Path, signum: int) -> None:
    name = signal.Signals(signum).name.removeprefix("SIG")
    got = tmp_path / "got"
    wait = f"touch {tmp_path}/ready; while [ ! -s {got} ]; do sleep 0.05; done; exit 7"
    script = f"trap 'echo {name} >>{got}' {name}; {wait}"
    run_id = f"signal-{name}"
    process = subprocess.Popen(
        command(checkout, "--", "sh", "-c", script), env=clean_environment(RUN_ID=run_id, NODE_ID="n1")
    )
    wait_for((tmp_path / "ready").exists, "the command runs")
    process.send_signal(signum)
    assert process.wait() == 7
    assert (tmp_path / "got").read_text() == f"{name}\n"
    assert rows(checkout, run_id)[0]["status"] == 7


def test_many_at_a_time_leave_a_whole_line_each(checkout: Checkout) -> None:
    script = 'for i in $(seq 25); do "$@" --task-id "$0.$i" -- true; done'
    processes = [
        subprocess.Popen(
            ["sh", "-c", script, f"w{index}", *command(checkout)],
            env=clean_environment(RUN_ID="many", NODE_ID="n1"),
        )
        for index in range(4)
    ]
    assert [process.wait() for process in processes] == [0] * 4
    found = [row["task_id"] for row in rows(checkout, "many")]
    assert sorted(found) == sorted(f"w{index}.{number}" for index in range(4) for number in range(1, 26))


@pytest.mark.parametrize(("ending", "status"), [("whole", 0), ("no input", 1), ("ended", 255)])
def test_a_real_ffmpeg_is_measured_and_its_end_told(
    checkout: Checkout, tmp_path: Path, ending: str, status: int
) -> None:
    """ffmpeg ends with 255 after SIGTERM, in its own way; it is no signal's death."""
    ffmpeg = shutil.which("ffmpeg")
    need(ffmpeg, "ffmpeg (package ffmpeg)")
    video, run_id = tmp_path / "out.mkv", f"ffmpeg-{ending[:2]}"
    seconds = 2 if ending == "whole" else 3600
    source = ["-f", "lavfi", "-i", f"testsrc=duration={seconds}"]
    words = [str(ffmpeg), "-loglevel", "error", *(["-i", "none"] if ending == "no input" else source)]
    process = subprocess.Popen(
        command(checkout, "--out", str(video), "--", *words, "-c:v", "mpeg4", str(video)),
        env=clean_environment(RUN_ID=run_id, NODE_ID="n1"),
        stderr=subprocess.DEVNULL,
    )
    if ending == "ended":
        wait_for(lambda: video.stat().st_size > 100_000, "ffmpeg has written some")
        process.send_signal(signal.SIGTERM)
    assert process.wait() == status
    (row,) = rows(checkout, run_id)
    assert (row["module_id"], row["status"], row["signal"]) == ("ffmpeg", status, None)
    assert row["bytes_out"] == (video.stat().st_size if ending != "no input" else None)
    assert 0 < row["cpu_time_ms"] <= row["rt_ms"] * (os.cpu_count() or 1) + 10
    assert ending == "no input" or row["maxrss_kb"] > 20_000


def test_a_full_disk_loses_the_record_and_not_the_exit_code(checkout: Checkout) -> None:
    folder = checkout.logs("full")
    folder.mkdir(parents=True)
    (folder / "invocations.run_task.jsonl").symlink_to("/dev/full")
    done = run_task(checkout, "full", "--", "sh", "-c", "exit 5")
    assert done.returncode == 5
    assert "is lost" in done.stderr


# --- the sampler


def sampler(root: Path, told: list[Task]) -> Recording:
    def read(_: Path) -> list[Task]:
        taken, told[:] = list(told), [task for task in told if task.cpu_us is None]
        return taken

    where = Target("", "", lambda _pid, _ppid: False, lambda _name: None, str(root), Tasks(root, read))
    return Recording(where, root=str(root))


def test_a_told_process_and_its_descendants_are_sampled_without_a_pattern(tmp_path: Path) -> None:
    told: list[Task] = []
    recording = sampler(tmp_path, told)
    fake_process(tmp_path, 40, "python3", ppid=1)
    fake_process(tmp_path, 41, "ffmpeg", ppid=40)
    fake_process(tmp_path, 42, "child", ppid=41)
    fake_process(tmp_path, 43, "other", ppid=40)
    tick(recording, 0)
    assert recording.rows() == []
    told.append(Task(41, 500, 40, None, False))
    tick(recording, 1)
    assert sorted(row["pid"] for row in recording.rows()) == [41, 42]
    fake_process(tmp_path, 44, "grandchild", ppid=42)
    tick(recording, 2)
    assert sorted(row["pid"] for row in recording.rows()[2:]) == [41, 42, 44]


def test_cpu_of_a_task_that_was_never_seen_is_told_without_exit_records(tmp_path: Path) -> None:
    recording = sampler(tmp_path, [Task(41, 500, 40, 180_000, False)])
    tick(recording, 0)
    told = [Task(45, 500, 46, 250_000, True)]
    recording = sampler(tmp_path, told)
    tick(recording, 0)
    told.append(Task(47, 500, 48, 120_000, True))
    tick(recording, 1)
    marks = {mark["kind"]: mark for mark in recording.told("marks.jsonl")}
    assert marks["unattributed"]["cpu_ms"] == 120
    assert marks["record_lost"]["reason"] == "run_task"


def test_what_rows_hold_of_a_task_is_not_told_again(tmp_path: Path) -> None:
    told = [Task(41, 500, 40, None, False)]
    recording = sampler(tmp_path, told)
    fake_process(tmp_path, 40, "python3", ppid=1)
    fake_process(tmp_path, 41, "ffmpeg", ppid=40)
    tick(recording, 0)
    fake_process(tmp_path, 41, "ffmpeg", ppid=40, utime=100)
    tick(recording, 1)
    shutil.rmtree(tmp_path / "41")
    recording.sampler._processes[41].descriptors = None  # files of a made /proc outlive their folder
    tick_ms = 1000 // os.sysconf("SC_CLK_TCK")
    told[:] = [Task(41, 500, 40, (100 * tick_ms + 300) * 1000, False)]
    for second in range(2, 5):
        tick(recording, second)
    unattributed = [
        mark["cpu_ms"] for mark in recording.told("marks.jsonl") if mark["kind"] == "unattributed"
    ]
    assert unattributed == [300]


WITNESS = """
import os, sys, time
report = os.open(sys.argv[1], os.O_WRONLY | os.O_APPEND)
pid = os.posix_spawn("/bin/sh", ["sh", "-c", *sys.argv[2:]], os.environ)
used = os.wait4(pid, 0)[2]
children_us = round((used.ru_utime + used.ru_stime) * 1e6)
os.write(report, b"%d %d\\n" % (os.getppid(), time.process_time_ns() // 1000 + children_us))
os._exit(0)
"""
SPIN = "i=0; while [ $i -lt $0 ]; do i=$((i+1)); done"
TREE = f"({SPIN}) & {SPIN}; wait; sleep 0.01"  # each half of the work in a process of its own
TASKS, LONGEST_MS = (1000, 2000) if FULL else (48, 300)


def spins_in_a_second() -> float:
    """How often the shell goes round in a second of CPU."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(["/bin/sh", "-c", SPIN, "100000"], check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return 100_000 / (after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)


@pytest.mark.parametrize("matched", ["nothing", "the wrapper's command line"])
def test_told_cpu_is_that_of_the_tree_and_the_curve_adds_up_to_it(
    checkout: Checkout, tmp_path: Path, matched: str
) -> None:
    """Shell tasks of 20 ms and more, 8 at a time; each is told of by a witness inside it, too."""
    need(can_listen(), "exit records need root, the first pid namespace and Linux 5.19")
    run_id, report = f"curve-{len(matched)}", tmp_path / "report"
    pattern = "" if matched == "nothing" else str(report)
    report.touch()
    per_ms = spins_in_a_second() / 1000
    sizes_ms = [20 * (LONGEST_MS / 20) ** (number / (TASKS - 1)) for number in range(TASKS)]
    random.Random(1).shuffle(sizes_ms)
    env = clean_environment(RUN_ID=run_id, NODE_ID="n1")

    def run(size_ms: float) -> int:
        words = [sys.executable, "-I", "-S", "-c", WITNESS, str(report), TREE, f"{size_ms / 2 * per_ms:.0f}"]
        return subprocess.run(command(checkout, "--", *words), env=env, check=False).returncode

    start(checkout, run_id, PROC_MATCH=pattern, PROC_REFRESH="1")
    with ThreadPoolExecutor(8) as workers:
        assert list(workers.map(run, sizes_ms)) == [0] * TASKS
    time.sleep(1.2)
    stop(checkout, run_id)
    assert quality_of(checkout, run_id)["balanced"]
    truth_ms = sum(int(line.split()[1]) for line in report.read_text().splitlines()) / 1000
    told = rows(checkout, run_id)
    told_ms = sum(row["cpu_time_ms"] for row in told)
    curve = lines_of(checkout.logs(run_id) / "cctf" / "proc_cpu.jsonl")
    nameless_ms = sum(row["cpu_ms"] for row in curve if row["pid"] is None)
    wrappers = {int(line.split()[0]) for line in report.read_text().splitlines()}
    assert len(told) == len(wrappers) == TASKS
    assert told_ms == pytest.approx(truth_ms, rel=0.01)
    assert sum(row["cpu_ms"] for row in curve) == pytest.approx(told_ms, rel=0.01)
    assert nameless_ms <= 0.1 * told_ms
    assert {(row["pid"], row["starttime"]) for row in told} <= {
        (row["pid"], row["starttime"]) for row in curve
    }
    assert wrappers.isdisjoint(row["pid"] for row in curve)


def test_words_that_are_not_utf8_and_a_broken_inventory_lose_neither_record_nor_exit_code(
    checkout: Checkout, tmp_path: Path
) -> None:
    program = tmp_path / os.fsdecode(b"odd\xff")
    program.write_text("#!/bin/sh\nexit 7\n")
    program.chmod(0o755)
    folder = checkout.logs("odd")
    folder.mkdir(parents=True)
    for inventory in ("{", '{"modules":null}', '{"modules":[1]}'):
        (folder / "module_inventory.json").write_text(inventory)
        done = run_task(checkout, "odd", "--task-id", os.fsdecode(b"a\xfe"), "--", str(program))
        assert done.returncode == 7
        assert "module_inventory.json" in done.stderr
        assert "Traceback" not in done.stderr
    told = [(row["module_id"], row["task_id"], row["status"]) for row in rows(checkout, "odd")]
    assert told == [("odd\\xff", "a\\xfe", 7)] * 3


def test_a_time_of_queueing_before_the_epoch_is_wrong_usage(checkout: Checkout) -> None:
    done = run_task(checkout, "early", "--enqueued-ms", "-5", "--", "true")
    assert done.returncode == 2
    assert "--enqueued-ms" in done.stderr
