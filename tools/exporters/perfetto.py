#!/usr/bin/env python3
# Summary: a bundle for ui.perfetto.dev and trace_processor, each node a machine.
# Usage: make export-perfetto RUN_ID=run1, or tools/exporters/perfetto.py [DIR]
# Needs: requirements/perfetto.txt
# Writes: trace.zip
# Source: Perfetto, docs/reference/synthetic-track-event and perfetto-manifest.
"""Writes trace.zip: counters, processes, marks and gaps of each node, and the requests of all nodes with a
flow from each caller to each callee. Where it is known by how much a node's clock is off, that is corrected.
"""

import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

HERE = Path(__file__).resolve()
sys.path[:] = [
    str(HERE.parents[2]),
    *(path for path in sys.path if Path(path) != HERE.parent),
]  # not this file

from tracekit import cli
from tracekit.cli_export import exporter
from tracekit.dataset import Dataset
from tracekit.export.audit import Audit
from tracekit.export.timed_spans import read_spans
from tracekit.settings import Settings

SERIES = (
    "proc_inventory.jsonl",
    "host_metrics.jsonl",
    "link_metrics.jsonl",
    "host_extra.jsonl",
    "proc_cpu.jsonl",
    "proc_rss.jsonl",
    "system_stats.jsonl",
    "placement_events.jsonl",
    "marks.jsonl",
)


def _node_of(record: object) -> str:
    return str(getattr(record, "node", None) or getattr(record, "node_id", ""))


def _offsets(dataset: Dataset, audit: Audit) -> dict[str, int]:
    """By how many ns the clock of each node is ahead, as its time service told."""
    found = {}
    for node in dataset.nodes():
        offset_ms = node.clock.offset_ms if node.clock else None
        if offset_ms is None:
            audit.note(f"{node.node_id}: nobody knows how far its clock is off; its stamps are as recorded")
        else:
            found[node.node_id] = round(offset_ms * 1e6)
    return found


def _records(dataset: Dataset) -> Iterator[object]:
    for name in SERIES:
        yield from dataset.read(name)


def export(dataset: Dataset, folder: Path, _settings: Settings, audit: Audit) -> None:
    """Write the traces, then pack them."""
    from tracekit.export.perfetto.bundle import REQUESTS, manifest, pack, path_of  # noqa: PLC0415 - the extra
    from tracekit.export.perfetto.node import NodeTrace  # noqa: PLC0415
    from tracekit.export.perfetto.requests import RequestTrace, parents_named  # noqa: PLC0415
    from tracekit.export.perfetto.tracks import TrackFile  # noqa: PLC0415

    nodes = list(dataset.manifest.nodes)
    offsets_ns = _offsets(dataset, audit)
    first_ms = min((file.first_ts for file in dataset.manifest.files if file.first_ts), default=0)
    parents = parents_named(read_spans(dataset, Audit()))
    with ExitStack() as stack:

        def open_trace(name: str) -> TrackFile:
            file = TrackFile(folder / name, first_ms * 1_000_000)
            stack.callback(file.close)
            return file

        requests = RequestTrace(open_trace(REQUESTS), offsets_ns, parents)
        traces = {node: NodeTrace(open_trace(path_of(node))) for node in nodes}
        for span in requests.write(read_spans(dataset, audit)):
            audit.count(f"slices of {span.kind}s")
        for record in _records(dataset):
            trace = traces.get(_node_of(record))
            if trace is None:
                audit.leave_out("a record of a node that is no VM of the run", _node_of(record))
            else:
                trace.take(record)
        qualities = dataset.qualities()
        for node, trace in traces.items():
            trace.finish()
            if node in qualities:
                trace.gaps(qualities[node])
    if dataset.has("cgroup_metrics.jsonl"):
        audit.note("cgroup_metrics.jsonl is not in the bundle")
    for trace in traces.values():
        for what, amount in trace.written.items():
            audit.count(what, amount)
    audit.count("machines", len(nodes))
    names = [REQUESTS, *map(path_of, nodes)]
    document = manifest(dataset.manifest.run_id, nodes, offsets_ns)
    pack(folder / "trace.zip", document, [folder / name for name in names])


if __name__ == "__main__":
    raise SystemExit(cli.run(exporter(__doc__, export)))
