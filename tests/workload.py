"""What the tests load a machine with: processes, datagrams, files.

The processes are any number of children with names of their own, idle or busy. They end
when their parent does, and the parent when its test closes its standard input.
"""

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Event, Thread

from conftest import Checkout

from tracekit.collect.proc.taskstats import ExitListener

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


@contextmanager
def datagrams(size: int = 2000, period_s: float = 0.02) -> Iterator[None]:
    """A datagram of so many bytes through lo every period_s; what is late is made up for at once."""
    ending = Event()

    def send() -> None:
        due = time.monotonic()
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            while not ending.wait(max(due - time.monotonic(), 0)):
                due += period_s
                sender.sendto(b"x" * size, ("127.0.0.1", 9))

    thread = Thread(target=send, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ending.set()
        thread.join()


def fill(checkout: Checkout) -> Path:
    """Leave no room on the disk of logs/; the file that takes it."""
    path = checkout.root / "logs" / "fill"
    with path.open("wb", buffering=0) as stream:
        try:
            while stream.write(b"\0" * 512):
                pass
        except OSError:
            return path


def has_terminals() -> bool:
    """Whether a pty can be opened: not where /dev has no pts of its own."""
    try:
        ends = os.openpty()
    except OSError:
        return False
    for end in ends:
        os.close(end)
    return True


def can_listen() -> bool:
    """Whether the kernel tells us how processes end."""
    try:
        ExitListener()
    except OSError:
        return False
    return True
