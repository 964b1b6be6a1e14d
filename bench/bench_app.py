"""What tracing costs the reference service: requests a second without it, with ours, with OpenTelemetry's.

One worker on one core, vegeta on the others, as fast as the worker answers (16 connections), the same
requests to each. The three take turns, so that a machine that slows down slows all; medians, and ratios
within a round.
"""

import json
import os
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from base64 import b64encode
from importlib.util import find_spec
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from tracekit.load.attack import vegeta
from tracekit.load.targets import MIXES, asks_of

LOADS = {
    "all endpoints in turn, as `make real-all`": MIXES["all"],
    "the lightest of them, /kv/get": ("kvget",),
}
ROUNDS = int(os.environ.get("ROUNDS", "5"))
SECONDS = 4
PLAIN, OURS, OTEL = "without tracing", "tracekit", "opentelemetry, spans to a file"
VARIANTS = {PLAIN: "app.main:api", OURS: "app.main:app", OTEL: "otel_app:app"}


def _port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _targets(kinds: tuple[str, ...], port: int) -> bytes:
    lines = []
    for kind in kinds:
        ask = asks_of(kind, 0)
        url = f"http://127.0.0.1:{port}{ask.path}"
        lines.append(json.dumps({"method": ask.method, "url": url, "body": b64encode(ask.body).decode()}))
    return "".join(f"{line}\n" for line in lines).encode()


def _attack(kinds: tuple[str, ...], port: int, seconds: float, must_succeed: bool = True) -> float:
    """Requests a second that were answered well. Raises RuntimeError where one was not that must."""
    attack = [vegeta(), "attack", "-format=json", "-rate=0", "-max-workers=16", f"-duration={seconds}s"]
    results = subprocess.run(attack, input=_targets(kinds, port), capture_output=True, check=True).stdout
    report = subprocess.run(
        [vegeta(), "report", "-type=json"], input=results, capture_output=True, check=True
    )
    told = json.loads(report.stdout)
    if must_succeed and told["success"] != 1:
        raise RuntimeError(f"not every request succeeded: {told['status_codes']} {told['errors']}")
    return float(told["throughput"])


def _serve(app: str, port: int, folder: Path) -> "subprocess.Popen[bytes]":
    command = [sys.executable, "-m", "uvicorn", app, "--port", str(port), "--no-access-log"]
    environ = {
        **os.environ,
        "PYTHONPATH": f"{ROOT}:{ROOT / 'bench'}",
        "TRACE_DIR": str(folder),
        "NODE_ID": "bench",
        "KV_PATH": str(folder / f"{port}.sqlite"),
        "SPANS": str(folder / f"spans.{port}.jsonl"),
    }
    server = subprocess.Popen([*command, "--log-level", "warning"], env=environ)
    os.sched_setaffinity(server.pid, {0})
    for _ in range(200):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return server
        time.sleep(0.05)
    raise RuntimeError(f"{app} does not answer")


def measure(app: str, folder: Path) -> dict[str, float]:
    """Requests a second by load, of one server that is started for this and warmed up first."""
    port = _port()
    server = _serve(app, port, folder)
    try:
        _attack(MIXES["all"], port, 1, must_succeed=False)  # a key may be asked for before it is set
        return {load: _attack(kinds, port, SECONDS) for load, kinds in LOADS.items()}
    finally:
        server.send_signal(signal.SIGTERM)
        server.wait()


def main() -> None:
    """Print a table a load."""
    variants = dict(VARIANTS)
    if find_spec("opentelemetry.instrumentation") is None:
        print("opentelemetry is not installed: `make bench-app` puts it beside")
        del variants[OTEL]
    os.sched_setaffinity(0, set(range(1, os.cpu_count() or 1)) or {0})  # vegeta inherits it
    rates: dict[str, list[dict[str, float]]] = {name: [] for name in variants}
    with tempfile.TemporaryDirectory() as scratch:
        for _ in range(ROUNDS):
            for name, app in variants.items():
                rates[name].append(measure(app, Path(scratch)))
    for load in LOADS:
        print(f"{load:<44} {'req/s':>8} {'of plain':>9} {'range':>15}")
        for name, several in rates.items():
            ratios = [one[load] / plain[load] for one, plain in zip(several, rates[PLAIN], strict=True)]
            rate = statistics.median(one[load] for one in several)
            span = f"{min(ratios):.2f} - {max(ratios):.2f}"
            print(f"  {name:<42} {rate:>8.0f} {statistics.median(ratios):>9.3f} {span:>15}")


if __name__ == "__main__":
    main()
