#!/usr/bin/env python3
# Summary: tasks in the Standard Workload Format, for CloudSim Plus, Alea and schedulers' simulators.
# Usage: make export-swf RUN_ID=run1 [TASKS=jobs|processes], or tools/exporters/swf.py [DIR]
# Writes: tasks.swf
# Source: Feitelson's Parallel Workloads Archive, "The Standard Workload Format", version 2.2.
"""Writes one line of 18 numbers a task, -1 for what is not known, under a header of comments.

TASKS=jobs takes the invocations of batch sources (run_task, slurm, ...), TASKS=processes sampled processes.
Times are whole seconds from UnixStartTime on. Processors are those that the task kept busy at its busiest;
the trace does not know what was asked for. The partition is the node, the executable the module or program.
"""

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tracekit import cli
from tracekit.cli_export import exporter
from tracekit.dataset import Dataset
from tracekit.errors import TracekitError
from tracekit.export.audit import Audit
from tracekit.export.tasks import ABSENT, Task, read_tasks, tally, waits
from tracekit.records import Invocation
from tracekit.settings import Settings

UNKNOWN = -1
COMPLETED, FAILED = 1, 0


def _seconds(ms: int) -> int:
    """Whole seconds, rounded half up."""
    return (ms + 500) // 1000


def _status(job: Invocation | None) -> int:
    if job is None or (job.status is None and job.signal is None):
        return UNKNOWN
    return COMPLETED if job.status == 0 and job.signal is None else FAILED


def _numbered(names: Sequence[str]) -> dict[str, int]:
    return {name: number for number, name in enumerate(sorted(set(names)), 1)}


def _header(dataset: Dataset, tasks: Sequence[Task], begin_s: int) -> Iterator[str]:
    nodes = sorted(dataset.nodes(), key=lambda node: node.node_id)
    cores = [node.cpu_cores for node in nodes]
    yield "Version: 2.2"
    yield f"Conversion: Tracekit {dataset.manifest.tracekit_version}, run {dataset.manifest.run_id}"
    yield f"MaxJobs: {len(tasks)}"
    yield f"MaxRecords: {len(tasks)}"
    yield f"UnixStartTime: {begin_s}"
    yield "TimeZoneString: UTC"
    yield f"MaxNodes: {len(nodes)}"
    yield f"MaxProcs: {UNKNOWN if None in cores else sum(core or 0 for core in cores)}"
    yield f"Partitions: {len(nodes)}"
    for number, node in enumerate(nodes, 1):
        yield f"Partition: {number} {node.node_id}"
    for name, number in _numbered([task.name for task in tasks]).items():
        yield f"Note: executable {number} is {name.encode('unicode_escape').decode()}"


def _lines(dataset: Dataset, tasks: Sequence[Task], waited: dict[int, int], begin_s: int) -> Iterator[str]:
    partition = _numbered([node.node_id for node in dataset.nodes()])
    executable = _numbered([task.name for task in tasks])
    for at, task in enumerate(tasks):
        procs = task.cores if task.is_sampled else UNKNOWN
        peak_kb = task.peak_rss_kb
        before = tasks[waited[at]] if at in waited else None
        fields = (
            at + 1,
            _seconds(task.submitted_ms - begin_s * 1000),
            _seconds(task.started_ms - task.submitted_ms),
            _seconds(task.ended_ms - task.started_ms),
            procs,
            f"{task.cpu_ms / 1000 / procs:.2f}" if task.is_sampled else UNKNOWN,
            UNKNOWN if peak_kb is None or not task.is_sampled else peak_kb // procs,
            UNKNOWN,  # processors, time and memory that were asked for
            UNKNOWN,
            UNKNOWN,
            _status(task.job),
            UNKNOWN,  # user, group
            UNKNOWN,
            executable[task.name],
            UNKNOWN,  # queue
            partition[task.node],
            UNKNOWN if before is None else waited[at] + 1,
            UNKNOWN if before is None else _seconds(max(task.submitted_ms - before.ended_ms, 0)),
        )
        yield " ".join(map(str, fields))


def export(dataset: Dataset, folder: Path, settings: Settings, audit: Audit) -> None:
    """Write the file."""
    tasks = read_tasks(dataset, settings["TASKS"], False, audit, needs_samples=False)
    if not tasks:
        raise TracekitError(f"no task to export; {ABSENT[settings['TASKS']]}")
    tally(tasks, audit)
    unsampled = sum(not task.is_sampled for task in tasks)
    audit.count("tasks without samples: processors, CPU and memory are -1", unsampled)
    short = sum(_seconds(task.ended_ms - task.started_ms) == 0 for task in tasks)
    audit.count("tasks of less than 0.5 s: their run time is 0", short)
    begin_s = min(task.submitted_ms for task in tasks) // 1000
    head = [f"; {line}" for line in _header(dataset, tasks, begin_s)]
    lines = _lines(dataset, tasks, waits(tasks, audit), begin_s)
    (folder / "tasks.swf").write_text("\n".join([*head, *lines]) + "\n", encoding="utf-8")


if __name__ == "__main__":
    raise SystemExit(cli.run(exporter(__doc__, export, "TASKS")))
