"""SIGINT, SIGTERM and SIGHUP as notes: of a play that is cut off nobody knows what its hosts still do."""

import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import FrameType

_NOTED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@contextmanager
def interrupts_noted(on_signal: Callable[[int], None]) -> Iterator[Sequence[int]]:
    """The signals heard so far, which on_signal is told too. After the block they are a KeyboardInterrupt."""
    heard: list[int] = []

    def note(signum: int, _frame: FrameType | None) -> None:
        heard.append(signum)
        on_signal(signum)

    wanted = [one for one in _NOTED if signal.getsignal(one) != signal.SIG_IGN]  # nohup(1) has one ignored
    before = {one: signal.signal(one, note) for one in wanted}
    try:
        yield heard
    finally:
        for signum, handler in before.items():
            signal.signal(signum, handler)
    if heard:
        raise KeyboardInterrupt
