"""Raw run directories of any size, the same bytes each time: processes that come and go, pids used again,
requests of several workers, and a known number of bad lines.

Usage: bench/generate.py DIR HOURS PROCESSES REQUESTS [BAD_LINES [NODES]]
"""

import heapq
import json
import random
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

T0 = 1_700_000_000_000  # started_ms
BOOT_MS = 500_000  # CLOCK_BOOTTIME at T0
CLK_TCK = 100
WORKERS = 8
_OLD = 0.5  # this part of the processes is older than the run and outlives it
_LIFE_S = 1800  # mean life of the others

# One of each kind in turn; none of them may be taken, none may cost its neighbours.
BAD = (
    b'{"ts_ms":"1","ts_enqueue":"1","pid":7}',
    b'{"ts_ms":1700000000000,"ts_enqueue":1700000000000,"pid":',
    b"\0" * 64,
    b'{"ts_ms":1700000000000,"ts_enqueue":1700000000000,"x":"\xff"}',
    b'{"ts_ms":1.5,"ts_enqueue":1.5}{"ts_ms":2}',
)


class Size(NamedTuple):
    """How much of what. bad: lines put into proc_metrics.jsonl, and as many into the events."""

    hours: float
    processes: int
    requests: int
    bad: int = 0

    @property
    def seconds(self) -> int:
        """The run's length."""
        return round(self.hours * 3600)


def make_runs(parent: Path, size: Size, nodes: int = 1) -> list[Path]:
    """One run directory a node, parent/node<k>/r1."""
    return [make_run(parent / f"node{number}" / "r1", size, f"vm{number}") for number in range(1, nodes + 1)]


def make_run(folder: Path, size: Size, node: str = "vm1") -> Path:
    """The raw files of one run; another node gives other figures."""
    folder.mkdir(parents=True)
    documents: dict[str, dict[str, object]] = {
        "run_meta.json": {
            "started_ms": T0,
            "stopped_ms": T0 + size.seconds * 1000,
            "started_mono_ms": BOOT_MS,
            "stopped_mono_ms": BOOT_MS + size.seconds * 1000,
            "interval_ms": 1000,
        },
        "node_meta.json": {"node": node, "stage": "cloud", "clk_tck": CLK_TCK},
        "link_meta.json": {"iface": "eth0", "BW_bps": 0, "PR_s": None},
    }
    for name, document in documents.items():
        (folder / name).write_text(json.dumps({"run_id": folder.name, **document}))
    if size.processes:
        _write_processes(folder, size, random.Random(f"{node} processes"))
    for worker in range(WORKERS if size.requests else 0):
        _write(
            folder / f"events.{100 + worker}.jsonl",
            _events(worker, size, random.Random(f"{node} worker {worker}")),
            size.requests // WORKERS,
            size.bad // WORKERS,
        )
    return folder


