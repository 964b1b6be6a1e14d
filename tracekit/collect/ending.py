"""How a collector written in Python hears that it is to end."""

import os
import signal


def ending_signals() -> int:
    """A descriptor that becomes readable at SIGTERM or SIGINT, from now on."""
    readable, writable = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
    signal.set_wakeup_fd(writable)
    for signum in (signal.SIGTERM, signal.SIGINT):
        signal.signal(signum, lambda *_: None)  # the descriptor tells
    return readable
