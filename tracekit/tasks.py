"""Tasks that run_task tells the process sampler of: a spool of empty files in the run's control state.

A file's name tells all: <pid>.<starttime>.<wrapper's pid> is there before the task's program starts.
When the task has ended it is renamed to <pid>.<starttime>.<wrapper>.<CPU of the whole tree, us>.<1 if its
record was lost, else 0>, which the sampler removes. So a task costs the sampler no reading, however many run.
"""

import os
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from tracekit.runs import Run


class Task(NamedTuple):
    """cpu_us: of the program and of all that it waited for; None while it runs."""

    pid: int
    starttime: int
    wrapper: int
    cpu_us: int | None
    is_lost: bool


def spool_of(run: Run) -> Path:
    """Where the tasks of a run are told."""
    return run.state / "tasks"


def starttime_of(pid: int) -> int | None:
    """Clock ticks after boot at which the process began; None where it is gone. Source: proc(5), field 22."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_bytes()
    except OSError:
        return None
    return int(stat[stat.rindex(b")") + 2 :].split()[19])


def register(run: Run, pid: int, starttime: int) -> Path | None:
    """Tell that pid is a task of this process; None where nobody listens: the run is not live here."""
    path = spool_of(run) / f"{pid}.{starttime}.{os.getpid()}"
    try:
        path.touch()
    except OSError:  # no such folder, another user's run, a full disk: the task itself matters more
        return None
    return path


def tell_end(path: Path, cpu_us: int, is_lost: bool) -> None:
    """Tell how much CPU a task used, and whether its record could not be written."""
    with suppress(OSError):
        path.rename(path.with_name(f"{path.name}.{cpu_us}.{is_lost:d}"))


def read_spool(folder: Path) -> list[Task]:
    """What is told now; those that ended are removed, so that each end is read once."""
    tasks: list[Task] = []
    try:
        names = sorted(os.listdir(folder))  # noqa: PTH208 - ten times a second
    except OSError:
        return tasks
    for name in names:
        try:
            pid, starttime, wrapper, *end = map(int, name.split("."))
        except ValueError:
            continue
        tasks.append(Task(pid, starttime, wrapper, end[0] if end else None, end[1:] == [1]))
        if end:
            with suppress(OSError):
                (folder / name).unlink()
    return tasks
