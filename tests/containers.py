"""Real containers for the tests: the engine, and what the host knows of a container without our code."""

import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from workload import cpu_of

CGROUPS = Path("/sys/fs/cgroup")


def docker(*words: str) -> str:
    """What docker prints; it must succeed."""
    done = subprocess.run(["docker", *words], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, f"docker {' '.join(words)}: {done.stderr}"
    return done.stdout + done.stderr


def engine_answers() -> bool:
    """Whether there is a Docker engine to work with."""
    if shutil.which("docker") is None:
        return False
    return subprocess.run(["docker", "info"], capture_output=True, check=False, timeout=30).returncode == 0


def run(name: str, image: str, *command: str) -> str:
    """Start a container in the background; its full id."""
    return docker("run", "--detach", "--network=none", f"--name={name}", image, *command).strip()


@contextmanager
def removed_after(name: str) -> Iterator[str]:
    """A name for a container; whatever has it then is removed, before and after."""
    subprocess.run(["docker", "rm", "--force", name], capture_output=True, check=False)
    try:
        yield name
    finally:
        subprocess.run(["docker", "rm", "--force", name], capture_output=True, check=False)


def processes(name: str, count: int) -> set[tuple[int, int]]:
    """(pid on the host, starttime) of each process of a container, as soon as there are so many."""
    for _ in range(200):
        listed = docker("top", name, "-eo", "pid").split()[1:]
        if len(listed) == count:
            return {(int(pid), cpu_of(int(pid)).starttime) for pid in listed}
        time.sleep(0.02)
    raise AssertionError(f"{name} has {len(listed)} processes, not {count}")


def usage_ms(container_id: str) -> float:
    """CPU of the container as its cgroup counts it."""
    for path in CGROUPS.glob(f"**/*{container_id}*/cpuacct.usage"):
        return int(path.read_text()) / 1e6
    (path,) = CGROUPS.glob(f"**/*{container_id}*/cpu.stat")
    return int(path.read_text().split()[1]) / 1000
