"""Commands timed as whole processes, side by side: wall time, CPU time and peak memory from wait4.

The commands take turns, so that a machine that slows down slows all of them; the median counts.
"""

import os
import statistics
import subprocess
import time
from collections.abc import Mapping, Sequence
from typing import NamedTuple


class Cost(NamedTuple):
    """wall_s, cpu_s: seconds; rss_mb: peak resident memory, MB of 10^6 bytes."""

    wall_s: float
    cpu_s: float
    rss_mb: float


def once(command: Sequence[str]) -> Cost:
    """Run a command to its end. Raises RuntimeError where it fails."""
    began = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stdin=subprocess.DEVNULL)
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        raise RuntimeError(f"{command[0]} ended with {process.returncode}")
    elapsed = time.perf_counter() - began
    return Cost(elapsed, used.ru_utime + used.ru_stime, used.ru_maxrss * 1024 / 1e6)


def compare(commands: Mapping[str, Sequence[str]], rounds: int = 5) -> dict[str, Cost]:
    """The median cost of each command over so many rounds, after one that is not counted."""
    costs: dict[str, list[Cost]] = {name: [] for name in commands}
    for counted in range(-1, rounds):
        for name, command in commands.items():
            cost = once(command)
            if counted >= 0:
                costs[name].append(cost)
    return {
        name: Cost(*(statistics.median(values) for values in zip(*several, strict=True)))
        for name, several in costs.items()
    }


def table(costs: dict[str, Cost], ours: str) -> str:
    """A row a command, and how many times as long as ours it took."""
    rows = [f"{'command':<28} {'wall s':>8} {'CPU s':>8} {'RSS MB':>8} {'x ours':>8}"]
    for name, cost in costs.items():
        times = cost.wall_s / costs[ours].wall_s
        rows.append(f"{name:<28} {cost.wall_s:>8.2f} {cost.cpu_s:>8.2f} {cost.rss_mb:>8.0f} {times:>8.2f}")
    return "\n".join(rows)
