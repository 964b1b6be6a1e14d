"""A wall clock of our own for the commands of a run, by libfaketime; the monotonic clock stays true."""

import time
from pathlib import Path

from conftest import need


class FakeClock:
    """Ahead of the true clock by an offset that may be changed while programs run."""

    def __init__(self, folder: Path) -> None:
        found = sorted(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"))
        need(found, "libfaketime is not installed (package faketime)")
        self._file = folder / "offset"
        self.set(0)
        self.env = {
            "LD_PRELOAD": str(found[0]),
            "FAKETIME_TIMESTAMP_FILE": str(self._file),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        }

    def set(self, offset_s: float) -> None:
        """All programs that run under env see the true clock and this."""
        self._offset_s = offset_s
        self._file.write_text(f"{offset_s:+.3f}\n")

    def now(self) -> float:
        """What they see, s since the epoch."""
        return time.time() + self._offset_s
