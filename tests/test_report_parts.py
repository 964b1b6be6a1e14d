"""What the report computes: extremes that stay, percentiles, the slowest traces, the critical path."""

import hashlib
import json
import random
import shutil
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from reports import BACK, DIED, FOUND, LOST, SECONDS, TRACES, troubled

from tests.runs import STEP, T0, tool
from tracekit.dataset import Dataset, open_dataset
from tracekit.errors import TracekitError
from tracekit.report.card import read_card
from tracekit.report.grid import Extremes, Grid, Spread, span_of
from tracekit.report.histogram import Histogram
from tracekit.report.page import read_run
from tracekit.report.placement import read_lanes
from tracekit.report.slowest import KEPT, Slowest
from tracekit.report.traces import Span, critical_path, link
from tracekit.report.verified import read_verified


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return open_dataset(troubled(tmp_path_factory.mktemp("report") / "r1") / "cctf")


# --- time


@pytest.mark.parametrize(
    ("span_s", "width_s"),
    [(100, 1), (1990, 1), (3600, 2), (86_400, 60), (30 * 86_400, 1800), (4000 * 86_400, 172_887)],
)
def test_buckets_are_few_however_long_the_run(span_s: int, width_s: int) -> None:
    grid = Grid(T0, T0 + span_s * 1000, 2000)
    assert grid.width_ms // 1000 == width_s
    assert grid.bucket(T0) == 0
    assert grid.bucket(T0 + span_s * 1000) == grid.count - 1
    assert grid.count <= 2000


def test_what_lies_outside_is_counted_and_not_shown() -> None:
    grid = Grid(T0, T0 + 10_000, 100)
    assert (grid.bucket(T0 - 1), grid.bucket(T0 + 11_000), grid.outside) == (None, None, 2)


