"""A merged run of three nodes made by hand: one request through all of them, and a few samples of each.

The client stands on endpoint0. endpoint0 calls edge0, edge0 calls cloud0 twice. The clock of edge0 is 2.5 ms
ahead: by the stamps as they are, cloud0 is at work before edge0 calls it.
"""

import hashlib
import json
from pathlib import Path
from typing import Any

from runs import T0, Row, lines

NODES = ("cloud0", "edge0", "endpoint0")
TRACE = "0af7651916cd43dd8448eb211c80319c"
AHEAD_MS = 2.5
SORT_KEYS = {
    "invocations.jsonl": "ts_enqueue",
    "calls.jsonl": "ts_enqueue",
    "events_client.jsonl": "ts_enqueue",
}


def span(number: int) -> str:
    return f"{number:016x}"


def served(node: str, at_ms: int, rt_ms: float, number: int, parent: int, queue_ms: float = 0) -> Row:
    return {
        "ts_enqueue": T0 + at_ms,
        "node": node,
        "trace_id": TRACE,
        "span_id": span(number),
        "parent_id": span(parent),
        "ts_start": T0 + at_ms + int(queue_ms),
        "ts_end": T0 + at_ms + int(rt_ms),
        "queue_time_ms": queue_ms,
        "service_time_ms": rt_ms - queue_ms,
        "rt_ms": rt_ms,
        "module_id": "svc",
        "instance_id": f"{node}-1",
        "stage": node[:-1],
        "method": "POST",
        "path": "/hash/sha256",
        "bytes_in": 5,
        "bytes_out": 64,
        "cpu_time_ms": 1.25,
        "status": 200,
    }


def called(node: str, at_ms: int, until_ms: int, number: int, parent: int, peer: str) -> Row:
    stamps = {"ts_enqueue": T0 + at_ms, "node": node, "ts_end": T0 + until_ms}
    ids = {"trace_id": TRACE, "span_id": span(number), "parent_id": span(parent), "peer": peer}
    return {**stamps, **ids, "bytes_out": 5, "bytes_in": 64, "status": 200}


def _series() -> dict[str, list[Row]]:
    """Spans 1 client, 2 endpoint, 3 call, 4 edge, 5 and 7 calls, 6 and 8 cloud."""
    ticks = [T0 + 1000 * second for second in (1, 2, 3)]
    sampled: list[Row] = []
    links: list[Row] = []
    for at in ticks:
        for number, node in enumerate(NODES):
            own = {"ts_ms": at, "node": node}
            sampled += [{**own, "stage": node[:-1], "cpu_util": 10.0 + number}]
            sampled += [{**own, "stage": node[:-1], "mem_free_mb": 100 * (number + 1)}]
            links += [{**own, "link": f"{node}.nic", "rx_Bps": 1000 + number, "tx_Bps": 50}]
    process = {"node": "cloud0", "pid": 7, "starttime": 900}
    seen = {
        "ts_ms": T0 + 1000,
        **process,
        "event": "seen",
        "ppid": 1,
        "comm": "serve",
        "cmdline": "serve --port 1",
    }
    stays = {**seen, "node": "endpoint0", "pid": 9, "comm": "load"}
    return {
        "host_metrics.jsonl": sampled,
        "link_metrics.jsonl": links,
        "proc_inventory.jsonl": [
            seen,
            stays,
            {"ts_ms": T0 + 3000, **process, "event": "end", "exit_code": 0},
        ],
        "proc_cpu.jsonl": [
            {"ts_ms": T0 + 2000, **process, "cpu_ms": 250.0, "dt_ms": 1000.0, "source": "poll"},
            {"ts_ms": T0 + 2000, "node": "cloud0", "pid": None, "cpu_ms": 30.0, "dt_ms": 1000.0}
            | {"starttime": None, "source": "poll"},
        ],
        "proc_rss.jsonl": [{"ts_ms": T0 + 2000, **process, "rss_kb": 2048}],
        "system_stats.jsonl": [
            {
                "ts_ms": T0 + 1000,
                "node_id": "edge0",
                "metric": "in_flight",
                "value": 3,
                "instance_id": "edge0-1",
            }
        ],
        "placement_events.jsonl": [
            {"ts": T0, "node_id": "edge0", "event": "start", "module_id": "svc", "instance_id": "edge0-1"}
        ],
        "marks.jsonl": [{"ts_ms": T0 + 2500, "node": "edge0", "collector": "nic", "kind": "link_down"}],
        "invocations.jsonl": [
            served("endpoint0", 1000, 40.5, 2, 1, queue_ms=10.0),
            served("edge0", 1015, 20.0, 4, 3),
            served("cloud0", 1015, 5.25, 6, 5),
            served("cloud0", 1023, 5.0, 8, 7),
        ],
        "calls.jsonl": [
            called("endpoint0", 1011, 1036, 3, 2, "edge:8080"),
            called("edge0", 1017, 1024, 5, 4, "cloud:8080"),
            called("edge0", 1025, 1033, 7, 4, "cloud:8080"),
        ],
        "events_client.jsonl": [
            {"ts_enqueue": T0 + 999, "node": "endpoint0", "ts_end": T0 + 1041, "latency_ms": 42.0}
            | {"trace_id": TRACE, "span_id": span(1), "method": "POST", "path": "/hash/sha256", "status": 200}
        ],
    }


