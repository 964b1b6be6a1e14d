"""Tasks for a simulator: wrapped jobs, or processes, each with its CPU over time, all from what was measured.

A job is an invocation of a batch source. Its CPU is what its process, and every process below it that is not
another job's, has in proc_cpu; what wait4 told beyond that is put where no sample looked, else spread evenly.
"""

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from tracekit.dataset import Dataset
from tracekit.export.audit import Audit
from tracekit.export.curve import Piece, busiest, cut, spread
from tracekit.export.processes import Family, Process, Usage, read_family, read_usage
from tracekit.records import Invocation, Node

BATCH = frozenset({"run_task", "slurm", "celery", "parallel", "kubernetes"})
TICK_MS = 10.0  # of a node that does not tell its own; Linux has 100 ticks a second wherever it runs VMs

ABSENT = {
    "jobs": "no job of run_task, slurm or another batch source can be taken; TASKS=processes takes processes",
    "processes": "no process has CPU samples",
}
NO_SAMPLES = "a task without CPU samples of its own"


class Task(NamedTuple):
    """Times in ms since the epoch, submitted <= started < ended; pieces: its CPU, from start to end.

    cores: kept busy at its busiest. peak_rss_kb: kB of 1024 bytes, or None. job: None of a process."""

    node: str
    submitted_ms: int
    started_ms: int
    ended_ms: int
    pieces: list[Piece]
    cores: int
    peak_rss_kb: int | None
    process: Process | None
    job: Invocation | None
    name: str
    is_sampled: bool = True  # False: nothing is known of its CPU over time

    @property
    def cpu_ms(self) -> float:
        """All that it used."""
        return sum(piece.cpu_ms for piece in self.pieces)


def read_tasks(
    dataset: Dataset, kind: str, is_imputing: bool, audit: Audit, needs_samples: bool = True
) -> list[Task]:
    """The tasks of a data set in the order of submission; kind: "jobs" or "processes".

    needs_samples: a job without samples is refused, or its curve imputed; else it is taken as it is."""
    family = read_family(dataset)
    nodes = {node.node_id: node for node in dataset.nodes()}
    if kind == "jobs":
        jobs = [one for one in dataset.read("invocations.jsonl") if one.source in BATCH]
        found = list(_Jobs(jobs, dataset, family, audit).tasks(nodes, is_imputing, needs_samples))
    else:
        usage = read_usage(dataset, family, None)
        found = list(_processes(usage, nodes, family, audit))
        audit.count("CPU ms of no known process, left out", usage.no_process_ms)
    return sorted((task for task in found if _is_placed(task, nodes, audit)), key=_order)


def _is_placed(task: Task, nodes: dict[str, Node], audit: Audit) -> bool:
    if task.node not in nodes:
        audit.refuse("a task on a node that nodes.json does not have", f"{task.node}: {task.name}")
    return task.node in nodes


def _order(task: Task) -> tuple[int, str, int, int, Process, str]:
    span = (task.job.span_id if task.job else None) or ""
    process = task.process or ("", 0, 0)
    return task.submitted_ms, task.node, task.started_ms, task.ended_ms, process, span


def _tick_ms(node: Node | None) -> float:
    return 1000 / node.clk_tck if node and node.clk_tck else TICK_MS


def _cores(node: Node | None) -> int:
    return (node.cpu_cores if node else None) or 1 << 30


def _processes(usage: Usage, nodes: dict[str, Node], family: Family, audit: Audit) -> Iterator[Task]:
    for process in usage.owners():
        rows = usage.rows(process)
        name = family.name.get(process, "")
        start_ms = round(min((end - length_ms for end, length_ms, _ in rows), default=0))
        end_ms = max((end for end, _, _ in rows), default=0)
        if end_ms <= start_ms:
            audit.refuse(NO_SAMPLES, f"{process[0]}: pid {process[1]} ({name})")
            continue
        pieces = cut(start_ms, end_ms, rows)
        node = nodes.get(process[0])
        cores = busiest(pieces, _tick_ms(node), _cores(node))
        peak_kb = usage.peak_rss_kb.get(process)
        yield Task(process[0], start_ms, start_ms, end_ms, pieces, cores, peak_kb, process, None, name)


