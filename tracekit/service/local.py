"""The service as processes of this user: uvicorn and its workers, in a session of their own."""

import os
import select
import signal
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from tracekit import ROOT
from tracekit.collect import marked
from tracekit.collect.appender import open_raw
from tracekit.errors import TracekitError
from tracekit.service.plan import Plan, answers, prepare, refuse_taken_port
from tracekit.service.state import TOKEN, Started, new_folder, note

START_S = 30.0
STOP_S = 8.0  # uvicorn gives open requests 5 s
KILL_S = 5.0
LOG = "app.err"


def start(plan: Plan, environ: Mapping[str, str]) -> Started:
    """Start it; returns when its port answers. Raises TracekitError, with nothing left running, where not."""
    refuse_taken_port(plan.host, plan.port)
    prepare(plan)
    folder = new_folder(plan.run)
    started = note(folder, plan, "local")
    own = {"TRACE_DIR": str(plan.run.dir), "KV_PATH": str(folder / "kv.sqlite"), TOKEN: started.token}
    with os.fdopen(open_raw(plan.run.dir / LOG), "ab", buffering=0) as log:
        process = subprocess.Popen(
            _command(plan),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd="/",
            env={**environ, **plan.environment(), **own},
            start_new_session=True,
        )
    try:
        _wait(plan, process)
    except BaseException:
        end(started)
        started.forget()
        raise
    return started


def _command(plan: Plan) -> list[str]:
    where = ("--host", plan.host, "--port", str(plan.port), "--workers", str(plan.workers))
    return [sys.executable, "-I", str(ROOT / "app" / "serve.py"), *where]


def _wait(plan: Plan, process: "subprocess.Popen[bytes]") -> None:
    pidfd = os.pidfd_open(process.pid)
    try:
        for _ in range(int(START_S / 0.1)):
            if answers(plan.host, plan.port):
                return
            if select.select([pidfd], [], [], 0.1)[0]:
                raise TracekitError(f"the service ended at once{_last_words(plan.run.dir / LOG)}")
    finally:
        os.close(pidfd)
    raise TracekitError(f"the service does not answer on {plan.host}:{plan.port} within {START_S:.0f} s")


def _last_words(log: Path) -> str:
    lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    return f": {lines[-1]}; logs/{log.parent.name}/{log.name} has the rest" if lines else ""


def end(started: Started) -> list[str]:
    """End every process of it, for certain; returns what the user should be told."""
    mark = f"{TOKEN}={started.token}".encode()
    pids = marked.living(mark)
    if not pids:
        return ["it had ended already"]
    # The leader of the session ends its workers in order; where it was killed, each of them is asked.
    for pid in [one for one in pids if marked.is_leader(one)] or pids:
        marked.send_signal(pid, mark, signal.SIGTERM)
    _wait_for_end(mark, STOP_S)
    killed = marked.living(mark)
    for pid in killed:
        marked.send_signal(pid, mark, signal.SIGKILL)
    _wait_for_end(mark, KILL_S)
    if left := marked.living(mark):
        raise TracekitError(f"processes {left} of the service do not end, not even by SIGKILL")
    return ["it did not end at SIGTERM and was killed"] if killed else []


def _wait_for_end(mark: bytes, seconds: float) -> None:
    """Until no process has the token, so long at most."""
    for _ in range(int(seconds / 0.1)):
        pids = marked.living(mark)
        if not pids:
            return
        with suppress(OSError):
            pidfd = os.pidfd_open(pids[0])
            select.select([pidfd], [], [], 0.1)
            os.close(pidfd)
