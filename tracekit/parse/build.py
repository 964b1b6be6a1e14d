"""Building cctf/: every raw file to its place, beside the final name, and renamed when it is whole."""

import re
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import msgspec
from msgspec import UNSET

from tracekit import __version__, jsonl
from tracekit.errors import BadLineError, TracekitError
from tracekit.parse.documents import Documents, links_of, node_of, read_documents
from tracekit.parse.grid import Grid
from tracekit.parse.ordering import in_time_order, steps_of_sampler
from tracekit.parse.passing import Passing
from tracekit.parse.place import building
from tracekit.parse.quality import collector_quality, cover_proc_ticks, quality
from tracekit.parse.reading import Account, Reader
from tracekit.parse.series import (
    HostSeries,
    LinkSeries,
    ProcSeries,
    RawLink,
    RawProc,
    RawResource,
    check_resource,
)
from tracekit.parse.timeline import Steps, Timeline
from tracekit.parse.writing import LinesFile, write_json
from tracekit.records import (
    CCTF_VERSION,
    Manifest,
    ManifestFile,
    Mark,
    ProcInventory,
    QualityMark,
    Rejected,
)
from tracekit.units import ticks_to_ms

T = TypeVar("T")
_TEXT_LIMIT = 65_536
_PROC_FILES = ("proc_metrics.jsonl", "proc_cpu.jsonl", "proc_rss.jsonl")
_FAR_MS = 5_000  # rows this far outside of the run's time are worth a mark
_EVENTS = re.compile(r"events\.[^/]+\.jsonl")

# cctf file -> the raw files that go into it as they are
_PASSED = {
    "calls.jsonl": ("calls.*.jsonl", "calls.jsonl"),
    "cgroup_metrics.jsonl": ("cgroup_metrics.jsonl",),
    "events_client.jsonl": ("events_client.jsonl",),
    "host_extra.jsonl": ("host_extra.jsonl",),
    "placement_events.jsonl": ("placement_events.jsonl", "placement_events.*.jsonl"),
    "system_stats.jsonl": ("system_stats.jsonl", "system_stats.*.jsonl"),
}


class Result(NamedTuple):
    """What parse made. records: without rejected ones; unknown: raw files that are not of the format."""

    folder: Path
    records: int
    rejected: int
    first_bad: list[BadLineError]
    torn: int
    unknown: list[str]


def build(run_dir: Path) -> Result:
    """Make run_dir/cctf from run_dir's raw files.

    Raises TracekitError where it cannot be made; an older cctf is then untouched."""
    documents = read_documents(run_dir)
    with building(run_dir) as folder:
        return _Build(run_dir, folder, documents).run()


# --- one build


