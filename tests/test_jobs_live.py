"""Adapters of jobs against real GNU parallel and Celery: every job once, at its own times."""

import json
import os
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any

from clients import NEAR_MS, Server
from conftest import Checkout, clean_environment, need
from loopback import answers, free_port, wait_for

APP = """
import json, os, sys, time
from celery import Celery
port = os.environ["REDIS_PORT"]
app = Celery("app", broker=f"redis://127.0.0.1:{port}/0")
app.conf.update(task_send_sent_event=True, worker_send_task_events=True)

@app.task(name="work", bind=True)
def work(self, seconds):
    began = time.time()
    time.sleep(seconds)
    with open("truth.jsonl", "a") as out:
        print(json.dumps({"id": self.request.id, "began": began, "ended": time.time()}), file=out, flush=True)

@app.task(name="retried", bind=True)
def retried(self):
    if not self.request.retries:
        raise self.retry(countdown=0.1)

@app.task(name="failing")
def failing():
    raise ValueError("on purpose")

@app.task(name="killed", time_limit=1)
def killed():
    time.sleep(30)
"""
EVENTS = """
import json
from app import app
with app.connection() as connection, open("events.jsonl", "w") as out:
    write = lambda event: print(json.dumps(event, default=str), file=out, flush=True)
    app.events.Receiver(connection, handlers={"*": write}).capture(limit=None)
"""
SEND = """
from app import *
for seconds in (0.05, 0.2, 0.1): work.delay(seconds)
retried.delay(), failing.delay(), killed.delay(), work.apply_async((0,), expires=-1)
"""
# When it began and ended, and how many ns it had waited for a CPU by then.
JOB = """
began=$EPOCHREALTIME
sleep 0.$1
read -r _ waited_ns _ </proc/$$/schedstat
echo "$1 $began $EPOCHREALTIME $waited_ns" >>truth
exit $1
"""


def rows(checkout: Checkout, source: str, log: Path) -> list[dict[str, Any]]:
    done = checkout.make("adapt", f"SOURCE={source}", f"IN='{log}'", f"RUN_ID=live-{source}", "NODE_ID=n1")
    assert done.returncode == 0, done.stderr
    file = checkout.logs(f"live-{source}") / f"invocations.{source}.jsonl"
    return [json.loads(line) for line in file.read_bytes().splitlines()]


def test_every_job_of_gnu_parallel_is_there_at_its_own_times(checkout: Checkout, tmp_path: Path) -> None:
    program = shutil.which("parallel")
    need(program, "GNU parallel (package parallel)")
    (tmp_path / "job.sh").write_text(JOB)
    command = [str(program), "-j3", "--joblog", "log", "bash", "job.sh", "{}", ":::", *"1234567"]
    env = clean_environment(HOME=str(tmp_path))
    with subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.DEVNULL, env=env) as process:
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        late_ms = NEAR_MS + Server(process.pid).held_up_ms()
    truths = dict(line.split(" ", 1) for line in (tmp_path / "truth").read_text().splitlines())
    found = {row["task_id"]: row for row in rows(checkout, "parallel", tmp_path / "log")}
    assert sorted(found) == list("1234567")
    for name, row in found.items():
        began, ended, waited_ns = map(float, truths[name].split())
        assert abs(row["ts_start"] - began * 1000) <= late_ms + waited_ns / 1e6
        assert abs(row["ts_end"] - ended * 1000) <= late_ms + waited_ns / 1e6
        assert (row["status"], row["bytes_out"], row["module_id"]) == (int(name), 0, "bash")


def test_every_try_of_celery_is_there_at_its_own_times(checkout: Checkout, tmp_path: Path) -> None:
    celery, redis = shutil.which("celery"), shutil.which("redis-server")
    need(celery, "celery (the wheels celery and redis)")
    need(redis, "redis-server (package redis-server)")
    python = str(Path(str(celery)).parent / "python")
    port = free_port()
    for name, text in (("app.py", APP), ("events.py", EVENTS), ("send.py", SEND)):
        (tmp_path / name).write_text(text)
    env = clean_environment(REDIS_PORT=str(port), PYTHONPATH=str(tmp_path), C_FORCE_ROOT="1")
    quiet: dict[str, Any] = {
        "cwd": tmp_path,
        "env": env,
        "stdout": subprocess.DEVNULL,
        "stderr": subprocess.DEVNULL,
    }
    started = [
        subprocess.Popen([str(redis), "--port", str(port), "--save", "", "--bind", "127.0.0.1"], **quiet)
    ]
    try:
        wait_for(lambda: answers(port), "redis listens")
        started.append(subprocess.Popen([python, "events.py"], **quiet))
        started.append(
            subprocess.Popen([str(celery), "-A", "app", "worker", "-c2", "-E", "-n", "w1@vm9"], **quiet)
        )
        events = tmp_path / "events.jsonl"
        wait_for(lambda: events.exists() and b"worker-" in events.read_bytes(), "the worker is up", 60)
        worker = Server(started[-1].pid)
        waited_ms, before = worker.held_up_ms(), time.time()
        subprocess.run([python, "send.py"], check=True, **quiet)
        wait_for(lambda: events.read_bytes().count(b'"task-failed"') >= 2, "the last task has ended", 30)
        wait_for(lambda: events.read_bytes().count(b'"task-succeeded"') >= 4, "the others have", 30)
        late_ms = NEAR_MS + worker.held_up_ms() - waited_ms
    finally:
        for process in reversed(started):
            process.terminate()
            process.wait()
    found = rows(checkout, "celery", events)
    by_module: dict[str, list[dict[str, Any]]] = {}
    for row in found:
        by_module.setdefault(row["module_id"], []).append(row)
    assert {name: len(several) for name, several in by_module.items()} == {
        "work": 3,
        "retried": 2,
        "failing": 1,
        "killed": 1,
    }
    assert [row["status"] for row in sorted(by_module["retried"], key=lambda row: row["attempt"])] == [1, 0]
    assert (by_module["failing"][0]["status"], by_module["killed"][0]["status"]) == (1, 1)
    truths = {one["id"]: one for one in map(json.loads, (tmp_path / "truth.jsonl").read_text().splitlines())}
    for row in by_module["work"]:
        truth = truths[row["task_id"]]
        assert before * 1000 - 1 <= row["ts_enqueue"] <= row["ts_start"]
        assert abs(row["ts_start"] - truth["began"] * 1000) <= late_ms
        assert abs(row["ts_end"] - truth["ended"] * 1000) <= late_ms
        assert (row["node"], row["instance_id"], row["queue_source"]) == ("vm9", "w1@vm9", "task-sent")
