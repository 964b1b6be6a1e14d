#!/usr/bin/env python3
# Summary: tasks with their CPU over time, topology and experiment for OpenDC.
# Usage: make export-opendc RUN_ID=run1 [OPENDC=2.4e|2.4f|latest] [TASKS=jobs|processes] [CPU_MHZ=2400]
# Needs: requirements/sim.txt
# Writes: tasks.parquet fragments.parquet topology.json experiment.json ids.jsonl
# Source: OpenDC, opendc-trace-api formats/workload and opendc-compute-topology, tags v2.4e, v2.4f and master.
"""Writes what OpenDC replays: run `OpenDCExperimentRunner --experiment-path experiment.json` in the folder.

TASKS=jobs takes the invocations of batch sources (run_task, slurm, ...) that name their process,
TASKS=processes each sampled process. The fragments of a task last as long as it did and hold the CPU that was
measured.
OPENDC chooses the dialect: 2.4e for releases up to that, 2.4f for that one, latest for those after it.

Refused: a task without CPU samples; IMPUTE=1 takes a job whose CPU is known in all, evenly. A node whose
clock rate is not known stops the export; CPU_MHZ gives it.
"""

import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tracekit import cli, jsonl
from tracekit.cli_export import exporter
from tracekit.dataset import Dataset
from tracekit.errors import TracekitError
from tracekit.export import opendc
from tracekit.export.audit import Audit
from tracekit.export.hosts import Host, hosts_of
from tracekit.export.opendc_check import check
from tracekit.export.tasks import ABSENT, Task, read_tasks, tally, waits
from tracekit.settings import Settings


def _with_memory(tasks: list[Task], is_imputing: bool, audit: Audit) -> list[Task]:
    """Those whose memory is known, or all of them where 0 may stand for it."""
    known = []
    for task in tasks:
        which = f"{task.node}: {task.name} {task.process[1] if task.process else ''}".rstrip()
        if task.peak_rss_kb is not None:
            known.append(task)
        elif is_imputing:
            audit.impute("a task's memory that nobody sampled, as 0 KB", which)
            known.append(task)
        else:
            audit.refuse("a task whose memory nobody sampled", which)
    return known


def _demand(tasks: Sequence[Task]) -> dict[str, int]:
    """The most cores that the tasks of each node wanted at one time."""
    changes = [(task.started_ms, task.cores, task.node) for task in tasks]
    changes += [(task.ended_ms, -task.cores, task.node) for task in tasks]
    now: Counter[str] = Counter()
    most: dict[str, int] = {}
    for _, cores, node in sorted(changes):  # at one time, ends come before starts
        now[node] += cores
        most[node] = max(most.get(node, 0), now[node])
    return most


def _sharing(tasks: Sequence[Task], hosts: Sequence[Host], may_share: bool, audit: Audit) -> float:
    """How often a core must be given away so that no task waits that did not wait; 1 where OpenDC cannot."""
    most, ratio = _demand(tasks), 1.0
    for host in hosts:
        wanted = most.get(host.name, 0)
        audit.count(f"cores wanted at once on {host.name}, of {host.cores}", wanted)
        if wanted > host.cores:
            ratio = max(ratio, wanted / host.cores)
            if not may_share:
                audit.note(
                    f"{host.name}: tasks wanted {wanted} cores at once of {host.cores}: OpenDC queues some"
                )
    return ratio if may_share else 1.0


def _ids(tasks: Sequence[Task]) -> Iterator[bytes]:
    for number, task in enumerate(tasks, 1):
        pid, starttime = task.process[1:] if task.process else (None, None)
        job = task.job
        yield jsonl.encode(
            {
                "id": number, "node": task.node, "pid": pid, "starttime": starttime, "name": task.name,
                "started_ms": task.started_ms, "ended_ms": task.ended_ms, "cpu_ms": round(task.cpu_ms, 3),
                "trace_id": job.trace_id if job else None, "span_id": job.span_id if job else None,
                "task_id": job.task_id if job else None,
            }
        )  # fmt: skip


def export(dataset: Dataset, folder: Path, settings: Settings, audit: Audit) -> None:
    """Write the five files, and read the two of the trace again."""
    dialect, is_imputing = opendc.DIALECTS[settings["OPENDC"]], settings["IMPUTE"] == "1"
    hosts = hosts_of(dataset.nodes(), int(settings["CPU_MHZ"] or 0), audit)
    mhz = {host.name: host.mhz for host in hosts}
    found = read_tasks(dataset, settings["TASKS"], is_imputing, audit)
    tasks = _with_memory(found, is_imputing, audit)
    if not tasks:
        raise TracekitError(f"no task to export; {ABSENT[settings['TASKS']]}")
    tally(tasks, audit)
    waited = waits(tasks, audit)
    if waited and dialect.has_text_ids:
        audit.note("OpenDC 2.4e knows no task that waits for another: all start when they were submitted")
    sharing = _sharing(tasks, hosts, dialect.may_share, audit)
    task_schema, fragment_schema = opendc.schemas(dialect)
    opendc.write_parquet(folder / "tasks.parquet", task_schema, opendc.task_rows(tasks, waited, mhz, dialect))
    written = opendc.fragment_rows(tasks, mhz, dialect)
    audit.count("fragments", opendc.write_parquet(folder / "fragments.parquet", fragment_schema, written))
    check(folder, tasks, mhz, dialect)
    run_id = dataset.manifest.run_id
    opendc.write_json(folder / "topology.json", opendc.topology(run_id, hosts))
    opendc.write_json(folder / "experiment.json", opendc.experiment(run_id, sharing))
    (folder / "ids.jsonl").write_bytes(b"".join(_ids(tasks)))


if __name__ == "__main__":
    raise SystemExit(cli.run(exporter(__doc__, export, "OPENDC", "TASKS", "CPU_MHZ", "IMPUTE")))
