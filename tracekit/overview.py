"""A merged run at a glance, in the terminal: a row a node, the calls between them, and how far their clocks
were apart.

Reads one file at a time, and keeps only sums.
"""

from collections import Counter, defaultdict
from collections.abc import Iterator
from typing import Any

from msgspec import UNSET

from tracekit.dataset import Dataset
from tracekit.records import Node, Quality
from tracekit.traffic import describe, measure

_PAIRS = 8  # that are shown


def overview(dataset: Dataset) -> Iterator[str]:
    """The lines to show for a merge that validate accepts."""
    nodes = dataset.nodes()
    yield f"Run        {dataset.manifest.run_id}, {len(nodes)} nodes"
    yield ""
    yield from _table(nodes, dataset.qualities(), dataset)
    if dataset.has("invocations.jsonl") or dataset.has("events_client.jsonl"):
        yield ""
        yield from describe(measure(dataset.read("events_client.jsonl"), dataset.read("invocations.jsonl")))
    merge = dataset.merge_account()
    yield from _clocks(merge.get("clock", {}))
    yield from _calls(merge.get("causality", []))


def _table(nodes: list[Node], accounts: dict[str, Quality], dataset: Dataset) -> Iterator[str]:
    busy: dict[str, list[float]] = defaultdict(lambda: [0, 0])  # sum of cpu_util, rows
    for row in dataset.read("host_metrics.jsonl"):
        if row.cpu_util is not UNSET:
            busy[row.node][0] += row.cpu_util
            busy[row.node][1] += 1
    used: Counter[str] = Counter()
    for row in dataset.read("proc_cpu.jsonl"):
        used[row.node] += row.cpu_ms
    requests = Counter(row.node for row in dataset.read("invocations.jsonl"))
    head = ("Node", "stage", "cores", "got/expected", "gaps", "CPU %", "processes s", "requests", "rejected")
    yield "{:<20} {:<9} {:>5} {:>13} {:>5} {:>6} {:>12} {:>9} {:>9}".format(*head)
    for node in nodes:
        name, account = node.node_id, accounts[node.node_id]
        series = account.collectors.values()
        got = f"{sum(one.got for one in series)}/{sum(one.expected for one in series)}"
        gaps = sum(len(one.gaps) for one in series)
        total, rows = busy[name]
        mean = f"{total / rows:.0f}" if rows else "-"
        rejected = sum(sum(one.rejected.values()) for one in account.inputs.values())
        cores = "-" if node.cpu_cores is None else node.cpu_cores
        yield (
            f"{name:<20} {node.stage or '-':<9} {cores:>5} {got:>13} {gaps:>5} {mean:>6} "
            f"{used[name] / 1000:>12.2f} {requests[name]:>9} {rejected:>9}"
        )


def _clocks(clock: dict[str, Any]) -> Iterator[str]:
    pairs = clock.get("pairs", [])
    known = [pair for pair in pairs if pair["offset_ms"] is not None]
    if pairs:
        corrected = "; stamps are corrected" if clock.get("is_aligned") else ""
        yield ""
        yield f"Clocks     {len(known)} of {len(pairs)} pairs of nodes are known{corrected}"
    for pair in sorted(known, key=lambda one: -abs(one["offset_ms"]))[:_PAIRS]:
        off, bound = pair["offset_ms"], pair["error_bound_ms"]
        yield f"  {pair['v']} is {off:+.3f} ms from {pair['u']}, to {bound:.3f} ms"


def _calls(calls: list[dict[str, Any]]) -> Iterator[str]:
    for one in calls:
        told = f"{one['spans']} calls, {one['child_first']} arrive before they were sent"
        if one["beyond_bound"]:
            told += f", {one['beyond_bound']} of them not for the clocks' offset"
        yield f"Calls      {one['parent']} -> {one['child']}: {told}"
