"""The files of a cctf whose lines pass as they came, and the derived view of the app's events."""

import re
from collections.abc import Iterable
from contextlib import ExitStack, closing
from pathlib import Path

from tracekit import jsonl
from tracekit.files.behind import Behind
from tracekit.files.sorting import OutOfOrderError
from tracekit.files.writing import LinesFile
from tracekit.parse.entries import Entries
from tracekit.parse.ledger import Ledger
from tracekit.parse.passing import Lines, Passing
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
        passing = Passing(Entries(name, *self._names), paths, accounts, len(events))
        try:
            self._write_ready(name, passing.read(ledger.reject, ledger.on_bytes), bool(events))
        except OutOfOrderError:
            self._write_ready(name, passing.read_again(ledger.folder), bool(events))

    def _write_ready(self, name: str, found: Lines, has_events: bool) -> None:
        out, derived = LinesFile(self._ledger.folder, name), self._run_dir / "events.jsonl"
        with ExitStack() as stack:
            stack.callback(out.end)
            stack.enter_context(closing(found))  # with an error its processes end at once
            view = stack.enter_context(jsonl.replacing(derived, is_flushed=False)) if has_events else None
            behind = stack.enter_context(Behind())
            for ready in found:
                behind.call(out.write_text, ready.text, ready.records, ready.keys)
                if name != "marks.jsonl":  # which are read first, and tell of steps themselves
                    self._far.look(name, ready.keys)
                if view:
                    behind.call(view.write, ready.text if ready.view is None else ready.view)
        self._ledger.close([out])
