"""The page: data, style and script in one file, with no address in it.

The data are JSON in which no "<" is left as it is, so nothing in it can end its element; the script sets
every name as text. A Content-Security-Policy with the hashes of our own script and style lets nothing else
run and nothing be fetched.
"""

import base64
import hashlib
import json
from pathlib import Path
from typing import Any

from tracekit.dataset import Dataset
from tracekit.errors import TracekitError
from tracekit.jsonl import replacing
from tracekit.report.card import read_card
from tracekit.report.grid import Grid, span_of
from tracekit.report.hosts import read_hosts
from tracekit.report.placement import read_lanes
from tracekit.report.processes import read_processes
from tracekit.report.requests import read_requests
from tracekit.report.traces import read_traces
from tracekit.report.verified import read_verified

_PAGE = Path(__file__).parent / "page"
_SCRIPTS = (
    *("base.js", "charts.js", "lanes.js", "card.js", "coverage.js", "hosts.js"),
    *("requests.js", "traces.js", "verified.js", "main.js"),
)
_NODES_IN_FULL = 6  # with more nodes each has fewer buckets, so that the page keeps its size
_BUCKETS = 2000


def write_page(dataset: Dataset, library: Path) -> Path:
    """Write report.html into the data set's home and return its path.

    library: the folder of uPlot's files, as set-up puts them. Raises TracekitError where they are missing."""
    path = dataset.home / "report.html"
    page = _page(read_run(dataset), library)
    with replacing(path, is_flushed=False) as stream:
        stream.write(page.encode())
    return path


def read_run(dataset: Dataset) -> dict[str, Any]:
    """All that the page shows, in the words of its script."""
    start_ms, end_ms = span_of(dataset)
    count = max(len(dataset.manifest.nodes), 1)
    grid = Grid(start_ms, end_ms, max(_BUCKETS * _NODES_IN_FULL // max(count, _NODES_IN_FULL), 100))
    charts, host_pct = read_hosts(dataset, grid)
    requests, slowest = read_requests(dataset, grid)
    return {
        "card": read_card(dataset),
        "charts": charts,
        "processes": read_processes(dataset, grid, host_pct),
        "requests": requests,
        "traces": read_traces(dataset, slowest),
        "placement": read_lanes(dataset),
        "verified": read_verified(dataset),
        "grid": {
            "start_ms": grid.start_ms,
            "end_ms": end_ms,
            "width_ms": grid.width_ms,
            "count": grid.count,
            "outside": grid.outside,
        },
    }


def _page(run: dict[str, Any], library: Path) -> str:
    uplot, uplot_style, licence = (
        _library_text(library, name) for name in ("uPlot.js", "uPlot.css", "LICENSE")
    )
    script = "\n".join([f"/* uPlot\n{licence}*/", uplot, *(_own(name) for name in _SCRIPTS)])
    style = uplot_style + "\n" + _own("report.css")
    # The order matters: what was put in is not looked through again.
    parts = {
        "@TITLE@": run["card"]["run_id"],  # a Name: nothing in it to escape
        "@STYLE_HASH@": _hash(style),
        "@SCRIPT_HASH@": _hash(script),
        "@STYLE@": style,
        "@SCRIPT@": script,
        "@DATA@": _inert(run),
    }
    page = _own("report.html")
    for mark, text in parts.items():
        head, found, tail = page.partition(mark)
        if not found:
            raise AssertionError(f"page/report.html has no {mark}")
        page = head + text + tail
    return page


def _inert(run: dict[str, Any]) -> str:
    """JSON that is text to a reader of HTML, whatever names are in it."""
    text = json.dumps(run, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    # Half of a surrogate pair cannot be written as UTF-8.
    text = text.encode("utf-8", "backslashreplace").decode()
    return text.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")


def _hash(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _own(name: str) -> str:
    return (_PAGE / name).read_text(encoding="utf-8")


def _library_text(library: Path, name: str) -> str:
    try:
        return (library / name).read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise TracekitError(f"{library / name} is missing; `tools/setup.sh uplot` gets it") from error
