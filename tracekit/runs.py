"""Where a run lives: its raw files under logs/, its control state, and whether it is live.

Control state stands under /var/tmp/tracekit-<uid>/<hash of the checkout's path>/<RUN_ID>/: outside the
run's directory (an app container writes there) and at a place that no variable moves. A run is live
exactly while its recorder holds the lock file; the kernel names the holder, so no number in a file is
ever trusted with a signal.
"""

import fcntl
import hashlib
import os
import socket
import stat
import struct
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from tracekit import ROOT
from tracekit.errors import TracekitError, UsageError
from tracekit.jsonl import read_document
from tracekit.settings import NAME, Settings

# What stop, status and top take from run.json, in the recorder's own words.
_TOLD: dict[str, Any] = {"collectors": dict, "failing": dict, "killed": list, "notes": list}
_TOLD_OF_ONE: dict[str, Any] = {
    "pid": int | None,
    "starttime": int | None,
    "series": str,
    "writes": list,
    "errors": str | None,
    "down": str | None,
}
_FLOCK = "@hhqqi4x"  # struct flock of a 64-bit Linux: l_type, l_whence, l_start, l_len, l_pid


@dataclass(frozen=True)
class Run:
    """One run of this checkout, by its id."""

    run_id: str
    root: Path = ROOT

    @property
    def dir(self) -> Path:
        """The raw files: logs/<RUN_ID>."""
        return self.root / "logs" / self.run_id

    @property
    def state(self) -> Path:
        """The control state; only start creates it."""
        return state_home(self.root) / self.run_id

    def holder(self) -> int | None:
        """Pid of the live recorder, from the kernel; None where no process holds the lock."""
        try:
            descriptor = os.open(self.state / "lock", os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
        except (FileNotFoundError, NotADirectoryError):
            return None
        try:
            wanted = struct.pack(_FLOCK, fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)
            kind, _, _, _, pid = struct.unpack(_FLOCK, fcntl.fcntl(descriptor, fcntl.F_GETLK, wanted))
        finally:
            os.close(descriptor)
        if kind == fcntl.F_UNLCK:
            return None
        if pid == 0:
            raise TracekitError(f"run {self.run_id} is live in another pid namespace; stop it from there")
        return int(pid)

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Only one start or stop of a run at a time; another waits."""
        descriptor = os.open(make_state(self), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)

    def told(self) -> dict[str, Any]:
        """What the recorder last wrote of itself; {} where that is missing, damaged or another release's."""
        try:
            told = read_document(self.state / "run.json")
        except (TracekitError, OSError):
            return {}
        is_whole = _fits(told, _TOLD) and all(_fits(one, _TOLD_OF_ONE) for one in told["collectors"].values())
        return told if is_whole else {}

    def hold(self) -> int:
        """Take the lock for this process's life; returns the descriptor, which must stay open.

        Raises TracekitError where another process holds it."""
        descriptor = os.open(
            self.state / "lock", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600
        )
        try:
            fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(descriptor)
            raise TracekitError(f"run {self.run_id} already has a recorder") from error
        return descriptor


def _fits(value: object, types: dict[str, Any]) -> bool:
    return isinstance(value, dict) and all(isinstance(value.get(name), kind) for name, kind in types.items())


def state_home(root: Path) -> Path:
    """The control state of all runs of the checkout at root, for this user."""
    digest = hashlib.sha256(os.fsencode(root.resolve())).hexdigest()[:16]
    return Path(f"/var/tmp/tracekit-{os.getuid()}") / digest


def _make_private(folder: Path) -> None:
    folder.mkdir(mode=0o700, exist_ok=True)
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o022:
        raise TracekitError(f"{folder}: not a private folder of this user; look at it and remove it")


def make_state(run: Run) -> Path:
    """Create the run's control state; every folder is this user's alone.

    Raises TracekitError where somebody else has put something at its place."""
    home = state_home(run.root)
    for folder in (home.parent, home, run.state):
        _make_private(folder)
    return run.state


def claim_new_run(name: str, root: Path = ROOT) -> Run:
    """A run of that name, or of that name and a number, that nobody else has claimed."""
    home = state_home(root)
    for folder in (home.parent, home):
        _make_private(folder)
    number = 1
    while True:
        run = Run(name if number == 1 else f"{name}-{number}", root)
        number += 1
        with suppress(FileExistsError):
            run.state.mkdir(mode=0o700)
            if not run.dir.exists():
                return run


def new_run(root: Path = ROOT) -> Run:
    """A run named after this second, and not there yet."""
    return claim_new_run(datetime.now(timezone.utc).strftime("%Y%m%dT%H%M%SZ"), root)


def await_start(run: Run) -> None:
    """Note that this invented run is in use by the app, and waits for start-collect to take it."""
    run.dir.mkdir(mode=0o750, parents=True, exist_ok=True)
    (state_home(run.root) / ".awaited").write_text(run.run_id)


def awaited_run(root: Path = ROOT) -> Run | None:
    """The run that the app has invented and nobody has collected into yet; None where there is none."""
    try:
        name = (state_home(root) / ".awaited").read_text()
    except (OSError, UnicodeDecodeError):
        return None
    run = Run(name, root) if NAME.fullmatch(name) else None
    return run if run and run.dir.is_dir() and not (run.dir / "node_meta.json").exists() else None


def forget_awaited(run: Run) -> None:
    """The app has ended: the next start begins a run of its own."""
    if awaited_run(run.root) == run:
        (state_home(run.root) / ".awaited").unlink(missing_ok=True)


def live_runs(root: Path = ROOT) -> list[Run]:
    """The runs of this checkout and user whose recorder is alive, by name."""
    try:
        names = sorted(entry.name for entry in state_home(root).iterdir() if NAME.fullmatch(entry.name))
    except (FileNotFoundError, NotADirectoryError):
        return []
    return [run for run in (Run(name, root) for name in names) if run.holder() is not None]


def last_run(root: Path = ROOT) -> Run | None:
    """The run under logs/ that was started last, by its run_meta.json; None where there is none."""
    newest: tuple[int, str] | None = None
    for meta in (root / "logs").glob("*/run_meta.json"):
        try:
            started = read_document(meta).get("started_ms")
        except TracekitError:
            continue
        if isinstance(started, int) and NAME.fullmatch(meta.parent.name):
            newest = max(newest or (0, ""), (started, meta.parent.name))
    return Run(newest[1], root) if newest else None


def chosen_run(settings: Settings, root: Path = ROOT) -> Run:
    """The run that is meant: RUN_ID where given, else the live one, else the last one.

    Raises UsageError where several runs are live, TracekitError where there is no run at all."""
    if settings["RUN_ID"]:
        return Run(settings["RUN_ID"], root)
    live = live_runs(root)
    if len(live) > 1:
        names = ", ".join(run.run_id for run in live)
        raise UsageError(f"{len(live)} runs are live ({names}): say which with RUN_ID=")
    run = live[0] if live else last_run(root)
    if run is None:
        raise TracekitError("no run yet under logs/; `make start-collect` begins one")
    return run


def cctf_of(run_id: str, root: Path = ROOT) -> Path:
    """The data set of a run: its merge, else this node's cctf."""
    merged = root / "unified_cctf" / run_id
    return merged if (merged / "manifest.json").exists() else Run(run_id, root).dir / "cctf"


def chosen_cctf(settings: Settings, root: Path = ROOT) -> Path:
    """The data set that is meant: DIR (or its cctf/), else the merged run, else this node's cctf."""
    if not settings["DIR"]:
        merged = root / "unified_cctf" / chosen_run(settings, root).run_id
        return merged if (merged / "manifest.json").exists() else existing_run(settings, root).dir / "cctf"
    folder = Path(settings["DIR"])
    is_outer = not (folder / "manifest.json").exists() and (folder / "cctf" / "manifest.json").exists()
    return folder / "cctf" if is_outer else folder


def existing_run(settings: Settings, root: Path = ROOT) -> Run:
    """chosen_run, which must have a directory under logs/."""
    run = chosen_run(settings, root)
    if not run.dir.is_dir():
        raise TracekitError(f"no such run: logs/{run.run_id} does not exist")
    return run


def place_of(run: Run, settings: Settings) -> tuple[str, str]:
    """(node, stage): as given, else those of the run, else the host's name and the default."""
    meta = read_document(run.dir / "node_meta.json")
    node, stage = settings["NODE_ID"], settings["STAGE"]
    if "NODE_ID" not in settings.given:
        node = str(meta.get("node") or socket.gethostname().split(".")[0])
    if "STAGE" not in settings.given:
        stage = str(meta.get("stage") or stage)
    return node, stage