def _write(path: Path, lines: Iterable[bytes], count: int, bad: int) -> None:
    """The lines, with bad ones at equal distances; count: about how many lines there are."""
    every = count // bad if bad else 0
    with path.open("wb") as stream:
        for number, line in enumerate(lines, 1):
            stream.write(line)
            if every and number % every == 0 and number // every <= bad:
                stream.write(BAD[number // every % len(BAD)] + b"\n")


# --- processes


class _Process:
    def __init__(self, pid: int, starttime: int, ends_s: float, dice: random.Random) -> None:
        self.pid, self.starttime, self.ends_s = pid, starttime, ends_s
        self.utime = self.stime = 0
        self.rss_kb = dice.randrange(2_000, 900_000)
        self.load = dice.choice((0, 0, 5, 30, 100))  # at most so many ticks a second

    def row(self, head: str, dice: random.Random) -> str:
        """One second of work, and its line."""
        if self.load:
            self.utime += int(dice.random() * self.load)
            self.stime += int(dice.random() * self.load) >> 3
            self.rss_kb += int(dice.random() * 64) - 16
        figures = f'{self.pid},"rss_kb":{self.rss_kb},"utime":{self.utime},"stime":{self.stime}'
        return f'{head}{figures},"starttime":{self.starttime}}}\n'


class _Pids:
    """New numbers, and every third time one whose process has ended."""

    def __init__(self) -> None:
        self._next, self._given, self._free = 1000, 0, list[int]()

    def take(self) -> int:
        self._given += 1
        if self._free and self._given % 3 == 0:
            return self._free.pop(0)
        self._next += 1
        return self._next

    def give_back(self, pid: int) -> None:
        self._free.append(pid)


def _write_processes(folder: Path, size: Size, dice: random.Random) -> None:
    inventory: list[dict[str, object]] = []
    rows = _process_rows(size, dice, inventory)
    _write(folder / "proc_metrics.jsonl", rows, size.seconds * size.processes, size.bad)
    text = "".join(json.dumps(row, separators=(",", ":")) + "\n" for row in inventory)
    (folder / "proc_inventory.jsonl").write_text(text)


def _process_rows(size: Size, dice: random.Random, inventory: list[dict[str, object]]) -> Iterator[bytes]:
    pids, living = _Pids(), list[_Process]()
    for number in range(size.processes):
        is_old = number < size.processes * _OLD
        ends_s = float("inf") if is_old else dice.expovariate(1 / _LIFE_S)
        living.append(_Process(pids.take(), 100 + number, ends_s, dice))
    inventory += [_inventory_row("seen", T0, one) for one in living]
    for second in range(size.seconds):
        ts_ms = T0 + second * 1000 + dice.randrange(4)
        for index, one in enumerate(living):
            if one.ends_s <= second:
                inventory.append(_inventory_row("end", ts_ms, one, utime=one.utime + 1, stime=one.stime))
                pids.give_back(one.pid)
                born = (BOOT_MS + second * 1000 - 500) * CLK_TCK // 1000
                ends_s = second + 1 + dice.expovariate(1 / _LIFE_S)
                living[index] = _Process(pids.take(), born, ends_s, dice)
                inventory.append(_inventory_row("seen", ts_ms, living[index]))
        head = f'{{"ts_ms":{ts_ms},"pid":'
        for one in living:
            yield one.row(head, dice).encode()


def _inventory_row(event: str, ts_ms: int, one: _Process, **more: int) -> dict[str, object]:
    names = {"ppid": 1, "comm": "worker", "cmdline": f"worker --slot {one.pid}", "container": None}
    return {"ts_ms": ts_ms, "event": event, "pid": one.pid, "starttime": one.starttime, **names, **more}


# --- requests


def _events(worker: int, size: Size, dice: random.Random) -> Iterator[bytes]:
    """A worker's lines, each written when its request ends: nearly, not quite, in the order of ts_enqueue."""
    waiting: list[tuple[int, int, bytes]] = []
    at_ms, step_ms = float(T0), size.seconds * 1000 / (size.requests // WORKERS)
    for number in range(size.requests // WORKERS):
        at_ms += dice.random() * 2 * step_ms
        start_ms = int(at_ms)
        while waiting and waiting[0][0] <= start_ms:
            yield heapq.heappop(waiting)[2]
        is_slow = dice.random() < 0.001
        queue_us, service_us = dice.randrange(2_000), dice.randrange(5_000_000 if is_slow else 20_000)
        end_ms = start_ms + (queue_us + service_us) // 1000
        heapq.heappush(waiting, (end_ms, number, _event(worker, start_ms, queue_us, service_us, dice)))
    while waiting:
        yield heapq.heappop(waiting)[2]


def _event(worker: int, enqueue_ms: int, queue_us: int, service_us: int, dice: random.Random) -> bytes:
    event = {
        "ts_enqueue": enqueue_ms,
        "trace_id": f"{dice.getrandbits(128):032x}",
        "span_id": f"{dice.getrandbits(64):016x}",
        "parent_id": f"{dice.getrandbits(64):016x}",
        "ts_start": enqueue_ms + queue_us // 1000,
        "ts_end": enqueue_ms + (queue_us + service_us) // 1000,
        "queue_time_ms": queue_us / 1000,
        "service_time_ms": service_us / 1000,
        "rt_ms": (queue_us + service_us) / 1000,
        "module_id": "service",
        "instance_id": f"service-{worker}",
        "node": "vm1",
        "stage": "cloud",
        "method": "POST",
        "path": "/process",
        "bytes_in": dice.randrange(4096),
        "bytes_out": dice.randrange(65536),
        "cpu_time_ms": service_us // 2 / 1000,
        "status": 200,
    }
    return json.dumps(event, separators=(",", ":")).encode() + b"\n"


def main() -> None:
    """As the usage says."""
    hours, *counts = sys.argv[2:]
    numbers = [int(word) for word in counts]
    for folder in make_runs(Path(sys.argv[1]), Size(float(hours), *numbers[:3]), *numbers[3:4]):
        print(folder)


if __name__ == "__main__":
    main()
