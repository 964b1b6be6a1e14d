#!/usr/bin/env python3
"""Hold a simulation against the run: makespan, throughput, waits, responses, and CPU by node.

The run is the data set of DIR or RUN_ID. The simulation is SIM: a directory that `make replay` wrote
(default: exports/replay beside the data set) or an output of OpenDC. Each figure has n, a 95 % interval and
the gate that GATES (default: scenarios/gates.json) gives it; FLOOR names a repetition of the run, whose
difference stands beside. Exit code 0: every judged figure passed; 1: one did not, or nothing could be
judged. All of it goes to exports/verify.json.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tracekit import cli
from tracekit.dataset import open_dataset
from tracekit.runs import cctf_of, chosen_cctf
from tracekit.verify.compare import PASS
from tracekit.verify.gates import GATES, read_gates
from tracekit.verify.report import make_report


def main(argv: Sequence[str] | None = None) -> int:
    """One comparison."""
    parser = cli.parser(__doc__ or "")
    parser.add_argument("dir", nargs="?", metavar="DIR")
    settings = cli.load_settings(DIR=parser.parse_args(argv).dir)
    dataset = open_dataset(chosen_cctf(settings))
    folder = Path(settings["SIM"]) if settings["SIM"] else dataset.home / "exports" / "replay"
    gates = read_gates(Path(settings["GATES"]) if settings["GATES"] else GATES)
    repeated = open_dataset(cctf_of(settings["FLOOR"])) if settings["FLOOR"] else None
    report = make_report(dataset, folder, gates, repeated)
    for line in report.lines():
        cli.out(line)
    path = report.write(dataset)
    cli.out(f"{report.verdict}: {report.told()}; written to {cli.shown(path)}")
    return cli.DONE if report.verdict == PASS else cli.FAILED


if __name__ == "__main__":
    raise SystemExit(cli.run(main))
