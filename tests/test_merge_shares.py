"""The shares of a merge: two processes at the same time where there are two CPUs, one where there is one."""

import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tracekit.merge.shares import Job, done

PATIENCE_S = 10.0
OnBytes = Callable[[int], None]


def meeting(folder: Path, me: str, other: str) -> Callable[[OnBytes], int]:
    """Work that ends once the other is at work too; gives its process."""

    def work(on_bytes: OnBytes) -> int:
        (folder / me).touch()
        limit = time.monotonic() + PATIENCE_S
        while not (folder / other).exists():
            assert time.monotonic() < limit, f"{other} was not begun while {me} was at work"
            time.sleep(0.01)
        on_bytes(10)
        return os.getpid()

    return work


def test_two_jobs_are_done_at_the_same_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: {0, 1})
    jobs = [Job(10, meeting(tmp_path, "a", "b")), Job(10, meeting(tmp_path, "b", "a"))]
    first, second = done(jobs, None)
    assert first != second
    assert os.getpid() in (first, second)


def numbered(number: int) -> Job:
    """A job of that size, whose result has its number and its process."""

    def work(on_bytes: OnBytes) -> tuple[int, int]:
        on_bytes(number)
        return number, os.getpid()

    return Job(number, work)


@pytest.mark.parametrize("cpus", [{0}, {0, 1}])
def test_results_come_in_the_order_of_the_jobs(monkeypatch: pytest.MonkeyPatch, cpus: set[int]) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: cpus)
    told: list[tuple[int, int]] = []
    results = done([numbered(number) for number in (1, 7, 3, 5)], lambda *one: told.append(one))
    assert [number for number, _ in results] == [1, 7, 3, 5]
    assert len({pid for _, pid in results}) == len(cpus)
    assert {total for _, total in told} == {16}
    assert max(read for read, _ in told) <= 16
