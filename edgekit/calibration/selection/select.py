"""Sensitivity Aware Selection: which nodes stay in the target's higher precision, so that speed buys the most accuracy.

Greedy, in the manner of lazy greedy maximization (Minoux, "Accelerated greedy algorithms for maximizing submodular set
functions", 1978): every round, the candidates that promised most when last looked at are measured again beside what is
kept already, and the one with the greatest fall of distortion per loss of speed is kept. At the end, whatever is kept
without need goes back to 8 bit. The distortion that decides is the measured one, steadied by the one that the heads'
noise lets expect (`edgekit.calibration.judging.probe`): a few frames alone would reward chance.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

from edgekit.calibration.judging.probe import NOTHING
from edgekit.calibration.selection.sensitivity import Analysis, Sensitivity
from edgekit.calibration.selection.speed import CostModel
from edgekit.calibration.selection.variants import Precision
from edgekit.graph.cost import node_costs
from edgekit.progress import Progress, silent

SCHEMA_VERSION = 3

Unit = Literal["time", "macs"]
PRICES: dict[Unit, str] = {"time": "time", "macs": "of the multiply-accumulates"}

FREE = 1e-3
"""A loss of speed below this is none: it is beneath what can be measured."""

PATIENCE = 3
"""Where no candidate is worth its cost, so many times as many are measured before the search ends."""


@dataclass(frozen=True)
class Budget:
    """What a selection may spend.

    Attributes:
        max_slowdown: Largest rise of the cost, relative to nothing kept.
        min_macs_share: Share of the multiply-accumulates that the target's rules compute in 8 bit, which must stay so.
        min_gain: A round must lower the distortion by this share of what it was with nothing kept.
        width: Candidates measured again per round.
        max_rounds: At most so many rounds.
    """

    max_slowdown: float = 0.1
    min_macs_share: float = 0.9
    min_gain: float = 0.02
    width: int = 4
    max_rounds: int = 16


@dataclass(frozen=True)
class Round:
    """One decision.

    Attributes:
        action: Whether nodes are kept, or go back to 8 bit.
        name: What they are called together.
        nodes: The nodes.
        before, after: Measured distortion before and after it.
        expected_before, expected_after: Distortion that the noise lets expect.
        cost_before, cost_after: Cost relative to nothing kept.
        why: All this in a sentence.
    """

    action: Literal["keep", "return"]
    name: str
    nodes: tuple[str, ...]
    before: float
    after: float
    expected_before: float
    expected_after: float
    cost_before: float
    cost_after: float
    why: str


@dataclass(frozen=True)
class Selection:
    """Which nodes stay in the target's higher precision.

    Attributes:
        keep: Their names in graph order, for `place(keep=...)`.
        rounds: How that came about.
        before: Measured distortion with nothing kept.
        after: Measured distortion with the selection.
        cost: Relative to nothing kept, by the cost model.
        unit: What the cost model counts.
        precision: What nodes are kept from: 8 bit, or 4 where so few are simulated. Kept from 4 bit, they have 8.
        macs_share: Share of all multiply-accumulates that run in that precision.
        macs_share_of_rules: Share of those that would with nothing kept.
        stopped: Why no more is kept.
        models: Quantized models that were run.
        runs: Runs of them.
    """

    keep: tuple[str, ...]
    rounds: tuple[Round, ...]
    before: float
    after: float
    cost: float
    unit: Unit
    precision: Precision
    macs_share: float
    macs_share_of_rules: float
    stopped: str
    models: int
    runs: int

    def why(self) -> dict[str, str]:
        """Return, for every node that was chosen to be kept, the reason, as scales.json has it."""
        keeps = [one for one in self.rounds if one.action == "keep"]
        # Of a node it is said already that it is kept.
        return {node: one.why.removeprefix("kept ") for one in keeps for node in one.nodes if node in self.keep}

    def to_json(self) -> dict[str, Any]:
        """Return plain data for report.json."""
        return {"schema_version": SCHEMA_VERSION, **asdict(self)}


@dataclass(frozen=True)
class _State:
    """What is kept, and what that gives."""

    keep: frozenset[str]
    measured: float
    expected: float
    score: float
    cost: float


@dataclass(frozen=True)
class _Candidate:
    """Nodes that could be kept together.

    Rounding errors of different layers add like noise, in squares. So a candidate's worth is told as the fall of the
    squared score, when it was last looked at: that holds better than the gain itself when others have been kept since.
    """

    name: str
    nodes: frozenset[str]
    power: float

    def gain(self, score: float) -> float:
        """Return by how much it promises to lower a score."""
        return score - math.sqrt(max(score**2 - self.power, 0.0))


def select(
    analysis: Analysis,
    sensitivity: Sensitivity,
    cost: CostModel,
    budget: Budget | None = None,
    progress: Progress = silent,
    unit: Unit = "time",
) -> Selection:
    """Choose the nodes to keep.

    Args:
        analysis: What the sensitivities were measured with.
        sensitivity: What it found: the groups and layers that are not harmless are the candidates.
        cost: What keeping nodes costs.
        budget: What may be spent.
        progress: Told after every round.
        unit: What the cost model counts, for the reasons.

    Raises:
        ArtifactError: A quantized variant gives values that are not finite.
    """
    return _Search(analysis, cost, budget or Budget(), unit).run(sensitivity, progress)


class _Search:
    def __init__(self, analysis: Analysis, cost: CostModel, budget: Budget, unit: Unit) -> None:
        self._analysis = analysis
        self._cost, self._budget, self._unit = cost, budget, unit
        self._macs = {one.name: one.macs for one in node_costs(analysis.variants.model)}
        self._start = (analysis.models, analysis.runs)
        everything = analysis.everything.mean
        self._base = _State(frozenset(), everything, everything, everything, cost=1.0)

    def run(self, sensitivity: Sensitivity, progress: Progress) -> Selection:
        state, rounds = self._base, list[Round]()
        candidates = _candidates(sensitivity)
        stopped = f"{self._budget.max_rounds} rounds are the most that the budget allows"
        while len(rounds) < self._budget.max_rounds:
            best, candidates, within_budget = self._best(state, candidates)
            if best is None:
                stopped = "nothing else lowers the distortion enough" if within_budget else "the budget is used up"
                break
            name, after = best
            rounds.append(self._round("keep", name, after.keep - state.keep, state, after))
            candidates = [one for one in candidates if not one.nodes <= after.keep]
            state = after
            progress("select", len(rounds), self._budget.max_rounds)
        state, returned = self._prune(state, rounds)
        return self._selection(state, (*rounds, *returned), stopped)

    def _best(
        self, state: _State, candidates: list[_Candidate]
    ) -> tuple[tuple[str, _State] | None, list[_Candidate], bool]:
        """Measure the most promising candidates beside what is kept; return the best of them that is worth it.

        Also returned: the candidates with what was learned, and whether any is within the budget.
        """
        costs = {one.nodes: self._relative(state.keep | one.nodes) for one in candidates}
        affordable = [one for one in candidates if self._affords(state.keep | one.nodes, costs[one.nodes])]
        affordable.sort(key=lambda one: (-_ratio(one.gain(state.score), costs[one.nodes] - state.cost), one.name))
        tried: dict[frozenset[str], _State] = {}
        gains: dict[frozenset[str], float] = {}
        worth: list[_Candidate] = []
        for count, one in enumerate(affordable):
            # Where none of the first is worth it, a few more are looked at, as long as they promise anything.
            least = self._least_gain(costs[one.nodes] - state.cost)
            if count >= self._budget.width * (1 if worth else PATIENCE) or one.gain(state.score) < least:
                continue
            tried[one.nodes] = self._state(state.keep | one.nodes, costs[one.nodes])
            gains[one.nodes] = state.score - tried[one.nodes].score
            if gains[one.nodes] >= least:
                worth.append(one)
        powers = {nodes: state.score**2 - after.score**2 for nodes, after in tried.items()}
        learned = [replace(one, power=powers.get(one.nodes, one.power)) for one in candidates]
        if not worth:
            return None, learned, bool(affordable) or not candidates
        best = max(worth, key=lambda one: _ratio(gains[one.nodes], costs[one.nodes] - state.cost))
        return (best.name, tried[best.nodes]), learned, True

    def _prune(self, state: _State, rounds: Sequence[Round]) -> tuple[_State, list[Round]]:
        """Return to 8 bit what later rounds made needless; the last round needs no second look."""
        returned = []
        for one in rounds[:-1]:
            keep = state.keep - frozenset(one.nodes)
            without = self._state(keep, self._relative(keep))
            saved = state.cost - without.cost
            if saved >= FREE and without.score - state.score < self._least_gain(saved):
                returned.append(self._round("return", one.name, frozenset(one.nodes), state, without))
                state = without
        return state, returned

    def _least_gain(self, slowdown: float) -> float:
        """What costs no speed is worth any gain; a tenth of the usual one keeps out rounding errors."""
        return max(self._budget.min_gain * self._base.score * (0.1 if slowdown < FREE else 1.0), NOTHING)

    def _state(self, keep: frozenset[str], cost: float) -> _State:
        reading = self._analysis.without(keep)
        expected = self._analysis.expected(reading)
        return _State(keep, reading.mean, expected, self._analysis.blend(reading.mean, expected), cost)

    def _relative(self, keep: frozenset[str]) -> float:
        return self._cost(self._analysis.variants.kept(keep))

    def _affords(self, keep: frozenset[str], cost: float) -> bool:
        shares = self._shares(keep)
        return cost - 1.0 <= self._budget.max_slowdown + 1e-9 and shares[1] >= self._budget.min_macs_share - 1e-9

    def _shares(self, keep: frozenset[str]) -> tuple[float, float]:
        """Return the share not kept of all multiply-accumulates, and of those that could be kept."""
        variants = self._analysis.variants
        by_rules = sum(self._macs[name] for name in variants.nodes)
        left = by_rules - sum(self._macs[name] for name in variants.kept(keep))
        return left / max(sum(self._macs.values()), 1), left / by_rules if by_rules else 1.0

    def _round(
        self, action: Literal["keep", "return"], name: str, nodes: frozenset[str], before: _State, after: _State
    ) -> Round:
        change = after.cost - before.cost
        price = f"{change:+.1%} {PRICES[self._unit]}"
        if abs(change) < FREE:
            price = "no loss of speed" if self._unit == "time" else "next to no work"
        intent = "kept by selection" if action == "keep" else f"returned to {self._analysis.variants.precision}"
        return Round(
            action=action,
            name=name,
            nodes=self._in_order(nodes),
            before=before.measured,
            after=after.measured,
            expected_before=before.expected,
            expected_after=after.expected,
            cost_before=before.cost,
            cost_after=after.cost,
            why=f"{intent}: distortion {before.score:.3g} to {after.score:.3g}, {price}",
        )

    def _selection(self, state: _State, rounds: tuple[Round, ...], stopped: str) -> Selection:
        shares = self._shares(state.keep)
        return Selection(
            keep=self._in_order(state.keep),
            rounds=rounds,
            before=self._base.measured,
            after=state.measured,
            cost=state.cost,
            unit=self._unit,
            precision=self._analysis.variants.precision,
            macs_share=shares[0],
            macs_share_of_rules=shares[1],
            stopped=stopped,
            models=self._analysis.models - self._start[0],
            runs=self._analysis.runs - self._start[1],
        )

    def _in_order(self, nodes: frozenset[str]) -> tuple[str, ...]:
        return tuple(name for name in self._analysis.variants.nodes if name in nodes)


def _candidates(sensitivity: Sensitivity) -> list[_Candidate]:
    """Return groups and layers that are not harmless."""
    units = {
        frozenset(unit.nodes): unit for unit in (*sensitivity.layers, *sensitivity.groups) if unit.without is not None
    }
    return [_Candidate(unit.name, nodes, ((unit.only + unit.only_expected) / 2) ** 2) for nodes, unit in units.items()]


def _ratio(gain: float, slowdown: float) -> float:
    return gain / max(slowdown, FREE)
