"""A data set and a simulation of it: what may be compared, and the figures."""

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tracekit.dataset import Dataset
from tracekit.errors import TracekitError
from tracekit.jsonl import read_document
from tracekit.replay.run import manifest_hash
from tracekit.verify.compare import Finding, compare
from tracekit.verify.gates import Gates
from tracekit.verify.observed import Observed, read_replay, read_run
from tracekit.verify.opendc import find_tasks, is_verbatim, read_opendc

_DELAY_SHARE = 0.01  # of all response time: recorded delays below this decide nothing


def verify(dataset: Dataset, folder: Path, gates: Gates) -> Iterator[Finding]:
    """The figures of the run and of the simulation in folder.

    Raises TracekitError where that would be circular."""
    real = read_run(dataset)
    sim, given = _read_simulation(dataset, folder)
    if real.cpu_source == "invocations":
        given["cpu"] = "input: no process was sampled"
    yield from compare(real, sim, gates, given)


def floor(dataset: Dataset, repeated: Dataset, gates: Gates) -> Iterator[Finding]:
    """The same figures of a run and its repetition: nothing simulated can be expected to be nearer."""
    if manifest_hash(dataset) == manifest_hash(repeated):
        raise TracekitError(f"FLOOR={repeated.manifest.run_id} is the run itself, not a repetition of it")
    yield from compare(read_run(dataset), read_run(repeated), gates, {})


def _read_simulation(dataset: Dataset, folder: Path) -> tuple[Observed, dict[str, str]]:
    """The simulation, and which of its figures are its input."""
    if (folder / "manifest.json").exists():
        raise TracekitError(
            f"{folder} is a recorded data set, no simulation; a repeated run goes into FLOOR="
        )
    summary = read_document(folder / "summary.json")
    if summary:
        _refuse_circular(dataset, folder, summary)
        try:
            return read_replay(folder, summary), _given_of_replay(dataset, summary)
        except (KeyError, TypeError) as error:
            raise TracekitError(f"{folder / 'summary.json'}: not as replay writes it ({error!r})") from error
    tasks = find_tasks(folder) if folder.is_dir() else None
    if tasks is None:
        raise TracekitError(f"{folder}: no simulation here; `make replay` makes one, or give SIM=")
    given = {"cpu": "input: NoDelay", "response": "input: NoDelay"} if is_verbatim(tasks.parent) else {}
    return read_opendc(tasks), given


def _refuse_circular(dataset: Dataset, folder: Path, summary: dict[str, Any]) -> None:
    if summary.get("simulated") is not True:
        raise TracekitError(f"{folder / 'summary.json'} does not say that this is simulated")
    ours = manifest_hash(dataset)
    if any(one.get("manifest_sha256") == ours for one in summary.get("trained_on", [])):
        raise TracekitError(
            f"{folder}: its parameters were fitted on this very run; calibrate on others and replay again"
        )
    listed = {file.name: file.sha256 for file in dataset.manifest.files}
    for name in ("invocations.jsonl", "events_client.jsonl"):
        path = folder / name
        if path.exists() and _sha256(path) == listed.get(name):
            raise TracekitError(
                f"{path} is the run's own {name}: an input held against itself proves nothing"
            )


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def _given_of_replay(dataset: Dataset, summary: dict[str, Any]) -> dict[str, str]:
    """Delays of this run that were replayed as recorded are part of its responses."""
    if summary["input"]["manifest_sha256"] != manifest_hash(dataset):
        return {}
    responses = summary["response_ms"]["mean"] * summary["response_ms"]["n"]
    share = summary["counts"]["recorded_delay_ms"] / responses if responses else 0.0
    return {"response": f"input: {100 * share:.0f} % recorded delay"} if share > _DELAY_SHARE else {}