@given(st.lists(st.tuples(st.integers(0, 9999), st.integers(0, 10**12)), min_size=1, max_size=60))
def test_the_extremes_of_every_bucket_stay(samples: list[tuple[int, int]]) -> None:
    grid = Grid(T0, T0 + 9999, 8)  # 2 s wide
    extremes = Extremes(grid)
    for at, value in sorted(samples):
        extremes.add(T0 + at, value)
    values = extremes.values()
    for bucket in range(grid.count):
        own = [value for at, value in sorted(samples) if at // grid.width_ms == bucket]
        shown = [value for value in values[2 * bucket : 2 * bucket + 2] if value is not None]
        if own:
            assert (min(shown), max(shown)) == (min(own), max(own))
            assert len(shown) == min(len(own), 2)
        else:
            assert shown == []


def test_of_two_extremes_the_earlier_one_comes_first() -> None:
    grid = Grid(T0, T0 + 9999, 8)
    extremes = Extremes(grid)
    for at, value in ((0, 5), (10, 9), (20, 1), (2000, 1), (2010, 7), (2020, 3)):
        extremes.add(T0 + at, value)
    assert extremes.values()[:4] == [9, 1, 1, 7]
    assert extremes.means(2)[:2] == [5.0, 3.67]


@given(st.lists(st.tuples(st.floats(0, 9000), st.floats(0, 900), st.floats(0, 1e6)), max_size=30))
def test_shared_amounts_add_up(spans: list[tuple[float, float, float]]) -> None:
    grid = Grid(T0, T0 + 9999, 8)
    spread = Spread(grid)
    for begin, length, amount in spans:
        spread.add(T0 + begin, T0 + begin + length, amount)
    total = sum(value or 0 for value in spread.per_ms(9)) * grid.width_ms
    assert total == pytest.approx(sum(amount for _, _, amount in spans), abs=1e-3)


def test_an_amount_falls_where_its_time_is() -> None:
    spread = Spread(Grid(T0, T0 + 3999, 100))
    spread.add(T0 + 500, T0 + 2500, 200.0)  # 50 in the first second, 100 in the next, 50 in the third
    assert spread.per_ms() == [0.05, 0.1, 0.05, 0.0]


def test_a_clock_that_was_decades_off_does_not_hide_the_run(tmp_path: Path, dataset: Dataset) -> None:
    files = [
        type(file)(**{name: getattr(file, name) for name in file.__struct_fields__} | {"first_ts": 1})
        for file in dataset.manifest.files
        if file.name == "host_metrics.jsonl"
    ]
    manifest = type(dataset.manifest)(
        **{name: getattr(dataset.manifest, name) for name in dataset.manifest.__struct_fields__}
        | {"files": [*[f for f in dataset.manifest.files if f.name != "host_metrics.jsonl"], *files]}
    )
    start, end = span_of(Dataset(dataset.folder, manifest))
    assert end - start == SECONDS * 1000
    assert end == T0 + SECONDS * 1000 + STEP


# --- requests


@given(st.lists(st.floats(0.001, 1e6), min_size=1, max_size=300), st.sampled_from([0.5, 0.95, 0.99]))
def test_a_percentile_is_within_half_a_percent(values: list[float], share: float) -> None:
    histogram = Histogram()
    for value in values:
        histogram.add(value)
    rank = -(-len(values) * round(share * 100) // 100)  # nearest rank, in whole numbers
    assert histogram.quantile(share) == pytest.approx(sorted(values)[rank - 1], rel=0.005)


def test_a_curve_rises_to_all_of_them() -> None:
    histogram = Histogram()
    for value in range(10_000):
        histogram.add(value / 10)
    curve = histogram.curve()
    assert curve == sorted(curve)
    assert curve[-1] == (999.9, 100.0)
    assert curve[0][0] <= 0.1  # 0 is in a bin of its own
    assert len(curve) < 500


def test_the_slowest_traces_are_those_of_a_sort() -> None:
    chance = random.Random(9)
    spans = [(f"t{chance.randrange(500)}", chance.random()) for _ in range(5000)]
    slowest, longest = Slowest(), dict[str, float]()
    for name, duration in spans:
        slowest.add(name, duration)
        longest[name] = max(longest.get(name, 0.0), duration)
    assert slowest.ids() == sorted(longest, key=lambda name: -longest[name])[:KEPT]


# --- traces


def span(name: str, parent: str | None, start: float, end: float) -> Span:
    return Span(name, parent, "n", "served", name, start, end)


def path_of(spans: list[Span]) -> list[tuple[str | None, float, float]]:
    roots = link(spans)
    return [(one.span_id, begin, end) for one, begin, end in critical_path(roots[0])]


def test_the_critical_path_goes_through_whatever_ended_last() -> None:
    spans = [span("a", None, 0, 100), span("b", "a", 10, 40), span("c", "a", 20, 90), span("d", "c", 30, 60)]
    assert path_of(spans) == [
        *[("a", 0, 20), ("c", 20, 30), ("d", 30, 60), ("c", 60, 90), ("a", 90, 100)]
    ]  # b ended while c was waited for


def test_calls_one_after_the_other_are_all_on_the_path() -> None:
    spans = [span("a", None, 0, 10), span("b", "a", 1, 4), span("c", "a", 5, 9)]
    assert path_of(spans) == [("a", 0, 1), ("b", 1, 4), ("a", 4, 5), ("c", 5, 9), ("a", 9, 10)]


def test_a_child_counts_only_within_its_parent() -> None:
    assert path_of([span("a", None, 10, 20), span("b", "a", 5, 30)]) == [("b", 10, 20)]
    assert path_of([span("a", None, 10, 20), span("b", "a", 40, 50)]) == [("a", 10, 20)]


@given(
    st.lists(st.tuples(st.integers(0, 9), st.integers(0, 100), st.integers(0, 100)), min_size=1, max_size=10)
)
def test_the_parts_of_a_path_add_up_to_the_whole(told: list[tuple[int, int, int]]) -> None:
    """Whatever the parents: circles, themselves, none; whatever the clocks."""
    spans = [span(str(at), str(parent), begin, begin + took) for at, (parent, begin, took) in enumerate(told)]
    for root in link(spans):
        path = critical_path(root)
        times = [root.start, *[end for _, _, end in path]]
        assert [begin for _, begin, _ in path] == times[:-1]
        assert times[-1] == (root.end if path else root.start)


def test_every_span_is_drawn_once_also_in_a_circle() -> None:
    spans = [span("a", "b", 0, 9), span("b", "a", 0, 9), span("c", None, 0, 1), span("d", "a", 0, 2)]
    roots = link(spans)
    drawn = [one.span_id for root in roots for one in (root, *root.children)]
    assert sorted(drawn, key=str) == ["a", "b", "c", "d"]


# --- the whole


def test_the_card_tells_what_went_wrong(dataset: Dataset) -> None:
    card = read_card(dataset)
    gaps = [(gap["series"], (gap["from"] - T0) // 1000, (gap["to"] - T0) // 1000) for gap in card["gaps"]]
    assert gaps == [(["cpu"], DIED, BACK), (["cpu", "mem", "nic"], LOST, FOUND), (["proc"], LOST + 1, FOUND)]
    kinds = [event["kind"] for event in card["events"]]
    assert kinds == ["died", "stall", "clock_step"]  # one step, told by two
    (node,) = card["nodes"]
    assert node["lasted_ms"] == SECONDS * 1000  # the step was no time
    assert node["cost_ms"] == 1200
    assert node["series"]["cpu"] == [SECONDS - (BACK - DIED) - (FOUND - LOST), SECONDS]


def test_the_slowest_trace_is_told_with_its_path(dataset: Dataset) -> None:
    run = read_run(dataset)
    assert len(run["traces"]) == KEPT
    slowest = run["traces"][0]
    assert [one["kind"] for one in slowest["spans"]] == ["client", "served", "call"]
    assert slowest["took_ms"] == TRACES + 12
    # client 1 ms, the app until it calls (wait and 2 ms), the call 6 ms, the app 2 ms, client 1 ms
    at = TRACES + 1
    served, called = [1, 1, at + 2], [2, at + 2, at + 8]
    assert slowest["path"] == [[0, 0, 1], served, called, [1, at + 8, at + 10], [0, at + 10, at + 11]]


def test_requests_are_summed(dataset: Dataset) -> None:
    part = read_run(dataset)["requests"]
    assert (part["served"], part["failed"], part["stamped"]) == (TRACES, [], TRACES)
    wait = part["wait"][0]
    assert wait["quantiles"] == pytest.approx([20, 38, 40], rel=0.005)
    busy_ms = sum(part["in_flight"]["vm1"]) * 1000
    assert busy_ms == pytest.approx(sum(number + 10 for number in range(1, TRACES + 1)), rel=0.02)
    assert sum(part["rate"]["vm1"]) == TRACES


def test_lanes_are_open_where_nobody_told_of_an_end(dataset: Dataset) -> None:
    (lane,) = read_lanes(dataset)["lanes"]
    assert lane["stays"] == [[T0 + 1000, T0 + 80_000]]


def test_the_page_is_no_larger_for_a_longer_run(dataset: Dataset) -> None:
    """Everything that has a value a bucket has 2000 at most."""
    run = read_run(dataset)
    assert run["grid"]["count"] <= 2000
    for chart in run["charts"]:
        assert len(chart["slots"]) <= 2 * run["grid"]["count"]


# --- what others left


def test_a_comparison_is_shown_with_its_floor_and_its_age(tmp_path: Path, dataset: Dataset) -> None:
    home = tmp_path / "r1"
    shutil.copytree(dataset.folder, home / "cctf")
    ours = open_dataset(home / "cctf")
    assert read_verified(ours) is None
    told = {
        "name": "wait p50",
        "n": [4, 5],
        "real": 2.0,
        "sim": 1.0,
        "error": -50.0,
        "gate": 5,
        "verdict": "FAIL",
    }
    report = {
        "manifest_sha256": hashlib.sha256((home / "cctf" / "manifest.json").read_bytes()).hexdigest(),
        "verdict": "FAIL",
        "findings": [{**told, "interval": [-60.0, -40.0]}],
        "floor": [{**told, "error": 3.0, "verdict": "PASS"}],
    }
    path = home / "exports" / "verify.json"
    path.parent.mkdir()
    path.write_text(json.dumps(report))
    shown = read_verified(ours)
    assert shown is not None
    assert (shown["verdict"], shown["is_older"]) == ("FAIL", False)
    assert (shown["findings"][0]["error"], shown["findings"][0]["floor"]) == (-50.0, 3.0)
    path.write_text(json.dumps({**report, "manifest_sha256": "0" * 64}))
    again = read_verified(ours)
    assert again is not None
    assert again["is_older"]
    path.write_text("{")
    with pytest.raises(TracekitError, match="make verify"):
        read_verified(ours)


def test_a_library_of_another_hash_is_not_used(tmp_path: Path) -> None:
    """The registry is a folder here; what lies in it is not uPlot."""
    package = tmp_path / "uplot" / "-" / "uplot-1.6.32.tgz"
    package.parent.mkdir(parents=True)
    package.write_bytes(b"something else")
    target = tmp_path / "library"
    done = tool("lib/fetch_uplot.py", str(target), npm_config_registry=tmp_path.as_uri())
    assert done.returncode == 1
    assert "it is not used" in done.stderr
    assert not target.exists()
    done = tool("lib/fetch_uplot.py", str(target), npm_config_registry=(tmp_path / "none").as_uri())
    assert done.returncode == 1
    assert "is there a way to the network?" in done.stderr


def test_a_merged_run_stays_valid_with_its_report(tmp_path: Path, dataset: Dataset) -> None:
    merged = tmp_path / "unified_cctf" / "r1"
    shutil.copytree(dataset.folder, merged)
    (merged / "report.html").write_text("")
    assert tool("validate.py", str(merged)).returncode == 0
    (merged / "reports.html").write_text("")
    assert tool("validate.py", str(merged)).returncode == 1
