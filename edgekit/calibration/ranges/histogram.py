"""A histogram of fixed size that grows its range while values stream in.

Bins are [k*w, (k+1)*w) for a width w that is a power of two. When a value lies beyond the range, the width doubles
and neighbouring bins merge, which is exact. So the result depends on the values alone, not on their order or on how
they are split into batches, and two histograms add up.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

BINS = 8192
HALF = BINS // 2
LARGEST_SAMPLE = 1 << 17


@dataclass(frozen=True)
class Grid:
    """A grid that all values of a tensor are known to lie on, seen or not: step * k, for k from first to last."""

    step: float
    first: int
    last: int


@dataclass(frozen=True)
class Histogram:
    """How the values of one tensor are distributed.

    Attributes:
        counts: (8192,) int64; bin i holds the values in [(i - 4096) * w, (i - 4095) * w) for w = 2**exponent.
        exponent: Binary logarithm of the bin width.
        low: Smallest value seen, exact.
        high: Largest value seen, exact.
        batches: Arrays added.
        grid: Where all values lie, if that is known, as of camera pixels.
    """

    counts: NDArray[np.int64]
    exponent: int
    low: float
    high: float
    batches: int
    grid: Grid | None = None

    @classmethod
    def empty(cls) -> Histogram:
        """Return a histogram that has seen nothing."""
        return cls(np.zeros(BINS, np.int64), -126, math.inf, -math.inf, 0)

    @property
    def width(self) -> float:
        """The bin width."""
        return math.ldexp(1.0, self.exponent)

    @property
    def centers(self) -> NDArray[np.float64]:
        """(8192,) the middle of every bin."""
        return (np.arange(BINS, dtype=np.float64) - HALF + 0.5) * self.width

    def add(self, values: NDArray[Any]) -> Histogram:
        """Return this histogram with an array of values added.

        Of an array with more than 2^17 values every n-th is counted, so that the cost stays bounded; the smallest and
        the largest are exact all the same.

        Raises:
            ValueError: A value is NaN or infinite.
        """
        values = np.ascontiguousarray(values, np.float32).reshape(-1)
        if not values.size:
            return self
        low, high = float(values.min()), float(values.max())
        if not math.isfinite(high - low):
            message = "a histogram counts finite values only"
            raise ValueError(message)
        exponent = max(self.exponent, _exponent_for(low, high))
        # An odd stride does not stay in the same columns of an image whose width is even.
        sample = values[:: (values.size - 1) // LARGEST_SAMPLE | 1]
        # A power of two scales without rounding, so bin edges are exact.
        bins = np.floor(sample * np.float32(math.ldexp(1.0, -exponent))).astype(np.int32)
        counts = self._counts_at(exponent) + np.bincount(bins + HALF, minlength=BINS)
        return Histogram(counts, exponent, min(self.low, low), max(self.high, high), self.batches + 1, self.grid)

    def merge(self, other: Histogram) -> Histogram:
        """Return the histogram of both sets of values."""
        exponent = max(self.exponent, other.exponent)
        return Histogram(
            self._counts_at(exponent) + other._counts_at(exponent),
            exponent,
            min(self.low, other.low),
            max(self.high, other.high),
            self.batches + other.batches,
            self.grid if self.grid == other.grid else None,
        )

    def clipped_share(self, low: float, high: float) -> float:
        """Return the share of values that lie in bins wholly outside [low, high]."""
        total = int(self.counts.sum())
        outside = (self.centers + self.width / 2 <= low) | (self.centers - self.width / 2 > high)
        return float(self.counts[outside].sum() / total) if total else 0.0

    def _counts_at(self, exponent: int) -> NDArray[np.int64]:
        """Return the counts with a larger bin width: bins merge by 2^(exponent - self.exponent)."""
        factor = 1 << min(exponent - self.exponent, 13)
        if factor == 1:
            return self.counts
        bins = (np.arange(BINS) - HALF) // factor + HALF
        return np.bincount(bins, weights=self.counts, minlength=BINS).astype(np.int64)


def _exponent_for(low: float, high: float) -> int:
    """Return the smallest exponent whose range [-4096 w, 4096 w) holds both values."""
    extent = max(-low, high)
    if extent <= 0.0:
        return -126
    exponent = math.frexp(extent)[1] - 12
    # frexp gives extent < 2^e, so the range holds it; -4096 w itself is inside as well.
    return max(exponent, -126)
