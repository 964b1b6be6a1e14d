"""How much of short tasks' CPU each sampler sees: its own records, read back, beside what wait4 told.

For each sampler one function: from the directory that it wrote to milliseconds of CPU by pid.
"""

import json
import os
import re
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path

from watch import MARK, OUTPUT, PEERS, Peer, at_work, search_path

TASKS, EACH_MS, WITHIN_S = 200, 50, 10  # one after another
SETTLE_S = 3  # before the first task and after the last: all samplers are at their pace

BURST = """
import os, sys, time
tasks, each_ms, within_s = int(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4])
began = time.monotonic()
for index in range(tasks):
    time.sleep(max(began + index * within_s / tasks - time.monotonic(), 0))
    if os.fork() == 0:
        while time.process_time() * 1000 < each_ms:
            pass
        os._exit(0)
    pid, _, used = os.wait4(-1, 0)
    print(pid, (used.ru_utime + used.ru_stime) * 1000)
"""

Seen = dict[int, float]


def of_tracekit(folder: Path) -> Seen:
    """The kernel's account of the end where there is one, else the last ticks."""
    ticks, final = Counter[int](), Seen()
    tick_ms = 1000 / os.sysconf("SC_CLK_TCK")
    for line in (folder / OUTPUT).read_text().splitlines():
        row = json.loads(line[line.index("{") :]) if "{" in line else {}
        if row.get("event") == "end" and "cpu_ms" in row:
            final[row["pid"]] = row["cpu_ms"]
        elif "rss_kb" in row:
            ticks[row["pid"]] = row["utime"] + row["stime"]
    return {pid: count * tick_ms for pid, count in ticks.items()} | final


def of_pcp(folder: Path) -> Seen:
    """The last milliseconds in user and in system mode."""
    command = ["pmdumplog", "archive", "proc.psinfo.utime", "proc.psinfo.stime"]
    environ = {**os.environ, "PATH": search_path(), "PCP_CONF": str(folder / "pcp.conf")}
    if PEERS:
        environ["LD_LIBRARY_PATH"] = str(PEERS / "usr/lib")
    done = subprocess.run(command, cwd=folder, env=environ, capture_output=True, text=True, check=True)
    last: dict[tuple[str, int], float] = {}
    metric = ""
    for line in done.stdout.splitlines():
        if named := re.search(r"\((proc\.psinfo\.[us]time)\)", line):
            metric = named[1]
        if found := re.search(r"inst \[(\d+) or .*\] value (\d+)", line):
            last[metric, int(found[1])] = float(found[2])
    seen: Counter[int] = Counter()
    for (_, pid), used_ms in last.items():
        seen[pid] += round(used_ms)
    return dict(seen)


def of_top(folder: Path) -> Seen:
    """The last TIME+, minutes:seconds."""
    rows = re.findall(r"^ *(\d+) .* (\d+):(\d+\.\d+) +\S+ *$", (folder / OUTPUT).read_text(), re.MULTILINE)
    return {int(pid): (int(minutes) * 60 + float(seconds)) * 1000 for pid, minutes, seconds in rows}


def of_psutil(folder: Path) -> Seen:
    """The last seconds in user and in system mode."""
    rows = [line.split() for line in (folder / OUTPUT).read_text().splitlines()]
    return {int(row[0]): (float(row[1]) + float(row[2])) * 1000 for row in rows if len(row) == 4}


def of_pidstat(folder: Path) -> Seen:
    """The sum of the shares of each second; columns: time, uid, pid, %usr, %system."""
    seen: Counter[int] = Counter()
    for line in (folder / OUTPUT).read_text().splitlines():
        row = line.split()
        if len(row) > 8 and row[2].isdigit():
            seen[int(row[2])] += round((float(row[3]) + float(row[4])) * 10)
    return dict(seen)


def of_atop(folder: Path) -> Seen:
    """The sum over the intervals. A row of atop -P PRC: ... pid (name) state ticks-a-second user system."""
    command = ["atop", "-r", "atop.raw", "-P", "PRC"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True)
    seen: Counter[int] = Counter()
    for pid, *ticks in re.findall(r"^PRC .* (\d+) \(.*?\) \S (\d+) (\d+) (\d+) ", done.stdout, re.MULTILINE):
        clk_tck, user, system = map(int, ticks)
        seen[int(pid)] += round((user + system) * 1000 / clk_tck)
    return dict(seen)


READERS: dict[str, Callable[[Path], Seen]] = {
    "tracekit": of_tracekit,
    "PCP": of_pcp,
    "top": of_top,
    "pidstat": of_pidstat,
    "psutil": of_psutil,
    "atop": of_atop,
}


def shares(peers: Sequence[Peer]) -> dict[str, float]:
    """The share of the tasks' CPU that each peer saw, 0 to 1; all of them watch the same tasks."""
    known = [peer for peer in peers if peer.name.split()[0] in READERS]  # the floor takes no new processes
    with ExitStack() as stack:
        folders = {peer.name: stack.enter_context(at_work(peer, []))[1] for peer in known}
        time.sleep(SETTLE_S)
        truth = _burst()
        time.sleep(SETTLE_S)
        found = {name: READERS[name.split()[0]](folder) for name, folder in folders.items()}
    total_ms = sum(truth.values())
    return {name: sum(seen.get(pid, 0.0) for pid in truth) / total_ms for name, seen in found.items()}


def _burst() -> Seen:
    """The tasks' CPU by pid, in ms, from wait4."""
    command = [sys.executable, "-I", "-c", BURST, MARK, str(TASKS), str(EACH_MS), str(WITHIN_S)]
    # A shell between: the samplers' siblings are left out by ours.
    done = subprocess.run(
        ["sh", "-c", '"$@"; exit $?', "sh", *command], capture_output=True, text=True, check=True
    )
    return {int(pid): float(used_ms) for pid, used_ms in map(str.split, done.stdout.splitlines())}
