"""The files of a merge in two processes, where there are two CPUs: each merges its share of them."""

import mmap
import os
import struct
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from tracekit.files.ahead import ahead

Progress = Callable[[int, int], None]  # told of bytes read so far, and of all bytes
_COUNT = struct.Struct("<q")


class Job(NamedTuple):
    """Something to do: size in bytes of what it reads, and what does it, given someone to tell of bytes."""

    size: int
    work: Callable[[Callable[[int], None]], Any]


def done(jobs: list[Job], progress: Progress | None) -> list[Any]:
    """The results of all jobs, in their order; made of int, str, bytes, None, tuples, lists and dicts."""
    total = sum(job.size for job in jobs)
    own, other = _split(jobs) if len(os.sched_getaffinity(0)) > 1 else (list(range(len(jobs))), [])
    results: dict[int, Any] = {}
    with mmap.mmap(-1, _COUNT.size) as theirs:  # bytes that the other process has read
        read = 0

        def on_bytes(count: int) -> None:
            nonlocal read
            read += count
            if progress:
                progress(read + _COUNT.unpack(theirs)[0], total)

        beside: Iterator[Any] = ahead(_work(jobs, other, theirs)) if other else iter(())
        next(beside, None)  # it is at work
        for number in own:
            results[number] = jobs[number].work(on_bytes)
        for number, result in beside:
            results[number] = result
    return [results[number] for number in range(len(jobs))]


def _split(jobs: list[Job]) -> tuple[list[int], list[int]]:
    """Two shares of about the same size: each job to the lesser one, the largest first."""
    shares: tuple[list[int], list[int]] = ([], [])
    sizes = [0, 0]
    for number in sorted(range(len(jobs)), key=lambda number: -jobs[number].size):
        lesser = sizes.index(min(sizes))
        shares[lesser].append(number)
        sizes[lesser] += jobs[number].size
    return shares


def _work(jobs: list[Job], numbers: list[int], count: mmap.mmap) -> Iterator[Any]:
    yield 0  # which is no question: it goes on at once

    def on_bytes(more: int) -> None:
        count[:] = _COUNT.pack(_COUNT.unpack(count)[0] + more)

    for number in numbers:
        yield number, jobs[number].work(on_bytes)