class _Jobs:
    """Jobs with what their processes used."""

    def __init__(self, jobs: Sequence[Invocation], dataset: Dataset, family: Family, audit: Audit) -> None:
        self._jobs, self._audit = jobs, audit
        self._times = Counter(process for job in jobs if (process := _process(job)))
        self._usage = read_usage(dataset, family, self._times.keys())
        self._inner_ms: dict[Process, float] = defaultdict(float)
        for job in jobs:
            process = _process(job)
            parent = family.parent.get(process) if process else None
            outer = family.owner(parent, self._times.keys()) if parent else None
            if outer:
                self._inner_ms[outer] += job.cpu_time_ms or 0
        audit.count("CPU ms of processes of no job, left out", self._usage.free_ms)
        audit.count("CPU ms of no known process, taken where wait4 told it", self._usage.no_process_ms)

    def tasks(self, nodes: dict[str, Node], is_imputing: bool, needs_samples: bool) -> Iterator[Task]:
        """Those that can be taken; the audit tells of the others."""
        for job in self._jobs:
            which = f"{job.node}: {job.module_id or job.source} {job.span_id or job.task_id or job.pid}"
            if job.ts_start is None or job.ts_end is None or job.ts_end <= job.ts_start:
                self._audit.refuse("a job without start and end, or of less than 1 ms", which)
                continue
            task = self._task(job, nodes.get(job.node))
            if task.is_sampled or not needs_samples:
                yield task
            elif is_imputing and job.cpu_time_ms is not None:
                self._audit.impute("the curve of a task without samples: its measured CPU, evenly", which)
                yield task._replace(is_sampled=True)
            else:
                self._audit.refuse(NO_SAMPLES, which)

    def _task(self, job: Invocation, node: Node | None) -> Task:
        start_ms, end_ms = job.ts_start or 0, job.ts_end or 0
        process = _process(job)
        is_own = process is not None and self._times[process] == 1
        rows = self._usage.rows(process) if process and is_own else []
        pieces = cut(start_ms, end_ms, rows)
        cores = busiest(pieces, _tick_ms(node), _cores(node))
        pieces = self._close(job, process, pieces, cores)
        whole = Piece(end_ms - start_ms, sum(piece.cpu_ms for piece in pieces), 0.0, 1)
        cores = max(cores, busiest([whole], _tick_ms(node), _cores(node)))
        submitted_ms = min(job.ts_enqueue if job.ts_enqueue is not None else start_ms, start_ms)
        peak_kb = self._usage.peak_rss_kb.get(process) if process and is_own else None
        name = job.module_id or job.source or ""
        is_sampled = bool(rows)
        return Task(
            job.node, submitted_ms, start_ms, end_ms, pieces, cores, peak_kb, process, job, name, is_sampled
        )

    def _close(
        self, job: Invocation, process: Process | None, pieces: list[Piece], cores: int
    ) -> list[Piece]:
        """Put in what wait4 told beyond the rows; jobs that ran inside this one have their own."""
        sampled_ms = sum(piece.cpu_ms for piece in pieces)
        if job.cpu_time_ms is None:
            return pieces
        own_ms = job.cpu_time_ms - (self._inner_ms[process] if process else 0)
        more_ms = max(own_ms - sampled_ms, 0.0)
        if any(piece.rows for piece in pieces):
            self._audit.count("CPU ms that wait4 told and no sample, spread", more_ms)
            self._audit.count("CPU ms of samples beyond what wait4 told, kept", max(sampled_ms - own_ms, 0.0))
        return spread(pieces, more_ms, cores)


def _process(job: Invocation) -> Process | None:
    return None if job.pid is None or job.starttime is None else (job.node, job.pid, job.starttime)


def waits(tasks: Sequence[Task], audit: Audit) -> dict[int, int]:
    """Place of a job in tasks -> place of its parent, where it started only after its parent's end.

    A job that ran inside its parent did not wait for its end."""
    places: dict[tuple[str | None, str | None], int] = {
        (task.job.trace_id, task.job.span_id): at
        for at, task in enumerate(tasks)
        if task.job and task.job.trace_id and task.job.span_id
    }
    found: dict[int, int] = {}
    for at, task in enumerate(tasks):
        parent = places.get((task.job.trace_id, task.job.parent_id)) if task.job else None
        if parent is None or parent == at:
            continue
        if tasks[parent].ended_ms <= task.started_ms:
            found[at] = parent
        else:
            audit.leave_out("a parent that still ran, so that nobody waited for its end", task.name)
    audit.count("waits of a task for the end of another", len(found))
    return found


def tally(tasks: Sequence[Task], audit: Audit) -> None:
    """Count what was taken, in all."""
    audit.count("tasks", len(tasks))
    audit.count("ms of tasks", sum(task.ended_ms - task.started_ms for task in tasks))
    audit.count("CPU ms of tasks", sum(task.cpu_ms for task in tasks))
    unseen_ms = sum(piece.unseen_ms for task in tasks for piece in task.pieces)
    audit.count("ms of tasks in no sample's interval", unseen_ms)
