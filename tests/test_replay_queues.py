"""The queues of the replay against what is known without it: Lindley's recursion and the textbook's means.

The mean wait of any path that a test can afford strays from the textbook's by more than 1 %, mostly because
its own mean service and arrival rate do. So the textbook's formula is given the path's own moments.
"""

import math
from collections.abc import Iterator
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from replayed import T0, Ended, invocation, one_node, replayed, write_dataset

from tracekit.records import Invocation
from tracekit.replay.engine import Call, Engine
from tracekit.replay.model import Count, Model, Visit
from tracekit.replay.network import Network

MEAN_NS = 10_000_000
Path_ = list[tuple[int, int]]  # arrival and work of each customer, ns
TOLD = Invocation(ts_enqueue=0, node="vm1")


def run(model: Model, path: Path_) -> list[Visit]:
    """The customers after their way through the one node of model."""

    def plan(call: Call, parent: Visit | None) -> Visit:
        visit = Visit(TOLD, "vm1", call, parent)
        visit.work = [call.target]
        return visit

    log = Ended()
    Engine(model, Network([], Count()), plan, log).run((at, Call(work)) for at, work in path)
    return log.visits


def lindley(path: Path_) -> Iterator[int]:
    """Waits of one server, by W' = max(0, W + S - A). Source: Lindley 1952."""
    wait = 0
    for (at, work), (following, _) in zip(path, [*path[1:], (path[-1][0], 0)], strict=True):
        yield wait
        wait = max(0, wait + work - (following - at))


def poisson(seed: int, count: int, rho: float, servers: int = 1, *, is_fixed: bool = False) -> Path_:
    """Poisson arrivals; exponential or fixed services of 10 ms in the mean."""
    dice, at, path = Random(seed), 0.0, []
    for _ in range(count):
        at += dice.expovariate(rho * servers / MEAN_NS)
        path.append((round(at), MEAN_NS if is_fixed else round(dice.expovariate(1 / MEAN_NS))))
    return path


def moments(path: Path_) -> tuple[float, float, float]:
    """The path's own arrival rate (1/ns), mean service and mean squared service."""
    works = [work for _, work in path]
    rate = (len(path) - 1) / (path[-1][0] - path[0][0])
    return rate, sum(works) / len(works), sum(work * work for work in works) / len(works)


def mean_wait(visits: list[Visit]) -> float:
    return sum(visit.start - visit.enqueue for visit in visits) / len(visits)


@pytest.mark.parametrize("is_fixed", [False, True], ids=["M/M/1", "M/D/1"])
def test_one_server_waits_as_pollaczek_and_khinchine_say(is_fixed: bool) -> None:
    path = poisson(1, 300_000, 0.5, is_fixed=is_fixed)
    rate, mean, square = moments(path)
    expected = rate * square / (2 * (1 - rate * mean))
    assert mean_wait(run(one_node(), path)) == pytest.approx(expected, rel=0.01)


def test_several_servers_wait_as_erlang_c_says() -> None:
    servers, path = 3, poisson(1, 300_000, 0.6, servers=3)
    rate, mean, _ = moments(path)
    offered = rate * mean
    tail = offered**servers / math.factorial(servers) / (1 - offered / servers)
    waits = tail / (sum(offered**k / math.factorial(k) for k in range(servers)) + tail)
    expected = waits * mean / (servers - offered)
    assert mean_wait(run(one_node(servers), path)) == pytest.approx(expected, rel=0.01)


@pytest.mark.parametrize("is_fixed", [False, True], ids=["M/M/1-PS", "M/D/1-PS"])
def test_processor_sharing_responds_alike_for_any_service(is_fixed: bool) -> None:
    path = poisson(1, 200_000, 0.5, is_fixed=is_fixed)
    rate, mean, _ = moments(path)
    visits = run(one_node(policy="ps"), path)
    response = sum(visit.end - visit.enqueue for visit in visits) / len(visits)
    assert response == pytest.approx(mean / (1 - rate * mean), rel=0.01)


