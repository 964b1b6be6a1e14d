#!/usr/bin/env python3
# Summary: wraps a command: one invocation a run, with its exact CPU, peak memory, exit code or signal.
# Usage: tools/adapters/run_task.py [options] -- COMMAND [ARGUMENT...]
#        RUN_ID=run1 parallel -j8 tools/adapters/run_task.py -- ffmpeg -i {} {.}.mp4 ::: *.mov
# Out: {"ts_enqueue":1767225601205,...,"cpu_time_ms":742.113,"status":0,"pid":4242,...,"maxrss_kb":51200}
# Cost: one Python start, about 50 ms of CPU, which is no part of the task's.
# Source: wait4(2), getrusage(2): user and system time of the command and of all children it waited for.
"""Runs the command, and appends its invocation to logs/<RUN_ID>/invocations.run_task.jsonl.

The exit code is the command's own, 128 + n where signal n ended it, 127 where it is not found, 126 where it
cannot be run. SIGTERM, SIGINT, SIGHUP, SIGQUIT, SIGUSR1 and SIGUSR2 are passed on; one that a terminal sends
to all of its processes is not sent twice. A traceparent in the environment variable TRACEPARENT names the
caller; the command gets one that names this task. Where the run is live, the process sampler is told of the
process before the program starts, and its whole tree is in the trace, whatever PROC_MATCH says.

The record is one write of one line, so thousands may run at once. Where it cannot be written (a full disk),
that is said, and the exit code stays the command's.
"""

import argparse
import os
import secrets
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tracekit import cli, jsonl
from tracekit.adapt.appending import Appender
from tracekit.errors import TracekitError, UsageError
from tracekit.inventory import write_module_inventory
from tracekit.runs import Run, chosen_run, place_of
from tracekit.tasks import register, starttime_of, tell_end

PASSED_ON = {
    signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2,
}  # fmt: skip
SI_KERNEL = 0x80  # si_code of a signal that a terminal sends, to every process of its foreground group
NOT_FOUND, NOT_RUN = 127, 126


class Ended(NamedTuple):
    """How the command ended. cpu_us, maxrss_kb: of it and of the children that it waited for.

    maxrss_kb is None where it was less than this program's own: until exec that was the child's too."""

    exit_code: int | None
    signum: int | None
    cpu_us: int
    maxrss_kb: int | None


