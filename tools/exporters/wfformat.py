#!/usr/bin/env python3
# Summary: one trace as a workflow in WfCommons' WfFormat, for WRENCH and its kin.
# Usage: make export-wfformat RUN_ID=run1 [TRACE=<trace_id>], or tools/exporters/wfformat.py [DIR]
# Writes: workflow.json
# Source: WfCommons, WfFormat, wfcommons-schema.json, schemaVersion 1.5.
"""Writes the invocations of one trace as tasks that wait for each other's end.

TRACE names the trace; without it the one with the most invocations, of these the earliest. A caller that
waited for an answer is cut into parts, before and after its calls, for its callee started while it ran. What
the trace does not know is left out: the format has no null.
"""

import json
import sys
from collections import Counter
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tracekit import cli
from tracekit.cli_export import exporter
from tracekit.dataset import Dataset
from tracekit.errors import TracekitError
from tracekit.export.audit import Audit
from tracekit.export.spans import Span, own_cpu, read_callers
from tracekit.export.workflow import Split, callees, split
from tracekit.records import Invocation, Node
from tracekit.settings import Settings

VERSION = "1.5"


def _chosen(dataset: Dataset, wanted: str, audit: Audit) -> str:
    counts = Counter(row.trace_id for row in dataset.read("invocations.jsonl") if row.trace_id)
    if not counts:
        raise TracekitError("no invocation has a trace_id: nothing to export")
    if wanted and wanted not in counts:
        raise TracekitError(
            f"no invocation has the trace_id {wanted}; one that there is: {next(iter(counts))}"
        )
    audit.count("other traces of the run, left out", len(counts) - 1)
    return wanted or str(counts.most_common(1)[0][0])


def _jobs(dataset: Dataset, trace_id: str, audit: Audit) -> list[Invocation]:
    """The invocations of the trace that have a span and a time, by start."""
    jobs: dict[str, Invocation] = {}
    for one in dataset.read("invocations.jsonl"):
        if one.trace_id != trace_id:
            continue
        if not one.span_id or one.span_id in jobs:
            audit.refuse("an invocation without a span_id of its own", f"{one.node}: {one.span_id}")
        elif one.ts_start is None or one.ts_end is None:
            audit.refuse("an invocation without start or end", f"{one.node}: {one.span_id}")
        else:
            jobs[one.span_id] = one
    return sorted(jobs.values(), key=lambda job: (job.ts_start or 0, job.span_id or ""))


def _stamp(ms: int) -> str:
    return datetime.fromtimestamp(ms / 1000, timezone.utc).isoformat(timespec="milliseconds")


