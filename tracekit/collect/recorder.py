"""The recorder: one long-lived process a run, which starts the collectors, writes what they print, and
sees to it that each of them is alive and each gap is told.

It holds the run's lock for its whole life. Once a second, on the whole second, it looks after its
children; it ends at SIGTERM, when it has stopped them all.
"""

import os
import resource
import signal
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from queue import Empty, SimpleQueue
from threading import Event
from typing import Any

from tracekit import jsonl
from tracekit.collect import clock
from tracekit.collect.catalog import Collector
from tracekit.collect.child import Child, RowMaker, What
from tracekit.collect.clock import STEP_MS, Stamp, now
from tracekit.collect.clockwatch import ClockWatch
from tracekit.collect.hold import Hold
from tracekit.collect.journal import Journal, span
from tracekit.collect.nic import NicWatch
from tracekit.collect.rows import LinkRows, plain_row
from tracekit.errors import TracekitError

SILENT_MS = 2000  # a collector that says nothing for this long beyond its interval is stuck
HOPELESS_MS = 10_000  # after this long it is killed, and started again
TERM_S = 3.0  # a collector has this long to end before it is killed
SUMMARY_S = 60
LONGEST_BACKOFF_S = 60


@dataclass
class Care:
    """What the recorder remembers of one child: when to start it again, and how long it was away."""

    child: Child
    interval_ms: int
    attempts: int = 0
    start_at: float | None = 0.0  # monotonic s; None: it runs
    down_since: Stamp | None = None
    why: str = ""
    is_silent: bool = False
    summary_from: Stamp | None = None
    summary_rows: int = 0


