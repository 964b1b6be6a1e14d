#!/usr/bin/env python3
# Summary: jobs of Slurm: sacct in text (-P) or JSON, or the file of jobcomp/filetxt; queue and placement.
# Usage: tools/adapters/slurm.py [--queue-from eligible] [--zone +0100] sacct.txt
#        make adapt SOURCE=slurm IN=sacct.txt RUN_ID=run1   (docs/adapters.md has the call of sacct)
# In:  123|123|COMPLETED|0:0|1767225600|1767225600|1767225603|1767225663|...
# Out: {"ts_enqueue":1767225600000,"ts_start":1767225603000,...,"queue_time_ms":3000,"task_id":"123",...}
# Source: sacct(1), slurm.conf(5) JobCompType; times are whole seconds.
"""One invocation for each run of a job, or of an element of an array, that has ended.

Steps are left out, as are jobs that wait, run or never ran. The queue begins at Submit; --queue-from eligible
takes the moment from which the job could have started, which hides the wait for a slot of a throttled array.
Stamps without an offset are local times of whoever called sacct: say whose by --zone. A job of several nodes
is one invocation on the first of them; placement events name them all.

A record whose text (JobName, Comment) holds a newline is put together again; one whose fields do not come out
right is a reject. status is null where a limit or scancel ended the job: its 0:0 says nothing.
"""

import json
import re
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tracekit import cli, cli_adapt
from tracekit.adapt import times
from tracekit.adapt.account import NotTakenError, SkippedError
from tracekit.adapt.adapter import Adapter
from tracekit.adapt.ids import hashed
from tracekit.adapt.reading import Block
from tracekit.adapt.sink import Sink
from tracekit.adapt.values import json_object
from tracekit.settings import NAME

_NEEDED = {"JobID", "State", "Submit", "Start", "End"}
_LAST_SIGNAL = 64
_OPEN = {"PENDING", "RUNNING", "SUSPENDED", "RESIZING", "CONFIGURING", "COMPLETING"}
_CUT_SHORT = {
    "TIMEOUT",
    "CANCELLED",
    "DEADLINE",
    "PREEMPTED",
    "NODE_FAIL",
    "REQUEUED",
    "REVOKED",
    "BOOT_FAIL",
}
_NO_TIME = {"", "Unknown", "None", "INVALID", "unknown", "0"}
_COMPLETED = re.compile(r"JobId=(\d+) UserId=.*? Name=(.*) JobState=(\w+) Partition=", re.DOTALL)
_PAIR = re.compile(r" (\w+)=(\S*)")
_CPU = re.compile(r"(?:(?:(\d+)-)?(\d+):)?(\d+):(\d+)(?:\.(\d+))?")
_NODES = re.compile(r"([^,\[\]]*)(?:\[([^\]]*)\])?([^,\[\]]*)(?:,|$)")
Row = dict[str, str]  # by sacct's names of the fields


