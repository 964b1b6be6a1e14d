"""Processes for the fault tests: any number of children with names of their own, idle or busy.

They end when their parent does, and the parent when its test closes its standard input.
"""

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

FULL = os.environ.get("FULL") == "1"
TICK_MS = 1000 // os.sysconf("SC_CLK_TCK")

_PARENT = """
import ctypes, json, os, signal, sys
prctl = ctypes.CDLL(None).prctl
SET_PDEATHSIG, SET_NAME = 1, 15
told, tells = os.pipe()
pids = []
for name, is_busy in json.loads(sys.stdin.readline()):
    pid = os.fork()
    if pid == 0:
        prctl(SET_PDEATHSIG, signal.SIGKILL)
        prctl(SET_NAME, bytes.fromhex(name))
        os.write(tells, b".")
        while is_busy:
            sum(range(1000))
        signal.pause()
        os._exit(0)
    pids.append(pid)
left = len(pids)
while left:
    left -= len(os.read(told, 65536))
print(json.dumps(pids), flush=True)
sys.stdin.read()
for pid in pids:
    os.kill(pid, signal.SIGKILL)
for pid in pids:
    os.waitpid(pid, 0)
"""


@dataclass(frozen=True)
class Cpu:
    """What /proc/<pid>/stat says, read by a reader of our own: ticks of CPU, and the start time."""

    ticks: int
    starttime: int


def cpu_of(pid: int) -> Cpu:
    """Fields 14, 15 and 22 of stat; the name ends at the last ")"."""
    fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
    return Cpu(int(fields[11]) + int(fields[12]), int(fields[19]))


@contextmanager
def children(folder: Path, tag: str, names: Sequence[bytes], is_busy: bool) -> Iterator[list[int]]:
    """One child a name; their command line, and no name of theirs, holds the tag."""
    script = folder / "parent.py"
    script.write_text(_PARENT)
    command = [sys.executable, "-I", str(script), tag]
    parent = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert parent.stdin and parent.stdout
    try:
        parent.stdin.write(json.dumps([[name.hex(), is_busy] for name in names]) + "\n")
        parent.stdin.flush()
        yield json.loads(parent.stdout.readline())
    finally:
        parent.stdin.close()
        try:
            parent.wait(20)
        except subprocess.TimeoutExpired:
            parent.kill()
            parent.wait()
        parent.stdout.close()
