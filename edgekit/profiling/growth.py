"""Whether memory grows from run to run."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from edgekit.profiling.bootstrap import Interval
from edgekit.profiling.findings import LEAK_BYTES, Finding
from edgekit.profiling.trend import theil_sen

SETTLING = 0.2
"""Share of the points, the first, that do not count: caches and pools fill then."""

LEAST_POINTS = 10


@dataclass(frozen=True)
class Growth:
    """How resident memory changed while a process ran on.

    Attributes:
        runs: Runs that it was watched for.
        bytes_per_run: Slope.
        interval: Its 95 % interval.
        leaks: Whether this is a leak, by the rule in `edgekit.profiling.findings.RULES`.
    """

    runs: int
    bytes_per_run: float
    interval: Interval
    leaks: bool


def growth(watched: Sequence[tuple[int, int]]) -> Growth | None:
    """Return how memory grew; none with too few points.

    Args:
        watched: (runs made, bytes held), in their order.
    """
    points = watched[int(SETTLING * len(watched)) :]
    if len(points) < LEAST_POINTS:
        return None
    made, held = [run for run, _ in points], [size for _, size in points]
    half = len(points) // 2
    trend, later = theil_sen(made, held), theil_sen(made[half:], held[half:])
    runs = points[-1][0] - points[0][0]
    leaks = trend.direction > 0 and trend.slope * runs >= LEAK_BYTES and later.slope >= trend.slope / 2
    return Growth(watched[-1][0], trend.slope, trend.interval, leaks)


def find_leak(model: str, grown: Growth | None) -> Iterator[Finding]:
    """Yield the finding for a process that leaks."""
    if grown is None or not grown.leaks:
        return
    figures = {
        "bytes_per_run": grown.bytes_per_run,
        "bytes_per_run_low": grown.interval.low,
        "bytes_per_run_high": grown.interval.high,
        "runs": float(grown.runs),
    }
    statement = (
        f"leak: {grown.bytes_per_run:,.0f} bytes a run ({grown.interval.low:,.0f} to {grown.interval.high:,.0f}), "
        f"over {grown.runs:,} runs"
    )
    yield Finding("leak", model, "memory", statement, figures)
