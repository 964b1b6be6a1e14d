"""Data sets made by hand for the tests of replay, verify and calibrate, and replays of them in memory."""

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from tracekit.dataset import Dataset, open_dataset
from tracekit.replay.engine import Engine
from tracekit.replay.model import Count, Model, NodeModel, Visit
from tracekit.replay.run import simulate

T0 = 1_700_000_000_000
Row = dict[str, Any]


def invocation(at_ms: float, cpu_ms: float | None, number: int = 0, **more: Any) -> Row:
    """A request of vm1 that came at_ms after T0, used cpu_ms, and took as long."""
    begin = T0 + int(at_ms)
    service = more.get("service_time_ms", cpu_ms)
    return {
        "ts_enqueue": begin,
        "trace_id": f"{number + 1:032x}",
        "span_id": f"{number + 1:016x}",
        "parent_id": None,
        "ts_start": begin,
        "ts_end": begin + round(service or 0),
        "queue_time_ms": 0.0,
        "service_time_ms": service,
        "rt_ms": service,
        "module_id": "svc",
        "instance_id": "svc-1",
        "node": "vm1",
        "stage": "cloud",
        "method": "GET",
        "path": "/x",
        "bytes_in": 0,
        "bytes_out": 0,
        "cpu_time_ms": cpu_ms,
        "status": 200,
        **more,
    }


def node(name: str = "vm1", cores: int | None = 1) -> Row:
    return {
        "node_id": name,
        "stage": "cloud",
        "cpu_cores": cores,
        "mem_mb": 1000,
        "cpu_model": None,
        "cpu_freq_mhz": None,
    }


def write_dataset(
    folder: Path,
    series: dict[str, Iterable[Row]],
    *,
    nodes: list[Row] | None = None,
    links: list[Row] | None = None,
) -> Dataset:
    """folder/cctf with these .jsonl files (in their order), nodes and links, and a manifest."""
    cctf = folder / "cctf"
    cctf.mkdir(parents=True)
    for name, rows in series.items():
        with (cctf / name).open("w") as stream:
            stream.writelines(json.dumps(row, separators=(",", ":")) + "\n" for row in rows)
    (cctf / "nodes.json").write_text(json.dumps([node()] if nodes is None else nodes))
    (cctf / "links.json").write_text(json.dumps(links or []))
    files = [_listed(path) for path in sorted(cctf.iterdir())]
    manifest = {"cctf_version": "1.0", "run_id": folder.name, "nodes": ["vm1"], "tracekit_version": "0.1.0"}
    (cctf / "manifest.json").write_text(json.dumps({**manifest, "files": files}))
    return open_dataset(cctf)


def _listed(path: Path) -> Row:
    data = path.read_bytes()
    times = {"first_ts": None, "last_ts": None}
    digest = hashlib.sha256(data).hexdigest()
    return {"name": path.name, "records": data.count(b"\n"), "bytes": len(data), "sha256": digest, **times}


class Ended:
    """A log that keeps every visit in the order in which they entered."""

    def __init__(self) -> None:
        self.visits: list[Visit] = []

    def entered(self, visit: Visit) -> None:
        self.visits.append(visit)

    def ended(self, visit: Visit) -> None:
        assert visit.end >= visit.start >= visit.enqueue

    def by_span(self) -> dict[str, Visit]:
        return {visit.told.span_id: visit for visit in self.visits}


def replayed(dataset: Dataset, model: Model) -> tuple[list[Visit], Count, Engine]:
    """Every visit of a replay, in the order of entering."""
    log, count = Ended(), Count()
    engine = simulate(dataset, model, log, count)
    assert all(visit.end >= 0 for visit in log.visits)
    return log.visits, count, engine


def one_node(cores: float = 1, policy: str = "fifo", **more: Any) -> Model:
    return Model({"vm1": NodeModel(cores, **more)}, policy)
