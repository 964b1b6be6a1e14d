"""A comparison as a table and as a document."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from tracekit.dataset import Dataset
from tracekit.jsonl import write_document
from tracekit.replay.run import manifest_hash
from tracekit.verify.compare import FAIL, PASS, Finding
from tracekit.verify.gates import Gates
from tracekit.verify.verify import floor, verify


@dataclass(frozen=True)
class Report:
    """The figures of a run and its simulation; beside: those of the run and its repetition."""

    findings: list[Finding]
    beside: list[Finding]

    @property
    def judged(self) -> list[str]:
        """The verdicts of the figures that have one."""
        return [one.verdict for one in self.findings if one.verdict in (PASS, FAIL)]

    @property
    def verdict(self) -> str:
        """PASS where some figure was judged and none failed."""
        return PASS if self.judged and FAIL not in self.judged else FAIL

    def told(self) -> str:
        """The verdict's reason."""
        return f"{self.judged.count(FAIL)} of {len(self.judged)} judged figures failed"

    def lines(self) -> Iterator[str]:
        """The table for the terminal."""
        floors = {one.name: one for one in self.beside}
        heads = (
            f"{'real':>12} {'simulated':>12} {'error %':>9} {'95 % interval':>19} {'floor %':>9} {'gate':>5}"
        )
        yield f"{'':<24} {'n':>13} {heads}"
        for one in self.findings:
            yield _row(one, floors.get(one.name))

    def write(self, dataset: Dataset) -> Path:
        """exports/verify.json beside the data set."""
        path = dataset.home / "exports" / "verify.json"
        path.parent.mkdir(mode=0o750, exist_ok=True)
        document = {
            "run_id": dataset.manifest.run_id,
            "manifest_sha256": manifest_hash(dataset),
            "verdict": self.verdict,
            "findings": [asdict(one) for one in self.findings],
            "floor": [asdict(one) for one in self.beside],
        }
        write_document(path, document)
        return path


def make_report(dataset: Dataset, folder: Path, gates: Gates, repeated: Dataset | None) -> Report:
    """Compare; repeated: the repetition of the run, where there is one.

    Raises TracekitError as verify does."""
    beside = [] if repeated is None else list(floor(dataset, repeated, gates))
    return Report(list(verify(dataset, folder, gates)), beside)


def _row(one: Finding, beside: Finding | None) -> str:
    between = "" if one.interval is None else f"{one.interval[0]:.2f} .. {one.interval[1]:.2f}"
    errors = f"{_error(one):>9} {between:>19} {'' if beside is None else _error(beside):>9}"
    gate = "" if one.gate is None else f"{one.gate:g}"
    counts = f"{one.n[0]}/{one.n[1]}"
    values = f"{_value(one.real):>12} {_value(one.sim):>12}"
    return f"{one.name:<24} {counts:>13} {values} {errors} {gate:>5}  {one.verdict}"


def _value(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"


def _error(one: Finding) -> str:
    return "" if one.error is None else f"{one.error:.3f}" if one.name.endswith("KS") else f"{one.error:+.2f}"
