"""One merge: the members' files to unified_cctf/<RUN_ID>, built beside it and renamed when it is whole."""

import shutil
from bisect import bisect_left
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
from msgspec.structs import replace

from tracekit import __version__
from tracekit.files.place import building
from tracekit.files.writing import LinesFile, write_json
from tracekit.merge.align import aligned
from tracekit.merge.causality import FILES as WITH_SPANS
from tracekit.merge.causality import Causality
from tracekit.merge.choosing import Member, chosen
from tracekit.merge.clock import Fit
from tracekit.merge.documents import links_of, modules_of, nodes_of, qualities_of, runs_of
from tracekit.merge.inputs import read_inputs
from tracekit.merge.kway import Block, merged
from tracekit.merge.lines import NULL, Change, Lines, Look
from tracekit.merge.offsets import Offsets
from tracekit.merge.rejects import NAME as REJECTS
from tracekit.merge.rejects import rejects
from tracekit.merge.shares import Job, Progress, done
from tracekit.records import CCTF_VERSION, Manifest, ManifestFile

OnBytes = Callable[[int], None]


class Result(NamedTuple):
    """What merge made.

    records: lines, without rejected ones; twice: inputs that were there already, in words; unknown: (node,
    file) that were left out; unaligned: nodes whose stamps stayed, for nobody knows their offset."""

    folder: Path
    nodes: list[str]
    records: int
    twice: list[str]
    unknown: list[tuple[str, str]]
    unaligned: list[str]


def merge(
    paths: Sequence[str], final: Path, progress: Progress | None = None, is_aligned: bool = False
) -> Result:
    """Make final, named after its run, of the cctf that paths name. is_aligned: with stamps corrected.

    Raises TracekitError where they cannot be one; an older final is then untouched."""
    with building(final) as folder:
        scratch = folder / ".inputs"
        members, twice = chosen(read_inputs(paths, scratch), final.name)
        work = _Merge(folder, members, is_aligned)
        files = work.run(progress)
        unknown = [(one.node, name) for one in members for name in one.source.unknown + one.source.unlisted]
        shutil.rmtree(scratch, ignore_errors=True)
    lines = (file.records for file in files if file.name.endswith(".jsonl") and file.name != "rejected.jsonl")
    return Result(final, [one.node for one in members], sum(lines), twice, unknown, work.unaligned)


class _Merge:
    def __init__(self, folder: Path, members: list[Member], is_aligned: bool) -> None:
        self._folder, self._members = folder, members
        self._offsets = Offsets(members)
        self._shifts: dict[str, Fit | None] = {}  # by node; None where nobody knows
        if is_aligned:
            first = self._offsets.reference
            self._shifts = {one.node: self._offsets.between(first, one.node) for one in members}

    @property
    def unaligned(self) -> list[str]:
        """The nodes whose stamps should have been corrected, and nobody knows by how much."""
        return [node for node, shift in self._shifts.items() if shift is None]

    def run(self, progress: Progress | None) -> list[ManifestFile]:
        """Write everything; the entries of the manifest."""
        names = sorted({name for one in self._members for name in one.source.files if _has_lines(name)})
        jobs = [self._job([name], self._entries) for name in names if name not in WITH_SPANS]
        jobs.append(self._job([name for name in names if name in WITH_SPANS], self._entries_and_spans))
        told = done(jobs, progress)
        files = [msgspec.convert(entry, ManifestFile) for entries, _ in told for entry in entries]
        files += self._documents(told[-1][1])
        files.sort(key=lambda file: file.name)
        manifest = Manifest(
            cctf_version=CCTF_VERSION,
            run_id=self._members[0].source.manifest.run_id,
            nodes=[one.node for one in self._members],
            tracekit_version=__version__,
            files=files,
        )
        write_json(self._folder, "manifest.json", manifest)
        return files

    # --- documents

    def _documents(self, spans: list[dict[str, Any]]) -> list[ManifestFile]:
        members = self._members
        documents = {
            "nodes.json": nodes_of(members),
            "links.json": links_of(members),
            "run_meta.json": runs_of(members),
            "module_inventory.json": modules_of(members),
            "quality.json": {"nodes": qualities_of(members), "merge": self._account(spans)},
        }
        return [write_json(self._folder, name, value) for name, value in documents.items() if value]

    def _account(self, spans: list[dict[str, Any]]) -> dict[str, Any]:
        """What the merge itself did."""
        inputs = [
            {
                "node": one.node,
                "manifest_sha256": one.source.digest,
                "tracekit_version": one.source.manifest.tracekit_version,
                "left_out": one.source.unknown,
            }
            for one in self._members
        ]
        clock = {
            **self._offsets.document(),
            "is_aligned": bool(self._shifts),
            "not_aligned": self.unaligned,
        }
        return {"inputs": inputs, "clock": clock, "causality": spans}

    # --- lines

    def _job(self, names: list[str], work: Callable[[list[str], OnBytes], Any]) -> Job:
        files = [one.source.files for one in self._members]
        size = sum(known[name].bytes for known in files for name in names if name in known)
        return Job(size, lambda on_bytes: work(names, on_bytes))

    def _entries(self, names: list[str], on_bytes: OnBytes) -> Any:
        return [msgspec.to_builtins(self._write(name, on_bytes)) for name in names], []

    def _entries_and_spans(self, names: list[str], on_bytes: OnBytes) -> Any:
        if len(self._members) == 1:
            return self._entries(names, on_bytes)
        causality = Causality(self._folder, self._offsets, bool(self._shifts))
        written = [self._write(name, on_bytes, causality.take) for name in names]
        return [msgspec.to_builtins(one) for one in written], causality.counted()

    def _write(self, name: str, on_bytes: OnBytes, look: Look | None = None) -> ManifestFile:
        having = [one for one in self._members if name in one.source.files]
        out = LinesFile(self._folder, name)
        try:
            if name == REJECTS:
                for text, count in rejects(having, on_bytes):
                    out.write_text(text, count, [])
            else:
                inputs = [
                    Lines(one, name, on_bytes).blocks(look, self._change_of(one.node)) for one in having
                ]
                for block in merged(inputs):
                    out.write_text(b"\n".join([*block.pieces, b""]), 0, _known(block))
            # Each input has proved that it has the lines which its manifest lists.
            return replace(out.close(), records=sum(one.source.files[name].records for one in having))
        finally:
            out.end()

    def _change_of(self, node: str) -> Change | None:
        shift = self._shifts.get(node)
        return partial(aligned, offset=shift) if shift else None


def _has_lines(name: str) -> bool:
    return name.endswith(".jsonl")


def _known(block: Block) -> list[int]:
    """The keys that are not null."""
    return block.keys if block.keys[-1] < NULL else block.keys[: bisect_left(block.keys, NULL)]
