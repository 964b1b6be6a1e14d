"""Reference services for the tests: started and ended with the commands a user would call."""

import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from conftest import Checkout

from tracekit.collect import procfs

LOCAL = "http://127.0.0.1"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def serving(checkout: Checkout, run_id: str, **more: str) -> Iterator[str]:
    """The base URL of a service of this run that `make run-local` has started; ended with the block."""
    port = more.pop("PORT", str(free_port()))
    done = checkout.make("run-local", f"RUN_ID={run_id}", f"PORT={port}", **more)
    assert done.returncode == 0, done.stderr
    try:
        yield f"{LOCAL}:{port}"
    finally:
        done = checkout.make("stop", f"PORT={port}", f"RUN_ID={run_id}")
        assert done.returncode == 0, done.stderr


def rows(folder: Path, pattern: str) -> list[dict[str, Any]]:
    """Every whole line of the files that match; a torn last line is left out."""
    return [
        json.loads(line)
        for path in sorted(folder.glob(pattern))
        for line in path.read_bytes().splitlines(keepends=True)
        if line.endswith(b"\n")
    ]


def events(folder: Path) -> list[dict[str, Any]]:
    return rows(folder, "events.[0-9]*.jsonl")


def processes_of(run_id: str) -> list[int]:
    """Living processes with this RUN_ID in their environment."""
    mark, found = f"RUN_ID={run_id}".encode(), []
    for pid in procfs.list_pids():
        try:
            is_live = procfs.read_stat(pid).fields[procfs.STATE] not in procfs.DEAD
            if is_live and mark in procfs.read(pid, "environ").split(b"\0"):
                found.append(pid)
        except OSError:
            continue
    return found


def cpu_ms(pids: list[int]) -> float:
    """User and system CPU of these processes until now, from the kernel's ticks."""
    fields = [procfs.read_stat(pid).fields for pid in pids]
    ticks = sum(int(one[procfs.UTIME]) + int(one[procfs.STIME]) for one in fields)
    return ticks * 1000 / os.sysconf("SC_CLK_TCK")


def peak_kb(pid: int) -> int:
    """VmHWM of a process, kB."""
    status = procfs.read(pid, "status").decode()
    return int(status.split("VmHWM:")[1].split()[0])
