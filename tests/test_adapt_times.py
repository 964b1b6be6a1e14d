"""Stamps and durations from text: known values, and laws for any."""

from datetime import datetime, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tracekit.adapt.account import NotTakenError
from tracekit.adapt.times import clf_us, iso_us, scaled, spans


@pytest.mark.parametrize(
    ("text", "zone", "us"),
    [
        ("2026-01-01T00:00:00Z", None, 1767225600_000_000),
        ("2025-12-31T17:37:40.123456789+01:00", None, 1767199060_123_456),
        ("2025-12-31 11:07:40,5 -0530", None, 1767199060_500_000),
        ("2026-01-01T00:00:00", "Z", 1767225600_000_000),
        ("2026-01-01T00:00:00", "+0200", 1767218400_000_000),
        ("2016-12-31T23:59:60Z", None, 1483228799_000_000),
    ],
)
def test_stamps_of_rfc_3339(text: str, zone: str | None, us: int) -> None:
    assert iso_us(text, zone) == us


@pytest.mark.parametrize(
    ("text", "zone", "us"),
    [
        ("31/Dec/2025:17:37:40 +0100", None, 1767199060_000_000),
        ("31/Dec/2025:16:37:40.205", "Z", 1767199060_205_000),
    ],
)
def test_stamps_of_common_logs(text: str, zone: str | None, us: int) -> None:
    assert clf_us(text, zone) == us


@pytest.mark.parametrize(
    "text", ["", "soon", "2026-13-01T00:00:00Z", "2026-01-01T00:00:00", "2026-02-30T00:00:00Z"]
)
def test_what_is_no_stamp_is_not_taken(text: str) -> None:
    with pytest.raises(NotTakenError):
        iso_us(text)


@given(st.datetimes(datetime(2001, 9, 10), datetime(2200, 1, 1), timezones=st.just(timezone.utc)))
def test_any_stamp_comes_back(moment: datetime) -> None:
    whole = int(moment.replace(microsecond=0).timestamp()) * 1_000_000
    assert iso_us(moment.isoformat()) == whole + moment.microsecond
    assert clf_us(moment.strftime("%d/%b/%Y:%H:%M:%S +0000")) == whole


@given(st.integers(0, 10**15))
def test_decimals_are_exact(us: int) -> None:
    assert scaled(f"{us // 10**6}.{us % 10**6:06}", 10**6) == us


@given(st.lists(st.integers(10**15, 10**15 + 10**9), min_size=3, max_size=3))
def test_durations_are_those_of_the_stamps_or_the_record_is_rejected(stamps: list[int]) -> None:
    enqueue, start, end = stamps
    if not enqueue <= start <= end:
        with pytest.raises(NotTakenError):
            spans(start, end, enqueue)
        return
    found = spans(start, end, enqueue)
    assert abs(found["rt_ms"] - found["queue_time_ms"] - found["service_time_ms"]) <= 0.01
    assert abs(found["ts_end"] - found["ts_start"] - found["service_time_ms"]) <= 1
    assert abs(found["ts_start"] - found["ts_enqueue"] - found["queue_time_ms"]) <= 1
