#!/usr/bin/env python3
"""Trace 20 s of real work on this machine, from start to summary, with the commands a user would call.

The work: gzip compresses and sha256sum hashes this machine's own largest program files, one process
after another, so that the curves have a shape. What the trace says they used is held against what the
kernel says when they end (wait4)."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))


from tracekit import ROOT, cli
from tracekit.collect import identity
from tracekit.errors import TracekitError
from tracekit.settings import Settings
from tracekit.summary import cpu_seconds

SECONDS = 20
WANTED_BYTES = 400_000_000
MATCH = "^(gzip|sha256sum)$"
# (starts at s, ends at s, program)
SCHEDULE = ((1, 17, ["gzip", "-6", "-c"]), (4, 19, ["sha256sum"]), (8, 15, ["gzip", "-1", "-c"]))


def _real_files() -> list[str]:
    """This machine's largest program files, some 400 MB of them (or as many as there are)."""
    sizes = []
    for folder in ("/usr/bin", "/usr/lib"):
        for where, _, names in os.walk(folder):
            for name in names:
                path = Path(where, name)
                if path.is_file() and not path.is_symlink() and os.access(path, os.R_OK):
                    sizes.append((path.stat().st_size, str(path)))
    sizes = [one for one in sizes if one[0] > 100_000]  # command lines have a limit
    chosen, total = [], 0
    for size, path_text in sorted(sizes, reverse=True):
        chosen.append(path_text)
        total += size
        if total > WANTED_BYTES:
            break
    return chosen * max(1, 4 * WANTED_BYTES // max(total, 1))


class Work:
    """The scheduled processes, and the CPU that the kernel says they used."""

    def __init__(self) -> None:
        self._files = _real_files()
        self._running: dict[int, subprocess.Popen[bytes]] = {}
        self.pids: set[int] = set()
        self.cpu_s = 0.0

    def step(self, second: float) -> None:
        """Start and end what the schedule says for this second of the run."""
        for index, (begin, end, program) in enumerate(SCHEDULE):
            if begin <= second < end and index not in self._running:
                self._running[index] = subprocess.Popen(
                    [*program, *self._files], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
                )
                self.pids.add(self._running[index].pid)
            elif second >= end and index in self._running:
                self._end(index)

    def _end(self, index: int) -> None:
        process = self._running.pop(index)
        os.kill(process.pid, signal.SIGTERM)  # not collected yet, so the pid is still its own
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        self.cpu_s += used.ru_utime + used.ru_stime

    def end(self) -> None:
        """End whatever still runs."""
        for index in list(self._running):
            self._end(index)


def _call(run_id: str, *command: str, **more: str) -> int:
    environ = {**os.environ, "RUN_ID": run_id, **more}
    return subprocess.run(command, cwd=ROOT, env=environ, check=False).returncode


def _iface(settings: Settings) -> str:
    """The NIC as start-collect would find it; the loopback where this machine has no route at all."""
    try:
        return identity.find_nic(settings)
    except TracekitError:
        cli.out("this machine has no default route: the demo watches the loopback interface")
        return "lo"


def _work(work: Work) -> None:
    began = time.monotonic()
    while (second := time.monotonic() - began) < SECONDS:
        work.step(second)
        if sys.stdout.isatty():
            print(f"\r  collecting: {second:4.1f} of {SECONDS} s", end="", flush=True)  # noqa: T201
        time.sleep(0.2)
    if sys.stdout.isatty():
        print("\r" + " " * 40 + "\r", end="")  # noqa: T201


def main(argv: Sequence[str] | None = None) -> int:
    """Run the demo; the exit code of the first step that fails."""
    cli.parser(__doc__ or "").parse_args(argv)
    settings = cli.load_settings()
    run_id = settings["RUN_ID"] or time.strftime("demo-%Y%m%dT%H%M%SZ", time.gmtime())
    collect = ("bash", "tools/collect_sys.sh")
    cli.out(f"demo: {SECONDS} s of gzip and sha256sum over this machine's own files")
    more = {"PROC_MATCH": MATCH, "PROC_REFRESH": "1", "CONTAINER": "", "IFACE": _iface(settings)}
    code = _call(run_id, *collect, "start", **more)
    if code:
        return code
    work = Work()
    try:
        _work(work)
    finally:
        work.end()
        code = _call(run_id, *collect, "stop")
    python = (sys.executable, "-I")
    code = code or _call(run_id, *python, "tools/parse_sys.py")
    if code not in (cli.DONE, cli.REJECTED):
        return code
    code = _call(run_id, *python, "tools/validate.py", DIR="")
    if code:
        return code
    cli.out()
    code = _call(run_id, *python, "tools/show.py", DIR="")
    traced_s = cpu_seconds(ROOT / "logs" / run_id / "cctf", work.pids)
    share = f" ({100 * traced_s / work.cpu_s:.1f} %)" if work.cpu_s else ""
    cli.out(
        f"Truth      of the demo's own {len(work.pids)} processes the trace holds {traced_s:.2f} s of CPU,"
    )
    cli.out(f"           the kernel counted {work.cpu_s:.2f} s when they ended (wait4){share}")
    return code


if __name__ == "__main__":
    raise SystemExit(cli.run(main))
