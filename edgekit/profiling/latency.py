"""What durations say: percentiles that the sample count bears, and intervals by a block bootstrap.

Which percentiles are shown. MLPerf asks for 662 samples for a p99 and 6,636 for a p99.9. Both are the smallest n for
which, with 99 % confidence, at least two samples lie above the true percentile: P(Binomial(n, 1 - p) <= 1) <= 1 %.
The same rule gives 64 for a p90 and 11 for a p50. With fewer samples a percentile is absent: it would be little more
than the maximum. From 299 (p99) and 2,995 samples (p99.9) on, a sample can at least be named that the percentile
exceeds with a chance of 5 % at most (one-sided bound by order statistics). Both take the samples as independent.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from itertools import count

import numpy as np
from numpy.typing import NDArray

PERCENTILES: Mapping[str, int] = {"p50": 500, "p90": 900, "p99": 990, "p99.9": 999}
"""Name to per mille: integers, so that a rank is exact."""

LEAST_ROUNDS = 10
"""Fewer rounds say too little about how the machine drifts for an interval."""

RESAMPLES = 1000
_LEAST_RESAMPLES = 200
_RESAMPLED_VALUES = 20_000_000


@dataclass(frozen=True)
class Interval:
    """A 95 % interval.

    Attributes:
        low: Lower end.
        high: Upper end.
    """

    low: float
    high: float


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
class Latency:
    """The durations of one part of the work, in ms.

    Attributes:
        samples: Their count.
        mean: Their mean.
        max: The largest.
        percentiles: By name; none where the samples are too few.
        upper: One-sided 95 % upper bound of each percentile; none where the samples are too few for that as well.
        median_interval: 95 % interval of the median; none with too few rounds.
    """

    samples: int
    mean: float
    max: float
    percentiles: Mapping[str, float | None]
    upper: Mapping[str, float | None]
    median_interval: Interval | None


def summarize(durations: NDArray[np.int64], seed: int = 0) -> Latency:
    """Sum up durations.

    Args:
        durations: (rounds, calls) in ns.
        seed: Of the bootstrap.
    """
    ordered = np.sort(durations, axis=None) / 1e6
    enough = {name: ordered.size >= samples_needed(mille) for name, mille in PERCENTILES.items()}
    return Latency(
        samples=ordered.size,
        mean=float(ordered.mean()),
        max=float(ordered[-1]),
        percentiles={name: percentile(ordered, PERCENTILES[name]) if enough[name] else None for name in PERCENTILES},
        upper={name: upper_bound(ordered, mille) for name, mille in PERCENTILES.items()},
        median_interval=bootstrap(lambda pick: median(durations[pick]) / 1e6, durations, seed),
    )


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

    def ratio(pick: NDArray[np.intp]) -> float:
        rounds = both[pick]
        return median(rounds[:, :calls]) / median(rounds[:, calls:])

    return Ratio(median(slow) / median(fast), bootstrap(ratio, both, seed))


def percentile(ordered: NDArray[np.float64], mille: int) -> float:
    """Return the smallest sample that at least `mille` per mille of all samples do not exceed (nearest rank).

    Args:
        ordered: Samples, ascending.
        mille: 1 to 1000.
    """
    return float(ordered[_rank(ordered.size, mille)])


def median(samples: NDArray[np.int64]) -> float:
    """Return the nearest-rank median of samples of any shape and order."""
    rank = _rank(samples.size, 500)
    return float(np.partition(samples, rank, axis=None)[rank])


def _rank(size: int, mille: int) -> int:
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


def bootstrap(
    statistic: Callable[[NDArray[np.intp]], float], durations: NDArray[np.int64], seed: int
) -> Interval | None:
    """Return the 95 % interval of a statistic by the circular block bootstrap; none with too few rounds.

    Whole rounds are resampled, in runs of sqrt(rounds) neighbours, since calls close in time share what disturbs
    them (Politis and Romano, A circular block-resampling procedure for stationary data, 1992). So few runs
    underestimate the spread: the percentile interval is widened around the statistic as for a mean of few values.

    Args:
        statistic: Takes the indices of the rounds of one resample.
        durations: (rounds, calls); only its shape counts here.
        seed: Same seed, same interval.
    """
    rounds = len(durations)
    if rounds < LEAST_ROUNDS:
        return None
    # A resample of many values is slow to sort and its interval is narrow: fewer resamples do.
    resamples = max(_LEAST_RESAMPLES, min(RESAMPLES, _RESAMPLED_VALUES // durations.size))
    length = round(math.sqrt(rounds))
    starts = np.random.default_rng(seed).integers(rounds, size=(resamples, -(-rounds // length), 1))
    picks = ((starts + np.arange(length)) % rounds).reshape(resamples, -1)[:, :rounds]
    low, high = np.quantile([statistic(pick) for pick in picks], [0.025, 0.975])
    found, wider = statistic(np.arange(rounds)), widening(rounds / length)
    return Interval(float(found - wider * (found - low)), float(found + wider * (high - found)))


def widening(values: float) -> float:
    """Return how much wider than a normal 95 % interval that of a mean of few values is.

    Student's t over the normal quantile (Abramowitz and Stegun, 26.7.5), times sqrt(n / (n - 1)) for the spread that
    resampling n values loses.

    Args:
        values: Their count, above 1; need not be whole.
    """
    z, freedom = 1.959964, values - 1
    student = (
        z
        + (z**3 + z) / (4 * freedom)
        + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * freedom**2)
        + (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / (384 * freedom**3)
    )
    return student / z * math.sqrt(values / freedom)
