"""How a run is doing: each collector's state, rows and lag."""

import time
from collections.abc import Iterator
from pathlib import Path

import msgspec

from tracekit.collect import procfs
from tracekit.runs import Run

_BLOCK = 1 << 20


def status(run: Run) -> list[str]:
    """Lines for a person: the run, and of each collector its state, rows and lag."""
    pid = run.holder()
    state = run.told()
    lines = [f"run {run.run_id}: {f'live (recorder pid {pid})' if pid else 'stopped'}"]
    messages: list[str] = []
    lines += [f"  {'collector':<10} {'state':<24} {'rows':>10}  last row"] if state else []
    for name, one in state.get("collectors", {}).items():
        file = run.dir / one["writes"][0]
        rows, last_ms = rows_of(file, one["series"])
        is_alive = pid is not None and procfs.starttime(one["pid"] or 0) == one["starttime"]
        how = f"down: {one['down']}" if one["down"] else "running" if is_alive else "ended"
        ago = f"{(time.time() * 1000 - last_ms) / 1000:.1f} s ago" if last_ms else "-"
        lines.append(f"  {name:<10} {how:<24} {rows:>10}  {ago}")
        messages += _last_messages(run.dir / one["errors"]) if one.get("errors") else []
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
    count, last = 0, b""
    try:
        for block in _whole_lines(file):
            if found := block.count(wanted):
                count += found
                at = block.rindex(wanted)
                last = block[block.rfind(b"\n", 0, at) + 1 : block.index(b"\n", at)]
    except OSError:
        return 0, None
    try:
        return count, int(msgspec.json.decode(last, type=dict)["ts_ms"]) if last else None
    except (msgspec.DecodeError, KeyError, TypeError, ValueError):
        return count, None


def _whole_lines(file: Path) -> Iterator[bytes]:
    """The file in blocks that end with a line: a day of rows is counted in a blink."""
    rest = b""
    with file.open("rb") as stream:
        while block := stream.read(_BLOCK):
            whole, end, rest = (rest + block).rpartition(b"\n")
            yield whole + end
