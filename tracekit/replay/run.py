"""One replay: a data set and a model in, a directory of simulated records out."""

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from itertools import groupby
from pathlib import Path
from typing import Any

import msgspec
from msgspec import UNSET

from tracekit import __version__
from tracekit.dataset import Dataset
from tracekit.errors import TracekitError, UsageError
from tracekit.files.place import building
from tracekit.jsonl import write_document
from tracekit.records import ClientEvent
from tracekit.replay.arrivals import Held, read_requests
from tracekit.replay.engine import Call, Engine, Log
from tracekit.replay.model import FIFO, NS_PER_MS, Count, Model, NodeModel
from tracekit.replay.network import Network
from tracekit.replay.output import SOURCE, Results
from tracekit.replay.parameters import NodeParameters, Parameters
from tracekit.replay.plan import Planner

_SECOND = 1_000_000_000


def manifest_hash(dataset: Dataset) -> str:
    """SHA-256 of manifest.json, which lists the hash of every file: it tells data sets apart."""
    return hashlib.sha256((dataset.folder / "manifest.json").read_bytes()).hexdigest()


@dataclass(frozen=True)
class WhatIf:
    """What the user changes. cores: by node, before all_cores; the others as in the model."""

    cores: Mapping[str, float] = field(default_factory=dict)
    all_cores: float | None = None
    slots: int | None = None
    policy: str = ""
    demand: str = "cpu"
    rate: float | None = None


def make_model(dataset: Dataset, fitted: Parameters, changed: WhatIf) -> Model:
    """Each node: what the user says, else what was fitted, else what the recording tells.

    Raises TracekitError where nobody knows a node's cores, UsageError where a value does not fit."""
    known = {node.node_id: node.cpu_cores for node in dataset.nodes()}
    for name in changed.cores:
        if name not in known:
            raise UsageError(f"NODES names {name}; the data set has {', '.join(known) or 'no node'}")
    policy = changed.policy or fitted.policy or FIFO
    nodes = {}
    for name, recorded in known.items():
        own = fitted.nodes.get(name, NodeParameters())
        cores = changed.cores.get(name) or changed.all_cores or own.cores or recorded
        if cores is None:
            raise TracekitError(f"nobody knows the cores of {name}: give CORES= or NODES={name}=...")
        if policy == FIFO and cores != int(cores):
            raise UsageError(f"{name}: {cores:g} cores; with POLICY=fifo cores are whole")
        nodes[name] = NodeModel(
            cores,
            changed.slots or own.slots,
            own.speed,
            own.overhead_cpu_ms,
            own.first_cpu_ms,
            own.delay_ms,
        )
    return Model(nodes, policy, changed.demand, changed.rate)


def simulate(
    dataset: Dataset, model: Model, log: Log, count: Count, requests: Iterable[Held] | None = None
) -> Engine:
    """Replay every request of the data set; log is told of all. requests: where the caller has read them."""
    planner = Planner(model, count)
    engine = Engine(model, Network(dataset.links(), count), planner.plan, log)
    engine.run(_arrivals(dataset, model, count, requests or read_requests(dataset, count)))
    return engine


def _arrivals(
    dataset: Dataset, model: Model, count: Count, requests: Iterable[Held]
) -> Iterator[tuple[int, Call]]:
    """Times in ns, and what comes; scaled about the first where the model has a rate."""
    scale = 1.0 if model.rate is None else _mean_rate(dataset) / model.rate
    first: int | None = None
    last = 0
    for now_ms, group in groupby(requests, key=lambda held: held.told.ts_enqueue):
        if now_ms < last:
            raise TracekitError(
                f"{dataset.folder}: not in the order of ts_enqueue; `make validate` says more"
            )
        last = now_ms
        for time, held in sorted(((_sent_ns(one), one) for one in group), key=lambda pair: pair[0]):
            first = time if first is None else first
            count.requests += 1
            yield first + round((time - first) * scale) if scale != 1 else time, Call(held)


