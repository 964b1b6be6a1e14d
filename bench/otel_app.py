"""The reference service with OpenTelemetry's instrumentation, its spans written to the file in SPANS."""

import os
from pathlib import Path

from opentelemetry.instrumentation.fastapi import FastAPIInstrumentor
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, ConsoleSpanExporter

from app.main import api

_spans = Path(os.environ["SPANS"]).open("w")  # noqa: SIM115 - open as long as the service runs
_exporter = ConsoleSpanExporter(out=_spans, formatter=lambda span: span.to_json(indent=None) + "\n")
_provider = TracerProvider()
# The queue is as long as it must be to drop no span: ours drops no event either.
_provider.add_span_processor(BatchSpanProcessor(_exporter, max_queue_size=100_000))
# One span a request, as ours has one event; the others (each receive and send) are left out.
FastAPIInstrumentor.instrument_app(api, tracer_provider=_provider, exclude_spans=["receive", "send"])
app = api
