"""Whether something grows or falls: a slope that outliers do not move, with its interval."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from edgekit.profiling.bootstrap import Interval

_Z = {0.95: 1.959964, 0.99: 2.575829}


@dataclass(frozen=True)
class Trend:
    """A straight line's slope.

    Attributes:
        slope: Change of y for one step of x.
        interval: Its interval.
    """

    slope: float
    interval: Interval

    @property
    def direction(self) -> int:
        """1 where it grows, -1 where it falls, 0 where the interval does not tell."""
        return 1 if self.interval.low > 0 else -1 if self.interval.high < 0 else 0


def theil_sen(x: Sequence[float], y: Sequence[float], confidence: float = 0.95) -> Trend:
    """Return the median of the slopes between all pairs of points.

    Up to 29 % of the points may lie anywhere (Theil 1950). The interval is that of Sen (Estimates of the regression
    coefficient based on Kendall's tau, 1968): it takes what is left beside the line as independent.

    Args:
        x: At least three values, no two alike; a few hundred at most, since all pairs are formed.
        y: As many.
        confidence: Of the interval, 0.95 or 0.99.
    """
    i, j = np.triu_indices(len(x), 1)
    xs, ys = np.asarray(x, float), np.asarray(y, float)
    slopes = np.sort((ys[j] - ys[i]) / (xs[j] - xs[i]))
    n, pairs = len(xs), len(slopes)
    reach = _Z[confidence] * np.sqrt(n * (n - 1) * (2 * n + 5) / 18)
    low, high = int((pairs - reach) / 2), int(np.ceil((pairs + reach) / 2))
    interval = Interval(float(slopes[max(0, low)]), float(slopes[min(pairs - 1, high)]))
    return Trend(float(np.median(slopes)), interval)
