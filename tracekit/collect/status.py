"""How a run is doing: each collector's state, rows and lag."""

import time
from pathlib import Path

import msgspec

from tracekit.collect import procfs
from tracekit.runs import Run


def status(run: Run) -> list[str]:
    """Lines for a person: the run, and of each collector its state, rows and lag."""
    pid = run.holder()
    state = run.told()
    lines = [f"run {run.run_id}: {f'live (recorder pid {pid})' if pid else 'stopped'}"]
    lines += [f"  {'collector':<10} {'state':<24} {'rows':>10}  last row"] if state else []
    for name, one in state.get("collectors", {}).items():
        file = run.dir / one["writes"][0]
        rows, last_ms = _rows_of(file, one["series"])
        is_alive = pid is not None and procfs.starttime(one["pid"] or 0) == one["starttime"]
        how = f"down: {one['down']}" if one["down"] else "running" if is_alive else "ended"
        ago = f"{(time.time() * 1000 - last_ms) / 1000:.1f} s ago" if last_ms else "-"
        lines.append(f"  {name:<10} {how:<24} {rows:>10}  {ago}")
    lines += [f"  {file}: cannot be written ({why})" for file, why in state.get("failing", {}).items()]
    if state.get("error"):
        lines.append(f"  {state['error']}")
    messages = run.dir / "procmon.err"
    if messages.exists() and messages.stat().st_size:
        lines += [
            f"  {line}" for line in messages.read_text(encoding="utf-8", errors="replace").splitlines()[-3:]
        ]
    return lines


_FIELD_OF = {  # of a file that collectors share
    "cpu": b'"cpu_util"',
    "mem": b'"mem_free_mb"',
    "nic": b'.nic",',
}


def _rows_of(file: Path, series: str) -> tuple[int, int | None]:
    """How many rows of the series the file holds, and the ts_ms of the last one."""
    wanted = _FIELD_OF.get(series, b"{")
    count, last = 0, b""
    try:
        with file.open("rb") as lines:
            for line in lines:
                if wanted in line:
                    count, last = count + 1, line
    except OSError:
        return 0, None
    try:
        return count, int(msgspec.json.decode(last, type=dict)["ts_ms"]) if last else None
    except (msgspec.DecodeError, KeyError, TypeError, ValueError):
        return count, None