class Workflow:
    """The two lists of tasks, and the files between them: a request and an answer for each callee."""

    def __init__(self, splits: list[Split], own_ms: dict[Span, float], audit: Audit) -> None:
        self._audit, self._own_ms = audit, own_ms
        self._sizes: dict[str, int] = {}
        self.executed = [one for whole in splits for one in self._executed(whole)]
        self._tasks: dict[str, dict[str, Any]] = {
            part.key: {"name": whole.job.module_id or whole.job.path or "task", "id": part.key,
                       "parents": [], "children": [], "inputFiles": [], "outputFiles": []}
            for whole in splits for part in whole.parts
        }  # fmt: skip
        by_span = {whole.job.span_id: whole for whole in splits}
        for whole in splits:
            self._add_file(f"{whole.job.span_id}.in", whole.job.bytes_in, None, whole.parts[0].key)
            self._add_file(f"{whole.job.span_id}.out", whole.job.bytes_out, whole.parts[-1].key, None)
            for span_id, before in whole.before.items():
                callee = by_span[span_id]
                self._bind(before.key, callee.parts[0].key)
                self._add_file(f"{span_id}.in", callee.job.bytes_in, before.key, None)
                if span_id in whole.after:
                    self._bind(callee.parts[-1].key, whole.after[span_id].key)
                    self._add_file(f"{span_id}.out", callee.job.bytes_out, None, whole.after[span_id].key)

    @property
    def tasks(self) -> list[dict[str, Any]]:
        """The specification's."""
        return list(self._tasks.values())

    @property
    def files(self) -> list[dict[str, Any]]:
        """The messages: a request that comes in, an answer that goes out."""
        return [{"id": name, "sizeInBytes": size} for name, size in self._sizes.items()]

    def _bind(self, parent: str, child: str) -> None:
        self._tasks[parent]["children"].append(child)
        self._tasks[child]["parents"].append(parent)

    def _add_file(self, name: str, size: int | None, writer: str | None, reader: str | None) -> None:
        if size is None:
            self._audit.count("messages of unknown size, left out")
            return
        self._sizes[name] = size
        if writer:
            self._tasks[writer]["outputFiles"].append(name)
        if reader:
            self._tasks[reader]["inputFiles"].append(name)

    def _executed(self, whole: Split) -> list[dict[str, Any]]:
        """The execution's tasks; CPU in percent of a core, alike in all parts of an invocation."""
        job = whole.job
        cpu_ms = self._own_ms.get((job.trace_id or "", job.span_id or ""), job.cpu_time_ms)
        self._audit.count("invocations")
        self._audit.count("CPU ms of invocations", cpu_ms or 0)
        self._audit.count("invocations whose CPU is not known", cpu_ms is None)
        tasks = []
        for part in whole.parts:
            took_ms = part.end_ms - part.start_ms
            task = {"id": part.key, "runtimeInSeconds": took_ms / 1000, "executedAt": _stamp(part.start_ms)}
            if cpu_ms is not None and whole.own_ms:
                task["avgCPU"] = round(100 * cpu_ms / whole.own_ms, 6)
            tasks.append(task | {"machines": [whole.job.node]})
        return tasks


def _machine(node: Node) -> dict[str, Any]:
    cpu: dict[str, Any] = {}
    if node.cpu_cores:
        cpu["coreCount"] = node.cpu_cores
    if node.cpu_freq_mhz:
        cpu["speedInMHz"] = node.cpu_freq_mhz
    machine: dict[str, Any] = {"nodeName": node.node_id, "system": "linux"}
    if node.kernel:
        machine["release"] = node.kernel
    if node.mem_mb:
        machine["memoryInBytes"] = node.mem_mb * 1_000_000
    return machine | ({"cpu": cpu} if cpu else {})


def export(dataset: Dataset, folder: Path, settings: Settings, audit: Audit) -> None:
    """Write the file."""
    trace_id = _chosen(dataset, settings["TRACE"], audit)
    jobs = _jobs(dataset, trace_id, audit)
    if not jobs:
        raise TracekitError(f"no invocation of the trace {trace_id} has a span, a start and an end")
    callers = read_callers(dataset, trace_id)
    callers.invocations &= {(trace_id, job.span_id or "") for job in jobs}
    called = callees(jobs, callers)
    splits = [split(job, called.get(job.span_id or "", ())) for job in jobs]
    workflow = Workflow(splits, own_cpu(dataset), audit)
    audit.count("tasks", len(workflow.tasks))
    used = {job.node for job in jobs}
    begin_ms, end_ms = min(job.ts_start or 0 for job in jobs), max(job.ts_end or 0 for job in jobs)
    execution: dict[str, Any] = {
        "makespanInSeconds": (end_ms - begin_ms) / 1000,
        "executedAt": _stamp(begin_ms),
        "tasks": workflow.executed,
        "machines": [_machine(node) for node in dataset.nodes() if node.node_id in used],
    }
    if not execution["machines"]:
        del execution["machines"]
    manifest = dataset.manifest
    document = {
        "name": f"{manifest.run_id}-{trace_id}",
        "description": f"run {manifest.run_id}, recorded by Tracekit {manifest.tracekit_version}",
        "schemaVersion": VERSION,
        "workflow": {
            "specification": {"tasks": workflow.tasks, "files": workflow.files},
            "execution": execution,
        },
    }
    text = json.dumps(document, ensure_ascii=False, allow_nan=False, indent=2)
    (folder / "workflow.json").write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    raise SystemExit(cli.run(exporter(__doc__, export, "TRACE")))
