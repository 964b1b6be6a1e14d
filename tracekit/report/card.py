"""What the run was and how far it can be trusted: its nodes, their clocks, and everything that went wrong."""

import re
from collections import Counter
from collections.abc import Iterator
from typing import Any

from tracekit.dataset import Dataset
from tracekit.records import Mark, Node, Quality

_EVENTS = 200  # of a node; more cannot be read on a page
_COST = re.compile(r"recorder (\d+) ms, collectors (\d+) ms of CPU")
_STEP_TWICE_MS = 3000  # the recorder and the sampler tell the same step within that
# Kinds that are no trouble: accounts, and what runs say of themselves as they should.
_ROUTINE = {"ticks", "cost", "clock", "unattributed", "link_up", "container_found", "restart", "back"}
_DRIFT = "drift"  # reason of a gap in which no sample was lost


def read_card(dataset: Dataset) -> dict[str, Any]:
    """The run card and, for each node, its gaps and marks."""
    qualities = dataset.qualities()
    costs, events = _read_marks(dataset)
    stepped = Counter(dict.fromkeys(qualities, 0))
    for event in events:
        stepped[event["node"]] += event["step_ms"] or 0
    nodes = [
        _node(node, qualities.get(node.node_id), costs.get(node.node_id), stepped[node.node_id])
        for node in dataset.nodes()
    ]
    gaps = [{"node": node, **gap} for node, quality in qualities.items() for gap in _gaps(quality)]
    return {
        "run_id": dataset.manifest.run_id,
        "version": dataset.manifest.tracekit_version,
        "nodes": nodes,
        "balanced": all(quality.balanced for quality in qualities.values()),
        "lines": _lines(qualities),
        "gaps": gaps,
        "events": events,
    }


def _node(node: Node, quality: Quality | None, cost_ms: int | None, stepped_ms: int) -> dict[str, Any]:
    """stepped_ms: by how much its clock was stepped forward, which was no time."""
    clock = quality.clock if quality else node.clock
    accounts = quality.collectors if quality else {}
    lost = list(_gaps(quality)) if quality else []
    return {
        "node": node.node_id,
        "stage": node.stage,
        "cores": node.cpu_cores,
        "mem_mb": node.mem_mb,
        "mhz": node.cpu_freq_mhz,
        "model": node.cpu_model,
        "started_ms": node.started_ms,
        "stopped_ms": node.stopped_ms,
        "lasted_ms": _lasted(node, stepped_ms),
        "clock": None
        if clock is None
        else {
            "source": clock.source,
            "synchronised": clock.synchronised,
            "offset_ms": clock.offset_ms,
            "error_ms": clock.error_bound_ms,
        },
        "series": {name: [one.got, one.expected] for name, one in accounts.items()},
        "gaps": len(lost),
        "gap_ms": sum(gap["to"] - gap["from"] for gap in lost),
        "cost_ms": cost_ms,
    }


def _lasted(node: Node, stepped_ms: int) -> int | None:
    if node.started_ms is None or node.stopped_ms is None:
        return None
    return max(node.stopped_ms - node.started_ms - stepped_ms, 0)


def _gaps(quality: Quality) -> Iterator[dict[str, Any]]:
    """Gaps in which samples were lost; the same gap of several series is told once, with all of them."""
    merged: dict[tuple[int, int, str], list[str]] = {}
    for name, account in quality.collectors.items():
        for gap in account.gaps:
            if gap.reason != _DRIFT:
                merged.setdefault((gap.from_ms, gap.to_ms, gap.reason), []).append(name)
    for (from_ms, to_ms, reason), series in sorted(merged.items())[:_EVENTS]:
        yield {"from": from_ms, "to": to_ms, "reason": reason, "series": series}


def _lines(qualities: dict[str, Quality]) -> dict[str, int]:
    inputs = [one for quality in qualities.values() for one in quality.inputs.values()]
    return {
        "read": sum(one.lines for one in inputs),
        "rejected": sum(sum(one.rejected.values()) for one in inputs),
        "duplicates": sum(one.duplicates for one in inputs),
    }


def _read_marks(dataset: Dataset) -> tuple[Counter[str], list[dict[str, Any]]]:
    """CPU that collecting took on each node, ms; and the marks that a reader should see, by time."""
    costs: Counter[str] = Counter()
    shown: Counter[str] = Counter()
    events: list[dict[str, Any]] = []
    steps: dict[str, Mark] = {}
    for mark in dataset.read("marks.jsonl"):
        if mark.kind == "cost" and (told := _COST.fullmatch(mark.detail or "")):
            costs[mark.node] += int(told[1]) + int(told[2])
        if mark.kind in _ROUTINE or shown[mark.node] == _EVENTS:
            continue
        if mark.kind == "clock_step":
            if _is_same_step(steps.get(mark.node), mark):
                continue
            steps[mark.node] = mark
        shown[mark.node] += 1
        events.append(_event(mark))
    return costs, events


def _is_same_step(known: Mark | None, mark: Mark) -> bool:
    if known is None:
        return False
    if known.mono_ms is None or mark.mono_ms is None:
        return abs(mark.ts_ms - known.ts_ms) <= _STEP_TWICE_MS
    return abs(mark.mono_ms - known.mono_ms) <= _STEP_TWICE_MS


def _event(mark: Mark) -> dict[str, Any]:
    words = [word for word in (mark.reason, mark.detail) if word]
    return {
        "node": mark.node,
        "at": mark.ts_ms if mark.from_ms is None else mark.from_ms,
        "to": mark.to_ms,
        "kind": mark.kind,
        "collector": mark.collector,
        "words": ": ".join(words)[:300],
        "step_ms": mark.step_ms if isinstance(mark.step_ms, int) else None,
    }
