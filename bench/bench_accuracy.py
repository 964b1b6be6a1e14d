"""How near a replay comes to the reference service: fitted at two loads, judged at a third.

One worker on one core, the load generator on the others. How many requests a second that worker answers is
measured first, with 16 connections that ask as fast as they are answered. Then four runs, collected and
parsed as a user would: at 20 %, 60 % and 85 % of that rate, and 85 % once more. `make calibrate` fits on the
first two and predicts the third; `make verify` sets the difference of the third and the fourth beside it.
KIND (all): the load target; SECONDS (30): of each run. The runs stay in logs/accuracy-*.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from bench_app import _attack as saturate
from bench_app import _port as free_port

from tracekit.load.targets import MIXES

KIND = os.environ.get("KIND", "all")
SECONDS = os.environ.get("SECONDS", "30")
LOADS = {"light": 0.20, "middle": 0.60, "high": 0.85, "again": 0.85}
TARGETS = {"response p50": 10, "response p95": 20, "CPU-seconds": 2}  # percent


def _pinned(cores: set[int]) -> list[str]:
    """The words that keep a command on these cores; none on a machine with one."""
    return ["taskset", "-c", ",".join(map(str, sorted(cores)))] if (os.cpu_count() or 1) > 1 else []


SERVICE = _pinned({0})
OTHERS = _pinned(set(range(1, os.cpu_count() or 1)))


def _run_id(load: str) -> str:
    return f"accuracy-{KIND}-{load}"


def _call(words: Sequence[str], env: Mapping[str, str], prefix: Sequence[str] = ()) -> None:
    """One of our commands. Raises CalledProcessError where it fails; what it says on stderr is seen."""
    environ = {**os.environ, "VM_IP": "", "DEFAULT_NEXT_URL": "", "WORKERS": "1", **env}
    command = [*prefix, *((sys.executable, "-I") if words[0].endswith(".py") else ()), *words]
    subprocess.run(command, cwd=ROOT, env=environ, stdout=subprocess.DEVNULL, check=True)


@contextmanager
def _serving(run_id: str) -> Iterator[dict[str, str]]:
    """The service of a new run of this name; the variables that name both."""
    env = {"RUN_ID": run_id, "PORT": str(free_port()), "NODE_ID": "vm1", "IFACE": "lo", "PROC_SAMPLING": "1"}
    if (ROOT / "logs" / run_id).exists():
        _call(["tools/clean_run.py"], env)
    _call(["tools/service.py", "run-local"], env, SERVICE)
    try:
        yield env
    finally:
        _call(["tools/service.py", "stop"], env)


def capacity() -> float:
    """Requests a second that the service answers when it is never idle."""
    with _serving(_run_id("capacity")) as env:
        saturate(
            MIXES["all"], int(env["PORT"]), 1, must_succeed=False
        )  # a key may be asked for before it is set
        return saturate(MIXES[KIND], int(env["PORT"]), 4, must_succeed=False)


def record(load: str, rate: int) -> None:
    """One run, from its service to its data set."""
    with _serving(_run_id(load)) as env:
        env["PROC_MATCH"] = f"app/serve.py .*--port {env['PORT']}\\b"
        env |= {"RATE": str(rate), "DURATION": SECONDS}
        _call(["bash", "tools/collect_sys.sh", "start"], env)
        try:
            _call(["tools/load.py", KIND], env, OTHERS)
        finally:
            _call(["bash", "tools/collect_sys.sh", "stop"], env)
    _call(["tools/parse_sys.py"], env)


def compare() -> dict[str, dict[str, float]]:
    """The errors of the prediction and of the repetition, percent, by figure."""
    runs = {"RUN_ID": _run_id("high"), "TRAIN": f"{_run_id('light')} {_run_id('middle')}"}
    own = {**os.environ, **runs, "FLOOR": _run_id("again"), "DIR": "", "SIM": "", "PARAMS": ""}
    for name in ("POLICY", "CORES", "NODES", "SLOTS"):
        own.pop(name, None)
    for tool in ("tools/calibrate.py", "tools/verify.py"):  # verify fails where a gate does
        subprocess.run([sys.executable, "-I", tool], cwd=ROOT, env=own, check=False)
    report = json.loads((ROOT / "logs" / _run_id("high") / "exports" / "verify.json").read_text())
    return {
        what: {one["name"]: one["error"] for one in report[part]}
        for what, part in (("predicted", "findings"), ("repeated", "floor"))
    }


def main() -> None:
    """Measure, and print both tables and what reached its target."""
    whole = capacity()
    print(f"{KIND}: {whole:.0f} requests a second at most; load average {os.getloadavg()[0]:.1f}", flush=True)
    for load, share in LOADS.items():
        record(load, max(round(whole * share), 1))
        average = os.getloadavg()[0]
        print(
            f"  {load}: {share:.0%}, {whole * share:.0f}/s for {SECONDS} s; load average {average:.1f}",
            flush=True,
        )
        time.sleep(1)
    errors = compare()
    print(f"{'figure':<14} {'target %':>9} {'predicted %':>12} {'repeated %':>11}")
    for figure, target in TARGETS.items():
        predicted, repeated = errors["predicted"][figure], errors["repeated"][figure]
        verdict = "reached" if abs(predicted) <= target else "missed"
        print(f"{figure:<14} {target:>9} {predicted:>+12.1f} {repeated:>+11.1f}  {verdict}")


if __name__ == "__main__":
    main()
