"""Intervals by a block bootstrap: what is close in time is resampled together."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

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


def bootstrap(
    statistics: Callable[[NDArray[np.intp]], Sequence[float]], durations: NDArray[Any], seed: int
) -> tuple[Interval, ...] | None:
    """Return the 95 % interval of each statistic by the circular block bootstrap; none with too few rounds.

    Whole rounds are resampled, in runs of sqrt(rounds) neighbours, since calls close in time share what disturbs
    them (Politis and Romano, A circular block-resampling procedure for stationary data, 1992). So few runs
    underestimate the spread: the percentile interval is widened around the statistic as for a mean of few values.

    Args:
        statistics: Takes the indices of the rounds of one resample, and returns as many figures each time.
        durations: (rounds, calls); only its shape counts here.
        seed: Same seed, same interval.
    """
    rounds = len(durations)
    if rounds < LEAST_ROUNDS:
        return None
    lows, highs = np.quantile([statistics(pick) for pick in picks(durations, seed)], [0.025, 0.975], axis=0)
    wider = widening(blocks(rounds))
    return tuple(
        Interval(float(found - wider * (found - low)), float(found + wider * (high - found)))
        for found, low, high in zip(statistics(np.arange(rounds)), lows, highs, strict=True)
    )


def blocks(rounds: int) -> float:
    """Return how many runs of neighbours a resample of so many rounds is made of; need not be whole."""
    return rounds / round(math.sqrt(rounds))


def picks(durations: NDArray[np.int64], seed: int) -> NDArray[np.intp]:
    """Return the indices of the rounds of each resample: (resamples, rounds), in runs of sqrt(rounds) neighbours.

    Args:
        durations: (rounds, calls); only its shape counts here.
        seed: Same seed, same resamples.
    """
    rounds = len(durations)
    # A resample of many values is slow to sort and its interval is narrow: fewer resamples do.
    resamples = max(_LEAST_RESAMPLES, min(RESAMPLES, _RESAMPLED_VALUES // durations.size))
    length = round(math.sqrt(rounds))
    starts = np.random.default_rng(seed).integers(rounds, size=(resamples, -(-rounds // length), 1))
    found: NDArray[np.intp] = ((starts + np.arange(length)) % rounds).reshape(resamples, -1)[:, :rounds]
    return found


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