class _Build:
    def __init__(self, run_dir: Path, folder: Path, documents: Documents) -> None:
        self._run_dir, self._folder, self._documents = run_dir, folder, documents
        self._node = documents.node.node if documents.node else ""
        self._stage = documents.node.stage if documents.node else ""
        self._accounts: dict[str, Account] = {}
        self._files: list[ManifestFile] = []
        self._marks: list[Mark] = []
        self._added: list[QualityMark] = []
        self._bad: list[BadLineError] = []
        self._links: set[str] = set()
        self._rejected = 0
        self._rejects = LinesFile(folder, "rejected.jsonl")
        run = documents.run
        mono_ms = run.started_mono_ms if run.started_ms is not None else None
        self._timeline = Timeline(run.started_ms or 0, mono_ms, Steps(0, []))
        seconds = {name: Grid(run.started_ms or 0, 1000) for name in ("cpu", "mem", "nic")}
        self._grids = {**seconds, "proc": Grid(run.started_ms or 0, run.interval_ms or 1000)}

    def run(self) -> Result:
        self._pass("marks.jsonl", ["marks.jsonl"])
        self._marks = self._written("marks.jsonl", Mark)
        self._timeline.steps = Steps(self._documents.run.started_ms or 0, steps_of_sampler(self._marks))
        self._host_and_link()
        self._pass("proc_inventory.jsonl", ["proc_inventory.jsonl"])
        self._processes()
        for name, patterns in _PASSED.items():
            self._pass(name, list(patterns))
        self._invocations()
        self._write_documents()
        self._files.append(self._rejects.close())
        self._files.sort(key=lambda file: file.name)
        manifest = Manifest(
            cctf_version=CCTF_VERSION,
            run_id=self._documents.run.run_id,
            nodes=[self._node] if self._node else [],
            tracekit_version=__version__,
            files=self._files,
        )
        write_json(self._folder, "manifest.json", manifest)
        unknown = sorted(
            path.name
            for path in self._run_dir.glob("*.jsonl")
            if path.name not in self._accounts and path.name != "events.jsonl"  # which parse itself makes
        )
        torn = sum(account.rejected["torn"] for account in self._accounts.values())
        records = sum(file.records for file in self._files if file.name.endswith(".jsonl")) - self._rejected
        return Result(self._run_dir / "cctf", records, self._rejected, self._bad, torn, unknown)

    def _reject(self, bad: BadLineError, line: bytes) -> None:
        text = line.decode("utf-8", "backslashreplace")[:_TEXT_LIMIT]
        self._rejects.write([Rejected(file=bad.file, line=bad.line, reason=bad.reason, text=text)])
        self._rejected += 1
        if len(self._bad) < 5 and bad.reason != "torn":
            self._bad.append(bad)

    def _account(self, name: str) -> Account:
        return self._accounts.setdefault(name, Account())

    # --- series

    def _host_and_link(self) -> None:
        path = self._run_dir / "resources.jsonl"
        if path.exists():
            out = LinesFile(self._folder, "host_metrics.jsonl")
            host = HostSeries(self._node, self._stage, out, self._timeline, self._grids)
            account = self._account(path.name)
            for batch in Reader(RawResource, self._reject, check_resource).read(path, account):
                self._tell_far(path.name, [row.ts_ms for row in batch.records])
                account.duplicates += host.take(batch.records)
            self._files.append(out.close())
        path = self._run_dir / "links.jsonl"
        if path.exists():
            out = LinesFile(self._folder, "link_metrics.jsonl")
            link = LinkSeries(self._node, out, self._timeline, self._grids["nic"])
            account = self._account(path.name)
            for links in Reader(RawLink, self._reject).read(path, account):
                self._tell_far(path.name, [row.ts_ms for row in links.records])
                account.duplicates += link.take(links.records)
            self._files.append(out.close())
            self._links = link.links

    def _processes(self) -> None:
        path = self._run_dir / "proc_metrics.jsonl"
        if not path.exists():
            return
        clk_tck = self._documents.node.clk_tck if self._documents.node else None
        if not clk_tck:
            raise TracekitError(f"{self._run_dir}/node_meta.json: without clk_tck, CPU ticks mean nothing")
        metrics, cpu, rss = (LinesFile(self._folder, name) for name in _PROC_FILES)
        grid, ends = self._grids["proc"], self._final_cpu(clk_tck)
        series = ProcSeries(self._node, clk_tck, (metrics, cpu, rss), self._timeline, grid, ends)
        account = self._account(path.name)
        batches = Reader(RawProc, self._reject).read(path, account)
        for rows in in_time_order(path, batches, self._timeline.steps.goes_back):
            self._tell_far(path.name, [row.ts_ms for row in rows])
            account.duplicates += series.take(rows)
        series.finish()
        self._added += series.resets
        self._files += [metrics.close(), cpu.close(), rss.close()]
        cover_proc_ticks(grid, self._marks, self._timeline, self._documents.run.interval_ms or 1000)

    def _final_cpu(self, clk_tck: int) -> dict[tuple[int, int], tuple[int, float]]:
        """(pid, starttime) -> (ts_ms, CPU in ms) of the processes whose end the inventory tells in full."""
        ends = {}
        for row in self._written("proc_inventory.jsonl", ProcInventory):
            if row.event == "end" and row.utime is not None and row.stime is not None:
                cpu_ms = ticks_to_ms(row.utime + row.stime, clk_tck) if row.cpu_ms is UNSET else row.cpu_ms
                ends[row.pid, row.starttime] = (row.ts_ms, cpu_ms)
        return ends

    def _tell_far(self, name: str, times: list[int]) -> None:
        """Rows outside of the run's time are kept, with one mark a file."""
        started, stopped = self._documents.run.started_ms, self._documents.run.stopped_ms
        detail = f"{name}: records outside of the run's time"
        if (
            not times
            or started is None
            or stopped is None
            or any(mark.detail == detail for mark in self._added)
        ):
            return
        stepped_ms = sum(abs(mark.step_ms) for mark in self._marks if mark.step_ms is not UNSET)
        far_ms = _FAR_MS + stepped_ms
        last = max(stopped, self._stopped_ms())  # a stepped clock may say that the end came first
        if min(times) < min(started, stopped) - far_ms or max(times) > last + far_ms:
            self._added.append(QualityMark(ts_ms=min(times), kind="outside_run", detail=detail))

    # --- lines that pass

    def _matching(self, patterns: list[str]) -> list[Path]:
        return sorted({path for pattern in patterns for path in self._run_dir.glob(pattern)})

    def _pass(self, name: str, patterns: list[str]) -> None:
        paths = self._matching(patterns)
        if paths:
            self._write_passed(name, paths)

    def _write_passed(self, name: str, paths: list[Path]) -> tuple[list[bytes], list[int | None]]:
        for path in paths:
            self._account(path.name)
        lines, keys = Passing(name, self._node, self._stage, self._reject).read(paths, self._accounts)
        if name != "marks.jsonl":  # which are read first, and tell of steps themselves
            self._tell_far(name, [key for key in keys if key is not None])
        out = LinesFile(self._folder, name)
        out.write_lines(lines, keys)
        self._files.append(out.close())
        return lines, keys

    def _written(self, name: str, record: type[T]) -> list[T]:
        """The records of a file of this cctf that is written already."""
        path = self._folder / name
        return msgspec.json.Decoder(record).decode_lines(path.read_bytes()) if path.exists() else []

    def _invocations(self) -> None:
        events = [path for path in self._matching(["events.*.jsonl"]) if _EVENTS.fullmatch(path.name)]
        derived = self._run_dir / "events.jsonl"
        paths = events or [path for path in (derived,) if path.exists()]
        paths += self._matching(["invocations.*.jsonl", "invocations.jsonl"])
        if paths:
            self._write_passed("invocations.jsonl", paths)
        if events:
            self._write_derived_events(events, derived)

    def _write_derived_events(self, events: list[Path], derived: Path) -> None:
        accounts = {path.name: Account() for path in events}  # the lines are counted already
        passing = Passing("invocations.jsonl", self._node, self._stage, lambda _bad, _line: None)
        lines, _ = passing.read(events, accounts)
        with jsonl.replacing(derived) as stream:
            stream.writelines(line + b"\n" for line in lines)

    # --- documents

    def _write_documents(self) -> None:
        documents = self._documents
        if documents.run_raw:
            self._write("run_meta.json", self._with_node(documents.run_raw))
        if documents.modules_raw:
            self._write("module_inventory.json", self._with_node(documents.modules_raw))
        if documents.node:
            self._write("nodes.json", [node_of(documents.node, documents.run)])
            self._write("links.json", links_of(documents.node, documents.link, self._links))
        self._write("quality.json", self._quality())

    def _write(self, name: str, value: object) -> None:
        self._files.append(write_json(self._folder, name, value))

    def _with_node(self, raw: dict[str, Any]) -> dict[str, Any]:
        return raw if not self._node or "node" in raw else {**raw, "node": self._node}

    def _quality(self) -> object:
        names = [name for name in ("cpu", "mem", "nic") if self._documents.node]
        if "proc_metrics.jsonl" in self._accounts:
            names.append("proc")
        stopped_ms = self._stopped_ms()
        collectors = {}
        if self._documents.run.started_ms is not None:
            ends = dict.fromkeys(names, stopped_ms)
            if self._documents.run.stopped_ms is None:  # the sampler sums up its idle ticks once a minute
                ends["proc"] = self._grids["proc"].last_sampled_ms()
            collectors = {
                name: collector_quality(name, self._grids[name], ends[name], self._timeline, self._marks)
                for name in names
            }
        clock = self._documents.node.clock if self._documents.node else None
        return quality(collectors, self._accounts, self._marks, self._added, clock)

    def _stopped_ms(self) -> int:
        """The end of the run in its own time; while it is live, the last row that any collector gave."""
        run = self._documents.run
        if run.stopped_ms is None:
            return max((grid.last_ms or 0 for grid in self._grids.values()), default=0)
        if run.stopped_mono_ms is None or run.started_mono_ms is None or run.started_ms is None:
            return run.stopped_ms
        elapsed_ms = run.stopped_mono_ms - run.started_mono_ms
        return run.started_ms + elapsed_ms if elapsed_ms >= 0 else run.stopped_ms
