"""vegeta's results (`vegeta encode -to json`) -> lines of events_client.jsonl.

In: {"attack","seq","code":200,"timestamp":"2026-11-23T06:01:02.123456789Z","latency":1234567,"bytes_out",
"bytes_in","error","body","method","url","headers"}: latency in ns, from before the connection is made to
the end of the answer's body; bytes of bodies; code 0 where no answer came. Source: vegeta lib/results.go.
"""

import json
import re
from collections import Counter
from datetime import datetime, timezone
from typing import Any
from urllib.parse import urlsplit

from tracekit.traffic import SHARES, percentile

_TIME = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?(Z|[+-]\d\d:\d\d)")


def stamp_ns(text: str) -> int:
    """ns since the epoch of an RFC 3339 time, to the ns. Raises ValueError where it is none."""
    found = _TIME.fullmatch(text)
    if not found:
        raise ValueError(f"{text!a} is no RFC 3339 time")
    moment = datetime.fromisoformat(found[1] + found[3].replace("Z", "+00:00")).astimezone(timezone.utc)
    epoch = datetime(1970, 1, 1, tzinfo=timezone.utc)
    seconds = (moment - epoch).days * 86_400 + (moment - epoch).seconds
    return seconds * 10**9 + int((found[2] or "0").ljust(9, "0"))


def client_event(result: dict[str, Any], node: str) -> dict[str, Any]:
    """One result as a row of events_client.jsonl; null is what vegeta does not know."""
    url = urlsplit(result["url"])
    trace_id, _, span_id = url.fragment.partition("-")
    begun_ns, latency_ns = stamp_ns(result["timestamp"]), int(result["latency"])
    return {
        "ts_enqueue": begun_ns // 10**6,
        "ts_end": (begun_ns + latency_ns) // 10**6,
        "latency_ms": latency_ns / 10**6,
        "trace_id": trace_id or None,
        "span_id": span_id or None,
        "node": node,
        "method": result["method"],
        "path": url.path,
        "status": result["code"] or None,
        "bytes_in": result["bytes_in"] if result["code"] else None,
        "bytes_out": result["bytes_out"],
        "error": result["error"] or None,
        "ts_enqueue_us": begun_ns // 10**3,
    }


class Tally:
    """What came of the requests, for people."""

    def __init__(self) -> None:
        self.latencies_ms: list[float] = []
        self.outcomes: Counter[str] = Counter()

    def add(self, event: dict[str, Any]) -> None:
        """Count one."""
        self.latencies_ms.append(event["latency_ms"])
        self.outcomes[str(event["status"] or event["error"] or "no answer")] += 1

    @property
    def answered_well(self) -> int:
        """Requests with a status below 400."""
        return sum(count for name, count in self.outcomes.items() if name.isdigit() and int(name) < 400)

    def percentiles_ms(self) -> list[float]:
        """The latencies at 50, 95 and 99 %; nearest rank. [] without a request."""
        ordered = sorted(self.latencies_ms)
        return [percentile(ordered, share) for share in SHARES] if ordered else []


def decode(line: bytes) -> dict[str, Any]:
    """One line of vegeta's. Raises ValueError."""
    value = json.loads(line)
    if not isinstance(value, dict):
        raise ValueError("wanted one JSON object a line")
    return value
