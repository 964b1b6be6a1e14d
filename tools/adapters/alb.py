#!/usr/bin/env python3
# Summary: access logs of the Application Load Balancer of AWS.
# Usage: tools/adapters/alb.py [--run-id RUN] *_elasticloadbalancing_*.log.gz
#        make adapt SOURCE=alb IN="*_elasticloadbalancing_*.log.gz" RUN_ID=run1
# In:  http 2026-01-01T00:00:01.250000Z app/lb/50dc 10.0.0.9:2817 10.0.0.1:80 0.000 0.044 0.000 200 200 34 ...
# Out: {"ts_enqueue":1767225601205,...,"ts_start":1767225601205,"ts_end":1767225601250,"queue_time_ms":0,...}
# Source: Elastic Load Balancing, "Access logs for your Application Load Balancer", "Syntax".
"""The first stamp is the end of the answer, request_creation_time the start, both to the us, UTC.

The module is the target group, the instance the target. The sizes of the log hold headers too, so bytes_out
is null. X-Ray's trace id becomes the trace, its Parent, where a caller sent one, the parent. A load balancer
writes several files every five minutes: name them all.
"""

import re
import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tracekit import cli, cli_adapt
from tracekit.adapt import http, times
from tracekit.adapt.account import NotTakenError
from tracekit.adapt.adapter import Adapter

_LINE = re.compile(
    r"(?:https?|h2|grpcs?|wss?) (?P<end>\S+) \S+ \S+ (?P<target>\S+) \S+ \S+ \S+ (?P<status>\d+|-) \S+ "
    r'-?\d+ -?\d+ "(?P<method>\S+) (?P<url>.*?) (?P<protocol>\S+)" ".*?" \S+ \S+ (?P<group>\S+) '
    r'"(?P<trace>[^"]*)" "[^"]*" "[^"]*" \S+ (?P<start>\d{4}-\d\d-\S+)(?: .*)?',
    re.DOTALL,
)
_URL = re.compile(r"[a-z]+://[^/?]*(/.*|\?.*)?", re.DOTALL)
_ROOT = re.compile(r"Root=1-([0-9a-f]{8})-([0-9a-f]{24})")
_PARENT = re.compile(r"Parent=([0-9a-f]{16})")
_GROUP = re.compile(r"arn:[^ ]*:targetgroup/([A-Za-z0-9-]+)/[0-9a-f]+")


class Alb(Adapter):
    """Lines of access logs."""

    def line(self, line: bytes) -> None:
        match = _LINE.fullmatch(line.decode("utf-8", "replace"))
        if match is None:
            raise NotTakenError("format", "the line has not the form of the load balancer's access log")
        url = _URL.fullmatch(match["url"])
        if match["method"] == "-" or url is None:
            raise NotTakenError("request", "no request stood on the connection that the line tells of")
        made = self.ids.make(line)
        root, parent = _ROOT.search(match["trace"]), _PARENT.search(match["trace"])
        group = _GROUP.fullmatch(match["group"])
        self.sink.add(
            trace_id=root[1] + root[2] if root else made, span_id=made[16:],
            parent_id=parent[1] if parent else None,
            **times.spans(times.iso_us(match["start"]), times.iso_us(match["end"])),
            method=match["method"], **http.target(url[1] or "/"),
            status=http.size(match["status"]), bytes_in=http.body_in(match["method"], None),
            module_id=group[1] if group else None,
            instance_id=None if match["target"] == "-" else match["target"],
        )  # fmt: skip


def main(argv: Sequence[str] | None = None) -> int:
    """Write the invocations of some logs."""
    return cli_adapt.main(__doc__ or "", Alb, argv)


if __name__ == "__main__":
    raise SystemExit(cli.run(main))
