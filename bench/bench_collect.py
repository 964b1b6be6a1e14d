"""What collecting costs: CPU microseconds for each process and second, ours beside its peers.

Three tables: samplers of processes at 1 Hz, by number and kind of the processes; the share of short tasks'
CPU that each of them sees; samplers of the host beside the whole of ours. Each sampler runs in a cgroup of
its own, so that what it forks counts too. They take turns in each round; what they cost in their first
seconds does not count. A peer that is not there is named, with its package.

Needs root (for the cgroups) and a C compiler. Environment:
  SIZES    which processes; 500: so many that wake once a second for some 20 us each; 500-idle: that never
           wake; 50x20: 50 processes of 20 threads that wake once a second each
           (default "10 100 500 2000 500-idle 50x20")
  REPEATS  rounds (default 2: 10 minutes for all; 3: 15)
  TABLES   which tables (default "processes short host")
  PEERS    a directory made by bench/get_peers.sh, where peers are looked for first
"""

import os
import re
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from math import isnan, nan
from pathlib import Path

from peers import clean_up, for_processes, for_the_host
from shares import EACH_MS, TASKS, WITHIN_S, shares
from watch import Peer, Sample, build, compare, middle, targets

SIZES = os.environ.get("SIZES", "10 100 500 2000 500-idle 50x20").split()
REPEATS = int(os.environ.get("REPEATS", "2"))
TABLES = os.environ.get("TABLES", "processes short host").split()
_SIZE = re.compile(r"(\d+)(-idle|x(\d+))?")
HOST_PROCESSES = 100
OURS, FLOOR = "tracekit", "C,"  # how their names begin
_WIDTH = 31
_HEADER = f"{'us':>9} {'range':>17}{'x floor':>8}{'x ours':>7}{'RSS MB':>7}{'PSS MB':>7}{'bytes':>7}"


def main() -> None:
    """Print the tables."""
    if os.geteuid() != 0:
        print("left out: a cgroup for each sampler needs root")
        return
    with tempfile.TemporaryDirectory() as scratch:
        target = build(Path(scratch), "target")
        samplers = _those_there(for_processes(build(Path(scratch), "floor")))
        for size in SIZES if "processes" in TABLES else []:
            _of_processes(size, target, samplers)
        if "short" in TABLES:
            _of_short_tasks(samplers)
        if "host" in TABLES:
            _of_the_host(target, _those_there(for_the_host()))


def _those_there(peers: Sequence[Peer]) -> list[Peer]:
    for peer in peers:
        if not peer.is_there:
            print(f"left out: {peer.name} (package {peer.package}, or bench/get_peers.sh)")
    return [peer for peer in peers if peer.is_there]


def _of_processes(size: str, target: Path, samplers: Sequence[Peer]) -> None:
    found = _SIZE.fullmatch(size)
    if found is None:
        raise SystemExit(f"SIZES: {size} is no size; write 500, 500-idle or 50x20")
    count, threads, wakes = int(found[1]), int(found[3] or 1), 0 if found[2] == "-idle" else 1
    does = "each wakes once a second for some 20 us" if wakes else "which never wake"
    with targets(target, count, threads, wakes) as pids, _other_work():
        print(f"\n{count} processes of {threads} threads, {does}; us of CPU for each process and second")
        _print_table(compare(samplers, pids, REPEATS), count)


def _of_short_tasks(samplers: Sequence[Peer]) -> None:
    print(f"\n{TASKS} tasks of {EACH_MS} ms CPU within {WITHIN_S} s, all samplers at once; truth by wait4")
    for name, share in shares(samplers).items():
        print(f"  {name:<{_WIDTH}}{100 * share:>8.1f} % of their CPU seen", flush=True)


def _of_the_host(target: Path, samplers: Sequence[Peer]) -> None:
    with targets(target, HOST_PROCESSES, 1, 1) as pids, _other_work():
        print(
            f"\nthe host, and ours with {HOST_PROCESSES} waking processes; us of CPU a second, 1 % is 10000"
        )
        try:
            samples = compare(samplers, pids, REPEATS)
        finally:
            clean_up()
        _print_table(samples, 1)
    for name, several in samples.items():
        if name.startswith(OURS):
            print(f"  {name}, the last round: {dict(several[-1].names)}", flush=True)


def _print_table(samples: dict[str, list[Sample]], count: int) -> None:
    """A row a sampler; count: of processes that the cost is divided by."""
    print(f"  {'':<{_WIDTH}}{_HEADER}")
    ours, floor = (_us(samples, name) for name in (OURS, FLOOR))
    for name, several in samples.items():
        each = [sample.us / count for sample in several]
        us, written = middle(several, "us"), middle(several, "written") / count
        spread = f"{min(each):.2f}-{max(each):.2f}"
        figures = f"{us / count:>9.2f} {spread:>17}{_ratio(us, floor):>8}{_ratio(us, ours):>7}"
        memory = f"{middle(several, 'rss_mb'):>7.1f}{middle(several, 'pss_mb'):>7.1f}"
        print(f"  {name:<{_WIDTH}}{figures}{memory}{written:>7.0f}", flush=True)


def _us(samples: dict[str, list[Sample]], word: str) -> float:
    """The median of the sampler whose name begins so; NaN where it was not measured."""
    return next((middle(several, "us") for name, several in samples.items() if name.startswith(word)), nan)


def _ratio(us: float, base_us: float) -> str:
    return "-" if isnan(base_us) else f"{us / base_us:.2f}"


@contextmanager
def _other_work() -> Iterator[None]:
    """Say how often the host forked meanwhile: ours is told of each end, so on a busy host it costs more."""
    began, forks = time.monotonic(), _forks()
    yield
    print(f"  (the host forked {(_forks() - forks) / (time.monotonic() - began):.0f} times a second)")


def _forks() -> int:
    """Since boot. Source: proc(5), /proc/stat."""
    return next(int(line.split()[1]) for line in Path("/proc/stat").open() if line.startswith("processes"))


if __name__ == "__main__":
    main()
