"""One collector at work: its process in a session of its own, and the thread that reads what it prints.

A text collector is read line by line through its reader. A JSON collector prints rows; a line
"@file.jsonl {...}" goes to that file instead of its first, an empty line only says that it is alive.
"""

import errno
import os
import select
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from queue import SimpleQueue
from threading import Thread
from typing import IO, Any

import msgspec

from tracekit import jsonl, sources
from tracekit.collect import procfs
from tracekit.collect.appender import open_raw
from tracekit.collect.catalog import Collector
from tracekit.collect.clock import Stamp, now

Append = Callable[[str, bytes, int], None]  # file, lines, how many
RowMaker = Callable[[Any, Stamp], bytes | None]
Lost = Callable[[Collector, str, str, str], None]  # kind of the mark, the file, what is wrong
What = tuple["Child | None", str]  # None: not of a child, but a signal to the recorder
_BLOCK = 1 << 16
_LINE_LIMIT = 1 << 24  # bytes: parse takes no longer one either
_STAMPED = b'{"ts_ms":'


class Child:
    """A collector's process. All but the reading belongs to the recorder's main thread.

    events receives (child, "up") at its first output and (child, "ended") when its output ends."""

    def __init__(
        self,
        collector: Collector,
        make_row: RowMaker,
        append: Append,
        tell_lost: Lost,
        events: "SimpleQueue[What]",
    ) -> None:
        self.collector = collector
        self.process: subprocess.Popen[bytes] | None = None
        self.starttime: int | None = None
        self.rows = 0
        self.heard: Stamp | None = None  # when it last printed anything
        self.is_up = False
        self.trouble: str | None = None  # why the reading ended, where it was not the program's end
        self._behind = 0
        self._late = 0
        self._make_row = make_row
        self._append = append
        self._tell_lost = tell_lost
        self._told: set[str] = set()  # files that its header lacks; "": a line that is no row
        self._events = events

    @property
    def reads_text(self) -> bool:
        """Whether its output is a tool's text, and not JSON lines."""
        return sources.reader_for(self.collector.name) is not None

    def start(self, environ: Mapping[str, str], messages: Path) -> None:
        """Start the program in a session of its own, and the thread that reads it.

        messages: the file that its stderr is appended to. The program is killed with the thread that
        starts it, should the recorder be killed. Raises OSError where there is no room for it."""
        with os.fdopen(open_raw(messages), "ab", buffering=0) as stderr:
            self.process = subprocess.Popen(
                [*dying_with_us(), str(self.collector.path)],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=stderr,
                env=dict(environ),
                start_new_session=True,
            )
        self.starttime = procfs.starttime(self.process.pid)
        self.is_up, self.trouble = False, None
        self.heard = now()
        reads = Thread(target=self._read, args=(self.process.stdout,), name=self.collector.name, daemon=True)
        try:
            reads.start()
        except RuntimeError as error:  # no more threads
            self.signal(signal.SIGKILL)
            self.process.communicate()
            raise OSError(errno.EAGAIN, os.strerror(errno.EAGAIN)) from error

    def _read(self, pipe: IO[bytes]) -> None:
        try:
            with pipe:
                for file, lines, count in self._rows(pipe):
                    if count:
                        self.rows += count
                        self._append(file, lines, count)
                    self.heard = now()
                    if not self.is_up:
                        self.is_up = True
                        self._events.put((self, "up"))
        except (ValueError, LookupError) as error:
            self.trouble = f"its output could not be read: {error!r}"
        finally:
            self._events.put((self, "ended"))

    def _rows(self, pipe: IO[bytes]) -> Iterator[tuple[str, bytes, int]]:
        reader = sources.reader_for(self.collector.name)
        if reader is None:
            yield from self._json_rows(pipe)
            return
        file = self.collector.writes[0]
        for sample in reader.parse(self._text(pipe)):
            if self._behind:  # more lines wait: this one was printed before, nobody knows when
                self._late += 1
                continue
            row = self._make_row(sample, now())
            if row:
                yield file, row, 1
            else:  # as while the NIC is gone: the tool lives, and knows no rate
                self.heard = now()

    def _text(self, pipe: IO[bytes]) -> Iterator[str]:
        """Lines as they come. _behind: how many have come together with the line, and wait behind it."""
        rest = b""
        while block := os.read(pipe.fileno(), _BLOCK):
            *lines, rest = _lines(rest + block)
            for index, line in enumerate(lines):
                self._behind = len(lines) - index - 1
                yield line.decode("utf-8", "replace")

    def take_late(self) -> int:
        """How many rows were left out since the last call, for they could not be stamped in time."""
        late, self._late = self._late, 0
        return late

    def _json_rows(self, pipe: IO[bytes]) -> Iterator[tuple[str, bytes, int]]:
        """Whole lines, a block at a time: a sampler of a thousand processes prints much at once."""
        rest = b""
        while block := os.read(pipe.fileno(), _BLOCK):
            *lines, rest = _lines(rest + block)
            plain = []
            for line in lines:
                if line.startswith(_STAMPED):
                    plain.append(line)
                elif line.startswith(b"@"):
                    file, _, row = line[1:].partition(b" ")
                    yield from self._routed(file.decode("utf-8", "replace"), row + b"\n")
                elif line:
                    plain.append(self._stamped(line))
            yield self.collector.writes[0], b"".join(line + b"\n" for line in plain), len(plain)

    def _routed(self, file: str, row: bytes) -> Iterator[tuple[str, bytes, int]]:
        if file in self.collector.writes:
            yield file, row, 1
        elif file not in self._told:
            self._told.add(file)
            detail = f"its header does not declare {file}; rows for it are lost"
            self._tell_lost(self.collector, "undeclared", file, detail)

    def _stamped(self, line: bytes) -> bytes:
        """A row that came without a time gets the moment of its arrival; what is no row stays as it is."""
        stamp = now()
        try:
            row = msgspec.json.decode(line, type=dict)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            if "" not in self._told:
                self._told.add("")
                file = self.collector.writes[0]
                detail = f"prints what is no JSON object ({error}); the line is in {file} as it came"
                self._tell_lost(self.collector, "unreadable", file, detail)
            return line
        return jsonl.encode({"ts_ms": stamp.ts_ms, **row, "mono_ms": stamp.mono_ms}).rstrip(b"\n")

    def signal(self, signum: signal.Signals) -> None:
        """Signal its whole session. Until reap() has collected it, its pid cannot be anybody else's."""
        if self.process is not None and self.process.returncode is None:
            with suppress(ProcessLookupError):  # it has just ended by itself
                os.killpg(self.process.pid, signum)

    def reap(self, seconds: float) -> int | None:
        """Its exit code (negative: the signal), or None where it still runs after so many seconds."""
        return 0 if self.process is None else wait_for_end(self.process, seconds)


def _lines(data: bytes) -> list[bytes]:
    """The lines of data; the last one is not whole yet. Raises ValueError where it never ends."""
    lines = data.split(b"\n")
    if len(lines[-1]) > _LINE_LIMIT:
        raise ValueError(f"a line of more than {_LINE_LIMIT >> 20} MiB")
    return lines


def dying_with_us() -> list[str]:
    """The command in front of one that is to be killed should the thread that starts it be killed."""
    return ["setpriv", "--pdeathsig", "KILL"] if shutil.which("setpriv") else []


def wait_for_end(process: "subprocess.Popen[bytes]", seconds: float) -> int | None:
    """The exit code of a child, or None where it still runs after so many seconds.

    Popen.wait would sleep and look again; a pidfd wakes at once, and needs no clock."""
    if process.returncode is not None:
        return process.returncode
    pidfd = os.pidfd_open(process.pid)
    try:
        ended, _, _ = select.select([pidfd], [], [], seconds)
    finally:
        os.close(pidfd)
    return process.wait() if ended else None
