"""Calls that are made behind the caller's back, in one thread and in order.

For what leaves the interpreter's lock alone while it works, such as hashing and writing large blocks: that
takes a third of the time in which lines are merged.
"""

from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Any

_WAITING = 8  # calls; each holds a block


class Behind:
    """A context: at its end all calls have been made. What one raises, a later call or the end does."""

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1)
        self._calls: deque[Future[object]] = deque()

    def call(self, function: Callable[..., object], *arguments: Any) -> None:
        """function(*arguments), later; waits where many wait already."""
        self._calls.append(self._thread.submit(function, *arguments))
        if len(self._calls) > _WAITING:
            self._calls.popleft().result()

    def __enter__(self) -> "Behind":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._thread.shutdown(cancel_futures=error is not None)
        for call in self._calls if error is None else ():
            call.result()