PATHS = st.lists(
    st.tuples(st.integers(0, 50_000_000), st.integers(1, 60_000_000)), min_size=1, max_size=60
).map(lambda pairs: [(sum(gap for gap, _ in pairs[: at + 1]), work) for at, (_, work) in enumerate(pairs)])


@given(PATHS)
def test_waits_of_one_server_are_lindleys_to_the_nanosecond(path: Path_) -> None:
    assert [visit.start - visit.enqueue for visit in run(one_node(), path)] == list(lindley(path))


@given(PATHS, st.integers(1, 4), st.sampled_from(["fifo", "ps"]), st.none() | st.integers(1, 3))
def test_all_that_comes_goes_and_does_its_work(
    path: Path_, cores: int, policy: str, slots: int | None
) -> None:
    visits = run(one_node(cores, policy, slots=slots), path)
    assert [visit.used for visit in visits] == [work for _, work in path]
    assert all(visit.end - visit.start >= visit.used - 1 for visit in visits)


@given(PATHS, st.sampled_from(["fifo", "ps"]))
def test_one_core_is_never_idle_while_there_is_work(path: Path_, policy: str) -> None:
    """Work conserving: the last ends when Lindley's last one does, whatever the policy."""
    last_fifo = max(at + wait + work for (at, work), wait in zip(path, lindley(path), strict=True))
    last = max(visit.end for visit in run(one_node(1, policy), path))
    assert 0 <= last - last_fifo <= len(path)  # with ps each end is rounded up to a whole ns


@given(PATHS)
def test_with_cores_for_all_nobody_waits_and_the_policies_agree(path: Path_) -> None:
    for policy in ("fifo", "ps"):
        visits = run(one_node(len(path), policy), path)
        assert [(visit.start, visit.end) for visit in visits] == [(at, at + work) for at, work in path]


@given(PATHS)
def test_a_core_of_half_the_speed_is_a_core_with_twice_the_work(path: Path_) -> None:
    slow = run(one_node(speed=0.5), path)
    more = run(one_node(), [(at, 2 * work) for at, work in path])
    assert [visit.end for visit in slow] == [visit.end for visit in more]
    assert [2 * visit.used for visit in slow] == [visit.used for visit in more]


def test_two_share_a_core_evenly() -> None:
    """0: 10 ms, 4: 3 ms. From 4 on each has half: the second ends at 10, the first at 13."""
    visits = run(one_node(policy="ps"), [(0, 10_000_000), (4_000_000, 3_000_000)])
    assert [visit.end for visit in visits] == [13_000_000, 10_000_000]


def test_a_core_and_a_half_serve_two_at_three_quarters() -> None:
    visits = run(one_node(1.5, "ps"), [(0, 3_000_000), (0, 3_000_000)])
    assert [visit.end for visit in visits] == [4_000_000, 4_000_000]


def test_a_slot_is_held_through_the_wait_elsewhere() -> None:
    """Two cores but one slot: the second starts when the first has ended."""
    visits = run(one_node(2, slots=1), [(0, 5_000_000), (1_000_000, 5_000_000)])
    assert [(visit.start, visit.end) for visit in visits] == [(0, 5_000_000), (5_000_000, 10_000_000)]


@settings(max_examples=20)
@given(st.integers(0, 1000))
def test_a_recorded_trace_waits_as_lindley_says(tmp_path_factory: pytest.TempPathFactory, seed: int) -> None:
    dice, at, rows = Random(seed), 0.0, []
    for number in range(200):
        at += dice.expovariate(1 / 12)
        cpu_ms = max(round(dice.expovariate(1 / 10), 3), 0.001)  # without any CPU it would wait for no core
        rows.append(invocation(at, cpu_ms, number))
    dataset = write_dataset(tmp_path_factory.mktemp("run"), {"invocations.jsonl": rows})
    visits, count, _ = replayed(dataset, one_node())
    path = [((row["ts_enqueue"] - T0) * 10**6, round(row["cpu_time_ms"] * 10**6)) for row in rows]
    assert [visit.start - visit.enqueue for visit in visits] == list(lindley(path))
    assert (count.read, count.visits, count.requests) == (200, 200, 200)
