"""What every test shares: a copy of the checkout at a path with a space, and a clean environment.

A test that needs a part which this machine lacks calls need(); where TRACEKIT_TEST_STRICT is set (CI),
the skip becomes a failure.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
IGNORED = shutil.ignore_patterns(
    ".git", ".venv", "logs", "unified_cctf", "*_cache", "__pycache__", ".hypothesis"
)


def need(condition: object, sentence: str) -> None:
    """Skip with the sentence where the condition does not hold; in CI, fail."""
    if not condition:
        if os.environ.get("TRACEKIT_TEST_STRICT"):
            pytest.fail(f"this machine lacks what the test needs: {sentence}")
        pytest.skip(sentence)


def clean_environment(**more: str) -> dict[str, str]:
    """PATH and nothing else of this process's environment."""
    return {"PATH": os.environ["PATH"], **more}


@dataclass
class Checkout:
    """A copy of the project, without .git, to run commands in."""

    root: Path

    def make(self, *words: str, cwd: Path | None = None, **env: str) -> "subprocess.CompletedProcess[str]":
        """make with these words; env comes on top of a clean environment."""
        command = ["make", "--no-print-directory", "-C", str(self.root), *words]
        return self.run(*command, cwd=cwd, **env)

    def run(self, *command: str, cwd: Path | None = None, **env: str) -> "subprocess.CompletedProcess[str]":
        """A command in the copy, its output captured."""
        return subprocess.run(
            command,
            cwd=cwd or self.root,
            env=clean_environment(**env),
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
            stdin=subprocess.DEVNULL,
        )

    def logs(self, run_id: str) -> Path:
        """The directory of a run."""
        return self.root / "logs" / run_id


def copy_checkout(target: Path) -> Checkout:
    """Copy the project to target; its .venv is shared."""
    shutil.copytree(ROOT, target, ignore=IGNORED)
    (target / ".venv").symlink_to(ROOT / ".venv")
    return Checkout(target)


@pytest.fixture(scope="session")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Checkout]:
    """One copy for all tests, at a path with a space; its control state goes with it."""
    sys.path.insert(0, str(ROOT))
    from tracekit.runs import live_runs, state_home  # noqa: PLC0415 - needs the path above

    copy = copy_checkout(tmp_path_factory.mktemp("a path with a space") / "Track kit")
    yield copy
    for run in live_runs(copy.root):
        copy.make("stop-collect", f"RUN_ID={run.run_id}")
    shutil.rmtree(state_home(copy.root), ignore_errors=True)


@pytest.fixture(scope="session")
def base_image() -> str:
    """The tag of an image with Python in it, for tests with real containers."""
    from containers import engine_answers  # noqa: PLC0415 - only these tests need it

    need(engine_answers(), "a Docker engine that answers (`docker info`)")
    script = ROOT / "tests" / "container_image.sh"
    done = subprocess.run([script], capture_output=True, text=True, check=False)
    need(done.returncode == 0, f"an image that tests/container_image.sh can make: {done.stderr[-500:]}")
    return done.stdout.strip()


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Checkout]:
    """A copy of the checkout whose logs/ is a tmpfs of 1 MB and 100 inodes."""
    need(os.geteuid() == 0, "mounting a small file system needs root")
    copy = copy_checkout(tmp_path / "kit")
    (copy.root / "logs").mkdir()
    limits = ["-o", "size=1m,nr_inodes=100"]
    subprocess.run(["mount", "-t", "tmpfs", *limits, "tmpfs", copy.root / "logs"], check=True)
    yield copy
    copy.make("stop-collect")
    subprocess.run(["umount", copy.root / "logs"], check=True)


@pytest.fixture
def finished_run(checkout: Checkout) -> Callable[[str], None]:
    """Checks that a run left no process behind: none has its directory, or its id, in the environment."""

    def nothing_left(run_id: str) -> None:
        left = [pid for pid in _pids() if f"RUN_ID={run_id}".encode() in _environ(pid).split(b"\0")]
        assert left == []

    return nothing_left


def _pids() -> list[int]:
    return [int(path.name) for path in Path("/proc").iterdir() if path.name.isdigit()]


def _environ(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/environ").read_bytes()
    except OSError:
        return b""
