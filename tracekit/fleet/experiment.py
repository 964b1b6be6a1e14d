"""One experiment: start the fleet, run the load, stop, collect. The collectors are stopped in any case."""

import os
import select
import signal
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import NamedTuple

from tracekit.errors import TracekitError
from tracekit.fleet.plays import OF_MAKE, Fleet, Outcome, Say
from tracekit.fleet.verbs import collect, set_up, start, stop

_ENDINGS = ((signal.SIGINT, 5.0), (signal.SIGTERM, 3.0), (signal.SIGKILL, 3.0))
_LOOK_S = 0.2


class Experiment(NamedTuple):
    """command: a line for bash, run here, with RUN_ID in its environment. raw: "1" fetches raw files too."""

    run_id: str
    command: str
    environ: Mapping[str, str]
    raw: str


def run(fleet: Fleet, experiment: Experiment, heard: Sequence[int], say: Say) -> tuple[Outcome, int]:
    """Do all of it; what became of the hosts, and the exit code of the command.

    heard: signals that came; after the first one the command is ended, the collectors are stopped, no more.
    Raises TracekitError where no host could be started."""
    outcome, code = set_up(fleet), 0
    if heard or not outcome.well:
        return outcome, code
    reached = outcome.well
    try:
        started = start(fleet, experiment.run_id, say, reached)
        outcome.add(started)
        if not started.well:
            raise TracekitError("no host could be started")
        if not heard:
            say(f"running: {experiment.command}")
            code = _run_command(experiment, heard)
            say(f"the command ended with exit code {code}")
    finally:
        # A host whose start failed may be serving all the same; one that is out of reach cannot be told.
        reachable = reached - outcome.unreachable
        if reachable:
            outcome.add(stop(fleet, experiment.run_id, reachable))
    if not heard:
        outcome.add(collect(fleet, experiment.run_id, say, experiment.raw, started.well))
    return outcome, code


def _run_command(experiment: Experiment, heard: Sequence[int]) -> int:
    """The command's exit code, 128 + n where signal n ended it. A signal to us ends its whole session."""
    environ = {name: value for name, value in experiment.environ.items() if name not in OF_MAKE}
    process = subprocess.Popen(
        ["bash", "-c", experiment.command],
        env={**environ, "RUN_ID": experiment.run_id},
        start_new_session=True,
    )
    pidfd = os.pidfd_open(process.pid)
    try:
        while not heard and not _ends(pidfd, _LOOK_S):
            pass
        if heard:
            _end(process.pid, pidfd)
    finally:
        os.close(pidfd)
    code = process.wait()
    return code if code >= 0 else 128 - code


def _ends(pidfd: int, seconds: float) -> bool:
    return bool(select.select([pidfd], [], [], seconds)[0])


def _end(session: int, pidfd: int) -> None:
    """As Ctrl-C on a terminal would, then harder; and what the leader left behind."""
    for signum, seconds in _ENDINGS:
        os.killpg(session, signum)  # not waited for yet: the number is still its own
        if _ends(pidfd, seconds):
            break
    with suppress(ProcessLookupError):
        os.killpg(session, signal.SIGKILL)
