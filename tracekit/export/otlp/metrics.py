"""What was sampled, as gauges of OTLP in the units of its conventions: shares of 1, bytes, bytes a second.

Source: opentelemetry-proto, metrics/v1/metrics.proto; OpenTelemetry semantic conventions, system and process.
"""

from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from msgspec import UNSET

from tracekit.export.otlp.values import SCOPE, Json, Value, attributes
from tracekit.records import HostMetric, LinkMetric, ProcCpu, ProcRss, SystemStat

SERIES = (
    "host_metrics.jsonl",
    "link_metrics.jsonl",
    "proc_cpu.jsonl",
    "proc_rss.jsonl",
    "system_stats.jsonl",
)
_LINE_POINTS = 512
_MB, _KB = 1_000_000, 1024


class Point(NamedTuple):
    """A value of a metric at a node; more: attributes of the point."""

    node: str
    metric: str
    unit: str
    ts_ms: int
    value: float
    more: dict[str, Value]


def metric_lines(records: Iterable[Any], run_id: str) -> Iterator[Json]:
    """An ExportMetricsServiceRequest for each 512 values."""
    held: list[Point] = []
    for record in records:
        held += _points(record)
        if len(held) >= _LINE_POINTS:
            yield _request(held, run_id)
            held = []
    if held:
        yield _request(held, run_id)


def _points(record: Any) -> Iterator[Point]:
    node = getattr(record, "node", None) or record.node_id
    if isinstance(record, HostMetric):
        if record.cpu_util is not UNSET:
            yield Point(node, "system.cpu.utilization", "1", record.ts_ms, record.cpu_util / 100, {})
        if record.mem_free_mb is not UNSET:
            free: dict[str, Value] = {"system.memory.state": "free"}
            yield Point(
                node, "system.memory.usage", "By", record.ts_ms, float(record.mem_free_mb * _MB), free
            )
    elif isinstance(record, LinkMetric):
        for direction, rate in (("receive", record.rx_Bps), ("transmit", record.tx_Bps)):
            more: dict[str, Value] = {"tracekit.link": record.link, "network.io.direction": direction}
            yield Point(node, "tracekit.network.rate", "By/s", record.ts_ms, float(rate), more)
    elif isinstance(record, ProcRss):
        who = _process(record)
        yield Point(node, "process.memory.usage", "By", record.ts_ms, float(record.rss_kb * _KB), who)
    elif isinstance(record, ProcCpu) and record.dt_ms:
        share = record.cpu_ms / record.dt_ms
        yield Point(node, "process.cpu.utilization", "1", record.ts_ms, share, _process(record))
    elif isinstance(record, SystemStat):
        instance: dict[str, Value] = {"service.instance.id": record.instance_id}
        yield Point(node, f"tracekit.{record.metric}", "1", record.ts_ms, record.value, instance)


def _process(record: ProcCpu | ProcRss) -> dict[str, Value]:
    return {"process.pid": record.pid, "tracekit.starttime": record.starttime}


def _request(held: list[Point], run_id: str) -> Json:
    nodes: dict[str, dict[tuple[str, str], list[Json]]] = {}
    for point in held:
        values = nodes.setdefault(point.node, {}).setdefault((point.metric, point.unit), [])
        stamp = str(point.ts_ms * 1_000_000)
        values.append({"timeUnixNano": stamp, "asDouble": point.value, "attributes": attributes(point.more)})
    return {
        "resourceMetrics": [
            {
                "resource": {"attributes": attributes({"host.name": node, "tracekit.run_id": run_id})},
                "scopeMetrics": [{"scope": SCOPE, "metrics": _metrics(metrics)}],
            }
            for node, metrics in nodes.items()
        ]
    }


def _metrics(metrics: dict[tuple[str, str], list[Json]]) -> list[Json]:
    return [
        {"name": name, "unit": unit, "gauge": {"dataPoints": points}}
        for (name, unit), points in metrics.items()
    ]
