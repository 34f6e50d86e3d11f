"""The time of a long run from that of a part of it.

`plan.py` says which instructions are simulated; each stands for itself and for its likes that are
not. What an instruction costs is what is counted between the moment in which all before it have
retired and that in which it has, too. The likes' mean is right but for chance, which shows in
their spread, and for refreshes: in the part that is simulated there may be more or fewer than in
the same time of the whole run, where every pseudo-channel has one in each tREFI. How much a
refresh costs is fitted to the spread, and the time corrected by it.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from isa.config import ChipConfig
from isa.hbm import BANKS
from isa.table import Engine
from sim.cycle.model import COUNTED, COUNTS, CycleResult, count_trace, result_of
from sim.cycle.plan import Plan, make_plan
from sim.cycle.record import Record
from sim.cycle.trace import FIELDS, Trace

_TIMES = [*range(COUNTS["cycles"].start, COUNTS["classes"].stop)]
_REFRESHES = COUNTS["hbm"].stop - 1
_DEVIATIONS = 3
_INTERVALS, _WITHOUT_REFRESH = 40, 2000  # of refreshes, in cycles where there are none
_FACTOR, _MOST_SAMPLES = 4, 64
LONG_CYCLES = 2_000_000


@dataclass(frozen=True)
class Estimate:
    """``result``: of the whole run. ``simulated``: cycles that were, of ``simulated_instructions``;
    ``bound``: by so many cycles the result may be off, from the spread of what was simulated: three
    standard errors, all that was corrected for refreshes, and one refresh. `owned`, `classes`: as
    of `Record`, with what an instruction is executed more often (`Trace.times`) added up."""

    result: CycleResult
    simulated: int
    simulated_instructions: int
    instructions: int
    bound: int
    owned: NDArray[np.int64]
    classes: NDArray[np.int64]


def is_long(trace: Trace, config: ChipConfig) -> bool:
    """Whether a run takes so many cycles that they are estimated, judged by what it loads and by
    the rows that enter the array."""
    names = ("bytes", "rows", "planes", "m", "k", "n", "engine")
    each = {name: trace.commands[:, FIELDS[name]] for name in names}
    beats = -(-each["bytes"] // config.axi_bytes) * each["rows"] * np.maximum(each["planes"], 1)
    tiles = -(-each["k"] // config.rows) * -(-each["n"] // config.cols)
    times = np.bincount(trace.order, trace.times, len(trace.commands))
    moved = times @ np.where(each["engine"] == Engine.LOAD, beats, 0)
    return bool(max(moved, times @ (each["m"] * tiles)) >= LONG_CYCLES)


def estimate(trace: Trace, config: ChipConfig) -> Estimate:
    """Of a run of the trace, folded or not, on ``config``. Raises as `run_trace`."""
    plan, record, marks = _simulate(trace, config)
    counts = marks[-1]
    costs = np.diff(marks, axis=0, prepend=np.zeros((1, COUNTED), np.int64)).astype(float)
    groups = _Groups.of(plan, trace)
    total = groups.weights @ costs
    scale, slack = _correction(costs, groups, total, config)
    total[_TIMES] *= scale
    cycles = total[0]
    whole = np.rint(total).astype(np.int64)
    rows = total[COUNTS["classes"]].reshape(-1, record.owned.shape[1])
    whole[COUNTS["classes"]] = np.concatenate([_rounded(row) for row in rows])
    bound = int(np.ceil(slack + abs(cycles - cycles / scale)))
    engines = trace.commands[trace.order, FIELDS["engine"]]
    whole[COUNTS["retired"]] = np.bincount(engines, trace.times, len(Engine))
    shares = (
        _spread(plan, trace, groups, getattr(record, name) * scale) for name in ("owned", "classes")
    )
    return Estimate(
        result_of(whole, config),
        int(counts[0]),
        len(plan.kept),
        int(trace.times.sum()),
        bound,
        *shares,
    )


def _simulate(trace: Trace, config: ChipConfig) -> tuple[Plan, Record, NDArray[np.int64]]:
    """A plan with as many samples as it takes to meet refreshes enough; what was counted at each of
    its instructions."""
    enough, more = _INTERVALS * _interval(config), 1
    while True:
        plan = make_plan(trace, more)
        record = Record.of_trace(plan.trace)
        marks = np.zeros((len(plan.kept), COUNTED), np.int64)
        marks[-1] = count_trace(plan.trace, config, record=record, marks=marks)
        whole = len(plan.kept) == len(plan.likes)
        if marks[-1, 0] >= enough or whole or more >= _MOST_SAMPLES:
            return plan, record, marks
        more *= _FACTOR


def _interval(config: ChipConfig) -> int:
    return config.hbm_mapping.generation.timing.refi if config.hbm else _WITHOUT_REFRESH


@dataclass(frozen=True)
class _Groups:
    """``likes``: of what is simulated. ``found``, ``left``: of each kind the samples, and how many
    instructions they stand for that are not simulated. ``weights``: how many each of those that are
    simulated stands for."""

    likes: NDArray[np.int64]
    fresh: NDArray[np.bool_]
    found: NDArray[np.float64]
    left: NDArray[np.float64]
    weights: NDArray[np.float64]

    @classmethod
    def of(cls, plan: Plan, trace: Trace) -> "_Groups":
        likes = plan.likes[plan.kept]
        times = np.bincount(plan.likes, trace.times)
        left = (times - np.bincount(likes, minlength=len(times))).astype(float)
        found = np.bincount(likes, plan.fresh, len(times)).astype(float)
        weights = 1 + np.where(plan.fresh, (left / np.maximum(found, 1))[likes], 0)
        return cls(likes, plan.fresh, found, left, weights)

    def means(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Of each kind's samples."""
        return np.bincount(self.likes, values * self.fresh, len(self.found)) / np.maximum(
            self.found, 1
        )

    def apart(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """How far each sample is from their mean; 0 where it is none."""
        return np.where(self.fresh, values - self.means(values)[self.likes], 0)


def _correction(
    costs: NDArray[np.float64], groups: _Groups, total: NDArray[np.float64], config: ChipConfig
) -> tuple[float, float]:
    """What times are multiplied by, and how far their sum may be off from chance: of what is not
    simulated, and of the means that stand for it. How far an instruction's time is from its kind's
    mean grows as the root of that mean, with one factor for all kinds: most have but one sample."""
    cycles, refreshes = (groups.apart(costs[:, place]) for place in (0, _REFRESHES))
    square = refreshes @ refreshes
    slope = max(float(cycles @ refreshes / square), 0.0) if square else 0.0
    means = groups.means(costs[:, 0])
    degrees = np.maximum(groups.found - 1, 0) @ means
    factor = float(((cycles - slope * refreshes) ** 2).sum() / max(degrees, 1))
    found = np.maximum(groups.found, 1)
    error = float(np.sqrt(factor * (means * groups.left * (1 + groups.left / found)).sum()))
    if not config.hbm or not groups.left.any():
        return 1.0, _DEVIATIONS * error
    each = BANKS if config.hbm_refresh == "bank" else 1
    due = each * config.pseudo_channels / _interval(config)
    # A refresh more or less shows in no mean: a run may end just before it or behind it.
    slack = _DEVIATIONS * error + config.hbm_mapping.generation.timing.rfc_ab
    return (1 - slope * total[_REFRESHES] / total[0]) / (1 - slope * due), slack


def _spread(
    plan: Plan, trace: Trace, groups: _Groups, costs: NDArray[np.float64]
) -> NDArray[np.int64]:
    """Costs of those that were simulated become those of all, whole and with the same sum."""
    means = np.stack([groups.means(column) for column in costs.T], axis=1)
    all_costs = means[plan.likes] * trace.times[:, None]
    all_costs[plan.kept] += costs - means[groups.likes]
    return _rounded(all_costs.ravel()).reshape(-1, costs.shape[1])


def _rounded(values: NDArray[np.float64]) -> NDArray[np.int64]:
    """Whole numbers whose sum is that of the values, rounded."""
    return np.diff(np.rint(np.cumsum(values)), prepend=0).astype(np.int64)
