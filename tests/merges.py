"""Cctf directories made by hand, for the tests of merge: the files, and a manifest that is true of them."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from runs import T0, Row, lines

from tracekit.records import FILES

CLOCK = dict.fromkeys(("source", "synchronised", "offset_ms", "error_bound_ms"))


def machine(letter: str, **more: Any) -> Row:
    """Who a node was, for its entry in nodes.json."""
    return {"machine_id_hash": letter * 64, "boot_id": f"{letter * 8}-boot", **more}


def node_document(node: str, **more: Any) -> Row:
    known = {"node_id": node, "stage": "edge", "cpu_cores": 4, "mem_mb": 8000, "cpu_model": None}
    return {**known, "cpu_freq_mhz": None, **more}


def quality(inputs: Row | None = None, **more: Any) -> Row:
    empty: Row = {"collectors": {}, "inputs": inputs or {}, "marks": [], "clock": CLOCK, "balanced": True}
    return {**empty, **more}


def made_cctf(
    folder: Path,
    node: str,
    files: Mapping[str, list[Row] | bytes] | None = None,
    run_id: str = "r1",
    **who: Any,
) -> Path:
    """A cctf of one node with these files. who: members of its entry in nodes.json."""
    folder.mkdir(parents=True)
    own = {**machine(node[0]), **who}
    documents: dict[str, Any] = {
        "nodes.json": [node_document(node, **own)],
        "links.json": [_nic(node)],
        "run_meta.json": {"run_id": run_id, "started_ms": T0, "node": node},
        "quality.json": quality(),
        "rejected.jsonl": [],
    }
    for name, value in {**documents, **(files or {})}.items():
        data = (
            value if isinstance(value, bytes) else lines(value) if name.endswith(".jsonl") else dumped(value)
        )
        (folder / name).write_bytes(data)
    return with_manifest(folder, [node], run_id)


def dumped(value: Any) -> bytes:
    return json.dumps(value).encode()


def _nic(node: str) -> Row:
    return {"link": f"{node}.nic", "u": node, "v": f"{node}.net", "iface": "eth0", "BW_bps": 0, "PR_s": None}


def with_manifest(folder: Path, nodes: list[str], run_id: str = "r1") -> Path:
    """The folder, and the manifest that is true of what is in it now."""
    (folder / "manifest.json").unlink(missing_ok=True)
    entries = [_entry(path) for path in sorted(folder.iterdir())]
    manifest = {
        "cctf_version": "1.0",
        "run_id": run_id,
        "nodes": nodes,
        "tracekit_version": "t",
        "files": entries,
    }
    (folder / "manifest.json").write_bytes(dumped(manifest))
    return folder


def _entry(path: Path) -> Row:
    data = path.read_bytes()
    rows = (
        [json.loads(line) for line in data.splitlines()] if path.name.endswith(".jsonl") else json.loads(data)
    )
    key = FILES[path.name].sort_key if path.name in FILES else ""
    known = [row[key] for row in rows if row.get(key) is not None] if key else []
    return {
        "name": path.name,
        "records": len(rows) if isinstance(rows, list) else 1,
        "bytes": len(data),
        "sha256": hashlib.sha256(data).hexdigest(),
        "first_ts": min(known, default=None),
        "last_ts": max(known, default=None),
    }


def rss(node: str, at_ms: int, pid: int = 7, rss_kb: int = 64) -> Row:
    """A row of proc_rss.jsonl."""
    return {"ts_ms": T0 + at_ms, "node": node, "pid": pid, "rss_kb": rss_kb, "starttime": 5}


def bytes_of(folder: Path) -> dict[str, bytes]:
    """Every file of a folder."""
    return {path.name: path.read_bytes() for path in folder.iterdir()}
