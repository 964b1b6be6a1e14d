"""The figures of a real and a simulated run side by side, each with its error, its interval and its gate."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from tracekit.verify.gates import Gates
from tracekit.verify.observed import Observed
from tracekit.verify.statistics import (
    Figure,
    Interval,
    curve,
    error_pct,
    ks_distance,
    quantile,
    smape_pct,
    wape_pct,
    with_interval,
)

SHARES = (50, 95, 99)
PASS, FAIL = "PASS", "FAIL"
_SAME = 0.05  # so many more or fewer requests are still the same, but for some that nobody served
_ENDS_A_POINT = 30  # the curve's points are so wide that the real run has this many ends in each


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One figure. n: values, real and simulated. error: percent of the real value (KS: distance).

    verdict: PASS, FAIL, or why it is not judged."""

    name: str
    n: tuple[int, int]
    real: float | None = None
    sim: float | None = None
    error: float | None = None
    interval: Interval | None = None
    gate: float | None = None
    verdict: str


def compare(real: Observed, sim: Observed, gates: Gates, given: dict[str, str]) -> Iterator[Finding]:
    """Every figure. given: figures (wait, response, cpu) that are input of the simulation, and why."""
    waits = "" if real.is_wait_known and sim.is_wait_known else "the run tells of no queueing"
    yield from _times("wait", real.wait, sim.wait, gates, given.get("wait") or waits)
    basis = "" if real.basis == sim.basis else f"seen by the {real.basis} and by the {sim.basis}"
    yield from _times("response", real.response, sim.response, gates, given.get("response") or basis)
    yield _makespan(real, sim, gates)
    yield _throughput(real, sim, gates)
    yield _cpu(real, sim, gates, given.get("cpu", ""))
    yield from _utilisation(real, sim, gates)


def _verdict(error: float | None, gate: float | None, why_not: str = "") -> str:
    if why_not or gate is None:
        return why_not or "no gate"
    return PASS if error is not None and abs(error) <= gate else FAIL


def _times(
    what: str, real: Sequence[float], sim: Sequence[float], gates: Gates, why_not: str
) -> Iterator[Finding]:
    counts = len(real), len(sim)
    if not real or not sim:
        yield Finding(name=what, n=counts, verdict=why_not or "no values on one side")
        return
    if abs(len(real) - len(sim)) > _SAME * len(real):
        why_not = why_not or "not the same requests"
    for share in SHARES:
        gate: float | None = getattr(gates, f"{what}_p{share}_pct")
        error, between = with_interval(_quantile_error(share), real, sim, 100 // (100 - share))
        one, other = quantile(real, share), quantile(sim, share)
        is_near = gate is not None and abs(other - one) <= gates.resolution_ms
        yield Finding(
            name=f"{what} p{share}",
            n=counts,
            real=one,
            sim=other,
            error=error,
            interval=between,
            gate=gate,
            verdict=PASS if is_near and not why_not else _verdict(error, gate, why_not),
        )
    gate = getattr(gates, f"{what}_ks")
    distance, between = with_interval(ks_distance, real, sim, 20)
    verdict = _verdict(distance, gate, why_not)
    yield Finding(name=f"{what} KS", n=counts, error=distance, interval=between, gate=gate, verdict=verdict)


def _quantile_error(share: int) -> Figure:
    return lambda real, sim: error_pct(quantile(real, share), quantile(sim, share))


def _makespan(real: Observed, sim: Observed, gates: Gates) -> Finding:
    error = error_pct(real.makespan, sim.makespan)
    return Finding(
        name="makespan",
        n=(len(real.response), len(sim.response)),
        real=real.makespan,
        sim=sim.makespan,
        error=error,
        gate=gates.makespan_pct,
        verdict=_verdict(error, gates.makespan_pct),
    )


def _throughput(real: Observed, sim: Observed, gates: Gates) -> Finding:
    last = int(max(real.makespan, sim.makespan) // 1000)
    ended = sum(real.ended.values())
    width = max(-(-_ENDS_A_POINT * (last + 1) // max(ended, 1)), 1)
    one, other = curve(real.ended, 0, last, width), curve(sim.ended, 0, last, width)
    error, between = with_interval(smape_pct, one, other, 2)
    gate = gates.throughput_smape_pct
    return Finding(
        name="throughput sMAPE",
        n=(len(one), len(other)),
        error=error,
        interval=between,
        gate=gate,
        verdict=_verdict(error, gate, "" if one else "too short"),
    )


def _cpu(real: Observed, sim: Observed, gates: Gates, why_not: str) -> Finding:
    counts = len(real.response), len(sim.response)
    if real.cpu_s is None or sim.cpu_s is None:
        return Finding(
            name="CPU-seconds", n=counts, real=real.cpu_s, sim=sim.cpu_s, verdict="not measured on one side"
        )
    first, last = _span(real, sim)
    one, other = (_all_nodes(run, first, last) for run in (real, sim))
    between = with_interval(lambda a, b: error_pct(sum(a), sum(b)), one, other, 2)[1]
    error = error_pct(real.cpu_s, sim.cpu_s)
    return Finding(
        name="CPU-seconds",
        n=counts,
        real=real.cpu_s,
        sim=sim.cpu_s,
        error=error,
        interval=between,
        gate=gates.cpu_s_pct,
        verdict=_verdict(error, gates.cpu_s_pct, why_not),
    )


def _all_nodes(run: Observed, first: int, last: int) -> list[float]:
    return [sum(busy.get(second, 0.0) for busy in run.busy.values()) for second in range(first, last + 1)]


def _span(real: Observed, sim: Observed) -> tuple[int, int]:
    """The first and the last second in which either has CPU."""
    seconds = [second for run in (real, sim) for busy in run.busy.values() for second in busy]
    return (min(seconds), max(seconds)) if seconds else (0, -1)


def _utilisation(real: Observed, sim: Observed, gates: Gates) -> Iterator[Finding]:
    """CPU-seconds, second by second."""
    first, last = _span(real, sim)
    for node in sorted(real.busy.keys() & sim.busy.keys()):
        one, other = curve(real.busy[node], first, last), curve(sim.busy[node], first, last)
        error, between = with_interval(wape_pct, one, other, 2)
        yield Finding(
            name=f"CPU of {node}, WAPE",
            n=(len(one), len(other)),
            real=sum(one) / len(one),
            sim=sum(other) / len(other),
            error=error,
            interval=between,
            gate=gates.utilisation_wape_pct,
            verdict=_verdict(error, gates.utilisation_wape_pct),
        )
