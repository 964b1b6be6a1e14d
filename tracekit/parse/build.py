"""Building cctf/: every raw file to its place, beside the final name, and renamed when it is whole."""

import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from tracekit import __version__
from tracekit.errors import BadLineError, TracekitError
from tracekit.files.place import building
from tracekit.files.reading import Account, Reader, ignore
from tracekit.files.writing import write_json
from tracekit.parse.documents import Documents, links_of, node_of, read_documents
from tracekit.parse.ledger import Ledger, Progress
from tracekit.parse.passed import Passed
from tracekit.parse.peers import pair_links
from tracekit.parse.quality import NOT_REPEATED, collector_quality, cover_proc_ticks, quality
from tracekit.parse.sampled import Sampled
from tracekit.parse.timeline import FarRows, Timeline, own_stopped_ms, started_mono_ms, steps_of_sampler
from tracekit.records import CCTF_VERSION, ClockProbe, Manifest, Mark, Quality

T = TypeVar("T")
_PASSED = (
    "calls.jsonl",
    "cgroup_metrics.jsonl",
    "clock_probes.jsonl",
    "events_client.jsonl",
    "host_extra.jsonl",
    "placement_events.jsonl",
    "system_stats.jsonl",
)


class Result(NamedTuple):
    """What parse made. records: without rejected ones; unknown: raw files that are not of the format."""

    folder: Path
    records: int
    rejected: int
    first_bad: list[BadLineError]
    torn: int
    unknown: list[str]


def build(run_dir: Path, is_strict: bool = False, progress: Progress | None = None) -> Result:
    """Make run_dir/cctf from run_dir's raw files. is_strict: not if a line is bad.

    Raises TracekitError where it cannot be made; an older cctf is then untouched."""
    _refuse_odd_files(run_dir)
    documents = read_documents(run_dir)
    raw = {path.name: path.stat().st_size for path in run_dir.glob("*.jsonl")}
    if any(run_dir.glob("events.*.jsonl")):
        raw.pop("events.jsonl", None)  # our own view of them
    size = sum(raw.values())
    with building(run_dir / "cctf") as folder:
        return _Build(run_dir, documents, Ledger(folder, is_strict, progress, size)).run()


def _refuse_odd_files(run_dir: Path) -> None:
    """An app's container writes here too: a link would be read with our rights, and a pipe never ends."""
    for path in sorted((*run_dir.glob("*.jsonl"), *run_dir.glob("*.json"))):
        if not stat.S_ISREG(path.lstat().st_mode):
            raise TracekitError(f"{path}: no regular file; look at it and remove it")


class _Build:
    def __init__(self, run_dir: Path, documents: Documents, ledger: Ledger) -> None:
        self._run_dir, self._documents, self._ledger = run_dir, documents, ledger
        self._node = documents.node.node if documents.node else ""
        run = documents.run
        self._timeline = Timeline(run.started_ms or 0, started_mono_ms(run_dir, run))
        self._far = FarRows(run)

    def run(self) -> Result:
        ledger, far = self._ledger, self._far
        passed = Passed(self._run_dir, ledger, self._documents.node, far)
        passed.write("marks.jsonl")
        marks: list[Mark] = []
        reading: list[Mark] = []  # of the clock's quality: the last one counts
        for mark in self._marks():
            if mark.kind not in NOT_REPEATED:
                marks.append(mark)
            elif mark.kind == "clock":
                reading = [mark]
        marks += reading
        far.expect_steps(marks)
        steps = list(steps_of_sampler(marks))
        self._sampled = Sampled(self._run_dir, ledger, self._documents, self._timeline, steps, far)
        self._sampled.host()
        self._sampled.link()
        passed.write("proc_inventory.jsonl")
        self._sampled.processes()
        for name in _PASSED:
            passed.write(name)
        passed.invocations()
        self._write_documents(marks)
        self._write_manifest()
        raw = {path.name for path in self._run_dir.glob("*.jsonl")}
        unknown = sorted(raw - ledger.accounts.keys() - {"events.jsonl"})  # which parse itself makes
        folder = self._run_dir / "cctf"
        return Result(folder, ledger.records, ledger.rejected, ledger.first_bad, ledger.torn, unknown)

    def _marks(self) -> Iterator[Mark]:
        """The marks of this cctf, in order. Those of the ticks, one a minute, are read anew when needed."""
        return self._lines("marks.jsonl", Mark)

    def _lines(self, name: str, record: type[T]) -> Iterator[T]:
        """The lines of a file that is written already; none where there is no such file."""
        path = self._ledger.folder / name
        if path.exists():
            for batch in Reader(record, ignore).read(path, Account()):
                yield from batch.records

    # --- documents

    def _write_documents(self, marks: list[Mark]) -> None:
        documents, ledger = self._documents, self._ledger
        if documents.run_raw:
            ledger.write("run_meta.json", self._with_node(documents.run_raw))
        if documents.modules_raw:
            ledger.write("module_inventory.json", self._with_node(documents.modules_raw))
        if documents.node:
            ledger.write("nodes.json", [node_of(documents.node, documents.run)])
            links = links_of(documents.node, documents.link, self._sampled.links)
            ledger.write("links.json", [*links, *pair_links(self._lines("clock_probes.jsonl", ClockProbe))])
        ledger.write("quality.json", self._quality(marks))

    def _with_node(self, raw: dict[str, Any]) -> dict[str, Any]:
        return raw if not self._node or "node" in raw else {**raw, "node": self._node}

    def _write_manifest(self) -> None:
        manifest = Manifest(
            cctf_version=CCTF_VERSION,
            run_id=self._documents.run.run_id,
            nodes=[self._node] if self._node else [],
            tracekit_version=__version__,
            files=self._ledger.manifest_files(),
        )
        write_json(self._ledger.folder, "manifest.json", manifest)

    # --- quality

    def _quality(self, marks: list[Mark]) -> Quality:
        accounts, grids, run = self._ledger.accounts, self._sampled.grids, self._documents.run
        names = [name for name in ("cpu", "mem", "nic") if self._documents.node]
        if accounts.keys() & {"proc_metrics.jsonl", "proc_inventory.jsonl"}:
            cover_proc_ticks(grids["proc"], self._marks(), self._timeline, run.interval_ms or 1000)
            names.append("proc")
        collectors = {}
        if run.started_ms is not None:
            ends = dict.fromkeys(names, self._stopped_ms())
            if run.stopped_ms is None:  # the sampler sums up its idle ticks once a minute
                ends["proc"] = grids["proc"].last_sampled_ms()
            collectors = {
                name: collector_quality(name, grids[name], ends[name], self._timeline, marks)
                for name in names
            }
        clock = self._documents.node.clock if self._documents.node else None
        return quality(collectors, accounts, marks, [*self._far.marks, *self._sampled.added], clock)

    def _stopped_ms(self) -> int:
        """The end of the run in its own time; while it is live, the last row that any collector gave."""
        stopped_ms = own_stopped_ms(self._documents.run)
        if stopped_ms is None:
            return max((grid.last_ms or 0 for grid in self._sampled.grids.values()), default=0)
        return stopped_ms
