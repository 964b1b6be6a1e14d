"""Two clocks for every row, and how well the wall clock is set.

CLOCK_BOOTTIME goes on through a suspend and never steps; NTP steers its rate exactly as it steers
the wall clock's. So wall minus boottime is constant until the wall clock is stepped.
"""

import math
import os
import select
import signal
import subprocess
import time
from contextlib import suppress
from typing import NamedTuple

ANSWER_S = 5.0  # a time service that gives no answer for this long gives none
CHRONY_FIELDS = 14
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


def parse_chrony(csv: str) -> dict[str, object]:
    """The clock's quality from `chronyc -c tracking`: 14 comma-separated fields.

    offset_ms > 0: the local clock is ahead (chrony's own sign is the other way round). The bound is
    |offset| + root dispersion + root delay / 2. Raises ValueError where it is no such line.
    Source: chronyc(1), tracking."""
    field = csv.strip().split(",")
    if len(field) < CHRONY_FIELDS:
        raise ValueError(f"chronyc tracking has {CHRONY_FIELDS} fields")
    synchronised = field[0] not in ("", "00000000", "7F7F0101") and field[13] != "Not synchronised"
    offset_s, delay_s, dispersion_s = float(field[4]), float(field[10]), float(field[11])
    if not math.isfinite(offset_s + delay_s + dispersion_s):
        raise ValueError("chronyc tracking has figures")
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


def read_quality(give_up: int | None = None) -> dict[str, object]:
    """{source, synchronised, offset_ms, error_bound_ms} from chrony, else timedatectl; null is unknown.

    Takes up to two times ANSWER_S. give_up: a descriptor that, once readable, ends the asking at once."""
    csv = _answer(["chronyc", "-n", "-c", "tracking"], give_up)
    with suppress(ValueError):  # an error message, or the text of another version
        return parse_chrony(csv)
    return parse_timedatectl(_answer(["timedatectl", "show"], give_up))


def _answer(command: list[str], give_up: int | None) -> str:
    """What the command prints, "" where it fails, is not there or gives no answer in time.

    It has a session of its own, so that what it started ends with it."""
    try:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
    except OSError:
        return ""
    pidfd = os.pidfd_open(process.pid)
    waited_for = [pidfd] if give_up is None else [pidfd, give_up]
    ended, _, _ = select.select(waited_for, [], [], ANSWER_S)
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    os.close(pidfd)
    with process:
        assert process.stdout
        text = process.stdout.read().decode("utf-8", "replace")
    return text if pidfd in ended and process.returncode == 0 else ""
