"""Per node: CPU, free memory, and what went through its primary NIC."""

from typing import Any

from msgspec import UNSET

from tracekit.dataset import Dataset
from tracekit.report.grid import Extremes, Grid, Values

Part = dict[str, Any]


def read_hosts(dataset: Dataset, grid: Grid) -> tuple[list[Part], dict[str, Values]]:
    """The charts cpu (percent), memory (MB), receive and transmit (bytes/s), a series a node; and each node's
    mean CPU by bucket, percent."""
    series: dict[str, dict[str, Extremes]] = {"cpu": {}, "memory": {}, "receive": {}, "transmit": {}}
    for row in dataset.read("host_metrics.jsonl"):
        if row.cpu_util is not UNSET:
            _of(series["cpu"], row.node, grid).add(row.ts_ms, row.cpu_util)
        if row.mem_free_mb is not UNSET:
            _of(series["memory"], row.node, grid).add(row.ts_ms, row.mem_free_mb)
    for row in dataset.read("link_metrics.jsonl"):
        if row.link == f"{row.node}.nic":
            _of(series["receive"], row.node, grid).add(row.ts_ms, row.rx_Bps)
            _of(series["transmit"], row.node, grid).add(row.ts_ms, row.tx_Bps)
    charts = [
        chart(name, {node: one.values(int(name == "cpu")) for node, one in nodes.items()})
        for name, nodes in series.items()
    ]
    return charts, {node: one.means(1) for node, one in series["cpu"].items()}


def _of(series: dict[str, Extremes], node: str, grid: Grid) -> Extremes:
    if node not in series:
        series[node] = Extremes(grid)
    return series[node]


def chart(name: str, by_node: dict[str, Values]) -> Part:
    """A chart of slots, two a bucket; those that no node has a value for are left out."""
    used = sorted({at for values in by_node.values() for at, one in enumerate(values) if one is not None})
    series = [
        {"node": node, "values": [values[at] for at in used]} for node, values in sorted(by_node.items())
    ]
    return {"name": name, "slots": used, "series": series}
