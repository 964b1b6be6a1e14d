#!/usr/bin/env python3
"""Hold a simulation against the run: makespan, throughput, waits, responses, CPU and cores in use.

The run is the data set of DIR or RUN_ID. The simulation is SIM: a directory that `make replay` wrote
(default: exports/replay beside the data set) or an output of OpenDC. Each figure has n, a 95 % interval and
the gate that GATES (default: scenarios/gates.json) gives it; FLOOR names a repetition of the run, whose
difference stands beside. Exit code 0: every judged figure passed; 1: one did not, or nothing could be
judged. All of it goes to exports/verify.json.
"""

import sys
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tracekit import ROOT, cli, jsonl
from tracekit.dataset import open_dataset
from tracekit.replay.run import manifest_hash
from tracekit.runs import cctf_of, chosen_cctf
from tracekit.verify.compare import FAIL, PASS, Finding
from tracekit.verify.gates import read_gates
from tracekit.verify.verify import floor, verify

GATES = ROOT / "scenarios" / "gates.json"


def _shown(value: float | None, unit: str = "") -> str:
    return "" if value is None else f"{value:.3f}" if unit != "%" else f"{value:+.2f}"


def _row(one: Finding, beside: Finding | None) -> str:
    error = _shown(one.error, "" if one.name.endswith("KS") else "%")
    between = "" if one.interval is None else f"{one.interval[0]:.2f} .. {one.interval[1]:.2f}"
    floor_error = "" if beside is None else _shown(beside.error, "" if one.name.endswith("KS") else "%")
    gate = "" if one.gate is None else f"{one.gate:g}"
    counts = f"{one.n[0]}/{one.n[1]}"
    figures = f"{_shown(one.real):>12} {_shown(one.sim):>12} {error:>9} {between:>20} {floor_error:>9}"
    return f"{one.name:<24} {counts:>15} {figures} {gate:>5}  {one.verdict}".rstrip()


def _tell(findings: Iterable[Finding], beside: dict[str, Finding]) -> None:
    heads = f"{'real':>12} {'simulated':>12} {'error %':>9} {'95 % interval':>20} {'floor %':>9} {'gate':>5}"
    cli.out(f"{'':<24} {'n':>15} {heads}")
    for one in findings:
        cli.out(_row(one, beside.get(one.name)))


def main(argv: Sequence[str] | None = None) -> int:
    """One comparison."""
    parser = cli.parser(__doc__ or "")
    parser.add_argument("dir", nargs="?", metavar="DIR")
    settings = cli.load_settings(DIR=parser.parse_args(argv).dir)
    dataset = open_dataset(chosen_cctf(settings))
    folder = Path(settings["SIM"]) if settings["SIM"] else dataset.home / "exports" / "replay"
    gates = read_gates(Path(settings["GATES"]) if settings["GATES"] else GATES)
    findings = list(verify(dataset, folder, gates))
    beside = (
        list(floor(dataset, open_dataset(cctf_of(settings["FLOOR"])), gates)) if settings["FLOOR"] else []
    )
    _tell(findings, {one.name: one for one in beside})
    verdicts = [one.verdict for one in findings if one.verdict in (PASS, FAIL)]
    verdict = PASS if verdicts and FAIL not in verdicts else FAIL
    out = dataset.home / "exports" / "verify.json"
    out.parent.mkdir(mode=0o750, exist_ok=True)
    report = {
        "run_id": dataset.manifest.run_id,
        "manifest_sha256": manifest_hash(dataset),
        "verdict": verdict,
        "findings": [asdict(one) for one in findings],
        "floor": [asdict(one) for one in beside],
    }
    jsonl.write_document(out, report)
    failed = verdicts.count(FAIL)
    cli.out(f"{verdict}: {failed} of {len(verdicts)} judged figures failed; written to {cli.shown(out)}")
    return cli.DONE if verdict == PASS else cli.FAILED


if __name__ == "__main__":
    raise SystemExit(cli.run(main))
