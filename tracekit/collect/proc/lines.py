"""The lines that the process sampler prints beside its rows, and where they go."""

from collections.abc import Callable

from tracekit import jsonl
from tracekit.collect.clock import Stamp
from tracekit.collect.proc.finder import Found
from tracekit.collect.rows import routed_mark


class Output:
    """Where the sampler's lines go, and its messages for people: one a cause."""

    def __init__(self, write: Callable[[bytes], object], say: Callable[[str], None]) -> None:
        self.write = write
        self._say = say
        self._said: set[str] = set()

    def say_once(self, message: str) -> None:
        """Say it, unless it was said before."""
        if message not in self._said:
            self._said.add(message)
            self._say(message)


def seen(stamp: Stamp, found: Found) -> bytes:
    """A process has come into sight."""
    row = {
        "ts_ms": stamp.ts_ms,
        "event": "seen",
        "pid": found.process.pid,
        "starttime": found.process.starttime,
        "ppid": found.ppid,
        "comm": found.comm,
        "cmdline": found.cmdline,
        "container": found.container,
    }
    return b"@proc_inventory.jsonl " + jsonl.encode(row)


def ended(stamp: Stamp, pid: int, starttime: int, **known: object) -> bytes:
    """A process has ended; known: what its exit record tells."""
    row = {"ts_ms": stamp.ts_ms, "event": "end", "pid": pid, "starttime": starttime, **known}
    return b"@proc_inventory.jsonl " + jsonl.encode(row)


def mark(stamp: Stamp, kind: str, **more: object) -> bytes:
    """A mark of the sampler; more as in mark_row."""
    return routed_mark(stamp, "proc", kind, **more)
