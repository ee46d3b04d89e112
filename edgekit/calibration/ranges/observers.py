"""Observers: choose the range that a tensor's grid covers from the histogram of its values."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from edgekit.calibration.ranges.histogram import HALF, Histogram
from edgekit.graph.numerics import integer_limits, scale_and_zero_point
from edgekit.recipes import RangeMethod
from edgekit.targets import TensorScheme

Range = tuple[float, float]
Floats = NDArray[np.float64]

SHRINK_STEPS = 96


def min_max(histogram: Histogram, scheme: TensorScheme, percentile: float) -> Range:
    """Cover everything that was seen."""
    return histogram.low, histogram.high


def percentile_range(histogram: Histogram, scheme: TensorScheme, percentile: float) -> Range:
    """Cover the middle `percentile` % of the values; half of the rest is clipped at either end."""
    share = np.cumsum(histogram.counts) / max(int(histogram.counts.sum()), 1)
    cut = (1 - percentile / 100) / 2
    edges = histogram.centers + histogram.width / 2
    first = int(np.searchsorted(share, cut, side="right"))
    last = int(np.searchsorted(share, 1 - cut, side="left"))
    low = max(float(edges[first] - histogram.width), histogram.low)
    return low, min(float(edges[min(last, len(edges) - 1)]), histogram.high)


def mean_squared_error(histogram: Histogram, scheme: TensorScheme, percentile: float) -> Range:
    """Cover the range whose grid has the least mean squared error, rounding and clipping together.

    Each end is shrunk in turn from what was seen, on a grid of 96 steps, until neither moves.
    """
    used = histogram.counts > 0
    values, counts = histogram.centers[used], histogram.counts[used].astype(np.float64)
    low, high = min(histogram.low, 0.0), max(histogram.high, 0.0)
    if scheme.symmetric:
        extent = max(-low, high)
        limit = _best(values, counts, [(-share * extent, share * extent) for share in _shares()], scheme)[1]
        return max(low, -limit), min(high, limit)
    best = (low, high)
    for _ in range(3):
        previous = best
        best = _best(values, counts, [(share * low, best[1]) for share in _shares()], scheme)
        best = _best(values, counts, [(best[0], share * high) for share in _shares()], scheme)
        if best == previous:
            break
    return best


def entropy(histogram: Histogram, scheme: TensorScheme, percentile: float) -> Range:
    """Cover the range of |value| whose 8-bit distribution has the least Kullback-Leibler divergence from the data's.

    Source: S. Migacz, "8-bit Inference with TensorRT", GTC 2017.
    """
    magnitudes = histogram.counts[HALF:] + histogram.counts[:HALF][::-1]
    # Zeros are exact on every grid. Rectified tensors are full of them, and they would outweigh all that is clipped.
    magnitudes[0] = magnitudes[1]
    used = int(np.flatnonzero(magnitudes)[-1]) + 1 if magnitudes.any() else 1
    smallest, largest = integer_limits(scheme)
    one_sided = not scheme.symmetric and histogram.low >= 0
    levels = (largest - smallest + 1) // (1 if one_sided else 2)
    if used <= levels:
        return histogram.low, histogram.high
    candidates = np.unique(np.linspace(levels, used, 128).astype(int))
    divergences = [_divergence(magnitudes[:used].astype(np.float64), int(cut), levels) for cut in candidates]
    limit = float(candidates[int(np.argmin(divergences))] * histogram.width)
    return max(histogram.low, -limit), min(histogram.high, limit)


OBSERVERS: dict[RangeMethod, Callable[[Histogram, TensorScheme, float], Range]] = {
    "min-max": min_max,
    "percentile": percentile_range,
    "mse": mean_squared_error,
    "entropy": entropy,
}


def _shares() -> Floats:
    return np.linspace(1.0, 1.0 / SHRINK_STEPS, SHRINK_STEPS)


def _best(values: Floats, counts: Floats, ranges: list[Range], scheme: TensorScheme) -> Range:
    """Return the range with the least weighted squared error; the first of equals, which clips least."""
    smallest, largest = integer_limits(scheme)
    low, high = np.asarray(ranges).T[:, :, None]
    scale, zero_point = scale_and_zero_point(low, high, scheme)
    zero = zero_point.astype(np.float64)
    steps = np.clip(np.rint(values / scale) + zero, smallest, largest)
    errors = (((steps - zero) * scale - values) ** 2 * counts).sum(axis=1)
    return ranges[int(np.argmin(errors))]


def _divergence(counts: Floats, cut: int, levels: int) -> float:
    """Return KL(P || Q) for a cut: P is the data with the tail put into the last bin, Q its `levels`-level version."""
    kept = counts[:cut].copy()
    reference = kept.copy()
    reference[-1] += counts[cut:].sum()
    level = np.arange(cut) * levels // cut
    occupied = kept > 0
    mass = np.bincount(level, weights=kept, minlength=levels)
    bins = np.bincount(level, weights=occupied, minlength=levels)
    spread = np.where(occupied, (mass / np.maximum(bins, 1))[level], 0.0)
    p, q = reference / reference.sum(), spread / max(spread.sum(), 1e-30)
    both = (p > 0) & (q > 0)
    # Mass of P that Q cannot express counts as if Q had a vanishing share there.
    missing = p[(p > 0) & (q <= 0)]
    return float((p[both] * np.log(p[both] / q[both])).sum() + (missing * np.log(missing / 1e-9)).sum())
