"""Stamps and durations of any source as whole microseconds, and as the trace wants them."""

import re
from datetime import datetime, timedelta, timezone
from functools import lru_cache
from typing import Any

from tracekit.adapt.account import NotTakenError

FIRST_MS, LAST_MS = 10**12, 10**13 - 1  # 2001 to 2286: 13 digits, so that lines sort as their bytes do
_DECIMAL = re.compile(r"([+-]?)(\d{1,18})(?:\.(\d*))?")
_ISO = re.compile(
    r"(\d{4}-\d\d-\d\d)[T ](\d\d:\d\d:\d\d)(?:[.,](\d{1,9}))?\s*(Z|z|UTC|[+-]\d\d:?\d\d)?(?: UTC)?"
)
_MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"]
_CLF = re.compile(r"(\d\d)/([A-Z][a-z]{2})/(\d{4}):(\d\d):(\d\d):(\d\d)(?:\.(\d{1,9}))?(?: ([+-]\d{4}))?")


def scaled(text: str, us_per_unit: int) -> int:
    """A decimal number of some unit in whole microseconds, exactly (rounded down).

    us_per_unit: 1_000_000 for seconds. Raises NotTakenError where the text is no number."""
    match = _DECIMAL.fullmatch(text.strip())
    if match is None:
        raise NotTakenError("number", f"{text[:40]!a} is no number")
    fraction = (match[3] or "")[:9]
    value = int(match[2]) * us_per_unit + (
        int(fraction) * us_per_unit // 10 ** len(fraction) if fraction else 0
    )
    return -value if match[1] == "-" else value


@lru_cache(4096)
def _second(day: str, clock: str, zone: str) -> int:
    """Seconds since the epoch; the same second comes again and again in a log."""
    if clock.endswith(":60"):  # a leap second is counted as the one before
        clock = clock[:-2] + "59"
    moment = datetime.strptime(f"{day} {clock}", "%Y-%m-%d %H:%M:%S")
    offset = timedelta()
    if zone not in ("", "Z", "z", "UTC"):
        hours, minutes = int(zone[1:3]), int(zone[-2:])
        offset = timedelta(hours=hours, minutes=minutes) * (-1 if zone[0] == "-" else 1)
    return int((moment.replace(tzinfo=timezone.utc) - offset).timestamp())


def iso_us(text: str, zone: str | None = None) -> int:
    """us since the epoch of an RFC 3339 or ISO 8601 stamp. zone: of one that names none ("Z", "+0100").

    Raises NotTakenError where the text is no stamp, or it names no zone and none is given."""
    match = _ISO.fullmatch(text.strip())
    used = (match[4] or zone) if match else None
    if match is None or used is None:
        raise NotTakenError("time", f"{text[:40]!a} is no time" + (" with a zone" if match else ""))
    try:
        second = _second(match[1], match[2], used)
    except (ValueError, OverflowError) as error:
        raise NotTakenError("time", f"{text[:40]!a}: {error}") from error
    return second * 1_000_000 + _fraction_us(match[3])


def clf_us(text: str, zone: str | None = None) -> int:
    """us since the epoch of a common log stamp, 31/Dec/2025:17:37:40 +0100; zone as in iso_us."""
    match = _CLF.fullmatch(text)
    used = (match[8] or zone) if match else None
    if match is None or used is None or match[2] not in _MONTHS:
        raise NotTakenError("time", f"{text[:40]!a} is no time" + (" with a zone" if match else ""))
    day = f"{match[3]}-{_MONTHS.index(match[2]) + 1:02}-{match[1]}"
    try:
        second = _second(day, f"{match[4]}:{match[5]}:{match[6]}", used)
    except (ValueError, OverflowError) as error:
        raise NotTakenError("time", f"{text[:40]!a}: {error}") from error
    return second * 1_000_000 + _fraction_us(match[7])


def _fraction_us(digits: str | None) -> int:
    return int((digits or "0").ljust(6, "0")[:6])


def ms(us: int) -> float:
    """Microseconds as ms, whole where they are whole."""
    return us // 1000 if us % 1000 == 0 else us / 1000


def spans(start_us: int, end_us: int, enqueue_us: int | None = None) -> dict[str, Any]:
    """The stamps and durations of a record. Without an earlier stamp it was enqueued when it started.

    Raises NotTakenError where an end comes before its begin, or a stamp is out of the range of the trace."""
    enqueue_us = start_us if enqueue_us is None else enqueue_us
    if end_us < start_us or start_us < enqueue_us:
        what = "end before start" if end_us < start_us else "start before enqueue"
        raise NotTakenError("negative", f"{what}: {enqueue_us}, {start_us}, {end_us} us")
    check_us(enqueue_us)
    check_us(end_us)
    return {
        "ts_enqueue": enqueue_us // 1000,
        "ts_start": start_us // 1000,
        "ts_end": end_us // 1000,
        "queue_time_ms": ms(start_us - enqueue_us),
        "service_time_ms": ms(end_us - start_us),
        "rt_ms": ms(end_us - enqueue_us),
    }


def check_us(stamp_us: int) -> int:
    """The stamp. Raises NotTakenError where it is no time between 2001 and 2286."""
    if not FIRST_MS <= stamp_us // 1000 <= LAST_MS:
        raise NotTakenError("time", f"{stamp_us} us since the epoch is not between 2001 and 2286")
    return stamp_us
