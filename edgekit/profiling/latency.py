"""What durations say: percentiles that the sample count bears, jitter, and how two medians compare.

Which percentiles are shown. MLPerf asks for 662 samples for a p99 and 6,636 for a p99.9. Both are the smallest n for
which, with 99 % confidence, at least two samples lie above the true percentile: P(Binomial(n, 1 - p) <= 1) <= 1 %.
The same rule gives 64 for a p90 and 11 for a p50. With fewer samples a percentile is absent: it would be little more
than the maximum. From 299 (p99) and 2,995 samples (p99.9) on, a sample can at least be named that the percentile
exceeds with a chance of 5 % at most (one-sided bound by order statistics). Both take the samples as independent.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from itertools import count

import numpy as np
from numpy.typing import NDArray

from edgekit.profiling.bootstrap import Interval, bootstrap

PERCENTILES: Mapping[str, int] = {"p50": 500, "p90": 900, "p99": 990, "p99.9": 999}
"""Name to per mille: integers, so that a rank is exact."""


@dataclass(frozen=True)
class Ratio:
    """How often one median fits into another.

    Attributes:
        value: The ratio.
        interval: Its 95 % interval; none with too few rounds.
    """

    value: float
    interval: Interval | None


@dataclass(frozen=True)
class Jitter:
    """How much durations differ, in ms.

    Attributes:
        spread: p99 - p50; none where the samples are too few for a p99.
        successive: Root mean square of the difference between one run and the next; none with one run a round.
        intervals: 95 % interval of either, by name; none with too few rounds.
    """

    spread: float | None
    successive: float | None
    intervals: Mapping[str, Interval | None]


@dataclass(frozen=True)
class Latency:
    """The durations of one part of the work, in ms.

    Attributes:
        samples: Their count.
        mean: Their mean.
        max: The largest. No interval belongs to it: resampling never gives a larger one.
        percentiles: By name; none where the samples are too few.
        intervals: 95 % interval of each percentile that is there; none with too few rounds.
        upper: One-sided 95 % upper bound of each percentile; none where the samples are too few for that as well.
        jitter: How much they differ.
    """

    samples: int
    mean: float
    max: float
    percentiles: Mapping[str, float | None]
    intervals: Mapping[str, Interval | None]
    upper: Mapping[str, float | None]
    jitter: Jitter


def summarize(durations: NDArray[np.int64], seed: int = 0) -> Latency:
    """Sum up durations.

    Args:
        durations: (rounds, calls) in ns.
        seed: Of the bootstrap.
    """
    ordered = np.sort(durations, axis=None) / 1e6
    shown = {name: mille for name, mille in PERCENTILES.items() if ordered.size >= samples_needed(mille)}
    ranks = [rank(ordered.size, mille) for mille in shown.values()]
    differences = (np.diff(durations, axis=1) / 1e6) ** 2
    squares, count = differences.sum(axis=1), differences.shape[1]

    def figures(pick: NDArray[np.intp]) -> list[float]:
        values = np.partition(durations[pick], ranks, axis=None)[ranks] / 1e6 if ranks else np.empty(0)
        found = [float(value) for value in values]
        spread = [found[list(shown).index("p99")] - found[list(shown).index("p50")]] if "p99" in shown else []
        return found + spread + ([math.sqrt(squares[pick].mean() / count)] if count else [])

    names = [*shown, *(["spread"] if "p99" in shown else []), *(["successive"] if count else [])]
    values = dict(zip(names, figures(np.arange(len(durations))), strict=True))
    found = dict(zip(names, bootstrap(figures, durations, seed) or [None] * len(names), strict=True))
    return Latency(
        samples=ordered.size,
        mean=float(ordered.mean()),
        max=float(ordered[-1]),
        percentiles={name: values.get(name) for name in PERCENTILES},
        intervals=dict.fromkeys(PERCENTILES) | _in_order({name: found[name] for name in shown}),
        upper={name: upper_bound(ordered, mille) for name, mille in PERCENTILES.items()},
        jitter=Jitter(
            values.get("spread"),
            values.get("successive"),
            {name: found.get(name) for name in ("spread", "successive")},
        ),
    )


def _in_order(intervals: Mapping[str, Interval | None]) -> dict[str, Interval | None]:
    """Return the intervals of rising percentiles with ends that rise too: a p99 is no less than what p90 surely is.

    What is widened may end below 0, which no duration is.
    """
    known = {name: interval for name, interval in intervals.items() if interval}
    lows = np.maximum.accumulate([max(0.0, interval.low) for interval in known.values()])
    highs = np.minimum.accumulate([interval.high for interval in known.values()][::-1])[::-1]
    return {name: Interval(float(low), float(high)) for name, low, high in zip(known, lows, highs, strict=True)}


def speedup(slow: NDArray[np.int64], fast: NDArray[np.int64], seed: int = 0) -> Ratio | None:
    """Return the ratio of two medians; none where the samples are too few for a median.

    Rounds are resampled in pairs, so that drift common to both cancels out.

    Args:
        slow: (rounds, calls) in ns.
        fast: The same rounds of the other workload.
        seed: Of the bootstrap.
    """
    if slow.size < samples_needed(PERCENTILES["p50"]):
        return None
    both = np.concatenate([slow, fast], axis=1)
    calls = slow.shape[1]

    def ratio(pick: NDArray[np.intp]) -> list[float]:
        rounds = both[pick]
        return [median(rounds[:, :calls]) / median(rounds[:, calls:])]

    intervals = bootstrap(ratio, both, seed)
    return Ratio(median(slow) / median(fast), intervals[0] if intervals else None)


def percentile(ordered: NDArray[np.float64], mille: int) -> float:
    """Return the smallest sample that at least `mille` per mille of all samples do not exceed (nearest rank).

    Args:
        ordered: Samples, ascending.
        mille: 1 to 1000.
    """
    return float(ordered[rank(ordered.size, mille)])


def median(samples: NDArray[np.int64]) -> float:
    """Return the nearest-rank median of samples of any shape and order."""
    middle = rank(samples.size, 500)
    return float(np.partition(samples, middle, axis=None)[middle])


def rank(size: int, mille: int) -> int:
    """Return where in ascending samples a nearest-rank percentile stands."""
    return -(-mille * size // 1000) - 1


@lru_cache
def samples_needed(mille: int) -> int:
    """Return the least sample count for a percentile: two samples above it with 99 % confidence (see the module)."""
    below, above = mille / 1000, 1 - mille / 1000
    return next(n for n in count(2) if below**n + n * above * below ** (n - 1) <= 0.01)


def upper_bound(ordered: NDArray[np.float64], mille: int) -> float | None:
    """Return the least sample that the true percentile exceeds with a chance of 5 % at most; none with too few.

    With n samples the percentile exceeds the j-th largest with the chance P(Binomial(n, 1 - p) <= j - 1)
    (David and Nagaraja, Order Statistics, 7.1).

    Args:
        ordered: Independent samples, ascending.
        mille: The percentile, 1 to 999.
    """
    chances = binomial_cdf(ordered.size, 1 - mille / 1000)
    bounds = int(np.searchsorted(chances, 0.05, side="right"))
    return float(ordered[-bounds]) if bounds else None


def binomial_cdf(n: int, chance: float) -> NDArray[np.float64]:
    """Return P(Binomial(n, chance) <= k) for k = 0 ... n, summed as logarithms so that nothing underflows."""
    k = np.arange(n)
    odds = math.log(chance) - math.log1p(-chance)
    steps = np.log(n - k) - np.log(k + 1) + odds
    log_pmf = n * math.log1p(-chance) + np.concatenate([[0.0], np.cumsum(steps)])
    return np.exp(np.logaddexp.accumulate(log_pmf))
