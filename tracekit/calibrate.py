"""Fit the few parameters of a replay on recorded runs; docs/replay.md says what each of them is.

First the CPU: what the kernel counted for the serving processes is cpu_time_ms of the requests, an overhead
for each of them, and something for each that found the cores idle; least squares over the runs. Then, for
each policy and each number of cores, the speed of a core and the delay for which the shares of the response
times come nearest. How surely they tell the speed is found by leaving out parts of them; of the speeds within
one standard error the one nearest to 1 is taken, at which a millisecond of CPU takes a millisecond. (Breiman
et al., Classification and Regression Trees, 3.4.3, choose so; near saturation 2 % of speed are 20 % of p95.)
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from tracekit.dataset import Dataset
from tracekit.errors import TracekitError, UsageError
from tracekit.records import ClientEvent, Invocation
from tracekit.replay.arrivals import Held, read_requests
from tracekit.replay.engine import Engine
from tracekit.replay.model import FIFO, NS_PER_MS, PS, Count, Model, NodeModel, Visit
from tracekit.replay.parameters import NodeParameters, Parameters, TrainedOn
from tracekit.replay.run import manifest_hash, simulate
from tracekit.verify.observed import CLIENT, Observed, read_run
from tracekit.verify.statistics import SECTIONS, jackknife_error, quantile, sections

SHARES = (25, 50, 75, 90, 95)
_SPEEDS = [at / 10 for at in range(5, 14)]  # 0.5 to 1.3 at first, then about the best one:
_AROUND = [at / 100 for at in range(-10, 11)]  # from the best speed, to see how surely it is the best
_OF_SECTION = 20  # responses that a section needs for its shares
_STEPS = (-0.05, -0.02, -0.01, 0.0, 0.01, 0.02, 0.05)
_ROUNDS = 3  # of what is tried out, each nearer to what was best


@dataclass(frozen=True)
class Fitted:
    """parameters, and what they miss on their own runs.

    loss: mean of abs(ln(simulated / real)) over SHARES."""

    parameters: Parameters
    loss: float


class Training:
    """One run in memory: its requests, and what was seen of it."""

    def __init__(self, dataset: Dataset) -> None:
        """Raises TracekitError where nothing was recorded that could be fitted to."""
        self.dataset, self.real = dataset, read_run(dataset)
        self.requests: list[Held] = list(read_requests(dataset, Count()))
        if not self.requests or not self.real.response:
            raise TracekitError(f"{dataset.folder}: no request with a response time to fit to")
        self.shares = [quantile(self.real.response, share) for share in SHARES]

    def simulate(self, model: Model) -> tuple["_Responses", Engine]:
        """The run on this model."""
        log = _Responses(self.real)
        return log, simulate(self.dataset, model, log, Count(), self.requests)


class _Responses:
    """A log of response times in ms, as the run has them, and of the work by node."""

    def __init__(self, real: Observed) -> None:
        self._kind = ClientEvent if real.basis == CLIENT else Invocation
        self.response: list[float] = []
        self.used_s: dict[str, float] = {}
        self.visits: dict[str, int] = {}

    def entered(self, visit: Visit) -> None:
        """Nothing to keep."""

    def ended(self, visit: Visit) -> None:
        """Keep what is compared."""
        if isinstance(visit.told, self._kind):
            self.response.append((visit.end - visit.enqueue) / NS_PER_MS)
        if isinstance(visit.told, Invocation):
            self.used_s[visit.node] = self.used_s.get(visit.node, 0.0) + visit.used / 1e9
            self.visits[visit.node] = self.visits.get(visit.node, 0) + 1


def fit(
    datasets: Sequence[Dataset], held_out: Dataset, policy: str = "", cores: float | None = None
) -> Fitted:
    """The parameters that come nearest on datasets. policy, cores: where the user gives them, else all are
    tried.

    Raises UsageError where the held-out run is among the datasets, TracekitError where they do not fit
    together."""
    _refuse_same([*datasets, held_out])
    runs = [Training(dataset) for dataset in datasets]
    most = max((node.cpu_cores or 1 for run in runs for node in run.dataset.nodes()), default=1)
    tried = [
        _fit_one(runs, one, count)
        for one in ([policy] if policy else [FIFO, PS])
        for count in ([cores] if cores else [float(number) for number in range(1, most + 1)])
    ]
    model, loss = _nearer_to_nominal(runs, *min(tried, key=lambda pair: pair[1]))
    trained = [TrainedOn(one.manifest.run_id, manifest_hash(one)) for one in datasets]
    nodes = {name: _parameters(node) for name, node in model.nodes.items()}
    return Fitted(Parameters(model.policy, nodes, trained), loss)


def _refuse_same(datasets: Sequence[Dataset]) -> None:
    seen: dict[str, str] = {}
    for one in datasets:
        digest = manifest_hash(one)
        if digest in seen:
            raise UsageError(
                f"{seen[digest]} and {one.manifest.run_id} are the same run: a fit is judged on another one"
            )
        seen[digest] = one.manifest.run_id


def _parameters(node: NodeModel) -> NodeParameters:
    told = (node.speed, node.overhead_cpu_ms, node.first_cpu_ms, node.delay_ms or 0.0)
    return NodeParameters(node.cores, node.slots, *(round(value, 4) for value in told))


def _fit_one(runs: Sequence[Training], policy: str, cores: float) -> tuple[Model, float]:
    """The best model of this policy and so many cores (at most the node's own)."""
    names = {node.node_id: node.cpu_cores for run in runs for node in run.dataset.nodes()}
    nodes = {name: NodeModel(min(cores, known or cores), delay_ms=0.0) for name, known in names.items()}
    model, speeds, loss = _fit_overhead(runs, Model(nodes, policy)), _SPEEDS, math.inf
    for _ in range(_ROUNDS):
        model, loss = min((_fit_at(runs, model, one) for one in speeds), key=lambda pair: pair[1])
        speed = next(iter(model.nodes.values())).speed
        speeds = [speed + step for step in _STEPS]
    return model, loss


def _fit_at(runs: Sequence[Training], model: Model, speed: float) -> tuple[Model, float]:
    """The model at this speed, which decides who finds the cores idle, and that the overhead."""
    return _fit_delay(runs, _fit_overhead(runs, _with_speed(model, speed), 1))


def _nearer_to_nominal(runs: Sequence[Training], best: Model, loss: float) -> tuple[Model, float]:
    """The best model with its speed nearer to 1 by one standard error, and its loss."""
    speed = next(iter(best.nodes.values())).speed
    error = _error_of_speed(runs, best, speed)
    if not error or speed == 1:
        return best, loss
    nearer = min(speed + error, 1.0) if speed < 1 else max(speed - error, 1.0)
    return _fit_at(runs, best, nearer)


def _error_of_speed(runs: Sequence[Training], model: Model, speed: float) -> float:
    """By the speeds that are the best without one section of each run; 0 where a section is too short."""
    if any(len(run.real.response) < SECTIONS * _OF_SECTION for run in runs):
        return 0.0
    real = [_in_sections(run.real.response) for run in runs]
    told: dict[float, list[tuple[list[list[float]], float]]] = {}  # by speed, of each run
    for one in (speed + step for step in _AROUND):
        logs = [run.simulate(_with_delay(_with_speed(model, one), 0.0))[0] for run in runs]
        told[one] = [
            (_in_sections(log.response), _depth(run, log)) for run, log in zip(runs, logs, strict=True)
        ]

    def best_without(section: int) -> float:
        shares = [_shares(parts, section) for parts in real]
        losses = {}
        for one, parts in told.items():
            pairs = [
                (sim, real, depth)
                for (part, depth), known in zip(parts, shares, strict=True)
                for sim, real in zip(_shares(part, section), known, strict=True)
            ]
            losses[one] = _best_delay(pairs)[1]
        return min(losses, key=losses.__getitem__)

    return jackknife_error([best_without(section) for section in range(SECTIONS)])


def _in_sections(values: Sequence[float]) -> list[list[float]]:
    return [sorted(section) for section in sections(values)]


def _shares(parts: Sequence[Sequence[float]], without: int) -> list[float]:
    """SHARES of all parts but one."""
    whole = sorted(value for at, part in enumerate(parts) if at != without for value in part)
    return [quantile(whole, share) for share in SHARES]


def _with_speed(model: Model, speed: float) -> Model:
    return replace(model, nodes={name: replace(node, speed=speed) for name, node in model.nodes.items()})


def _with_delay(model: Model, delay_ms: float) -> Model:
    return replace(
        model, nodes={name: replace(node, delay_ms=delay_ms) for name, node in model.nodes.items()}
    )


def _fit_overhead(runs: Sequence[Training], model: Model, rounds: int = _ROUNDS) -> Model:
    """CPU for each request and for each that found its node idle, so that the sums are the kernel's."""
    if any(run.real.cpu_source != "processes" for run in runs):
        return model
    for _ in range(rounds):
        rows: dict[str, list[tuple[float, float, float]]] = {}
        for run in runs:
            log, engine = run.simulate(model)
            for name, visits in log.visits.items():
                node, idle = model.nodes[name], engine.nodes[name].cores.found_idle
                ours_ms = visits * node.overhead_cpu_ms + idle * node.first_cpu_ms
                real_ms = 1000 * sum(run.real.busy.get(name, {}).values())
                missing = real_ms - (1000 * log.used_s[name] - ours_ms)
                if real_ms:
                    rows.setdefault(name, []).append((visits / real_ms, idle / real_ms, missing / real_ms))
        nodes = dict(model.nodes)
        for name, equations in rows.items():
            each, first = _least_squares(equations)
            nodes[name] = replace(nodes[name], overhead_cpu_ms=each, first_cpu_ms=first)
        model = replace(model, nodes=nodes)
    return model


def _least_squares(rows: Iterable[tuple[float, float, float]]) -> tuple[float, float]:
    """x, y >= 0 with a x + b y nearest to c over rows (a, b, c); y is 0 where one row cannot tell both."""
    rows = list(rows)
    aa, ab, bb = (sum(row[i] * row[j] for row in rows) for i, j in ((0, 0), (0, 1), (1, 1)))
    ac, bc = (sum(row[i] * row[2] for row in rows) for i in (0, 1))
    determinant = aa * bb - ab * ab
    if len(rows) > 1 and determinant > 1e-9 * aa * bb:
        x, y = (ac * bb - bc * ab) / determinant, (bc * aa - ac * ab) / determinant
        if x >= 0 and y >= 0:
            return x, y
        if x < 0:
            return 0.0, max(bc / bb, 0.0)
    return max(ac / aa, 0.0), 0.0


def _fit_delay(runs: Sequence[Training], model: Model) -> tuple[Model, float]:
    """The delay for which the shares are nearest: it is added to each response, so one simulation tells."""
    pairs: list[tuple[float, float, float]] = []
    for run in runs:
        log, _ = run.simulate(_with_delay(model, 0.0))
        ordered, depth = sorted(log.response), _depth(run, log)
        pairs += [
            (quantile(ordered, share), real, depth) for share, real in zip(SHARES, run.shares, strict=True)
        ]
    delay, loss = _best_delay(pairs)
    return _with_delay(model, delay), loss


def _depth(run: Training, log: _Responses) -> float:
    """Delays in a response."""
    return sum(log.visits.values()) / len(log.response) if run.real.basis == CLIENT else 1.0


def _best_delay(pairs: Sequence[tuple[float, float, float]]) -> tuple[float, float]:
    """The delay and its loss. pairs: a share as simulated without delay, as it was, delays in a response."""

    def loss(delay: float) -> float:
        return sum(abs(math.log((sim + depth * delay) / real)) for sim, real, depth in pairs) / len(pairs)

    delays = {0.001, *((real - sim) / depth for sim, real, depth in pairs if 0 < real > sim)}
    best = min(sorted(delays), key=loss)
    return best, loss(best)
