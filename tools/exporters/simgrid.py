#!/usr/bin/env python3
# Summary: platform and requests for SimGrid.
# Usage: make export-simgrid RUN_ID=run1 [CPU_MHZ=2400] [IMPUTE=1], or tools/exporters/simgrid.py [DIR]
# Writes: platform.xml requests.csv
# Source: SimGrid, simgrid.dtd version 4.1.
"""Writes the nodes and links as a platform, and every invocation as a line of requests.csv.

A request is work for one core of its host, and bytes from its caller and back. A flop is a clock cycle.
Refused: an invocation without ts_enqueue or cpu_time_ms. Between nodes that called each other, a bandwidth or
delay that links.json does not know stops the export; with IMPUTE=1 it takes no time.
"""

import csv
import sys
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tracekit import cli
from tracekit.cli_export import exporter
from tracekit.dataset import Dataset
from tracekit.errors import TracekitError
from tracekit.export.audit import Audit
from tracekit.export.hosts import hosts_of
from tracekit.export.simgrid import Route, find_routes, platform, unknown_of
from tracekit.export.spans import Callers, Span, own_cpu, read_callers
from tracekit.records import Invocation
from tracekit.settings import Settings

COLUMNS = (
    "id", "parent", "host", "arrive_s", "flops", "bytes_in", "bytes_out", "start_s", "end_s", "trace_id",
    "span_id",
)  # fmt: skip


def _taken(dataset: Dataset, hosts: set[str], audit: Audit | None) -> Iterator[Invocation]:
    """The invocations that can be said, in their order; the audit hears of the others."""
    for number, one in enumerate(dataset.read("invocations.jsonl"), 1):
        why = None
        if one.ts_enqueue is None:
            why = "an invocation without ts_enqueue"
        elif one.cpu_time_ms is None:
            why = "an invocation without cpu_time_ms"
        elif one.node not in hosts:
            why = "an invocation on a node that nodes.json does not have"
        if why is None:
            yield one
        elif audit:
            audit.refuse(why, f"invocations.jsonl:{number}")


def _seconds(stamp_ms: int | None, epoch_ms: int) -> str:
    return "" if stamp_ms is None else f"{(stamp_ms - epoch_ms) / 1000:.3f}"


class Requests:
    """The lines of requests.csv, numbered from 1 in the order of ts_enqueue."""

    def __init__(self, dataset: Dataset, mhz: dict[str, int], audit: Audit) -> None:
        self._dataset, self._mhz, self._audit = dataset, mhz, audit
        self._callers: Callers = read_callers(dataset)
        self._ids: dict[Span, tuple[int, str]] = {}
        self._own_ms = own_cpu(dataset)
        self.epoch_ms = 0
        self.count = 0
        for number, one in enumerate(_taken(dataset, set(mhz), audit), 1):
            self.epoch_ms = self.epoch_ms or one.ts_enqueue or 0
            self.count = number
            if one.trace_id and one.span_id:
                self._ids[one.trace_id, one.span_id] = number, one.node
        self.crossed: set[tuple[str, str]] = set()

    def lines(self) -> Iterator[tuple[object, ...]]:
        """One request after the other; crossed then holds the pairs of nodes between which messages go."""
        audit = self._audit
        for number, one in enumerate(_taken(self._dataset, set(self._mhz), None), 1):
            span, _ = self._callers.caller(one.trace_id, one.parent_id)
            parent = self._ids.get(span) if span else None
            own_ms = self._own_ms.get((one.trace_id or "", one.span_id or ""))
            cpu_ms = (one.cpu_time_ms or 0.0) if own_ms is None else own_ms
            audit.count("requests")
            audit.count("CPU ms of requests", cpu_ms)
            audit.count("requests that a request called", parent is not None)
            audit.count("requests whose bytes are not known", one.bytes_in is None or one.bytes_out is None)
            if parent and parent[1] != one.node:
                self.crossed |= {(parent[1], one.node), (one.node, parent[1])}
            yield (
                number,
                parent[0] if parent else "",
                one.node,
                _seconds(one.ts_enqueue, self.epoch_ms),
                f"{cpu_ms * self._mhz[one.node] * 1000:.12g}",
                "" if one.bytes_in is None else one.bytes_in,
                "" if one.bytes_out is None else one.bytes_out,
                _seconds(one.ts_start, self.epoch_ms),
                _seconds(one.ts_end, self.epoch_ms),
                one.trace_id or "",
                one.span_id or "",
            )


def _usable(
    routes: list[Route], crossed: set[tuple[str, str]], is_imputing: bool, audit: Audit
) -> list[Route]:
    """The routes whose time is known, or may be taken as none."""
    bad: set[tuple[str, str]] = set()
    for route, what in unknown_of(routes):
        ends = (route.source, route.target)
        which = f"{route.source}--{route.target}"
        if ends not in crossed:
            audit.leave_out("a route of unknown bandwidth or delay that no request took", which)
            bad.add(ends)
        elif is_imputing:
            audit.impute(f"a {what} that takes no time", which)
        else:
            raise TracekitError(
                f"links.json: the {what} from {route.source} to {route.target} is unknown, and requests went "
                "there: record it with BW_BPS and VM_IP, or IMPUTE=1 lets it take no time"
            )
    return [route for route in routes if (route.source, route.target) not in bad]


def export(dataset: Dataset, folder: Path, settings: Settings, audit: Audit) -> None:
    """Write the requests, then the platform with the routes that they need."""
    hosts = hosts_of(dataset.nodes(), int(settings["CPU_MHZ"] or 0), audit)
    requests = Requests(dataset, {host.name: host.mhz for host in hosts}, audit)
    if not requests.count:
        raise TracekitError("no invocation with ts_enqueue and cpu_time_ms: nothing to export")
    with (folder / "requests.csv").open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(COLUMNS)
        writer.writerows(requests.lines())
    links = dataset.links()
    routes = find_routes([host.name for host in hosts], links)
    routes = _usable(routes, requests.crossed, settings["IMPUTE"] == "1", audit)
    audit.count("hosts", len(hosts))
    audit.count("routes", len(routes))
    run_id = dataset.manifest.run_id
    (folder / "platform.xml").write_bytes(platform(run_id, requests.epoch_ms, hosts, links, routes))


if __name__ == "__main__":
    raise SystemExit(cli.run(exporter(__doc__, export, "CPU_MHZ", "IMPUTE")))
