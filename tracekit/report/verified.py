"""What `make verify` found last, where it has run: each figure of the real and of the simulated run."""

import hashlib
from typing import Any

import msgspec

from tracekit.dataset import Dataset
from tracekit.errors import TracekitError


class Finding(msgspec.Struct, frozen=True):
    """One figure. n: values, real and simulated. error and interval: percent of the real value; of a KS
    distance, the distance. verdict: PASS, FAIL, or why it is not judged."""

    name: str
    verdict: str
    n: tuple[int, int]
    real: float | None = None
    sim: float | None = None
    error: float | None = None
    interval: tuple[float, float] | None = None
    gate: float | None = None


class Verified(msgspec.Struct, frozen=True):
    """exports/verify.json. floor: the same figures of a repeated real run, where one was given."""

    manifest_sha256: str
    verdict: str
    findings: list[Finding]
    floor: list[Finding] = []


def read_verified(dataset: Dataset) -> dict[str, Any] | None:
    """The comparison as the page shows it; None where verify has not run on this run.

    is_older: the data set has been made anew since. Raises TracekitError where the file is damaged."""
    path = dataset.home / "exports" / "verify.json"
    try:
        verified = msgspec.json.decode(path.read_bytes(), type=Verified)
    except FileNotFoundError:
        return None
    except msgspec.MsgspecError as error:
        raise TracekitError(f"{path}: {error}; `make verify` writes it anew") from error
    manifest = hashlib.sha256((dataset.folder / "manifest.json").read_bytes()).hexdigest()
    floor = {one.name: one.error for one in verified.floor}
    return {
        "verdict": verified.verdict,
        "is_older": verified.manifest_sha256 != manifest,
        "findings": [msgspec.to_builtins(one) | {"floor": floor.get(one.name)} for one in verified.findings],
    }
