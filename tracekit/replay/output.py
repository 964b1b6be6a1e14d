"""What a replay writes: simulated invocations and client requests, in order, and their sums."""

from collections import Counter, deque
from pathlib import Path
from typing import Any, BinaryIO

import msgspec

from tracekit.records import ClientEvent, Invocation
from tracekit.replay.model import NS_PER_MS, Visit
from tracekit.replay.spread import Spread

FILES: dict[type, str] = {Invocation: "invocations.jsonl", ClientEvent: "events_client.jsonl"}
SOURCE = "replay"  # in each line: nobody shall take it for a recording
_ENCODER = msgspec.json.Encoder()
_SECOND = 1_000_000_000
_FLUSH_BYTES = 1 << 18


class InOrder:
    """Lines written in the order in which the visits came, each when it and all before it have ended."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream, self._open, self._lines = stream, deque[Visit](), bytearray()

    def entered(self, visit: Visit) -> None:
        """Its line comes after those of all that entered before."""
        self._open.append(visit)

    def write(self) -> None:
        """The lines that are due."""
        while self._open and self._open[0].end >= 0:
            visit = self._open.popleft()
            self._lines += _ENCODER.encode(_line(visit))
            self._lines += b"\n"
        if len(self._lines) >= _FLUSH_BYTES:
            self.flush()

    def flush(self) -> None:
        """To the file."""
        self._stream.write(self._lines)
        self._lines.clear()


def _ms(duration_ns: int) -> float:
    return duration_ns / NS_PER_MS


def _line(visit: Visit) -> dict[str, Any]:
    """Fields and units as in cctf; source says that it is simulated."""
    told = visit.told
    row = {
        "ts_enqueue": visit.enqueue // NS_PER_MS,
        "node": visit.node,
        "trace_id": told.trace_id,
        "span_id": told.span_id,
    }
    if isinstance(told, ClientEvent):
        latency = {"ts_end": visit.end // NS_PER_MS, "latency_ms": _ms(visit.end - visit.enqueue)}
        return row | latency | {"path": told.path, "source": SOURCE}
    return row | {
        "parent_id": told.parent_id,
        "ts_start": visit.start // NS_PER_MS,
        "ts_end": visit.end // NS_PER_MS,
        "queue_time_ms": _ms(visit.start - visit.enqueue),
        "service_time_ms": _ms(visit.end - visit.start),
        "rt_ms": _ms(visit.end - visit.enqueue),
        "module_id": told.module_id,
        "path": told.path,
        "cpu_time_ms": _ms(visit.used),
        "source": SOURCE,
    }


class Results:
    """The log of an engine: lines to files, and sums.

    response: of what came from outside; wait: of each visit."""

    def __init__(self, folder: Path) -> None:
        """folder: where the files go."""
        self._folder = folder
        self._files: dict[type, InOrder] = {}
        self._streams: list[BinaryIO] = []
        self.response, self.wait = Spread(), Spread()
        self.visits: Counter[str] = Counter()
        self.used: Counter[str] = Counter()  # ns of work
        self.ended_in: Counter[int] = Counter()  # what came from outside, by the second of its end
        self.first = self.last = 0

    def entered(self, visit: Visit) -> None:
        """Keep its place in the order of lines."""
        if not self.first:
            self.first = visit.enqueue
        kind = type(visit.told)
        if kind in FILES:
            if kind not in self._files:
                self._streams.append((self._folder / FILES[kind]).open("wb"))
                self._files[kind] = InOrder(self._streams[-1])
            self._files[kind].entered(visit)

    def ended(self, visit: Visit) -> None:
        """Count it, and write what is due."""
        kind = type(visit.told)
        if kind is Invocation:
            self.wait.add(visit.start - visit.enqueue)
            self.visits[visit.node] += 1
            self.used[visit.node] += visit.used
        if visit.parent is None:
            self.response.add(visit.end - visit.enqueue)
            self.ended_in[visit.end // _SECOND] += 1
            self.last = max(self.last, visit.end)
        if kind in self._files:
            self._files[kind].write()

    def close(self) -> None:
        """Finish the files."""
        for file in self._files.values():
            file.flush()
        for stream in self._streams:
            stream.close()
