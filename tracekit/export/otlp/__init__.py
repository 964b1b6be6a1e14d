"""A data set in OTLP JSON, as the OpenTelemetry Collector's file exporter writes it: a request a line."""
