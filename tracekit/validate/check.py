"""The check of one directory: manifest, documents, lines; what defines names before what uses them."""

from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from msgspec import UNSET

from tracekit.files.reading import Batch
from tracekit.records import FILES, Manifest, ManifestFile, Name, Rejected
from tracekit.validate.documents import MergedQuality, read_document, read_manifest
from tracekit.validate.doubles import Doubles
from tracekit.validate.laws import (
    check_cpu,
    check_host,
    check_ids,
    check_invocation,
    check_quality,
    check_rejects,
    check_stamp,
)
from tracekit.validate.lines import read_lines
from tracekit.validate.listing import check_listing
from tracekit.validate.references import Names
from tracekit.validate.report import Report, shown

Look = Callable[[str, Batch[Any]], None]
_DEFINING = ("proc_inventory.jsonl", "placement_events.jsonl", "marks.jsonl")  # are read before the others


class RejectedOfNode(Rejected, frozen=True):
    """A rejected line of a merge, where every line tells its node."""

    node: Name


def find_problems(folder: Path) -> Iterator[str]:
    """The first few errors of each kind, as "file:line: what" or "file: what"; nothing where all is well.

    Raises TracekitError where folder holds no readable manifest.json: then it is no cctf at all."""
    for group in check(folder).errors.values():
        yield from map(str, group.first)


def check(folder: Path) -> Report:
    """Everything that is wrong, and what is worth telling.

    Raises TracekitError where folder holds no readable manifest.json: then it is no cctf at all."""
    manifest = read_manifest(folder)
    report = Report(str(folder), run_id=manifest.run_id, nodes=manifest.nodes, files=len(manifest.files))
    _Check(folder, manifest, report).run()
    return report


class _Check:
    def __init__(self, folder: Path, manifest: Manifest, report: Report) -> None:
        self._folder, self._manifest, self._report = folder, manifest, report
        self._qualities: dict[str, Any] = {}  # by node; "" where the cctf is no merge
        self._named: dict[str, list[str]] = {}  # the nodes that a document names
        self._rejects: Counter[tuple[str, str, str]] = Counter()
        self._doubles = Doubles(report)
        self._names = Names(report)

    def run(self) -> None:
        files = check_listing(self._folder, self._manifest, self._report)
        for name in sorted(name for name in files if name.endswith(".json")):
            self._check_document(files[name])
        for name, nodes in self._named.items():
            self._names.check_named(name, nodes)
        for node, quality in self._qualities.items():
            check_quality(quality, node and f"{node}: ", self._report)
        looks = self._looks()
        lines = [name for name in files if name.endswith(".jsonl")]
        self._names.expect(lines)
        for name in sorted(lines, key=lambda name: (name not in _DEFINING, name)):
            for batch in read_lines(self._folder / name, files[name], self._record(name), self._report):
                for look in looks.get(name, (self._names.check_own_node,)):
                    look(name, batch)
        self._names.spans.tell_missing(self._report)
        if self._qualities:
            check_rejects(self._qualities, self._rejects, self._report)

    def _looks(self) -> dict[str, tuple[Look, ...]]:
        """What is asked of the lines of each file beyond their record; of others, a known node."""
        names, once = self._names, self._doubles.check
        of_process = (names.check_own_node, names.check_process)
        stamped_with_ids = (self._each(check_stamp), self._each(check_ids))
        of_request = (once, *stamped_with_ids, names.check_node, names.take_spans)
        of_app = (names.check_module, names.check_instance, names.check_process)
        return {
            "marks.jsonl": (names.check_own_node, self._doubles.take_steps),
            "host_metrics.jsonl": (self._each(check_host), names.check_own_node),
            "link_metrics.jsonl": (once, names.check_own_node, names.check_link),
            "proc_metrics.jsonl": (once, *of_process),
            "proc_cpu.jsonl": (self._each(check_cpu), *of_process),
            "proc_rss.jsonl": (once, *of_process),
            "proc_inventory.jsonl": (names.check_own_node, names.define_processes),
            "invocations.jsonl": (self._each(check_invocation), *of_request, *of_app),
            "calls.jsonl": of_request,
            "events_client.jsonl": of_request,
            "placement_events.jsonl": (names.check_node, names.check_module, names.define_instances),
            "system_stats.jsonl": (names.check_node, names.check_instance),
            "rejected.jsonl": (self._count_rejects,),
        }

    def _record(self, name: str) -> Any:
        is_merged = "" not in self._qualities and self._qualities
        return RejectedOfNode if name == "rejected.jsonl" and is_merged else FILES[name].record

    # --- documents

    def _check_document(self, file: ManifestFile) -> None:
        value = read_document(self._folder / file.name, self._report)
        if value is None:
            return
        records = len(value) if isinstance(value, list) else 1
        if records != file.records:
            self._report.error(
                "records", file.name, f"has {records} records, the manifest says {file.records}"
            )
        if (file.first_ts, file.last_ts) != (None, None):
            self._report.error("times", file.name, "has no times, the manifest says that it has")
        values = value if isinstance(value, list) else [value]
        if file.name == "nodes.json":
            self._check_nodes([one.node_id for one in values])
        elif file.name == "links.json":
            self._names.define_links(values)
            self._named[file.name] = [one.u for one in values]
        elif file.name == "module_inventory.json":
            self._names.define_modules(values)
        elif file.name == "quality.json":
            self._qualities = value.nodes if isinstance(value, MergedQuality) else {"": value}
            self._named[file.name] = [node for node in self._qualities if node]
            self._check_accounts()
        elif file.name == "run_meta.json":
            self._check_run_id([one.run_id for one in values])
            self._named[file.name] = [one.node for one in values if one.node is not UNSET]

    def _check_nodes(self, nodes: list[str]) -> None:
        self._names.define_nodes(nodes)
        for node in sorted(name for name, times in Counter(nodes).items() if times > 1):
            self._report.error("node", "nodes.json", f"{shown(node)} is there more than once")
        if set(nodes) != set(self._manifest.nodes):
            told = f"has {shown(sorted(set(nodes)))}, the manifest says {shown(sorted(self._manifest.nodes))}"
            self._report.error("node", "nodes.json", told)

    def _check_accounts(self) -> None:
        """A merge accounts for each of its nodes."""
        for node in self._manifest.nodes:
            if not {"", node} & self._qualities.keys():
                self._report.error("law", "quality.json", f"does not account for the node {shown(node)}")

    def _check_run_id(self, run_ids: list[str]) -> None:
        for run_id in sorted(set(run_ids) - {self._manifest.run_id}):
            told = f"run_id is {shown(run_id)}, the manifest says {shown(self._manifest.run_id)}"
            self._report.error("manifest", "run_meta.json", told)

    # --- lines

    def _each(self, check_line: Callable[[Any, str, int, Report], None]) -> Look:
        """A check of single lines, for all lines of a batch."""

        def look(name: str, batch: Batch[Any]) -> None:
            for line, one in zip(batch.numbers, batch.records, strict=True):
                check_line(one, name, line, self._report)

        return look

    def _count_rejects(self, _name: str, batch: Batch[Any]) -> None:
        self._rejects.update((getattr(one, "node", ""), one.file, one.reason) for one in batch.records)
