"""How a run is doing: each collector's state, rows and lag."""

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from tracekit.collect import procfs
from tracekit.runs import Run

_BLOCK = 1 << 20


@dataclass(frozen=True)
class CollectorState:
    """A collector as the recorder last told of it. file: the raw file that holds the rows of its series."""

    name: str
    how: str
    series: str
    file: Path
    errors: str | None


def collector_states(run: Run, pid: int | None, told: Mapping[str, Any]) -> list[CollectorState]:
    """Of each collector. pid: the live recorder's; told: run.told()."""
    states = []
    for name, one in told.get("collectors", {}).items():
        is_alive = pid is not None and procfs.starttime(one["pid"] or 0) == one["starttime"]
        how = f"down: {one['down']}" if one["down"] else "running" if is_alive else "ended"
        file = run.dir / one["writes"][0]
        states.append(CollectorState(name, how, one["series"], file, one.get("errors")))
    return states


def status(run: Run) -> list[str]:
    """Lines for a person: the run, and of each collector its state, rows and lag."""
    pid = run.holder()
    state = run.told()
    lines = [f"run {run.run_id}: {f'live (recorder pid {pid})' if pid else 'stopped'}"]
    messages: list[str] = []
    lines += [f"  {'collector':<10} {'state':<24} {'rows':>10}  last row"] if state else []
    for one in collector_states(run, pid, state):
        rows, last_ms = rows_of(one.file, one.series)
        ago = f"{(time.time() * 1000 - last_ms) / 1000:.1f} s ago" if last_ms else "-"
        lines.append(f"  {one.name:<10} {one.how:<24} {rows:>10}  {ago}")
        messages += _last_messages(run.dir / one.errors) if one.errors else []
    lines += [f"  {file}: cannot be written ({why})" for file, why in state.get("failing", {}).items()]
    if state.get("error"):
        lines.append(f"  {state['error']}")
    return lines + messages


def _last_messages(file: Path) -> list[str]:
    try:
        return [f"  {line}" for line in file.read_text(encoding="utf-8", errors="replace").splitlines()[-3:]]
    except OSError:
        return []


_MARK_OF = {  # what only its rows hold, once each, in a file that collectors share
    "cpu": b'"cpu_util"',
    "mem": b'"mem_free_mb"',
    "nic": b'.nic",',
}


def rows_of(file: Path, series: str) -> tuple[int, int | None]:
    """How many rows of the series the file holds, and the ts_ms of the last one."""
    wanted = _MARK_OF.get(series, b"\n")
    count, holds_last = 0, b""
    try:
        for block in _whole_lines(file):
            if found := block.count(wanted):
                count, holds_last = count + found, block
    except OSError:
        return 0, None
    return count, last_row_ms(holds_last, series)


def last_row_ms(lines: bytes, series: str) -> int | None:
    """The ts_ms of the last row of the series in these whole lines; None where there is none."""
    at = lines.rfind(_MARK_OF.get(series, b"\n"))
    if at < 0:
        return None
    try:
        row = lines[lines.rfind(b"\n", 0, at) + 1 : lines.index(b"\n", at)]
        return int(msgspec.json.decode(row, type=dict)["ts_ms"])
    except (msgspec.DecodeError, KeyError, TypeError, ValueError):
        return None


def _whole_lines(file: Path) -> Iterator[bytes]:
    """The file in blocks that end with a line: a day of rows is counted in a blink."""
    rest = b""
    with file.open("rb") as stream:
        while block := stream.read(_BLOCK):
            whole, end, rest = (rest + block).rpartition(b"\n")
            yield whole + end
