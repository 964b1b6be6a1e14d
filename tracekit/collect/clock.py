"""Two clocks for every row, and how well the wall clock is set.

CLOCK_BOOTTIME goes on through a suspend and never steps; NTP steers its rate exactly as it steers
the wall clock's. So wall minus boottime is constant until the wall clock is stepped.
"""

import subprocess
import time
from typing import NamedTuple

STEP_MS = 100  # a smaller difference between the clocks is the delay between reading the two


class Stamp(NamedTuple):
    """One moment: ms since the Unix epoch (UTC), and ms of CLOCK_BOOTTIME."""

    ts_ms: int
    mono_ms: int

    @property
    def offset_ms(self) -> int:
        """Wall minus boottime; changes only when the wall clock is stepped."""
        return self.ts_ms - self.mono_ms


def now() -> Stamp:
    """This moment by both clocks, each rounded down to a ms."""
    wall_ns, mono_ns = time.time_ns(), time.clock_gettime_ns(time.CLOCK_BOOTTIME)
    return Stamp(wall_ns // 1_000_000, mono_ns // 1_000_000)


def seconds_to_grid(interval_ms: int) -> float:
    """Seconds until the wall clock next shows a multiple of interval_ms since the epoch; > 0."""
    interval_ns = interval_ms * 1_000_000
    return (interval_ns - time.time_ns() % interval_ns) / 1e9


def _output(*command: str) -> str | None:
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=5, check=True, stdin=subprocess.DEVNULL
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout


def parse_chrony(csv: str) -> dict[str, object]:
    """The clock's quality from `chronyc -c tracking`: 14 comma-separated fields.

    offset_ms > 0: the local clock is ahead (chrony's own sign is the other way round). The bound is
    |offset| + root dispersion + root delay / 2. Source: chronyc(1), tracking."""
    field = csv.strip().split(",")
    synchronised = field[0] not in ("", "00000000", "7F7F0101") and field[13] != "Not synchronised"
    offset_s, delay_s, dispersion_s = float(field[4]), float(field[10]), float(field[11])
    return {
        "source": "chrony",
        "synchronised": synchronised,
        "offset_ms": round(-offset_s * 1000, 6) if synchronised else None,
        "error_bound_ms": round((abs(offset_s) + dispersion_s + delay_s / 2) * 1000, 6)
        if synchronised
        else None,
    }


def parse_timedatectl(text: str) -> dict[str, object]:
    """What `timedatectl show` knows: only whether the kernel holds the clock for synchronised."""
    values = dict(line.split("=", 1) for line in text.splitlines() if "=" in line)
    answer = {"yes": True, "no": False}.get(values.get("NTPSynchronized", ""))
    return {
        "source": "timedatectl" if answer is not None else None,
        "synchronised": answer,
        "offset_ms": None,
        "error_bound_ms": None,
    }


def read_quality() -> dict[str, object]:
    """{source, synchronised, offset_ms, error_bound_ms} from chrony, else timedatectl; null is unknown."""
    csv = _output("chronyc", "-n", "-c", "tracking")
    if csv is not None and csv.count(",") >= 13:
        return parse_chrony(csv)
    return parse_timedatectl(_output("timedatectl", "show") or "")
