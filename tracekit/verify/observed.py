"""One run, real or simulated, in the figures that both have."""

from array import array
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from tracekit.dataset import Dataset
from tracekit.errors import TracekitError

CLIENT, SERVER = "client", "server"


def _floats() -> "array[float]":
    return array("d")


@dataclass
class Observed:
    """Times in ms. wait, response: in the order of arrival. ended: by second of the end, since the first
    arrival.

    busy: by node, CPU-seconds by second, since the one of the first arrival. cpu_s: their sum; None where
    nobody measured it. cpu_source: who did."""

    basis: str = SERVER
    wait: "array[float]" = field(default_factory=_floats)
    response: "array[float]" = field(default_factory=_floats)
    is_wait_known: bool = False
    ended: Counter[int] = field(default_factory=Counter)
    first: float | None = None
    last: float = 0.0
    busy: dict[str, dict[int, float]] = field(default_factory=dict)
    cpu_s: float | None = None
    cpu_source: str = ""

    @property
    def makespan(self) -> float:
        """From the first arrival to the last end, ms."""
        return self.last - (self.first or 0.0)

    def came(self, enqueue: float, response: float) -> None:
        """One request from outside."""
        self.first = enqueue if self.first is None else self.first
        end = enqueue + response
        self.last = max(self.last, end)
        self.response.append(response)
        self.ended[int((end - self.first) // 1000)] += 1


def read_run(dataset: Dataset) -> Observed:
    """A recorded run. Responses are the load generator's where there is one, else the invocations'."""
    run = Observed(CLIENT if dataset.has("events_client.jsonl") else SERVER)
    pids = set()
    for one in dataset.read("invocations.jsonl"):
        if one.queue_time_ms is not None:
            run.wait.append(one.queue_time_ms)
            run.is_wait_known = run.is_wait_known or one.queue_source is not None or one.queue_time_ms > 0
        if run.basis == SERVER and one.ts_enqueue is not None and one.rt_ms is not None:
            run.came(one.ts_enqueue, one.rt_ms)
        pids.add((one.node, one.pid))
    for one in dataset.read("events_client.jsonl"):
        if one.ts_enqueue is not None and one.latency_ms is not None and one.error is None:
            run.came(one.ts_enqueue, one.latency_ms)
    _add_cpu(run, dataset, {pid for pid in pids if pid[1] is not None})
    return run


def _add_cpu(run: Observed, dataset: Dataset, serving: set[tuple[str, int]]) -> None:
    """CPU of the processes that served, where invocations name them, else of all; else of invocations."""
    busy: defaultdict[str, defaultdict[int, float]] = defaultdict(lambda: defaultdict(float))
    first, last = _seconds(run)
    for row in dataset.read("proc_cpu.jsonl"):
        second = int((row.ts_ms - row.dt_ms / 2) // 1000)  # the one that most of the interval lies in
        is_meant = (row.node, row.pid) in serving if serving else row.pid is not None
        if is_meant and first <= second <= last:
            busy[row.node][second - first] += row.cpu_ms / 1000
    if busy:
        run.busy = {node: dict(seconds) for node, seconds in busy.items()}
        run.cpu_s = sum(sum(seconds.values()) for seconds in busy.values())
        run.cpu_source = "processes"
        return
    told = [one.cpu_time_ms for one in dataset.read("invocations.jsonl") if one.cpu_time_ms is not None]
    if told:
        run.cpu_s, run.cpu_source = sum(told) / 1000, "invocations"


def _seconds(run: Observed) -> tuple[int, int]:
    """The first and the last second of the epoch in which there were requests; all where there were none."""
    return (0, 1 << 62) if run.first is None else (int(run.first // 1000), int(run.last // 1000))


class _Served(msgspec.Struct):
    """What verify needs of a simulated line."""

    ts_enqueue: int
    queue_time_ms: float = 0.0
    rt_ms: float = 0.0
    latency_ms: float = 0.0


class _Used(msgspec.Struct):
    ts_ms: int
    node: str
    cpu_util: float


def read_replay(folder: Path, summary: dict[str, Any]) -> Observed:
    """What our replay wrote.

    Raises TracekitError where a file is missing or damaged, KeyError where summary is."""
    run = Observed(CLIENT if (folder / "events_client.jsonl").exists() else SERVER, is_wait_known=True)
    for one in _lines(folder / "invocations.jsonl", _Served):
        run.wait.append(one.queue_time_ms)
        if run.basis == SERVER:
            run.came(one.ts_enqueue, one.rt_ms)
    if run.basis == CLIENT:
        for one in _lines(folder / "events_client.jsonl", _Served):
            run.came(one.ts_enqueue, one.latency_ms)
    nodes = summary["model"]["nodes"].items()
    work_s = {name: node["cores"] * node["speed"] for name, node in nodes}  # that it does in a second
    run.cpu_s = sum(node["cpu_s"] for node in summary["nodes"].values())
    for used in _lines(folder / "host_metrics.jsonl", _Used):
        share = used.cpu_util / 100 * work_s[used.node]
        run.busy.setdefault(used.node, {})[used.ts_ms // 1000 - 1 - _seconds(run)[0]] = share
    run.cpu_source = "simulation"
    return run


def _lines(path: Path, kind: Any) -> Iterator[Any]:
    decoder = msgspec.json.Decoder(kind)
    try:
        with path.open("rb") as stream:
            while lines := stream.readlines(1 << 16):
                for line in lines:
                    yield decoder.decode(line)
    except (OSError, msgspec.MsgspecError) as error:
        raise TracekitError(f"{path}: {error}; make the replay again") from error
