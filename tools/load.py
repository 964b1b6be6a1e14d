#!/usr/bin/env python3
"""Send load to the reference service at VM_IP (else 127.0.0.1) and PORT: RATE requests a second for DURATION.

KIND: json, gzip (and gunzip), hash, kvset, kvget (which sets its keys first), or all of them in turn. Each
request has a trace of its own; what vegeta measured goes to logs/<RUN_ID>/events_client.jsonl, and the
rate, duration and what is known of the service into run_meta.json. Without RUN_ID: the run of the service
that was started here, else the live run, else a new one that the next start-collect takes.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tracekit import cli, jsonl
from tracekit.collect.identity import git_sha
from tracekit.collect.runmeta import run_meta_so_far, service_as_given
from tracekit.errors import TracekitError
from tracekit.load.attack import attack
from tracekit.load.results import Tally
from tracekit.load.targets import KEYS, MIXES
from tracekit.runs import Run, await_start
from tracekit.service.plan import answers, authority, choose_run, make_plan
from tracekit.service.state import Started, all_started
from tracekit.settings import Settings

FILE = "events_client.jsonl"


def _service_here(settings: Settings, host: str) -> Started | None:
    """The service that is to be asked, where it was started from this checkout."""
    found = [one for one in all_started() if (one.host, one.port) == (host, int(settings["PORT"]))]
    wanted = [one for one in found if settings["RUN_ID"] in ("", one.run.run_id)]
    return wanted[-1] if wanted else None


def _note_load(run: Run, settings: Settings, service: Started | None, seconds: float) -> None:
    """The load generator's part of run_meta.json; what is not known here stays as it is."""
    found = {"scen": service.scen, "img": service.image, "workers": service.workers} if service else {}
    part = {
        "run_id": run.run_id,
        "rate": float(settings["RATE"]),
        "duration": seconds,
        "git_sha": git_sha(),
        **{field: value for field, value in found.items() if value is not None},
        **service_as_given(settings),
    }
    jsonl.write_document(run.dir / "run_meta.json", run_meta_so_far(run) | part)


def _tell(tally: Tally, seconds: float, rate: int, run: Run) -> None:
    count = len(tally.latencies_ms)
    cli.out(f"{count} requests, {count / seconds:.0f} a second of {rate}; {tally.answered_well} succeeded")
    for outcome, times in sorted(tally.outcomes.items()):
        cli.out(f"  {times:>8}  {outcome}")
    p50, p95, p99 = tally.percentiles_ms()
    cli.out(f"latency ms: p50 {p50:.2f}, p95 {p95:.2f}, p99 {p99:.2f}")
    cli.out(f"written to logs/{run.run_id}/{FILE}")


def _load(settings: Settings, kind: str) -> int:
    host, port = settings["VM_IP"] or "127.0.0.1", int(settings["PORT"])
    service = _service_here(settings, host)
    run, invented = (service.run, False) if service else choose_run(settings)
    if not answers(host, port):
        raise TracekitError(f"nobody serves on {host}:{port}: `make run-local`, or give VM_IP= and PORT=")
    if invented:
        await_start(run)
    run.dir.mkdir(mode=0o750, parents=True, exist_ok=True)
    rate, seconds = int(settings["RATE"]), float(settings["DURATION"].rstrip("s"))
    known = settings["NODE_ID"] or (service.node if service else "")
    node = known or make_plan(settings, run, invented).node
    base = f"http://{authority(host, port)}"
    _note_load(run, settings, service, seconds)
    if "kvget" in MIXES[kind]:
        attack(base, ("kvset",), KEYS, 1.0, run.dir / FILE, node)
    tally = attack(base, MIXES[kind], rate, seconds, run.dir / FILE, node)
    _tell(tally, seconds, rate, run)
    if not tally.answered_well:
        raise TracekitError("no request succeeded")
    return cli.DONE


def main(argv: Sequence[str] | None = None) -> int:
    """One load."""
    parser = cli.parser(__doc__ or "")
    parser.add_argument("kind", choices=MIXES)
    return _load(cli.load_settings(), parser.parse_args(argv).kind)


if __name__ == "__main__":
    raise SystemExit(cli.run(main))
