#!/usr/bin/env python3
# Summary: requests as spans and samples as gauges in OTLP JSON, for Jaeger, Grafana or a Collector.
# Usage: make export-otlp RUN_ID=run1, or tools/exporters/otlp.py [DIR]
# Writes: traces.jsonl metrics.jsonl
# Source: opentelemetry-proto, docs/specification.md; OpenTelemetry Protocol File Exporter.
"""Writes an ExportTraceServiceRequest a line to traces.jsonl, and an ExportMetricsServiceRequest a line to
metrics.jsonl. OTLP wants ids: a request without is refused, or with IMPUTE=1 gets some made of its place.
"""

import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tracekit import cli
from tracekit.cli_export import exporter
from tracekit.dataset import Dataset
from tracekit.export.audit import Audit
from tracekit.export.otlp.metrics import SERIES, metric_lines
from tracekit.export.otlp.traces import trace_lines, with_ids
from tracekit.export.otlp.values import write_lines
from tracekit.export.timed_spans import read_spans
from tracekit.settings import Settings


def _records(dataset: Dataset) -> Iterator[Any]:
    for name in SERIES:
        yield from dataset.read(name)


def _counted(things: Iterable[Any], what: str, audit: Audit) -> Iterator[Any]:
    for thing in things:
        audit.count(what)
        yield thing


def export(dataset: Dataset, folder: Path, settings: Settings, audit: Audit) -> None:
    """Write both files."""
    run_id = dataset.manifest.run_id
    spans = with_ids(read_spans(dataset, audit), settings["IMPUTE"] == "1", audit)
    write_lines(folder / "traces.jsonl", trace_lines(_counted(spans, "spans", audit), run_id))
    samples = _counted(_records(dataset), "samples", audit)
    write_lines(folder / "metrics.jsonl", metric_lines(samples, run_id))


if __name__ == "__main__":
    raise SystemExit(cli.run(exporter(__doc__, export, "IMPUTE")))
