"""What is wrong with a series of durations, by name: stalls, drift, two speeds, an engine slower than its camera.

Each is found by a stated rule, and none of them in steady noise. A leak is found in memory: `edgekit.profiling.growth`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from edgekit.profiling.pace import Pace
from edgekit.profiling.samples import Samples
from edgekit.profiling.trend import theil_sen

Kind = Literal["stalls", "drift", "two speeds", "overload", "leak"]

LEAST_SAMPLES = 50
"""Fewer samples show no pattern."""

STALL_SIGMAS, STALL_SHARE = 10.0, 0.5
"""A stall takes longer than typical by both: robust standard deviations, and a share of the median."""

DRIFT_GROUPS, DRIFT_LEAST = 40, 0.05
"""Medians of so many successive groups show a drift that changes the speed by this share over the measurement."""

MODE_SHARE, MODE_DISTANCE, MODE_RATIO, VALLEY = 0.1, 4.0, 1.05, 0.5
"""Two speeds: each in a tenth of the samples, their medians apart by four of their robust standard deviations and by
5 %, and between them half as dense as around either at most."""

LEAK_BYTES = 256 << 10
"""What memory has to grow by while it is watched."""

RULES: Mapping[Kind, str] = {
    "stalls": f"longer than the median (of the slower speed, where there are two) by {STALL_SIGMAS:g} robust standard "
    f"deviations and by {STALL_SHARE:.0%}",
    "drift": f"the Theil-Sen slope over {DRIFT_GROUPS} successive medians changes them by {DRIFT_LEAST:.0%} or more "
    f"over the measurement, and by {DRIFT_LEAST / 2:.1%} at the nearer end of its 99 % interval",
    "two speeds": f"two groups with at least {MODE_SHARE:.0%} of the samples each, whose medians differ by "
    f"{MODE_DISTANCE:g} robust standard deviations and {MODE_RATIO - 1:.0%}, with half as many samples between them "
    "as around either at most",
    "overload": "the frames of a period take longer, on average, than the period",
    "leak": "the 95 % interval of the Theil-Sen slope of resident memory over the runs lies above 0, the slope of the "
    f"second half is at least half of it, and it adds {LEAK_BYTES >> 10} KiB or more",
}


@dataclass(frozen=True)
class Finding:
    """Something that is wrong.

    Attributes:
        kind: Its name; `RULES` says how it is found.
        model: Where: fp or int8.
        part: In which part of the work, or memory.
        statement: What it is, in words.
        figures: The same as figures.
    """

    kind: Kind
    model: str
    part: str
    statement: str
    figures: Mapping[str, float | None]


@dataclass(frozen=True)
class Modes:
    """Two speeds, in ns.

    Attributes:
        fast: Median of the faster.
        slow: Median of the slower.
        slow_share: Share of the samples in the slower.
    """

    fast: float
    slow: float
    slow_share: float


def find(model: str, works: Mapping[str, Samples], pace: Pace) -> Iterator[Finding]:
    """Yield what is wrong with a model's durations: in the engine's, or else in those of whole frames.

    Args:
        model: fp or int8.
        works: By workload, as `Row` has them.
        pace: At which they were measured.
    """
    engine = works.get("engine", works.get("frame"))
    named: set[Kind] = set()
    for samples, part in ((engine, "engine"), (works.get("frame"), "end_to_end")):
        if samples is None:
            continue
        found = [each for each in _in_part(model, part, samples, pace) if each.kind not in named]
        named |= {each.kind for each in found}
        yield from found


def _in_part(model: str, part: str, samples: Samples, pace: Pace) -> Iterator[Finding]:
    durations = samples.parts[part]
    if part == "end_to_end" and pace.fps:
        yield from _overload(model, samples, pace)
        # What a frame waits for is told by the parts that it waits for.
        durations = durations - samples.parts["wait"]
    if durations.size < LEAST_SAMPLES:
        return
    in_order = np.argsort(samples.started, axis=None, kind="stable")
    series, times = durations.reshape(-1)[in_order], samples.started.reshape(-1)[in_order]
    modes = two_speeds(series)
    yield from _stalls(model, part, series, times, modes)
    yield from _drift(model, part, series, times)
    if modes:
        fast, slow, share = modes.fast / 1e6, modes.slow / 1e6, modes.slow_share
        statement = f"two speeds: {fast:.3g} ms, and {slow:.3g} ms in {share:.0%} of the runs"
        figures = {"fast_ms": fast, "slow_ms": slow, "slow_share": share}
        yield Finding("two speeds", model, part, statement, figures)


def two_speeds(durations: NDArray[np.int64]) -> Modes | None:
    """Return the two speeds of a series; none where it has one (`RULES`)."""
    values = np.sort(durations, axis=None).astype(float)
    cut = _best_cut(np.log(np.maximum(values, 1.0)))
    low, high = values[:cut], values[cut:]
    fast, slow = float(np.median(low)), float(np.median(high))
    width = max(_sigma(low), _sigma(high), 0.01 * fast)
    if slow < MODE_RATIO * fast or slow - fast < MODE_DISTANCE * width:
        return None
    reach = (slow - fast) / 6
    between, *around = (np.count_nonzero(np.abs(values - at) <= reach) for at in ((fast + slow) / 2, fast, slow))
    return Modes(fast, slow, high.size / values.size) if between <= VALLEY * min(around) else None


def _best_cut(ordered: NDArray[np.float64]) -> int:
    """Return where to cut an ordered series so that its parts, each with its least share, differ most (Otsu 1979)."""
    n, sums = ordered.size, np.cumsum(ordered)
    least = max(1, int(np.ceil(MODE_SHARE * n)))
    cuts = np.arange(least, n - least + 1)
    low, high = sums[cuts - 1] / cuts, (sums[-1] - sums[cuts - 1]) / (n - cuts)
    return int(cuts[np.argmax(cuts * (n - cuts) * (high - low) ** 2)])


def _sigma(values: NDArray[np.float64]) -> float:
    """Return the standard deviation of a normal distribution with as large a median deviation."""
    return 1.4826 * float(np.median(np.abs(values - np.median(values))))


def _stalls(
    model: str, part: str, series: NDArray[np.int64], times: NDArray[np.int64], modes: Modes | None
) -> Iterator[Finding]:
    usual = series[series > (modes.fast + modes.slow) / 2] if modes else series
    center = float(np.median(usual))
    limit = center + max(STALL_SIGMAS * _sigma(usual.astype(float)), STALL_SHARE * center)
    at = np.flatnonzero(series > limit)
    if not at.size:
        return
    extra = (series[at] - np.median(series)) / 1e6
    every = float(np.median(np.diff(at))) if at.size > 2 else None
    figures = {
        "count": float(at.size),
        "share": at.size / series.size,
        "extra_ms": float(np.median(extra)),
        "largest_extra_ms": float(extra.max()),
        "every_runs": every,
        "every_s": float(np.median(np.diff(times[at]))) / 1e9 if at.size > 2 else None,
        "limit_ms": limit / 1e6,
    }
    how_often = f"; half of them follow within {every:.0f} runs" if every else ""
    statement = (
        f"stalls: {at.size} of {series.size:,} runs took {np.median(extra):.3g} ms more than usual, "
        f"{extra.max():.3g} at most{how_often}"
    )
    yield Finding("stalls", model, part, statement, figures)


def _drift(model: str, part: str, series: NDArray[np.int64], times: NDArray[np.int64]) -> Iterator[Finding]:
    groups = np.array_split(np.arange(series.size), min(DRIFT_GROUPS, series.size // 5))
    medians = [float(np.median(series[group])) / 1e6 for group in groups]
    moments = [float(np.median(times[group])) / 1e9 for group in groups]
    if len(set(moments)) < len(moments):
        return
    trend, span = theil_sen(moments, medians, 0.99), float(times[-1] - times[0]) / 1e9
    share = span / float(np.median(medians))
    change = trend.slope * share
    surely = min(abs(trend.interval.low), abs(trend.interval.high)) * share if trend.direction else 0.0
    if abs(change) < DRIFT_LEAST or surely < DRIFT_LEAST / 2:
        return
    figures = {
        "change": change,
        "ms_per_minute": 60 * trend.slope,
        "ms_per_minute_low": 60 * trend.interval.low,
        "ms_per_minute_high": 60 * trend.interval.high,
        "seconds": span,
    }
    statement = f"drift: {change:+.0%} over {span:.3g} s, {60 * trend.slope:+.3g} ms a minute"
    yield Finding("drift", model, part, statement, figures)


def _overload(model: str, samples: Samples, pace: Pace) -> Iterator[Finding]:
    period = pace.period_ns or np.inf
    busy = float((samples.parts["end_to_end"] - samples.parts["wait"]).mean()) * pace.burst
    if busy <= period:
        return
    then = "frames are dropped" if pace.queue == "drop" else "frames pile up, and latency grows as long as it runs"
    statement = (
        f"overload: the frames of a period take {busy / 1e6:.3g} ms, and more are due after {period / 1e6:.3g}; {then}"
    )
    yield Finding("overload", model, "end_to_end", statement, {"used": busy / period})
