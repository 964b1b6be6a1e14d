#!/usr/bin/env python3
# Summary: CPU of each node as a PlanetLab file, for CloudSim and CloudSim Plus.
# Usage: make export-planetlab RUN_ID=run1, or tools/exporters/planetlab.py [DIR]
# Writes: <node>
# Source: CloudSim Plus, class UtilizationModelPlanetLab.
"""Writes one file a node: "# n", then n lines, the mean cpu_util of each 5 minutes from the node's start on.

The last line may cover less than 5 minutes. The format cannot say that a value is unknown: a node with 5
minutes without any sample is refused, or with IMPUTE=1 such a line repeats the one before it.
"""

import sys
from collections import defaultdict
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tracekit import cli
from tracekit.cli_export import exporter
from tracekit.dataset import Dataset
from tracekit.errors import TracekitError
from tracekit.export.audit import Audit
from tracekit.settings import Settings

WINDOW_MS = 300_000

Windows = dict[int, list[float]]  # number of the window -> cpu_util of its samples


def _windows(dataset: Dataset) -> dict[str, Windows]:
    """The samples of each node, by window; a sample tells of the interval that ends at its stamp."""
    begins = {node.node_id: node.started_ms for node in dataset.nodes()}
    found: dict[str, Windows] = defaultdict(lambda: defaultdict(list))
    for row in dataset.read("host_metrics.jsonl"):
        if not isinstance(row.cpu_util, float):
            continue  # a sample of the memory
        if begins.get(row.node) is None:
            begins[row.node] = row.ts_ms - 1
        number = (row.ts_ms - begins[row.node] - 1) // WINDOW_MS
        found[row.node][max(number, 0)].append(row.cpu_util)
    return found


def _lines(node: str, windows: Windows, is_imputing: bool, audit: Audit) -> list[int] | None:
    """Percent of each window; None where the node was refused."""
    percents: list[int] = []
    for number in range(max(windows) + 1):
        values = windows.get(number)
        if values:
            percents.append(round(sum(values) / len(values)))
        elif is_imputing and percents:
            audit.impute("5 minutes without a sample, as the 5 minutes before", f"{node}:{number + 1}")
            percents.append(percents[-1])
        else:
            audit.refuse("a node with 5 minutes without a sample", f"{node}:{number + 1}")
            return None
    return percents


def export(dataset: Dataset, folder: Path, settings: Settings, audit: Audit) -> None:
    """Write the file of each node that has samples."""
    found = _windows(dataset)
    for node in sorted(found):
        percents = _lines(node, found[node], settings["IMPUTE"] == "1", audit)
        if percents is None:
            continue
        audit.count("nodes")
        audit.count("5-minute values", len(percents))
        audit.count("samples in them", sum(map(len, found[node].values())))
        (folder / node).write_text("".join(f"{line}\n" for line in (f"# {len(percents)}", *percents)))
    if not any(folder.iterdir()):
        raise TracekitError(
            "no node has CPU samples in every 5 minutes: nothing to export; IMPUTE=1 fills gaps"
        )
    for node in sorted({one.node_id for one in dataset.nodes()} - set(found)):
        audit.leave_out("a node without any CPU sample", node)


if __name__ == "__main__":
    raise SystemExit(cli.run(exporter(__doc__, export, "IMPUTE")))
