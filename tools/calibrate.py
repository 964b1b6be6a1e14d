#!/usr/bin/env python3
"""Fit the parameters of a replay on the runs TRAIN, and tell how far they are off on another one, RUN_ID.

Fitted are the overhead of a request, the cores that serve, their speed, the policy and the delay; POLICY
and CORES, where given, stay as they are. They go to PARAMS (default: exports/calibrate.json beside the data
set of RUN_ID), which replay takes. The run RUN_ID is replayed with them and held against the recording, as
verify does.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tracekit import cli
from tracekit.calibrate import fit
from tracekit.dataset import open_dataset
from tracekit.errors import UsageError
from tracekit.replay.parameters import Parameters
from tracekit.replay.parameters import write as write_parameters
from tracekit.replay.run import WhatIf, make_model, replay
from tracekit.runs import cctf_of, chosen_cctf
from tracekit.verify.gates import GATES, read_gates
from tracekit.verify.report import make_report


def _tell(fitted: Parameters, loss: float) -> None:
    runs = ", ".join(one.run_id for one in fitted.trained_on)
    cli.out(f"fitted on {runs}: {fitted.policy}; off by {100 * loss:.1f} % there, in the mean of the shares")
    for name, node in fitted.nodes.items():
        cpu = f"{node.overhead_cpu_ms:g} ms of CPU more a request, {node.first_cpu_ms:g} where cores idle"
        cli.out(f"  {name}: {node.cores:g} cores of speed {node.speed:g}; {cpu}; delay {node.delay_ms:g} ms")


def main(argv: Sequence[str] | None = None) -> int:
    """One calibration."""
    parser = cli.parser(__doc__ or "")
    parser.add_argument("dir", nargs="?", metavar="DIR")
    settings = cli.load_settings(DIR=parser.parse_args(argv).dir)
    names = settings["TRAIN"].split()
    if not names:
        raise UsageError('give the runs to fit on: TRAIN="run1 run2"')
    held_out = open_dataset(chosen_cctf(settings))
    cores = float(settings["CORES"]) if settings["CORES"] else None
    found = fit([open_dataset(cctf_of(name)) for name in names], held_out, settings["POLICY"], cores)
    _tell(found.parameters, found.loss)
    path = Path(settings["PARAMS"]) if settings["PARAMS"] else held_out.home / "exports" / "calibrate.json"
    write_parameters(path, found.parameters)
    cli.out(f"written to {cli.shown(path)}; replay takes it as PARAMS=")
    folder, _ = replay(held_out, make_model(held_out, found.parameters, WhatIf()), found.parameters)
    cli.out(f"on {held_out.manifest.run_id}, which they have not seen:")
    gates = read_gates(Path(settings["GATES"]) if settings["GATES"] else GATES)
    report = make_report(held_out, folder, gates, None)
    for line in report.lines():
        cli.out(line)
    report.write(held_out)
    return cli.DONE


if __name__ == "__main__":
    raise SystemExit(cli.run(main))
