#!/usr/bin/env python3
"""Show a run while it is collected: host, requests, processes, collectors and marks, once a second.

It reads the ends of the raw files and changes nothing. q or Ctrl-C ends it; so does the end of the run, which
it says. Without a terminal, and for a run that has ended, it shows one picture and ends. CPU of a process is
in percent of one core; it and the requests are over the last 5 s.
"""

import os
import select
import shutil
import signal
import sys
import termios
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tracekit import cli
from tracekit.runs import Run, existing_run
from tracekit.top.look import Look, look
from tracekit.top.processes import Names
from tracekit.top.view import lines

_PICTURE = (100, 40)  # columns and lines where no terminal tells
_OWN_SCREEN, _GIVE_BACK = "\x1b[?1049h\x1b[?25l", "\x1b[?25h\x1b[?1049l"
_HOME, _ERASE_LINE, _ERASE_BELOW = "\x1b[H", "\x1b[K", "\x1b[J"
_QUIT = b"qQ\x03\x04"  # Ctrl-C comes as a key, so that make does not see a signal either


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


@contextmanager
def _screen() -> Iterator[None]:
    """The terminal's other screen, without echo, line editing and signals of keys; given back at the end."""
    before = termios.tcgetattr(0)
    raw = termios.tcgetattr(0)
    raw[3] &= ~(termios.ICANON | termios.ECHO | termios.ISIG)
    try:
        termios.tcsetattr(0, termios.TCSADRAIN, raw)
        cli.write_rows(_OWN_SCREEN.encode())
        yield
    finally:
        termios.tcsetattr(0, termios.TCSADRAIN, before)
        cli.write_rows(_GIVE_BACK.encode())


def _draw(picture: Sequence[str]) -> None:
    text = f"{_ERASE_LINE}\r\n".join(picture)
    cli.write_rows(f"{_HOME}{text}{_ERASE_LINE}{_ERASE_BELOW}".encode())


def _asked_to_end(seconds: float) -> bool:
    """Wait for a key that ends it, or for the time to pass."""
    ends_s = time.monotonic() + seconds
    while (left_s := ends_s - time.monotonic()) > 0:
        if select.select([0], [], [], left_s)[0]:
            keys = os.read(0, 64)
            if not keys or set(keys) & set(_QUIT):
                return True
    return False


def _follow(run: Run, names: Names) -> Look | None:
    """Draw the run each second; its last look where it ended, None where the user did."""
    with _screen():
        while True:
            seen = look(run, _now_ms())
            if not seen.is_live:
                return seen
            size = shutil.get_terminal_size(_PICTURE)
            _draw(lines(seen, names, size.columns, size.lines))
            if _asked_to_end(1 - time.time() % 1):
                return None


def main(argv: Sequence[str] | None = None) -> int:
    """Show one run until the user or the run ends."""
    cli.parser(__doc__ or "").parse_args(argv)
    run = existing_run(cli.load_settings())
    names = Names(run.dir / "proc_inventory.jsonl")
    for signum in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(signum, signal.default_int_handler)  # as Ctrl-C: the terminal is given back
    seen: Look | None = look(run, _now_ms())
    try:
        if seen and seen.is_live and os.isatty(0) and os.isatty(1):
            seen = _follow(run, names)
    except KeyboardInterrupt:
        seen = None
    for line in lines(seen, names, shutil.get_terminal_size(_PICTURE).columns, _PICTURE[1]) if seen else ():
        cli.out(line)
    return cli.DONE


if __name__ == "__main__":
    raise SystemExit(cli.run(main))
