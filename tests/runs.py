"""Raw run directories made by hand, for the tests of parse and validate."""

import json
import os
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from tracekit import ROOT
from tracekit.parse.build import build
from tracekit.validate import find_problems

T0 = 1_700_000_000_000  # started_ms of every run made here, a whole second
MONO0 = 50_000  # CLOCK_BOOTTIME at T0, ms
CLK_TCK = 100  # ticks a second: one tick is 10 ms
STEP = 60_000  # a step of the wall clock, ms
Row = dict[str, Any]


def line(row: Row) -> bytes:
    """One compact JSON line."""
    return json.dumps(row, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"


def lines(rows: Iterable[Row]) -> bytes:
    """JSON lines."""
    return b"".join(line(row) for row in rows)


def cpu(at_ms: int, step_ms: int = 0, **more: Any) -> Row:
    """mpstat's row at_ms after the start; step_ms: how far the wall clock has been stepped by then."""
    return {"ts_ms": T0 + at_ms + step_ms, "cpu_util": 12.5, "mono_ms": MONO0 + at_ms, **more}


def mem(at_ms: int) -> Row:
    """vmstat's row."""
    return {"ts_ms": T0 + at_ms, "mem_free_mb": 100, "mono_ms": MONO0 + at_ms}


def nic(at_ms: int, step_ms: int = 0, link: str = "vm1.nic") -> Row:
    """ifstat's row."""
    stamp = {"ts_ms": T0 + at_ms + step_ms, "mono_ms": MONO0 + at_ms}
    return {**stamp, "link": link, "rx_Bps": 10, "tx_Bps": 20}


def proc(at_ms: int, ticks: int, pid: int = 7, born_ms: int = 1000, **more: Any) -> Row:
    """The sampler's row: ticks of CPU so far (all utime) of a process born born_ms after the start."""
    starttime = (MONO0 + born_ms) * CLK_TCK // 1000
    row = {"ts_ms": T0 + at_ms, "pid": pid, "rss_kb": 64, "utime": ticks, "stime": 0, "starttime": starttime}
    return {**row, **more}


def mark(collector: str, kind: str, from_ms: int, to_ms: int | None, **more: Any) -> Row:
    """A mark made at the end of its span, both in ms after the start, no clock step."""
    at_ms = from_ms if to_ms is None else to_ms
    span = {"from_ms": T0 + from_ms, "to_ms": None if to_ms is None else T0 + to_ms}
    stamp = {"ts_ms": T0 + at_ms, "mono_ms": MONO0 + at_ms}
    return {**stamp, "collector": collector, "kind": kind, **span, **more}


def clock_step(before_ms: int, after_ms: int, step_ms: int) -> Row:
    """The sampler's mark: between its ticks of these own times the wall clock was stepped."""
    made = mark("proc", "clock_step", before_ms, after_ms + step_ms, step_ms=step_ms)
    return {**made, "mono_ms": MONO0 + after_ms}


def run_meta(run_id: str, stopped_ms: int | None) -> Row:
    """run_meta.json of a run from T0 to T0 + stopped_ms; None: it is live."""
    stopped = None if stopped_ms is None else T0 + stopped_ms
    stopped_mono = None if stopped_ms is None else MONO0 + stopped_ms
    started = {"run_id": run_id, "started_ms": T0, "started_mono_ms": MONO0, "interval_ms": 1000}
    return {**started, "stopped_ms": stopped, "stopped_mono_ms": stopped_mono}


def node_meta(run_id: str, **more: Any) -> Row:
    """node_meta.json of vm1."""
    return {"run_id": run_id, "node": "vm1", "stage": "edge", "clk_tck": CLK_TCK, **more}


def make_run(
    folder: Path,
    files: dict[str, list[Row] | bytes] | None = None,
    *,
    stopped_ms: int | None = 5000,
    documents: dict[str, Row | bytes | None] | None = None,
) -> Path:
    """A run directory with these raw files; documents replace the metas made here (None: absent)."""
    folder.mkdir(parents=True, exist_ok=True)
    metas: dict[str, Row | bytes | None] = {
        "run_meta.json": run_meta(folder.name, stopped_ms),
        "node_meta.json": node_meta(folder.name),
        **(documents or {}),
    }
    for name, meta in metas.items():
        if meta is None:
            (folder / name).unlink(missing_ok=True)
        else:
            (folder / name).write_bytes(meta if isinstance(meta, bytes) else line(meta))
    for name, rows in (files or {}).items():
        (folder / name).write_bytes(rows if isinstance(rows, bytes) else lines(rows))
    return folder


def parsed(folder: Path, files: dict[str, list[Row] | bytes], **how: Any) -> Path:
    """A run directory with these files, parsed and found valid."""
    run_dir = make_run(folder / "r1", files, **how)
    build(run_dir)
    assert list(find_problems(run_dir / "cctf")) == []
    return run_dir


def rows_of(run_dir: Path, name: str) -> list[Row]:
    """The lines of a file of run_dir/cctf."""
    data = (run_dir / "cctf" / name).read_bytes()
    return [json.loads(one) for one in data.splitlines()]


def quality_of(run_dir: Path) -> Row:
    """quality.json of run_dir/cctf."""
    value: Row = json.loads((run_dir / "cctf" / "quality.json").read_bytes())
    return value


def kinds(run_dir: Path) -> list[str]:
    """The kinds of the marks in quality.json."""
    return [one["kind"] for one in quality_of(run_dir)["marks"]]


def snapshot(folder: Path) -> dict[str, bytes]:
    """Every file below folder and its bytes."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def tool(name: str, *arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
    """Run tools/<name> as a user would, with no setting in the environment but env."""
    environ = {key: os.environ[key] for key in ("PATH", "HOME") if key in os.environ} | env
    command = [sys.executable, "-I", str(ROOT / "tools" / name), *arguments]
    return subprocess.run(
        command, env=environ, cwd="/", capture_output=True, text=True, timeout=60, check=False
    )
