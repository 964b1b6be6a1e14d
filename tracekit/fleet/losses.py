"""What a merged trace lacks, from its quality.json: missing ticks, and the marks of each node."""

from collections.abc import Iterator, Mapping
from typing import Any


def losses(quality: Mapping[str, Any]) -> Iterator[str]:
    """A line for each series with missing ticks, and for each mark but those on
    records from before and after the run. quality: {"nodes": {node: its own}}."""
    for node, told in sorted(quality.get("nodes", {}).items()):
        for series, account in told.get("collectors", {}).items():
            if account["missing"]:
                count = f"{account['missing']} of {account['expected']}"
                reasons = ", ".join(sorted({gap["reason"] for gap in account["gaps"]}))
                yield f"{node}: {series}: {count} ticks missing ({reasons})"
        for mark in told.get("marks", []):
            if mark["kind"] == "outside_run":  # the service begins before the collectors, and ends after them
                continue
            yield f"{node}: mark {mark['kind']}: {mark['detail']}"
