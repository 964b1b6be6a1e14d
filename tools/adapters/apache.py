#!/usr/bin/env python3
# Summary: access logs of Apache: the toolkit's format, common and combined, also with %D or mod_logio behind.
# Usage: tools/adapters/apache.py [--took us|ms|s] [--run-id RUN] access.log*
#        make adapt SOURCE=apache IN="access.log*" RUN_ID=run1
# In:  10.0.0.9 - - [01/Jan/2026:00:00:01 +0000] "GET /a HTTP/1.1" 200 12 "-" "-" 1767225601205000 45000 ...
# Out: {"ts_enqueue":1767225601205,...,"ts_start":1767225601205,"ts_end":1767225601250,"queue_time_ms":0,...}
# Source: Apache, mod_log_config (Custom Log Formats; Format Notes), mod_logio.
"""Apache stamps the start of a request, which is when its request line is complete.

%{begin:usec}t gives it to the us, %t to the second. %D is how long it took, in us; one number alone behind
common or combined is that, or %{ms}T or %T as --took says; two are %I and %O of mod_logio, three both. Where
nothing tells how long it took, the end is null. A client that left is not told from one that stayed: the
status and the time are those of the answer.

The size in common and combined is %b, the body, or, as on Debian, %O, with the headers: it counts where
--body says that it is %b.
"""

import re
import sys
from argparse import ArgumentParser
from collections.abc import Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tracekit import cli, cli_adapt
from tracekit.adapt import http, times
from tracekit.adapt.account import NotTakenError
from tracekit.adapt.adapter import Adapter
from tracekit.adapt.ids import traceparent

_QUOTED = r'"((?:[^"\\]|\\.)*)"'
_LINE = re.compile(
    rf"(?:\S+:\d+ )?\S+ \S+ .*? \[(?P<stamp>[^\]]+)\] {_QUOTED.replace('(', '(?P<request>', 1)} "
    rf"(?P<status>\d{{3}}|-) (?P<bytes>\d+|-)(?: {_QUOTED} {_QUOTED})?"  # vhost_combined begins with %v:%p
    rf"(?: (?P<begin>\d{{16}}) (?P<took>\d+) {_QUOTED.replace('(', '(?P<length>', 1)}"
    rf" {_QUOTED.replace('(', '(?P<traceparent>', 1)}|(?: \d+ \d+)?(?: (?P<alone>\d+))?)",
    re.DOTALL,
)
_ESCAPE = re.compile(rb"\\(x[0-9a-fA-F]{2}|.)", re.DOTALL)
_CONTROLS = {b"b": b"\b", b"n": b"\n", b"r": b"\r", b"t": b"\t", b"v": b"\v"}
_UNITS = {"us": 1, "ms": 1000, "s": 1_000_000}


class Apache(Adapter):
    """Lines of access logs."""

    @staticmethod
    def add_options(parser: ArgumentParser) -> None:
        parser.add_argument(
            "--took",
            choices=_UNITS,
            default="us",
            help="unit of a number alone behind common or combined: us (%%D), ms (%%{ms}T), s (%%T)",
        )

        parser.add_argument(
            "--body", action="store_true", help="the size in common or combined is %%b, not %%O"
        )

    def line(self, line: bytes) -> None:
        match = _LINE.fullmatch(line.decode("utf-8", "replace"))
        if match is None:
            raise NotTakenError("format", "the line is not of the toolkit's format, common or combined")
        known = http.request(_unescaped(match["request"]))
        made = self.ids.make(line)
        found = traceparent(match["traceparent"] or "")
        self.sink.add(
            trace_id=found[0] if found else made, span_id=made[16:], parent_id=found[1] if found else None,
            **self._times(match), **known, status=http.size(match["status"]),
            bytes_in=http.body_in(known["method"], match["length"]),
            bytes_out=self._body_out(match),
        )  # fmt: skip

    def _body_out(self, match: re.Match[str]) -> int | None:
        if match["bytes"] == "-":  # %b of none; %O is never that
            return 0
        return http.size(match["bytes"]) if match["begin"] or self.options.body else None

    def _times(self, match: re.Match[str]) -> dict[str, Any]:
        """To the us by the toolkit's format, else from the whole second on; without a duration no end."""
        if match["begin"]:
            start_us = times.scaled(match["begin"], 1)
            return times.spans(start_us, start_us + times.scaled(match["took"], 1))
        start_us = times.check_us(times.clf_us(match["stamp"]))
        if match["alone"]:
            return times.spans(start_us, start_us + times.scaled(match["alone"], _UNITS[self.options.took]))
        return {"ts_enqueue": start_us // 1000, "ts_start": start_us // 1000, "queue_time_ms": 0}


def _unescaped(text: str) -> str:
    """What stood there before Apache escaped it: a backslash goes before a quote, a control or xhh."""

    def plain(match: re.Match[bytes]) -> bytes:
        what = match[1]
        return bytes.fromhex(what[1:].decode()) if len(what) > 1 else _CONTROLS.get(what, what)

    return _ESCAPE.sub(plain, text.encode()).decode("utf-8", "replace")


def main(argv: Sequence[str] | None = None) -> int:
    """Write the invocations of some logs."""
    return cli_adapt.main(__doc__ or "", Apache, argv)


if __name__ == "__main__":
    raise SystemExit(cli.run(main))
