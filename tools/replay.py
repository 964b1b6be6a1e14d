#!/usr/bin/env python3
"""Replay the recorded requests of a run on a model of its nodes and links, and tell what they would have
waited.

In: the data set of DIR or RUN_ID. Out: exports/replay/ beside it: simulated invocations and client
requests, utilisation and summary.json. What-if, one thing changed: CORES (of each node) or
NODES=node=cores,...; SLOTS (requests that a node serves at once); POLICY=fifo or ps; RATE (requests a
second that the arrivals are scaled to). PARAMS names a file that `make calibrate` wrote. docs/replay.md
defines the model.
"""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tracekit import cli
from tracekit.dataset import Dataset, open_dataset
from tracekit.replay.model import Model
from tracekit.replay.parameters import NONE, Parameters
from tracekit.replay.parameters import read as read_parameters
from tracekit.replay.run import WhatIf, make_model, replay
from tracekit.runs import chosen_cctf
from tracekit.settings import Settings

_ASSUMED = {  # what the summary counts, as people read it
    "unserved": "requests of the load generator that no invocation tells of were left out",
    "no_arrival": "invocations without ts_enqueue were left out",
    "imputed_demand": "demands are service times, for want of cpu_time_ms",
    "unknown_delay": "invocations without service_time_ms have no delay",
    "external_calls": "calls to what is not in the trace take as long as they took",
    "unknown_bytes": "messages of unknown size take no bandwidth",
    "unknown_links": "properties of links are unknown and take no time",
}


def _model(settings: Settings, dataset: Dataset, fitted: Parameters) -> Model:
    nodes = [part.rpartition("=") for part in settings["NODES"].split(",") if part]
    return make_model(
        dataset,
        fitted,
        WhatIf(
            cores={name: float(count) for name, _, count in nodes},
            all_cores=float(settings["CORES"]) if settings["CORES"] else None,
            slots=int(settings["SLOTS"]) if settings["SLOTS"] else None,
            policy=settings["POLICY"],
            demand=settings["DEMAND"],
            rate=float(settings["RATE"]) if "RATE" in settings.given else None,
        ),
    )


def _tell(summary: dict[str, Any]) -> None:
    counts = summary["counts"]
    cli.out(f"{counts['requests']} requests, {counts['visits']} invocations replayed")
    cli.out(f"  {'ms':<9} {'mean':>10} {'p50':>10} {'p95':>10} {'p99':>10}")
    for what in ("response", "wait"):
        figures = " ".join(f"{summary[f'{what}_ms'][one]:>10.3f}" for one in ("mean", "p50", "p95", "p99"))
        cli.out(f"  {what:<9} {figures}")
    rate = summary["throughput_per_s"]
    told = f", {rate:.2f} requests a second" if rate else ""
    cli.out(f"  makespan {summary['makespan_ms'] / 1000:.3f} s{told}")
    for name, node in summary["nodes"].items():
        cores = summary["model"]["nodes"][name]["cores"]
        busy = (
            "" if node["utilisation"] is None else f", {100 * node['utilisation']:.2f} % of {cores:g} cores"
        )
        cli.out(f"  {name}: {node['invocations']} invocations, {node['cpu_s']:.3f} CPU-s{busy}")
    for what, meaning in _ASSUMED.items():
        number = len(counts[what]) if isinstance(counts[what], list) else counts[what]
        if number:
            cli.out(f"  {number} {meaning}")


def main(argv: Sequence[str] | None = None) -> int:
    """One replay."""
    parser = cli.parser(__doc__ or "")
    parser.add_argument("dir", nargs="?", metavar="DIR")
    settings = cli.load_settings(DIR=parser.parse_args(argv).dir)
    dataset = open_dataset(chosen_cctf(settings))
    fitted = read_parameters(Path(settings["PARAMS"])) if settings["PARAMS"] else NONE
    folder, summary = replay(dataset, _model(settings, dataset, fitted), fitted)
    _tell(summary)
    cli.out(f"written to {cli.shown(folder)}/")
    return cli.DONE


if __name__ == "__main__":
    raise SystemExit(cli.run(main))
