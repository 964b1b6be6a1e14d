#!/usr/bin/env python3
"""The cctf directories of many nodes of one run, the same bytes each time.

Usage: bench/generate_nodes.py DIR NODES LINES
"""

import hashlib
import json
import random
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

T0 = 1_700_000_000_000


def make_nodes(parent: Path, nodes: int, lines: int) -> Path:
    """parent/vm<k>, each a cctf; four fifths of the lines are of 50 processes once a second."""
    for number in range(nodes):
        folder = parent / f"vm{number:02}"
        folder.mkdir(parents=True)
        dice = random.Random(number)
        (folder / "proc_metrics.jsonl").write_text("".join(_processes(folder.name, lines * 4 // 5, dice)))
        (folder / "invocations.jsonl").write_text("".join(_requests(folder.name, lines // 5, dice)))
        (folder / "rejected.jsonl").write_text("")
        unknown = dict.fromkeys(("stage", "cpu_cores", "mem_mb", "cpu_model", "cpu_freq_mhz"))
        node = {"node_id": folder.name, **unknown, "stage": "cloud"}
        clock = dict.fromkeys(("source", "synchronised", "offset_ms", "error_bound_ms"))
        account = {"collectors": {}, "inputs": {}, "marks": [], "clock": clock, "balanced": True}
        (folder / "nodes.json").write_text(json.dumps([node]))
        (folder / "quality.json").write_text(json.dumps(account))
        _write_manifest(folder)
    return parent


def _processes(node: str, count: int, dice: random.Random) -> Iterator[str]:
    ts_ms = T0
    for number in range(count):
        if number % 50 == 0:
            ts_ms = T0 + number // 50 * 1000 + dice.randrange(4)
        head = f'{{"ts_ms":{ts_ms},"node":"{node}","pid":{1000 + number % 50},'
        rss_kb, ticks = dice.randrange(2_000, 900_000), number // 50
        yield f'{head}"rss_kb":{rss_kb},"utime":{ticks * 3},"stime":{ticks},"starttime":{number % 50}}}\n'


def _requests(node: str, count: int, dice: random.Random) -> Iterator[str]:
    at_ms, step_ms = float(T0), 4800 * 1000 / max(count, 1)
    for _ in range(count):
        at_ms += dice.random() * 2 * step_ms
        begin, queue_us, service_us = int(at_ms), dice.randrange(2_000), dice.randrange(20_000)
        start, end = begin + queue_us // 1000, begin + (queue_us + service_us) // 1000
        yield (
            json.dumps(
                {
                    "ts_enqueue": begin,
                    "node": node,
                    "trace_id": f"{dice.getrandbits(128):032x}",
                    "span_id": f"{dice.getrandbits(64):016x}",
                    "parent_id": f"{dice.getrandbits(64):016x}",
                    "ts_start": start,
                    "ts_end": end,
                    "queue_time_ms": queue_us / 1000,
                    "service_time_ms": service_us / 1000,
                    "rt_ms": (queue_us + service_us) / 1000,
                    "module_id": "service",
                    "instance_id": "service-1",
                    "stage": "cloud",
                    "method": "POST",
                    "path": "/process",
                    "bytes_in": dice.randrange(4096),
                    "bytes_out": dice.randrange(65536),
                    "cpu_time_ms": service_us // 2 / 1000,
                    "status": 200,
                },
                separators=(",", ":"),
            )
            + "\n"
        )


def _write_manifest(folder: Path) -> None:
    entries = []
    for path in sorted(folder.iterdir()):
        data = path.read_bytes()
        lines = data.splitlines() if path.suffix == ".jsonl" else []
        times = [int(line[line.index(b":") + 1 : line.index(b",")]) for line in lines]
        entry: dict[str, Any] = {"name": path.name, "records": len(lines) if path.suffix == ".jsonl" else 1}
        entry |= {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
        entries.append(entry | {"first_ts": min(times, default=None), "last_ts": max(times, default=None)})
    head = {"cctf_version": "1.0", "run_id": "r1", "nodes": [folder.name], "tracekit_version": "bench"}
    (folder / "manifest.json").write_text(json.dumps({**head, "files": entries}))


if __name__ == "__main__":
    make_nodes(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