class Recorder:
    """Runs collectors for one run until told to stop."""

    def __init__(
        self, hold: Hold, collectors: list[Collector], environ: Mapping[str, str], ready: int
    ) -> None:
        """environ: the collectors' environment, settings included. ready: descriptor told of the start."""
        self._hold = hold
        self._run = run = hold.run
        self._environ = environ
        self._ready: int | None = ready
        self._events: SimpleQueue[What] = SimpleQueue()
        self._journal = Journal(run.dir, collectors)
        self._cares = [self._care(collector) for collector in collectors]
        node_meta = jsonl.read_document(run.dir / "node_meta.json")
        self._clock_watch = ClockWatch(self._journal.mark, node_meta.get("clock") or {})
        self._nic_watch = NicWatch(environ["IFACE"], self._journal.mark)
        self._offset_ms = now().offset_ms
        self._looked = now()
        self._error: str | None = None
        self._killed: list[str] = []
        self._failing: dict[str, str] = {}
        self._notes: list[str] = []  # what stop tells

    def _care(self, collector: Collector) -> Care:
        node, iface = self._environ["NODE_ID"], self._environ["IFACE"]
        make_row: RowMaker = plain_row
        if collector.name == "ifstat":
            make_row = LinkRows(f"{node}.nic", iface, self._tell_reset)
        interval_ms = int(self._environ["PROC_INTERVAL_MS"]) if collector.name == "proc" else 1000
        child = Child(collector, make_row, self._journal.append, self._tell_lost, self._events)
        return Care(child, interval_ms)

    def _messages_of(self, collector: Collector) -> Path:
        return self._run.dir / collector.errors if collector.errors else self._run.state / "recorder.log"

    def _tell_reset(self, detail: str) -> None:
        self._journal.mark("nic", "reset", detail=detail)

    def _tell_lost(self, collector: Collector, kind: str, file: str, detail: str) -> None:
        sys.stderr.write(f"{collector.name}: {detail}\n")  # the recorder's log
        self._journal.mark(collector.series, kind, reason=file, detail=f"{collector.name}: {detail}")

    # --- the life of the run

    def run(self) -> int:
        """Record until SIGTERM or SIGINT; 0, or 1 where the run could not go on."""
        for signum in (signal.SIGTERM, signal.SIGINT):
            signal.signal(signum, lambda *_: self._events.put((None, "stop")))
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        Event().wait(clock.seconds_to_grid(1000))  # so that the tools tick just after the whole second
        self._look_after_children()
        self._nic_watch.look(now())
        self._clock_watch.start()
        while self._error is None:
            try:
                child, what = self._events.get(timeout=clock.seconds_to_grid(1000))
            except Empty:
                self._each_second()
                continue
            if child is None:
                break
            self._on_event(child, what)
        self._clock_watch.end()
        self._stop_children()
        return 0 if self._error is None else 1

    def _on_event(self, child: Child, what: str) -> None:
        care = next(care for care in self._cares if care.child is child)
        if what == "up":
            self._on_up(care)
        elif care.start_at is None:
            self._on_end(care, _how_it_ended(child))

    def _on_up(self, care: Care) -> None:
        stamp = now()
        care.attempts = 0
        care.summary_from, care.summary_rows = care.summary_from or stamp, care.child.rows
        if care.down_since:
            self._journal.mark(
                care.child.collector.series, "restart", **span(care.down_since, stamp), reason=care.why
            )
            care.down_since = None
            self._notes.append(f"{care.child.collector.name} was started again ({care.why})")
            self._write_state()
        if self._ready is not None and all(one.child.is_up for one in self._cares):
            self._tell_starter({"ready_ms": stamp.ts_ms, "ready_mono_ms": stamp.mono_ms})
            self._write_state()

    def _on_end(self, care: Care, how: str) -> None:
        if self._ready is not None:
            self._error = f"{care.child.collector.name} ended before its first row ({how})"
            self._tell_starter({"error": self._error})
            return
        if care.down_since is None:
            care.down_since, care.why = care.child.heard or now(), how
            self._journal.mark(care.child.collector.series, "died", from_ms=care.down_since.ts_ms, reason=how)
        care.start_at = time.monotonic() + min(2**care.attempts - 1, LONGEST_BACKOFF_S)
        care.attempts += 1
        self._write_state()

    def _each_second(self) -> None:
        self._look_at_self()
        self._look_at_clock()
        self._nic_watch.look(now())
        self._look_after_children()
        self._keep_hold()
        self._journal.retry()
        misplaced = self._journal.misplaced()
        if misplaced:
            self._error = f"logs/{self._run.run_id}/{misplaced} was removed or renamed while it was written"
        elif self._failing != self._journal.failing:
            self._write_state()

    def _keep_hold(self) -> None:
        try:
            if self._hold.keep():
                self._write_state()
        except TracekitError as error:
            self._error = str(error)

    def _look_at_self(self) -> None:
        """Where the recorder itself stood still, the collectors' silence is not theirs."""
        stamp = now()
        if stamp.mono_ms - self._looked.mono_ms > 1000 + SILENT_MS:
            late = sum(care.child.take_late() for care in self._cares)
            detail = f"the recorder stood still; {late} rows came late and were left out"
            self._journal.mark("recorder", "stall", **span(self._looked, stamp), detail=detail)
            for care in self._cares:
                care.child.heard = stamp

    def _look_at_clock(self) -> None:
        stamp = now()
        step_ms = stamp.offset_ms - self._offset_ms
        if abs(step_ms) > STEP_MS:
            detail = f"the wall clock was stepped by {step_ms / 1000:+.3f} s"
            self._journal.mark(
                "recorder", "clock_step", **span(self._looked, stamp), detail=detail, step_ms=step_ms
            )
        self._offset_ms, self._looked = stamp.offset_ms, stamp

    def _look_after_children(self) -> None:
        for care in self._cares:
            if care.start_at is None:
                self._look_for_silence(care)
                self._summarise(care)
            elif time.monotonic() >= care.start_at:
                self._start_child(care)

    def _start_child(self, care: Care) -> None:
        try:
            care.child.start(self._environ, self._messages_of(care.child.collector))
        except OSError as error:  # no more processes or descriptors, a disk that is read-only now
            sys.stderr.write(f"{care.child.collector.name}: cannot be started: {error.strerror}\n")
            self._on_end(care, f"it cannot be started: {error.strerror}")
            return
        care.start_at, care.is_silent = None, False
        self._write_state()

    def _look_for_silence(self, care: Care) -> None:
        heard = care.child.heard or now()
        silent_ms = now().mono_ms - heard.mono_ms - care.interval_ms
        if silent_ms <= SILENT_MS:
            care.is_silent = False
            return
        if not care.is_silent:
            care.is_silent = True
            detail = f"silent for {silent_ms} ms too long"
            self._journal.mark(care.child.collector.series, "stall", from_ms=heard.ts_ms, detail=detail)
        if silent_ms > HOPELESS_MS:
            care.child.signal(signal.SIGKILL)

    def _summarise(self, care: Care) -> None:
        """Once a minute, say how many rows a tool gave; a JSON collector says its own ticks."""
        if care.summary_from is None or not care.child.reads_text:
            return
        stamp = now()
        if stamp.mono_ms - care.summary_from.mono_ms >= SUMMARY_S * 1000:
            rows = care.child.rows - care.summary_rows
            self._journal.mark(
                care.child.collector.series, "ticks", **span(care.summary_from, stamp), rows=rows
            )
            care.summary_from, care.summary_rows = stamp, care.child.rows

    # --- the end

    def _stop_children(self) -> None:
        running = [care.child for care in self._cares if care.start_at is None]
        for child in running:
            child.signal(signal.SIGTERM)
        deadline = time.monotonic() + TERM_S
        for child in running:
            if child.reap(max(deadline - time.monotonic(), 0.01)) is None:
                child.signal(signal.SIGKILL)
                child.reap(TERM_S)
                self._killed.append(child.collector.name)
                self._journal.mark(child.collector.series, "killed", reason="did not end at SIGTERM")
        self._drain(len(running))
        self._journal.end()
        self._journal.mark("recorder", "cost", detail=_cost())
        self._write_state(ended=True)

    def _drain(self, readers: int) -> None:
        """Wait until the reading threads have written what the collectors printed last."""
        deadline = time.monotonic() + TERM_S
        while readers and time.monotonic() < deadline:
            try:
                _, what = self._events.get(timeout=0.2)
            except Empty:
                continue
            readers -= what == "ended"

    def _tell_starter(self, message: dict[str, Any]) -> None:
        if self._ready is not None:
            os.write(self._ready, jsonl.encode(message))
            os.close(self._ready)
            self._ready = None

    def _write_state(self, ended: bool = False) -> None:
        """What status and stop want to know; never trusted with a signal without a look at the kernel."""
        if self._hold.is_lost:  # what stands there now is another recorder's
            return
        stamp = now()
        self._failing = dict(self._journal.failing)
        processes = {
            care.child.collector.name: {
                "pid": care.child.process.pid if care.child.process else None,
                "starttime": care.child.starttime,
                "series": care.child.collector.series,
                "writes": care.child.collector.writes,
                "errors": care.child.collector.errors,
                "down": care.why if care.down_since else None,
            }
            for care in self._cares
        }
        state = {
            "collectors": processes,
            "ended": ended,
            "error": self._error,
            "killed": self._killed,
            "failing": self._failing,
            "notes": [*self._notes, *self._journal.notes],
            "ended_ms": stamp.ts_ms if ended else None,
            "ended_mono_ms": stamp.mono_ms if ended else None,
        }
        with suppress(OSError):  # a full /var/tmp must not end the run
            jsonl.write_document(self._run.state / "run.json", state)


def _how_it_ended(child: Child) -> str:
    """Collect a child whose output has ended, and whatever it left behind in its session."""
    trouble = child.trouble
    if trouble:
        child.signal(signal.SIGKILL)
    code = child.reap(0.5)
    child.signal(signal.SIGKILL)
    if code is None:
        child.reap(TERM_S)
        return "it closed its output"
    return trouble or (f"killed by signal {-code}" if code < 0 else f"exit code {code}")


def _cost() -> str:
    """CPU that collecting took: this process, and the collectors that have ended."""
    own, children = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
    own_ms = round((own.ru_utime + own.ru_stime) * 1000)
    children_ms = round((children.ru_utime + children.ru_stime) * 1000)
    return f"recorder {own_ms} ms, collectors {children_ms} ms of CPU"
