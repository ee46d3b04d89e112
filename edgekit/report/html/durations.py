"""The latency distribution, and the time line with the deadline misses."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from edgekit.report.html.plot import Axis, Floats, dots, legend, level, number, plot, spans, steps, upright

BINS = 72
COLUMNS = 500
MOST_DOTS = 2500
NAMES = {"fp": "FP", "int8": "INT8"}

Series = Mapping[str, tuple[Floats, Floats]]
"""Model to when each run started (s) and how long it took (ms), both flat and in order of time."""


def distribution(
    series: Series, percentiles: Mapping[str, Mapping[str, float | None]], deadline_ms: float | None
) -> str:
    """Return the distribution of durations.

    Args:
        series: Of each model.
        percentiles: Model to percentile to ms.
        deadline_ms: Drawn where it lies in the chart.
    """
    values = {model: taken for model, (_, taken) in series.items()}
    low = min(float(taken.min()) for taken in values.values())
    high = max(float(np.quantile(taken, 0.995)) for taken in values.values())
    pad = 0.04 * (high - low or high)
    x = Axis(max(0.0, low - pad), high + pad)
    edges = np.linspace(x.low, x.high, BINS + 1)
    counts = {model: np.histogram(taken, edges)[0] / taken.size * 100 for model, taken in values.items()}
    y = Axis(0.0, 1.08 * max(float(count.max()) for count in counts.values()))
    body, entries = [], []
    for model, count in counts.items():
        body.append(steps(count, x, edges, y, model))
        known = {name: value for name, value in percentiles[model].items() if value is not None and name in _MARKS}
        body += [upright(value, x, f"{model} {_MARKS[name]}") for name, value in known.items() if value <= x.high]
        told = ", ".join(f"{name} {number(value, 'ms')}" for name, value in known.items())
        entries.append((model, f"{NAMES[model]}: {told or 'too few samples'}"))
    if deadline_ms is not None and x.low <= deadline_ms <= x.high:
        body.append(upright(deadline_ms, x, "deadline"))
    entries += _beyond(values, x.high)
    says = "Distribution of durations. " + "; ".join(text for _, text in entries)
    chart = plot(body, x, y, x_title="ms", y_title="% of runs", says=says)
    return legend([*entries, ("mark", "solid: p50, dashed: p99")]) + chart


_MARKS = {"p50": "median", "p99": "tail"}


def _beyond(values: Mapping[str, Floats], end: float) -> list[tuple[str, str]]:
    above = {model: int((taken > end).sum()) for model, taken in values.items()}
    told = ", ".join(f"{count} of {NAMES[model]}" for model, count in above.items() if count)
    longest = max(float(taken.max()) for taken in values.values())
    return [("none", f"to the right of the chart: {told}, up to {number(longest, 'ms')}")] if told else []


def time_line(series: Series, deadline_ms: float | None) -> str:
    """Return durations over time, with the deadline and what missed it."""
    end = max(float(started.max()) for started, _ in series.values())
    top = max(float(taken.max()) for _, taken in series.values())
    if deadline_ms is not None and deadline_ms < 3 * top:
        top = max(top, deadline_ms)
    x, y = Axis(0.0, end or 1.0), Axis(0.0, 1.06 * top)
    body: list[str] = []
    entries: list[tuple[str, str]] = []
    for model, (started, taken) in series.items():
        body += _trace(started, taken, x, y, model)
        entries.append((model, f"{NAMES[model]}: {taken.size:,} runs, longest {number(float(taken.max()), 'ms')}"))
    if deadline_ms is not None:
        late = {model: taken > deadline_ms for model, (_, taken) in series.items()}
        for model, (started, taken) in series.items():
            when, how_long = _first(started[late[model]], taken[late[model]])
            body.append(dots(when, how_long, x, y, "miss"))
        if deadline_ms <= y.high:
            body.append(level(deadline_ms, y, "deadline"))
        missed = ", ".join(f"{NAMES[model]} {int(each.sum()):,}" for model, each in late.items())
        entries += [("deadline", f"deadline {number(deadline_ms, 'ms')}"), ("miss", f"runs that missed it: {missed}")]
    says = "Durations over time. " + "; ".join(text for _, text in entries)
    return legend(entries) + plot(body, x, y, x_title="s since the measurement began", y_title="ms", says=says)


def _trace(started: Floats, taken: Floats, x: Axis, y: Axis, kind: str) -> Iterator[str]:
    """Yield every run as a dot, or, of many, from the shortest to the longest in each of `COLUMNS` columns."""
    if taken.size <= MOST_DOTS:
        yield dots(started, taken, x, y, kind)
        return
    column = np.minimum((started / (x.high or 1.0) * COLUMNS).astype(int), COLUMNS - 1)
    filled = np.unique(column)
    groups = [taken[column == each] for each in filled]
    yield spans(
        (filled + 0.5) * x.high / COLUMNS,
        np.array([group.min() for group in groups]),
        np.array([group.max() for group in groups]),
        x,
        y,
        kind,
    )


def _first(started: Floats, taken: Floats) -> tuple[Floats, Floats]:
    """Return the longest, where there are more than can be drawn."""
    longest = np.sort(np.argsort(taken)[-MOST_DOTS:])
    return started[longest], taken[longest]
