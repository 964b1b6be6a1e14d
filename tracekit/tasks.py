"""Tasks that run_task tells the process sampler of: a spool of small files in the run's control state.

<pid>.<starttime> is made before the task's program starts and holds the wrapper's pid. When the task has
ended, a second line is added: "<CPU of the whole tree in us> <1 if its record was lost, else 0>". The sampler
removes a file that tells of an end.
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
    folder = spool_of(run)
    try:
        if not folder.is_dir():
            return None
        path = folder / f"{pid}.{starttime}"
        path.write_bytes(b"%d\n" % os.getpid())
    except OSError:  # another user's run, or a full disk: the task itself matters more
        return None
    return path


def tell_end(path: Path, cpu_us: int, is_lost: bool) -> None:
    """Tell how much CPU a task used, and whether its record could not be written."""
    with suppress(OSError), path.open("ab") as stream:
        stream.write(b"%d %d\n" % (cpu_us, is_lost))


def read_spool(folder: Path) -> list[Task]:
    """What is told now; those that ended are removed, so that each end is read once."""
    tasks: list[Task] = []
    try:
        names = sorted(os.listdir(folder))  # noqa: PTH208 - ten times a second
    except OSError:
        return tasks
    for name in names:
        pid, _, starttime = name.partition(".")
        try:
            told = (folder / name).read_bytes().split(b"\n")
            end = told[1].split() if len(told) > 2 else None
            task = Task(
                int(pid),
                int(starttime),
                int(told[0] or 0),
                int(end[0]) if end else None,
                bool(end and end[1] == b"1"),
            )
        except (OSError, ValueError, IndexError):
            continue
        tasks.append(task)
        if end:
            (folder / name).unlink(missing_ok=True)
    return tasks
