"""Stopping a run: ask the kernel who holds its lock, end that process, see that nothing lives on."""

import os
import select
import signal
from collections import deque
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec

from tracekit import jsonl
from tracekit.collect import clock, identity, marked
from tracekit.collect.appender import append_once
from tracekit.collect.clock import Stamp
from tracekit.collect.rows import mark_row, stamp_of_last_row
from tracekit.errors import TracekitError
from tracekit.runs import Run

STOP_S = 15.0


def stop(run: Run) -> list[str]:
    """End the run's recorder and with it every collector; returns what the user should be told.

    Raises TracekitError where there is no such run, or something of it lives on or was lost."""
    if not run.dir.is_dir() and run.holder() is None:
        raise TracekitError(f"no such run: logs/{run.run_id} does not exist")
    with run.alone():
        return stop_alone(run)


def stop_alone(run: Run) -> list[str]:
    """stop, for a caller that has the run for itself already."""
    stamp = clock.now()
    was_live = end_recorder(run)
    state = run.told()
    strays = _end_strays(run, state)
    is_open = run.dir.is_dir() and _is_open(run)
    troubles = _troubles(state, was_live, is_open, strays)
    if is_open:
        if state.get("ended") and not was_live and isinstance(state.get("ended_ms"), int):
            stamp = Stamp(state["ended_ms"], state["ended_mono_ms"])  # an earlier stop could not write it
        try:
            _note_end(run, stamp, died=not was_live and not state.get("ended"))
        except OSError as error:
            troubles.append(
                f"its end could not be written ({error.strerror}); stop it again when there is room"
            )
    if troubles:
        raise TracekitError(f"run {run.run_id} is stopped, but {'; '.join(troubles)}")
    if not was_live and not is_open:
        return ["was already stopped"]
    killed = [f"{name} did not end at SIGTERM and was killed" for name in state.get("killed", [])]
    return [*state.get("notes", []), *killed, *_missed_container(run.dir / "marks.jsonl")]


def _missed_container(marks: Path) -> list[str]:
    """A sentence where the container that was asked for never came: the sampler's last mark about it."""
    try:
        with marks.open("rb") as lines:
            told = deque((line for line in lines if b'"kind":"container_' in line), maxlen=1)
        last = msgspec.json.decode(told[0], type=dict) if told else {}
    except (OSError, msgspec.DecodeError):
        return []
    return [f"{last.get('detail')} never came"] if last.get("reason") == "never seen" else []


def _is_open(run: Run) -> bool:
    meta = run.dir / "run_meta.json"
    return meta.exists() and jsonl.read_document(meta).get("stopped_ms") is None


def _note_end(run: Run, stamp: Stamp, died: bool) -> None:
    """Write when the run ended, how the clock was set then, and a mark where nobody saw the end."""
    if died:
        last_ms = stamp_of_last_row(run.dir / "links.jsonl")
        span = {"from_ms": last_ms, "to_ms": stamp.ts_ms}
        mark = mark_row(stamp, "recorder", "died", **span, reason="the recorder was killed")
        append_once(run.dir / "marks.jsonl", mark)
    node_meta = jsonl.read_document(run.dir / "node_meta.json")
    mono_ms = stamp.mono_ms if identity.is_of_this_boot(node_meta) else None
    jsonl.update_document(run.dir / "run_meta.json", stopped_ms=stamp.ts_ms, stopped_mono_ms=mono_ms)
    _note_clock(run.dir / "node_meta.json")


def _troubles(state: Mapping[str, Any], was_live: bool, is_open: bool, strays: list[str]) -> list[str]:
    troubles = [f"{name} had outlived its recorder and was killed" for name in strays]
    if state.get("error") and is_open:
        troubles.append(str(state["error"]))
    elif is_open and not was_live and not state.get("ended"):
        troubles.append("its recorder had died before; the rest of the run is a gap")
    if was_live:
        collectors = state.get("collectors", {})
        troubles += [
            f"{name} could not be kept running ({one['down']})"
            for name, one in collectors.items()
            if one["down"]
        ]
        troubles += [f"{file} could not be written ({why})" for file, why in state.get("failing", {}).items()]
    return troubles


def end_recorder(run: Run) -> bool:
    """TERM, and KILL where that does not help. Whether there was a recorder to end."""
    pid = run.holder()
    if pid is None:
        return False
    try:
        pidfd = os.pidfd_open(pid)
    except ProcessLookupError:
        return False
    try:
        if run.holder() != pid:  # it ended, and the pid may be a stranger's by now
            return False
        for signum, seconds in ((signal.SIGTERM, STOP_S), (signal.SIGKILL, 5.0)):
            with suppress(ProcessLookupError):
                signal.pidfd_send_signal(pidfd, signum)
            if select.select([pidfd], [], [], seconds)[0]:
                return True
    finally:
        os.close(pidfd)
    raise TracekitError(f"the recorder (pid {pid}) of run {run.run_id} does not end, not even by SIGKILL")


def _end_strays(run: Run, state: Mapping[str, Any]) -> list[str]:
    """Kill what outlived a killed recorder: the sessions of its collectors, and only what is this run's."""
    mark = f"RUN_ID={run.run_id}".encode()
    sessions = {pid: marked.session_of(pid) for pid in marked.living(mark)}
    killed = []
    for name, one in state.get("collectors", {}).items():
        leader = one.get("pid")
        strays = [pid for pid, session in sessions.items() if session is not None and session == leader]
        for pid in strays:
            marked.send_signal(pid, mark, signal.SIGKILL)
        if strays:
            killed.append(str(name))
    return killed


def _note_clock(path: Path) -> None:
    node_meta = jsonl.read_document(path)
    if node_meta:
        quality = clock.read_quality()
        node_meta["clock"] = {**quality, "start": node_meta.get("clock", {}).get("start"), "stop": quality}
        jsonl.write_document(path, node_meta)
