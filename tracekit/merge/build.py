"""One merge: the members' files to unified_cctf/<RUN_ID>, built beside it and renamed when it is whole."""

import shutil
from bisect import bisect_left
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from tracekit import __version__
from tracekit.files.place import building
from tracekit.files.writing import LinesFile, write_json
from tracekit.merge.choosing import Member, chosen
from tracekit.merge.documents import links_of, modules_of, nodes_of, qualities_of, runs_of
from tracekit.merge.inputs import read_inputs
from tracekit.merge.kway import Block, merged
from tracekit.merge.lines import NULL, Lines
from tracekit.merge.rejects import NAME as REJECTS
from tracekit.merge.rejects import rejects
from tracekit.merge.shares import Job, Progress, done
from tracekit.records import CCTF_VERSION, Manifest, ManifestFile

OnBytes = Callable[[int], None]


class Result(NamedTuple):
    """What merge made.

    records: lines, without rejected ones; twice: inputs that were there already, in words; unknown: (node,
    file) that were left out."""

    folder: Path
    nodes: list[str]
    records: int
    twice: list[str]
    unknown: list[tuple[str, str]]


def merge(paths: Sequence[str], final: Path, progress: Progress | None = None) -> Result:
    """Make final, named after its run, of the cctf that paths name.

    Raises TracekitError where they cannot be one; an older final is then untouched."""
    with building(final) as folder:
        scratch = folder / ".inputs"
        members, twice = chosen(read_inputs(paths, scratch), final.name)
        files = _Merge(folder, members, progress).run()
        unknown = [(one.node, name) for one in members for name in one.source.unknown + one.source.unlisted]
        shutil.rmtree(scratch, ignore_errors=True)
    lines = (file.records for file in files if file.name.endswith(".jsonl") and file.name != "rejected.jsonl")
    return Result(final, [one.node for one in members], sum(lines), twice, unknown)


class _Merge:
    def __init__(self, folder: Path, members: list[Member], progress: Progress | None) -> None:
        self._folder, self._members, self._progress = folder, members, progress

    def run(self) -> list[ManifestFile]:
        """Write everything; the entries of the manifest."""
        names = sorted({name for one in self._members for name in one.source.files if _has_lines(name)})
        told = done([self._job(name) for name in names], self._progress)
        files = [msgspec.convert(entry, ManifestFile) for entry in told]
        files += self._documents()
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

    def _documents(self) -> list[ManifestFile]:
        members = self._members
        documents = {
            "nodes.json": nodes_of(members),
            "links.json": links_of(members),
            "run_meta.json": runs_of(members),
            "module_inventory.json": modules_of(members),
            "quality.json": {"nodes": qualities_of(members), "merge": self._account()},
        }
        return [write_json(self._folder, name, value) for name, value in documents.items() if value]

    def _account(self) -> dict[str, Any]:
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
        return {"inputs": inputs}

    # --- lines

    def _job(self, name: str) -> Job:
        having = [one for one in self._members if name in one.source.files]
        size = sum(one.source.files[name].bytes for one in having)
        return Job(size, lambda on_bytes: msgspec.to_builtins(self._write(name, having, on_bytes)))

    def _write(self, name: str, having: list[Member], on_bytes: OnBytes) -> ManifestFile:
        out = LinesFile(self._folder, name)
        try:
            if name == REJECTS:
                for text, count in rejects(having, on_bytes):
                    out.write_text(text, count, [])
            else:
                inputs = [Lines(one, name, on_bytes).blocks() for one in having]
                for block in merged(inputs):
                    out.write_text(b"\n".join([*block.lines, b""]), len(block.lines), _known(block))
            return out.close()
        finally:
            out.end()


def _has_lines(name: str) -> bool:
    return name.endswith(".jsonl")


def _known(block: Block) -> list[int]:
    """The keys that are not null."""
    return block.keys if block.keys[-1] < NULL else block.keys[: bisect_left(block.keys, NULL)]