def _sent_ns(held: Held) -> int:
    """To the us where the load generator tells, corrected as a merge corrected the ms; else to the ms."""
    told, now_ms = held.told, int(held.told.ts_enqueue)
    if not isinstance(told, ClientEvent) or told.ts_enqueue_us is UNSET:
        return now_ms * NS_PER_MS
    as_sent_ms = told.ts_enqueue if told.ts_enqueue_orig is UNSET else told.ts_enqueue_orig
    return told.ts_enqueue_us * 1000 + (now_ms - (as_sent_ms or now_ms)) * NS_PER_MS


def _mean_rate(dataset: Dataset) -> float:
    """Requests a second from outside, from the first to the last.

    Raises TracekitError where there is no such rate."""
    number, first, last = 0, 0, 0
    for held in read_requests(dataset, Count()):
        last = held.told.ts_enqueue
        first = first if number else last
        number += 1
    if last == first:
        raise TracekitError("arrivals at one moment only have no rate that RATE= could change")
    return (number - 1) * 1000 / (last - first)


def replay(dataset: Dataset, model: Model, fitted: Parameters) -> tuple[Path, dict[str, Any]]:
    """Replay into <home>/exports/replay/; that folder and its summary.

    Raises TracekitError where there is nothing to replay or something that is needed is unknown."""
    exports = dataset.home / "exports"
    exports.mkdir(mode=0o750, exist_ok=True)
    with building(exports / "replay") as folder:
        count, results = Count(), Results(folder)
        engine = simulate(dataset, model, results, count)
        results.close()
        if not count.requests:
            raise TracekitError(f"{dataset.folder}: no invocation with a ts_enqueue: nothing to replay")
        _write_utilisation(folder / "host_metrics.jsonl", engine, model)
        summary = _summary(dataset, model, fitted, results, count, engine)
        write_document(folder / "summary.json", summary)
    return exports / "replay", summary


def _write_utilisation(path: Path, engine: Engine, model: Model) -> None:
    """cpu_util of each node for each second in which it worked, as in host_metrics.jsonl of a data set."""
    encode = msgspec.json.Encoder().encode
    rows = [
        (second, name, 100 * busy / _SECOND / model.nodes[name].cores)
        for name, station in engine.nodes.items()
        for second, busy in station.cores.busy.by_second.items()
    ]
    with path.open("wb") as stream:
        for second, name, share in sorted(rows):
            row = {"ts_ms": (second + 1) * 1000, "node": name, "cpu_util": round(share, 3), "source": SOURCE}
            stream.write(encode(row) + b"\n")


def _summary(
    dataset: Dataset, model: Model, fitted: Parameters, results: Results, count: Count, engine: Engine
) -> dict[str, Any]:
    span_ns = results.last - results.first
    counts = {**asdict(count), "unknown_links": sorted(count.unknown_links)}
    counts["recorded_delay_ms"] = counts.pop("recorded_delay") / NS_PER_MS
    return {
        "simulated": True,
        "engine": "tracekit",
        "tracekit_version": __version__,
        "input": {"run_id": dataset.manifest.run_id, "manifest_sha256": manifest_hash(dataset)},
        "model": asdict(model),
        "trained_on": msgspec.to_builtins(fitted.trained_on),
        "counts": counts,
        "makespan_ms": span_ns / NS_PER_MS,
        "throughput_per_s": round(results.response.count * _SECOND / span_ns, 6) if span_ns else None,
        "response_ms": results.response.told(),
        "wait_ms": results.wait.told(),
        "nodes": {
            name: {
                "invocations": results.visits[name],
                "cpu_s": results.used[name] / _SECOND,
                "utilisation": round(station.cores.busy.total / span_ns / model.nodes[name].cores, 6)
                if span_ns
                else None,
            }
            for name, station in engine.nodes.items()
        },
    }
