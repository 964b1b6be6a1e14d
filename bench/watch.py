"""One sampler at work for some seconds, in a cgroup and a directory of its own, and what that cost."""

import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event, Thread
from typing import NamedTuple
from urllib.request import urlopen

from cgroup import Cgroup

HERE = Path(__file__).resolve().parent
PEERS = Path(os.environ["PEERS"]).resolve() if os.environ.get("PEERS") else None
MARK = "tracekit-bench"  # in the command line of each process that is to be watched
WARM_S, WINDOW_S = 1.8, 3.0  # with what comes after: a slot of 5 s
OURS = {"PROC_MATCH": MARK, "PROC_REFRESH": "1"}
OUTPUT = "output"  # a sampler's stdout, beside whatever else it writes


@dataclass(frozen=True)
class Peer:
    """A sampler. command: from the pids that it is to watch; its directory takes all that it writes.

    needs: the program that must be there, package: which brings it. port: of an exporter to be read
    once a second. writes: another directory that counts as its output. warm_s: until it is at its pace."""

    name: str
    command: Callable[[Sequence[int]], list[str]]
    needs: str
    package: str
    port: int | None = None
    environ: Mapping[str, str] = field(default_factory=dict)
    writes: Path | None = None
    warm_s: float = WARM_S

    @property
    def is_there(self) -> bool:
        """Whether its program can be found."""
        return shutil.which(self.needs, path=search_path()) is not None


class Sample(NamedTuple):
    """us, written: CPU microseconds and bytes for each second. names: CPU a second of each program."""

    us: float
    written: float
    rss_mb: float
    pss_mb: float
    names: "Counter[str]"


def search_path() -> str:
    """Where peers are looked for: below PEERS first, then on PATH."""
    below = [PEERS / "dool/bin", PEERS / "usr/bin", PEERS / "usr/lib/pcp/bin"] if PEERS else []
    return os.pathsep.join([*map(str, below), os.environ["PATH"], "/usr/lib/sysstat", "/usr/lib/pcp/bin"])


def build(folder: Path, name: str) -> Path:
    """A C program of bench/. Raises CalledProcessError where it does not compile."""
    program = folder / name
    command = ["cc", "-O2", "-Wall", "-pthread", "-o", str(program), str(HERE / f"{name}.c")]
    subprocess.run(command, check=True)
    return program


@contextmanager
def targets(program: Path, processes: int, threads: int, wakes: int) -> Iterator[list[int]]:
    """The processes to be watched. Their parent is not the samplers' parent: ours leaves its siblings out."""
    command = [str(program), MARK, str(processes), str(threads), str(wakes)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as parent:
        assert parent.stdin is not None
        assert parent.stdout is not None
        try:
            yield [int(word) for word in parent.stdout.readline().split()]
        finally:
            parent.stdin.close()


@contextmanager
def at_work(peer: Peer, pids: Sequence[int]) -> Iterator[tuple[Cgroup, Path]]:
    """The sampler, started on the whole second; it and all that it started are killed at the end."""
    group = Cgroup(f"tracekit-bench-{os.getpid()}-{time.monotonic_ns()}")
    environ = {**os.environ, "PATH": search_path(), "LC_ALL": "C", **OURS, **peer.environ}
    with tempfile.TemporaryDirectory() as folder, (Path(folder) / OUTPUT).open("wb") as output:
        time.sleep(1 - time.time() % 1)
        process = subprocess.Popen(
            peer.command(pids),
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.DEVNULL,
            env=environ,
            preexec_fn=group.enter,  # noqa: PLW1509 - it only writes to a file
            start_new_session=True,
        )
        try:
            with scraped(peer, Path(folder)):
                yield group, Path(folder)
        finally:
            group.end()
            process.wait()


@contextmanager
def scraped(peer: Peer, folder: Path) -> Iterator[None]:
    """Read an exporter once a second meanwhile, into a file, as its server would."""
    if peer.port is None:
        yield
        return
    over = Event()

    def read() -> None:
        with (folder / "scraped").open("ab", buffering=0) as file:
            while not over.wait(1):
                with urlopen(f"http://127.0.0.1:{peer.port}/metrics", timeout=5) as answer:
                    file.write(answer.read())

    reader = Thread(target=read, daemon=True)
    reader.start()
    try:
        yield
    finally:
        over.set()
        reader.join()


def measure(peer: Peer, pids: Sequence[int]) -> Sample:
    """Run one sampler for WINDOW_S after it has warmed up. Raises RuntimeError where it ends before."""
    with at_work(peer, pids) as (group, folder):
        time.sleep(peer.warm_s)
        cpu_us, names = group.cpu_us(), group.cpu_us_by_name()
        written = _size(peer.writes or folder)
        time.sleep(WINDOW_S)
        cpu_us = group.cpu_us() - cpu_us
        names = group.cpu_us_by_name() - names
        written = _size(peer.writes or folder) - written
        if not group.pids():
            raise RuntimeError(f"{peer.name} ended by itself")
        each = Counter({name: round(used / WINDOW_S) for name, used in names.items()})
        return Sample(cpu_us / WINDOW_S, written / WINDOW_S, *group.memory(), each)


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def compare(peers: Sequence[Peer], pids: Sequence[int], rounds: int) -> dict[str, list[Sample]]:
    """The samples of each peer, by name. They take turns, so that a machine that slows down slows all."""
    samples: dict[str, list[Sample]] = {peer.name: [] for peer in peers}
    for _ in range(rounds):
        for peer in peers:
            try:
                samples[peer.name].append(measure(peer, pids))
            except (RuntimeError, OSError) as error:
                print(f"  {peer.name}: {error}; this round is left out", file=sys.stderr)
    return {name: several for name, several in samples.items() if several}


def middle(samples: Sequence[Sample], what: str) -> float:
    """The median of one figure over the rounds."""
    return float(statistics.median(getattr(sample, what) for sample in samples))
