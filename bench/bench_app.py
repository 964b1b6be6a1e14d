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
from tracekit.load.targets import asks_of

ROUNDS = int(os.environ.get("ROUNDS", "7"))
SECONDS = 4
PLAIN, OURS, OTEL = "without tracing", "tracekit", "opentelemetry, spans to a file"
VARIANTS = {PLAIN: "app.main:api", OURS: "app.main:app", OTEL: "otel_app:app"}


def _port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _targets(port: int) -> bytes:
    """JSON to check and bytes to hash, in turn: small work, so that the tracing shows."""
    lines = []
    for kind in ("json", "hash", "kvset", "kvget"):
        ask = asks_of(kind, 0)
        url = f"http://127.0.0.1:{port}{ask.path}"
        body = b64encode(ask.body[:2048] if kind != "json" else ask.body).decode()
        lines.append(json.dumps({"method": ask.method, "url": url, "body": body}))
    return "".join(f"{line}\n" for line in lines).encode()


def _attack(port: int, seconds: float) -> float:
    """Requests a second that were answered well. Raises RuntimeError where one was not."""
    attack = [vegeta(), "attack", "-format=json", "-rate=0", "-max-workers=16", f"-duration={seconds}s"]
    results = subprocess.run(attack, input=_targets(port), capture_output=True, check=True).stdout
    report = subprocess.run(
        [vegeta(), "report", "-type=json"], input=results, capture_output=True, check=True
    )
    told = json.loads(report.stdout)
    if told["success"] != 1:
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


def measure(app: str, folder: Path) -> float:
    """Requests a second of one server, started for this and warmed up first."""
    port = _port()
    server = _serve(app, port, folder)
    try:
        _attack(port, 1)
        return _attack(port, SECONDS)
    finally:
        server.send_signal(signal.SIGTERM)
        server.wait()


def main() -> None:
    """Print the table."""
    variants = dict(VARIANTS)
    if find_spec("opentelemetry.instrumentation") is None:
        print("opentelemetry is not installed: `make bench-app` puts it beside")
        del variants[OTEL]
    os.sched_setaffinity(0, set(range(1, os.cpu_count() or 1)) or {0})  # vegeta inherits it
    rates: dict[str, list[float]] = {name: [] for name in variants}
    with tempfile.TemporaryDirectory() as scratch:
        for _ in range(ROUNDS):
            for name, app in variants.items():
                rates[name].append(measure(app, Path(scratch)))
    print(f"{'':<32} {'req/s':>8} {'of plain':>9} {'range':>15}")
    for name, several in rates.items():
        ratios = [one / plain for one, plain in zip(several, rates[PLAIN], strict=True)]
        span = f"{min(ratios):.2f} - {max(ratios):.2f}"
        print(f"{name:<32} {statistics.median(several):>8.0f} {statistics.median(ratios):>9.3f} {span:>15}")


if __name__ == "__main__":
    main()
