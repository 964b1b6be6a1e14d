#!/usr/bin/env python3
# Summary: job logs of GNU parallel (--joblog).
# Usage: tools/adapters/parallel.py [--run-id RUN] joblog.tsv
#        parallel -j8 --joblog joblog.tsv ... ; make adapt SOURCE=parallel IN=joblog.tsv RUN_ID=run1
# In:  1	:	1767225601.205	     0.045	0	6	0	0	sh -c 'echo hello'
# Out: {"ts_enqueue":1767225601205,...,"ts_end":1767225601250,"bytes_out":6,"status":0,"task_id":"1",...}
# Source: parallel(1), --joblog; JobRuntime is that of the last try, with ssh where the job ran elsewhere.
"""The start and the run time of each job, to the ms; GNU parallel knows of no queue and no CPU time.

A job that a signal ended has no exit code, whatever stands in the column. Jobs that --halt now killed are not
logged.
"""

import re
import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tracekit import cli, cli_adapt
from tracekit.adapt import http, times
from tracekit.adapt.account import NotTakenError, SkippedError
from tracekit.adapt.adapter import Adapter

_HEADER = b"Seq\tHost\tStarttime\t"
_PROGRAM = re.compile(r"(?:\S*/)?([A-Za-z0-9][\w.+-]{0,63})(?:\s|$)")
_NODE = re.compile(r"(?:\d+/)?(?:.*@)?([A-Za-z0-9][A-Za-z0-9._-]{0,63})(?::\d+)?")
_COLUMNS = 9


class Parallel(Adapter):
    """Lines of a job log."""

    def line(self, line: bytes) -> None:
        if line.startswith(_HEADER):
            raise SkippedError("header", "names of the columns")
        words = line.decode("utf-8", "replace").split("\t", _COLUMNS - 1)  # a command may hold tabs
        if len(words) != _COLUMNS:
            raise NotTakenError("fields", f"{len(words)} columns, wanted {_COLUMNS}")
        seq, host, start, took, sent, received, code, signum, command = words
        if not (seq.isdigit() and re.fullmatch(r"-?\d+", code) and signum.isdigit()):
            raise NotTakenError("number", "the columns Seq, Exitval and Signal are whole numbers")
        start_us = times.scaled(start, 1_000_000)
        made = self.ids.make(line)
        killed = int(signum) or None
        program = _PROGRAM.match(command)
        self.sink.add(
            node=self._node(host),
            trace_id=made,
            span_id=made[16:],
            **times.spans(start_us, start_us + times.scaled(took, 1_000_000)),
            module_id=program[1] if program else None,
            bytes_in=http.size(sent) if host != ":" else None,
            bytes_out=http.size(received),
            status=None if killed or int(code) < 0 else int(code),
            signal=killed,
            task_id=seq,
        )

    def _node(self, host: str) -> str:
        """The node of a job; ":" is where parallel itself ran."""
        if host == ":":
            return self.sink.node
        match = _NODE.fullmatch(host)
        if match is None:
            raise NotTakenError("node", f"{host[:40]!a} is no name of a node")
        return match[1]


def main(argv: Sequence[str] | None = None) -> int:
    """Write the invocations of some job logs."""
    return cli_adapt.main(__doc__ or "", Parallel, argv)


if __name__ == "__main__":
    raise SystemExit(cli.run(main))
