#!/usr/bin/env python3
# Summary: HTTP logs of HAProxy (option httplog), with the time in its queues.
# Usage: tools/adapters/haproxy.py --zone Z [--run-id RUN] haproxy.log*
#        make adapt SOURCE=haproxy IN="haproxy.log*" RUN_ID=run1 ADAPT_OPTIONS="--zone +0100"
# In:  10.0.0.9:5000 [01/Jan/2026:00:00:01.205] fe be/s1 0/401/2/201/604 200 12 - - ---- ... "GET / HTTP/1.1"
# Out: {"ts_enqueue":1767225601205,"ts_start":1767225601606,...,"queue_time_ms":401,"queue_source":"haproxy"}
# Source: HAProxy configuration manual, 8.2.3 (HTTP log format), 8.4 (timers), 8.6 (non-printable characters).
"""The stamp is the first byte of the request, to the ms, in local time: --zone says whose.

Of the timers TR/Tw/Tc/Tr/Ta, Ta runs from there to the last byte, and Tw is the wait in HAProxy's own queues.
Where there was one, the record is queued from its first byte until the wait is over (TR + Tw), else it starts
with its first byte. -1 is not reached. The bytes of the log hold headers too, so bytes_out is null. Lines
that tell of no request (start-up, SSL handshakes, <BADREQ>) are rejects.
"""

import re
import sys
from argparse import ArgumentParser
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tracekit import cli, cli_adapt
from tracekit.adapt import http, times
from tracekit.adapt.account import NotTakenError
from tracekit.adapt.adapter import Adapter

_LINE = re.compile(
    r"(?:.*? )?\S+:\d+ \[(?P<stamp>\d\d/[A-Z][a-z]{2}/\d{4}:\d\d:\d\d:\d\d\.\d{3})\] (?P<frontend>\S+) "
    r"(?P<backend>[^\s/]+)/\S+ (?P<request_ms>-?\d+)/(?P<queue_ms>-?\d+)/-?\d+/-?\d+/\+?(?P<all_ms>\d+) "
    r'(?P<status>-?\d+) \+?\d+ \S+ \S+ \S+ \S+ \d+/\d+ (?:\{.*\} )*?"(?P<request>.*?)"?'
)
_ESCAPE = re.compile(r"#([0-9A-F]{2})")


class HAProxy(Adapter):
    """Lines of the HTTP log format."""

    @staticmethod
    def add_options(parser: ArgumentParser) -> None:
        parser.add_argument("--zone", help="offset of HAProxy's local time: Z, +0100")

    def line(self, line: bytes) -> None:
        match = _LINE.fullmatch(line.decode("utf-8", "replace"))
        if match is None:
            raise NotTakenError("format", "the line has not the form of HAProxy's HTTP log")
        request = _ESCAPE.sub(lambda found: chr(int(found[1], 16)), match["request"])
        known = http.request(request)
        first_us = times.clf_us(match["stamp"], self.options.zone)
        end_us = first_us + int(match["all_ms"]) * 1000
        waited_ms = max(int(match["queue_ms"]), 0)
        start_us = first_us + (max(int(match["request_ms"]), 0) + waited_ms) * 1000 if waited_ms else first_us
        made = self.ids.make(line)
        status = int(match["status"])
        self.sink.add(
            trace_id=made, span_id=made[16:], **times.spans(min(start_us, end_us), end_us, first_us), **known,
            module_id=match["backend"], bytes_in=http.body_in(known["method"], None),
            status=status if status >= 0 else None, queue_source="haproxy" if waited_ms else None,
        )  # fmt: skip


def main(argv: Sequence[str] | None = None) -> int:
    """Write the invocations of some logs."""
    return cli_adapt.main(__doc__ or "", HAProxy, argv)


if __name__ == "__main__":
    raise SystemExit(cli.run(main))
