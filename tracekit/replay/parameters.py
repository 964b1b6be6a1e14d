"""The file that calibrate writes and replay takes: parameters, and the runs they were fitted on."""

from pathlib import Path

import msgspec

from tracekit.errors import TracekitError
from tracekit.jsonl import write_document


class NodeParameters(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """As in model.NodeModel; null: as the recording or the user says."""

    cores: float | None = None
    slots: int | None = None
    speed: float = 1.0
    overhead_cpu_ms: float = 0.0
    first_cpu_ms: float = 0.0
    delay_ms: float | None = None


class TrainedOn(msgspec.Struct, frozen=True):
    """A run, by the hash of its manifest: what it is called or where it lies does not count."""

    run_id: str
    manifest_sha256: str


class Parameters(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What was fitted, and on which runs."""

    policy: str
    nodes: dict[str, NodeParameters]
    trained_on: list[TrainedOn] = []


NONE = Parameters("", {})


def read(path: Path) -> Parameters:
    """Raises TracekitError where path is no such file."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=Parameters)
    except (OSError, msgspec.MsgspecError) as error:
        raise TracekitError(
            f"{path}: no parameters of a replay ({error}); `make calibrate` writes them"
        ) from error


def write(path: Path, parameters: Parameters) -> None:
    """Replace path atomically."""
    path.parent.mkdir(mode=0o750, parents=True, exist_ok=True)
    write_document(path, msgspec.to_builtins(parameters))
