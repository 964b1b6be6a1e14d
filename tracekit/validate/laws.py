"""The laws of quality.json, of invocations and of ids."""

import re
from collections import Counter
from typing import Any

from msgspec import UNSET

from tracekit.records import HostMetric, Invocation, ProcCpu, Quality
from tracekit.validate.report import Report, shown

_ID = re.compile(r"[A-Za-z0-9._-]{1,128}")
_STAMP_MS = 1 + 1e-6  # durations come from another clock than the stamps, which are whole ms
_SUM_MS = 0.01 + 1e-6  # microseconds kept, and what a binary fraction adds


def check_quality(quality: Quality, where: str, report: Report) -> None:
    """Both laws, for every collector and every input; where: "" or the node of a merge."""

    def broken(message: str) -> None:
        report.error("law", "quality.json", f"{where}{message}")

    for name, ticks in quality.collectors.items():
        if ticks.expected != ticks.got + ticks.missing:
            parts = f"{ticks.got} got + {ticks.missing} missing"
            broken(f"{shown(name)}: {ticks.expected} ticks expected, {parts}")
    for name, account in quality.inputs.items():
        rejected = sum(account.rejected.values())
        is_sum = account.lines == account.accepted + rejected + account.duplicates
        if not is_sum or any(count < 0 for count in account.rejected.values()):
            parts = f"{account.accepted} accepted + {rejected} rejected + {account.duplicates} duplicates"
            broken(f"{shown(name)}: {account.lines} lines, {parts}")
    if not quality.balanced:
        broken("says that it is not balanced")


def check_rejects(
    qualities: dict[str, Quality], found: Counter[tuple[str, str, str]], report: Report
) -> None:
    """rejected.jsonl holds exactly the lines that quality.json counts.

    qualities: by node, "" where the cctf is no merge. found: (node, file, reason) -> lines."""
    wanted: Counter[tuple[str, str, str]] = Counter()
    for node, quality in qualities.items():
        for name, account in quality.inputs.items():
            wanted.update({(node, name, reason): count for reason, count in account.rejected.items()})
    for node, name, reason in sorted(wanted.keys() | found.keys()):
        told, there = wanted[node, name, reason], found[node, name, reason]
        if told != there:
            where = f"{node}: " if node else ""
            message = f"{where}{there} lines of {shown(name)} for {shown(reason)}, quality.json counts {told}"
            report.error("law", "rejected.jsonl", message)


def check_invocation(one: Invocation, name: str, line: int, report: Report) -> None:
    """Durations against stamps, and the whole against its parts."""
    for field, begin, end in (
        ("queue_time_ms", one.ts_enqueue, one.ts_start),
        ("service_time_ms", one.ts_start, one.ts_end),
        ("rt_ms", one.ts_enqueue, one.ts_end),
    ):
        told = getattr(one, field)
        if begin is None or end is None:
            continue
        # Without ts_start, the outer stamps may be those of two machines.
        if told is None and field != "rt_ms" and begin - end > _STAMP_MS:
            report.error("duration", name, f"{field} is null, its stamps are {end - begin} ms apart", line)
        elif told is not None and abs(told - (end - begin)) > _STAMP_MS:
            report.error("duration", name, f"{field} is {told}, its stamps are {end - begin} ms apart", line)
    rt_ms, queue_ms, service_ms = one.rt_ms, one.queue_time_ms, one.service_time_ms
    if rt_ms is None or queue_ms is None or service_ms is None:
        return
    if abs(rt_ms - queue_ms - service_ms) > _SUM_MS:
        report.error("duration", name, f"rt_ms is {rt_ms}, its parts are {queue_ms} + {service_ms}", line)


def check_host(one: HostMetric, name: str, line: int, report: Report) -> None:
    """A row has one figure, not none and not two."""
    if (one.cpu_util is UNSET) == (one.mem_free_mb is UNSET):
        report.error("record", name, "wanted either cpu_util or mem_free_mb", line)


def check_cpu(one: ProcCpu, name: str, line: int, report: Report) -> None:
    """A process is told by pid and starttime, CPU that none can be given by neither."""
    if (one.pid is None) != (one.starttime is None):
        report.error("record", name, "wanted pid and starttime, or null for both", line)


def check_stamp(record: Any, name: str, line: int, report: Report) -> None:
    """A request has at least one of its outer stamps."""
    if record.ts_enqueue is None and record.ts_end is None:
        report.error("no_stamp", name, "neither ts_enqueue nor ts_end is known", line)


def check_ids(record: Any, name: str, line: int, report: Report) -> None:
    """trace_id, span_id, parent_id: letters, digits, '.', '_' and '-', at most 128."""
    for field in ("trace_id", "span_id", "parent_id"):
        value = getattr(record, field, None)
        if value is not None and not _ID.fullmatch(value):
            report.error("id", name, f"{field} is {shown(value)}", line)
