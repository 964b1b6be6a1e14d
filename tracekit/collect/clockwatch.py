"""How well the clock is set, once a minute: a mark for each reading, made beside the recorder's own work.

A time service may hang; then only this thread waits for it.
"""

import os
from collections.abc import Callable, Mapping
from threading import Event, Thread
from typing import Any

from tracekit.collect import clock
from tracekit.collect.clock import now

EVERY_S = 60.0
END_S = 2.0  # the program that was asked is killed at once


class ClockWatch:
    """Reads the clock's quality in a thread of its own, from start to end."""

    def __init__(
        self, mark: Callable[..., None], at_start: Mapping[str, Any], every_s: float = EVERY_S
    ) -> None:
        """mark(collector, kind, **more) writes a mark. at_start: the reading of start-collect."""
        self._mark = mark
        self._last = at_start
        self._last_ms = now().ts_ms
        self._every_s = every_s
        self._ending = Event()
        self._give_up, self._giving_up = os.pipe2(os.O_CLOEXEC)
        self._thread = Thread(target=self._run, name="clock", daemon=True)

    def start(self) -> None:
        """Begin; the first reading comes after one interval, for start-collect has just made one."""
        self._thread.start()

    def end(self) -> None:
        """Make no further mark, and leave no program behind that was asked."""
        self._ending.set()
        os.close(self._giving_up)  # which makes the other end readable
        self._thread.join(END_S)

    def _run(self) -> None:
        while not self._ending.wait(self._every_s):
            quality = clock.read_quality(self._give_up)
            if not self._ending.is_set():
                self._tell(quality)

    def _tell(self, quality: Mapping[str, Any]) -> None:
        self._mark("recorder", "clock", **quality)
        read_ms = now().ts_ms
        if self._last.get("synchronised") and not quality["synchronised"]:
            detail = "the clock was synchronised, and is no longer, or nobody can tell"
            self._mark("recorder", "clock_lost", from_ms=self._last_ms, to_ms=read_ms, detail=detail)
        self._last, self._last_ms = quality, read_ms
