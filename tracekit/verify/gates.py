"""What error is allowed: a JSON file that a user edits; null: the figure is told and not judged."""

from pathlib import Path

import msgspec

from tracekit import ROOT
from tracekit.errors import TracekitError

GATES = ROOT / "scenarios" / "gates.json"


class Gates(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """In percent, KS as a distance. resolution_ms: a smaller difference of times is none."""

    wait_p50_pct: float | None = 5
    wait_p95_pct: float | None = 10
    wait_p99_pct: float | None = 20
    response_p50_pct: float | None = 10
    response_p95_pct: float | None = 20
    response_p99_pct: float | None = None
    makespan_pct: float | None = 1
    throughput_smape_pct: float | None = 5
    cpu_s_pct: float | None = 2
    utilisation_wape_pct: float | None = None
    wait_ks: float | None = None
    response_ks: float | None = None
    resolution_ms: float = 0.1


def read_gates(path: Path) -> Gates:
    """What a file leaves out is as above. Raises TracekitError where it is no such file."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=Gates)
    except (OSError, msgspec.MsgspecError) as error:
        raise TracekitError(f"{path}: {error}; the names are {', '.join(Gates.__struct_fields__)}") from error
