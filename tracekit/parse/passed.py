"""The files of a cctf whose lines pass as they came, and the derived view of the app's events."""

import re
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path

from tracekit import jsonl
from tracekit.files.behind import Behind
from tracekit.files.sorting import Entry, OutOfOrderError
from tracekit.files.writing import LinesFile
from tracekit.parse.entries import ORDER, Entries
from tracekit.parse.ledger import Ledger
from tracekit.parse.passing import Passing, Unique, known_keys, text_of
from tracekit.parse.timeline import FarRows
from tracekit.records import NodeMeta

_EVENTS = re.compile(r"events\.[^/]+\.jsonl")

# cctf file -> the raw files that go into it, where those are not of the same name only
_RAW = {
    "calls.jsonl": ("calls.*.jsonl", "calls.jsonl"),
    "placement_events.jsonl": ("placement_events.jsonl", "placement_events.*.jsonl"),
    "system_stats.jsonl": ("system_stats.jsonl", "system_stats.*.jsonl"),
}


class Passed:
    """Writes such files of one run."""

    def __init__(self, run_dir: Path, ledger: Ledger, node: NodeMeta | None, far: FarRows) -> None:
        self._run_dir, self._ledger, self._far = run_dir, ledger, far
        self._names = (node.node, node.stage) if node else ("", "")

    def write(self, name: str) -> None:
        """One file of the cctf, where there is a raw file for it."""
        paths = self._matching(_RAW.get(name, (name,)))
        if paths:
            self._write(name, paths, [])

    def invocations(self) -> None:
        """invocations.jsonl from the events of all workers and from adapters; events.jsonl from the events.

        Where no worker left any, events.jsonl is no derived view but input."""
        events = [path for path in self._matching(["events.*.jsonl"]) if _EVENTS.fullmatch(path.name)]
        inputs = [*(events or self._matching(["events.jsonl"]))]
        inputs += self._matching(["invocations.*.jsonl", "invocations.jsonl"])
        if inputs:
            self._write("invocations.jsonl", inputs, events)

    def _matching(self, patterns: Iterable[str]) -> list[Path]:
        return sorted({path for pattern in patterns for path in self._run_dir.glob(pattern)})

    def _write(self, name: str, paths: list[Path], events: list[Path]) -> None:
        ledger = self._ledger
        accounts = {path.name: ledger.account(path.name) for path in paths}
        passing = Passing(Entries(name, *self._names), paths, accounts)
        try:
            self._write_entries(
                name, passing.read(ledger.reject, ledger.folder, ledger.on_bytes), paths, events
            )
        except OutOfOrderError:
            self._write_entries(name, passing.read_again(ledger.folder), paths, events)

    def _write_entries(
        self, name: str, found: Iterator[list[Entry]], paths: list[Path], events: list[Path]
    ) -> None:
        out, unique, derived = LinesFile(self._ledger.folder, name), Unique(), Unique()
        has_others = len(paths) > len(events)
        with ExitStack() as stack:
            stack.callback(out.end)
            derived_path = self._run_dir / "events.jsonl"
            view = stack.enter_context(jsonl.replacing(derived_path, is_flushed=False)) if events else None
            behind = stack.enter_context(Behind())
            for entries in found:
                kept = unique.kept(entries)
                keys, text = known_keys(kept), text_of(kept)
                behind.call(out.write_text, text, len(kept), keys)
                if name != "marks.jsonl":  # which are read first, and tell of steps themselves
                    self._far.look(name, keys[:1] + keys[-1:])
                if view:  # of the events alone, which may lose other duplicates
                    own = [one for one in entries if one[ORDER] < len(events)] if has_others else None
                    behind.call(view.write, text if own is None else text_of(derived.kept(own)))
        for order, path in enumerate(sorted(paths)):  # the events' names come before the adapters'
            self._ledger.account(path.name).duplicates += unique.duplicates[order]
        self._ledger.close([out])