class Slurm(Adapter):
    """Jobs, whatever way they were printed."""

    def __init__(self, options: Namespace, sink: Sink) -> None:
        super().__init__(options, sink)
        self._names: list[str] = []
        self._delimiter = "|"
        self._begun = ""
        self._document: list[bytes] = []

    @staticmethod
    def add_options(parser: ArgumentParser) -> None:
        parser.add_argument("--queue-from", choices=("submit", "eligible"), default="submit")
        parser.add_argument("--zone", help="offset of stamps that name none: Z, +0100")

    def begin(self, salt: str) -> None:
        super().begin(salt)
        self._names, self._begun = [], ""

    def take(self, block: Block) -> None:
        if self._document or (block.first == 1 and block.data.lstrip()[:1] == b"{"):
            self._document.append(block.data)
            return
        self.sink.each(block, self.line)

    def line(self, line: bytes) -> None:
        text = line.decode("utf-8", "replace")
        if not self._names and text.startswith("JobId="):
            self._job(_of_jobcomp(text))
            return
        if not self._names:
            self._header(text)
            raise SkippedError("header", "names of the fields")
        words = f"{self._begun}{text}".split(self._delimiter)
        if len(words) == len(self._names) + 1 and not words[-1]:  # sacct -p
            words.pop()
        if len(words) < len(self._names) and len(text.split(self._delimiter)) < len(self._names):
            self._begun = f"{self._begun}{text}\n"  # a newline in the text of a field
            return
        begun, self._begun = self._begun, ""
        if len(words) != len(self._names) and begun:  # it was the rest of a record that looked whole
            why = NotTakenError("fields", "a piece of a text with newlines; sacct's free text is best last")
            self.sink.not_taken("a record", 0, why, begun.encode())
            words = text.split(self._delimiter)
        if len(words) != len(self._names):
            raise NotTakenError("fields", f"{len(words)} fields, wanted {len(self._names)}")
        self._job(dict(zip(self._names, words, strict=True)))

    def _header(self, text: str) -> None:
        self._delimiter = "\x1f" if "\x1f" in text else "|"
        names = [name for name in text.split(self._delimiter) if name]
        if not set(names) >= _NEEDED:
            raise NotTakenError("header", f"the fields {', '.join(sorted(_NEEDED - set(names)))} are needed")
        self._names = names

    def finish(self) -> None:
        if self._begun:
            why = NotTakenError("torn", "the last record lacks fields")
            self.sink.not_taken("the last record", 0, why, self._begun.encode())
        if self._document:
            self._json(b"".join(self._document))

    def _json(self, data: bytes) -> None:
        self.sink.attempt("json", 1, data, partial(self._jobs, data))

    def _jobs(self, data: bytes) -> None:
        for number, job in enumerate(json_object(data).get("jobs") or [], 1):
            take = partial(lambda job: self._job(_of_json(job)), job)
            self.sink.attempt("jobs", number, json.dumps(job).encode(), take)

    def _job(self, row: Row) -> None:
        job_id, state = row["JobID"], row["State"].split(" ")[0].rstrip("+")
        if "." in job_id:
            raise SkippedError("steps", job_id)
        if state in _OPEN or row["End"] in _NO_TIME:
            raise SkippedError("jobs without an end", job_id)
        nodes = list(_nodes(row.get("NodeList", "")))
        if row["Start"] in _NO_TIME or (not nodes and row["Start"] == row["End"]):
            raise SkippedError("jobs that never ran", job_id)
        submit_us, start_us, end_us = (self._us(row[key]) for key in ("Submit", "Start", "End"))
        eligible = row.get("Eligible", "")
        by_eligible = self.options.queue_from == "eligible" and eligible not in _NO_TIME
        stamps = times.spans(start_us, end_us, self._us(eligible) if by_eligible else submit_us)
        status, signum = _exit(row.get("ExitCode", ""), state)
        node = {"node": nodes[0]} if nodes and NAME.fullmatch(nodes[0]) else {}
        span = hashed("slurm", job_id, submit_us, start_us)
        module = row.get("JobName") or None
        self.sink.add(
            trace_id=hashed("slurm", job_id, digits=32), span_id=span, **stamps, **node, module_id=module,
            instance_id=job_id, status=status, cpu_time_ms=_cpu_ms(row.get("TotalCPU", "")),
            signal=signum, task_id=job_id, queue_source="eligible" if by_eligible else "submit",
        )  # fmt: skip
        for key, event in (("ts_start", "start"), ("ts_end", "stop")):
            for one in nodes:
                self.sink.place(stamps[key], event, module_id=module, instance_id=job_id, node_id=one)

    def _us(self, text: str) -> int:
        return times.scaled(text, 1_000_000) if text.isdigit() else times.iso_us(text, self.options.zone)


def _exit(text: str, state: str) -> tuple[int | None, int | None]:
    """(exit code, signal) of "code:signal"."""
    code, _, signum = text.partition(":")
    if not code.isdigit() or not (signum or "0").isdigit():
        return None, None
    killed = int(signum or 0)
    if killed > _LAST_SIGNAL:  # 0:125 is the memory limit
        return None, None
    if killed or (state in _CUT_SHORT and code == "0") or (state == "FAILED" and code == "0"):
        return None, killed or None
    return int(code), None


