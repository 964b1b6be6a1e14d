"""The sampled files of a run, each read as it comes; one that is out of order is read again, sorted."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from heapq import merge
from operator import attrgetter
from pathlib import Path
from typing import Any, Protocol, TypeVar

from tracekit.errors import TracekitError
from tracekit.files.reading import Account, Reader, ignore
from tracekit.files.sorting import OutOfOrderError
from tracekit.files.writing import LinesFile
from tracekit.parse.documents import Documents
from tracekit.parse.endings import Ending, Remainder, endings, remainders
from tracekit.parse.grid import Grid
from tracekit.parse.ledger import Ledger
from tracekit.parse.processes import ProcSeries
from tracekit.parse.rows import Rows, Source, TickRows
from tracekit.parse.series import HostSeries, LinkSeries, RawLink, RawResource, Seen, check_resource
from tracekit.parse.timeline import FarRows, Steps, Timeline
from tracekit.records import Mark, ProcInventory, QualityMark

_PROC_FILES = ("proc_metrics.jsonl", "proc_cpu.jsonl", "proc_rss.jsonl")


class Series(Protocol):
    """What takes rows in the order of time and writes files of the cctf."""

    duplicates: int

    def take(self, rows: Any) -> Sequence[int]:
        """Write rows; their times, ms. Raises OutOfOrderError where they are not in the order of time."""

    def finish(self) -> None:
        """Write what is left."""


S = TypeVar("S", bound=Series)
T = TypeVar("T")
Make = Callable[[list[LinesFile]], S]


class Sampled:
    """resources.jsonl, links.jsonl and proc_metrics.jsonl of one run."""

    def __init__(
        self,
        run_dir: Path,
        ledger: Ledger,
        documents: Documents,
        timeline: Timeline,
        steps: list[tuple[int, int, int]],
        far: FarRows,
    ) -> None:
        """steps: (from_ms, to_ms, step_ms) of the wall clock's steps, in order."""
        self._run_dir, self._ledger, self._documents = run_dir, ledger, documents
        self._timeline, self._steps_told, self._far = timeline, steps, far
        self._node = documents.node.node if documents.node else ""
        self._stage = documents.node.stage if documents.node else ""
        self.grids: dict[str, Grid] = {}
        self.added: list[QualityMark] = []  # for quality.json
        self.links: set[str] = set()  # that rows name
        for name in ("cpu", "mem", "nic", "proc"):
            self._renew(name)

    def _renew(self, name: str) -> Grid:
        run = self._documents.run
        interval_ms = (run.interval_ms or 1000) if name == "proc" else 1000
        self.grids[name] = Grid(run.started_ms or 0, interval_ms)
        return self.grids[name]

    def _steps(self) -> Steps:
        return Steps(self._documents.run.started_ms or 0, self._steps_told)

    def host(self) -> None:
        """resources.jsonl -> host_metrics.jsonl."""

        def make(outs: list[LinesFile]) -> HostSeries:
            grids = {name: self._renew(name) for name in ("cpu", "mem")}
            seen = Seen(self._steps().goes_back)
            return HostSeries((self._node, self._stage), outs[0], self._timeline, grids, seen)

        rows = Rows(RawResource, self._ledger, check_resource)
        self._fill("resources.jsonl", rows, ["host_metrics.jsonl"], make)

    def link(self) -> None:
        """links.jsonl -> link_metrics.jsonl."""

        def make(outs: list[LinesFile]) -> LinkSeries:
            seen = Seen(self._steps().goes_back)
            return LinkSeries(self._node, outs[0], self._timeline, self._renew("nic"), seen)

        series = self._fill("links.jsonl", Rows(RawLink, self._ledger), ["link_metrics.jsonl"], make)
        self.links = series.links if series else set()

    def processes(self) -> None:
        """proc_metrics.jsonl, and the ends in the cctf's proc_inventory.jsonl, -> three files.

        Where there are ends alone they are of processes that were never sampled."""
        clk_tck = self._clk_tck()
        started_ms = self._documents.run.started_ms or 0

        def make(outs: list[LinesFile]) -> ProcSeries:
            ends = endings(self._read_again("proc_inventory.jsonl", ProcInventory), clk_tck)
            rest = remainders(self._read_again("marks.jsonl", Mark))
            told: Iterator[Ending | Remainder] = merge(ends, rest, key=attrgetter("ts_ms"))
            names, grid = (self._node, clk_tck), self._renew("proc")
            return ProcSeries(names, outs, self._timeline, self._steps(), grid, told)

        series = self._fill(
            "proc_metrics.jsonl", TickRows(self._ledger, self._node, clk_tck), _PROC_FILES, make
        )
        if not series and (self._ledger.folder / "proc_inventory.jsonl").exists():
            series, outs = self._taken("proc_metrics.jsonl", (), _PROC_FILES, make)
            self._ledger.close(outs)
        if series:
            self.added += series.resets
            if series.unattributed_ms:
                detail = f"proc: {series.unattributed_ms:.0f} ms of CPU can be given to no process"
                self.added.append(QualityMark(ts_ms=started_ms, kind="unattributed", detail=detail))

    def _clk_tck(self) -> int:
        """Kernel ticks a second; 0 where nobody knows and nothing is counted in ticks.

        Raises TracekitError where something is."""
        clk_tck = self._documents.node.clk_tck if self._documents.node else None
        if clk_tck:
            return clk_tck
        rows = self._run_dir / "proc_metrics.jsonl"
        ends = self._read_again("proc_inventory.jsonl", ProcInventory)
        if (rows.exists() and rows.stat().st_size) or any(row.utime is not None for row in ends):
            raise TracekitError(
                f"{self._run_dir}/node_meta.json: without clk_tck, CPU ticks mean nothing; restore it"
            )
        return 0

    def _read_again(self, name: str, record: type[T]) -> Iterator[T]:
        """The records of a file of this cctf that is written already."""
        path = self._ledger.folder / name
        if path.exists():
            for batch in Reader(record, ignore).read(path, Account()):
                yield from batch.records

    def _fill(self, name: str, source: Source, files: Iterable[str], make: Make[S]) -> S | None:
        path, ledger = self._run_dir / name, self._ledger
        if not path.exists():
            return None
        account = ledger.account(name)
        with closing(source.read(path, account)) as rows:
            try:
                series, outs = self._taken(name, rows, files, make)
            except OutOfOrderError:
                for _ in rows:  # the lines that were not read yet are accounted for, all of them once
                    pass
                again = source.read_again(path, account.bytes, ledger.folder)
                series, outs = self._taken(name, again, files, make)
        account.duplicates += series.duplicates
        ledger.close(outs)
        return series

    def _taken(
        self, name: str, batches: Iterable[Any], files: Iterable[str], make: Make[S]
    ) -> tuple[S, list[LinesFile]]:
        outs = [LinesFile(self._ledger.folder, file) for file in files]
        series = make(outs)
        try:
            for rows in batches:
                self._far.look(name, series.take(rows))
            series.finish()
        except OutOfOrderError:
            for out in outs:
                out.end()
            raise
        return series, outs
