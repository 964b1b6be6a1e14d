"""What a process sampler costs: microseconds of CPU for each process and second, ours beside its peers.

Each sampler watches the same sleeping processes at 1 Hz, one after another, in a cgroup of its own, so that
what it forks counts too. A peer that is not installed is named and left out. Needs root.
"""

import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]
MARK = "7777.25"  # the sleepers' argument, which the samplers match
WARM_S, MEASURE_S, ROUNDS = 4, 8, 3
SIZES = tuple(int(word) for word in os.environ.get("SIZES", "10 100 500 2000").split())

PSUTIL = """
import psutil, time
while True:
    for one in psutil.process_iter(["cmdline"]):
        if "7777.25" in (one.info["cmdline"] or []):
            with one.oneshot():
                print(one.pid, *one.cpu_times()[:2], one.memory_info().rss, flush=False)
    time.sleep(1)
"""


SLEEPERS = """
import subprocess, sys
all = [subprocess.Popen(["sleep", "7777.25"]) for _ in range(int(sys.argv[1]))]
print(*(one.pid for one in all), flush=True)
sys.stdin.read()
[one.kill() for one in all]
"""


class Sample(NamedTuple):
    """us: CPU microseconds for a process and second; row_bytes: written for it. rss_mb: of the sampler."""

    us: float
    rss_mb: float
    row_bytes: float


def peers(pids: list[int], floor: Path) -> dict[str, list[str]]:
    """The commands, by name; a peer's own words for "these processes, once a second"."""
    words = [str(pid) for pid in pids]
    return {
        "tracekit proc": [sys.executable, "-I", str(ROOT / "tools" / "collectors" / "proc.py")],
        "C, kept fds (floor)": [str(floor), *words],
        "top -b -d 1": ["top", "-b", "-d", "1", "-w", "512"],
        "pidstat -p LIST": ["pidstat", "-u", "-r", "-h", "-p", ",".join(words), "1"],
        "psutil loop": [sys.executable, "-I", "-c", PSUTIL],
        "atop -a -w": ["atop", "-a", "-w", str(floor.with_name("atop.raw")), "1"],
        "collectl -sZ": ["collectl", "-sZ", "-i1:1", "--procfilt", f"f{MARK}"],
    }


class Cgroup:
    """A cgroup that counts CPU: v1 cpuacct where that is mounted, else v2."""

    def __init__(self, name: str) -> None:
        v1 = Path("/sys/fs/cgroup/cpuacct")
        self._folder = (v1 if v1.is_dir() else Path("/sys/fs/cgroup")) / name
        self._folder.mkdir()

    def enter(self) -> None:
        """Put the calling process in; called in the child before exec."""
        (self._folder / "cgroup.procs").write_text("0")

    def cpu_us(self) -> float:
        """CPU of everything that ever ran in it."""
        usage = self._folder / "cpuacct.usage"
        if usage.exists():
            return int(usage.read_text()) / 1000
        return int((self._folder / "cpu.stat").read_text().split()[1])

    def remove(self) -> None:
        """Remove it; its processes have ended."""
        for _ in range(50):
            try:
                self._folder.rmdir()
                return
            except OSError:
                time.sleep(0.1)


@contextmanager
def sleepers(count: int) -> Iterator[list[int]]:
    """So many idle processes, of another parent than the samplers: ours leaves its siblings out."""
    parent = subprocess.Popen(
        [sys.executable, "-I", "-c", SLEEPERS, str(count)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert parent.stdin is not None
    assert parent.stdout is not None
    try:
        yield [int(word) for word in parent.stdout.readline().split()]
    finally:
        parent.stdin.close()
        parent.wait()


def measure(command: list[str], count: int) -> Sample:
    """Run one sampler for a while."""
    group = Cgroup(f"tracekit-bench-{os.getpid()}")
    environ = {**os.environ, "PROC_MATCH": f"sleep {MARK}", "PROC_REFRESH": "1", "LC_ALL": "C"}
    with tempfile.TemporaryFile() as output:
        process = subprocess.Popen(
            command,
            stdout=output,
            stderr=subprocess.DEVNULL,
            env=environ,
            preexec_fn=group.enter,  # noqa: PLW1509 - this program has no threads
            start_new_session=True,
        )
        time.sleep(WARM_S)
        cpu_us, written = group.cpu_us(), output.seek(0, os.SEEK_END)
        time.sleep(MEASURE_S)
        cpu_us, written = group.cpu_us() - cpu_us, output.seek(0, os.SEEK_END) - written
        if process.poll() is not None:
            raise RuntimeError(f"{command[0]} ended by itself with {process.returncode}")
        status = Path(f"/proc/{process.pid}/status").read_text()
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    group.remove()
    rss_kb = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS"))
    return Sample(cpu_us / MEASURE_S / count, rss_kb * 1024 / 1e6, written / MEASURE_S / count)


def build_floor(folder: Path) -> Path:
    """The C program. Raises CalledProcessError where it does not compile."""
    floor = folder / "floor"
    subprocess.run(["cc", "-O2", "-o", str(floor), str(ROOT / "bench" / "floor.c")], check=True)
    return floor


def main() -> None:
    """A table for each number of processes."""
    if os.geteuid() != 0:
        print("left out: a cgroup for each sampler needs root")
        return
    with tempfile.TemporaryDirectory() as scratch:
        floor = build_floor(Path(scratch))
        for count in SIZES:
            with sleepers(count) as pids:
                time.sleep(0.5)
                _compare(peers(pids, floor), count)


def _compare(commands: dict[str, list[str]], count: int) -> None:
    found = {name: words for name, words in commands.items() if shutil.which(words[0])}
    samples: dict[str, list[Sample]] = {name: [] for name in found}
    for _ in range(ROUNDS):
        for name, words in found.items():
            samples[name].append(measure(words, count))
    middle = {
        name: Sample(*(statistics.median(values) for values in zip(*several, strict=True)))
        for name, several in samples.items()
    }
    ours = middle["tracekit proc"].us
    print(f"{count} processes, 1 Hz, median of {ROUNDS} rounds")
    print(f"  {'sampler':<22} {'us/process/s':>12} {'range':>15} {'x ours':>7} {'RSS MB':>7} {'B/row':>6}")
    for name, one in middle.items():
        spread = [sample.us for sample in samples[name]]
        between = f"{min(spread):.2f}-{max(spread):.2f}"
        figures = (
            f"{one.us:>12.2f} {between:>15} {one.us / ours:>7.2f} {one.rss_mb:>7.1f} {one.row_bytes:>6.0f}"
        )
        print(f"  {name:<22} {figures}")
    for name in commands.keys() - found.keys():
        print(f"  {name:<22} not installed")


if __name__ == "__main__":
    main()