def _cpu_ms(text: str) -> float | None:
    """ms of sacct's TotalCPU; None where nothing was accounted for."""
    match = _CPU.fullmatch(text)
    if match is None:
        return None
    days, hours, minutes, seconds = (int(match[index] or 0) for index in range(1, 5))
    ms = (
        ((days * 24 + hours) * 60 + minutes) * 60_000
        + seconds * 1000
        + int((match[5] or "0").ljust(3, "0")[:3])
    )
    return ms or None


def _nodes(text: str) -> Iterator[str]:
    """The nodes of a list such as cn[01-03,7],gpu1."""
    if text in ("", "None assigned", "(null)", "None"):
        return
    for before, ranges, after in _NODES.findall(text):
        for one in ranges.split(",") if ranges else []:
            low, dash, high = one.partition("-")
            last = int(high) if dash and high.isdigit() and low.isdigit() else None
            for number in range(int(low), last + 1) if last is not None else [one]:
                yield f"{before}{str(number).zfill(len(low)) if last is not None else number}{after}"
        if not ranges and before:
            yield before


def _of_jobcomp(text: str) -> Row:
    match = _COMPLETED.match(text)
    if match is None:
        raise NotTakenError("format", "the line has not the form of jobcomp/filetxt")
    told = dict(_PAIR.findall(text[match.end() :]))
    array = told.get("ArrayJobId")
    try:
        return {
            "JobID": f"{array}_{told['ArrayTaskId']}" if array else match[1], "JobName": match[2],
            "State": match[3], "Submit": told["SubmitTime"],
            "Start": told["StartTime"], "End": told["EndTime"],
            "Eligible": told.get("EligibleTime", ""), "ExitCode": told.get("ExitCode", ""),
            "NodeList": told.get("NodeList", ""),
        }  # fmt: skip
    except KeyError as error:
        raise NotTakenError("fields", f"the line lacks {error.args[0]}") from error


def _of_json(job: Any) -> Row:
    """A job of sacct --json, of 22.05 and of later versions."""
    if not isinstance(job, dict) or not isinstance(job.get("time"), dict):
        raise NotTakenError("fields", "the job has no time")
    clock, array = job["time"], job.get("array") or {}
    current = (job.get("state") or {}).get("current")
    code = job.get("exit_code") or {}
    returned, signum = _number(code.get("return_code")), _number((code.get("signal") or {}).get("id"))
    parts = [clock, *(step.get("time") or {} for step in job.get("steps") or [])]
    own_us, *of_steps_us = (_total_us(part.get("total") or {}) for part in parts)
    cpu_us = own_us or sum(of_steps_us)  # 22.05 has it in the steps alone
    task = _number(array.get("task_id"))
    is_element = array.get("job_id") and task is not None
    minutes, seconds = divmod(cpu_us // 1_000_000, 60)
    return {
        "JobID": f"{array['job_id']}_{task}" if is_element else str(job.get("job_id")),
        "JobName": str(job.get("name") or ""),
        "State": str(current[0] if isinstance(current, list) and current else current),
        "Submit": str(clock.get("submission") or ""), "Eligible": str(_number(clock.get("eligible")) or ""),
        "Start": str(_number(clock.get("start")) or ""), "End": str(_number(clock.get("end")) or ""),
        "ExitCode": f"{returned}:{signum or 0}" if returned is not None else "",
        "NodeList": str(job.get("nodes") or ""),
        "TotalCPU": f"{minutes:02}:{seconds:02}.{cpu_us // 1000 % 1000:03}",
    }  # fmt: skip


def _total_us(total: dict[str, Any]) -> int:
    return (_number(total.get("seconds")) or 0) * 1_000_000 + (_number(total.get("microseconds")) or 0)


def _number(value: Any) -> int | None:
    """A number, plain or as {"set": true, "number": n}."""
    if isinstance(value, dict):
        value = value.get("number") if value.get("set") else None
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def main(argv: Sequence[str] | None = None) -> int:
    """Write the invocations of some jobs."""
    return cli_adapt.main(__doc__ or "", Slurm, argv)


if __name__ == "__main__":
    raise SystemExit(cli.run(main))
