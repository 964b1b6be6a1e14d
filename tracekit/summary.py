"""A run at a glance, in the terminal: what was observed, what is missing, which processes worked.

Reads one cctf directory, a file at a time, and keeps only sums; nothing here judges, validate does.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

from msgspec import UNSET

from tracekit.dataset import Dataset, open_dataset
from tracekit.overview import overview
from tracekit.records import HostExtra, LinkMetric, Quality
from tracekit.traffic import describe, measure

WIDTH = 40
BARS = "▁▂▃▄▅▆▇█"
TOP = 8


@dataclass
class Process:
    """What a process used over the run: CPU in ms, peak RSS in kB."""

    pid: int | None  # None: the CPU that no process could be given
    name: str = "?"
    command: str = ""
    cpu_ms: float = 0.0
    peak_rss_kb: int = 0


def summarise(folder: Path, shown_as: str | None = None) -> Iterator[str]:
    """The lines to show for a cctf directory that validate accepts; shown_as: its name in them."""
    dataset = open_dataset(folder)
    listed = dataset.manifest.files
    files = (
        f"Files      {shown_as or folder}  ({len(listed)} files, {_bytes(sum(one.bytes for one in listed))})"
    )
    if dataset.is_merged:
        yield from overview(dataset)
        yield files
        return
    (quality,) = dataset.qualities().values()
    yield from _head(dataset)
    yield ""
    yield from _series(dataset, quality)
    if dataset.has("invocations.jsonl") or dataset.has("events_client.jsonl"):
        yield ""
        yield from describe(measure(dataset.read("events_client.jsonl"), dataset.read("invocations.jsonl")))
    processes = _processes(dataset)
    if processes:
        yield ""
        yield from _top(processes)
    yield ""
    yield from _account(quality)
    yield files


def cpu_of_service(folder: Path) -> tuple[float, float]:
    """CPU in s of all processes of a cctf, and of the requests in it."""
    dataset = open_dataset(folder)
    processes_ms: float = sum(row.cpu_ms for row in dataset.read("proc_cpu.jsonl"))
    requests_ms: float = sum(row.cpu_time_ms or 0 for row in dataset.read("invocations.jsonl"))
    return processes_ms / 1000, requests_ms / 1000


def _head(dataset: Dataset) -> Iterator[str]:
    yield f"Run        {dataset.manifest.run_id}"
    for node in dataset.nodes():
        mhz = f"{node.cpu_freq_mhz} MHz" if node.cpu_freq_mhz else "clock rate unknown"
        memory = f"{node.mem_mb / 1000:.1f} GB" if node.mem_mb else "memory unknown"
        yield f"Node       {node.node_id} ({node.stage}): {node.cpu_cores} cores, {mhz}, {memory}"
        if node.started_ms is not None:
            began = datetime.fromtimestamp(node.started_ms / 1000, timezone.utc).strftime(
                "%Y-%m-%d %H:%M:%S UTC"
            )
            lasted = (
                f"{(node.stopped_ms - node.started_ms) / 1000:.0f} s" if node.stopped_ms else "still live"
            )
            yield f"Time       {began}, {lasted}"


def _series(dataset: Dataset, quality: Quality) -> Iterator[str]:
    cpu = [row.cpu_util for row in dataset.read("host_metrics.jsonl") if row.cpu_util is not UNSET]
    mem = [row.mem_free_mb for row in dataset.read("host_metrics.jsonl") if row.mem_free_mb is not UNSET]
    links: list[LinkMetric] = [row for row in dataset.read("link_metrics.jsonl") if row.link.endswith(".nic")]
    yield f"{'Series':<10} {'got/expected':<13} {'':<{WIDTH}}  least  mean  most"
    yield _series_line("CPU %", _got(quality, "cpu"), cpu, "{:.0f}".format, top=100.0)
    yield _series_line("free MB", _got(quality, "mem"), mem, "{:.0f}".format)
    yield _series_line("NIC in", _got(quality, "nic"), [row.rx_Bps for row in links], rate)
    yield _series_line("NIC out", _got(quality, "nic"), [row.tx_Bps for row in links], rate)
    yield from _extra_series(dataset)
    proc = quality.collectors.get("proc")
    if proc:
        yield f"{'processes':<10} {f'{proc.got}/{proc.expected}':<13} {_resident(dataset)}"


def _extra_series(dataset: Dataset) -> Iterator[str]:
    """Where HOST_EXTRAS was 1: shares of all cores, and what all disks moved."""
    rows: list[HostExtra] = list(dataset.read("host_extra.jsonl"))
    for name, field in (("iowait %", "iowait_pct"), ("steal %", "steal_pct")):
        shares = [share for row in rows if (share := getattr(row, field)) is not None]
        if shares:
            yield _series_line(name, "", shares, "{:.1f}".format, top=100.0)
    for name, field in (("disk read", "read_Bps"), ("disk write", "write_Bps")):
        moved = [sum(getattr(disk, field) or 0 for disk in row.disks) for row in rows if row.disks]
        if moved:
            yield _series_line(name, "", moved, rate)


def _resident(dataset: Dataset) -> str:
    pids = {(row.pid, row.starttime) for row in dataset.read("proc_rss.jsonl")}
    return f"{len(pids)} sampled" if pids else "no process matched"


def _got(quality: Quality, series: str) -> str:
    account = quality.collectors.get(series)
    return f"{account.got}/{account.expected}" if account else "-"


def _series_line(
    name: str, got: str, values: Sequence[float], style: Callable[[float], str], top: float | None = None
) -> str:
    if not values:
        return f"{name:<10} {got:<13} no row"
    figures = (min(values), sum(values) / len(values), max(values))
    return f"{name:<10} {got:<13} {sparkline(values, top):<{WIDTH}}  {' / '.join(map(style, figures))}"


def sparkline(values: Sequence[float], top: float | None = None) -> str:
    """At most WIDTH bars; each shows the greatest of its share of values, from 0 (or their least) to top."""
    count = min(WIDTH, len(values))
    share = [
        max(values[index * len(values) // count : (index + 1) * len(values) // count])
        for index in range(count)
    ]
    low = 0.0 if top is not None else min(values)
    high = max(top if top is not None else max(values), low + 1e-9)
    return "".join(BARS[min(int((value - low) / (high - low) * len(BARS)), len(BARS) - 1)] for value in share)


def _processes(dataset: Dataset) -> list[Process]:
    found: dict[tuple[int | None, int | None], Process] = {}
    for row in dataset.read("proc_cpu.jsonl"):
        found.setdefault((row.pid, row.starttime), Process(row.pid)).cpu_ms += row.cpu_ms
    for row in dataset.read("proc_rss.jsonl"):
        process = found.setdefault((row.pid, row.starttime), Process(row.pid))
        process.peak_rss_kb = max(process.peak_rss_kb, row.rss_kb)
    for row in dataset.read("proc_inventory.jsonl"):
        if (row.pid, row.starttime) in found:
            process = found[row.pid, row.starttime]
            process.name = row.comm or process.name
            process.command = row.cmdline or process.command
            process.peak_rss_kb = max(process.peak_rss_kb, row.maxrss_kb or 0)
    if (None, None) in found:
        found[None, None].name = "(unattributed: children that ended, by their parents' or cgroup's account)"
    return sorted(found.values(), key=lambda process: (-process.cpu_ms, process.pid or 0))


def _top(processes: Sequence[Process]) -> Iterator[str]:
    total_s = sum(process.cpu_ms for process in processes) / 1000
    yield f"Processes  {len(processes)}, together {total_s:.2f} s of CPU; those with the most:"
    yield f"  {'CPU s':>8}  {'peak RSS MB':>11}  {'pid':>8}  command"
    for process in processes[:TOP]:
        rss_mb = process.peak_rss_kb * 1024 / 1e6
        command = (process.command or process.name).encode("unicode_escape").decode()
        shown = command if len(command) <= 60 else f"{command[:57]}..."
        yield f"  {process.cpu_ms / 1000:>8.2f}  {rss_mb:>11.1f}  {process.pid or '-':>8}  {shown}"


def _account(quality: Quality) -> Iterator[str]:
    gaps = [(name, gap) for name, one in quality.collectors.items() for gap in one.gaps]
    yield f"Gaps       {len(gaps) or 'none'}"
    for name, gap in gaps[:TOP]:
        yield f"  {name}: {(gap.to_ms - gap.from_ms) / 1000:.0f} s from {_clock(gap.from_ms)} ({gap.reason})"
    if len(gaps) > TOP:
        yield f"  and {len(gaps) - TOP} more in quality.json"
    for mark in quality.marks[:TOP]:
        yield f"Mark       {_clock(mark.ts_ms)} {mark.kind}: {mark.detail}"
    lines = sum(one.lines for one in quality.inputs.values())
    rejected = sum(sum(one.rejected.values()) for one in quality.inputs.values())
    duplicates = sum(one.duplicates for one in quality.inputs.values())
    balance = "every line accounted for" if quality.balanced else "THE FIGURES DO NOT ADD UP"
    yield f"Lines      {lines} read, {rejected} rejected, {duplicates} duplicates: {balance}"
    known = quality.clock.source
    error = quality.clock.error_bound_ms
    yield f"Clock      {known or 'no time service could be asked'}" + (
        f", within {error:.3f} ms" if error else ""
    )


def _clock(ts_ms: int) -> str:
    return datetime.fromtimestamp(ts_ms / 1000, timezone.utc).strftime("%H:%M:%S")


def rate(bytes_per_s: float) -> str:
    """Bytes a second, for people: 1.2 MB/s."""
    return f"{_bytes(bytes_per_s)}/s"


def _bytes(count: float) -> str:
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000 or unit == "GB":
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    raise AssertionError("unreachable")