def _documents() -> dict[str, Any]:
    clock = {"source": "chrony", "synchronised": True, "offset_ms": 0.0, "error_bound_ms": 1.0}
    hardware = {"cpu_cores": 2, "mem_mb": 400, "cpu_model": None, "cpu_freq_mhz": None}
    nodes = [
        {"node_id": node, "stage": node[:-1], **hardware, "started_ms": T0, "stopped_ms": T0 + 3000}
        | {"clock": {**clock, "offset_ms": AHEAD_MS if node == "edge0" else 0.0}}
        for node in NODES
    ]
    links = [
        {"link": f"{node}.nic", "u": node, "v": f"{node}.net", "iface": "eth0", "BW_bps": 0, "PR_s": None}
        for node in NODES
    ]
    whole = {"expected": 3, "got": 3, "missing": 0, "gaps": []}
    gap = {"from_ms": T0 + 1000, "to_ms": T0 + 2000, "reason": "died"}
    rest = {"inputs": {}, "marks": [], "clock": clock, "balanced": True}
    quality = {node: {"collectors": {"cpu": whole}, **rest} for node in NODES}
    quality["edge0"]["collectors"] = {"cpu": {"expected": 3, "got": 2, "missing": 1, "gaps": [gap]}}
    return {
        "nodes.json": nodes,
        "links.json": links,
        "run_meta.json": [{"run_id": "r3", "node": node, "started_ms": T0} for node in NODES],
        "quality.json": {"nodes": quality, "merge": {}},
    }


def three_nodes(folder: Path, more: dict[str, list[Row]] | None = None) -> Path:
    """unified_cctf/r3 below folder, valid; more: series in the place of those above."""
    target = folder / "unified_cctf" / "r3"
    target.mkdir(parents=True)
    entries = []
    for name, rows in {**_series(), "rejected.jsonl": [], **(more or {})}.items():
        key = SORT_KEYS.get(name, "ts" if name == "placement_events.jsonl" else "ts_ms")
        keys = [row[key] for row in rows if row.get(key) is not None]
        first, last = (min(keys), max(keys)) if keys else (None, None)
        entries.append(_put(target / name, lines(rows), len(rows), first, last))
    for name, document in _documents().items():
        count = len(document) if isinstance(document, list) else 1
        entries.append(_put(target / name, json.dumps(document).encode() + b"\n", count, None, None))
    manifest = {"cctf_version": "1.0", "run_id": "r3", "nodes": list(NODES), "tracekit_version": "0.1.0"}
    (target / "manifest.json").write_text(json.dumps({**manifest, "files": entries}))
    return target


def _put(path: Path, data: bytes, records: int, first: int | None, last: int | None) -> Row:
    path.write_bytes(data)
    digest = hashlib.sha256(data).hexdigest()
    told = {"name": path.name, "records": records, "bytes": len(data), "sha256": digest}
    return {**told, "first_ts": first, "last_ts": last}
