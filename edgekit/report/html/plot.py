"""Charts as inline SVG that stretches with the page, and labels as text that does not."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape

import numpy as np
from numpy.typing import NDArray

SIDE = 1000.0
"""Units of the drawing in both directions; strokes and text are not scaled with it."""

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Axis:
    """Values from `low` to `high` along one side of a chart."""

    low: float
    high: float

    def at(self, value: float) -> float:
        """Return where a value stands, from 0 to `SIDE`; what lies outside stands at the end."""
        span = self.high - self.low or 1.0
        return SIDE * min(1.0, max(0.0, (value - self.low) / span))

    def ticks(self, most: int = 5) -> list[float]:
        """Return round values, at most about so many."""
        span = self.high - self.low
        if span <= 0 or not math.isfinite(span):
            return [self.low]
        raw = span / most
        power = 10.0 ** math.floor(math.log10(raw))
        step = next(power * each for each in (1, 2, 5, 10) if power * each >= raw * (1 - 1e-9))
        first = math.ceil(self.low / step - 1e-9)
        return [number * step for number in range(first, math.floor(self.high / step + 1e-9) + 1)]


def number(value: float, unit: str = "") -> str:
    """Write a value with three significant digits."""
    digits = max(0, 2 - math.floor(math.log10(abs(value)))) if value else 0
    return f"{value:,.{min(digits, 6)}f} {unit}".strip()


def label(value: float, axis: Axis) -> str:
    """Write a tick's value with as many digits as its neighbours need."""
    ticks = axis.ticks()
    step = ticks[1] - ticks[0] if len(ticks) > 1 else 1.0
    return f"{value:,.{max(0, -math.floor(math.log10(step) + 1e-9))}f}"


def plot(body: Iterable[str], x: Axis, y: Axis, *, x_title: str, y_title: str, says: str) -> str:
    """Return a chart with its axes.

    Args:
        body: SVG in units of `SIDE`, the origin at the upper left.
        x: The horizontal axis.
        y: The vertical axis.
        x_title: What it shows, with its unit.
        y_title: What it shows, with its unit.
        says: What the chart shows, for those who do not see it.
    """
    grid = "".join(f"M0 {SIDE - y.at(tick):.1f}h{SIDE:.0f}" for tick in y.ticks())
    left = "".join(f'<span style="bottom:{y.at(tick) / SIDE:.2%}">{label(tick, y)}</span>' for tick in y.ticks())
    below = "".join(f'<span style="left:{x.at(tick) / SIDE:.2%}">{label(tick, x)}</span>' for tick in x.ticks())
    return (
        f'<div class="plot" role="img" aria-label="{escape(says)}">'
        f'<div class="ytitle">{escape(y_title)}</div><div class="y">{left}</div>'
        f'<svg viewBox="0 0 {SIDE:.0f} {SIDE:.0f}" preserveAspectRatio="none" aria-hidden="true">'
        f'<path class="grid" d="{grid}"/>{"".join(body)}</svg>'
        f'<div class="x">{below}</div><div class="xtitle">{escape(x_title)}</div></div>'
    )


def legend(entries: Iterable[tuple[str, str]]) -> str:
    """Return a legend of (CSS class, text)."""
    chips = "".join(f'<li><i class="{kind}"></i>{escape(text)}</li>' for kind, text in entries)
    return f'<ul class="legend">{chips}</ul>'


def steps(heights: Floats, x: Axis, edges: Floats, y: Axis, kind: str) -> str:
    """Return a histogram as one filled outline."""
    ends = [x.at(float(edge)) for edge in edges]
    path = f"M{ends[0]:.1f} {SIDE:.0f}" + "".join(
        f"V{SIDE - y.at(float(height)):.1f}H{end:.1f}" for height, end in zip(heights, ends[1:], strict=True)
    )
    return f'<path class="area {kind}" d="{path}V{SIDE:.0f}Z"/>'


def upright(value: float, x: Axis, kind: str) -> str:
    """Return a vertical line."""
    return f'<path class="line {kind}" d="M{x.at(value):.1f} 0V{SIDE:.0f}"/>'


def level(value: float, y: Axis, kind: str) -> str:
    """Return a horizontal line."""
    return f'<path class="line {kind}" d="M0 {SIDE - y.at(value):.1f}H{SIDE:.0f}"/>'


def dots(xs: Sequence[float] | Floats, ys: Sequence[float] | Floats, x: Axis, y: Axis, kind: str) -> str:
    """Return points; a line of no length with round ends is a dot however the drawing is stretched."""
    path = "".join(f"M{x.at(float(a)):.1f} {SIDE - y.at(float(b)):.1f}h0" for a, b in zip(xs, ys, strict=True))
    return f'<path class="dots {kind}" d="{path}"/>' if path else ""


def spans(xs: Floats, lows: Floats, highs: Floats, x: Axis, y: Axis, kind: str) -> str:
    """Return vertical strokes from low to high."""
    path = "".join(
        f"M{x.at(float(a)):.1f} {SIDE - y.at(float(low)):.1f}V{SIDE - y.at(float(high)) - 0.1:.1f}"
        for a, low, high in zip(xs, lows, highs, strict=True)
    )
    return f'<path class="spans {kind}" d="{path}"/>'


def polyline(xs: Sequence[float], ys: Sequence[float], x: Axis, y: Axis, kind: str) -> str:
    """Return a line through points."""
    points = "L".join(f"{x.at(a):.1f} {SIDE - y.at(b):.1f}" for a, b in zip(xs, ys, strict=True))
    return f'<path class="line {kind}" d="M{points}"/>'