def _peak_kb() -> int:
    """This program's own peak of resident memory. getrusage(2) would tell that of whoever started it, too."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0])


class Child:
    """The command, forked, and held back until go()."""

    def __init__(self, command: Sequence[str], environ: dict[str, str]) -> None:
        self._signals = {*PASSED_ON, signal.SIGCHLD}
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # ignored, it would leave nothing to wait for
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, self._signals)
        held, self._gate = os.pipe()
        self._failed, failing = os.pipe()
        self._own_rss_kb = _peak_kb()
        self.pid = os.fork()
        if self.pid == 0:
            os.close(self._gate)
            os.read(held, 1)
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
            for ignored_by_python in (signal.SIGPIPE, signal.SIGXFSZ):
                signal.signal(ignored_by_python, signal.SIG_DFL)
            try:
                os.execvpe(command[0], list(command), environ)  # pipes are closed on exec
            except OSError as error:
                os.write(failing, str(error.errno).encode())
            os._exit(NOT_FOUND)
        os.close(held)
        os.close(failing)

    def go(self) -> OSError | None:
        """Let the program start; what is wrong where it cannot."""
        os.close(self._gate)
        told = os.read(self._failed, 16)
        return OSError(int(told), os.strerror(int(told))) if told else None

    def wait(self) -> Ended:
        """Its end; signals that come meanwhile are passed on."""
        while True:
            pid, status, used = os.wait4(self.pid, os.WNOHANG)
            if pid:
                cpu_us = round((used.ru_utime + used.ru_stime) * 1_000_000)
                code = os.waitstatus_to_exitcode(status)
                exit_code, signum = (code, None) if code >= 0 else (None, -code)
                maxrss_kb = used.ru_maxrss if used.ru_maxrss > self._own_rss_kb else None
                return Ended(exit_code, signum, cpu_us, maxrss_kb)
            info = signal.sigwaitinfo(self._signals)
            if info.si_signo != signal.SIGCHLD and info.si_code != SI_KERNEL:
                os.kill(self.pid, info.si_signo)


def _trace(environ: dict[str, str]) -> dict[str, str | None]:
    """trace_id, span_id and parent_id of the task; the environment is changed to name the task."""
    version, trace, parent, flags = (environ.get("TRACEPARENT", "").split("-") + [""] * 4)[:4]
    digits = set("0123456789abcdef")
    is_valid = (
        (len(version), len(trace), len(parent), len(flags)) == (2, 32, 16, 2)
        and set(version + trace + parent + flags) <= digits
        and version != "ff"
        and trace.strip("0") and parent.strip("0")
    )  # fmt: skip
    if not is_valid:
        trace, parent, flags = secrets.token_hex(16), "", "01"
    span = secrets.token_hex(8)
    environ["TRACEPARENT"] = f"00-{trace}-{span}-{flags}"
    return {"trace_id": trace, "span_id": span, "parent_id": parent or None}


def _sizes(names: Sequence[str]) -> int | None:
    """Bytes of these files; None where none is named, or one of them is no file."""
    try:
        return sum(Path(name).stat().st_size for name in names) if names else None
    except OSError:
        return None


def _stamps(enqueued_ms: int | None, began_ns: int, took_us: int) -> dict[str, Any]:
    start_ms = began_ns // 1_000_000
    is_queued = enqueued_ms is not None and enqueued_ms <= start_ms
    enqueue_ms = enqueued_ms if is_queued and enqueued_ms is not None else start_ms
    took_ms = took_us / 1000
    waited_ms = start_ms - enqueue_ms
    return {
        "ts_enqueue": enqueue_ms,
        "ts_start": start_ms,
        "ts_end": (began_ns // 1000 + took_us) // 1000,
        "queue_time_ms": waited_ms,
        "service_time_ms": took_ms,
        "rt_ms": round(waited_ms + took_ms, 3),
        "queue_source": "run_task" if is_queued else None,
    }


def _append(run: Run, name: str, record: dict[str, Any]) -> bool:
    """Whether the record could be written; if not, that is said."""
    try:
        file = Appender(run.dir / name)
        try:
            file.add([jsonl.encode(record)])
        finally:
            file.close()
    except OSError as error:
        cli.warn(f"the record of pid {record['pid']} is lost: {run.dir / name}: {error.strerror}")
        return False
    try:
        module = {"module_id": record["module_id"], "name": record["module_id"], "type": None}
        write_module_inventory(run.dir, modules=[module])
    except (OSError, TracekitError) as error:  # the record is there, and names the module itself
        cli.warn(f"{record['module_id']} is not in the inventory of modules: {error}")
    return True


def _readable(word: str) -> str:
    """A word of the command line, which need not be UTF-8, as text that can be written."""
    return os.fsencode(word).decode("utf-8", "backslashreplace")


def run_task(run: Run, options: argparse.Namespace, place: tuple[str, str]) -> int:
    """Run the command and write its record; the exit code to end with."""
    environ = dict(os.environ)
    trace = _trace(environ)
    bytes_in = _sizes(options.inputs)
    child = Child(options.command, environ)
    starttime = starttime_of(child.pid)
    told = register(run, child.pid, starttime) if starttime is not None else None
    began_ns, began = time.time_ns(), time.monotonic_ns()
    problem = child.go()
    ended = child.wait()
    took_us = (time.monotonic_ns() - began) // 1000
    status = ended.exit_code
    if problem:
        status = NOT_FOUND if isinstance(problem, FileNotFoundError) or problem.errno == 2 else NOT_RUN
        cli.warn(f"{options.command[0]}: {problem.strerror}")
    node, stage = place
    stamps = _stamps(options.enqueued_ms, began_ns, took_us)
    module = _readable(options.module or Path(options.command[0]).name)
    task_id = None if options.task_id is None else _readable(options.task_id)
    record = {
        "ts_enqueue": stamps["ts_enqueue"], "node": node, **trace, **stamps,
        "module_id": module, "instance_id": None, "stage": stage,
        "method": None, "path": None, "bytes_in": bytes_in, "bytes_out": _sizes(options.outputs),
        "cpu_time_ms": ended.cpu_us / 1000, "status": status, "pid": child.pid, "starttime": starttime,
        "signal": ended.signum, "source": "run_task", "task_id": task_id,
        "queue_source": stamps["queue_source"], "maxrss_kb": ended.maxrss_kb,
    }  # fmt: skip
    name = f"invocations.run_task{'-' + options.tag if options.tag else ''}.jsonl"
    is_written = _append(run, name, record)
    if told:
        tell_end(told, ended.cpu_us, not is_written)
    return 128 + ended.signum if ended.signum else status or 0


def main(argv: Sequence[str] | None = None) -> int:
    """Wrap one command."""
    parser = cli.parser(__doc__ or "")
    parser.add_argument("--run-id", help="the run; default: RUN_ID, else the live or the last one")
    parser.add_argument("--node-id", help="default: NODE_ID, else that of the run")
    parser.add_argument("--stage", help="default: STAGE, else that of the run")
    parser.add_argument("--tag", help="appends to invocations.run_task-TAG.jsonl; default: TAG")
    parser.add_argument("--module", help="module_id; default: the name of the program")
    parser.add_argument("--task-id", help="id of the task in its own system")
    parser.add_argument("--enqueued-ms", type=int, metavar="MS", help="when it was queued, since the epoch")
    parser.add_argument(
        "--in", dest="inputs", action="append", default=[], metavar="FILE", help="counts as bytes_in"
    )
    parser.add_argument(
        "--out", dest="outputs", action="append", default=[], metavar="FILE", help="counts as bytes_out"
    )
    parser.add_argument("command", nargs=argparse.REMAINDER, metavar="-- COMMAND")
    options = parser.parse_args(argv)
    if options.command[:1] == ["--"]:
        del options.command[0]
    if options.enqueued_ms is not None and options.enqueued_ms < 0:
        raise UsageError(f"--enqueued-ms {options.enqueued_ms}: wanted ms since the epoch")
    if not options.command:
        raise UsageError("no command: run_task.py [options] -- COMMAND [ARGUMENT...]")
    given = {name: getattr(options, name.lower()) for name in ("RUN_ID", "NODE_ID", "STAGE", "TAG")}
    settings = cli.load_settings(**given)
    options.tag = settings["TAG"]
    run = chosen_run(settings)
    return run_task(run, options, place_of(run, settings))


if __name__ == "__main__":
    raise SystemExit(cli.run(main))
